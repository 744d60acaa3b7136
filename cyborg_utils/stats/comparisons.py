"""Which differences are real, which systems are equivalent, and how much of a result is the luck of a seed.

The resampling itself is in `bootstrap`. All systems of one call are scored on the same essays. QWK, exact and adjacent agreement
require levels (0 .. K-1).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.bootstrap import (
    Interval,
    Seed,
    Swaps,
    averaged_metric,
    cluster_numbers,
    percentile_interval,
    resampled_metric,
    resampled_tail,
)
from cyborg_utils.stats.metrics import BOUNDS, LOWER_IS_BETTER, paired_levels

SMALLEST = 1e-12  # p-values are not told apart below it
MOST_SWAPS = 1_000_000  # of one permutation test; about five seconds for 500 essays
Run = ArrayLike | Sequence[ArrayLike]  # scores of one run, (n,), or a list with the scores of each of its draws


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values of one family of tests (Holm 1979, statsmodels); NaN stays NaN and does not count as a test."""
    p = np.asarray(p, dtype=float)
    adjusted, known = np.full(p.shape, np.nan), np.isfinite(p)
    if known.any():
        adjusted[known] = multipletests(p[known], method="holm")[1]
    return adjusted


def decided(tests: Sequence[Swaps], *, alpha: float = 0.05, resamples: int = 10_000, most: int = MOST_SWAPS) -> pd.DataFrame:
    """p-values of one family of permutation tests, with as many resamples as it takes for safe verdicts.

    Every test gets `resamples`. Those whose verdict (Holm-adjusted p < `alpha`) could still change within the Monte Carlo error
    (99.9 % ranges of all p-values) go on with twice as many, up to `most`. Columns: p, p_holm, p_error (standard error of p that
    the resamples leave), swaps, p_settled (False where `most` did not settle the verdict).
    """
    for test in tests:
        test.draw(max(0, resamples - test.resamples))
    while True:
        ranges = np.array([test.range() for test in tests]).reshape(len(tests), 2)
        low, high = (holm(ends) < alpha for ends in ranges.T)
        unsettled = low != high
        if not (again := [test for test, open_ in zip(tests, unsettled, strict=True) if open_ and test.resamples < most]):
            break
        for test in again:
            test.draw(min(test.resamples, most - test.resamples))
    frame = pd.DataFrame([(test.p, test.error, test.resamples) for test in tests], columns=["p", "p_error", "swaps"])
    frame.insert(1, "p_holm", holm(frame["p"]))
    return frame.assign(p_settled=~unsettled)


def equivalence(low: float, high: float, *, margin: float) -> str:
    """Verdict of two one-sided tests (Schuirmann 1987) from the 1 - 2 alpha interval of a single difference.

    "equivalent": the interval lies inside (-margin, margin); "not equivalent": it lies entirely outside; "undecided": anything
    else, including no interval. The margin must be chosen before the data are seen. For several differences: `equivalences`.
    """
    if -margin < low and high < margin:
        return "equivalent"
    return "not equivalent" if low >= margin or high <= -margin else "undecided"


def equivalences(table: pd.DataFrame, *, alpha: float) -> pd.DataFrame:
    """Verdicts on a family of differences, with Holm's correction over the family; columns p_tost_holm and equivalence.

    `table` has p_tost and p_beyond (`across_seeds` with a margin), low and high (the interval of the difference, for its sign).
    "equivalent": p_tost_holm < `alpha`, and ", and worse" or ", and better" where the interval lies wholly on one side of 0;
    "not equivalent": the adjusted p_beyond < `alpha`; "undecided": neither.
    """
    inside, beyond = holm(table["p_tost"]), holm(table["p_beyond"])
    side = np.select([table["high"] < 0, table["low"] > 0], [", and worse", ", and better"], "")
    alike = np.char.add("equivalent", side.astype(str))
    verdict = np.select([inside < alpha, beyond < alpha], [alike, np.full(len(table), "not equivalent")], "undecided")
    return table.assign(p_tost_holm=inside, equivalence=verdict)


def intervals(
    human_level: ArrayLike,
    systems: Mapping[str, ArrayLike],
    *,
    scale: Scale,
    metric: str = "qwk",
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: Seed,
) -> pd.DataFrame:
    """One row per system: system, n, <metric>, low, high. `systems` are levels of the scale; all share the resamples."""
    machines = [paired_levels(human_level, machine, levels=scale.size)[1] for machine in systems.values()]
    values, resampled = resampled_metric(human_level, machines, metric=metric, resamples=resamples, seed=seed)
    n = len(np.asarray(human_level))
    rows = [percentile_interval(value, resampled[:, at], confidence=confidence, n=n) for at, value in enumerate(values)]
    frame = pd.DataFrame(rows, columns=[metric, "low", "high"])
    return pd.concat([pd.DataFrame({"system": list(systems), "n": n}), frame], axis=1)


def compare(
    human_level: ArrayLike,
    systems: Mapping[str, ArrayLike],
    *,
    scale: Scale,
    margin: float,
    seed: int,
    pairs: Sequence[tuple[str, str]] | None = None,
    metric: str = "qwk",
    resamples: int = 10_000,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> pd.DataFrame:
    """Differences between systems on the same essays; the rows are one family for Holm's correction.

    `systems` maps a name to levels (n,). `pairs` lists (system, baseline); by default every other system against the first one.
    Columns: system, baseline, n, <metric>, <metric>_baseline, difference (system - baseline), low, high (paired bootstrap,
    `confidence`), tost_low, tost_high (the 2 confidence - 1 interval), p_tost, p_beyond, margin, those of `decided`, p_tost_holm,
    equivalence (`equivalences`); with `clusters`, prompt_low and prompt_high as in `contrast`.
    """
    names = list(systems)
    pairs = [(name, names[0]) for name in names[1:]] if pairs is None else list(pairs)
    unknown = sorted({name for pair in pairs for name in pair} - set(names))
    if unknown:
        raise CyborgError(f"compare: no scores for {', '.join(unknown)}; there are {', '.join(names)}")
    levels = {name: paired_levels(human_level, machine, levels=scale.size)[1] for name, machine in systems.items()}
    rows, tests, options = [], [], {"metric": metric, "seed": seed}
    for system, baseline in pairs:
        ours, theirs = ({1: levels[name]} for name in (system, baseline))
        value, base = (mean_over_seeds(human_level, runs, metric=metric) for runs in (ours, theirs))
        how = {"margin": margin, "resamples": resamples, "confidence": confidence, "clusters": clusters}
        found = contrast(human_level, ours, theirs, **how, **options)
        rows.append({"system": system, "baseline": baseline, "n": len(levels[system]), metric: value, f"{metric}_baseline": base})
        rows[-1] |= found
        tests.append(Swaps(human_level, levels[system], levels[baseline], **options))
    frame = pd.concat([pd.DataFrame(rows), decided(tests, alpha=1 - confidence, resamples=resamples)], axis=1)
    return equivalences(frame, alpha=1 - confidence)


def across_seeds(
    human: ArrayLike,
    runs: Mapping[Any, Run],
    baseline: Mapping[Any, Run] | None = None,
    *,
    metric: str = "qwk",
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: Seed,
    clusters: ArrayLike | None = None,
    margin: float | None = None,
) -> dict[str, Any]:
    """The mean over seeds of a metric, or of its difference to `baseline` (same seeds), with both sources of variance.

    `runs` maps a seed to that run's scores of the same n essays, (n,), or to a list of such arrays. The arrays of a list are
    draws under one seed: they count as one run, with the mean of their metric.

    Returned: n, seeds (their number S), mean, seed_sd (SD over seeds on these essays), test_sd (SD due to the choice of essays,
    common to all seeds: root of the mean covariance between seeds over the bootstrap), test_low and test_high (percentile
    interval of the mean over essays, for these seeds), low and high, interval_of.

    low and high hold for new seeds and new essays: mean -+ sqrt((z test_sd)^2 + (t seed_sd)^2 / S), z normal and t Student's with
    S - 1 degrees of freedom. Each source has its own quantile, so the interval is wide where seeds are few. Its coverage is in
    results/coverage (Satterthwaite's degrees of freedom, tried first, covered too little). With one seed, seed_sd is NaN, test_sd
    is that run's own, and low and high are the interval over essays alone. `interval_of` names the sources covered ("essays and
    seeds" or "essays"). No end goes beyond what the metric can be (`metrics.BOUNDS`).

    With `clusters` (n,), prompts are drawn in place of essays (`bootstrap.resampled_sums`). With a `margin`, p_tost is the
    p-value of "the true value lies outside (-margin, margin)", and p_beyond that of "it lies inside": the alphas at which the 1
    - 2 alpha interval would just touch the margin, from inside and from outside. tost_low and tost_high are then the 2 confidence
    - 1 interval.
    """
    if baseline is not None and set(runs) != set(baseline):
        raise CyborgError(f"across_seeds: seeds {sorted(runs)} and baseline seeds {sorted(baseline)} must be the same")
    machines = [_draws(part[key]) for part in (runs, baseline) if part is not None for key in runs]
    values, resampled = averaged_metric(human, machines, metric=metric, resamples=resamples, seed=seed, clusters=clusters)
    count = len(runs)
    if baseline is not None:
        values, resampled = values[:count] - values[count:], resampled[:, :count] - resampled[:, count:]
    resampled_mean, mean, n = resampled.mean(axis=1), float(values.mean()), len(np.asarray(human))
    units = n if clusters is None else cluster_numbers(clusters, n)[1]
    test = percentile_interval(mean, resampled_mean, confidence=confidence, n=units)
    whole = resampled[np.isfinite(resampled_mean)]
    spread = np.atleast_2d(np.cov(whole, rowvar=False)) if len(whole) > 1 else np.full((count, count), np.nan)
    seed_variance, test_variance = float("nan"), spread[0, 0]
    if count > 1:
        test_variance = max(0.0, (spread.sum() - np.trace(spread)) / (count * (count - 1)))
        seed_variance = values.var(ddof=1)
        normal = stats.norm if clusters is None else stats.t(max(1, units - 1))  # few prompts
    least, most = BOUNDS.get(metric, (-np.inf, np.inf))
    least, most = (least, most) if baseline is None else (least - most, most - least)

    def ends(level: float) -> list[float]:  # of the interval at this confidence
        if count > 1:
            half = _half((1 - level) / 2, test_variance, seed_variance, count, normal)
            return np.clip([mean - half, mean + half], least, most).tolist()
        over_essays = percentile_interval(mean, resampled_mean, confidence=level, n=units)
        return np.clip([over_essays.low, over_essays.high], least, most).tolist()

    low, high = ends(confidence)
    tested = {}
    if margin is not None and count > 1:
        sides = [_tail(margin - side * mean, test_variance, seed_variance, count, normal) for side in (1, -1)]
    elif margin is not None:
        sides = [resampled_tail(side * resampled_mean, margin, units) for side in (1, -1)]
    if margin is not None:  # p of "at least margin" and of "at most -margin"
        tested = dict(zip(("tost_low", "tost_high"), ends(2 * confidence - 1), strict=True))
        tested |= {"p_tost": max(sides), "p_beyond": min(1 - side for side in sides)}
    return tested | {
        "n": n,
        "seeds": count,
        "mean": mean,
        "seed_sd": float(np.sqrt(seed_variance)),
        "test_sd": float(np.sqrt(test_variance)),
        "test_low": test.low,
        "test_high": test.high,
        "low": low,
        "high": high,
        "interval_of": "essays and seeds" if count > 1 else "essays",
    }


def mean_over_seeds(human: ArrayLike, runs: Mapping[Any, Run], *, metric: str = "qwk") -> float:
    """The mean over seeds of a metric, without an interval (`across_seeds`)."""
    return float(across_seeds(human, runs, metric=metric, resamples=2, seed=0)["mean"])


def _half(alpha: float, test_variance: float, seed_variance: float, seeds: int, normal: Any) -> float:
    """Half the 1 - 2 alpha interval of a mean over seeds (`across_seeds`)."""
    z, t = normal.isf(alpha), stats.t(seeds - 1).isf(alpha)
    return float(np.sqrt(z**2 * test_variance + t**2 * seed_variance / seeds))


def _tail(distance: float, *spread: Any) -> float:
    """The alpha at which `_half` is |distance|; one minus it where the distance is negative. NaN stays NaN."""
    if not np.isfinite(distance):
        return float("nan")
    if _half(SMALLEST, *spread) <= abs(distance):
        alpha = SMALLEST
    else:
        alpha = optimize.brentq(lambda alpha: _half(alpha, *spread) - abs(distance), SMALLEST, 0.5)
    return alpha if distance > 0 else 1 - alpha


def widened(
    value: ArrayLike, low: ArrayLike, high: ArrayLike, runs: Sequence[ArrayLike], *, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Widens intervals over essays, so that they hold for new seeds too; returns their low and high ends, (n,) each.

    `value`, `low` and `high` belong to the mean over S seeds, (n,) each. `runs` are the seeds' own values, low and high ends,
    (S, n) each; NaN where a seed has none. As in `across_seeds`, the essays contribute the covariance between seeds. With w the
    interval's width and w_s that of seed s, this is the share (S w^2 - mean w_s^2) / ((S - 1) w^2) of the squared half-width. The
    seeds contribute t sd / sqrt(S), t being Student's quantile with S - 1 degrees of freedom. Where fewer than two seeds have a
    value, the ends stay as they are.
    """
    value, low, high = (np.asarray(part, dtype=float) for part in (value, low, high))
    values, lows, highs = (np.asarray(part, dtype=float) for part in runs)
    there = np.isfinite(values)
    count = np.maximum(there.sum(axis=0), 2)  # a single seed is left unchanged below
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no seed has a value
        own, sd = np.nanmean((highs - lows) ** 2, axis=0), np.nanstd(values, axis=0, ddof=1)
        share = np.clip((count * (high - low) ** 2 - own) / ((count - 1) * (high - low) ** 2), 0, 1)
    more = (stats.t.ppf((1 + confidence) / 2, count - 1) * sd) ** 2 / count
    known = (there.sum(axis=0) > 1) & np.isfinite(share)
    ends = value - np.sqrt(share * (value - low) ** 2 + more), value + np.sqrt(share * (high - value) ** 2 + more)
    return np.where(known, ends[0], low), np.where(known, ends[1], high)


def cross_fitted(
    value: ArrayLike, low: ArrayLike, high: ArrayLike, *, folds: int, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[np.ndarray, np.ndarray]:
    """Widens bootstrap intervals of cross-fitted predictions, so that they hold for the machine that is fitted on all essays.

    In K folds, K machines judge the essays. They share most of what they learned from, so their errors are dependent, and the
    bootstrap takes essays for independent. Nadeau & Bengio (2003, "Inference for the generalization error") replace the variance
    S^2 / J of a mean over J splits by S^2 (1 / J + n_test / n_train). K folds have J = K and n_test / n_train = 1 / (K - 1), so
    that each half of an interval grows by sqrt(1 + K / (K - 1)): 1.45 times with 10 folds. results/coverage has what this brings;
    `bounds` are those of the metric.
    """
    value, factor = np.asarray(value, dtype=float), np.sqrt(1 + folds / (folds - 1))
    return np.maximum(value - factor * (value - low), bounds[0]), np.minimum(value + factor * (high - value), bounds[1])


def contrast(
    human: ArrayLike,
    ours: Mapping[Any, Run],
    theirs: Mapping[Any, Run],
    *,
    margin: float,
    resamples: int,
    confidence: float,
    seed: Seed,
    metric: str = "qwk",
    clusters: ArrayLike | None = None,
) -> dict[str, Any]:
    """Difference in a metric of two arms with the same seeds.

    Returned: difference, low, high (`across_seeds`), tost_low, tost_high (the 2 confidence - 1 interval), p_tost, p_beyond,
    margin. With `clusters`, also prompt_low and prompt_high: the interval that holds for other prompts too. Verdicts need the
    whole family: `decided` for the p-values of differences, `equivalences` for the margin.
    """
    options = {"resamples": resamples, "seed": seed, "metric": metric}
    shown = across_seeds(human, ours, theirs, confidence=confidence, margin=margin, **options)
    found = {"difference": shown["mean"], "low": shown["low"], "high": shown["high"]}
    if clusters is not None:
        nested = across_seeds(human, ours, theirs, confidence=confidence, clusters=clusters, **options)
        found |= {"prompt_low": nested["low"], "prompt_high": nested["high"]}
    return found | {name: shown[name] for name in ("tost_low", "tost_high", "p_tost", "p_beyond")} | {"margin": margin}


def gap_closed(
    human: ArrayLike,
    baseline: ArrayLike | Mapping[Any, ArrayLike],
    cyborg: ArrayLike | Mapping[Any, ArrayLike],
    full: ArrayLike | Mapping[Any, ArrayLike],
    *,
    metric: str = "qwk",
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: Seed,
) -> dict[str, Any]:
    """Share of the gap between few and all human scores that the synthetic scores close, with a paired bootstrap interval.

    (QWK_cyborg - QWK_baseline) / (QWK_full - QWK_baseline), or of another metric: 0 = no gain, 1 = as good as full, above 1 =
    better. Each arm is an array (n,) or a mapping seed -> array. A mapping counts with its mean over seeds, in the sample and
    in every resample, so the interval is over essays for these seeds. Returned: n, gap_closed, low, high, gained, gap, gap_low,
    gap_high, resolved.

    A share needs a gap: `resolved` says whether the whole interval of the gap lies on the side where `full` is better. Elsewhere
    there may be nothing to close, and a ratio has no bounded interval (Fieller 1954): gap_closed, low and high are NaN.
    """
    arms = [list(arm.values()) if isinstance(arm, Mapping) else [arm] for arm in (baseline, cyborg, full)]
    (few, ours, all_), resampled = averaged_metric(human, arms, metric=metric, resamples=resamples, seed=seed)
    few_b, ours_b, all_b = resampled.T
    n = len(np.asarray(human))
    gap = percentile_interval(all_ - few, all_b - few_b, confidence=confidence, n=n)
    resolved = bool(gap.high < 0 if metric in LOWER_IS_BETTER else gap.low > 0)
    ratio = Interval(*[float("nan")] * 3)
    if resolved:
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = (ours_b - few_b) / (all_b - few_b)
        ratio = percentile_interval((ours - few) / gap.value, drawn, confidence=confidence, n=n)
    found = {"n": n, "gap_closed": ratio.value, "low": ratio.low, "high": ratio.high, "gained": float(ours - few)}
    return found | {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high, "resolved": resolved}


def _draws(run: Run) -> list[ArrayLike]:
    """The draws of a run; a run given as one array is its only draw."""
    return list(run) if np.ndim(next(iter(run), 0)) else [run]


def one_by_one(runs: Mapping[Any, Run]) -> dict[Any, ArrayLike]:
    """Scores of each draw, keyed by (seed, number of the draw)."""
    return {(key, at): draw for key, run in runs.items() for at, draw in enumerate(_draws(run))}
