"""Prediction intervals for single essays, around a least-squares value, with a check of their coverage and of what they tell.

Sources: Vovk, Gammerman & Shafer 2005; Lei et al. 2018, "Distribution-free predictive inference for regression", algorithm 2;
Barber et al. 2021, "Predictive inference with the jackknife+".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import beta
from statsmodels.stats.proportion import proportion_confint

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.metrics import ROUNDING, paired

LEAST = 3  # development essays that a line with leave-one-out residuals needs


@dataclass(frozen=True)
class LeastSquares:
    """The line `target_mean + slope * (value - value_mean)` that predicts the human score with the least squared error.

    Matched scores (`calibration.MeanSdMatch`) have the spread of human scores, which suits a set of essays. For one essay they
    are too extreme by the factor 1 / r; the line is the better centre of an interval.

    `residuals` (n,): human score minus the line's value when the essay itself is left out of the fit, in the order of the essays:
    e_i / (1 - h_i) with leverage h_i = 1/n + (x_i - mean x)^2 / sum (x - mean x)^2. They are as large as errors on new essays,
    in-sample residuals e_i are smaller. The interval value +- `half_width(residuals)` is the jackknife, which covers as stated
    where one essay hardly moves the fit (Barber et al. 2021, section 5). A line has two numbers only: the ends differ from those
    of the jackknife+, which covers 2 confidence - 1 of any distribution, by little (both are tested).
    """

    target_mean: float
    value_mean: float
    slope: float
    residuals: np.ndarray

    @classmethod
    def fit(cls, *, target: ArrayLike, values: ArrayLike) -> LeastSquares:
        """Fit on development essays: human scores `target` (n,), machine scores `values` (n,). Slope 0 where values are constant.

        Raises CyborgError on NaN, unequal lengths, and fewer than `LEAST` essays.
        """
        target, values = paired(target, values)
        n = len(target)
        if n < LEAST:
            raise CyborgError(f"{n} development essay(s): a prediction interval needs {LEAST} or more. Set a larger `dev`.")
        apart = values - values.mean()
        squares = float(apart @ apart)
        constant = squares <= ROUNDING * float(values @ values)
        slope = 0.0 if constant else float(apart @ target) / squares
        leverage = np.full(n, 1 / n) if constant else 1 / n + apart**2 / squares
        free = 1 - leverage
        alone = free < 1e-9  # all others have one value: without this essay the line is their mean
        centred = target - target.mean()
        residuals = np.where(alone, centred * n / (n - 1), (centred - slope * apart) / np.where(alone, 1.0, free))
        return cls(float(target.mean()), float(values.mean()), slope, residuals)

    def apply(self, values: ArrayLike) -> np.ndarray:
        """Predicted human scores, float64 of the same shape; neither rounded nor trimmed to the scale. NaN stays NaN."""
        return self.target_mean + self.slope * (np.asarray(values, dtype=float) - self.value_mean)


def half_width(residuals: ArrayLike, confidence: float) -> float:
    """The ceil((n + 1) confidence)-th smallest of n absolute residuals, in score points.

    If the residuals are those of new essays (of a machine that never saw them, or leave-one-out), `value +- half_width` contains
    the human score of a new essay with probability `confidence` or more, on average over essays drawn as the n were. Infinite
    where n is too small for `confidence`, so also without any residual. Raises CyborgError on NaN, which has no rank, and on a
    confidence that is not between 0 and 1.
    """
    sizes = np.sort(np.abs(_known(residuals, "residual")).ravel())
    place = _place(len(sizes), confidence)
    return float(sizes[place - 1]) if place <= len(sizes) else math.inf


def trivial(scores: ArrayLike, confidence: float, scale: Scale) -> list[tuple[float, float]]:
    """Intervals without a machine, from n human scores: the shortest that holds ceil((n + 1) confidence) of them, then the best
    one that has a score fewer (where there is one), since human scores are so coarse that the first often holds many more.

    Of equally short ones that with the most essays is taken, then the lowest; the whole scale where n is too small. An interval
    made with a machine must be shorter to be worth anything. Raises CyborgError on NaN and scores off the scale.
    """
    levels = scale.level(_known(scores, "human score"))
    counts, place = np.bincount(levels, minlength=scale.size), _place(len(levels), confidence)
    held = [np.convolve(counts, np.ones(size, dtype=int), "valid") for size in range(1, scale.size + 1)]  # by size and low end
    size = next((size for size, found in enumerate(held, 1) if found.max() >= place), scale.size)
    lows = [(int(held[one - 1].argmax()), one) for one in (size, size - 1) if one]
    return [(float(scale.score(low)), float(scale.score(low + one - 1))) for low, one in lows]


def levels_inside(low: ArrayLike, high: ArrayLike, scale: Scale) -> np.ndarray:
    """How many scores of the scale lie in each interval, ends included. Raises CyborgError on NaN."""
    low, high = ((_known(end, "interval end") - scale.low) / scale.step for end in (low, high))
    first, last = np.maximum(np.ceil(low - 1e-9), 0), np.minimum(np.floor(high + 1e-9), scale.size - 1)
    return np.maximum(last - first + 1, 0)


def expected_range(n: int, confidence: float, *, level: float = 0.95) -> tuple[float, float]:
    """The range in which the true coverage lies for a share `level` of all possible sets of n development essays.

    Given the set, coverage has the distribution Beta(k, n + 1 - k) with k = ceil((n + 1) confidence), for continuous scores
    (Vovk 2012). (0, 1) where n is too small.
    """
    place = _place(n, confidence)
    if place > n:
        return 0.0, 1.0
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], place, n + 1 - place)
    return float(low), float(high)


def interval(values: ArrayLike, width: float, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals, shaped as `values`. They are trimmed to the scale, which loses nothing: human scores lie on it.

    Raises CyborgError where a value or `width` is NaN.
    """
    values, width = _known(values, "value"), float(_known(width, "half-width"))
    return tuple(np.clip(values + side * width, scale.low, scale.high) for side in (-1, 1))


def coverage(frame: pd.DataFrame, *, groups: Sequence[str], confidence: float, min_group: int) -> pd.DataFrame:
    """Share of essays whose human score lies in its interval: overall, by human score, and in every group of writers.

    `frame` has the columns score, low, high and `groups`. One row per group: attribute, group, n, coverage, coverage_low,
    coverage_high (Wilson, 95 %), width (mean of high - low), verdict ("too low" or "too high" where the interval excludes
    `confidence`, else "not shown to differ"; "too few" under `min_group` essays). Only the coverage in the first row is
    guaranteed. Essays without a group (None) are in no group's row. Raises CyborgError where there is no essay, and on NaN.
    """
    if frame.empty:
        raise CyborgError("coverage: no essays to judge the intervals on")
    for column in ("score", "low", "high"):
        _known(frame[column], column)
    held = frame["score"].between(frame["low"] - 1e-9, frame["high"] + 1e-9)
    frame = frame.assign(held=held, width=frame["high"] - frame["low"], all="all")
    frame["human score"] = frame["score"].astype(float)
    rows = []
    for attribute in ["all", "human score", *groups]:
        for group, part in sorted(frame.groupby(attribute), key=lambda found: _order(found[0])):
            n, share = len(part), float(part["held"].mean())
            low, high = proportion_confint(int(part["held"].sum()), n, method="wilson")
            differs = "too low" if high < confidence else "too high" if low > confidence else "not shown to differ"
            verdict = "too few" if n < min_group else differs
            name, group = attribute.removeprefix("groups."), f"{group:g}" if isinstance(group, float) else str(group)
            rows.append((name, group, n, share, float(low), float(high), float(part["width"].mean()), verdict))
    columns = ["attribute", "group", "n", "coverage", "coverage_low", "coverage_high", "width", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _order(group: object) -> tuple[float, str]:
    """Sort key: numbers (scores, grades) by size, then words in alphabetical order."""
    try:
        return float(group), ""
    except ValueError:
        return math.inf, str(group)


def _place(n: int, confidence: float) -> int:
    """Rank of the residual that bounds `confidence` of new ones; above n where n are too few."""
    if not 0 < confidence < 1:
        raise CyborgError(f"confidence {confidence:g}: must be between 0 and 1")
    return math.ceil((n + 1) * confidence - 1e-9)


def _known(values: ArrayLike, what: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if (count := int(np.isnan(values).sum())) > 0:
        raise CyborgError(f"{count} {what}(s) are NaN: leave those essays out first")
    return values
