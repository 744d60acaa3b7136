"""Anybody's predictions: read without loss, refused with a remedy, judged by the field's thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import corpus_samples
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.extensions.audit import judgement, predictions, report, sentences
from cyborg_utils.run import cli, execute
from cyborg_utils.stats import fairness, metrics, power
from cyborg_utils.stats.bootstrap import bootstrap_interval
from cyborg_utils.study import artefacts

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
        ("human", 7, "row 4, column human: score '7' is off the scale 1-6 by 1"),
        ("human", 2.5, "score '2.5' is off the scale"),
        ("human", "", "row 4, column human: no score"),
        ("machine", "good", "row 4, column machine: 'good' is not a finite number"),
        ("machine", "inf", "row 4, column machine: 'inf' is not a finite number"),
        ("other", 9, "row 4, column other: score '9' is off the scale"),
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
        ({"prompt": "\udcff"}, "row 2, column prompt: unreadable bytes"),
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


@pytest.mark.parametrize("arguments", [["Demo.csv"], ["other.csv", "--name", "demo"], ["other.csv", "--name", "DEMO"]])
def test_the_folder_of_a_study_is_not_written_into(project, monkeypatch, arguments):
    table(6).to_csv(project / arguments[0], index=False)
    monkeypatch.setattr(execute, "execute", None)
    name = arguments[-1] if "--name" in arguments else "demo"
    with pytest.raises(
        SystemExit, match=f"results/{name} is the folder of the study 'demo'. Give another, such as --name {name}_audit"
    ):
        cli.main(["audit", *arguments, "--id", "essay", "--scale", "1", "6", "1"])


# ---------------------------------------------------------------- where an audit is written


@pytest.mark.parametrize(
    "file, name",
    [
        ("Оценки.csv", "оценки"),
        ("результаты.csv", "результаты"),
        ("a b-c.d.csv", "a_b_c_d"),
        ("🙂.csv", "audit"),
        ("x" * 99, "x" * 60),
    ],
)
def test_a_folder_keeps_the_letters_of_any_alphabet(project, file, name):
    assert predictions.folder_name(Path(file)) == name
    assert len(paths.results(predictions.folder_name(Path("語" * 200))).name.encode()) < 256


@pytest.mark.parametrize("name", ["coverage", "bench", "robustness", "Coverage", *(study for study in config.profiles())])
def test_names_of_the_package_s_own_results_are_refused(project, name):
    table(6).to_csv(project / "a.csv", index=False)
    with pytest.raises(CyborgError, match=f"results/{name} .*Give another, such as --name {name}_audit"):
        predictions.check_folder(name, project / "a.csv", replace=True)
    assert not (project / "results").exists()


def test_an_audit_of_another_file_is_not_overwritten_in_silence(project):
    for folder, rows in (("x", 6), ("y", 7)):
        (project / folder).mkdir()
        table(rows).to_csv(project / folder / "preds.csv", index=False)
    first, other = project / "x" / "preds.csv", project / "y" / "preds.csv"
    predictions.check_folder("preds", first)  # nothing is there
    record = artefacts.record_file("preds", predictions.NOTEBOOK)
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"inputs": {"x/preds.csv": provenance.sha256(first)[:16]}}))
    predictions.check_folder("preds", first)  # the same file once more
    predictions.check_folder("preds", other, replace=True)
    with pytest.raises(CyborgError, match=r"results/preds holds the audit of x/preds.csv.*--name y_preds, or --replace it"):
        predictions.check_folder("preds", other)
    record.unlink()
    (project / "results" / "preds" / "mine.txt").write_text("kept")
    with pytest.raises(CyborgError, match="results/preds is there and is no audit. Give another"):
        predictions.check_folder("preds", first, replace=True)


def test_the_command_reads_the_caller_s_file_and_hands_every_option_on(project, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    table(40).assign(task=["a", "b"] * 20, machine=lambda rows: rows["machine"] * 20).to_csv("Оценки 1.csv", index=False)
    given = []
    monkeypatch.setattr(execute, "execute", lambda *names, values: given.append((names, values)) or Path("copy.ipynb"))
    monkeypatch.setattr(report, "judged_by", lambda asked, name: {"failures": []})
    call = ["audit", "Оценки 1.csv", "--id", "essay", "--second", "other", "--prompt", "task", "--groups", "ell"]
    cli.main([*call, "--none-is-value", "--scale", "1", "6", "1", "--machine-scale", "20", "120"])
    ((names, values),) = given
    assert names == ("14_audit_scores", "оценки_1") and values["file"] == str(tmp_path / "elsewhere" / "Оценки 1.csv")
    assert values["none_is_value"] is True and values["machine_scale"] == [20, 120] and values["prompt"] == "task"
    assert set(values) == set(config.parameters(paths.notebook("14_audit_scores")))


def test_what_an_earlier_audit_left_is_taken_away(project):
    old, kept = (artefacts.files("preds", name)[0] for name in ("table_audit_conditional", "table_audit"))
    old.parent.mkdir(parents=True)
    old.write_text("a"), kept.write_text("a")
    predictions.remove_older("preds", old.stat().st_mtime - 1)
    assert old.exists()
    predictions.remove_older("preds", old.stat().st_mtime + 1)
    assert not old.exists() and kept.exists()


# ---------------------------------------------------------------- files as people have them


def loaded(tmp_path, frame: pd.DataFrame, **options) -> pd.DataFrame:
    frame.to_csv(tmp_path / "a.csv", index=False)
    return predictions.load(tmp_path / "a.csv", **{"scale": SCALE} | COLUMNS | options)


@pytest.mark.parametrize(
    "change, declare",
    [
        (lambda score: (score - 1) / 5, "0 1"),  # normalised
        (lambda score: 20 * (score - 1), "0 100"),
        (lambda score: 1000 + score, "1001"),
    ],
)
def test_a_machine_on_another_scale_is_refused_until_that_is_declared(tmp_path, change, declare):
    frame = table()
    right = loaded(tmp_path, frame)["value"]
    frame["machine"] = change(frame["machine"].clip(1, 6))
    with pytest.raises(CyborgError, match=rf"machine scores lie in .*, the scale is 1 to 6.*--machine-scale {declare}"):
        loaded(tmp_path, frame)
    ends = [float(change(end)) for end in (1, 6)]
    found = loaded(tmp_path, frame, machine_scale=ends)
    np.testing.assert_allclose(found["value"], right.clip(1, 6))
    assert "mapped linearly onto 1 to 6" in found.attrs["notes"][-1]
    np.testing.assert_allclose(loaded(tmp_path, frame, machine_scale=[1, 6])["value"], frame["machine"])  # as they are


def test_unit_scores_inside_the_scale_are_noticed_too(tmp_path):
    frame = table().assign(human=lambda rows: rows["human"] // 2, machine=lambda rows: (rows["human"] / 3 + 0.001).clip(0, 1))
    with pytest.raises(CyborgError, match="scores lie in .* to 1, the scale is 0 to 3.*--machine-scale 0 1"):
        loaded(tmp_path, frame, scale=Scale(0, 3), second="")


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_a_machine_that_pulls_to_the_middle_is_on_its_scale(tmp_path, share):
    """The best guess of a weak machine: r below 1, SD below people's."""
    frame = table(400)
    noise = np.random.default_rng(1).normal(size=400)
    blurred = share * (frame["human"] - 3.5) + np.sqrt(1 - share**2) * frame["human"].std() * noise
    frame["machine"] = 3.5 + share * blurred
    assert len(loaded(tmp_path, frame)) == 400


def test_a_wrong_machine_scale_and_a_second_score_on_another_scale_are_refused(tmp_path):
    frame = table()
    for ends in ([1, 1], [6, 1], [0, np.inf], [1]):
        with pytest.raises(CyborgError, match="needs the lowest and the highest score"):
            loaded(tmp_path, frame, machine_scale=ends)
    with pytest.raises(CyborgError, match="after the mapping"):
        loaded(tmp_path, frame.assign(machine=frame["machine"] * 20), machine_scale=[0, 1])
    frame = frame.assign(human=frame["human"] * 10, machine=frame["machine"] * 10)
    with pytest.raises(CyborgError, match="column other: second human scores lie in .*, the scale is 0 to 60"):
        loaded(tmp_path, frame, scale=Scale(0, 60))


def test_words_for_none_are_counted_and_can_be_groups(tmp_path):
    frame = table().astype(object)
    frame.loc[:4, "ell"], frame.loc[5, "ell"], frame.loc[6, "ell"] = "None", "NA", ""
    found = loaded(tmp_path, frame)
    assert found["groups.ell"].isna().sum() == 7
    told = sentences.described(found, "from `a.csv`")
    for count, word in ((5, "None"), (1, "NA")):
        assert f"{count} cell(s) of ell say '{word}' and were read as unknown. If that is a group, use --none-is-value." in told
    kept = loaded(tmp_path, frame, none_is_value=True)
    assert kept["groups.ell"].isna().sum() == 1 and {"None", "NA"} < set(kept["groups.ell"].dropna())
    assert "were read as unknown" not in sentences.described(kept, "from `a.csv`")


@pytest.mark.parametrize(
    "options, told",
    [
        ({"groups": ["ell", "ell"]}, "column ell is given twice as a group"),
        ({"machine": "human"}, "column human is given twice as a score"),
        ({"second": "machine"}, "column machine is given twice as a score"),
    ],
)
def test_a_column_named_twice_is_refused(tmp_path, options, told):
    with pytest.raises(CyborgError, match=told):
        loaded(tmp_path, table(), **options)


def test_groups_that_look_alike_are_pointed_out():
    names = ["Female", "female", "F", "Male"]
    frame = pd.DataFrame(
        {"groups.gender": [*names, None], "groups.ell": [*["Yes", "No"] * 2, None], "second_score": float("nan")}
    )
    told = sentences.described(frame, "from a file")
    assert "F, Female, female of gender look alike" in told and "of ell" not in told


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_groups_that_are_true_or_false_keep_their_names(tmp_path, ending):
    frame = table(12).assign(ell=[True, False] * 6)
    file = tmp_path / f"a.{ending}"
    if ending == "parquet":
        frame.to_parquet(file)
    elif ending == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_json(file, orient="records", lines=True)
    assert predictions.load(file, scale=SCALE, **COLUMNS)["groups.ell"].tolist() == ["True", "False"] * 6


def test_columns_of_groups_may_have_any_name(tmp_path):
    name = "Race/Ethnicity (self-reported)?"
    frame = loaded(tmp_path, table(90).rename(columns={"ell": name}), groups=[name])
    options = {"groups": [f"groups.{name}"], "seed": 1, "resamples": 100}
    assert set(fairness.smd_by_group(frame, scale=SCALE, **options)["attribute"]) == {"all", name}
    assert fairness.osa_osd_csd(frame, groups=[f"groups.{name}"])["p"].notna().all()


# ---------------------------------------------------------------- two people


def essays(n: int = 400, double: int | None = None, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    true = rng.normal(3.5, 1.2, n)
    score, second, value = (np.clip(true + rng.normal(0, spread, n), 1, 6) for spread in (0.5, 0.5, 0.4))
    second = np.where(np.arange(n) < (n if double is None else double), np.round(second), np.nan)
    return pd.DataFrame({"score": np.round(score), "second_score": second, "value": value})


NO_GROUP = pd.DataFrame(columns=["attribute", "group", "smd", "smd_low", "smd_high"])
OPTIONS = {"resamples": 400, "confidence": 0.95, "seed": 1}


def judged(frame: pd.DataFrame, scale: Scale = SCALE) -> pd.DataFrame:
    return judgement.thresholds(frame, scale, by_group=NO_GROUP, **OPTIONS).set_index("criterion")


@pytest.mark.parametrize("double", [1, 2, 30, metrics.MIN_DOUBLE - 1])
def test_few_double_scored_essays_are_no_ground_for_a_verdict(double):
    frame = essays(double=double)
    row = judged(frame).loc[judgement.PEOPLE]
    why = f"{judgement.count(double, 'double-scored essay')}, 100 are needed"
    assert row["met"] == "not known" and row["why"] == why and np.isnan(row["value"])
    assert sentences.true_score_agreement(frame, **OPTIONS).endswith(f"is **not known**: {why}.")
    assert judgement.agreement_of_raters(frame, SCALE)["rater"].tolist() == ["machine"]


def test_enough_double_scored_essays_are_compared_on_the_same_essays():
    frame = essays(double=metrics.MIN_DOUBLE)
    row, twice = judged(frame).loc[judgement.PEOPLE], frame.dropna()
    level = {name: SCALE.nearest(twice[name]) for name in twice}
    of = {name: metrics.qwk(level["score"], level[name], levels=6) for name in ("second_score", "value")}
    assert row["value"] == pytest.approx(of["second_score"] - of["value"]) and row["low"] < row["value"] < row["high"]
    assert row["met"] in ("yes", "no") and len(judgement.agreement_of_raters(frame, SCALE)) == 2
    assert "**PRMSE = 0." in sentences.true_score_agreement(frame, **OPTIONS)


def test_the_fewest_double_scored_essays_tell_a_drop_of_a_tenth():
    """The reason of MIN_DOUBLE: where people's QWK is about 0.7, its interval is then no wider than the drop allowed."""
    rng, found = np.random.default_rng(0), []
    for n in (metrics.MIN_DOUBLE, 40):
        halves = []
        for _ in range(40):
            true = rng.normal(3.5, 1.1, n)
            pair = [SCALE.nearest(true + rng.normal(0, 0.7, n)) for _ in range(2)]
            one = bootstrap_interval(*pair, metric="qwk", resamples=200, seed=rng)
            halves.append((one.high - one.low) / 2)
        found.append(np.median(halves))
    assert found[0] < 0.115 < found[1]


def test_a_second_score_that_is_a_copy_is_no_second_person():
    frame = essays().assign(second_score=lambda rows: rows["score"])
    assert "a copy, not a second person" in judged(frame).loc[judgement.PEOPLE, "why"]
    assert "a copy, not a second person" in sentences.true_score_agreement(frame, **OPTIONS)


def test_a_share_above_one_is_never_a_finding():
    """A machine that is the mean of the two ratings lies nearer to them than any true score could."""
    frame = essays()
    frame["value"] = frame[["score", "second_score"]].mean(axis=1)
    assert metrics.prmse(frame[["score", "second_score"]], frame["value"]) > 1
    told = sentences.true_score_agreement(frame, **OPTIONS)
    assert "is **not known**: two people's scores tell too little of the true score here (estimate 1." in told
    noise = pd.DataFrame(np.random.default_rng(3).integers(1, 7, (150, 3)), columns=["score", "second_score", "value"])
    assert "**not known**: two people's scores tell too little" in sentences.true_score_agreement(noise, **OPTIONS)


# ---------------------------------------------------------------- nothing varies, or hardly anything is there


@pytest.mark.parametrize("n", [1, 2, 3, judgement.FEWEST - 1])
def test_a_handful_of_essays_gives_no_verdict(n):
    frame = essays(n)
    found = judged(frame)
    why = f"{judgement.count(n, 'essay')}, 30 are needed"
    assert (found["met"] == "not known").all() and (found["why"] == why).all() and (found["clear"] == "").all()
    assert sentences.thresholds_met(found.reset_index(), NO_GROUP, smd_limit=0.1).startswith("**No verdict.**")


def test_scores_that_do_not_vary_are_undefined_not_missed():
    same = judged(essays().assign(score=4.0))
    assert (same["met"] == "not known").all() and set(same["why"]) == {"people gave every essay the same score"}
    machine = judged(essays().assign(value=4.0))
    assert machine.loc["QWK", ["value", "met"]].tolist() == [0, "no"]
    for name in ("Pearson r", "SD ratio, human / machine"):
        assert machine.loc[name, ["met", "why"]].tolist() == ["not known", "undefined: scores do not vary"]


def test_a_group_whose_human_scores_are_all_the_same_is_not_the_largest():
    rows = pd.DataFrame(
        {"attribute": "ell", "group": ["A", "B"], "smd": [np.nan, -0.2], "smd_low": [np.nan, -0.3], "smd_high": -0.1}
    )
    row = judgement.thresholds(essays(), SCALE, by_group=rows, **OPTIONS).set_index("criterion").loc[judgement.LARGEST]
    assert row[["group", "value", "low", "high", "met", "clear"]].tolist() == ["ell: B", 0.2, 0.1, 0.3, "no", "no"]
    alone = judgement.thresholds(essays(), SCALE, by_group=rows[:1], **OPTIONS).set_index("criterion").loc[judgement.LARGEST]
    assert alone[["group", "met"]].tolist() == ["", "not known"]


def test_a_clear_answer_is_one_that_the_whole_interval_gives():
    found = judged(essays())
    assert found.loc["QWK", ["met", "clear"]].tolist() == ["yes", "yes"]
    few = judged(essays(40).assign(value=lambda rows: rows["value"] + 0.15))
    assert (few["clear"] == "no").any()
    assert "Not settled by these essays" in sentences.thresholds_met(few.reset_index(), NO_GROUP, smd_limit=0.1)


# ---------------------------------------------------------------- prompts


def three_prompts(n: int = 60) -> pd.DataFrame:
    """Scales of their own (2-12, 0-3, 10-60), the machine random within each: it knows the prompt and nothing else."""
    rng, parts = np.random.default_rng(8), []
    for prompt, low, high in (("1", 2, 12), ("3", 0, 3), ("8", 10, 60)):
        human, value = rng.integers(low, high + 1, (2, n)).astype(float)
        parts.append(
            pd.DataFrame({"prompt": prompt, "score": human, "value": value, "second_score": np.nan, "groups.ell": "Yes"})
        )
    return pd.concat(parts, ignore_index=True)


def test_agreement_is_judged_within_prompts_and_pooling_is_called_by_its_name():
    frame, scale = three_prompts(), Scale(0, 60)
    table = judgement.by_prompt(frame, scale)
    assert table["prompt"].tolist() == [judgement.WITHIN, judgement.POOLED, "1", "3", "8"]
    rows = table.set_index("prompt")
    assert rows.loc[judgement.POOLED, "qwk"] > 0.7 and abs(rows.loc[judgement.WITHIN, "qwk"]) < 0.2
    own = frame[frame["prompt"] == "3"]
    assert rows.loc["3", "qwk"] == pytest.approx(metrics.qwk(own["score"], own["value"], levels=4))  # the range does not matter
    found = judged(frame, scale)
    assert found.loc["QWK", "value"] == pytest.approx(rows.loc[judgement.WITHIN, "qwk"])
    assert found.loc["Pearson r", "value"] == pytest.approx(rows.loc[judgement.WITHIN, "r"])
    assert found.loc["QWK", "met"] == "no" == found.loc["Pearson r", "met"]
    told = sentences.agreement_within(frame, table)
    assert "**pooling flatters by 0." in told and "over 3 of 3 prompts" in told and "scales of their own" in told
    assert judgement.groups(frame) == [] and judgement.groups(frame[frame["prompt"] == "3"]) == ["groups.ell"]
    doubled = frame.assign(second_score=frame["value"])
    assert "prompts have scales of their own" in sentences.true_score_agreement(doubled, **OPTIONS)


def test_prompts_of_one_scale_do_not_flatter_and_small_ones_are_not_judged():
    frame = essays(300).assign(prompt=["10", "9"] * 150)
    table = judgement.by_prompt(frame, SCALE)
    assert table["prompt"].tolist()[2:] == ["9", "10"] and table["judged"].tolist() == ["", "", "yes", "yes"]
    told = sentences.agreement_within(frame, table)
    assert "flatters" not in told and "mean QWK" in told and "Prompts account for 0%" in told
    small = frame.assign(prompt=[f"p{at % 20}" for at in range(300)])
    table = judgement.by_prompt(small, SCALE)
    assert "over all essays as one table: only 0 of 20 prompts have 30 essays" in sentences.agreement_within(small, table)
    assert judged(small).loc["QWK", "value"] == pytest.approx(table.set_index("prompt").loc[judgement.POOLED, "qwk"])
    one = frame.assign(prompt="a")
    assert judgement.by_prompt(one, SCALE).empty and sentences.agreement_within(one, judgement.by_prompt(one, SCALE)) == ""


def test_one_part_gives_the_usual_interval_and_two_parts_the_right_coverage():
    frame = essays(100)
    level, given = SCALE.level(frame["score"]), SCALE.nearest(frame["value"])
    whole = bootstrap_interval(level, given, metric="qwk", **OPTIONS)
    assert judged(frame).loc["QWK", ["value", "low", "high"]].tolist() == pytest.approx(list(whole))
    assert judged(frame.assign(prompt=["a", "b"] * 50)).loc["QWK", "value"] != pytest.approx(whole.value)
    hits, big = 0, essays(200_000, seed=7)
    truth = metrics.pearson_r(big["score"], big["value"])
    for seed in range(200):
        sample = essays(160, seed=seed)
        halves = [np.arange(160) < 80, np.arange(160) >= 80]
        pair = sample["score"].to_numpy(), [sample["value"].to_numpy()]
        ends = judgement._mean_within(*pair, halves, metric="r", seed=seed, resamples=300)
        hits += ends.low <= truth <= ends.high
    assert 0.90 <= hits / 200 <= 0.99


def test_intervals_over_prompts_cover_other_prompts():
    """The machine's strictness differs by prompt (SD 0.3): drawing essays alone gives intervals that are too short."""
    rng, hits, times = np.random.default_rng(2), {"low": 0, "low_prompts": 0}, 120
    for seed in range(times):
        prompt = np.repeat(np.arange(12), 25)
        true = rng.normal(0, 1, 300)
        value = true + rng.normal(0, 0.3, 12)[prompt]  # on average 0
        frame = pd.DataFrame({"score": np.clip(np.round(3.5 + true), 1, 6), "value": 3.5 + value, "second_score": np.nan})
        options = OPTIONS | {"seed": seed, "resamples": 200}
        table = judgement.thresholds(frame.assign(prompt=prompt.astype(str)), SCALE, by_group=NO_GROUP, **options)
        row = table.set_index("criterion").loc["SMD, all essays"]
        for low in hits:
            hits[low] += row[low] <= 0 <= row[low.replace("low", "high")]
    assert hits["low"] / times < 0.75 and 0.88 <= hits["low_prompts"] / times <= 0.99
    assert "With prompts drawn, not essays, the intervals are: QWK [" in sentences.over_prompts(table)


def test_an_interval_over_prompts_needs_prompts():
    frame = essays(300)
    few, many = frame.assign(prompt=["a", "b", "c", "d"] * 75), frame.assign(prompt=["a", "b", "c", "d", "e"] * 60)
    assert judged(frame)[["low_prompts", "high_prompts"]].isna().all(axis=None) and judged(few)["low_prompts"].isna().all()
    assert sentences.over_prompts(judged(few).reset_index()) == ""
    row = judged(many).loc["QWK"]
    assert row["low_prompts"] < row["value"] < row["high_prompts"]  # within prompts
    assert judged(many)["low_prompts"].notna().sum() == 2


def test_a_prompt_column_is_read_named_or_not(tmp_path):
    frame = table().assign(prompt=[1.0, 2.0] * 30)
    found = loaded(tmp_path, frame, prompt="prompt")
    assert found["prompt"].tolist() == ["1", "2"] * 30 and found.attrs["notes"] == []
    assert "2 prompts." in sentences.described(found, "from `a.csv`")
    alone = loaded(tmp_path, frame)
    assert alone["prompt"].tolist() == ["1", "2"] * 30
    assert alone.attrs["notes"] == ["Column `prompt` is read as that of the prompts (`--prompt` names another)."]
    assert "prompt" not in loaded(tmp_path, frame, groups=["prompt"])  # it is something else here
    frame.loc[3, "prompt"] = np.nan
    assert loaded(tmp_path, frame)["prompt"][3] == "not recorded"
    with pytest.raises(CyborgError, match="row 5, column prompt: no prompt"):
        loaded(tmp_path, frame, prompt="prompt")


# ---------------------------------------------------------------- figures of many groups, and of whom it speaks


def test_a_figure_draws_no_more_groups_than_can_be_read():
    rows = pd.DataFrame({"attribute": ["all"] + ["school"] * 60, "group": ["all"] + [f"S{at}" for at in range(60)]})
    rows["n"] = [900, *range(100, 40, -1)]
    rows["verdict"] = ["not biased"] + ["undecided"] * 59 + ["biased"]
    shown = judgement.drawn_groups(rows, most=22)
    assert shown["group"].tolist() == ["all", *(f"S{at}" for at in range(21)), "S59"]
    told = sentences.drawn(shown, rows)
    assert told == "Drawn: 22 of the 60 groups of `school`, biased ones first, then those with most essays. The table has all."
    assert sentences.drawn(rows, rows) == "" and judgement.drawn_groups(rows, most=60).equals(rows)
    curves = pd.concat([rows.assign(score=score) for score in (1.0, np.nan)])
    assert len(judgement.drawn_groups(curves, most=22)) == 2 * len(shown)


def test_the_audit_says_that_it_speaks_of_one_model():
    assert "one trained Student, its matching as it is" in sentences.at_hand(study=True)
    assert "the machine that gave these scores" in sentences.at_hand(study=False)
    assert all("notebook 06" in sentences.at_hand(study) for study in (True, False))


def test_sentences_say_what_the_tables_show():
    table = pd.DataFrame({"criterion": ["QWK", "Pearson r", "below two people (QWK)"], "met": ["yes", "no", "not known"]})
    table = table.assign(clear=["yes", "no", ""], why=["", "", "no second human score"])
    columns = ["attribute", "group", "smd", "verdict"]
    judged = pd.DataFrame([("ell", "Yes", -0.31, "biased"), ("ell", "No", 0.01, "undecided")], columns=columns)
    first, missed, close, unknown, groups = sentences.thresholds_met(table, judged, smd_limit=0.1).split("\n\n")
    assert (first, missed, unknown) == (
        "**1 of 2 thresholds are met.**",
        "Missed: Pearson r.",
        "Not known: below two people (QWK) (no second human score).",
    )
    assert close == "Not settled by these essays (the threshold lies in the interval): Pearson r."
    assert groups == (
        "Of 2 writer groups large enough to judge, 1 are treated differently, beyond 0.1: ell = Yes (-0.31); 0 are not, "
        "1 cannot be told."
    )
    assert sentences.thresholds_met(table[:1], judged[:0], smd_limit=0.1) == "**1 of 1 threshold is met.**"
    short = "Thresholds met: 1 of 2; 1 not known. Of 2 writer groups large enough to judge: 1 biased, 0 not biased, 1 undecided."
    assert sentences.in_short(table, judged) == short and sentences.in_short(table[:2], judged[:0]) == "Thresholds met: 1 of 2."
    undefined = pd.concat([judged, pd.DataFrame([("ell", "?", np.nan, "undecided")], columns=columns)])
    told = sentences.thresholds_met(table, undefined, smd_limit=0.1)
    assert told.endswith("1 cannot be told; without SMD, since all human scores are the same: 1.")
    nothing = table.assign(met="not known", clear="", why="3 essays, 30 are needed")
    assert sentences.thresholds_met(nothing, judged, smd_limit=0.1) == (
        "**No verdict.**\n\nNot known: QWK, Pearson r, below two people (QWK) (3 essays, 30 are needed)."
    )


@pytest.mark.parametrize(
    "low, high, told",
    [(-0.2, -0.1, "suppressed"), (0.1, 0.2, "given too often"), (-0.1, 0.1, "not shown to be given too rarely")],
)
def test_high_scores_are_called_suppressed_only_beyond_chance(low, high, told):
    found = {"machine_top": 0.02, "human_top": 0.05, "change": -0.03, "change_low": low, "change_high": high}
    text = sentences.high_scores(found | {"shift": 0.0, "shift_low": -0.1, "shift_high": 0.1})
    assert f"High scores are **{told}**: 2.0% of the essays get one of the two highest instead of 5.0%" in text
    told = sentences.high_scores(found, why=judgement.no_ground(essays(3)))
    assert told == "Whether high scores are suppressed is **not known**: 3 essays, 30 are needed."


def test_an_audit_without_groups_or_second_scores_says_so():
    essays = pd.DataFrame({"score": [1.0, 2.0], "value": [1.0, 2.0], "second_score": [np.nan] * 2})
    assert (
        sentences.described(essays, "from `a.csv`")
        == "**2 essays** from `a.csv`; 0 with a second human score. Writer groups: none named."
    )
    assert sentences.true_score_agreement(essays).endswith("(PRMSE) is **not known**: no second human score.")
    empty = pd.DataFrame(columns=["attribute", "group", "question", "answerable"])
    assert sentences.can_be_cleared(empty, smd_limit=0.1) == "No writer groups are compared."
    rows = pd.DataFrame({"attribute": ["ell", "ell", "ell", "all"], "group": ["Yes", "No", "not recorded", "all"]})
    rows = rows.assign(question=power.CLEARED, answerable=[True, False, True, True])
    assert "for **1 of 2 groups**" in sentences.can_be_cleared(rows, smd_limit=0.1)
    csd = pd.DataFrame(
        {"measure": ["CSD", "CSD"], "attribute": ["ell", "gender"], "p_holm": [0.01, 0.2], "r2_adjusted": [0.02, 0]}
    )
    assert "differently by **ell (2.0% of the variance of the error)**" in sentences.unequal(csd)
    assert sentences.unequal(csd[1:]).startswith("At equal human score no attribute")
    assert "**not known**" in sentences.unequal(csd.assign(p_holm=np.nan))
