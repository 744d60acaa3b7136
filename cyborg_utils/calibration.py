"""Corrections of machine scores, fitted on a held-out development set, never on the test set and never on essays trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cyborg_utils.metrics import paired, sd_ratio


@dataclass(frozen=True)
class MeanSdMatch:
    """Linear equating: y = target_mean + slope * (value - value_mean), with slope = SD of the human scores / SD of the machine's.

    A regression model's scores shrink towards the mean; matching undoes that, so that the top and bottom scores are given again,
    and takes off the overall strictness. It keeps the order of essays and r, and can raise the RMSE: a shrunken score is the best
    guess of one essay, a matched one has the right distribution. It cannot mend a bias that differs between groups.
    """

    target_mean: float
    value_mean: float
    slope: float

    @classmethod
    def fit(cls, *, target: ArrayLike, values: ArrayLike) -> MeanSdMatch:
        """From development essays: `target` their human scores (n,), `values` their machine scores (n,), in one unit.

        Where an SD is 0 or unknown (one essay, a constant) only the means are matched: slope 1. Without essays nothing changes.
        Raises CyborgError on NaN and unequal lengths.
        """
        target, values = paired(target, values)
        if not len(target):
            return cls(0.0, 0.0, 1.0)
        slope = sd_ratio(target, values)
        return cls(float(target.mean()), float(values.mean()), slope if np.isfinite(slope) else 1.0)

    def apply(self, values: ArrayLike) -> np.ndarray:
        """Matched scores, float64 of the same shape; neither rounded nor trimmed to the scale. NaN stays NaN."""
        return self.target_mean + self.slope * (np.asarray(values, dtype=float) - self.value_mean)
