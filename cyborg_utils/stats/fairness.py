"""Does the machine treat groups of writers as the human raters do? Frames in, tidy tables out.

Every gap comes with its interval, and verdicts are based on the interval. A small group is shown but never judged. With many
groups, some intervals miss the truth by chance (one in twenty at 95 %), so a single "biased" among many groups is a reason to
look again.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.tools.sm_exceptions import SingularMatrixWarning

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import prompts
from cyborg_utils.stats.bootstrap import Seed, bootstrap_p, percentile_interval, resampled_sums
from cyborg_utils.stats.comparisons import holm
from cyborg_utils.stats.metrics import (
    exact_agreement,
    from_moments,
    means_and_sds,
    middle,
    moments,
    paired,
    paired_levels,
    qwk,
    smd,
    smd_denominator,
)

SIGNS = {"biased": " ✗", "not biased": " ✓", "undecided": " ?"}  # marks of verdicts in tables; rows without a verdict have none
NOT_RECORDED = "not recorded"  # essays whose group is unknown: counted and shown, but not a group of writers


def verdict(value: float, low: float, high: float, *, limit: float) -> str:
    """Verdict on a gap, from its interval and a limit fixed beforehand.

    "biased": the value and its whole interval lie beyond the limit on the same side; "not biased": the interval lies inside
    [-limit, limit]; "undecided": anything else (too few essays to tell), including a NaN value or interval.
    """
    if (value > limit and low >= limit) or (value < -limit and high <= -limit):
        return "biased"
    return "not biased" if -limit <= low and high <= limit else "undecided"


def smd_by_group(
    frame: pd.DataFrame,
    *,
    groups: Sequence[str],
    scale: Scale,
    seed: Seed,
    human: str = "score",
    machine: str = "value",
    denominator: str = "human",
    prompt: str | None = None,
    limit: float = 0.10,
    overall_limit: float = 0.15,
    min_group: int = 10,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Standardised gaps between machine and human scores, overall and in each group; one row per group.

    `frame` has one row per essay: a human score on the scale, a real-valued machine score, and the columns `groups` (a prefix
    "groups." is dropped from the attribute's name). The first row is the whole sample (attribute and group "all"), judged by
    `overall_limit`. Essays with a null group form the row "not recorded", whose verdict is "not a group".

    Columns: attribute, group, n, human_mean, machine_mean, human_sd, smd, smd_low, smd_high, smd_se (SD over the resamples), dsm,
    dsm_low, dsm_high, qwk, exact, limit, verdict, denominator.

    smd = (mean M - mean H) / sigma, with sigma from `metrics.DENOMINATORS`; "human" is each group's own sample SD of H.

    dsm, the difference of standardised means, = mean over the group of [(M - mean M) / sigma_M - (H - mean H) / sigma_H], with
    the whole sample's means and SDs. It is 0 overall: unlike smd, it does not show a strictness common to all groups.

    With `prompt`, a column of prompts, further columns: smd_prompt_low, smd_prompt_high, the interval of smd with prompts as the
    units of chance (`prompts.jackknife`), and prompts, how many the group wrote on. Verdicts use the interval over essays.

    Intervals: expanded percentile bootstrap (`bootstrap.percentile_interval`) over the essays of every group of the attribute,
    with group sizes kept. The whole sample's means and SDs are computed anew in each resample; held fixed, they would make the
    DSM intervals of large groups far too wide. Coverage is in results/coverage. NaN where undefined (one essay, zero variance).
    """
    whole_h, whole_m = paired(_column(frame, human), _column(frame, machine))
    centre, rows = middle(whole_h), []
    sums = moments(whole_h, whole_m, centre=centre)
    asked = None if prompt is None else prompts.codes(_column(frame, prompt))
    for attribute, members in [("all", {"all": np.full(len(frame), True)}), *group_masks(frame, groups)]:
        rng = np.random.default_rng(seed)
        options = {"resamples": resamples, "seed": rng, "centre": centre}
        drawn = {g: resampled_sums(whole_h[chosen], [whole_m[chosen]], **options)[:, 0] for g, chosen in members.items()}
        whole = sum(drawn.values())  # the groups of an attribute make up the sample
        for group, chosen in members.items():
            h, m = whole_h[chosen], whole_m[chosen]
            value = smd(h, m, denominator=denominator, whole=(whole_h, whole_m))
            spread = _smd(drawn[group], whole, denominator)
            gap = percentile_interval(value, spread, confidence=confidence, n=len(h))
            apart = _dsm(sums[chosen].sum(axis=0), sums.sum(axis=0))
            dsm = percentile_interval(apart, _dsm(drawn[group], whole), confidence=confidence, n=len(h))
            judged_by = overall_limit if attribute == "all" else limit
            nested = {}
            if asked is not None:
                of_smd = functools.partial(_smd, denominator=denominator)
                ends = prompts.jackknife(of_smd, sums, asked, chosen, confidence=confidence)
                nested = dict(zip(("smd_prompt_low", "smd_prompt_high", "prompts"), ends, strict=True))
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
                    "smd_se": float(np.std(spread)),
                    **nested,
                    **dict(zip(("dsm", "dsm_low", "dsm_high"), dsm, strict=True)),
                    "qwk": qwk(level_h, level_m, levels=scale.size),
                    "exact": exact_agreement(level_h, level_m),
                    "limit": judged_by,
                    "verdict": _judged(group, len(h), min_group) or verdict(*gap, limit=judged_by),
                    "denominator": denominator,
                }
            )
    return pd.DataFrame(rows)


def change_by_group(
    frame: pd.DataFrame,
    *,
    groups: Sequence[str],
    before: str,
    after: str,
    seed: Seed,
    measure: str = "smd",
    human: str = "score",
    min_group: int = 10,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """What a correction did to each group, or another machine does: the change of its |SMD|, paired over the same essays.

    `frame` has one row per essay, with the machine's scores `before` and `after` the correction. One row per judged group, after
    one for the whole sample. Columns: attribute, group, n, smd_before, smd, change = |smd| - |smd_before| (above 0: worse),
    change_low, change_high (expanded percentile bootstrap over the group's essays, all scores of an essay together), p
    (`bootstrap.bootstrap_p`), effect: "worse" or "better" where the interval leaves out 0, else "not shown". The correction is
    held fixed. Groups under `min_group` are left out.

    With the `measure` "dsm", it is the change of |DSM| (`smd_by_group`), which a strictness common to all groups does not move;
    columns dsm_before and dsm instead. It is not defined for the whole sample, which has no row then.
    """
    h, rows = _column(frame, human).to_numpy(dtype=float), []
    machines = [paired(h, _column(frame, name))[1] for name in (before, after)]
    centre = middle(h)
    sums = np.stack([moments(h, machine, centre=centre) for machine in machines], axis=1)  # (n, 2, 9)
    sample = [("all", {"all": np.full(len(frame), True)})] if measure == "smd" else []
    for attribute, members in [*sample, *group_masks(frame, groups)]:
        rng = np.random.default_rng(seed)
        judged = {group: mask for group, mask in members.items() if not _judged(group, mask.sum(), min_group)}
        needed = judged if measure == "smd" else judged | members  # DSM: the groups of an attribute make up the sample
        options = {"resamples": resamples, "seed": rng, "centre": centre}
        drawn = {group: resampled_sums(h[mask], [m[mask] for m in machines], **options) for group, mask in needed.items()}
        whole = sum(drawn.values())
        for group, mask in judged.items():
            n = int(mask.sum())
            if measure == "smd":
                own, spread = (from_moments("smd", part) for part in (sums[mask].sum(axis=0), drawn[group]))
            else:
                own, spread = _dsm(sums[mask].sum(axis=0), sums.sum(axis=0)), _dsm(drawn[group], whole)
            spread = np.abs(spread[:, 1]) - np.abs(spread[:, 0])
            gap = percentile_interval(abs(own[1]) - abs(own[0]), spread, confidence=confidence, n=n)
            effect = "worse" if gap.low > 0 else "better" if gap.high < 0 else "not shown"
            rows.append((attribute, group, n, *own, *gap, bootstrap_p(spread, n), effect))
    columns = ["attribute", "group", "n", f"{measure}_before", measure, "change", "change_low", "change_high", "p", "effect"]
    return pd.DataFrame(rows, columns=columns)


def osa_osd_csd(
    frame: pd.DataFrame,
    *,
    groups: Sequence[str],
    human: str = "score",
    machine: str = "value",
    essay: str | None = None,
    min_group: int = 10,
) -> pd.DataFrame:
    """How much of the machine's error the group explains (Loukina, Madnani & Zechner 2019); three rows per attribute.

    With `essay`, a column of ids, the rows of one essay (from several seeds) count once, with the mean of their errors and of
    their squared errors. Averaging their scores instead would look more accurate than any single machine, and nobody will use
    such an average.

    OSA, overall score accuracy: OLS of (M - H)^2 on group. OSD, overall score difference: OLS of M - H on group. CSD, conditional
    score difference: OLS of M - H on group and human score (as categories) against OLS on human score alone. CSD is the fair
    measure when groups differ in true score.

    Columns: attribute, measure, n, groups (number compared), left_out (essays without a group or in one under `min_group`),
    r2_adjusted (for CSD: what the group adds to it), f, p (F-test; for CSD of the nested models), p_holm (Holm over this table).
    NaN with fewer than two groups, and where the error does not vary or no degree of freedom is left.
    """
    h, m = paired(_column(frame, human), _column(frame, machine))
    essays = pd.DataFrame({"score": h, "error": m - h, "squared": (m - h) ** 2})
    if essay is not None:
        ids = _column(frame, essay).to_numpy()
        essays = essays.groupby(ids).mean()
        frame = frame.drop_duplicates(essay).set_index(essay, drop=False).loc[essays.index]
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
    """Adjusted R^2 that the group adds, with F and p of the two nested models; against "~ 1" these are the model's own."""
    outcome = wanted.split(" ~ ")[0]
    if essays["group"].nunique() < 2 or np.ptp(essays[outcome]) < 1e-12:
        return float("nan"), float("nan"), float("nan")
    with warnings.catch_warnings():
        # Two columns are equal where only one group has a score. The coefficients are then not unique; fit, rank and F are.
        warnings.simplefilter("ignore", SingularMatrixWarning)
        smaller, larger = ols(base, essays).fit(), ols(wanted, essays).fit()
    if larger.df_resid < 1 or larger.df_model <= smaller.df_model:
        return float("nan"), float("nan"), float("nan")
    test = anova_lm(smaller, larger).iloc[1]
    return float(larger.rsquared_adj - smaller.rsquared_adj), float(test["F"]), float(test["Pr(>F)"])


def crossed(frame: pd.DataFrame, first: str, second: str) -> tuple[pd.DataFrame, str]:
    """The frame with a column that crosses two attributes, and the column's name, to be added to `groups`.

    "groups.gender" and "groups.ell" give "groups.gender x ell" with groups such as "Female x Yes"; null where either is null. A
    bias can be visible in crossed groups only: against girls who learn English, say, while boys who do are favoured.
    """
    one, other = (pd.Series(_named(_column(frame, name)), index=frame.index) for name in (first, second))
    known = (one != NOT_RECORDED) & (other != NOT_RECORDED)
    name = f"{first} x {_attribute(second)}"
    return frame.assign(**{name: (one + " x " + other).where(known, None)}), name


def all_crossed(frame: pd.DataFrame, groups: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The frame with every pair of these attributes `crossed`, and the names of the new columns."""
    crossings = []
    for first, second in itertools.combinations(groups, 2):
        frame, name = crossed(frame, first, second)
        crossings.append(name)
    return frame, crossings


def gap_to_truth(frame: pd.DataFrame, *, groups: Sequence[str], confidence: float, machine: str = "value") -> pd.DataFrame:
    """The machine's mean error in each group, in points, at equal true quality: attribute, group, n, gap, gap_low, gap_high.

    The error is machine - true score. The part that depends on the true score alone, the machine's shrinkage to the middle, is
    removed by a straight line (least squares over all essays). The interval is that of a one-sample t-test; NaN for a group of
    one essay. `frame` has one row per essay with `true_score`, known for simulated essays only.
    """
    error, rows = frame[machine] - frame["true_score"], []
    left = error - np.polyval(np.polyfit(frame["true_score"], error, 1), frame["true_score"])
    for name in groups:
        for group, points in left.groupby(frame[name]):
            ends = stats.ttest_1samp(points, 0).confidence_interval(confidence)
            row = {"attribute": name.removeprefix("groups."), "group": group, "n": len(points), "gap": points.mean()}
            rows.append(row | {"gap_low": ends.low, "gap_high": ends.high})
    return pd.DataFrame(rows, columns=["attribute", "group", "n", "gap", "gap_low", "gap_high"])


def conditional_bias(
    frame: pd.DataFrame,
    *,
    groups: Sequence[str],
    seed: Seed,
    human: str = "score",
    machine: str = "value",
    limit: float = 0.10,
    min_group: int = 10,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """The machine's mean error among essays of equal human score, by group: the conditional bias curve, in points.

    One row per group and human score that occurs in it, and one with score NaN for all its scores together. Attribute "all" is
    the whole sample.

    bias = mean (M - H) of the group's essays with that score. Every machine shrinks towards the middle, so bias falls with the
    score in every group. Unfairness shows in `gap` = bias of the group - bias of all other groups' essays with that score. Over
    all scores, gap is the mean over those essays of the group whose score the others have too: the standardised difference of
    Dorans & Kulick (1986), with weights from the group. Human scores contain errors, so a group that truly writes worse has a gap
    below 0 even with a fair machine; avoiding this needs true scores (or a second rating).

    Columns: attribute, group, score, n, bias, low, high, gap, gap_low, gap_high, limit (in points; the argument `limit` is in SDs
    of all human scores), verdict (on the gap; "too few" under `min_group` essays, "not a group" where the group is unknown, ""
    for the whole sample). Intervals: expanded percentile bootstrap within each cell. NaN where undefined (no others, one essay).
    """
    h, m = paired(_column(frame, human), _column(frame, machine))
    points, scores, rows = limit * smd_denominator(h, m), np.unique(h), []
    for attribute, members in [("all", {"all": np.full(len(frame), True)}), *group_masks(frame, groups)]:
        rng, names = np.random.default_rng(seed), list(members)
        cells = [[members[name] & (h == score) for score in scores] for name in names]
        n = np.array([[cell.sum() for cell in row] for row in cells])
        # sums of errors, the sample's in the first row and the resamples' below: (1 + resamples, groups, scores)
        error = np.zeros((1 + resamples, *n.shape))
        for at in np.argwhere(n):
            own = (h[cells[at[0]][at[1]]], m[cells[at[0]][at[1]]])
            drawn = resampled_sums(own[0], [own[1]], resamples=resamples, seed=rng)[:, 0]
            error[:, *at] = np.r_[(own[1] - own[0]).sum(), drawn[:, 2] - drawn[:, 1]]
        with np.errstate(divide="ignore", invalid="ignore"):
            bias = error / n
            gap = bias - (error.sum(axis=1, keepdims=True) - error) / (n.sum(axis=0) - n)
            shared = np.where(np.isfinite(gap[0]), n, 0)
            whole = error.sum(axis=2) / n.sum(axis=1), np.nan_to_num(gap * shared).sum(axis=2) / shared.sum(axis=1)
        for place, name in enumerate(names):
            curves = [(scores[at], n[place, at], bias[:, place, at], gap[:, place, at]) for at in np.flatnonzero(n[place])]
            for score, count, *both in [*curves, (np.nan, n[place].sum(), whole[0][:, place], whole[1][:, place])]:
                ends = [percentile_interval(one[0], one[1:], confidence=confidence, n=int(count)) for one in both]
                judged = _judged(name, count, min_group) or verdict(*ends[1], limit=points)
                told = _judged(name, count, min_group) if attribute == "all" else judged
                rows.append((attribute, name, score, count, *ends[0], *ends[1], points, told))
    columns = ["attribute", "group", "score", "n", "bias", "low", "high", "gap", "gap_low", "gap_high", "limit", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def suppression(
    human_level: ArrayLike,
    machine_level: ArrayLike,
    *,
    scale: Scale,
    seed: Seed,
    essay: ArrayLike | None = None,
    top: int = 2,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Does the machine give fewer high scores than people give the same essays? The paper's Table 7, with paired intervals.

    Inputs are levels, (n,). With `essay`, ids (n,), the rows of one essay (from several seeds) count once, with their mean.

    Returned: n, shift, shift_low, shift_high (mean machine - mean human, in points of the scale), human_top and machine_top
    (share of essays at the `top` highest levels), change, change_low, change_high (machine_top - human_top), ratio, ratio_low,
    ratio_high (machine_top / human_top; below 1 = suppressed; NaN where people give no top score).

    Intervals: expanded percentile bootstrap over essays. No resample has a top score where the machine gives none; the upper ends
    then use the exact upper end of the machine's share (Clopper & Pearson 1934), with people's share held fixed.
    """
    human, machine = paired_levels(human_level, machine_level, levels=scale.size)
    first = scale.size - top
    scored = {"shift": (scale.score(human), scale.score(machine)), "top": (human >= first, machine >= first)}
    essays = np.arange(len(human)) if essay is None else np.asarray(essay)
    sums, drawn = {}, {}
    for name, pair in scored.items():
        pair = pd.DataFrame(np.array(pair, dtype=float).T).groupby(essays).mean().to_numpy().T
        sums[name] = moments(*pair).sum(axis=0)
        drawn[name] = resampled_sums(pair[0], [pair[1]], resamples=resamples, seed=seed, centre=0.0)[:, 0]
    n = int(sums["top"][0])
    found: dict[str, float] = {"n": n, "human_top": sums["top"][1] / n, "machine_top": sums["top"][2] / n}
    for name, part, value in (
        ("shift", "shift", lambda rows: from_moments("mean_difference", rows)),
        ("change", "top", lambda rows: from_moments("mean_difference", rows)),
        ("ratio", "top", lambda rows: rows[..., 2] / np.where(rows[..., 1] > 0, rows[..., 1], np.nan)),
    ):
        ends = percentile_interval(float(value(sums[part])), value(drawn[part]), confidence=confidence, n=n)
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    if found["machine_top"] == 0 < found["human_top"]:
        most = stats.binomtest(0, n).proportion_ci(confidence, method="exact").high
        found["change_high"] = max(found["change_high"], most - found["human_top"])
        found["ratio_high"] = most / found["human_top"]
    return found


def score_distribution(sources: Mapping[str, ArrayLike], scale: Scale, *, top: int = 2) -> pd.DataFrame:
    """Share of essays at each score by source (human, synthetic, a Student ...), the paper's Table 7; one row per source.

    `sources` maps a name to levels. The others are compared with the first source; they may cover other essays. Columns: source,
    n, mean and sd (score scale, sample SD), mean_shift (mean - first mean), one column per score ("3", "3.5": share 0-1),
    top_share (share at the `top` highest scores), top_ratio (top_share / that of the first; below 1 = high scores are
    suppressed). NaN where there are no essays; top_ratio is NaN where the first source has no top score.
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


def judged_anew(table: pd.DataFrame, value: str, low: str, high: str) -> pd.DataFrame:
    """The table with verdicts on `value` from its changed intervals and the column `limit`; rows without a verdict get none."""
    rows = table[[value, low, high, "limit", "verdict"]].itertuples(index=False)
    given = [verdict(*gap, limit=limit) if old in SIGNS else old for *gap, limit, old in rows]
    return table.assign(verdict=given)


def _judged(group: str, n: int, min_group: int) -> str:
    """Why a row gets no verdict, or "" where it gets one."""
    return "not a group" if group == NOT_RECORDED else "too few" if n < min_group else ""


def _smd(group: np.ndarray, whole: np.ndarray, denominator: str) -> np.ndarray:
    """`metrics.smd` of a group from summed moments of its essays and of the whole sample, (..., 8) -> (...)."""
    if denominator in ("human", "pooled"):
        return from_moments({"human": "smd", "pooled": "smd_pooled"}[denominator], group)
    variances = means_and_sds(whole)[1] ** 2
    sigma = np.sqrt(variances[..., 0] if denominator == "johnson" else variances.mean(axis=-1))
    return from_moments("mean_difference", group) / np.where(sigma > 0, sigma, np.nan)


def _dsm(group: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """DSM of a group from summed moments of its essays and of the whole sample; NaN where an SD is 0 or unknown."""
    centre, sd = means_and_sds(whole)
    z = (means_and_sds(group)[0] - centre) / np.where(sd > 0, sd, np.nan)
    return z[..., 1] - z[..., 0]


def group_masks(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Each attribute with its groups, name -> mask of essays: numbers ascending, then names in order, unknown last."""
    found = []
    for column in columns:
        named = _named(_column(frame, column))
        found.append((_attribute(column), {group: named == group for group in sorted(set(named), key=_order)}))
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


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame:
        raise CyborgError(f"no column {name!r} in the table of scores; there are {', '.join(map(str, frame.columns))}")
    return frame[name]
