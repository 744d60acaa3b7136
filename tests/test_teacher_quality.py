"""Teachers as raters: their two readings, where high scores get lost, where they err."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import teacher_quality
from cyborg_utils.models import weights
from cyborg_utils.models.teacher import Settings

SCALE = Scale(1, 5)


def rated(name: str, p: np.ndarray, human: np.ndarray, *, share: float = 0.1, seed: int = 1) -> pd.DataFrame:
    """Essays with these probabilities; the first third is the development split."""
    frame = pd.DataFrame({"essay_id": [f"e{at:03d}" for at in range(len(human))], "teacher": name, "share": share, "seed": seed})
    frame = frame.assign(part=["dev"] * (len(human) // 3) + ["test"] * (len(human) - len(human) // 3), human_level=human)
    frame = frame.assign(score=SCALE.score(human), level=p.argmax(1), expected=p @ SCALE.scores)
    return frame.assign(**{f"p_{at + 1}": p[:, at] for at in range(5)})


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    """One Teacher is exact; one believes in high scores as people give them, but its most likely answer is never one."""
    rng = np.random.default_rng(8)
    human = rng.integers(0, 5, 300)
    exact = np.full((300, 5), 0.02) + 0.9 * np.eye(5)[human]
    shy = np.tile([0.1, 0.2, 0.3, 0.2, 0.2], (300, 1)) + rng.normal(0, 0.01, (300, 5))
    shy /= shy.sum(axis=1, keepdims=True)
    both = pd.concat([rated("exact", exact, human), rated("shy", shy, human, share=0.0)], ignore_index=True)
    return teacher_quality.matched(both)


def test_the_expected_score_is_matched_on_the_development_essays(essays):
    for _, rows in essays.groupby("teacher"):
        dev = rows[rows["part"] == "dev"]
        assert dev["matched_value"].mean() == pytest.approx(dev["score"].mean())
        assert dev["matched_value"].std() == pytest.approx(dev["score"].std())


def test_quality_of_both_readings(essays):
    table = teacher_quality.quality(essays, SCALE, resamples=200, confidence=0.95, seed=1).set_index(["teacher", "reading"])
    assert (
        len(table) == 4 and table.loc[("exact", "most likely"), "qwk"] == 1 and table.loc[("exact", "most likely"), "exact"] == 1
    )
    assert table.loc[("shy", "most likely"), "qwk"] == pytest.approx(0, abs=0.05)
    assert np.isnan(table.loc[("exact", "most likely"), "auc"])  # it is never wrong, so there is nothing to tell apart
    assert table.loc[("exact", "most likely"), "confidence"] == pytest.approx(0.92)


def test_high_scores_lost_by_rounding_alone(essays):
    options = {"resamples": 300, "confidence": 0.95, "seed": 1}
    table = teacher_quality.top_shares(essays, SCALE, **options).set_index(["teacher", "reading"])
    shy = table.loc["shy"]
    assert shy.loc["probability", "low"] < 1 < shy.loc["probability", "high"] and shy.loc["most likely", "high"] == 0
    assert table.loc[("exact", "most likely"), ["ratio", "low", "high"]].tolist() == [1, 1, 1]
    human = essays.query("teacher == 'shy'")["human_level"] >= 3
    assert shy.loc["probability", "ratio"] == pytest.approx(0.4 / human.mean(), rel=0.02)
    nobody = essays.assign(human_level=0)
    assert teacher_quality.top_shares(nobody, SCALE, **options)["ratio"].isna().all()


def test_seeds_of_an_essay_count_once(essays):
    options = {"resamples": 100, "confidence": 0.95, "seed": 1}
    twice = pd.concat([essays, essays.assign(seed=2)])
    one, two = (teacher_quality.top_shares(rows, SCALE, **options) for rows in (essays, twice))
    pd.testing.assert_frame_equal(one.drop(columns="seeds"), two.drop(columns="seeds"))
    assert (two["seeds"] == 2).all() and (two["n"] == 300).all()


@pytest.mark.parametrize(
    "probability, most_likely, told",
    [
        (0.9, 0.8, "held back **in the model**"),
        (1.2, 0.8, "not shown so in its probabilities (**rounding**)"),
        (0.9, 1.2, "not shown so in its most likely answer"),
        (9.0, 9.0, "not shown to be rarer than people's, neither"),  # a wide interval proves nothing
        (float("nan"), 0.5, "too few essays"),
    ],
)
def test_only_an_interval_below_one_shows_that_high_scores_are_held_back(probability, most_likely, told):
    shares = pd.DataFrame({"reading": ["probability", "most likely", "expected"], "high": [probability, most_likely, 0.1]})
    assert told in teacher_quality.held_back(shares)


@pytest.mark.parametrize("cuda, library", [(False, True), (True, False), (True, True)])
def test_no_weights_are_fetched_for_a_teacher_that_this_machine_cannot_load(monkeypatch, cuda, library):
    asked = []
    monkeypatch.setattr(weights, "resolve", asked.append)
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: library or None)
    settings = Settings("owner/large", 1, 1e-4, 4, 16, "attention", 0.7, 448, "nf4")
    assert ("needs a CUDA GPU and bitsandbytes" in teacher_quality.absent(settings)) == (not (cuda and library))
    assert asked == (["owner/large"] if cuda and library else [])


def test_a_teacher_whose_weights_cannot_be_had_is_absent_with_the_reason(monkeypatch):
    def refuse(name):
        raise CyborgError(f"model {name!r} could not be fetched\nand more")

    settings = Settings("owner/model", 1, 1e-4, 4, 16, "attention", 0.7, 448)
    monkeypatch.setattr(weights, "resolve", refuse)
    assert teacher_quality.absent(settings) == "model 'owner/model' could not be fetched"


def test_where_by_hand(essays):
    rows = essays[essays["teacher"] == "exact"].assign(
        matched_value=lambda part: part["score"] + np.where(part["score"] > 3, -1, 1)
    )
    slices = {"half": pd.Series(np.where(rows["score"] > 3, "high", "low"), index=rows.index)}
    slices["rare"] = pd.Series(["few"] * 5 + [None] * 295, index=rows.index)
    table = teacher_quality.where(rows, slices, min_group=10).set_index("value")
    assert table.loc["high", ["bias", "rmse"]].tolist() == [-1, 1] and table.loc["low", "bias"] == 1
    assert set(table.index) == {"high", "low"} and table["n"].sum() == 300  # five essays are too few to show


def test_thirds_of_length():
    found = teacher_quality.length_thirds(range(9))
    assert found.tolist() == ["short"] * 3 + ["middle"] * 3 + ["long"] * 3
