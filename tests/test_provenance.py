"""Records and fingerprints."""

import json
import subprocess
import types

import numpy as np
import pytest

from cyborg_utils.core import paths, provenance


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert provenance.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_of_a_folder_tells_content_and_names(tmp_path):
    seen = set()
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"2"), ("sub/b", b"2")):
        folder = tmp_path / f"{len(seen)}"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
        seen.add(provenance.sha256(folder))
    assert len(seen) == 4


def test_a_fingerprint_changes_with_settings_and_data():
    first = provenance.fingerprint({"a": 1, "b": 2}, data=["id1"])
    assert first == provenance.fingerprint({"b": 2, "a": 1}, data=["id1"])
    assert first != provenance.fingerprint({"a": 1, "b": 3}, data=["id1"])
    assert first != provenance.fingerprint({"a": 1, "b": 2}, data=["id2"])


def test_a_record_says_what_a_reader_needs_and_no_machine_path(project):
    source = project / "params" / "demo.yaml"
    record = provenance.record({"epochs": 3}, inputs=[source], measured={"qwk": np.float64(0.5), "bad": float("nan")})
    assert record["parameters"] == {"epochs": 3}
    assert record["inputs"] == {"params/demo.yaml": provenance.sha256(source)[:16]}
    assert record["measured"] == {"qwk": 0.5, "bad": None}
    assert record["versions"]["torch"].startswith("2.13")
    assert record["hardware"]["cores"] >= 1
    assert record["seconds"] >= 0 and record["peak_memory_gib"] > 0
    assert str(project) not in json.dumps(record)
    assert str(paths.Path.home()) not in json.dumps(record)


def test_the_commit_is_told_and_a_changed_source_marks_it_dirty(project):
    assert provenance.commit() == "unknown"
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for call in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *call], check=True)
    clean = provenance.commit()
    assert len(clean) == 12 and "dirty" not in clean
    (project / "params" / "demo.yaml").write_text("changed: 1\n")
    assert provenance.commit() == f"{clean}-dirty"


def test_json_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "sub" / "a.json"
    provenance.write_json(file, {"a": np.int64(1), "b": (1, 2), "c": tmp_path, "d": np.array([1.5])})
    assert json.loads(file.read_text()) == {"a": 1, "b": [1, 2], "c": str(tmp_path), "d": [1.5]}
    with pytest.raises(TypeError):
        provenance.write_json(file, {"a": object()})
    assert json.loads(file.read_text())["a"] == 1
    assert [path.name for path in file.parent.iterdir()] == ["a.json"]


def test_a_path_is_shown_without_the_machine(project):
    assert paths.shown(project / "params" / "x.yaml") == "params/x.yaml"
    assert paths.shown(project.parent / "shared" / "data") == "../shared/data"
    assert paths.shown(paths.Path("/somewhere/else/file.csv")) == "file.csv"


def test_run_names():
    assert paths.run_name(0.1, 1) == "u10_s1"
    assert paths.run_name(0.125, 20) == "u12.5_s20"
    assert paths.run_name(1.0, 3) == "u100_s3"


@pytest.mark.parametrize("system, unit", [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_gib_where_the_system_counts_in_bytes_too(monkeypatch, system, unit):
    monkeypatch.setattr(provenance.sys, "platform", system)
    held = types.SimpleNamespace(ru_maxrss=3 * 2**30 // unit)
    monkeypatch.setattr(provenance.resource, "getrusage", lambda _: held)
    assert provenance.peak_memory() == 3
