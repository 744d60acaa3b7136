"""Teachers as raters: their two readings, where high scores get lost, where they err."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import config
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
    frame = frame.assign(attempts=2 if share else 0, n_human=len(human) // 3 + round(60 * share))  # development essays and U
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
    spent = table["n_human"].unstack()  # U and the development essays; a Teacher that was not fine-tuned pays for the match
    assert spent.loc["exact"].tolist() == [106, 106] and spent.loc["shy", ["most likely", "expected, matched"]].tolist() == [
        0,
        100,
    ]
    assert table["attempts"].unstack()["most likely"].to_dict() == {"exact": 2, "shy": 0}
    seeds = pd.concat([essays, essays.assign(seed=2)])
    assert teacher_quality.quality(seeds, SCALE, resamples=20, confidence=0.95, seed=1)["attempts"].tolist() == [4, 4, 0, 0]


def test_high_scores_lost_by_rounding_alone(essays):
    options = {"resamples": 300, "confidence": 0.95, "seed": 1}
    table = teacher_quality.top_shares(essays, SCALE, **options).set_index(["teacher", "reading"])
    shy = table.loc["shy"]
    assert shy.loc["probability", "low"] < 1 < shy.loc["probability", "high"] and shy.loc["most likely", "high"] == 0
    assert table.loc[("exact", "most likely"), ["ratio", "low", "high"]].tolist() == [1, 1, 1]
    assert table["n_human"].to_dict() == {("exact", name): 106 for name in READINGS} | {
        ("shy", name): 100 if name == teacher_quality.MATCHED else 0 for name in READINGS
    }
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


READINGS = ["probability", "most likely", "expected", "expected, matched"]


def quality_table() -> pd.DataFrame:
    """Two Teachers, one of them not fine-tuned."""
    columns = ["teacher", "share", "reading", "qwk", "low", "high", "r", "auc", "n_human"]
    rows = [
        ("T", 0.1, "most likely", 0.5, 0.4, 0.6, 0.7, 0.55, 451),
        ("T", 0.1, "expected, matched", 0.6, 0.5, 0.7, 0.7, 0.55, 451),
    ]
    rows += [("Z", 0.0, "most likely", 0.05, 0, 0.1, 0.5, 0.6, 0), ("Z", 0.0, "expected, matched", 0.4, 0.3, 0.5, 0.5, 0.6, 271)]
    return pd.DataFrame(rows, columns=columns)


def teachers_of(high: float) -> str:
    """What the notebook says of high scores whose ratio has this upper end."""
    top = pd.DataFrame(
        {"teacher": "T", "share": 0.1, "n_human": 451, "reading": READINGS, "ratio": 1.1, "low": 0.2, "high": high}
    )
    return teacher_quality.where_high_scores_get_lost(top) + "\n" + teacher_quality.finding(top, quality_table())


def test_a_wide_interval_proves_no_equality():
    text = teachers_of(high=4.0)
    assert "not shown to be rarer" in text and "as often as" not in text
    assert "over people: 1.10 [0.20, 4.00] by its probabilities" in text and "the highest of the 2 compared" in text
    assert (
        "- T, 451 human scores: high scores are not" in text
        and "(probability 1.10 [0.20, 4.00], most likely 1.10 [0.20, 4.00])." in text
    )
    text = teachers_of(high=float("nan"))  # few high scores: a ratio, but no interval
    assert "too few high scores here for a comparison" in text and "nan" not in text


def test_what_is_learned_of_teachers():
    assert teacher_quality.best(quality_table()) == ("T", 0.1)
    lines = teacher_quality.learned(quality_table()).splitlines()
    assert lines[0].startswith(
        "1. **Best Teacher here**: T, 451 human scores, with QWK 0.600 [0.500, 0.700] (expected, matched), the highest of the 2"
    )
    assert "is 0.500 (Z); QWK 0.050 by its most likely answer, 0.400 once matched on the 271 human scores of the" in lines[1]
    assert "changes QWK by +0.225 on average (from +0.100 to +0.350)" in lines[2]
    assert "AUC of 0.55 to 0.60" in lines[3]
    assert "Before any" not in teacher_quality.learned(quality_table().query("share > 0"))


def test_a_figure_names_a_teacher_with_its_human_scores():
    table = teacher_quality.named(quality_table())
    assert table["name"].tolist() == ["T, 451 human scores"] * 2 + ["Z", "Z"] and (table["arm"] == table["reading"]).all()


def test_candidates_are_the_studys_own_teacher_but_for_what_an_entry_says(monkeypatch):
    monkeypatch.setattr(teacher_quality, "absent", lambda settings: "no GPU" if settings.quantization == "nf4" else "")
    study = config.load("ellipse")
    own = Settings.of(study.section("finetune_teacher"))
    entries = [{"name": "own"}, {"name": "plain", "epochs": 0, "chat": False}]
    entries.append({"name": "large", "model": "owner/large", "quantization": "nf4"})
    there, missing = teacher_quality.candidates(study, entries)
    assert there["own"].settings == own and there["own"].template.chat
    assert there["plain"].settings.epochs == 0 and not there["plain"].template.chat and there["plain"].settings.model == own.model
    assert missing == {"large": ("owner/large", "no GPU")} and list(there) == ["own", "plain"]
    text = teacher_quality.who_is_compared(there, missing)
    assert f"| plain | {own.model} | 0 | plain text | yes |" in text
    assert text.endswith("| large | owner/large | | | **not run here**: no GPU |")


def test_slices_leave_out_small_prompts_and_keep_the_order_of_values():
    prompt = ["one"] * 5 + ["two"] * 6 + ["rare"]
    rows = pd.DataFrame({"essay_id": [f"e{at:02d}" for at in range(12)], "score": 2.5, "words": range(12), "prompt": prompt})
    rows = rows.assign(**{"groups.kind": ["A", "B", None] * 4}, teacher="T", share=0.1, n_human=451, matched_value=3.0)
    found = teacher_quality.slices(rows, min_group=3)
    assert list(found) == ["human score", "length", "prompt", "kind"] and set(found["prompt"]) == {"one", "two"}
    assert set(found["human score"]) == {"2.5"} and len(found["kind"]) == 8
    assert "prompt" not in teacher_quality.slices(rows, min_group=6)  # a single large prompt has nothing to stand beside
    table = teacher_quality.where(rows, found, min_group=3)
    wide = teacher_quality.bias_by(table, "length", ("long", "none", "short"))
    assert list(wide) == ["long", "short"] and wide.loc[("T", 451)].tolist() == [0.5, 0.5]
