"""PRMSE, agreement with the true score, with its interval: how far do few double-scored essays carry?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cyborg_utils.stats.bootstrap import CHUNK, Interval, Seed, percentile_interval
from cyborg_utils.stats.metrics import prmse_from_parts, rating_parts


def prmse_interval(
    ratings: ArrayLike, machine: ArrayLike, *, seed: Seed, resamples: int = 10_000, confidence: float = 0.95
) -> Interval:
    """`metrics.prmse` with its expanded bootstrap interval over essays, single- and double-scored ones together.

    The t quantiles have the degrees of freedom of the double-scored essays, since they carry the error variance. There is no
    interval where more than one resample in twenty has no positive variance of true scores. NaN as in `metrics.prmse`.
    """
    parts, rng = rating_parts(ratings, machine), np.random.default_rng(seed)
    n, double = len(parts), int((parts[:, 1] > 1).sum())
    value = float(prmse_from_parts(parts.sum(axis=0)))
    blocks = np.array_split(np.arange(resamples), -(-resamples * n // CHUNK)) if n else []
    sums = [rng.multinomial(n, np.full(n, 1 / n), size=len(block)) @ parts for block in blocks]
    resampled = prmse_from_parts(np.concatenate(sums)) if sums else np.empty(0)
    return percentile_interval(value, resampled, confidence=confidence, n=double)
