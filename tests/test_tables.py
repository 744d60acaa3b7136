"""The tables of notebooks 01, 03 and 04, on a few essays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.config import Run
from cyborg_utils.core.scale import Scale
from cyborg_utils.models.student import Settings
from cyborg_utils.study import artefacts, corpus_tables, run_tables

SCALE = Scale(1, 6)


@pytest.fixture
def essays() -> pd.DataFrame:
    frame = pd.DataFrame({"essay_id": list("abcdefgh"), "split": ["train"] * 4 + ["dev"] * 2 + ["test"] * 2, "prompt": "p"})
    frame = frame.assign(score=[1.0, 2, 3, 6, 2, 4, 5, 1], words=[10, 20, 30, 60, 20, 40, 50, 10], true_score=3.0)
    frame["second_score"] = [1.0, np.nan, 3, 6, 2, 4, 4, 1]
    return frame.assign(**{"groups.grade": ["8", "12", None, "8", "8", "12", "12", "8"]})


def test_essays_by_split(essays):
    table = corpus_tables.by_split(essays).set_index("split")
    assert table["essays"].to_dict() == {"train": 4, "dev": 2, "test": 2, "all": 8}
    assert table.loc["train", ["words", "median_words", "longest", "mean_score"]].tolist() == [30, 25, 60, 3]
    assert table.loc["test", "sd"] == pytest.approx(2 * 2**0.5)


def test_length_bands_cover_the_scale_in_order(essays):
    bands = corpus_tables.length_bands(essays, SCALE)
    assert bands["score"].is_monotonic_increasing
    assert bands.groupby("band")["score"].agg(["min", "max"]).to_dict("index") == {
        "score 1 to 2": {"min": 1, "max": 2},
        "score 3 to 4": {"min": 3, "max": 4},
        "score 5 to 6": {"min": 5, "max": 6},
    }


def test_two_people_are_compared_on_the_essays_that_both_scored(essays):
    table = corpus_tables.human_agreement(essays, SCALE).set_index("essays")
    assert table["n"].tolist() == [7, 2] and table["exact"].tolist() == pytest.approx([6 / 7, 0.5])
    assert corpus_tables.human_agreement(essays.assign(second_score=np.nan), SCALE).empty


def test_groups_are_in_the_order_of_their_numbers_and_name_the_unknown_last(essays):
    table = corpus_tables.by_group(essays)
    assert table["group"].tolist() == ["8", "12", "not recorded"] and table["all"].tolist() == [4, 3, 1]
    assert table[["train", "dev", "test"]].to_numpy().tolist() == [[2, 1, 1], [1, 1, 1], [1, 0, 0]]
    assert "mean_true_score" in table and "mean_true_score" not in corpus_tables.by_group(essays.assign(true_score=np.nan))
    assert corpus_tables.by_group(essays.drop(columns="groups.grade")).empty


def test_subsets_count_scores_of_u(essays):
    table = corpus_tables.subsets(essays, {Run(0.5, 1): ["a", "d"]}, SCALE)
    row = {"run": "u50_s1", "fraction": 0.5, "seed": 1, "human_scores": 2, "pool": 2}
    assert table.iloc[0].to_dict() == row | {"1": 1, "2": 0, "3": 0, "4": 0, "5": 0, "6": 1}


def test_the_teacher_is_judged_in_the_parts_that_have_essays():
    part = ["U"] * 3 + ["test"] * 3
    frame = pd.DataFrame(
        {"part": part, "score": [1.0, 2, 3] * 2, "likely": [1.0, 2, 3, 1, 1, 3], "expected": 2.0, "matched": 2.5}
    )
    table = run_tables.teacher_quality(frame, SCALE).set_index(["part", "reading"])
    assert list(table.index) == [
        (name, way) for name in ("U", "test") for way in ("most likely", "expected", "expected, matched")
    ]
    assert table.loc[("U", "most likely"), "qwk"] == 1 and table.loc[("test", "most likely"), "exact"] == pytest.approx(2 / 3)


def test_training_sets_count_sources_and_updates():
    settings = Settings(model="m", head="regression", epochs=1, min_steps=4, learning_rate=1e-3, batch_size=2, max_tokens=8)
    human = pd.DataFrame({"source": "human", "value": [1.0, 3.0]})
    synthetic = pd.DataFrame({"source": "teacher", "value": [2.0] * 10})
    table = run_tables.training_sets({"human": [human], "cyborg-staged": [synthetic, human]}, settings).set_index("labels")
    assert table["human scores"].tolist() == [2, 2] and table["synthetic scores"].tolist() == [0, 10]
    assert table["updates"].tolist() == [4, 9] and table["mean"].tolist() == [2, 2]
    assert "updates" not in run_tables.training_sets({"human": [human]}, dataclasses.replace(settings, head="frozen"))


@pytest.fixture
def scored() -> pd.DataFrame:
    """One Student with either head: its values have half the spread of people's, and stand one point too low."""
    human = pd.DataFrame({"essay_id": list("abcdef"), "part": ["dev"] * 4 + ["test"] * 2, "score": [1.0, 5, 1, 5, 1, 5]})
    value = (human["score"] - 3) / 2 + 2
    one = human.assign(student="m", labels="cyborg", value=value, level=SCALE.nearest(value), seconds=7.0)
    return pd.concat([one.assign(head=head) for head in ("regression", "classification")], ignore_index=True)


def test_students_are_matched_on_the_development_essays_unless_they_give_levels(scored):
    found = run_tables.matched(scored, SCALE)
    regression, classification = (found[found["head"] == head] for head in ("regression", "classification"))
    np.testing.assert_allclose(regression["matched_value"], regression["score"])
    np.testing.assert_array_equal(regression["matched_level"], SCALE.level(regression["score"]))
    assert classification["matched_value"].equals(classification["value"])
    assert classification["matched_level"].equals(classification["level"])
    alone = run_tables.matched(scored[scored["part"] == "test"], SCALE)  # nothing to match on
    assert alone["matched_value"].equals(alone["value"]) and alone["matched_level"].equals(alone["level"])


def test_students_before_and_after_matching(scored):
    found = run_tables.matched(scored, SCALE)
    table = run_tables.students(found[found["part"] == "test"], SCALE).set_index("head")
    assert table.loc["regression", ["qwk", "exact", "smd", "seconds"]].tolist() == [1, 1, 0, 7]
    assert table.loc["regression", "qwk_raw"] == table.loc["classification", "qwk"] < 1


def test_a_notebook_has_its_own_title_and_a_figure_may_be_missing(project):
    assert paths.title(paths.notebook("01_prepare_data")) == "1 · The essays, and which of them keep a human score"
    (project / "empty.ipynb").write_text('{"cells": []}')
    assert paths.title(project / "empty.ipynb") == "empty"
    assert artefacts.read_figure("try", "figure_smd") is None
