"""A score scale: scores (as people give them, e.g. 1.0-5.0 by 0.5) and levels (0 .. K-1, used by models and metrics)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cyborg_utils.core.errors import CyborgError

MOST = 1_000  # levels; a metric needs a table of levels by levels


@dataclass(frozen=True)
class Scale:
    """An ordinal scale with equal steps, including both ends.

    Example: `Scale(1, 5, 0.5)` has nine levels; score 3.0 is level 4.
    """

    low: float
    high: float
    step: float = 1.0

    def __post_init__(self) -> None:
        try:
            low, high, step = map(float, (self.low, self.high, self.step))
        except OverflowError:
            step = math.nan
        steps = math.nan if math.isnan(step) else (high - low) / step if step > 0 else -1
        if not math.isfinite(steps):
            raise CyborgError("scale: lowest score, highest score and step must be ordinary numbers, such as [1, 6, 1]")
        if steps < 1 or abs(steps - round(steps)) > 1e-9:
            raise CyborgError(f"scale {self.low}-{self.high} by {self.step}: needs low < high and a step that divides the range")
        if steps >= MOST:
            raise CyborgError(f"scale {self.low}-{self.high} by {self.step}: has over {MOST} levels. Use a coarser step.")

    @property
    def scores(self) -> np.ndarray:
        """All scores, ascending, shape (K,)."""
        return self.low + self.step * np.arange(self.size)

    @property
    def size(self) -> int:
        """K, the number of levels."""
        return round((self.high - self.low) / self.step) + 1

    def contains(self, score: np.ndarray) -> np.ndarray:
        """True where a score lies on the scale (to 1e-6 of a step); False for NaN. Same shape as `score`."""
        place = (np.asarray(score, dtype=float) - self.low) / self.step
        with np.errstate(invalid="ignore"):
            return (np.abs(place - np.round(place)) < 1e-6) & (place > -0.5) & (place < self.size - 0.5)

    def level(self, score: np.ndarray) -> np.ndarray:
        """Level 0..K-1 of each score, int64; raises CyborgError where a score is not on the scale."""
        score = np.asarray(score, dtype=float)
        off = ~self.contains(score)
        if off.any():
            raise CyborgError(
                f"{int(off.sum())} score(s) off the scale {self.low:g}-{self.high:g} by {self.step:g}, "
                f"first: {score[off].flat[0]:g}"
            )
        return np.round((score - self.low) / self.step).astype(np.int64)

    def score(self, level: np.ndarray) -> np.ndarray:
        """Score of each level (or real-valued score of a fractional level), float64."""
        return self.low + self.step * np.asarray(level, dtype=float)

    def nearest(self, value: np.ndarray) -> np.ndarray:
        """Level nearest to a real-valued score, trimmed to the scale; halves go up (2.5 -> 3), unlike `numpy.round`.

        Raises CyborgError for NaN, which has no level.
        """
        value = np.asarray(value, dtype=float)
        if np.isnan(value).any():
            raise CyborgError(f"{int(np.isnan(value).sum())} machine score(s) are NaN and have no level")
        return np.clip(np.floor((value - self.low) / self.step + 0.5 + 1e-9), 0, self.size - 1).astype(np.int64)

    def __str__(self) -> str:
        return f"{self.low:g}-{self.high:g} by {self.step:g} ({self.size} levels)"
