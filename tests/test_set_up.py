"""tools/set_up.py: an environment that is unfinished, was moved, or has another Python is made anew; a good one stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT

from tools import set_up

MAKE = ["make", "--no-print-directory", "--dry-run", ".venv/.ready"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch) -> Path:
    """A folder with a difficult name, where set_up installs nothing: its .venv holds a link to this Python."""
    home = tmp_path / "Schüler's Texte"
    (home / "tools").mkdir(parents=True)
    shutil.copy(CHECKOUT / "tools" / "set_up.py", home / "tools")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, home)
    run = subprocess.run

    def without_venv(call, **options):
        if call[1:3] != ["-m", "venv"]:
            return run(call, **options)
        shutil.rmtree(home / ".venv", ignore_errors=True)
        (home / ".venv" / "bin").mkdir(parents=True)
        (home / ".venv" / "bin" / "python").symlink_to(sys.executable)
        return subprocess.CompletedProcess(call, 0)

    monkeypatch.setattr(set_up.subprocess, "run", without_venv)
    monkeypatch.setattr(set_up, "pip", lambda *arguments: 0)
    monkeypatch.setattr(set_up, "HOME", home)
    monkeypatch.setattr(set_up, "VENV", home / ".venv")
    monkeypatch.setattr(set_up, "PYTHON", home / ".venv" / "bin" / "python")
    monkeypatch.setattr(set_up, "READY", home / ".venv" / ".ready")
    return home


def made(home: Path, *options: str) -> str:
    """What `make` would do for the environment."""
    return subprocess.run([*MAKE, *options], cwd=home, capture_output=True, text=True, check=True).stdout


def test_an_environment_is_made_once(checkout, capsys):
    assert not set_up.fine() and "tools/set_up.py" in made(checkout)
    assert set_up.main([]) == 0
    assert set_up.fine() and set_up.fine(sys.executable) and "is up to date" in made(checkout)
    told = capsys.readouterr().out
    assert "packages into .venv (Python" in told and "minutes; once) ..." in told and "anew" not in told


def test_one_that_is_unfinished_moved_or_broken_is_made_anew(checkout, monkeypatch, capsys):
    assert set_up.main([]) == 0
    set_up.READY.unlink()
    assert "tools/set_up.py" in made(checkout)
    assert set_up.main([]) == 0 and "Making .venv anew" in capsys.readouterr().out
    set_up.READY.write_text("/somewhere/else\n", encoding="utf-8")
    assert not set_up.fine() and "tools/set_up.py" in made(checkout)
    assert set_up.main([]) == 0 and set_up.fine()
    set_up.PYTHON.unlink()
    assert not set_up.fine() and "tools/set_up.py" in made(checkout)


def test_another_python_is_obeyed_only_where_the_user_names_it(checkout, tmp_path):
    assert set_up.main([]) == 0
    other = tmp_path / "python3.12"
    other.write_text("#!/bin/sh\necho 3.12.99\n")
    other.chmod(0o755)
    assert not set_up.fine(str(other))
    assert "tools/set_up.py" in made(checkout, f"PYTHON={other}") and "is up to date" in made(checkout)
    assert "is up to date" in made(checkout, f"PYTHON={sys.executable}")


def test_a_failed_installation_is_tried_again(checkout, monkeypatch, capsys):
    monkeypatch.setattr(set_up, "pip", lambda *arguments: 1)
    assert set_up.main([]) == 1
    assert "the reason stands above" in capsys.readouterr().err and not set_up.fine()


@pytest.mark.parametrize("version, words", [("3, 10, 9", "3.11 or newer is needed"), ("3, 14, 0", "3.14 is too new")])
def test_a_python_that_does_not_fit_is_refused_at_once(checkout, tmp_path, version, words):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = ({version}); $2"\n')
    python.chmod(0o755)
    line = next(line for line in made(checkout, f"PYTHON={python}").splitlines() if "is needed" in line)
    done = subprocess.run(line, shell=True, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 1 and words in done.stderr and "make PYTHON=python3.1" in done.stderr
