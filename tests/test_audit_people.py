"""An audit's people: two raters in columns or rows, adjudication, labels, rows without a score; and sampling weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.audit import judgement, machines, predictions
from cyborg_utils.run import cli
from cyborg_utils.stats import metrics, weighted

SCALE, HALVES = Scale(1, 6), Scale(1, 6, 0.5)
COLUMNS = {"id": "essay", "human": "human", "machine": "machine", "groups": [], "second": "other"}
OPTIONS = {"resamples": 400, "seed": 1}


def table(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    human = rng.integers(1, 7, n)
    other = np.clip(human + rng.integers(-1, 2, n), 1, 6)
    machine = np.round((human + other) / 2 + rng.normal(0, 0.5, n), 2)
    return pd.DataFrame({"essay": [f"e{at}" for at in range(n)], "human": human, "other": other, "machine": machine})


def load(tmp_path: Path, frame: pd.DataFrame, scale: Scale = SCALE, **options) -> pd.DataFrame:
    frame.to_csv(tmp_path / "given.csv", index=False)
    return predictions.load(tmp_path / "given.csv", **COLUMNS | {"scale": scale} | options)


def test_the_mean_of_two_people_is_judged_and_people_agree_as_people_do(tmp_path):
    frame = table()
    essays = load(tmp_path, frame, HALVES, scoring={"combine": "mean"})
    assert (essays["score"] == (frame["human"] + frame["other"]) / 2).all()
    assert (essays["first_score"] == frame["human"]).all() and (essays["second_score"] == frame["other"]).all()
    people = judgement.agreement_of_raters(essays, HALVES).set_index("rater").loc["second rater", "qwk"]
    qwk = metrics.qwk(frame["human"] - 1, frame["other"] - 1, levels=6)
    assert people == pytest.approx(qwk)
    nobody = pd.DataFrame(columns=["smd"])
    judged = judgement.thresholds(essays, HALVES, by_group=nobody, **OPTIONS).set_index("criterion")
    machine = metrics.qwk(HALVES.level(frame["human"]), HALVES.nearest(frame["machine"]), levels=HALVES.size)
    assert judged.loc[judgement.PEOPLE, "value"] == pytest.approx(qwk - machine)
    with pytest.raises(
        CyborgError, match=r"means of people.s scores, such as .*\.5, are off the scale.*--scale 1 6 0.5.*--combine first"
    ):
        load(tmp_path, frame, scoring={"combine": "mean"})


def test_rows_of_ratings_and_an_adjudicated_score(tmp_path):
    frame = table().assign(final=[6 if at % 10 == 0 else "" for at in range(240)])
    wide = load(tmp_path, frame, scoring={"adjudication": "final"})
    assert (wide["score"] == frame["final"].where(frame["final"] != "", frame["human"])).all()
    tall = pd.concat([frame.assign(person=name, mark=frame[name]) for name in ("human", "other")])
    given = {"human": "mark", "second": ""}
    pd.testing.assert_frame_equal(load(tmp_path, tall, **given, scoring={"rater": "person", "adjudication": "final"}), wide)
    tall.iloc[-1, tall.columns.get_loc("machine")] = 9.5
    with pytest.raises(CyborgError, match="row 481: another machine score than in row 241, of the same essay"):
        load(tmp_path, tall, **given, scoring={"rater": "person"})
    with pytest.raises(CyborgError, match="there is no --second column"):
        load(tmp_path, tall, scoring={"rater": "person"})


def test_labels_and_codes_and_essays_without_a_score(tmp_path):
    frame = table().astype({"human": object, "machine": object})
    letters = dict(zip(range(1, 7), "FEDCBA", strict=True))
    words = {word: score for score, word in letters.items()}
    named = frame.assign(human=frame["human"].map(letters))
    with pytest.raises(CyborgError, match=r"(?s)240 fault.*The words A, B, C, D, E, F stand for scores: write --labels A=..."):
        load(tmp_path, named)
    assert (load(tmp_path, named, scoring={"labels": words})["score"] == frame["human"].astype(float)).all()
    named.loc[3, "human"], named.loc[4, "human"], named.loc[5, "machine"] = "BL", "", np.nan
    with pytest.raises(CyborgError, match="row 6, column human: no score"):
        load(tmp_path, named, scoring={"labels": words, "condition_codes": ["BL"]})
    essays = load(tmp_path, named, scoring={"labels": words, "condition_codes": ["BL"], "unscored": "drop"})
    assert len(essays) == 237 and not {"e3", "e4", "e5"} & set(essays["essay_id"])
    assert essays.attrs["notes"] == [
        f"1 row(s) are left out ({why})." for why in ("human: condition code BL", "human: no score", "machine: no score")
    ]


def test_machines_that_leave_out_essays_are_compared_on_those_that_all_scored(tmp_path):
    frame = table().assign(
        machine=lambda rows: rows["machine"].where(rows.index > 4), model=lambda rows: rows["machine"].fillna(3)
    )
    frame.to_csv(tmp_path / "given.csv", index=False)
    given = {**COLUMNS, "scale": SCALE, "scoring": {"unscored": "drop"}}
    given.pop("machine")
    found = machines.load(tmp_path / "given.csv", machines=["model", "machine"], **given)
    assert found["model"]["essay_id"].equals(found["machine"]["essay_id"]) and len(found["model"]) == 235
    assert "5 essay(s) that model scored are left out: another machine did not." in found["model"].attrs["notes"]


def test_a_single_slip_is_no_reason_to_change_the_scale(tmp_path):
    frame = table()
    frame.loc[3, "human"] = 7
    with pytest.raises(CyborgError) as caught:
        load(tmp_path, frame)
    assert "row 5, column human: score '7' is off the scale" in str(caught.value) and "--scale" not in str(caught.value)


@pytest.mark.parametrize("scoring", [{"combine": "median"}, {"unscored": "keep"}, {"colour": "red"}])
def test_unknown_ways_of_scoring_are_refused(tmp_path, scoring):
    with pytest.raises(CyborgError, match="scoring"):
        load(tmp_path, table(), scoring=scoring)


def test_the_command_takes_labels_as_pairs():
    options = cli.parser().parse_args(["audit", "x.csv", "--scale", "1", "6", "1", "--labels", "A=6", "a=b=2"])
    assert cli._labels(options.labels) == {"A": 6.0, "a=b": 2.0}
    with pytest.raises(CyborgError, match="--labels 'A': give words"):
        cli._labels(["A"])


# --- weights ----------------------------------------------------------------------------------------------------------------


def weights_of(frame: pd.DataFrame) -> pd.DataFrame:
    return weighted.agreement(frame.rename(columns={"human": "score", "machine": "value"}), groups=[], scale=SCALE, **OPTIONS)


def test_equal_weights_change_nothing():
    found = weights_of(table().assign(weight=2.5)).set_index("metric")
    assert found["weighted"].to_numpy() == pytest.approx(found["plain"].to_numpy())
    assert (
        (found["n_effective"] == 240).all()
        and (found["low"] < found["weighted"]).all()
        and (found["weighted"] < found["high"]).all()
    )
    whole = metrics.agreement_metrics(table()["human"], table()["machine"], SCALE)
    assert [whole[name] for name in found.index] == pytest.approx(found["plain"].to_list())


def test_a_weight_of_three_counts_as_three_essays():
    frame = table().assign(weight=1.0)
    frame.loc[frame["human"] > 4, "weight"] = 3.0
    repeated = frame.loc[frame.index.repeat(frame["weight"].astype(int))]
    found, copies = (weights_of(one).set_index("metric") for one in (frame, repeated.assign(weight=1.0)))
    assert found.loc[["qwk", "r"], "weighted"].to_numpy() == pytest.approx(copies.loc[["qwk", "r"], "plain"].to_numpy())
    assert found.loc["smd", "weighted"] == pytest.approx(copies.loc["smd", "plain"], abs=0.002)  # n - 1 of other n
    assert found["n_effective"].iloc[0] < 240
    assert "as much as" in weighted.in_words(found.reset_index())


@pytest.mark.parametrize("weight", [0, -1, "", "x"])
def test_a_weight_is_above_0(tmp_path, weight):
    frame = table().astype(object).assign(w=1)
    frame["w"] = frame["w"].astype(object)
    frame.loc[2, "w"] = weight
    with pytest.raises(CyborgError, match="row 4, column w: .* is not a weight above 0"):
        load(tmp_path, frame, weight="w")
    frame.loc[2, "w"] = 0.5
    assert load(tmp_path, frame, weight="w")["weight"].tolist()[:3] == [1, 1, 0.5]
