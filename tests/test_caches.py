"""Caches: moved by one variable, and an unwritable home named as the cause."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyborg_utils.core import caches, paths
from cyborg_utils.core.errors import CyborgError


def test_one_variable_moves_all_caches_but_those_that_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in caches.MOVED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CYBORG_CACHE", raising=False)
    caches.settle()
    assert not set(caches.MOVED) & set(os.environ)
    monkeypatch.setenv("CYBORG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    caches.settle()
    assert os.environ["HF_HOME"] == "/elsewhere"
    moved = [os.environ[name] for name in caches.MOVED if name != "HF_HOME"]
    assert all(Path(folder).is_relative_to(tmp_path / "cache") for folder in moved) and len(set(moved)) == len(moved)
    caches.check()
    assert (tmp_path / "cache" / "xdg" / "cache").is_dir()


@pytest.mark.parametrize("moved", [False, True])
def test_a_home_that_cannot_be_written_is_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool):
    (tmp_path / "home").write_text("no folder: nobody can write below it, not even root")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "CYBORG_CACHE"):
        monkeypatch.delenv(name, raising=False)
    if moved:
        monkeypatch.setenv("CYBORG_CACHE", str(tmp_path / "home" / "cache"))
        caches.settle()
    name = "CYBORG_CACHE" if moved else "HOME"
    with pytest.raises(CyborgError, match=rf"^{name} .*home.* cannot be written to.*Set CYBORG_CACHE to a folder of yours"):
        caches.check()


def test_a_user_without_a_home_has_paths_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.delenv("CYBORG_CACHE", raising=False)
    assert paths.shown("/somewhere/x.csv") == "x.csv" and paths.cache() == Path("/nonexistent/.cache/cyborg-data")
