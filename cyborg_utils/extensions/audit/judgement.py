"""Tables of the audit: agreement within prompts, the field's thresholds, and why something is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files
from cyborg_utils.stats import metrics, prompts
from cyborg_utils.stats.bootstrap import Interval, percentile_interval, resampled_metric

WITHIN, POOLED = "mean within prompts", "all essays as one table"
LARGEST = "largest |SMD| of a group"
PEOPLE = "below two people (QWK)"
NOTHING = Interval(math.nan, math.nan, math.nan)
FEWEST = 30  # essays, of the whole or of a prompt, from which agreement is judged: at QWK 0.7 the interval is about 0.7 -+ 0.2
FEWEST_PROMPTS = 5  # from which an interval over prompts is drawn; with fewer it would be far too short
OWN_SCALES = 0.5  # prompts that account for more of the variance of human scores count as having scales of their own


def judged_parts(essays: pd.DataFrame) -> list[np.ndarray]:
    """Masks (n,) of the essays within which agreement is judged: the prompts, where they are large enough, else all essays.

    A prompt counts with `FEWEST` essays whose human scores vary; such prompts must hold at least half of the essays.
    """
    everything = [np.full(len(essays), True)]
    if "prompt" not in essays or essays["prompt"].nunique() < 2:
        return everything
    names = essays["prompt"].to_numpy()
    parts = [names == name for name in dict.fromkeys(sorted(names, key=_in_order))]
    parts = [part for part in parts if part.sum() >= FEWEST and essays.loc[part, "score"].nunique() > 1]
    return parts if 2 * sum(part.sum() for part in parts) >= len(essays) else everything


def between_prompts(essays: pd.DataFrame) -> float:
    """Share of the variance of human scores that prompts account for, 1 - MS within / MS total; NaN without prompts."""
    if "prompt" not in essays or essays["prompt"].nunique() < 2 or len(essays) <= essays["prompt"].nunique():
        return math.nan
    within = essays["score"] - essays.groupby("prompt")["score"].transform("mean")
    total = essays["score"].var(ddof=1)
    return float(1 - (within**2).sum() / (len(essays) - essays["prompt"].nunique()) / total) if total > 0 else math.nan


def groups(essays: pd.DataFrame) -> list[str]:
    """Columns of groups that can be compared: none where prompts have scales of their own."""
    return [] if between_prompts(essays) > OWN_SCALES else [name for name in essays if name.startswith("groups.")]


def thresholds(
    essays: pd.DataFrame, scale: Scale, *, by_group: pd.DataFrame, smd_limit: float = 0.10, **options: object
) -> pd.DataFrame:
    """The field's operational thresholds, one row a criterion.

    Columns: criterion, group, value, low, high, low_prompts, high_prompts, threshold, from, met, clear, why.

    `essays` as `predictions.load` gives them; `by_group` the groups that are judged, as `fairness.smd_by_group` has them (no row:
    none), of which the largest |SMD| counts; `group` names it. Values are means within `judged_parts`, weighted by their essays.
    Intervals are over essays, drawn within these parts; `options` are resamples, confidence and seed. `met` is judged by the
    value, as the conventions are: "yes", "no", or "not known" for the reason in `why`; `clear` tells whether the whole interval
    gives the same answer. They are conventions, not laws. QWK and SMD have a second interval where there are `FEWEST_PROMPTS`
    prompts: over prompts (cluster jackknife), of which those to come will be others.

    Not known: all, with fewer than `FEWEST` essays or constant human scores; the comparison with two people, with fewer than
    `metrics.MIN_DOUBLE` double-scored essays or a second score that is a copy of the first.
    """
    human, value = (essays[name].to_numpy(dtype=float) for name in ("score", "value"))
    first, second = metrics.two_people(essays).to_numpy(dtype=float).T
    level, given = scale.level(human), scale.nearest(value)
    parts, few = judged_parts(essays), too_few(essays)
    double = [part for part in (part & ~np.isnan(second) for part in parts) if part.sum() >= (FEWEST if len(parts) > 1 else 1)]
    alone = few or no_second(essays) or ("" if double else f"no prompt has {FEWEST} double-scored essays")
    one, other = (scale.level(np.where(np.isnan(rating), human, rating)) for rating in (first, second))
    people = NOTHING if alone else _mean_within(one, [other, given], double, metric="qwk", **options)
    group = metrics.Threshold(f"at most {smd_limit:.2f}", metrics.WILLIAMSON, lambda size: size <= smd_limit)
    name, worst = _largest(by_group)
    nobody = few or ("" if len(by_group) else "no group is named that can be judged")
    limits = metrics.THRESHOLDS
    rows = [
        ("QWK", _mean_within(level, [given], parts, metric="qwk", **options), limits["qwk"], few),
        ("Pearson r", _mean_within(human, [value], parts, metric="r", **options), limits["r"], few),
        (PEOPLE, people, limits["below_people"], alone),
        ("SMD, all essays", _mean_within(human, [value], parts, metric="smd", **options), limits["smd"], few),
        (LARGEST, worst, group, nobody),
        ("SD ratio, human / machine", _mean_within(human, [value], parts, metric="sd_ratio", **options), limits["sd_ratio"], few),
    ]
    table = pd.DataFrame([_judged(*row) for row in rows])
    table.insert(table.columns.get_loc("high") + 1, "low_prompts", math.nan)
    table.insert(table.columns.get_loc("high") + 2, "high_prompts", math.nan)
    for criterion, metric, pair in (("QWK", "qwk", (level, given)), ("SMD, all essays", "smd", (human, value))):
        ends = _over_prompts(*pair, essays, metric=metric, confidence=options.get("confidence", 0.95))
        table.loc[table["criterion"] == criterion, ["low_prompts", "high_prompts"]] = ends
    table.insert(1, "group", [name if criterion == LARGEST else "" for criterion in table["criterion"]])
    return table


def _judged(criterion: str, found: Interval, rule: metrics.Threshold, why: str) -> dict[str, object]:
    """One row of `thresholds`."""
    why = why or ("undefined: scores do not vary" if math.isnan(found.value) else "")
    met = "not known" if why else "yes" if rule.met(found.value) else "no"
    same = rule.met(np.linspace(found.low, found.high, 1001)) == rule.met(found.value)
    clear = "" if why or not np.isfinite([found.low, found.high]).all() else "yes" if np.all(same) else "no"
    row = {"criterion": criterion, **found._asdict(), "threshold": rule.words, "from": rule.source}
    return row | {"met": met, "clear": clear, "why": why}


def count(number: int, thing: str) -> str:
    """A number of things: "1 essay", "1,200 essays"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def too_few(essays: pd.DataFrame) -> str:
    """Why nothing can be judged, or ""."""
    if len(essays) < FEWEST:
        return f"{count(len(essays), 'essay')}, {FEWEST} are needed"
    return "people gave every essay the same score" if essays["score"].nunique() < 2 else ""


def no_ground(essays: pd.DataFrame) -> str:
    """Why all essays as one table can judge nothing, or ""."""
    return too_few(essays) or ("prompts have scales of their own" if between_prompts(essays) > OWN_SCALES else "")


def no_second(essays: pd.DataFrame) -> str:
    """Why nothing can be said about two people, or ""."""
    double = metrics.two_people(essays).dropna()
    if double.empty:
        return "no second human score"
    if len(double) < metrics.MIN_DOUBLE:
        return f"{count(len(double), 'double-scored essay')}, {metrics.MIN_DOUBLE} are needed"
    same = (double["first"] == double["second"]).all()
    return f"the second score equals the first on all {len(double):,} essays: a copy, not a second person" if same else ""


def _mean_within(
    human: np.ndarray,
    machines: Sequence[np.ndarray],
    parts: Sequence[np.ndarray],
    *,
    metric: str,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """A metric of a machine, or the difference of two, within each part of the essays: the mean, weighted by their essays.

    Expanded bootstrap interval over the essays of each part, with the degrees of freedom of the smallest.
    """
    rng, signs, value, resampled = np.random.default_rng(seed), np.array([1.0, -1.0])[: len(machines)], 0.0, 0.0
    for part in parts:
        own = [machine[part] for machine in machines]
        one, many = resampled_metric(human[part], own, metric=metric, resamples=resamples, seed=rng)
        share = part.sum() / sum(each.sum() for each in parts)
        value, resampled = value + share * float(one @ signs), resampled + share * (many @ signs)
    return percentile_interval(value, resampled, confidence=confidence, n=int(min(part.sum() for part in parts)))


def _over_prompts(
    human: np.ndarray, machine: np.ndarray, essays: pd.DataFrame, *, metric: str, confidence: float = 0.95
) -> tuple[float, float]:
    """Ends of a metric's interval over prompts (`prompts.jackknife`), within the metric's bounds; NaN under `FEWEST_PROMPTS`.

    Of the mean of the prompts of `judged_parts`, weighted by their essays; or, where there is but one part, of the metric of all
    essays as one table.
    """
    parts, within = judged_parts(essays), len(judged_parts(essays)) > 1
    if (len(parts) if within or "prompt" not in essays else essays["prompt"].nunique()) < FEWEST_PROMPTS:
        return math.nan, math.nan
    parts = parts if within else [(essays["prompt"] == name).to_numpy() for name in essays["prompt"].unique()]
    centre = metrics.middle(human)
    sums = np.stack([metrics.moments(human[part], machine[part], centre=centre).sum(axis=0) for part in parts])
    if within:
        size, each = sums[:, 0], metrics.from_moments(metric, sums)
        value, without = (size @ each) / size.sum(), (size @ each - size * each) / (size.sum() - size)
    else:
        value, without = (metrics.from_moments(metric, part) for part in (sums.sum(axis=0), sums.sum(axis=0) - sums))
    ends = prompts.leave_one_out(float(value), without, confidence=confidence)
    return tuple(np.clip(ends, *metrics.BOUNDS.get(metric, (-np.inf, np.inf))))


def by_prompt(essays: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """`metrics.agreement_metrics` of the machine in each prompt, their mean weighted by essays, and all essays as one table.

    prompt, judged ("yes" for those of `judged_parts`, of which the mean is) and the metrics; no row with fewer than two prompts.
    """
    rows = []
    for name, own in essays.groupby("prompt") if "prompt" in essays and essays["prompt"].nunique() > 1 else []:
        judged = len(own) >= FEWEST and own["score"].nunique() > 1
        found = metrics.agreement_metrics(own["score"], own["value"], scale)
        rows.append({"prompt": name, "judged": "yes" if judged else "too few", **found})
    if not rows:
        return pd.DataFrame(columns=["prompt", "judged", "n"])
    table = pd.DataFrame(rows).sort_values("prompt", key=lambda names: names.map(_in_order))
    kept, numbers = table[table["judged"] == "yes"], table.columns[3:]
    mean = {name: float(np.average(kept[name], weights=kept["n"])) if len(kept) else math.nan for name in numbers}
    pooled = metrics.agreement_metrics(essays["score"], essays["value"], scale)
    ends = [{"prompt": WITHIN, "judged": "", "n": kept["n"].sum(), **mean}, {"prompt": POOLED, "judged": "", **pooled}]
    return pd.concat([pd.DataFrame(ends), table], ignore_index=True)


def agreement_of_raters(essays: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """`metrics.agreement_metrics` of the machine and, from enough essays, of the second rater, each with the human scores."""
    rows = {"machine": metrics.agreement_metrics(essays["score"], essays["value"], scale)}
    if not no_second(essays):
        people = metrics.human_agreement(metrics.two_people(essays), scale).iloc[0]
        rows["second rater"] = people.drop(["first", "second"]).to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rater").reset_index()


def drawn_groups(table: pd.DataFrame, *, most: int) -> pd.DataFrame:
    """The rows of at most `most` groups of an attribute, for a figure that can be read: biased ones, then the largest.

    `table` has rows by attribute, group and, in `fairness.conditional_bias`, score, where the row without a score counts.
    """
    whole = table[table["score"].isna()] if "score" in table else table
    rank = whole.assign(fair=whole["verdict"] != "biased", few=-whole["n"]).sort_values(["fair", "few"], kind="stable")
    rank = rank.groupby("attribute").head(most)
    kept = set(zip(rank["attribute"], rank["group"], strict=True))
    return table[[one in kept for one in zip(table["attribute"], table["group"], strict=True)]]


def _largest(by_group: pd.DataFrame) -> tuple[str, Interval]:
    """Name and |SMD| of the group where it is largest; the interval is that of its SMD, turned round where that is below 0."""
    known = by_group.dropna(subset=["smd"])
    if known.empty:
        return "", NOTHING
    worst = known.loc[known["smd"].abs().idxmax()]
    low, high = worst["smd_low"], worst["smd_high"]
    ends = (low, high) if worst["smd"] >= 0 else (-high, -low)
    return f"{worst['attribute']}: {worst['group']}", Interval(abs(worst["smd"]), *ends)


def _in_order(name: str) -> tuple[float, str]:
    """Prompts that are numbers by their size, then the others by name."""
    return (files.number(name) if not math.isnan(files.number(name)) else math.inf), name
