"""Anybody's predictions: read without loss, refused with a remedy, judged by the field's thresholds."""

from __future__ import annotations

import json

import corpus_samples
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.extensions.audit import judgement, predictions, sentences
from cyborg_utils.run import cli, execute
from cyborg_utils.stats import metrics, power

SCALE = Scale(1, 6)
COLUMNS = {"id": "essay", "human": "human", "machine": "machine", "groups": ["ell"], "second": "other"}


def table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    human = rng.integers(1, 7, n)
    return pd.DataFrame(
        {
            "essay": [f"e{at}" for at in range(n)],
            "human": human,
            "machine": np.round(human + rng.normal(0.2, 0.7, n), 3),
            "ell": np.where(np.arange(n) % 3 == 0, "Yes", "No"),
            "other": np.clip(human + rng.integers(-1, 2, n), 1, 6),
        }
    )


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "tsv"])
def test_every_format_gives_the_same(tmp_path, ending):
    file, frame = tmp_path / f"given.{ending}", table()
    if ending == "parquet":
        frame.to_parquet(file)
    elif ending == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    else:
        frame.to_csv(file, index=False, sep="\t" if ending == "tsv" else ",")
    found = predictions.load(file, scale=SCALE, **COLUMNS)
    assert list(found) == ["essay_id", "score", "value", "second_score", "groups.ell"]
    np.testing.assert_allclose(found[["score", "value", "second_score"]], frame[["human", "machine", "other"]])
    assert found["groups.ell"].tolist() == frame["ell"].tolist()


def test_what_is_unknown_is_not_a_fault(tmp_path):
    frame = table(6).astype(object)
    frame.loc[0, "ell"], frame.loc[1, "other"], frame.loc[2, "machine"] = "", "NA", 9.75
    frame.to_csv(tmp_path / "a.csv", index=False)
    found = predictions.load(tmp_path / "a.csv", scale=SCALE, **COLUMNS)
    assert found["groups.ell"].isna().tolist() == [True, *[False] * 5]
    assert found["second_score"].isna().tolist() == [False, True, *[False] * 4] and found["value"][2] == 9.75


@pytest.mark.parametrize(
    "column, value, told",
    [
        ("human", 7, "row 4, column human: 7 is not on the scale 1-6 by 1"),
        ("human", 2.5, "2.5 is not on the scale"),
        ("human", "", "row 4, column human: no score"),
        ("machine", "good", "row 4, column machine: 'good' is not a finite number"),
        ("machine", "inf", "row 4, column machine: 'inf' is not a finite number"),
        ("other", 9, "row 4, column other: 9 is not on the scale"),
        ("essay", "", "row 4, column essay: no id"),
        ("essay", "e0", "row 4, column essay: e0 stands in row 2 already"),
    ],
)
def test_a_fault_is_told_by_row_and_column(tmp_path, column, value, told):
    frame = table(6).astype(object)
    frame.loc[2, column] = value
    frame.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(CyborgError) as error:
        predictions.load(tmp_path / "bad.csv", scale=SCALE, **COLUMNS)
    assert told in str(error.value) and "bad.csv" in str(error.value) and "mend" in str(error.value)


def test_many_faults_are_counted_and_missing_columns_named(tmp_path):
    table(30).assign(machine="x").to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(CyborgError, match="30 fault.*\n.*row 2, column machine") as error:
        predictions.load(tmp_path / "bad.csv", scale=SCALE, **COLUMNS)
    assert "and 25 more" in str(error.value)
    with pytest.raises(CyborgError, match="no column rater_1; there are essay, human, machine, ell, other"):
        predictions.load(tmp_path / "bad.csv", scale=SCALE, **COLUMNS | {"human": "rater_1"})
    with pytest.raises(CyborgError, match="nowhere.csv: no such file"):
        predictions.load("nowhere.csv", scale=SCALE, **COLUMNS)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=12))
def test_rubbish_is_an_error_of_ours_or_loads_whole(tmp_path_factory, cells):
    file = tmp_path_factory.mktemp("rubbish") / "a.jsonl"
    rows = [{"essay": f"e{at}", "human": cell, "machine": cell, "ell": cell, "other": cell} for at, cell in enumerate(cells)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    try:
        assert len(predictions.load(file, scale=SCALE, **COLUMNS)) == len(cells)
    except CyborgError as error:
        assert "row 1" in str(error) or "fault" in str(error)


def test_thresholds_are_judged_by_value_and_unknown_stays_unknown():
    frame = table(400).rename(columns={"human": "score", "machine": "value", "other": "second_score"})
    options = {"resamples": 200, "confidence": 0.95, "seed": 1}
    judged = pd.DataFrame(
        {"attribute": "ell", "group": ["No", "Yes"], "smd": [0.02, -0.12], "smd_low": [0, -0.2], "smd_high": 0.1}
    )
    found = judgement.thresholds(frame, SCALE, by_group=judged, **options).set_index("criterion")
    worst = found.loc["largest |SMD| of a group", ["group", "value", "low", "high"]].tolist()
    assert worst == ["ell: Yes", 0.12, -0.1, 0.2]
    options["by_group"] = judged[:0]
    level, given_level = SCALE.level(frame["score"]), SCALE.nearest(frame["value"])
    assert found.loc["QWK", "value"] == pytest.approx(metrics.qwk(level, given_level, levels=6))
    assert (found["low"].dropna() < found["value"][found["low"].notna()]).all()
    assert found.loc["QWK", "met"] == "yes" and found.loc["largest |SMD| of a group", "met"] == "no"
    people = metrics.qwk(level, SCALE.level(frame["second_score"]), levels=6)
    assert found.loc["below two people (QWK)", "value"] == pytest.approx(people - found.loc["QWK", "value"])
    alone = judgement.thresholds(frame.assign(second_score=np.nan), SCALE, **options).set_index("criterion")["met"]
    assert alone["below two people (QWK)"] == "not known" == alone["largest |SMD| of a group"]
    strict = judgement.thresholds(frame.assign(value=frame["value"] - 2), SCALE, **options).set_index("criterion")["met"]
    assert strict["SMD, all essays"] == "no" and strict["Pearson r"] == "yes" and strict["SD ratio, human / machine"] == "yes"


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"ell": "\udcff"}, "row 2, column ell: unreadable bytes"),
        ({"essay": "\ud83d"}, "row 2, column essay: unreadable bytes"),
        ({"essay": ["e1"]}, "row 2, column essay: neither text nor number but list"),
        ({"machine": "1_0"}, "row 2, column machine: '1_0' is not a finite number"),
        ({"machine": 10**400}, "row 2, column machine: '1000000000[^ ]{20}' is not a finite number"),
    ],
)
def test_a_cell_that_no_table_can_hold_is_a_fault(tmp_path, changes, told):
    rows = table(6).astype(object).to_dict("records")
    rows[1] |= changes
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(CyborgError, match=rf"bad.jsonl: 1 fault.*\n *{told}"):
        predictions.load(tmp_path / "bad.jsonl", scale=SCALE, **COLUMNS)


def test_a_whole_number_is_the_same_group_in_a_study_and_in_an_audit(project, tmp_path):
    """Parquet gives a grade column with gaps as floats; 8.0 was the group "8" here and "8.0" there."""
    frame = table(30).assign(text=[f"Text {at}" for at in range(30)], grade=[8.0, np.nan, 9.0] * 10, essay=np.arange(30.0))
    frame.to_parquet(tmp_path / "a.parquet")
    audited = predictions.load(tmp_path / "a.parquet", scale=SCALE, **COLUMNS | {"groups": ["grade"]})
    options = {"file": str(tmp_path / "a.parquet"), "id": "essay", "text": "text", "groups": {"grade": "grade"}}
    settings = corpus_samples.settings("table", score="human", groups=["grade"], options=options)
    studied = corpora.frame(corpora.build(settings).dataset)
    for column in ("essay_id", "groups.grade"):
        assert audited[column].fillna("unknown").tolist() == studied[column].fillna("unknown").tolist()
    assert audited["groups.grade"].dropna().unique().tolist() == ["8", "9"] and audited["essay_id"][1] == "1"


@pytest.mark.parametrize("arguments", [["Demo.csv"], ["other.csv", "--name", "demo"]])
def test_the_folder_of_a_study_is_not_written_into(project, monkeypatch, arguments):
    table(6).to_csv(project / arguments[0], index=False)
    monkeypatch.setattr(execute, "execute", None)
    with pytest.raises(
        SystemExit, match="results/demo is the folder of the study 'demo'. Give another, such as --name demo_audit"
    ):
        cli.main(["audit", *arguments, "--id", "essay", "--scale", "1", "6", "1"])


def test_sentences_say_what_the_tables_show():
    table = pd.DataFrame({"criterion": ["QWK", "Pearson r", "below two people (QWK)"], "met": ["yes", "no", "not known"]})
    columns = ["attribute", "group", "smd", "verdict"]
    judged = pd.DataFrame([("ell", "Yes", -0.31, "biased"), ("ell", "No", 0.01, "undecided")], columns=columns)
    first, missed, unknown, groups = sentences.thresholds_met(table, judged, smd_limit=0.1).split("\n\n")
    assert (first, missed, unknown) == (
        "**1 of 2 thresholds are met.**",
        "Missed: Pearson r.",
        "Not known: below two people (QWK).",
    )
    assert groups == (
        "Of 2 writer groups large enough to judge, 1 are treated differently, beyond 0.1: ell = Yes (-0.31); 0 are not, "
        "1 cannot be told."
    )
    assert sentences.thresholds_met(table[:1], judged[:0], smd_limit=0.1) == "**1 of 1 thresholds are met.**"


@pytest.mark.parametrize(
    "low, high, told",
    [(-0.2, -0.1, "suppressed"), (0.1, 0.2, "given too often"), (-0.1, 0.1, "not shown to be given too rarely")],
)
def test_high_scores_are_called_suppressed_only_beyond_chance(low, high, told):
    found = {"machine_top": 0.02, "human_top": 0.05, "change": -0.03, "change_low": low, "change_high": high}
    text = sentences.high_scores(found | {"shift": 0.0, "shift_low": -0.1, "shift_high": 0.1})
    assert f"High scores are **{told}**: 2.0% of the essays get one of the two highest instead of 5.0%" in text


def test_an_audit_without_groups_or_second_scores_says_so():
    essays = pd.DataFrame({"score": [1.0, 2.0], "value": [1.0, 2.0], "second_score": [np.nan] * 2})
    assert (
        sentences.described(essays, "from `a.csv`")
        == "**2 essays** from `a.csv`; 0 with a second human score. Writer groups: none named."
    )
    assert "cannot be computed" in sentences.true_score_agreement(essays)
    empty = pd.DataFrame(columns=["attribute", "question", "answerable"])
    assert sentences.can_be_cleared(empty, smd_limit=0.1) == "No writer groups are named."
    rows = pd.DataFrame({"attribute": ["ell", "ell", "all"], "question": power.CLEARED, "answerable": [True, False, True]})
    assert "for **1 of 2 groups**" in sentences.can_be_cleared(rows, smd_limit=0.1)
    csd = pd.DataFrame(
        {"measure": ["CSD", "CSD"], "attribute": ["ell", "gender"], "p_holm": [0.01, 0.2], "r2_adjusted": [0.02, 0]}
    )
    assert "differently by **ell (2.0% of the variance of the error)**" in sentences.unequal(csd)
    assert sentences.unequal(csd[1:]).startswith("At equal human score no attribute")
