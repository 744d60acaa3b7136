"""Agreement of a machine with human raters on the same essays: arrays in, numbers out, no model in sight.

Every metric is a function of a few sums over essays (`moments`), so one formula serves a sample, a confusion table and ten
thousand resamples of it (`significance`). Rules for all of them: arrays are one-dimensional and of equal length, NaN is an
error (a missing score is the caller's decision, not ours), and what is undefined (no essay, zero variance) is NaN, never 0.

Levels (0 .. K-1, see `scale`) are wanted where categories are compared: QWK, exact, adjacent, confusion, precision and recall.
Real-valued scores, neither rounded nor trimmed, are wanted elsewhere: RMSE, r, SD ratio, SMD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_fscore_support

from cyborg_utils.errors import CyborgError
from cyborg_utils.scale import Scale

DENOMINATORS = {
    "human": "sample SD of the human scores of the same essays (RSMTool: unpooled)",
    "pooled": "square root of the mean of the human and the machine sample variance, of the same essays",
    "johnson": "sample SD of the human scores of the whole sample",
    "williamson": "square root of the mean of the human and the machine sample variance, of the whole sample",
}
ROUNDING = 1e-12  # a sum of squares below this share of its terms is what floats leave of zero variance


def paired(human: ArrayLike, machine: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays of one shape (n,); raises CyborgError on other shapes, unequal lengths and NaN."""
    human, machine = np.asarray(human, dtype=float), np.asarray(machine, dtype=float)
    if human.ndim != 1 or human.shape != machine.shape:
        raise CyborgError(f"human and machine scores must be two lists of one length, not {human.shape} and {machine.shape}")
    for name, values in (("human", human), ("machine", machine)):
        if not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise CyborgError(f"{count} {name} score(s) are NaN or infinite: leave those essays out first")
    return human, machine


def paired_levels(human: ArrayLike, machine: ArrayLike, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 arrays (n,) with values 0 .. levels-1 (no upper end if None); raises CyborgError otherwise."""
    human, machine = paired(human, machine)
    last = np.inf if levels is None else levels - 1
    for name, values in (("human", human), ("machine", machine)):
        if ((values != np.floor(values)) | (values < 0) | (values > last)).any():
            raise CyborgError(f"{name} levels must be whole numbers from 0 to {last}: turn scores into levels with `Scale.level`")
    return human.astype(np.int64), machine.astype(np.int64)


def moments(human: ArrayLike, machine: ArrayLike, *, centre: float = 0.0) -> np.ndarray:
    """What each essay adds to the sums that every metric is made of: 1, h, m, h^2, m^2, (m-h)^2, [m = h], [|m-h| <= 1].

    Shape (..., 8) for broadcastable inputs (...). `centre` is taken off both; no metric changes, but floats stay precise.
    """
    human, machine = np.broadcast_arrays(np.asarray(human, dtype=float) - centre, np.asarray(machine, dtype=float) - centre)
    gap = machine - human
    parts = [np.ones_like(gap), human, machine, human**2, machine**2, gap**2, gap == 0, np.abs(gap) <= 1]
    return np.stack(parts, axis=-1).astype(float)


class _Summary(NamedTuple):
    n: np.ndarray  # essays
    gap: np.ndarray  # mean machine - mean human
    ss_h: np.ndarray  # sum of squared deviations of the human scores from their mean
    ss_m: np.ndarray  # the same of the machine scores
    ss_gap: np.ndarray  # sum of squared differences, not centred
    exact: np.ndarray
    adjacent: np.ndarray

    @classmethod
    def of(cls, sums: np.ndarray) -> _Summary:
        n, h, m, hh, mm, dd, equal, near = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
        ss_h, ss_m = hh - h * h / n, mm - m * m / n
        ss_h, ss_m = np.where(ss_h > ROUNDING * hh, ss_h, 0.0), np.where(ss_m > ROUNDING * mm, ss_m, 0.0)
        return cls(n, (m - h) / n, ss_h, ss_m, dd, equal / n, near / n)

    @property
    def sp(self) -> np.ndarray:
        """Sum of products of the deviations."""
        return (self.ss_h + self.ss_m - self.ss_gap + self.n * self.gap**2) / 2


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


# With weights (i-j)^2 and marginal sums, sum(w O) = sum (m-h)^2 and sum(w E) = ss_h + ss_m + n gap^2; (K-1)^2 cancels.
METRICS: dict[str, Callable[[_Summary], np.ndarray]] = {
    "qwk": lambda s: 1 - _over(s.ss_gap, s.ss_h + s.ss_m + s.n * s.gap**2),
    "exact": lambda s: s.exact,
    "adjacent": lambda s: s.adjacent,
    "rmse": lambda s: np.sqrt(s.ss_gap / s.n),
    "r": lambda s: _over(s.sp, np.sqrt(s.ss_h * s.ss_m)),
    "sd_ratio": lambda s: np.where(s.ss_h > 0, np.sqrt(_over(s.ss_h, s.ss_m)), np.nan),
    "smd": lambda s: _over(s.gap, np.sqrt(s.ss_h / (s.n - 1))),
    "smd_pooled": lambda s: _over(s.gap, np.sqrt((s.ss_h + s.ss_m) / 2 / (s.n - 1))),
    "mean_difference": lambda s: s.gap,
}


def from_moments(metric: str, sums: ArrayLike) -> np.ndarray:
    """A metric of `METRICS` from summed `moments`, shape (..., 8) -> (...); NaN where it is undefined."""
    if metric not in METRICS:
        raise CyborgError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return METRICS[metric](_Summary.of(np.asarray(sums, dtype=float)))


def middle(human: np.ndarray) -> float:
    """A whole number near the mean, to centre `moments` on: levels stay whole, so their sums stay exact."""
    return float(np.round(human.mean())) if len(human) else 0.0


def _metric(metric: str, human: np.ndarray, machine: np.ndarray) -> float:
    return float(from_moments(metric, moments(human, machine, centre=middle(human)).sum(axis=0)))


def qwk(human_level: ArrayLike, machine_level: ArrayLike, *, levels: int) -> float:
    """Quadratic weighted kappa over the whole scale of `levels` levels (Cohen 1968).

    1 - sum(w_ij O_ij) / sum(w_ij E_ij) with w_ij = (i-j)^2 / (K-1)^2, O the observed and E the chance table (the product of the
    marginals). Levels are places on the scale, so a level that no essay has keeps its place; it equals
    `sklearn.metrics.cohen_kappa_score(weights="quadratic", labels=range(K))`. NaN without essays, and where both raters gave
    all essays one and the same level; 0 where only one rater is constant.
    """
    return _metric("qwk", *paired_levels(human_level, machine_level, levels=levels))


def confusion(human_level: ArrayLike, machine_level: ArrayLike, *, levels: int) -> np.ndarray:
    """Counts of essays, int64 (K, K): row = human level, column = machine level; levels without essays are rows of 0."""
    human, machine = paired_levels(human_level, machine_level, levels=levels)
    return np.bincount(human * levels + machine, minlength=levels * levels).reshape(levels, levels)


def qwk_from_confusion(counts: ArrayLike) -> np.ndarray:
    """`qwk` of each of many confusion tables, (..., K, K) -> (...); counts need not be whole. NaN as in `qwk`."""
    counts = np.asarray(counts, dtype=float)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise CyborgError(f"a confusion table is square in its last two axes, not {counts.shape}")
    place = np.arange(counts.shape[-1])
    return from_moments("qwk", np.tensordot(counts, moments(place[:, None], place[None, :]), axes=2))


def exact_agreement(human_level: ArrayLike, machine_level: ArrayLike) -> float:
    """Share of essays with the same level, 0-1. NaN without essays."""
    return _metric("exact", *paired_levels(human_level, machine_level))


def adjacent_agreement(human_level: ArrayLike, machine_level: ArrayLike) -> float:
    """Share of essays at most one level apart (exact included), 0-1. NaN without essays."""
    return _metric("adjacent", *paired_levels(human_level, machine_level))


def rmse(human: ArrayLike, machine: ArrayLike) -> float:
    """Root mean squared error, sqrt(mean((M - H)^2)), in the unit of the input. NaN without essays."""
    return _metric("rmse", *paired(human, machine))


def pearson_r(human: ArrayLike, machine: ArrayLike) -> float:
    """Pearson correlation of H and M. NaN where either has zero variance (so also for one essay)."""
    return _metric("r", *paired(human, machine))


def sd_ratio(human: ArrayLike, machine: ArrayLike) -> float:
    """SD of H over SD of M; 2/3 to 3/2 is wanted (Wang & von Davier 2014). Above 1 the machine spreads too little.

    NaN where either has zero variance (so also for one essay).
    """
    return _metric("sd_ratio", *paired(human, machine))


def smd_denominator(human: ArrayLike, machine: ArrayLike, *, denominator: str = "human") -> float:
    """The SD that an SMD is divided by, one of `DENOMINATORS`, of these essays; NaN with fewer than two of them."""
    if denominator not in DENOMINATORS:
        raise CyborgError(f"no SMD denominator {denominator!r}; there are {', '.join(DENOMINATORS)}")
    human, machine = paired(human, machine)
    if len(human) < 2:
        return float("nan")
    sums = _Summary.of(moments(human, machine, centre=middle(human)).sum(axis=0))
    squares = sums.ss_h if denominator in ("human", "johnson") else (sums.ss_h + sums.ss_m) / 2
    return float(np.sqrt(squares / (len(human) - 1)))


def smd(
    human: ArrayLike,
    machine: ArrayLike,
    *,
    denominator: str = "human",
    whole: tuple[ArrayLike, ArrayLike] | None = None,
) -> float:
    """Standardised mean difference (mean M - mean H) / sigma; negative = the machine is stricter.

    `denominator` is a name of `DENOMINATORS` (the field uses four, RSMTool's names): "human" and "pooled" take sigma from these
    essays; "johnson" and "williamson" from `whole`, (human, machine) of the whole sample, when these essays are one group of it
    (by default from these essays too). NaN where sigma is 0 or of fewer than two essays.
    """
    human, machine = paired(human, machine)
    own = whole is None or denominator in ("human", "pooled")
    sigma = smd_denominator(*((human, machine) if own else whole), denominator=denominator)
    return _metric("mean_difference", human, machine) / sigma if sigma > 0 else float("nan")


def per_level(human_level: ArrayLike, machine_level: ArrayLike, *, levels: int) -> pd.DataFrame:
    """One row a level: level, human_n, machine_n, precision, recall, f1.

    Recall = of the essays that people gave this level, the share the machine gave it too; NaN where people gave it to none.
    Precision = of the essays the machine gave this level, the share people gave it too; NaN where the machine never did.
    F1 = 2 TP / (2 TP + FP + FN); NaN where neither ever did.
    """
    human, machine = paired_levels(human_level, machine_level, levels=levels)
    places = np.arange(levels)
    shares = np.full((3, levels), np.nan)
    if len(human):
        shares = precision_recall_fscore_support(human, machine, labels=places, zero_division=np.nan)[:3]
    counts = {f"{name}_n": np.bincount(given, minlength=levels) for name, given in (("human", human), ("machine", machine))}
    return pd.DataFrame({"level": places, **counts, **dict(zip(("precision", "recall", "f1"), shares, strict=True))})


def agreement(human_score: ArrayLike, machine_value: ArrayLike, scale: Scale) -> dict[str, float]:
    """All agreement figures of one rater, machine or a second human, with the human scores of the same essays.

    `human_score` lies on the scale; `machine_value` is real-valued, on the score scale. QWK, exact and adjacent agreement compare
    levels (the machine's by `scale.nearest`: rounded, halves up, trimmed to the scale); means, SDs (sample), RMSE (in points of
    the scale), r, SD ratio H/M and SMD (over the human SD) compare the values as they are. NaN where undefined.
    """
    human, machine = paired(human_score, machine_value)
    human_level, machine_level = scale.level(human), scale.nearest(machine)
    one = {"human": human, "machine": machine}
    return {
        "n": len(human),
        **{f"{name}_mean": float(values.mean()) if len(values) else float("nan") for name, values in one.items()},
        **{f"{name}_sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan") for name, values in one.items()},
        "qwk": qwk(human_level, machine_level, levels=scale.size),
        "exact": exact_agreement(human_level, machine_level),
        "adjacent": adjacent_agreement(human_level, machine_level),
        "rmse": rmse(human, machine),
        "r": pearson_r(human, machine),
        "sd_ratio": sd_ratio(human, machine),
        "smd": smd(human, machine),
    }
