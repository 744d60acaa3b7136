"""Split conformal intervals: the right rank, the promise kept on average, and what is said of groups."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import conformal

SCALE = Scale(1, 6)


def test_the_half_width_is_the_right_order_statistic():
    residuals = [9, -1, 2, 3, -4, 5, 6, 7, 8]  # any order, any sign
    assert conformal.half_width(residuals, 0.9) == 9  # ceil(10 * 0.9) = 9th of 9
    assert conformal.half_width(residuals, 0.8) == 8
    assert conformal.half_width(residuals, 0.81) == 9
    assert conformal.half_width(residuals, 0.95) == math.inf == conformal.half_width([], 0.5)


def test_the_promise_is_kept_on_average_and_not_by_much_more():
    """P(covered) is in [confidence, confidence + 1/(n + 1)]; here of skewed errors, 4,000 sets of 39 and one new essay each."""
    rng = np.random.default_rng(3)
    errors = rng.gamma(1.3, size=(4000, 40)) * rng.choice([-1, 1], (4000, 40))
    held = np.mean([abs(row[-1]) <= conformal.half_width(row[:-1], 0.85) for row in errors])
    assert 0.85 - 0.02 < held < 0.85 + 1 / 40 + 0.02


def test_the_expected_range_is_that_of_many_sets():
    rng = np.random.default_rng(4)
    widths = [conformal.half_width(rng.uniform(size=100), 0.9) for _ in range(3000)]  # of uniform errors: the coverage itself
    np.testing.assert_allclose(conformal.expected_range(100, 0.9), np.quantile(widths, [0.025, 0.975]), atol=0.01)
    assert conformal.expected_range(8, 0.9) == (0, 1)


def test_intervals_stay_on_the_scale():
    low, high = conformal.interval([0.2, 3, 5.9], 1.0, SCALE)
    assert (low.tolist(), high.tolist()) == ([1, 2, 4.9], [1.2, 4, 6])
    low, high = conformal.interval([3.0], math.inf, SCALE)
    assert (low[0], high[0]) == (1, 6)


def test_coverage_is_counted_by_score_and_group():
    frame = pd.DataFrame({"score": [2.0] * 30 + [10.0] * 10, "groups.ell": ["Yes"] * 5 + ["No"] * 34 + [None]})
    frame = frame.assign(low=frame["score"] - 1, high=frame["score"] + 1)
    frame.loc[30:, "low"] = 10.5  # the highest are missed
    found = conformal.coverage(frame, groups=["groups.ell"], confidence=0.9, min_group=10)
    assert list(zip(found["attribute"], found["group"], found["n"], strict=True)) == [
        ("all", "all", 40),
        ("human score", "2", 30),
        ("human score", "10", 10),
        ("ell", "No", 34),
        ("ell", "Yes", 5),
    ]
    assert found["coverage"].tolist() == pytest.approx([30 / 40, 1, 0, 25 / 34, 1])
    assert found["verdict"].tolist() == ["too low", "not shown to differ", "too low", "too low", "too few"]
    assert (found["coverage_low"] <= found["coverage"]).all() and (found["coverage"] <= found["coverage_high"] + 1e-9).all()
