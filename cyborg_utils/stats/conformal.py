"""Prediction intervals for single essays: split conformal prediction, and a check of its coverage.

Source: Vovk, Gammerman & Shafer 2005; Lei et al. 2018, "Distribution-free predictive inference for regression", algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import beta
from statsmodels.stats.proportion import proportion_confint

from cyborg_utils.core.scale import Scale


def half_width(residuals: ArrayLike, confidence: float) -> float:
    """The ceil((n + 1) confidence)-th smallest of n absolute residuals, in score points.

    `value +- half_width` then contains the human score of a new essay with probability `confidence` or more, on average over
    essays drawn as the n were. This holds for any model and any distribution. Infinite where n is too small for `confidence`.
    """
    sizes = np.sort(np.abs(np.asarray(residuals, dtype=float)))
    place = math.ceil((len(sizes) + 1) * confidence - 1e-9)
    return float(sizes[place - 1]) if place <= len(sizes) else math.inf


def expected_range(n: int, confidence: float, *, level: float = 0.95) -> tuple[float, float]:
    """The range in which the true coverage lies for a share `level` of all possible sets of n development essays.

    Given the set, coverage has the distribution Beta(k, n + 1 - k) with k = ceil((n + 1) confidence), for continuous scores
    (Vovk 2012). (0, 1) where n is too small.
    """
    place = math.ceil((n + 1) * confidence - 1e-9)
    if place > n:
        return 0.0, 1.0
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], place, n + 1 - place)
    return float(low), float(high)


def interval(values: ArrayLike, width: float, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals, shaped as `values`. They are trimmed to the scale, which loses nothing: human scores lie on it."""
    values = np.asarray(values, dtype=float)
    return tuple(np.clip(values + side * width, scale.low, scale.high) for side in (-1, 1))


def coverage(frame: pd.DataFrame, *, groups: Sequence[str], confidence: float, min_group: int) -> pd.DataFrame:
    """Share of essays whose human score lies in its interval: overall, by human score, and in every group of writers.

    `frame` has the columns score, low, high and `groups`. One row per group: attribute, group, n, coverage, coverage_low,
    coverage_high (Wilson, 95 %), width (mean of high - low), verdict ("too low" or "too high" where the interval excludes
    `confidence`, else "not shown to differ"; "too few" under `min_group` essays). Only the coverage in the first row is
    guaranteed.
    """
    held = frame["score"].between(frame["low"] - 1e-9, frame["high"] + 1e-9)
    frame = frame.assign(held=held, width=frame["high"] - frame["low"], all="all")
    frame["human score"] = frame["score"].astype(float)
    rows = []
    for attribute in ["all", "human score", *groups]:
        for group, part in sorted(frame.groupby(attribute), key=lambda found: _place(found[0])):
            n, share = len(part), float(part["held"].mean())
            low, high = proportion_confint(int(part["held"].sum()), n, method="wilson")
            differs = "too low" if high < confidence else "too high" if low > confidence else "not shown to differ"
            verdict = "too few" if n < min_group else differs
            name, group = attribute.removeprefix("groups."), f"{group:g}" if isinstance(group, float) else str(group)
            rows.append((name, group, n, share, float(low), float(high), float(part["width"].mean()), verdict))
    columns = ["attribute", "group", "n", "coverage", "coverage_low", "coverage_high", "width", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _place(group: object) -> tuple[float, str]:
    """Sort key: numbers (scores, grades) by size, then words in alphabetical order."""
    try:
        return float(group), ""
    except ValueError:
        return math.inf, str(group)
