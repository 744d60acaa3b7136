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
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.bootstrap import (
    Seed,
    averaged_metric,
    paired_permutation,
    percentile_interval,
    resampled_metric,
)
from cyborg_utils.stats.metrics import paired_levels

Run = ArrayLike | Sequence[ArrayLike]  # scores of one run, (n,), or a list with the scores of each of its draws


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values of one family of tests (Holm 1979, statsmodels); NaN stays NaN and does not count as a test."""
    p = np.asarray(p, dtype=float)
    adjusted, known = np.full(p.shape, np.nan), np.isfinite(p)
    if known.any():
        adjusted[known] = multipletests(p[known], method="holm")[1]
    return adjusted


def equivalence(low: float, high: float, *, margin: float) -> str:
    """Verdict of two one-sided tests (Schuirmann 1987) from the 1 - 2 alpha interval of a difference.

    "equivalent": the interval lies inside (-margin, margin); "not equivalent": it lies entirely outside; "undecided": anything
    else, including no interval. The margin must be chosen before the data are seen.
    """
    if -margin < low and high < margin:
        return "equivalent"
    return "not equivalent" if low >= margin or high <= -margin else "undecided"


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
    values, resampled = _of_systems(human_level, systems, scale, metric, resamples, seed)
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
) -> pd.DataFrame:
    """Differences between systems on the same essays; the rows are one family for Holm's correction.

    `systems` maps a name to levels (n,). `pairs` lists (system, baseline); by default every other system against the first one.
    Columns: system, baseline, n, <metric>, <metric>_baseline, difference (system - baseline), low, high (paired bootstrap,
    `confidence`), p (paired permutation), p_holm, tost_low, tost_high (the 2 confidence - 1 interval), margin, equivalence.
    """
    names = list(systems)
    pairs = [(name, names[0]) for name in names[1:]] if pairs is None else list(pairs)
    unknown = sorted({name for pair in pairs for name in pair} - set(names))
    if unknown:
        raise CyborgError(f"compare: no scores for {', '.join(unknown)}; there are {', '.join(names)}")
    values, resampled = _of_systems(human_level, systems, scale, metric, resamples, seed)
    rows, n = [], len(np.asarray(human_level))
    for system, baseline in pairs:
        here, there = names.index(system), names.index(baseline)
        value, spread = values[here] - values[there], resampled[:, here] - resampled[:, there]
        shown = percentile_interval(value, spread, confidence=confidence, n=n)
        tost = percentile_interval(value, spread, confidence=2 * confidence - 1, n=n)
        p = paired_permutation(human_level, systems[system], systems[baseline], metric=metric, resamples=resamples, seed=seed)
        rows.append((system, baseline, n, values[here], values[there], *shown, p, *tost[1:]))
    columns = ["system", "baseline", "n", metric, f"{metric}_baseline", "difference", "low", "high", "p", "tost_low", "tost_high"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", holm(frame["p"]))
    verdicts = [equivalence(low, high, margin=margin) for low, high in zip(frame["tost_low"], frame["tost_high"], strict=True)]
    return frame.assign(margin=margin, equivalence=verdicts)


def across_seeds(
    human: ArrayLike,
    runs: Mapping[Any, Run],
    baseline: Mapping[Any, Run] | None = None,
    *,
    metric: str = "qwk",
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: Seed,
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
    seeds" or "essays").
    """
    if baseline is not None and set(runs) != set(baseline):
        raise CyborgError(f"across_seeds: seeds {sorted(runs)} and baseline seeds {sorted(baseline)} must be the same")
    machines = [_draws(part[key]) for part in (runs, baseline) if part is not None for key in runs]
    values, resampled = averaged_metric(human, machines, metric=metric, resamples=resamples, seed=seed)
    count = len(runs)
    if baseline is not None:
        values, resampled = values[:count] - values[count:], resampled[:, :count] - resampled[:, count:]
    resampled_mean, mean, n = resampled.mean(axis=1), float(values.mean()), len(np.asarray(human))
    test = percentile_interval(mean, resampled_mean, confidence=confidence, n=n)
    whole = resampled[np.isfinite(resampled_mean)]
    spread = np.atleast_2d(np.cov(whole, rowvar=False)) if len(whole) > 1 else np.full((count, count), np.nan)
    seed_variance, test_variance, low, high = float("nan"), spread[0, 0], test.low, test.high
    if count > 1:
        test_variance = max(0.0, (spread.sum() - np.trace(spread)) / (count * (count - 1)))
        seed_variance = values.var(ddof=1)
        z, t = (distribution.ppf((1 + confidence) / 2) for distribution in (stats.norm, stats.t(count - 1)))
        half = np.sqrt(z**2 * test_variance + t**2 * seed_variance / count)
        low, high = mean - half, mean + half
    return {
        "n": n,
        "seeds": count,
        "mean": mean,
        "seed_sd": float(np.sqrt(seed_variance)),
        "test_sd": float(np.sqrt(test_variance)),
        "test_low": test.low,
        "test_high": test.high,
        "low": float(low),
        "high": float(high),
        "interval_of": "essays and seeds" if count > 1 else "essays",
    }


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


def contrast(
    human: ArrayLike,
    ours: Mapping[Any, Run],
    theirs: Mapping[Any, Run],
    *,
    margin: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Difference in QWK of two arms with the same seeds.

    Returned: difference, low, high (`across_seeds`), p (`paired_permutation` for these runs, swapping all seeds and draws of an
    essay together), tost_low, tost_high (the 2 confidence - 1 interval), margin, equivalence.
    """
    options = {"resamples": resamples, "seed": seed}
    shown = across_seeds(human, ours, theirs, confidence=confidence, **options)
    tost = across_seeds(human, ours, theirs, confidence=2 * confidence - 1, **options)
    found = {"difference": shown["mean"], "low": shown["low"], "high": shown["high"]}
    found |= {"p": paired_permutation(human, _one_by_one(ours), _one_by_one(theirs), **options)}
    found |= {"tost_low": tost["low"], "tost_high": tost["high"]}
    return found | {"margin": margin, "equivalence": equivalence(tost["low"], tost["high"], margin=margin)}


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

    (QWK_cyborg - QWK_baseline) / (QWK_full - QWK_baseline): 0 = no gain, 1 = as good as full, above 1 = better. Each arm is an
    array (n,) or a mapping seed -> array. A mapping counts with its mean over seeds, in the sample and in every resample, so the
    interval is over essays for these seeds. Returned: n, gap_closed, low, high, gained, gap, gap_low, gap_high, resolved.

    Where the interval of the gap contains 0, there may be nothing to close, and a ratio has no bounded interval (Fieller 1954).
    Then `resolved` is False, low and high are NaN, and the ratio is returned as computed (NaN for a gap of 0) but means nothing.
    """
    arms = [list(arm.values()) if isinstance(arm, Mapping) else [arm] for arm in (baseline, cyborg, full)]
    (few, ours, all_), resampled = averaged_metric(human, arms, metric=metric, resamples=resamples, seed=seed)
    few_b, ours_b, all_b = resampled.T
    n = len(np.asarray(human))
    gap = percentile_interval(all_ - few, all_b - few_b, confidence=confidence, n=n)
    resolved = bool(gap.low > 0 or gap.high < 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (ours - few) / gap.value if gap.value != 0 else float("nan")
        ratio = percentile_interval(value, (ours_b - few_b) / (all_b - few_b), confidence=confidence, n=n)
    return {
        "n": n,
        "gap_closed": float(value),
        "low": ratio.low if resolved else float("nan"),
        "high": ratio.high if resolved else float("nan"),
        "gained": float(ours - few),
        "gap": gap.value,
        "gap_low": gap.low,
        "gap_high": gap.high,
        "resolved": resolved,
    }


def _draws(run: Run) -> list[ArrayLike]:
    """The draws of a run; a run given as one array is its only draw."""
    return list(run) if np.ndim(next(iter(run), 0)) else [run]


def _one_by_one(runs: Mapping[Any, Run]) -> dict[Any, ArrayLike]:
    """Scores of each draw, keyed by (seed, number of the draw)."""
    return {(key, at): draw for key, run in runs.items() for at, draw in enumerate(_draws(run))}


def _of_systems(
    human: ArrayLike, systems: Mapping[str, ArrayLike], scale: Scale, metric: str, resamples: int, seed: Seed
) -> tuple[np.ndarray, np.ndarray]:
    """`resampled_metric` of named systems, all of them on levels of the scale."""
    machines = [paired_levels(human, machine, levels=scale.size)[1] for machine in systems.values()]
    return resampled_metric(human, machines, metric=metric, resamples=resamples, seed=seed)
