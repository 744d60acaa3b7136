"""Students on essays from elsewhere."""

import types

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import transfer
from cyborg_utils.study import artefacts

OURS, THEIRS = Scale(1, 5, 0.5), Scale(1, 6)


def test_one_scale_onto_another():
    np.testing.assert_allclose(transfer.onto([1, 3.5, 6], THEIRS, OURS), [1, 3, 5])
    np.testing.assert_allclose(transfer.onto(transfer.onto([1.5, 4], OURS, THEIRS), THEIRS, OURS), [1.5, 4])


def test_texts_that_are_in_both_corpora():
    found = transfer.shared_texts(["A cat, sat.", "a  CAT sat", "a dog sat"], ["a cat sat!", "something else"])
    assert found.tolist() == [True, True, False] and transfer.shared_texts([], ["x"]).shape == (0,)


def test_held_out_prompts_have_the_share_asked_for_and_leave_some():
    prompts = pd.Series([*"aaaabbbbccccdddd", None])
    for share, number in ((0.0, 1), (0.25, 1), (0.3, 2), (0.99, 3)):
        found = transfer.held_out(prompts, share, seed=1)
        assert len(found) == number and set(found) < set("abcd") and found == transfer.held_out(prompts, share, seed=1)
    assert len({tuple(transfer.held_out(prompts, 0.25, seed=seed)) for seed in range(20)}) > 1
    with pytest.raises(CyborgError, match=r"has 1 prompt\(s\), and two are needed"):
        transfer.held_out(pd.Series(["a"] * 9), 0.25, seed=1)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A Student of another scale that ranks well and is a point too strict there."""
    rng = np.random.default_rng(2)
    quality = rng.normal(0, 1, 300)
    score = OURS.score(OURS.nearest(3 + 0.8 * quality))
    frame = pd.DataFrame(
        {"essay_id": [f"e{at:03d}" for at in range(300)], "part": ["dev"] * 100 + ["test"] * 200, "score": score}
    )
    return frame.assign(human_level=OURS.level(score), value=2.5 + 0.6 * quality + rng.normal(0, 0.2, 300))


def test_readings_use_so_many_scores_of_the_target_and_no_test_score(frame):
    found = transfer.readings(frame, THEIRS, OURS, few=10, seed=1)
    assert found.groupby("reading", sort=False)["used"].first().to_dict() == {
        "as it is": 0,
        "matched on 10": 10,
        "matched on 100": 100,
    }
    assert found.groupby("reading").size().eq(200).all()
    bias = {name: (part["value"] - part["score"]).mean() for name, part in found.groupby("reading")}
    assert bias["as it is"] < -0.5 and abs(bias["matched on 100"]) < 0.1
    other = frame.assign(score=frame["score"].where(frame["part"] == "dev", 1.0))
    pd.testing.assert_series_equal(found["value"], transfer.readings(other, THEIRS, OURS, few=10, seed=1)["value"])
    assert set(transfer.readings(frame, THEIRS, OURS, few=500, seed=1)["reading"]) == {"as it is", "matched on 100"}


def test_agreement_and_difference_on_the_same_essays(frame):
    found, options = transfer.readings(frame, THEIRS, OURS, few=10, seed=1), {"resamples": 200, "confidence": 0.95, "seed": 1}
    human = frame[frame["part"] == "test"]
    poor, good = (found[found["reading"] == name] for name in ("as it is", "matched on 100"))
    low, high = (transfer.agreement_on(human, {1: rows.sample(frac=1, random_state=1)}, **options) for rows in (poor, good))
    assert low["r"] == pytest.approx(high["r"]) and high["qwk"] > low["qwk"] + 0.1 and low["n"] == 200
    change = transfer.against(human, {1: good}, {1: poor}, **options)
    assert change["change"] == pytest.approx(high["qwk"] - low["qwk"]) and change["change_low"] > 0


def test_the_headline_gap_is_chosen_by_rule_and_not_by_its_result():
    gaps = pd.DataFrame(
        [(0.25, "cyborg", 1, 0.5), (0.10, "cyborg", 3, 0.8), (0.10, "cyborg-soft", 3, 0.9), (0.05, "cyborg", 3, 0.95)],
        columns=["fraction", "labels", "seeds", "gap_closed"],
    )
    assert transfer.headline_gap(gaps).to_dict("records") == [gaps.iloc[1].to_dict()]
    assert transfer.headline_gap(gaps[gaps["labels"] == "cyborg-soft"]).empty


def transfer_rows(*names: str) -> pd.DataFrame:
    rows = [{"student": name, "reading": "as it is", "used": 0, "qwk": 0.2, "low": 0.1, "high": 0.3, "r": 0.4} for name in names]
    rows += [row | {"reading": "matched on 30", "used": 30, "qwk": 0.35} for row in rows]
    own = {"student": "own, human", "reading": "matched", "used": 180, "qwk": 0.5, "low": 0.4, "high": 0.6, "r": 0.6}
    return pd.DataFrame([*rows, own])


def test_the_arm_that_is_reported_was_fixed_beforehand():
    rows = [("here", 0.1, 451, "cyborg", 3, 0.14, 0.1, 0.2, 0.82, 0.6, 1.1, True)]
    rows.append(("here", 0.1, 451, "cyborg-staged", 3, 0.14, 0.1, 0.2, 0.92, 0.7, 1.2, True))
    rows.append(("there", 0.1, 160, "cyborg", 1, 0.05, -0.01, 0.1, 0.75, np.nan, np.nan, False))
    tables = pd.DataFrame(columns=["student"]), pd.DataFrame(), pd.DataFrame(rows, columns=transfer.RECIPE)
    text = transfer.learned(*tables) + transfer.finding(*tables)
    assert "82% [60%, 110%] on here (cyborg, 451 human scores)" in text and "92%" not in text
    assert "not beyond chance" in text and "nan" not in text


def test_the_sentences_name_the_best_of_many_rows_and_what_was_not_run():
    row = {"labels": "cyborg", "seed": 1, "prompts": 3, "n": 133, "qwk": 0.65, "qwk_seen": 0.64}
    prompts = pd.DataFrame([row | {"change": 0.01, "change_low": -0.04, "change_high": 0.05}])
    tables = transfer_rows("demo u10_s1, cyborg", "demo u100_s1, full"), prompts, pd.DataFrame(columns=transfer.RECIPE)
    lines = transfer.learned(*tables).splitlines()
    assert lines[0] == "1. **demo u10_s1, cyborg**: r = 0.40 here; QWK 0.200 as it is and 0.350 [0.100, 0.300] matched on 30."
    assert lines[2] == "3. **This study's own Student with 180 human scores**: QWK 0.500 [0.400, 0.600]."
    assert "against 0.640 of the Student that knew them, +0.010 [-0.040, +0.050]" in lines[3] and len(lines) == 4
    text = transfer.finding(*tables)
    assert "at most 0.350 [0.100, 0.300] here" in text and "the best of 4 rows" in text and "own" not in text
    assert "on 133 essays of prompts that it never saw" in text and "recipe" not in text
    nothing = pd.DataFrame(columns=["student"]), pd.DataFrame(), pd.DataFrame(columns=transfer.RECIPE)
    assert transfer.learned(*nothing) == transfer.finding(*nothing) == "Nothing was run here."
    found = transfer.Elsewhere({}, {"demo u10_s1, cyborg": 4}, {"no u1_s1, full": "no such study"})
    assert "4 essays of this study" in transfer.sources_used(found)
    assert "- no u1_s1, full: **not run here** (no such study)" in transfer.sources_used(found)


def test_a_student_that_cannot_be_had_is_named_with_its_reason(make_study, frame, monkeypatch):
    build = paths.build
    make_study("try")
    found = transfer.from_elsewhere("try", [{"profile": "no", "run": "u10_s1", "labels": "full"}], frame, few=3, seed=1)
    assert not found.readings and list(found.absent) == ["no u10_s1, full"]
    found = transfer.from_elsewhere("try", [{"profile": "demo", "run": "u10_s1", "labels": "full"}], frame, few=3, seed=1)
    assert "no Student in build/demo/students/u10_s1" in found.absent["demo u10_s1, full"]
    make_study("other", train_student={"models": ["all-minilm-l6-v2"], "heads": ["frozen"]})
    read = []
    monkeypatch.setattr(paths, "build", lambda *parts: (read.append(parts), build(*parts))[1])
    transfer.from_elsewhere("try", [{"profile": "other", "run": "u10_s1", "labels": "full"}], frame, few=3, seed=1)
    assert ("other", "students", "u10_s1", "all-minilm-l6-v2-frozen-full") in read


def test_students_from_elsewhere_stand_beside_the_studys_own(frame):
    options = {"resamples": 50, "confidence": 0.95, "seed": 1}
    found = transfer.Elsewhere({"x": transfer.readings(frame, THEIRS, OURS, few=10, seed=1)}, {}, {})
    test = frame[frame["part"] == "test"]
    own = test.assign(
        value=test["score"], level=test["human_level"], head="regression", labels="human", n_human=140
    )  # 100 of them are development essays
    own = pd.concat([own.assign(seed=seed) for seed in (1, 2)])
    table = transfer.transfer_table(found, own, frame, **options).set_index(["student", "reading"])
    assert table["used"].to_dict() == {
        ("x", "as it is"): 0,
        ("x", "matched on 10"): 10,
        ("x", "matched on 100"): 100,
        ("own, human", "matched"): 140,
    }
    assert table.loc[("own, human", "matched"), ["seeds", "n", "qwk"]].tolist() == [2, 200, 1]


@pytest.mark.parametrize(
    "heads, head, value",
    [(["regression"], "regression", 3.0), (["classification"], "classification", 1.0)]
    + [(["classification", "regression"], "regression", 3.0)],
)
def test_the_student_without_some_prompts_has_the_head_of_the_one_it_is_compared_with(
    make_study, monkeypatch, heads, head, value
):
    make_study("try", train_student={"models": ["m"], "heads": heads}, prepare_data={"scale": [1, 5, 1]})
    essays = pd.DataFrame({"essay_id": list("abcdefgh"), "prompt": list("ppqqpqpq"), "text": "t", "score": [2.0, 4.0] * 4})
    essays = essays.assign(split=["dev"] * 4 + ["test"] * 4, level=1)
    pupil, trained_with = types.SimpleNamespace(predict=lambda texts: (np.ones(len(texts)), None)), []

    def train(sets, scale, settings, *, seed, folder):
        trained_with.append(settings.head)
        return pupil, pd.DataFrame({"seconds": [1.0]})

    monkeypatch.setattr(transfer.student, "train", train)
    found = transfer.train_without("try", essays, ["p"], labels="full", fraction=0.1, seed=1)
    assert (
        trained_with == [head] and (found.scores["value"] == value).all()
    )  # dev scores have mean 3; a classifier's are as they come
    assert found.scores["essay_id"].tolist() == ["e", "g"] and (found.run, found.seconds) == ("u100_s1", 1.0)
    own = found.scores.assign(labels="full", seed=1, level=found.scores["human_level"])
    (row,) = transfer.prompts_table([found], own, resamples=20, confidence=0.95, seed=1).to_dict("records")
    assert (row["labels"], row["seed"], row["prompts"], row["n"]) == ("full", 1, 1, 2)


def test_the_recipe_names_the_human_scores_that_were_paid_for(make_study):
    make_study("try", train_student={"models": ["m"], "heads": ["regression"]})
    sizes = pd.DataFrame({"split": ["train", "dev", "test", "all"], "essays": [1800, 271, 500, 2571]})
    artefacts.save_table("try", "table_corpus", sizes)
    gaps = pd.DataFrame({"fraction": [0.1, 0.25], "student": "m", "head": "regression", "labels": "cyborg", "seeds": 1})
    gaps = gaps.assign(**dict.fromkeys(["gap", "gap_low", "gap_high", "gap_closed", "low", "high"], 0.1), resolved=True)
    artefacts.save_table("try", "table_gap_closed", gaps)
    table = transfer.recipe_table(["try", "demo"])  # the demo has no results in this project
    assert list(table) == transfer.RECIPE and table["n_human"].tolist() == [180 + 271, 450 + 271]
