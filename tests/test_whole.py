"""Files and folders appear whole or not at all, whenever a process is killed; nothing piles up; a bad disk is told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CHECKOUT

from cyborg_utils.core import atomic, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import student, trainer
from cyborg_utils.run import freshness
from cyborg_utils.study import artefacts

DEAD = 2**22 + 1  # above the highest process number that Linux gives


def left(folder: Path, name: str, host: str = atomic.HOST, pid: int = DEAD) -> Path:
    return folder / f".making@{host}@{pid}@{name}"


# ---- whole or not at all

ENDLESS = """
import os, sys, threading, time
from pathlib import Path
from cyborg_utils.core import atomic
target, kind = Path(sys.argv[1]), sys.argv[2]
print(1, flush=True)
for number in range(10**9):
    letter = b"ab"[number % 2 : number % 2 + 1]
    if kind == "file":
        atomic.write(target, letter * 300_000)
    else:
        with atomic.folder(target) as making:
            for name in ("one", "two", "three"):
                (making / name).write_bytes(letter * 100_000)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_at_any_moment_leaves_a_whole_one(tmp_path, kind):
    target = tmp_path / "target"
    atomic.write(target, b"a" * 300_000) if kind == "file" else fill(target)
    for round_ in range(6):
        call = [sys.executable, "-c", ENDLESS, str(target), kind]
        process = subprocess.Popen(call, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
        process.stdout.read(1)
        time.sleep(0.01 + 0.017 * round_)
        process.kill()
        process.wait()
        files = [target] if kind == "file" else sorted(target.iterdir())
        content = b"".join(file.read_bytes() for file in files)
        assert len(content) == 300_000 and len(set(content)) == 1  # of one round, and all of it
    atomic.write(tmp_path / "next", "")
    assert {path.name for path in tmp_path.iterdir()} == {"target", "next"}


def fill(target: Path) -> None:
    with atomic.folder(target) as making:
        for name in ("one", "two", "three"):
            (making / name).write_bytes(b"a" * 100_000)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchange):
    if not exchange:  # as on a file system without it
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    target = tmp_path / "target"
    for name in ("old", "new"):
        with atomic.folder(target) as making:
            (making / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["new"] and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("kind", [atomic.file, atomic.folder])
def test_an_error_in_between_leaves_the_old_one(tmp_path, kind):
    target = tmp_path / "target"
    fill(target) if kind is atomic.folder else atomic.write(target, "old")
    before = provenance.sha256(target)
    with pytest.raises(ZeroDivisionError), kind(target) as making:
        (making / "one" if making.is_dir() else making).write_text("half")
        1 / 0  # noqa: B018
    assert provenance.sha256(target) == before and list(tmp_path.iterdir()) == [target]


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    flush, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(os.readlink(f"/proc/self/fd/{handle}")), flush(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("rename"), rename(*names)))
    atomic.write(tmp_path / "a", "x")
    assert calls == [str(left(tmp_path, "a", pid=os.getpid())), "rename", str(tmp_path)]


# ---- leftovers


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    mine = left(tmp_path, "a", pid=os.getppid())
    theirs = left(tmp_path, "b", host="another")
    old = left(tmp_path, "c", host="another")
    for path in (mine, theirs, old, left(tmp_path, "d"), tmp_path / ".making@odd"):
        path.write_text("x")
    left(tmp_path, "e").mkdir()
    (left(tmp_path, "e") / "one").write_text("x")
    os.utime(old, (0, 0))
    atomic.write(tmp_path / "f", "")
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, theirs.name, ".making@odd", "f"}


def test_a_study_begins_with_a_clean_folder(make_study, monkeypatch):
    from cyborg_utils.run import workflow

    make_study("try")
    places = [left(paths.build("try", "students", "u10_s1"), "x"), left(paths.results("try", "tables"), "table_qwk.csv")]
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_text("half")
    monkeypatch.setattr(workflow, "command", lambda *_, **__: ["true"])
    workflow.run("try")
    assert not any(place.exists() for place in places)


# ---- what takes a half-written file for a whole one


def test_a_part_is_saved_and_its_mark_too_only_whole(tmp_path, monkeypatch):
    """Writing stops in the middle wherever it can: the next call never fails, and never takes what is half."""
    import numpy as np

    batches = [np.array([number]) for number in range(4)]
    rename = os.replace
    for stop in range(6):
        folder, calls = tmp_path / str(stop), []

        def stopping(*names, calls=calls, stop=stop):
            calls.append(names)
            if len(calls) > stop:
                raise KeyboardInterrupt
            rename(*names)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", stopping)
            trainer.in_parts(lambda batch: batch[:, None] * 1.0, batches, folder, "m", every=1)
        found = trainer.in_parts(lambda batch: batch[:, None] * 1.0, batches, folder, "m", every=1)
        assert found[:, 0].tolist() == [0, 1, 2, 3]


def test_a_student_whose_saving_stopped_is_not_taken_for_its_successor(tmp_path, tiny_models, monkeypatch):
    from cyborg_utils.core.scale import Scale

    settings = student.Settings(str(tiny_models["electra"]), "regression", 1, 1, 1e-3, 4, 16)
    pupil = student.untrained(settings, Scale(1, 6, 1))
    pupil.save(tmp_path / "s", "first")
    before = provenance.sha256(tmp_path / "s")
    monkeypatch.setattr(student.provenance, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pupil.save(tmp_path / "s", "second")
    assert provenance.sha256(tmp_path / "s") == before


@pytest.mark.parametrize("harm", ["state", "weights", "none"])
def test_a_checkpoint_that_is_not_whole_is_not_resumed_from(tmp_path, tiny_models, harm):
    import shutil

    from cyborg_utils.models.trainer import checkpoint

    for number in (3, 6):
        folder = tmp_path / f"checkpoint-{number}"
        shutil.copytree(tiny_models["electra"], folder)
        (folder / "trainer_state.json").write_text('{"epoch": 1}')
    last = tmp_path / "checkpoint-6" / ("trainer_state.json" if harm == "state" else "model.safetensors")
    if harm != "none":
        last.write_bytes(last.read_bytes()[:-5])
    assert checkpoint(tmp_path) == str(tmp_path / ("checkpoint-6" if harm == "none" else "checkpoint-3"))
    assert (tmp_path / "checkpoint-6").exists() == (harm == "none")


# ---- stamps


def test_a_step_is_done_again_when_its_essays_or_weights_are_changed(project, tiny_models):
    import shutil

    folder, done = project / "build" / "try" / "adapter", paths.build("try", "done", "02.json")
    shutil.copytree(tiny_models["llama"], folder)

    def forgotten() -> bool:
        return bool(freshness.forget_changed("try")) and not done.exists()

    def stamp() -> None:
        freshness.stamp(done, {}, [folder])

    weight = folder / "model.safetensors"
    stamp()
    (folder / "scoring.json").write_text("{}")  # what a later notebook adds
    assert not forgotten()
    weight.write_bytes(weight.read_bytes()[:-1] + b"x")
    assert forgotten()
    stamp()
    weight.unlink()
    assert forgotten()
    artefacts.write(done, json.dumps({"made": {"build/try/adapter": None}}))  # a stamp of earlier days
    assert not forgotten()


# ---- remedies


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(errno.ENOSPC, "x"), "no space is left.*Free some.*goes on from here"),
        (OSError(errno.EDQUOT, "x"), "quota"),
        (OSError(errno.EROFS, "x"), "read-only.*Make it writable"),
        (PermissionError(errno.EACCES, "x"), "no permission.*chmod"),
        (OSError(errno.EIO, "x"), "Check the disk"),
        ("SafetensorError: I/O error: No space left on device (os error 28)", "no space is left"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "no space is left"),
    ],
)
def test_an_error_of_the_disk_has_a_remedy(error, words):
    import re

    assert re.search(words, atomic.remedy(error))


def test_other_errors_pass_as_they_are(tmp_path):
    assert atomic.remedy(ValueError("x")) == "" and atomic.remedy(FileNotFoundError(errno.ENOENT, "x")) == ""
    with pytest.raises(IsADirectoryError), atomic.told(tmp_path):
        tmp_path.read_text()
    with pytest.raises(CyborgError, match="a.csv: no space is left"), atomic.told(tmp_path / "a.csv"):
        raise OSError(errno.ENOSPC, "x")
