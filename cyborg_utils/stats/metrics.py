"""Agreement of a machine with human raters on the same essays: arrays in, numbers out, no model needed.

Every metric is a function of a few sums over essays (`moments`), so one formula serves a sample, a confusion table and ten
thousand resamples of it (`bootstrap`). Rules for all metrics: arrays are one-dimensional and of equal length; NaN in the input is
an error, since the caller must decide what to do about a missing score; an undefined result (no essay, zero variance) is NaN,
never 0. Only tables of several ratings (PRMSE, `human_agreement`) may contain NaN, where a rater did not score an essay.

Metrics that compare categories require levels (0 .. K-1, see `scale`): QWK, exact, adjacent, confusion, precision and recall. The
others take real-valued scores, neither rounded nor trimmed: RMSE, r, SD ratio, SMD.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_fscore_support

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale

DENOMINATORS = {
    "human": "sample SD of the human scores of the same essays (RSMTool: unpooled)",
    "pooled": "square root of the mean of the human and the machine sample variance, of the same essays",
    "johnson": "sample SD of the human scores of the whole sample",
    "williamson": "square root of the mean of the human and the machine sample variance, of the whole sample",
}


class Threshold(NamedTuple):
    """A convention of operational essay scoring, not a law: in words, its source, and the test (numbers or arrays; NaN fails)."""

    words: str
    source: str
    met: Callable


WILLIAMSON = "Williamson, Xi & Breyer 2012"
THRESHOLDS = {  # by metric; `below_people`: QWK of two people minus QWK of machine and human
    "qwk": Threshold("at least 0.70", WILLIAMSON, lambda value: value >= 0.70),
    "r": Threshold("at least 0.70", WILLIAMSON, lambda value: value >= 0.70),
    "below_people": Threshold("at most 0.10", WILLIAMSON, lambda value: value <= 0.10),
    "smd": Threshold("within 0.15", WILLIAMSON, lambda value: abs(value) <= 0.15),
    "sd_ratio": Threshold("2/3 to 3/2", "Wang & von Davier 2014", lambda value: (value >= 2 / 3) & (value <= 3 / 2)),
}
# At a QWK of 0.7 the standard error is about 0.5 / sqrt(n). With 100 essays the half-width of an interval is 0.1, the drop from
# two people that the threshold allows; with fewer, that drop cannot be told from none.
MIN_DOUBLE = 100  # double-scored essays from which people's agreement and PRMSE are judged
SUMS = 9  # terms of `moments`
LOWER_IS_BETTER = ("rmse", "mae")
BOUNDS = {"qwk": (-1, 1), "r": (-1, 1), "exact": (0, 1), "adjacent": (0, 1), "rmse": (0, np.inf), "mae": (0, np.inf)}
BOUNDS |= {"sd_ratio": (0, np.inf), "r2": (-np.inf, 1)}  # of the values that a metric can have; the others have none
ROUNDING = 1e-12  # a sum of squared deviations below this share of its terms is rounding error; the variance is zero


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
    """Each essay's terms of the sums: 1, h, m, h^2, m^2, (m-h)^2, [m = h], [|m-h| <= 1], |m-h|. All metrics follow from the sums.

    Shape (..., 9) for broadcastable inputs (...). `centre` is subtracted from both: no metric changes, but less precision is
    lost to rounding.
    """
    human, machine = np.broadcast_arrays(np.asarray(human, dtype=float) - centre, np.asarray(machine, dtype=float) - centre)
    gap = machine - human
    parts = [np.ones_like(gap), human, machine, human**2, machine**2, gap**2, gap == 0, np.abs(gap) <= 1, np.abs(gap)]
    return np.stack(parts, axis=-1).astype(float)


class _Summary(NamedTuple):
    n: np.ndarray  # essays
    gap: np.ndarray  # mean machine - mean human
    ss_h: np.ndarray  # sum of squared deviations of the human scores from their mean
    ss_m: np.ndarray  # the same of the machine scores
    ss_gap: np.ndarray  # sum of squared differences, not centred
    exact: np.ndarray
    adjacent: np.ndarray
    mae: np.ndarray

    @classmethod
    def of(cls, sums: np.ndarray) -> _Summary:
        n, h, m, hh, mm, dd, equal, near, far = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
        ss_h, ss_m = hh - h * h / n, mm - m * m / n
        ss_h, ss_m = np.where(ss_h > ROUNDING * hh, ss_h, 0.0), np.where(ss_m > ROUNDING * mm, ss_m, 0.0)
        return cls(n, (m - h) / n, ss_h, ss_m, dd, equal / n, near / n, far / n)

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
    "mae": lambda s: s.mae,
    "r": lambda s: _over(s.sp, np.sqrt(s.ss_h * s.ss_m)),
    "sd_ratio": lambda s: np.where(s.ss_h > 0, np.sqrt(_over(s.ss_h, s.ss_m)), np.nan),
    "smd": lambda s: _over(s.gap, np.sqrt(s.ss_h / (s.n - 1))),
    "smd_pooled": lambda s: _over(s.gap, np.sqrt((s.ss_h + s.ss_m) / 2 / (s.n - 1))),
    "r2": lambda s: 1 - _over(s.ss_gap, s.ss_h),
    "mean_difference": lambda s: s.gap,
}


def from_moments(metric: str, sums: ArrayLike) -> np.ndarray:
    """A metric of `METRICS` from summed `moments`, shape (..., 9) -> (...); NaN where it is undefined."""
    if metric not in METRICS:
        raise CyborgError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return METRICS[metric](_Summary.of(np.asarray(sums, dtype=float)))


def means_and_sds(sums: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Means (relative to the `centre` of the moments) and sample SDs of human and machine scores, each (..., 2).

    `sums` are summed moments, (..., 9). Means are NaN without essays, SDs with fewer than two.
    """
    sums = np.asarray(sums, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _Summary.of(sums)
        spread = np.stack([found.ss_h, found.ss_m], axis=-1) / (sums[..., :1] - 1)
        return sums[..., 1:3] / sums[..., :1], np.sqrt(spread)


def middle(human: np.ndarray) -> float:
    """A whole number near the mean, the centre for `moments`: centred levels are whole numbers, so their sums are exact."""
    return float(np.round(human.mean())) if len(human) else 0.0


def _metric(metric: str, human: np.ndarray, machine: np.ndarray) -> float:
    return float(from_moments(metric, moments(human, machine, centre=middle(human)).sum(axis=0)))


def qwk(human_level: ArrayLike, machine_level: ArrayLike, *, levels: int) -> float:
    """Quadratic weighted kappa over the whole scale of `levels` levels (Cohen 1968).

    1 - sum(w_ij O_ij) / sum(w_ij E_ij) with w_ij = (i-j)^2 / (K-1)^2, O the observed and E the chance table (the product of the
    marginals). Levels are positions on the scale, so a level that no essay has still counts. Equals
    `sklearn.metrics.cohen_kappa_score(weights="quadratic", labels=range(K))`. NaN without essays, and where both raters gave all
    essays the same level; 0 where only one rater is constant.
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


def r2(human: ArrayLike, machine: ArrayLike) -> float:
    """1 - sum (M - H)^2 / sum (H - mean H)^2: the share of the variance of H that M itself accounts for; not r squared.

    Where it is below 0, the mean of H would be a better guess. NaN where H has zero variance (so also for one essay).
    """
    return _metric("r2", *paired(human, machine))


def sd_ratio(human: ArrayLike, machine: ArrayLike) -> float:
    """SD of H over SD of M; it should lie between 2/3 and 3/2 (Wang & von Davier 2014). Above 1 the machine varies too little.

    NaN where either has zero variance (so also for one essay).
    """
    return _metric("sd_ratio", *paired(human, machine))


def smd_denominator(human: ArrayLike, machine: ArrayLike, *, denominator: str = "human") -> float:
    """The denominator of an SMD: an SD of these essays, by its name in `DENOMINATORS`; NaN with fewer than two essays."""
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

    `denominator` is a name in `DENOMINATORS` (the four in use, with RSMTool's names). "human" and "pooled" take sigma from these
    essays. "johnson" and "williamson" take it from `whole`, the (human, machine) scores of the whole sample of which these essays
    are a group; without `whole`, from these essays. NaN where sigma is 0 or comes from fewer than two essays.
    """
    human, machine = paired(human, machine)
    own = whole is None or denominator in ("human", "pooled")
    sigma = smd_denominator(*((human, machine) if own else whole), denominator=denominator)
    return _metric("mean_difference", human, machine) / sigma if sigma > 0 else float("nan")


def rater_error_variance(ratings: ArrayLike) -> float:
    """Variance of the raters' errors from essays with several ratings, in squared points (Loukina et al. 2020).

    It is the sample variance of each essay's ratings, averaged with weights c_i - 1, c_i being the number of ratings of essay i.
    `ratings` (n, raters) has NaN where a rater did not score an essay. NaN where no essay has two ratings.
    """
    return float(_error_variance(rating_parts(ratings).sum(axis=0)))


def true_score_variance(ratings: ArrayLike, *, error_variance: float | None = None) -> float:
    """Variance of true scores (an essay's mean score from infinitely many raters), in squared points.

    (sum c_i (mean_i - mean)^2 - (n - 1) V) / (C - sum c_i^2 / C) with c_i the number of ratings of essay i, mean_i their mean,
    mean that of all C ratings, V the error variance (by default `rater_error_variance`). It can be negative where raters hardly
    agree. NaN where V is unknown, and for fewer than two essays.
    """
    sums = rating_parts(ratings).sum(axis=0)
    return float(_true_variance(sums, _error_variance(sums) if error_variance is None else error_variance))


def prmse(ratings: ArrayLike, machine: ArrayLike, *, error_variance: float | None = None) -> float:
    """Proportional reduction in mean squared error when the machine's scores predict the true score (Loukina et al. 2020).

    1 - MSE / (variance of true scores), MSE = (sum c_i (mean_i - M_i)^2 - n V) / C; symbols as in `true_score_variance`, formula
    as in RSMTool. Unlike agreement with one rater, it does not fall when raters are careless. 1: the machine gives the true
    score; 0: it is no better than the mean; below 0: it is worse. Above 1 the error variance is overestimated, as happens with
    few double-scored essays: such a value is no finding (`true_score.prmse_interval`).

    `ratings` (n, raters) are in the unit of `machine` (n,), with NaN where an essay lacks a rating. Every essay needs one rating,
    and some need two (or `error_variance` comes from another sample). NaN where undefined: no double-scored essay, one essay, or
    no positive variance of true scores.
    """
    return float(prmse_from_parts(rating_parts(ratings, machine).sum(axis=0), error_variance=error_variance))


def prmse_from_parts(sums: ArrayLike, *, error_variance: float | None = None) -> np.ndarray:
    """`prmse` from summed `rating_parts`, (..., 7) -> (...); NaN as there."""
    n, count, *_, wrong = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
    error = _error_variance(sums) if error_variance is None else error_variance
    return 1 - _over((wrong - n * error) / np.where(count > 0, count, 1), _true_variance(sums, error))


def rating_parts(ratings: ArrayLike, machine: ArrayLike | None = None) -> np.ndarray:
    """An essay's terms with c its number of ratings: 1, c, c^2, c mean, c mean^2, sum (rating - mean)^2, c (mean - M)^2: (n, 7).

    Means are relative to that of all ratings, which changes no result and keeps precision. Without a machine the last term is 0.
    Raises CyborgError for an essay without any rating.
    """
    ratings = np.asarray(ratings, dtype=float)
    if ratings.ndim != 2 or np.isinf(ratings).any():
        raise CyborgError(f"ratings must be a table of essays x raters with finite scores or NaN, not of shape {ratings.shape}")
    counts = (~np.isnan(ratings)).sum(axis=1)
    if (counts == 0).any():
        raise CyborgError(f"{int((counts == 0).sum())} essay(s) have no human rating at all: leave those essays out first")
    mean = np.nanmean(ratings, axis=1) if len(ratings) else np.empty(0)
    _, given = paired(mean, mean if machine is None else machine)
    within = np.nansum((ratings - mean[:, None]) ** 2, axis=1)
    wrong, mean = counts * (mean - given) ** 2, mean - (np.nanmean(ratings) if len(ratings) else 0.0)
    return np.column_stack([np.ones(len(ratings)), counts, counts**2, counts * mean, counts * mean**2, within, wrong])


def _error_variance(sums: np.ndarray) -> np.ndarray:
    """`rater_error_variance` from summed parts."""
    return _over(sums[..., 5], sums[..., 1] - sums[..., 0])


def _true_variance(sums: np.ndarray, error: ArrayLike) -> np.ndarray:
    """`true_score_variance` from summed parts and the error variance."""
    n, count, squares, total, between, *_ = np.moveaxis(sums, -1, 0)
    some = np.where(count > 0, count, 1)
    return _over(between - total**2 / some - (n - 1) * error, count - squares / some)


def two_people(essays: pd.DataFrame) -> pd.DataFrame:
    """Scores of two people for each essay, (n, 2): columns score and second_score; first_score, where score combines both."""
    return essays[["first_score" if "first_score" in essays else "score", "second_score"]].set_axis(["first", "second"], axis=1)


def qwk_of_people(essays: pd.DataFrame, scale: Scale) -> float:
    """QWK of `two_people` on the essays that both scored; NaN where there are none."""
    double = two_people(essays).dropna()
    return qwk(scale.level(double["first"]), scale.level(double["second"]), levels=scale.size) if len(double) else float("nan")


def human_agreement(ratings: ArrayLike, scale: Scale) -> pd.DataFrame:
    """How well people agree, the benchmark for a machine: `agreement_metrics` of every pair of raters on the essays both scored.

    `ratings` (n, raters) lie on the scale, with NaN where a rater did not score an essay. One row per pair: first, second (their
    columns, counted from 1) and `agreement_metrics` with the first as "human" and the second as "machine". Its SMD, however,
    divides by the pooled SD, as in RSMTool, since neither rater is the standard for the other. Pairs without a common essay have
    n = 0 and NaN.
    """
    ratings, rows = np.asarray(ratings, dtype=float), []
    if ratings.ndim != 2:
        raise CyborgError(f"ratings must be a table of essays x raters, not of shape {ratings.shape}")
    for first, second in itertools.combinations(range(ratings.shape[1]), 2):
        one, other = ratings[~np.isnan(ratings[:, [first, second]]).any(axis=1)][:, [first, second]].T
        pooled = smd(one, other, denominator="pooled")
        rows.append({"first": first + 1, "second": second + 1, **agreement_metrics(one, other, scale), "smd": pooled})
    return pd.DataFrame(rows)


def per_level(human_level: ArrayLike, machine_level: ArrayLike, *, levels: int) -> pd.DataFrame:
    """One row per level: level, human_n, machine_n, precision, recall, f1.

    Recall = share of the essays with this human level to which the machine gave it too; NaN where people never gave it.
    Precision = share of the essays with this machine level to which people gave it too; NaN where the machine never gave it.
    F1 = 2 TP / (2 TP + FP + FN); NaN where neither gave it.
    """
    human, machine = paired_levels(human_level, machine_level, levels=levels)
    places = np.arange(levels)
    shares = np.full((3, levels), np.nan)
    if len(human):
        shares = precision_recall_fscore_support(human, machine, labels=places, zero_division=np.nan)[:3]
    counts = {f"{name}_n": np.bincount(given, minlength=levels) for name, given in (("human", human), ("machine", machine))}
    return pd.DataFrame({"level": places, **counts, **dict(zip(("precision", "recall", "f1"), shares, strict=True))})


def agreement_metrics(human_score: ArrayLike, machine_value: ArrayLike, scale: Scale) -> dict[str, float]:
    """All agreement metrics of one rater, a machine or a second human, with the human scores of the same essays.

    `human_score` lies on the scale; `machine_value` is real-valued, on the score scale. QWK, exact and adjacent agreement compare
    levels (the machine's by `scale.nearest`: rounded, halves up, trimmed to the scale). Means, SDs (sample), RMSE (in points of
    the scale), r, SD ratio H/M and SMD (over the human SD) use the values as they are. NaN where undefined.
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
