"""`make verify` rebuilds from committed scores, and finds what differs, and only that."""

import json
import shutil
import subprocess
from contextlib import contextmanager, nullcontext

import pandas as pd
import pytest
import yaml
from conftest import CHECKOUT

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import cli, rebuild, verify
from cyborg_utils.study import artefacts

FRAME = pd.DataFrame({"arm": ["human", "cyborg"], "qwk": [0.5, 0.7], "seconds": [1.0, 2e6], "gap": [float("nan"), 0.4]})


def changed(row, column, value):
    frame = FRAME.astype({"arm": object})
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    "now",
    [FRAME, changed(1, "qwk", 0.7 + 9e-10), changed(1, "seconds", 2e6 + 1e-3)],
    ids=["same", "the tenth digit", "relative where large"],
)
def test_what_agrees_to_nine_digits_agrees(now):
    assert verify.differences(FRAME, now) == []


@pytest.mark.parametrize(
    "now, words",
    [
        (changed(1, "qwk", 0.700001), "row 2 (cyborg), column qwk: committed 0.7, now 0.700001"),
        (changed(1, "gap", 0.4001), "row 2 (cyborg), column gap: committed 0.4, now 0.4001"),
        (changed(0, "gap", 0.1), "row 1 (human), column gap: committed nan, now 0.1"),
        (changed(1, "gap", float("nan")), "row 2 (cyborg), column gap: committed 0.4, now nan"),
        (changed(0, "arm", "full"), "row 1 (human), column arm: committed human, now full"),
        (changed(0, "seconds", 900.0), "row 1 (human), column seconds: committed 1.0, now 900.0"),
        (FRAME.iloc[:1], "rows: committed 2; now 1"),
        (FRAME.drop(columns="gap"), "columns: committed arm, qwk, seconds, gap; now arm, qwk, seconds"),
        (FRAME[["qwk", "arm", "seconds", "gap"]], "columns: committed arm, qwk, seconds, gap; now qwk, arm, seconds, gap"),
    ],
)
def test_every_difference_is_named(now, words):
    assert verify.differences(FRAME, now) == [words]


# ---- two folders of results


@pytest.fixture
def folders(project):
    """Two folders with the same tables and figure; the second is the project's own, where tables are written."""
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [90, 10]}))
    artefacts.save_table("try", "table_qwk", pd.DataFrame({"arm": ["human"], "qwk": [0.61]}))
    words = paths.results("try", "figures", "figure_arms.alt.txt")
    words.parent.mkdir()
    words.write_text("QWK of human 0.61.\n", encoding="utf-8")
    shutil.copytree(paths.results("try"), project / "committed")
    return project / "committed", paths.results("try")


NOTEBOOKS = ["01_prepare_data", "05_test_significance"]


def test_unchanged_tables_and_figures_pass(folders):
    assert verify.between(*folders, NOTEBOOKS) == (2, 1, [])


def test_a_changed_cell_and_a_changed_figure_are_found(folders):
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [91, 10]}))
    (folders[1] / "figures" / "figure_arms.alt.txt").write_text("QWK of human 0.62.\n", encoding="utf-8")
    assert verify.between(*folders, NOTEBOOKS)[2] == [
        "tables/table_corpus.csv: row 1 (train), column essays: committed 90, now 91",
        "figures/figure_arms.alt.txt: committed 'QWK of human 0.61.'; now 'QWK of human 0.62.'",
    ]
    assert verify.between(*folders, ["06_analyze_bias"]) == (0, 0, [])  # of other notebooks


def test_a_missing_and_a_new_table_are_differences(folders):
    paths.results("try", "tables", "table_qwk.csv").unlink()
    artefacts.save_table("try", "table_gap_closed", pd.DataFrame({"closed": [0.8]}))
    assert verify.between(*folders, NOTEBOOKS)[2] == [
        "tables/table_gap_closed.csv: made now, but not committed",
        "tables/table_qwk.csv: committed, but not made any more",
    ]


def test_many_differences_are_counted(folders, monkeypatch):
    monkeypatch.setattr(verify, "SHOWN", 1)
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [1, 2]}))
    assert verify.between(*folders, NOTEBOOKS)[2][1] == "tables/table_corpus.csv: and 1 more"


@pytest.mark.parametrize("essays, code", [(90, 0), (91, 1)])
def test_the_command_ends_with_the_right_code(folders, make_study, monkeypatch, capsys, essays, code):
    make_study("try")
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [essays, 10]}))

    @contextmanager
    def rebuilt(profile, *, commit):
        home = paths.home()
        (home / "committed" / "results").mkdir()
        shutil.copytree(paths.home() / "committed", home / "c" / "committed" / "results" / profile)
        shutil.copytree(paths.results(profile), home / "c" / "results" / profile)
        yield home / "c", NOTEBOOKS

    monkeypatch.setattr(rebuild, "rebuilt", rebuilt)
    with pytest.raises(SystemExit) if code else nullcontext() as ended:
        cli.main(["verify", "try"])
    assert not code or ended.value.code == code
    said = capsys.readouterr().out
    assert "2 tables and the data of 1 figures rebuilt from the scores of HEAD" in said and f"{code} difference(s)" in said


# ---- rebuilding


def commit(project):
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for call in (["init", "-q"], ["add", "results"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *call], check=True)


def test_nothing_committed_is_not_a_pass(project, make_study):
    make_study("try")
    artefacts.save_table("try", "table_qwk", FRAME)
    commit(project)
    with pytest.raises(CyborgError, match="results/try/scores: the commit HEAD holds no scores to rebuild from"):
        verify.compare("try")


@pytest.mark.slow
def test_tables_are_rebuilt_from_the_committed_scores_without_essays_or_models(project, make_study, make_notebook):
    """From what a fresh clone holds; a cell that differs is named, and nothing of the project is written."""
    make_study("try")
    entry = {"kind": "table", "title": "t", "paper": "ours"}
    registry = {name: entry | {"notebook": "14_audit_scores"} for name in ("table_audit", "table_audit_power")}
    registry["table_students"] = entry | {"notebook": "04_train_student", "needs": "model", "per_run": True}
    (project / "params" / "artefacts.yaml").write_text(yaml.safe_dump(registry), encoding="utf-8")
    real = json.loads((CHECKOUT / "notebooks" / "extensions" / "14_audit_scores.ipynb").read_text(encoding="utf-8"))
    parameters = next("".join(cell["source"]) for cell in real["cells"] if "parameters" in cell["metadata"].get("tags", []))
    for name in ("14_audit_scores", "00_overview"):
        for file in project.glob(f"notebooks/**/{name}.ipynb"):
            file.unlink()
    read = "from cyborg_utils.study import artefacts, scores\nmean = scores.essays(profile)[['score']].mean() / 3"
    write = "for name in ('table_audit', 'table_audit_power'):\n    artefacts.save_table(profile, name, mean.to_frame().T)\n"
    make_notebook(
        "14_audit_scores", parameters, read, write + "artefacts.write_record(profile, '14_audit_scores', parameters={})"
    )
    paths.results("try", "scores").mkdir(parents=True)
    shutil.copy(CHECKOUT / "results" / "demo" / "scores" / "essays.csv", paths.results("try", "scores"))
    mean = pd.read_csv(paths.results("try", "scores", "essays.csv"))[["score"]].mean() / 3
    artefacts.save_table("try", "table_audit", mean.to_frame().T)
    artefacts.save_table("try", "table_audit_power", mean.to_frame().T + 1e-7)
    artefacts.save_table("try", "table_students_u10_s1", FRAME)
    artefacts.write_record("try", "14_audit_scores", parameters={})
    commit(project)
    for file in paths.results("try").rglob("*.csv"):
        file.write_text("retrained since\n", encoding="utf-8")  # what is there now does not matter
    before = {file: file.read_bytes() for file in project.rglob("results/**/*") if file.is_file()}
    report = verify.compare("try")
    assert len(report.differences) == 1 and "results/try/tables/table_audit_power.csv: row 1" in report.differences[0]
    assert "2 tables and the data of 0 figures rebuilt" in report.text
    assert "04_train_student (needs a model): table_students" in report.text
    assert before == {file: file.read_bytes() for file in project.rglob("results/**/*") if file.is_file()}


def test_a_notebook_needs_a_model_where_its_setting_says_so(project, make_study):
    make_study("try", calibrate_student={"penalty_seeds": [1]})
    assert artefacts.needs("07_calibrate_student", config.load("try")) == "model"
    make_study("try", calibrate_student={"penalty_seeds": []})
    assert artefacts.needs("07_calibrate_student", config.load("try")) == "scores"
    assert [artefacts.needs(name, config.load("try")) for name in ("01_prepare_data", "04_train_student")] == ["essays", "model"]


def test_artefacts_of_one_notebook_need_the_same():
    needs = {}
    for entry in artefacts.registry().values():
        needs.setdefault(entry["notebook"], set()).add(entry.get("needs", "scores"))
    assert all(len(told) == 1 for told in needs.values())
    assert {word.split(" if ")[0] for told in needs.values() for word in told} == {"scores", "essays", "model"}
