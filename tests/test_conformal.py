"""Prediction intervals: the right rank, the promise kept on average, what is said of groups, and what needs no machine."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import conformal
from cyborg_utils.stats.calibration import MeanSdMatch

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


# ---- the least-squares value


def refitted(score, value, at):
    """The line without one essay, by another library."""
    return np.polynomial.Polynomial.fit(np.delete(value, at), np.delete(score, at), 1)


def essays(rng, n):
    """Human scores on the scale, and a machine's values, which shrink to the middle; errors grow with the value."""
    quality = rng.normal(size=n)
    value = 3.5 + 0.5 * quality + rng.normal(0, 0.6, n)
    return SCALE.score(SCALE.nearest(3.5 + 1.1 * quality + rng.normal(0, 0.3 + 0.1 * np.abs(quality), n))), value


def test_residuals_are_those_of_the_line_without_the_essay():
    score, value = essays(np.random.default_rng(1), 30)
    line = conformal.LeastSquares.fit(target=score, values=value)
    np.testing.assert_allclose(line.apply(value), np.polynomial.Polynomial.fit(value, score, 1)(value))
    np.testing.assert_allclose(line.residuals, [score[at] - refitted(score, value, at)(value[at]) for at in range(30)])
    assert (np.abs(line.residuals) > np.abs(score - line.apply(value))).all() and np.isnan(line.apply([np.nan]))[0]


def test_a_line_without_anything_to_fit_is_the_mean():
    line = conformal.LeastSquares.fit(target=[1.0, 2, 6], values=[4.0, 4, 4])
    assert line.apply([4.0, 9]).tolist() == [3, 3] and line.residuals.tolist() == pytest.approx([1 - 4, 2 - 3.5, 6 - 1.5])
    alone = conformal.LeastSquares.fit(target=[1.0, 2, 6], values=[4.0, 4, 5])  # without the third, all values are the same
    assert alone.residuals[2] == pytest.approx(6 - 1.5) and np.isfinite(alone.residuals).all()
    with pytest.raises(CyborgError, match="2 development essay.*3 or more"):
        conformal.LeastSquares.fit(target=[1.0, 2], values=[4.0, 5])


def test_intervals_around_the_line_hold_what_they_promise_and_are_shorter_than_around_matched_scores():
    """1,500 sets of 50 development essays and 20 new ones, errors of unequal size: 85 % are promised."""
    rng, held, widths, matched_widths = np.random.default_rng(2), [], [], []
    for _ in range(1500):
        score, value = essays(rng, 70)
        line = conformal.LeastSquares.fit(target=score[:50], values=value[:50])
        width = conformal.half_width(line.residuals, 0.85)
        held.append(np.mean(np.abs(score[50:] - line.apply(value[50:])) <= width + 1e-9))
        match = MeanSdMatch.fit(target=score[:50], values=value[:50])
        widths.append(width)
        matched_widths.append(conformal.half_width(score[:50] - match.apply(value[:50]), 0.85))
    assert 0.85 - 0.01 < np.mean(held) < 0.85 + 1 / 51 + 0.01
    assert np.mean(widths) < 0.97 * np.mean(matched_widths)


def test_the_ends_are_nearly_those_of_the_jackknife_plus():
    """Barber et al. 2021, equation 1.5: quantiles of (value without i) -+ |residual i|, whose coverage is proven."""
    score, value = essays(np.random.default_rng(5), 100)
    line, new = conformal.LeastSquares.fit(target=score, values=value), np.linspace(2, 5, 20)
    width = conformal.half_width(line.residuals, 0.9)
    without = np.array([refitted(score, value, at)(new) for at in range(100)])
    sizes, place = np.abs(line.residuals)[:, None], math.ceil(101 * 0.9)
    high = np.sort(without + sizes, axis=0)[place - 1]
    low = -np.sort(sizes - without, axis=0)[place - 1]
    np.testing.assert_allclose(high, line.apply(new) + width, atol=0.12)
    np.testing.assert_allclose(low, line.apply(new) - width, atol=0.12)


# ---- no silent NaN


@pytest.mark.parametrize(
    "call",
    [
        lambda: conformal.half_width([0.1, np.nan], 0.9),
        lambda: conformal.interval([np.nan], 1.0, SCALE),
        lambda: conformal.interval([3.0], np.nan, SCALE),
        lambda: conformal.trivial([3.0, np.nan], 0.9, SCALE),
        lambda: conformal.levels_inside([np.nan], [3.0], SCALE),
        lambda: conformal.LeastSquares.fit(target=[1, 2, np.nan], values=[1, 2, 3]),
        lambda: conformal.coverage(
            pd.DataFrame({"score": [np.nan], "low": 1, "high": 2}), groups=[], confidence=0.9, min_group=1
        ),
    ],
)
def test_nan_is_refused(call):
    with pytest.raises(CyborgError, match="NaN"):
        call()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(CyborgError, match="no essays"):
        conformal.coverage(pd.DataFrame({"score": [], "low": [], "high": []}), groups=[], confidence=0.9, min_group=1)
    for confidence in (0, 1, math.nan):
        with pytest.raises(CyborgError, match="between 0 and 1"):
            conformal.half_width([1.0], confidence)


# ---- what needs no machine


def test_the_trivial_interval_is_the_shortest_that_holds_enough():
    scores = [1] + [2] * 8 + [3] * 40 + [4] * 37 + [5] * 12 + [6]  # n = 99: 90 are asked for
    assert conformal.trivial(scores, 0.9, SCALE) == [(2, 5), (3, 5)]  # 97; 3 to 5 holds 89
    assert conformal.trivial(scores, 0.88, SCALE) == [(3, 5), (3, 4)]
    assert conformal.trivial([3.0] * 50, 0.9, SCALE) == [(3, 3)]
    assert conformal.trivial([3.0] * 5, 0.9, SCALE)[0] == (1, 6)  # too few
    with pytest.raises(CyborgError, match="off the scale"):
        conformal.trivial([2.5] * 50, 0.9, SCALE)


def test_scores_inside_an_interval_are_counted_with_its_ends():
    half = Scale(1, 5, 0.5)
    assert conformal.levels_inside([2.0, 2.1, 2.1, 0, 3.1], [4.0, 3.9, 2.4, 9, 3.2], half).tolist() == [5, 3, 0, 9, 0]
