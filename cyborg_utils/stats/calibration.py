"""Corrections of machine scores, fitted on a held-out development set, never on test essays or training essays.

Every correction has `fit(target=..., values=...)`, which takes the human scores and the machine's real-valued scores of the same
development essays, and `apply(values)`. `METHODS` lists those that treat all writers alike. `ByGroup` and `GroupShifts` need the
writers' groups whenever an essay is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.bootstrap import Seed, resampled_sums
from cyborg_utils.stats.metrics import means_and_sds, paired, sd_ratio


class Calibration(Protocol):
    """A fitted correction."""

    def apply(self, values: ArrayLike) -> np.ndarray:
        """Corrected scores, float64 (n,), in score units; neither rounded nor trimmed to the scale."""


@dataclass(frozen=True)
class MeanSdMatch:
    """Linear equating: y = target_mean + slope * (value - value_mean), with slope = SD of the human scores / SD of the machine's.

    A regression model's scores shrink towards the mean. Matching undoes that, so that the model gives top and bottom scores
    again, and removes overall strictness. It keeps r and the order of essays. It can raise the RMSE: a shrunken score is the best
    guess for a single essay, while matched scores have the right distribution. It cannot repair a bias that differs between
    groups.
    """

    target_mean: float
    value_mean: float
    slope: float

    @classmethod
    def fit(cls, *, target: ArrayLike, values: ArrayLike) -> MeanSdMatch:
        """Fit on development essays: `target` are their human scores (n,), `values` their machine scores (n,), in one unit.

        Where an SD is 0 or unknown (one essay, a constant), only the means are matched, with slope 1. Without essays the match
        changes nothing. Raises CyborgError on NaN and unequal lengths.
        """
        target, values = paired(target, values)
        if not len(target):
            return cls(0.0, 0.0, 1.0)
        slope = sd_ratio(target, values)
        return cls(float(target.mean()), float(values.mean()), slope if np.isfinite(slope) else 1.0)

    @classmethod
    def unpaired(cls, *, target: ArrayLike, values: ArrayLike) -> MeanSdMatch:
        """Fit on human scores (n,) of some essays and machine scores (m,) of other essays of the same population.

        A mean and an SD need no pairs, so the machine's essays need no human scores. An SD of 0 gives slope 1.
        """
        target, values = np.asarray(target, dtype=float), np.asarray(values, dtype=float)
        spread = values.std()
        return cls(float(target.mean()), float(values.mean()), float(target.std() / spread) if spread > 0 else 1.0)

    def apply(self, values: ArrayLike) -> np.ndarray:
        """Matched scores, float64 of the same shape; neither rounded nor trimmed to the scale. NaN stays NaN."""
        return self.target_mean + self.slope * (np.asarray(values, dtype=float) - self.value_mean)


def match_on_dev(dev: pd.DataFrame, value: str = "value", *, head: str = "regression") -> MeanSdMatch:
    """The `MeanSdMatch` of one scorer, from its development essays: columns `score` (human) and `value` (the scorer's).

    A classification head gives levels, which stay as they are: its match changes nothing, nor does one without essays.
    """
    rows = dev if head != "classification" else dev.iloc[:0]
    return MeanSdMatch.fit(target=rows["score"], values=rows[value])


def matching_noise(target: ArrayLike, runs: Sequence[ArrayLike], means: ArrayLike, *, resamples: int, seed: Seed) -> np.ndarray:
    """SD of groups' matched mean scores over other development essays, in points: the noise of matching, (groups,).

    `target` (n,) are human scores of the development essays, `runs` each seed's raw machine scores of them, (n,) each, `means`
    the groups' matched means by seed, (seeds, groups). All seeds are matched on the same essays, so drawing other ones moves
    them together, which their spread over seeds cannot show. The essays are drawn with replacement and `MeanSdMatch` is fitted
    anew for every seed on the same draw (`shared_sd`). NaN for fewer than two essays.
    """
    values, means = [paired(target, run)[1] for run in runs], np.asarray(means, dtype=float)
    n, fits = len(values[0]), [MeanSdMatch.fit(target=target, values=run) for run in values]
    if n < 2:
        return np.full(means.shape[1], np.nan)
    raw = np.array([fit.value_mean + (row - fit.target_mean) / fit.slope for fit, row in zip(fits, means, strict=True)])
    centre, sd = means_and_sds(resampled_sums(target, values, resamples=resamples, seed=seed, centre=0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where((sd > 0).all(axis=-1), sd[..., 0] / sd[..., 1], 1.0)
    drawn = centre[..., 0, None] + slope[..., None] * (raw - centre[..., 1, None])  # (resamples, seeds, groups)
    return shared_sd(drawn, n)


def shared_sd(drawn: np.ndarray, n: int) -> np.ndarray:
    """What resampled development essays do to all seeds together: an SD by group, from values (draws, seeds, groups).

    The variance is the mean covariance between seeds. What is left of each seed's own is part of the spread over seeds, as the
    test essays' is in `comparisons.across_seeds`. With one seed it is that seed's variance. The factor n / (n - 1) makes up for
    drawing n of n essays.
    """
    own, count = drawn.var(axis=0, ddof=1).sum(axis=0), drawn.shape[1]
    if count > 1:
        own = np.maximum(0, drawn.sum(axis=1).var(axis=0, ddof=1) - own) / (count * (count - 1))
    return np.sqrt(own * n / (n - 1))


def mean_shift(target: ArrayLike, values: ArrayLike, scale: Scale) -> MeanSdMatch:
    """Adds the same number of points to every score, so that the means are equal."""
    target, values = paired(target, values)
    return MeanSdMatch(float(target.mean()), float(values.mean()), 1.0)


@dataclass(frozen=True)
class Isotonic:
    """The rising step function with the least squared error (pool adjacent violators). It increases the shrinkage to the mean."""

    model: IsotonicRegression

    @classmethod
    def fit(cls, target: ArrayLike, values: ArrayLike, scale: Scale) -> Isotonic:
        target, values = paired(target, values)
        return cls(IsotonicRegression(out_of_bounds="clip").fit(values, target))

    def apply(self, values: ArrayLike) -> np.ndarray:
        return self.model.predict(np.asarray(values, dtype=float))


@dataclass(frozen=True)
class DistributionMatch:
    """Equipercentile equating: an essay gets the human score of its own percentile rank (Kolen & Brennan 2014, chapter 2).

    Each human score is spread evenly over half a step on either side, as is usual for discrete scores. After rounding, each level
    therefore has the same share as among the human scores. Equal machine scores share their mid-rank, (essays below + half of the
    equal ones) / n: a machine with people's own distribution keeps its scores, and a constant one gets the human median. A rank
    on a gap, between levels that nobody gave, gets the gap's middle.
    """

    values: np.ndarray  # different machine scores of the development essays, ascending
    ranks: np.ndarray  # their mid-ranks, between 0 and 1
    shares: np.ndarray  # cumulative share of human scores at the upper edge of each level, from 0 to 1
    edges: np.ndarray  # these edges, in score units

    @classmethod
    def fit(cls, target: ArrayLike, values: ArrayLike, scale: Scale) -> DistributionMatch:
        target, values = paired(target, values)
        people = np.bincount(scale.level(target), minlength=scale.size)
        edges = np.r_[scale.scores - scale.step / 2, scale.scores[-1] + scale.step / 2]
        distinct, counts = np.unique(values, return_counts=True)
        ranks = (2 * np.cumsum(counts) - counts) / (2 * len(values))
        return cls(distinct, ranks, np.r_[0, np.cumsum(people)] / len(target), edges)

    def apply(self, values: ArrayLike) -> np.ndarray:
        rank = np.interp(np.asarray(values, dtype=float), self.values, self.ranks)
        upper = np.interp(rank, self.shares, self.edges)  # np.interp takes the last of equal shares, mirrored the first
        lower = -np.interp(-rank, -self.shares[::-1], -self.edges[::-1])
        return (lower + upper) / 2


@dataclass(frozen=True)
class CutPoints:
    """Cut points between levels that maximise QWK on the development essays; the corrected scores are levels, as scores.

    Coordinate ascent starts from the cut points of `DistributionMatch` and moves one cut point at a time to the best place
    between its neighbours, until none moves. Many cut points on few essays overfit.
    """

    cuts: np.ndarray  # ascending, one fewer than levels
    scale: Scale

    @classmethod
    def fit(cls, target: ArrayLike, values: ArrayLike, scale: Scale) -> CutPoints:
        target, values = paired(target, values)
        human, (ordered, at) = scale.level(target), np.unique(values, return_inverse=True)
        # a cut's place is the number of different values below it; an essay's level is the number of cuts below its value
        start = scale.nearest(DistributionMatch.fit(target, values, scale).apply(ordered))
        place = np.searchsorted(start, np.arange(scale.size - 1), side="right")
        below = np.array([np.bincount(at), np.bincount(at, weights=human)]).cumsum(axis=1)
        above = below[:, -1:] - np.c_[np.zeros(2), below]  # by place: essays above it, and their human levels in sum
        n, total, squares, odd = len(human), human.sum(), (human**2).sum(), 2 * np.arange(scale.size - 1) + 1

        def agreement(places: np.ndarray) -> np.ndarray:
            """2 cov(h, m) / (var h + var m + (mean h - mean m)^2) for cuts at (tried, K - 1) places; m^2 sums odd numbers."""
            over, mixed = above[0][places], above[1][places].sum(axis=-1)
            machine, square = over.sum(axis=-1), (odd * over).sum(axis=-1)
            spread = squares + square - 2 * total * machine / n
            return np.where(spread > 0, 2 * (mixed - total * machine / n) / np.where(spread > 0, spread, 1), -1.0)

        best, moved = agreement(place), True
        while moved:
            moved = False
            for cut in range(len(place)):
                low, high = np.r_[0, place, len(ordered)][[cut, cut + 2]]
                tried = np.repeat(place[None], high - low + 1, axis=0)
                tried[:, cut] = np.arange(low, high + 1)
                reached = agreement(tried)
                if reached.max() > best + 1e-12:
                    best, place, moved = reached.max(), tried[reached.argmax()], True
        return cls(np.r_[-np.inf, (ordered[1:] + ordered[:-1]) / 2, np.inf][place], scale)

    def apply(self, values: ArrayLike) -> np.ndarray:
        """Scores of the levels; a value on a cut point belongs to the upper level, as halves go up in `Scale.nearest`."""
        return self.scale.score(np.searchsorted(self.cuts, np.asarray(values, dtype=float), side="right"))


METHODS: dict[str, Callable[[ArrayLike, ArrayLike, Scale], Calibration]] = {
    "uncorrected": lambda target, values, scale: MeanSdMatch(0.0, 0.0, 1.0),
    "mean": mean_shift,
    "mean and SD": lambda target, values, scale: MeanSdMatch.fit(target=target, values=values),
    "isotonic": Isotonic.fit,
    "distribution": DistributionMatch.fit,
    "QWK cut points": CutPoints.fit,
}


@dataclass(frozen=True)
class ByGroup:
    """One correction per group of writers; groups that are unknown or too small get the correction fitted on all essays."""

    whole: Calibration
    parts: Mapping[Any, Calibration]

    @classmethod
    def fit(
        cls, target: ArrayLike, values: ArrayLike, scale: Scale, *, group: Sequence[Any], method: str, min_group: int = 10
    ) -> ByGroup:
        """`group` (n,) names each development essay's group, null where it is not known."""
        target, values = paired(target, values)
        fit, places = METHODS[method], pd.Series(np.arange(len(target))).groupby(pd.Series(list(group))).indices
        parts = {name: fit(target[at], values[at], scale) for name, at in places.items() if len(at) >= min_group}
        return cls(fit(target, values, scale), parts)

    def apply(self, values: ArrayLike, group: Sequence[Any]) -> np.ndarray:
        values, found = np.asarray(values, dtype=float), pd.Series(list(group))
        corrected = self.whole.apply(values)
        for name, calibration in self.parts.items():
            corrected = np.where(found == name, calibration.apply(values), corrected)
        return corrected


@dataclass(frozen=True)
class GroupShifts:
    """Mean and SD matched for all writers, then a shift in points for each group, fitted for all attributes at once.

    The shifts are the coefficients of a ridge regression of the error on all groups, with the penalty chosen by leave-one-out on
    the development essays. A small group's shift is drawn towards 0; an unknown group's is 0.
    """

    whole: MeanSdMatch
    model: Pipeline

    @classmethod
    def fit(cls, target: ArrayLike, values: ArrayLike, scale: Scale, *, groups: pd.DataFrame) -> GroupShifts:
        """`groups` has one row per essay and one column per attribute."""
        target, values = paired(target, values)
        whole = MeanSdMatch.fit(target=target, values=values)
        model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), RidgeCV(alphas=np.geomspace(0.1, 1000, 25)))
        return cls(whole, model.fit(groups.astype("string").fillna("").to_numpy(dtype=object), target - whole.apply(values)))

    def apply(self, values: ArrayLike, groups: pd.DataFrame) -> np.ndarray:
        return self.whole.apply(values) + self.model.predict(groups.astype("string").fillna("").to_numpy(dtype=object))
