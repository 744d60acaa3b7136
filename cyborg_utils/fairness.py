"""Does the machine treat groups of writers as the human raters do? Frames in, tidy tables out.

Every gap stands beside its interval, and a verdict needs the interval: a small group is shown, never judged. With many groups
some intervals miss the truth by chance (one in twenty at 95 %), so a lone "biased" among many groups is a reason to look again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from cyborg_utils.errors import CyborgError
from cyborg_utils.metrics import exact_agreement, from_moments, paired, paired_levels, qwk, smd, smd_denominator
from cyborg_utils.resampling import percentile_interval, resampled_sums
from cyborg_utils.scale import Scale
from cyborg_utils.significance import holm

NOT_RECORDED = "not recorded"  # essays whose group is unknown: counted and shown, but no group of writers


def verdict(value: float, low: float, high: float, *, limit: float) -> str:
    """Verdict on a gap by its interval and a limit fixed beforehand.

    "biased": the value is beyond +-limit and so is the whole interval, on that side; "not biased": the interval lies inside
    [-limit, limit]; "undecided": anything else (too few essays to tell), also where value or interval is NaN.
    """
    if (value > limit and low >= limit) or (value < -limit and high <= -limit):
        return "biased"
    return "not biased" if -limit <= low and high <= limit else "undecided"


def smd_by_group(
    frame: pd.DataFrame,
    *,
    groups: Sequence[str],
    scale: Scale,
    seed: int,
    human: str = "score",
    machine: str = "value",
    denominator: str = "human",
    limit: float = 0.10,
    overall_limit: float = 0.15,
    min_group: int = 10,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Standardised gaps between machine and human scores, overall and in each group; one row a group.

    `frame` has one row an essay: a human score on the scale, a real-valued machine score, and the columns `groups` (a prefix
    "groups." is left out of the attribute's name). The first row is the whole sample (attribute and group "all"), judged by
    `overall_limit`. Essays with a null group form the row "not recorded", whose verdict is "not a group".

    Columns: attribute, group, n, human_mean, machine_mean, human_sd, smd, smd_low, smd_high, dsm, dsm_low, dsm_high, qwk, exact,
    limit, verdict, denominator.

    smd = (mean M - mean H) / sigma of `metrics.DENOMINATORS`; "human" is each group's own sample SD of H. dsm, the difference of
    standardised means, = mean over the group of [(M - mean M) / sigma_M - (H - mean H) / sigma_H] with the whole sample's means
    and SDs: 0 overall, blind to a strictness shared by all, which smd shows. Intervals: percentile bootstrap over the group's
    essays; whatever is taken from the whole sample is held fixed. Undefined (one essay, zero variance) is NaN.
    """
    whole_h, whole_m = paired(_column(frame, human), _column(frame, machine))
    metric = {"human": "smd", "pooled": "smd_pooled"}.get(denominator, "mean_difference")
    sigma = smd_denominator(whole_h, whole_m, denominator=denominator) if metric == "mean_difference" else 1.0
    apart = _standard(whole_m) - _standard(whole_h)
    rows = []
    for attribute, group, chosen in [("all", "all", np.full(len(frame), True)), *_members(frame, groups)]:
        h, m = whole_h[chosen], whole_m[chosen]
        value = smd(h, m, denominator=denominator, whole=(whole_h, whole_m))
        sums = resampled_sums(h, [m, h + np.nan_to_num(apart[chosen])], resamples=resamples, seed=seed)
        gap = percentile_interval(value, from_moments(metric, sums[:, 0]) / sigma, confidence=confidence)
        dsm = percentile_interval(apart[chosen].mean(), from_moments("mean_difference", sums[:, 1]), confidence=confidence)
        judged_by = overall_limit if attribute == "all" else limit
        level_h, level_m = scale.level(h), scale.nearest(m)
        rows.append(
            {
                "attribute": attribute,
                "group": group,
                "n": len(h),
                "human_mean": h.mean(),
                "machine_mean": m.mean(),
                "human_sd": smd_denominator(h, m),
                **dict(zip(("smd", "smd_low", "smd_high"), gap, strict=True)),
                **dict(zip(("dsm", "dsm_low", "dsm_high"), dsm, strict=True)),
                "qwk": qwk(level_h, level_m, levels=scale.size),
                "exact": exact_agreement(level_h, level_m),
                "limit": judged_by,
                "verdict": _judged(group, len(h), min_group) or verdict(*gap, limit=judged_by),
                "denominator": denominator,
            }
        )
    return pd.DataFrame(rows)


def osa_osd_csd(
    frame: pd.DataFrame,
    *,
    groups: Sequence[str],
    human: str = "score",
    machine: str = "value",
    min_group: int = 10,
) -> pd.DataFrame:
    """How much of the machine's error goes with the group, after Loukina, Madnani & Zechner (2019); three rows an attribute.

    OSA, overall score accuracy: OLS of (M - H)^2 on group. OSD, overall score difference: OLS of M - H on group. CSD, conditional
    score difference: OLS of M - H on group and human score (as categories) against the same on human score alone; the fair one
    when groups differ in true score.

    Columns: attribute, measure, n, groups (compared), left_out (essays with no group or one under `min_group`), r2_adjusted (for
    CSD: what the group adds to it), f, p (F-test; for CSD of the nested models), p_holm (Holm over this table). NaN with fewer
    than two groups, or where the error does not vary or leaves no degree of freedom.
    """
    h, m = paired(_column(frame, human), _column(frame, machine))
    essays = pd.DataFrame({"score": h, "error": m - h, "squared": (m - h) ** 2})
    rows = []
    for column in groups:
        named = pd.Series(_named(_column(frame, column)), index=essays.index)
        sizes = named[named != NOT_RECORDED].value_counts()
        kept = essays.assign(group=named)[named.isin(sizes[sizes >= min_group].index)]
        shared = (_attribute(column), len(kept), kept["group"].nunique(), len(essays) - len(kept))
        for measure, wanted, base in _MODELS:
            rows.append((shared[0], measure, *shared[1:], *_explained(kept, wanted, base)))
    table = pd.DataFrame(rows, columns=["attribute", "measure", "n", "groups", "left_out", "r2_adjusted", "f", "p"])
    return table.assign(p_holm=holm(table["p"]))


_MODELS = (
    ("OSA", "squared ~ C(group)", "squared ~ 1"),
    ("OSD", "error ~ C(group)", "error ~ 1"),
    ("CSD", "error ~ C(group) + C(score)", "error ~ C(score)"),
)


def _explained(essays: pd.DataFrame, wanted: str, base: str) -> tuple[float, float, float]:
    """Adjusted R^2 that the group adds, F and p of the two nested models. (Against "~ 1" these are the model's own.)"""
    outcome = wanted.split(" ~ ")[0]
    if essays["group"].nunique() < 2 or np.ptp(essays[outcome]) < 1e-12:
        return float("nan"), float("nan"), float("nan")
    smaller, larger = ols(base, essays).fit(), ols(wanted, essays).fit()
    if larger.df_resid < 1 or larger.df_model <= smaller.df_model:
        return float("nan"), float("nan"), float("nan")
    test = anova_lm(smaller, larger).iloc[1]
    return float(larger.rsquared_adj - smaller.rsquared_adj), float(test["F"]), float(test["Pr(>F)"])


def score_distribution(sources: Mapping[str, ArrayLike], scale: Scale, *, top: int = 2) -> pd.DataFrame:
    """Share of essays at each score by source (human, synthetic, a Student ...), the paper's Table 7; one row a source.

    `sources` maps a name to levels; the first is what the others are measured against, and they may be other essays. Columns:
    source, n, mean and sd (score scale, sample SD), mean_shift (mean - first mean), one column a score ("3", "3.5": share 0-1),
    top_share (share at the `top` highest scores), top_ratio (to the first's; below 1 = high scores are suppressed). NaN where
    there are no essays, or for the ratio no top essay in the first source.
    """
    labels, rows = [f"{score:g}" for score in scale.scores], []
    for name, given in sources.items():
        levels = np.asarray(given, dtype=float)
        level, _ = paired_levels(levels, levels, levels=scale.size)
        scores = scale.score(level)
        shares = np.bincount(level, minlength=scale.size) / len(level) if len(level) else np.full(scale.size, np.nan)
        mean, sd = (scores.mean() if len(level) else np.nan), (scores.std(ddof=1) if len(level) > 1 else np.nan)
        rows.append({"source": name, "n": len(level), "mean": mean, "sd": sd, **dict(zip(labels, shares, strict=True))})
    table = pd.DataFrame(rows)
    table.insert(4, "mean_shift", table["mean"] - table["mean"].iloc[0])
    table["top_share"] = table[labels[-top:]].sum(axis=1, skipna=False)
    first = table["top_share"].iloc[0]
    return table.assign(top_ratio=table["top_share"] / first if first > 0 else np.nan)


def _judged(group: str, n: int, min_group: int) -> str:
    """Why a row gets no verdict of its own, or ""."""
    return "not a group" if group == NOT_RECORDED else "too few" if n < min_group else ""


def _members(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, str, np.ndarray]]:
    """(attribute, group, which essays) for every group of every column: numbers in their order, else names, unknown last."""
    found = []
    for column in columns:
        named = _named(_column(frame, column))
        for group in sorted(set(named), key=_order):
            found.append((_attribute(column), group, named == group))
    return found


def _named(values: pd.Series) -> np.ndarray:
    """Group names as text: 8.0 is "8", null is `NOT_RECORDED`."""
    return np.array([NOT_RECORDED if pd.isna(v) else f"{v:g}" if isinstance(v, float) else str(v) for v in values], dtype=object)


def _order(group: str) -> tuple[bool, float, str]:
    try:
        return False, float(group), ""
    except ValueError:
        return group == NOT_RECORDED, np.inf, group


def _attribute(column: str) -> str:
    return column.removeprefix("groups.")


def _standard(values: np.ndarray) -> np.ndarray:
    """z-scores by the sample SD; NaN where it is 0 or unknown."""
    sigma = smd_denominator(values, values)
    return (values - values.mean()) / sigma if sigma > 0 else np.full(len(values), np.nan)


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame:
        raise CyborgError(f"no column {name!r} in the table of scores; there are {', '.join(map(str, frame.columns))}")
    return frame[name]
