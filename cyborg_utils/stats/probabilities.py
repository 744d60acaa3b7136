"""Probabilities of levels: ranked probability score, expected calibration error, a given mean. Arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import softmax

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.stats.bootstrap import Interval


def rps(p: ArrayLike, level: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Ranked probability score (Epstein 1969), the mean over essays of sum_k (P(at most k) - [level <= k])^2 / (K - 1).

    0 is best, 1 worst. Unlike the Brier score it charges more for probability that lies further from the level that people gave.
    It is proper: true probabilities minimise it. `p` (n, K) sums to 1 in each row; `level` (n,) is 0 .. K-1. The interval is
    Student's, over essays; its ends are NaN for fewer than two essays, the value too without any.
    """
    p, level = _checked(p, level)
    happened = level[:, None] <= np.arange(p.shape[1])
    each = ((np.cumsum(p, axis=1) - happened) ** 2).sum(axis=1) / (p.shape[1] - 1)
    if len(each) < 2:
        return Interval(float(each.mean()) if len(each) else float("nan"), float("nan"), float("nan"))
    half = stats.t.ppf((1 + confidence) / 2, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return Interval(float(each.mean()), max(0.0, float(each.mean() - half)), float(each.mean() + half))


def ece(p: ArrayLike, level: ArrayLike, *, bins: int = 10) -> float:
    """Expected calibration error: mean |confidence - share correct| over bins of equally many essays, weighted by their size.

    Confidence is the probability of the most likely level (Guo et al. 2017; bins of equal mass as in Nguyen & O'Connor 2015). It
    is biased upwards where a bin has few essays, so it is compared between raters of the same essays only. NaN without essays.
    """
    p, level = _checked(p, level)
    if not len(level):
        return float("nan")
    sure, right = p.max(axis=1), p.argmax(axis=1) == level
    parts = np.array_split(np.argsort(sure, kind="stable"), min(bins, len(level)))
    return float(sum(abs(sure[part].mean() - right[part].mean()) * len(part) for part in parts) / len(level))


def _checked(p: ArrayLike, level: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays; raises CyborgError where shapes, levels or sums do not fit."""
    p, level = np.asarray(p, dtype=float), np.asarray(level)
    if p.ndim != 2 or p.shape[1] < 2 or level.shape != p.shape[:1]:
        raise CyborgError(
            f"probabilities must be a table of essays x levels beside one level an essay, not {p.shape}, {level.shape}"
        )
    if ((level < 0) | (level >= p.shape[1])).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise CyborgError("levels must be 0 .. K-1, and the probabilities of each essay must sum to 1")
    return p, level


def offset_to_mean(p: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """What to add to answer logits so that the mean of the probabilities `p` (n, K) is that of the targets `goals` (m, K).

    With traits, (n, traits, K), each has its own. One essay's weight is spread over all levels, so that none is impossible.
    """
    wanted = (goals.sum(axis=0) + 1 / goals.shape[-1]) / (len(goals) + 1)
    bias = np.zeros(wanted.shape)
    for _ in range(200):
        step = np.log(wanted) - np.log(softmax(np.log(np.clip(p, 1e-12, None)) + bias, axis=-1).mean(axis=0))
        bias += step
        if np.abs(step).max() < 1e-6:
            break
    return bias - bias.mean(axis=-1, keepdims=True)
