"""Students on essays from elsewhere."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import transfer

OURS, THEIRS = Scale(1, 5, 0.5), Scale(1, 6)


def test_one_scale_onto_another():
    np.testing.assert_allclose(transfer.onto([1, 3.5, 6], THEIRS, OURS), [1, 3, 5])
    np.testing.assert_allclose(transfer.onto(transfer.onto([1.5, 4], OURS, THEIRS), THEIRS, OURS), [1.5, 4])


def test_texts_that_stand_in_both_corpora():
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
