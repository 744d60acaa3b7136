"""Records and fingerprints."""

import json
import subprocess
import types

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import CHECKOUT
from statsmodels.stats.proportion import proportion_confint

from cyborg_utils.core import paths, provenance
from cyborg_utils.study import artefacts, run_tables

RESULTS = CHECKOUT / "results"
STUDIES = sorted(file.parent.name for file in RESULTS.glob("*/scores"))


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
    assert provenance.uncommitted() == [] and provenance.warning() == ""
    (project / "params" / "another.yaml").write_text("new: 1\n")  # a study of one's own changes no other
    assert provenance.commit() == clean
    (project / "params" / "demo.yaml").write_text("changed: 1\n")
    assert provenance.commit() == f"{clean}-dirty" and provenance.uncommitted() == ["params/demo.yaml"]
    assert provenance.warning().startswith(f"Uncommitted sources (params/demo.yaml): records will say {clean}-dirty.")


def test_a_new_module_is_a_change_of_the_sources(project):
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for call in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *call], check=True)
    (project / "cyborg_utils").mkdir()
    for number in range(5):
        (project / "cyborg_utils" / f"new_{number}.py").touch()
    assert provenance.commit().endswith(provenance.DIRTY)
    assert "cyborg_utils/new_2.py and 2 more" in provenance.warning()


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


# ---- what is committed in results/


def test_a_committed_record_from_uncommitted_sources_is_listed_with_its_reason():
    told = yaml.safe_load((RESULTS / "uncommitted.yaml").read_text(encoding="utf-8"))
    records = {file: json.loads(file.read_text(encoding="utf-8")) for file in RESULTS.rglob("*.json")}
    dirty = [
        file.relative_to(RESULTS).as_posix()
        for file, content in records.items()
        if str(content.get("commit", "")).endswith(provenance.DIRTY)
    ]
    assert told["why"] and sorted(dirty) == told["records"]


@pytest.mark.parametrize("profile", STUDIES)
def test_a_study_names_its_kinds_of_processor_and_its_uncommitted_runs(profile):
    table = run_tables.machines(profile)
    assert {"02_finetune_teacher", "03_label_essays", "04_train_student"} <= set(table["notebook"])
    assert not set(table["notebook"]) & {"00_overview", "05_test_significance", "06_analyze_bias"}  # repeated by `make verify`
    records = [json.loads(file.read_text(encoding="utf-8")) for file in (RESULTS / profile / "records").glob("0[234]*.json")]
    text = run_tables.machines_in_words(table)
    assert all(record["hardware"]["processor"] in text for record in records)
    dirty = [f"{record['notebook'][:2]}_{record['run']}" for record in records if record["commit"].endswith(provenance.DIRTY)]
    assert set(dirty) == set(table[table["dirty"]]["notebook"].str[:2] + "_" + table[table["dirty"]]["run"])
    assert all(name in text for name in dirty) and ("uncommitted" in text) == bool(dirty)


def test_one_kind_of_processor_or_the_mix_by_name():
    table = pd.DataFrame({"notebook": ["02_a", "04_b", "11_c"], "run": ["u10_s1", "u10_s1", ""], "processor": "P", "cores": 2})
    table = table.assign(gpu="none", commit="abc", dirty=False)
    assert run_tables.machines_in_words(table) == (
        "All 3 executions with a model ran on one kind of processor: P.\n\nAll 3 are from committed sources."
    )
    mixed = table.assign(gpu=["H100", "none", "none"], dirty=[False, False, True])
    first, second = run_tables.machines_in_words(mixed).split("\n\n")
    assert first.endswith("P (2: 04_u10_s1, 11); P with H100 (1: 02_u10_s1).") and "mixes 2 kinds" in first
    assert second.startswith("**1 of 3 executions are from uncommitted sources**, so no commit repeats them: 11.")
    assert run_tables.machines_in_words(table[:0]) == "No model has run here yet."


# ---- how often a fine-tuning failed


def test_failed_attempts_are_counted_over_a_study(make_study):
    make_study("try", runs=[{"fraction": 0.1, "seeds": [1, 2, 3, 4, 5]}])
    curves = {1: pd.DataFrame({"epoch": [1, 2], "qwk": [0.0, 0.6]})}  # older than the repetition: no column attempt
    curves[2] = pd.DataFrame({"attempt": [1, 1, 2], "epoch": [1, 2, 1], "qwk": [0.0, 0.2, 0.5]})
    curves[3] = pd.DataFrame({"attempt": [1, 2], "epoch": 1, "qwk": [0.1, 0.05]})
    curves[4] = pd.DataFrame({"attempt": [1], "epoch": [0], "qwk": [0.1], "best": [True]})  # a frozen Teacher's
    curves[5] = pd.DataFrame({"attempt": 1, "epoch": [0, 1, 2], "qwk": [0.5, 0.6, 0.1], "best": [False, False, True]})
    for seed, curve in curves.items():
        name = f"u10_s{seed}"
        paths.results("try", "scores").mkdir(parents=True, exist_ok=True)
        paths.results("try", "scores", f"teacher_{name}.csv").touch()
        artefacts.save_table("try", f"table_teacher_dev_{name}", curve)
    table = run_tables.attempts("try")
    assert table["tuned"].tolist() == [True, True, True, False, True]
    assert table.loc[4, ["attempts", "failed", "best_qwk"]].tolist() == [1, 1, "0.100"]  # the epoch that is kept
    table = table[:3]
    assert table[["attempts", "failed"]].to_numpy().tolist() == [[1, 0], [2, 1], [2, 2]]
    assert table["best_qwk"].tolist() == ["0.600", "0.200, 0.500", "0.100, 0.050"]
    text = run_tables.attempts_in_words(table)
    assert "In 2 of 3 fine-tunings of the Teacher the first attempt failed and was repeated with another seed (3 of 5" in text
    low, high = proportion_confint(2, 3, method="wilson")
    assert f"a rate of {low:.0%} to {high:.0%})" in text and "**In 1 every attempt failed.**" in text
    frozen = table.assign(tuned=False)
    assert run_tables.attempts_in_words(frozen) == "No Teacher was fine-tuned here."
    assert "repeated" not in run_tables.attempts_in_words(table[:1]) and "No Teacher" in run_tables.attempts_in_words(table[:0])
