"""The classical Student: what it counts, that it learns, and that small or odd sets do not break it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.data import simulated
from cyborg_utils.models import baseline


@pytest.fixture(scope="module")
def part() -> pd.DataFrame:
    """Essays whose value can be counted: their length, and what they are about."""
    frame = pd.DataFrame(simulated.essays(160, 3))
    return frame.assign(value=frame["text"].str.split().str.len() / 20 + frame["assignment"].str.contains("school") - 2)


def test_statistics_of_a_known_text():
    text = "Dogs bark, cats sleep.\n\nIt's wonderful! Dogs bark."
    found = dict(zip(baseline.STATISTICS, baseline.statistics([text])[0], strict=True))
    assert found == pytest.approx(
        {
            "log words": np.log(8),
            "log sentences": np.log(3),
            "words a sentence": 8 / 3,
            "letters a word": (4 + 4 + 4 + 5 + 4 + 9 + 4 + 4) / 8,
            "long words": 1 / 8,
            "different words": 6 / 8**0.5,
            "commas": 1 / 8,
            "paragraphs": 2,
        }
    )


def test_statistics_of_texts_without_words_are_finite():
    found = baseline.statistics(["", " \n", "!!!", "123", "\u4e2d\u6587"])
    assert found.shape == (5, 8) and np.isfinite(found).all()
    assert baseline.statistics([]).shape == (0, 8)


def test_it_ranks_essays_that_it_has_not_seen(part):
    value = baseline.train(part[:120]).predict(part["text"][120:])
    assert value.shape == (40,)
    assert np.corrcoef(value, part["value"][120:])[0, 1] > 0.5


def test_the_same_set_gives_the_same_values(part):
    first, second = (baseline.train(part[:30]).predict(part["text"][:5]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_very_small_sets(part, size):
    value = baseline.train(part[:size]).predict([*part["text"][:3], ""])
    assert value.shape == (4,) and np.isfinite(value).all()
    if size == 1:
        np.testing.assert_allclose(value, part["value"][0])


def test_scores_that_are_all_alike(part):
    value = baseline.train(part[:20].assign(value=4.0)).predict(part["text"][20:23])
    np.testing.assert_allclose(value, 4, atol=1e-6)
