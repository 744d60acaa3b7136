"""The notebooks, all of them and in their order, on tiny models: whole studies in a project folder of the test's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import corpus_samples
import nbformat
import pandas as pd
import pytest
import yaml
from conftest import CHECKOUT

from cyborg_utils.core import config, paths
from cyborg_utils.data import simulated
from cyborg_utils.run import workflow
from cyborg_utils.study import artefacts, scores

DEMO = config.load("demo")
OF_THE_DEMO = [file.stem for file in paths.notebooks() if file.stem[3:] in DEMO.sections]


@pytest.mark.parametrize("notebook", ["00_overview", *OF_THE_DEMO])
def test_a_notebook_opened_by_hand_is_that_of_the_demo(notebook):
    """What its parameters cell says is what the study `demo` gives it."""
    own, run = config.parameters(paths.notebook(notebook)), DEMO.runs[0]
    assert own == config.compose(notebook, "demo", run if "fraction" in own else None)


@pytest.fixture
def tiny_project(project: Path, tiny_models: dict[str, Path]) -> Path:
    """A project with the tiny models where params/smoke.yaml expects them."""
    for name, folder in tiny_models.items():
        shutil.copytree(folder, project / "build" / "tiny" / name)
    return project


def run_and_check(profile: str, capfd: pytest.CaptureFixture) -> None:
    """Run a study twice: everything that must be there is there, and the second time nothing is done."""
    assert workflow.run(profile, cores="1")
    study = config.load(profile)
    steps = workflow.steps(study)
    for step in steps:
        notebook, _, run = step.partition("_u")
        run = f"u{run}" if run else ""
        record = json.loads(artefacts.record_file(profile, notebook, run).read_text(encoding="utf-8"))
        assert (record["notebook"], record["run"]) == (notebook, run) and record["seconds"] > 0
        named = next((one for one in (*study.runs, *study.full_runs) if one.name == run), None)
        if notebook != "14_audit_scores":  # its record tells the scale in words, since the file may be anybody's
            assert record["parameters"] == config.compose(notebook, profile, named)  # or `KEEP=1` would not know it again
        for name in artefacts.expected(notebook, run):
            assert all(file.stat().st_size > 0 for file in artefacts.files(profile, name)), name
        copy = nbformat.read(paths.results(profile, "notebooks", f"{step}.ipynb"), as_version=4)
        code = [cell for cell in copy.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code if cell.source.strip())
        outputs = [output for cell in code for output in cell.outputs]
        assert outputs and not [output for output in outputs if output.output_type == "error"]
        lines = "".join(output.get("text", "") for output in outputs).splitlines()
        assert not [line for line in lines if "Warning: " in line and "site-packages" not in line]
    assert paths.build(profile, "html", "index.html").is_file()
    given = scores.students(profile)
    assert set(given["labels"]) == set(study.section("train_student")["labels"])
    assert set(given["student"]) == {*study.section("train_student")["models"], "ridge"}
    before = {file: file.stat().st_mtime_ns for file in paths.results(profile).rglob("*")}
    capfd.readouterr()
    assert not workflow.run(profile, cores="1")
    assert "Nothing to do" in capfd.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in paths.results(profile).rglob("*")} == before


@pytest.mark.slow
def test_the_smoke_study_and_the_same_from_a_clone(tiny_project, capfd):
    run_and_check("smoke", capfd)
    shutil.rmtree(paths.build("smoke"))  # a clone has no build, and here no models to train with either
    shutil.rmtree(tiny_project / "build" / "tiny")
    assert workflow.run("smoke", keep=True, cores="1")
    done = {stamp.stem for stamp in paths.build("smoke", "done").iterdir()}
    assert done == {"01_prepare_data", *workflow.steps(DEMO, tables=True)} and not paths.build("smoke", "students").exists()
    assert "Left out" not in capfd.readouterr().out  # the results of the other notebooks are there
    artefacts.record_file("smoke", "12_score_essays").unlink()
    assert not workflow.run("smoke", keep=True, cores="1")
    assert "Left out with KEEP=1: 12_score_essays." in capfd.readouterr().out


@pytest.fixture
def small_persuade(tiny_project: Path) -> list[dict]:
    """The paper's study with its settings, but tiny models and 70 invented essays in PERSUADE's layout; returns the essays."""
    study = yaml.safe_load((CHECKOUT / "params" / "persuade.yaml").read_text(encoding="utf-8"))
    study["runs"], study["prepare_data"]["dev"] = [{"fraction": 0.25, "seeds": [1, 2]}], 0.1
    study["finetune_teacher"] |= {"model": "build/tiny/llama", "attempts": 1}
    study["train_student"] |= {"models": ["build/tiny/electra", "build/tiny/modernbert"], "min_steps": 4, "epochs": 1}
    for section in ("test_significance", "analyze_bias"):
        study[section]["resamples"] = 200
    (tiny_project / "params" / "persuade.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    essays = corpus_samples.persuade(70)
    for part in ("train", "test"):
        rows = [row for row in corpus_samples.discourse(essays, elements=3) if row["competition_set"] == part]
        corpus_samples.write_csv(tiny_project / "data" / "persuade" / f"persuade_corpus_2.0_{part}.csv", rows)
    return essays


@pytest.mark.slow
def test_the_papers_study_on_a_small_file_in_its_layout(small_persuade, capfd):
    run_and_check("persuade", capfd)
    given = scores.teachers("persuade")
    test = {row["essay_id_comp"] for row in small_persuade if row["competition_set"] == "test"}
    assert set(given.loc[given["part"] == "test", "essay_id"]) == test and len(test) == 28
    assert given.groupby("run")["part"].value_counts()["u25_s1"].to_dict() == {"U": 10, "pool": 28, "dev": 4, "test": 28}
    no_essay_in(paths.results("persuade"), small_persuade)
    no_essay_in(paths.build("persuade", "html"), small_persuade)


@pytest.mark.slow
def test_a_half_scored_file_of_ones_own(tiny_project, capfd):
    """params/mine.yaml on a workbook with the usual accidents: a note in place of a score, and a scored essay handed in twice."""
    study = yaml.safe_load((CHECKOUT / "params" / "mine.yaml").read_text(encoding="utf-8"))
    study["label_your_essays"] |= {"teacher": "build/tiny/qwen2", "encoder": "build/tiny/bert", "resamples": 200, "draws": 1}
    (tiny_project / "params" / "mine.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    rows = pd.DataFrame(simulated.essays(90, 5)).rename(columns={"essay_id": "id", "groups.gender": "gender", "prompt": "task"})
    rows = rows[["id", "task", "text", "score", "gender"]].astype({"score": object})
    rows.loc[40:, "score"], rows.loc[50, "score"] = None, "see me"
    rows.loc[60, "text"] = rows.loc[3, "text"]
    (tiny_project / "data").mkdir()
    rows.to_excel(tiny_project / "data" / "marks.xlsx", index=False)
    assert workflow.run("mine", cores="1")
    assert {file.stem for file in paths.results("mine", "notebooks").iterdir()} == {"01_prepare_data", "15_label_your_essays"}
    steps = ("01_prepare_data", "15_label_your_essays")
    first, last = (paths.results("mine", "notebooks", f"{step}.ipynb").read_text() for step in steps)
    assert "40 essays have a human score, 50 have none" in first and "row 52 (score 'see me' is not a number)" in first
    assert "No score was removed here" in last and paths.build("mine", "label", "page.html").is_file()
    sizes = artefacts.read_table("mine", "table_corpus").set_index("split")["essays"]
    assert sizes["pool"] == 50 and sizes["all"] == 90
    told = capfd.readouterr().out
    assert "page.html" in told and "`cyborg label mine` writes the scores" in told


def no_essay_in(folder: Path, essays: list[dict]) -> None:
    """No four words running of any essay stand in any file."""
    pieces = set()
    for essay in essays:
        words = essay["full_text"].split()
        pieces |= {" ".join(words[start : start + 4]) for start in range(len(words) - 3)}
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".png", ".svg")]
    assert len(files) > 5
    for file in files:
        words = (
            file.read_text(encoding="utf-8", errors="replace")
            .replace("\\n", " ")
            .replace('"', " ")
            .replace("<", " ")
            .replace(">", " ")
            .split()
        )
        found = pieces & {" ".join(words[start : start + 4]) for start in range(len(words) - 3)}
        assert not found, f"{file.name} holds essay text: {sorted(found)[:3]}"
