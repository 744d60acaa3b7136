"""`make verify` finds what differs, and only that."""

import subprocess
from contextlib import nullcontext

import pandas as pd
import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import cli, verify
from cyborg_utils.study import artefacts

FRAME = pd.DataFrame({"arm": ["human", "cyborg"], "qwk": [0.5, 0.7], "seconds": [1.0, 2.0], "gap": [float("nan"), 0.4]})
TOLERANCE = {"default": 0, "qwk": 0.02, "seconds": float("inf")}


def changed(row, column, value):
    frame = FRAME.astype({"arm": object})
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    "now",
    [FRAME, changed(1, "qwk", 0.72), changed(1, "qwk", 0.68), changed(0, "seconds", 900.0)],
    ids=["same", "up to the limit", "down to the limit", "not compared"],
)
def test_what_lies_within_the_tolerance_agrees(now):
    assert verify.compare(FRAME, now, TOLERANCE) == []


@pytest.mark.parametrize(
    "now, words",
    [
        (changed(1, "qwk", 0.7201), "row 2 (cyborg), column qwk: committed 0.7, now 0.7201, tolerance 0.02"),
        (changed(1, "gap", 0.4001), "row 2 (cyborg), column gap: committed 0.4, now 0.4001, tolerance 0"),
        (changed(0, "gap", 0.1), "row 1 (human), column gap: committed nan, now 0.1, tolerance 0"),
        (changed(1, "gap", float("nan")), "row 2 (cyborg), column gap: committed 0.4, now nan, tolerance 0"),
        (changed(0, "arm", "full"), "row 1 (human), column arm: committed human, now full, tolerance 0"),
        (FRAME.iloc[:1], "rows: committed 2; now 1"),
        (FRAME.drop(columns="gap"), "columns: committed arm, qwk, seconds, gap; now arm, qwk, seconds"),
        (FRAME[["qwk", "arm", "seconds", "gap"]], "columns: committed arm, qwk, seconds, gap; now qwk, arm, seconds, gap"),
    ],
)
def test_every_difference_is_named(now, words):
    assert verify.compare(FRAME, now, TOLERANCE) == [words]


@pytest.fixture
def committed(project):
    """A project whose results/try/tables are committed."""
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [90, 10]}))
    artefacts.save_table("try", "table_qwk", pd.DataFrame({"arm": ["human"], "qwk": [0.61]}))
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for call in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *call], check=True)
    return project


def test_unchanged_tables_pass(committed):
    assert verify.verify("try") == (2, [])


def test_a_changed_cell_is_found_and_a_small_change_of_a_model_is_not(committed):
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [91, 10]}))
    artefacts.save_table("try", "table_qwk", pd.DataFrame({"arm": ["human"], "qwk": [0.62]}))
    line = "results/try/tables/table_corpus.csv: row 1 (train), column essays: committed 90, now 91, tolerance 0"
    assert verify.verify("try") == (2, [line])


def test_a_missing_and_a_new_table_are_differences(committed):
    paths.results("try", "tables", "table_qwk.csv").unlink()
    artefacts.save_table("try", "table_gap_closed", pd.DataFrame({"closed": [0.8]}))
    assert verify.verify("try")[1] == [
        "results/try/tables/table_qwk.csv: committed, but not there now",
        "results/try/tables/table_gap_closed.csv: there now, but not committed",
    ]


def test_many_differences_are_counted(committed, monkeypatch):
    monkeypatch.setattr(verify, "SHOWN", 1)
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [1, 2]}))
    assert verify.verify("try")[1][1] == "results/try/tables/table_corpus.csv: and 1 more"


def test_nothing_committed_is_not_a_pass(committed):
    with pytest.raises(CyborgError, match="results/other/tables: the commit HEAD holds no table"):
        verify.verify("other")


@pytest.mark.parametrize("essays, code", [(90, 0), (91, 1)])
def test_the_command_ends_with_the_right_code(committed, monkeypatch, capsys, essays, code):
    artefacts.save_table("try", "table_corpus", pd.DataFrame({"split": ["train", "test"], "essays": [essays, 10]}))
    with pytest.raises(SystemExit) if code else nullcontext() as ended:
        cli.main(["verify", "try"])
    assert not code or ended.value.code == code
    assert f"2 committed tables, {code} difference(s)" in capsys.readouterr().out
