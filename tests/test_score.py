"""Scoring a file: the same numbers from any format, faults told by row and column, and nothing lost when it is stopped."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.extensions.scoring import advisory_flags, bundle, evaluation, predict
from cyborg_utils.models import cyborg_data, student
from cyborg_utils.run import cli
from cyborg_utils.stats import conformal

SCALE = Scale(1, 6)
NEW = pd.DataFrame(simulated.essays(40, 7))[["essay_id", "text", "assignment"]].tail(18).reset_index(drop=True)
SCORES, VALUES = np.linspace(1, 6, 19), 3.5 + np.resize([0.6, -0.4, 0.2, -0.4], 19)
NAMES = predict.Columns("essay_id", "text")


@pytest.fixture(scope="module")
def folder(tiny_models, tmp_path_factory):
    """A trained tiny Student, made ready by 19 development essays whose values tell nothing: its line is flat."""
    target = tmp_path_factory.mktemp("student")
    essays = pd.DataFrame(simulated.essays(20, 5))
    essays = essays.assign(level=SCALE.level(essays["score"]), split="train")
    settings = student.Settings(str(tiny_models["electra"]), "regression", 1, 1, 0.003, 8, 48)
    student.train(cyborg_data.training_sets(essays, SCALE, "full"), SCALE, settings, seed=1, folder=target)
    mark = json.loads((target / "student.json").read_text())["mark"]
    dev = pd.DataFrame({"score": SCORES, "value": VALUES})
    name = bundle.Name("u10_s1", "electra", "regression", "cyborg")
    bundle.write_one(target, "try", name, mark, dev, advisory_flags.Corpus.of(essays["text"], essays["assignment"]))
    return target


@pytest.fixture(scope="module")
def scorer(folder):
    return predict.Scorer(folder, confidence=0.8)


def read(out):
    return pd.read_csv(out, dtype={"id": str, "flags": str}, keep_default_na=False)


@pytest.fixture
def given(tmp_path):
    file = tmp_path / "new.csv"
    NEW.to_csv(file, index=False)
    return file


def test_a_row_holds_the_calibrated_score_and_its_interval(scorer, given, tmp_path):
    counts = predict.score_file(given, tmp_path / "out.csv", scorer, NAMES)
    found = read(tmp_path / "out.csv")
    assert list(found) == predict.COLUMNS and found["id"].tolist() == NEW["essay_id"].tolist()
    value = scorer.release.match.apply(scorer.student.predict(NEW["text"])[0])
    np.testing.assert_allclose(found["value"], value, atol=1e-4)
    np.testing.assert_array_equal(found["score"], SCALE.score(SCALE.nearest(value)))
    line = conformal.LeastSquares.fit(target=SCORES, values=VALUES)
    assert scorer.width == pytest.approx(np.sort(np.abs(line.residuals))[15], abs=1e-6)  # ceil(20 * 0.8) = 16th of 19
    middle = line.apply(scorer.student.predict(NEW["text"])[0])
    np.testing.assert_allclose(found["low"], np.clip(middle - scorer.width, 1, 6), atol=1e-4)
    np.testing.assert_allclose(found["high"], np.clip(middle + scorer.width, 1, 6), atol=1e-4)
    apart = SCALE.nearest(middle[:, None] + line.residuals) - SCALE.nearest(value)[:, None]
    np.testing.assert_allclose(found["doubt"], (np.abs(apart) > 1).mean(axis=1), atol=1e-4)
    assert counts["essays"] == 18 and counts["cut"] == found["flags"].str.contains("cut").sum() == 18  # 48 tokens are few
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv", "out.csv"]


@pytest.mark.parametrize("kind", ["tsv", "semicolon", "windows", "parquet", "jsonl"])
def test_every_format_gives_the_same(scorer, given, tmp_path, kind):
    predict.score_file(given, tmp_path / "out.csv", scorer, NAMES)
    frame, columns = NEW.assign(essay_id=[f"é{at}" for at in range(len(NEW))]), NAMES
    file = tmp_path / f"other.{kind if kind in ('tsv', 'parquet', 'jsonl') else 'csv'}"
    if kind == "parquet":
        frame.to_parquet(file)
    elif kind == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    else:
        how = {"tsv": {"sep": "\t"}, "semicolon": {"sep": ";"}, "windows": {"encoding": "cp1252"}}[kind]
        frame.to_csv(file, index=False, **how)
        columns = predict.Columns("essay_id", "text", delimiter=";" if kind == "semicolon" else "")
    predict.score_file(file, tmp_path / "same.csv", scorer, columns)
    found = read(tmp_path / "same.csv")
    assert found["id"].tolist() == frame["essay_id"].tolist()
    pd.testing.assert_frame_equal(found.drop(columns="id"), read(tmp_path / "out.csv").drop(columns="id"))


def test_flags_are_beside_a_score_never_in_its_place(scorer, tmp_path):
    texts = ["", None, "Lorem ipsum dolor sit amet " * 20, (NEW["assignment"][0] + " ") * 5, NEW["text"][0]]
    frame = pd.DataFrame(
        {"id": [f"e{at}" for at in range(5)], "text": texts, "task": "Write of a house that has no doors at all"}
    )
    frame.loc[4, "text"] = frame["task"][0] + ". " + " ".join(NEW["text"][0].split()[:40])
    frame.to_parquet(tmp_path / "new.parquet")
    counts = predict.score_file(tmp_path / "new.parquet", tmp_path / "out.csv", scorer, predict.Columns(prompt="task"))
    found = read(tmp_path / "out.csv")
    assert found["score"].isin(SCALE.scores).all() and np.isfinite(found["value"]).all()
    told = found["flags"].map(advisory_flags.names)
    assert "too short" in told[0] and "too short" in told[1]
    assert "unknown words" in told[2] and "copied prompt" in told[3] and "copied prompt" in told[4]
    assert counts["unlike"] == 5 and counts["too short"] == told.map(lambda names: "too short" in names).sum() >= 2


def test_too_few_development_essays_give_the_whole_scale(folder, given, tmp_path):
    sure = predict.Scorer(folder, confidence=0.99)
    assert sure.width == math.inf
    predict.score_file(given, tmp_path / "out.csv", sure, NAMES)
    assert set(read(tmp_path / "out.csv")["low"]) == {1} and set(read(tmp_path / "out.csv")["high"]) == {6}


@pytest.mark.parametrize(
    "column, value, told",
    [
        ("essay_id", "", "row 4, column essay_id: no id"),
        ("essay_id", "sim7-000023", "row 4, column essay_id: sim7-000023 stands in row 2 already"),
        ("text", "\udcff", "row 4, column text: unreadable bytes"),
    ],
)
def test_a_fault_is_told_by_row_and_column_before_anything_is_scored(scorer, tmp_path, column, value, told):
    frame = NEW.astype(object)
    frame.loc[2, column] = value
    frame.loc[0, "text"] += " é è ê"  # or a broken byte alone would make it Windows-1252
    (tmp_path / "bad.csv").write_bytes(frame.to_csv(index=False).encode("utf-8", "surrogateescape"))
    with pytest.raises(CyborgError) as error:
        predict.score_file(tmp_path / "bad.csv", tmp_path / "out.csv", scorer, NAMES)
    assert told in str(error.value) and "bad.csv" in str(error.value) and "mend" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_wrong_columns_and_cells_are_told(tmp_path, given):
    with pytest.raises(CyborgError, match="no column id; there are essay_id, text, assignment. Give --id and --text"):
        predict.count(given, predict.Columns())
    NEW[["essay_id", "text"]].replace(",", "", regex=True).to_csv(tmp_path / "other.csv", index=False, sep="~")
    with pytest.raises(CyborgError, match="Is the delimiter another"):
        predict.count(tmp_path / "other.csv", predict.Columns("id", "body"))
    NEW.assign(text=3.5).to_parquet(tmp_path / "number.parquet")
    with pytest.raises(CyborgError, match="18 fault.*\n.*row 1, column text: not a text but float[^$]*and 13 more"):
        predict.count(tmp_path / "number.parquet", NAMES)
    (tmp_path / "ragged.csv").write_text("essay_id,text\na,b,c\n")
    with pytest.raises(CyborgError, match="row 2: 3 cells where the header has 2"):
        predict.count(tmp_path / "ragged.csv", NAMES)


def test_a_stopped_call_goes_on_where_it_was(scorer, given, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "PART", 4)
    predict.score_file(given, tmp_path / "undisturbed.csv", scorer, NAMES)
    original, calls = predict.Scorer.score, []

    def dies(self, ids, texts, prompts=()):
        calls.append(len(ids))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, ids, texts, prompts)

    monkeypatch.setattr(predict.Scorer, "score", dies)
    out = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        predict.score_file(given, out, scorer, NAMES)
    assert not out.exists()
    counts = predict.score_file(given, out, scorer, NAMES)
    assert calls == [4, 4, 4, 4, 4, 2] and counts["essays"] == 18
    assert out.read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
    assert not (tmp_path / "out.csv.parts").exists()


def test_parts_of_other_options_are_not_taken_up(scorer, folder, given, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "PART", 4)
    original = predict.Scorer.score
    monkeypatch.setattr(
        predict.Scorer, "score", lambda self, ids, *rest: 1 / 0 if "sim7-000031" in ids else original(self, ids, *rest)
    )
    with pytest.raises(ZeroDivisionError):
        predict.score_file(given, tmp_path / "out.csv", scorer, NAMES)
    assert len(list((tmp_path / "out.csv.parts").glob("*.csv"))) == 2
    monkeypatch.setattr(predict.Scorer, "score", original)
    predict.score_file(given, tmp_path / "out.csv", (half := predict.Scorer(folder, confidence=0.5)), NAMES)
    found = read(tmp_path / "out.csv")
    assert np.allclose(found["high"] - found["low"], 2 * half.width, atol=1e-3) and half.width < 2


@pytest.mark.slow
def test_the_command(folder, given, tmp_path, monkeypatch, capsys):
    call = ["score", str(given), "--student", str(folder), "-o", str(tmp_path / "out.csv"), "--id", "essay_id"]
    cli.main([*call, "--onnx", "--confidence", "0.8"])
    told = capsys.readouterr().out
    assert (
        "18 essays scored" in told
        and "around the least-squares value, for 80% of essays like these" in told
        and len(read(tmp_path / "out.csv")) == 18
    )
    for wrong, message in (
        (["--confidence", "2"], "must be between 0 and 1"),
        (["--student", str(tmp_path)], "no student.json there"),
        (["-o", str(tmp_path / "no" / "out.csv")], "its folder is not there"),
    ):
        with pytest.raises(SystemExit, match=message):
            cli.main([*call, *wrong])


@pytest.mark.parametrize("line, told", [('"e\\udcff"', "unreadable bytes"), ('["e1"]', "neither text nor number but list")])
def test_an_id_that_no_file_can_hold_is_a_fault(scorer, tmp_path, line, told):
    """It would stop the scoring only when the first part is written."""
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "text": "One."}\n{"id": ' + line + ', "text": "Two."}\n')
    with pytest.raises(CyborgError, match=f"bad.jsonl.*\n.*row 2, column id: {told}"):
        predict.score_file(tmp_path / "bad.jsonl", tmp_path / "out.csv", scorer, predict.Columns())


def test_a_message_never_quotes_an_essay(tmp_path):
    (tmp_path / "bad.csv").write_text("a1," + "these are words of an essay " * 20 + "\na2,short\n")
    with pytest.raises(CyborgError, match=r"there are a1, these are words of a\.\.\. \(\d+ characters\)\. Give --id") as error:
        predict.count(tmp_path / "bad.csv", predict.Columns())
    assert len(str(error.value)) < 300


# ---- what notebook 12 says of a Student


def test_facts_of_a_student_come_from_its_bundle(scorer):
    rows = evaluation.facts(scorer).set_index("")["cyborg"]
    assert rows["development essays"] == "19" and rows["half-width of a 80% interval"] == f"{scorer.width:.2f} points"
    assert rows["least-squares value"] != rows["matched score"]
    assert "(20 training essays)" in rows["usual length"] and "runs of 8 words" in rows["prompts' texts"]


@pytest.fixture
def judged() -> pd.DataFrame:
    """40 essays; the interval holds the human score of all but those who got a 6."""
    score = np.repeat([2.0, 3.0, 4.0, 6.0], 10)
    frame = pd.DataFrame({"score": score, "low": np.minimum(score, 3.5) - 1, "high": np.minimum(score, 3.5) + 1})
    return conformal.coverage(frame, groups=[], confidence=0.8, min_group=5)


def test_the_promise_of_the_interval_in_words(scorer, judged):
    both = pd.DataFrame({"score_given": [1.0, 2, 3, 6], "low": 1.5, "high": 5.0})
    text = evaluation.promise_kept(judged, scorer, both)
    assert "Promised 80%, found **75.0% [59.8%, 85.8%]**. With 19 development essays" in text
    assert (
        "**2.00 points** wide on a scale from 1 to 6" in text
        and "50.0% of the scores given, which" in text
        and "Coverage too low: human score 6 (0%)." in text
    )
    assert "Coverage too high: no score or group." in evaluation.promise_kept(judged.assign(verdict="too low"), scorer, both)
    gaps = evaluation.minus_promise(judged, 0.8)
    assert gaps[["gap", "gap_low", "gap_high"]].iloc[0].tolist() == pytest.approx([-0.05, 0.598 - 0.8, 0.858 - 0.8], abs=1e-3)


def test_scores_are_compared_with_people_and_with_notebook_04():
    score = np.repeat([2.0, 3.0, 4.0, 6.0], 10)
    both = pd.DataFrame({"score": score, "value": score, "matched_value": score + np.eye(40)[3] / 8})
    text = evaluation.same_student(both, SCALE)
    assert text.startswith("40 essays: values differ from notebook 04's by at most **0.125** points.")
    assert "QWK **1.000**, exact 100%, adjacent 100%" in text


def test_what_was_learned_of_a_student(scorer, judged):
    flags = pd.DataFrame({"essays": ["test essays", "a", "b", "c"], "n": 40, "flagged": [0.025, 1.0, 0.1, 0.7]})
    table = pd.DataFrame(
        {"form": ["torch float32", "onnx float32", "onnx int8"], "megabytes": [80, 80, 20], "same_score": [1, 1, 0.9]}
    )
    text = evaluation.learned(scorer, judged, flags, table)
    assert (
        f"A 80% interval around this Student's least-squares value is **±{scorer.width:.2f} points**" in text
        and "and 0% of those that people gave a 6:" in text
    )
    assert "mark 2.5% of the test essays by mistake; of 3 kinds of bad essays they find 1 " in text and "miss 1 (" in text
    assert "has 25% of the size of PyTorch's and changes 10% of the scores." in text
    few = evaluation.learned(scorer, judged.assign(verdict="too few"), flags, table)
    assert "that people gave" not in few
