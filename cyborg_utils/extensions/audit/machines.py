"""Several machines that scored the same essays: read, judged each by itself, and compared in pairs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files
from cyborg_utils.extensions.audit import judgement, predictions
from cyborg_utils.stats import comparisons, fairness
from cyborg_utils.stats.bootstrap import bootstrap_interval
from cyborg_utils.study.bias_in_words import judged

Machines = Mapping[str, pd.DataFrame]  # by name: the same essays, as `predictions.load` gives them for each machine


def load(file: str | Path, *, machines: Sequence[str], **options: object) -> dict[str, pd.DataFrame]:
    """`predictions.load` of each column of machine scores, with the same essays in each; `options` as there.

    All must have a score of every essay, since a machine that leaves out hard essays would be compared on easier ones. Raises
    CyborgError as `predictions.load` does, and for a machine that is named twice.
    """
    if twice := [name for name, count in Counter(machines).items() if count > 1]:
        raise CyborgError(f"machine {files.listed(twice)} is given twice: name each column once.")
    loaded = {name: predictions.load(file, machine=name, **options) for name in machines}
    both = set.intersection(*(set(essays["essay_id"]) for essays in loaded.values()))  # fewer with `unscored: drop` alone
    for name, essays in loaded.items():
        if left := len(essays) - len(both):
            kept = essays[essays["essay_id"].isin(both)].reset_index(drop=True)
            told = f"{left:,} essay(s) that {name} scored are left out: another machine did not."
            kept.attrs["notes"] = [*essays.attrs["notes"], told]
            loaded[name] = kept
    return loaded


def chosen_pairs(machines: Sequence[str], wished: Sequence[Sequence[str]] = ()) -> list[tuple[str, str]]:
    """Pairs (machine, baseline) to compare: those that are `wished`, else every other machine with the first.

    Raises CyborgError for a pair that is not of two different machines at hand.
    """
    for pair in wished:
        if len(pair) != 2 or len(set(pair)) != 2 or not set(pair) <= set(machines):
            there = files.listed(machines)
            raise CyborgError(f"pair {files.listed(pair)}: a pair has two different machines of {there}. Name them in --machine.")
    return [tuple(pair) for pair in wished] or [(name, machines[0]) for name in machines[1:]]


def audit(
    machines: Machines,
    scale: Scale,
    *,
    pairs: Sequence[Sequence[str]],
    limit: float,
    margin: float,
    min_group: int,
    **intervals: object,
) -> dict[str, pd.DataFrame]:
    """Each machine judged and the pairs compared: the tables of `thresholds`, `by_group`, `compare` and `changes`, in this order.

    Their names are machines, machines_smd, comparisons and changes. `pairs` are wishes, as in `chosen_pairs`; `limit`
    is of |SMD|, `margin` of QWK; `intervals` are resamples, confidence and seed.
    """
    chosen = chosen_pairs(list(machines), pairs)
    groups = by_group(machines, scale, limit=limit, min_group=min_group, **intervals)
    return {
        "machines": thresholds(machines, scale, by_group=groups, smd_limit=limit, **intervals),
        "machines_smd": groups,
        "comparisons": compare(machines, scale, pairs=chosen, margin=margin, **intervals),
        "changes": changes(machines, pairs=chosen, min_group=min_group, **intervals),
    }


def by_group(machines: Machines, scale: Scale, *, limit: float, min_group: int, **intervals: object) -> pd.DataFrame:
    """Bias and agreement of each machine in each group: machine, then `fairness.smd_by_group`, with qwk_low and qwk_high.

    With a column of prompts, also the interval of the SMD over prompts. `intervals` are resamples, confidence and seed.
    """
    tables = []
    for name, essays in machines.items():
        groups = judgement.groups(essays)
        prompt = "prompt" if "prompt" in essays and essays["prompt"].nunique() >= judgement.FEWEST_PROMPTS else None
        how = {"groups": groups, "scale": scale, "limit": limit, "min_group": min_group, "prompt": prompt}
        table = fairness.smd_by_group(essays, **how, **intervals).drop(columns=["human_sd", "denominator"])
        masks = [("all", {"all": np.full(len(essays), True)}), *fairness.group_masks(essays, groups)]
        level, given = scale.level(essays["score"]), scale.nearest(essays["value"])
        ends = [bootstrap_interval(level[mask], given[mask], **intervals) for _, each in masks for mask in each.values()]
        at = table.columns.get_loc("qwk") + 1
        for place, end in enumerate(("low", "high")):
            table.insert(at + place, f"qwk_{end}", [getattr(interval, end) for interval in ends])
        tables.append(table.assign(machine=name))
    return _machine_first(pd.concat(tables, ignore_index=True))


def thresholds(
    machines: Machines, scale: Scale, *, by_group: pd.DataFrame, smd_limit: float, **intervals: object
) -> pd.DataFrame:
    """The field's thresholds for each machine: machine, then `judgement.thresholds`; `by_group` as the function gives it."""
    tables = []
    for name, essays in machines.items():
        own = judged(by_group[by_group["machine"] == name])
        found = judgement.thresholds(essays, scale, by_group=own, smd_limit=smd_limit, **intervals)
        tables.append(found.assign(machine=name))
    return _machine_first(pd.concat(tables, ignore_index=True))


def compare(
    machines: Machines, scale: Scale, *, pairs: Sequence[tuple[str, str]], margin: float, **intervals: object
) -> pd.DataFrame:
    """Differences in QWK over all essays, paired: `comparisons.compare`, with Holm's correction over the pairs.

    With prompts, also the interval over them. No row where all essays as one table judge nothing (`judgement.no_ground`).
    """
    essays = next(iter(machines.values()))
    if not pairs or judgement.no_ground(essays):
        return pd.DataFrame(columns=["system", "baseline"])
    levels = {name: scale.nearest(own["value"]) for name, own in machines.items()}
    several = "prompt" in essays and essays["prompt"].nunique() >= judgement.FEWEST_PROMPTS
    how = {"scale": scale, "margin": margin, "pairs": pairs, "clusters": essays["prompt"] if several else None}
    found = comparisons.compare(scale.level(essays["score"]), levels, **how, **intervals)
    return found.drop(columns=["p_tost", "p_beyond"])


def changes(
    machines: Machines,
    *,
    pairs: Sequence[tuple[str, str]],
    min_group: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int,
) -> pd.DataFrame:
    """How differently the machines of each pair treat each group: the changes of |SMD| and of |DSM|, paired over its essays.

    Columns: system, baseline, measure (SMD, DSM), attribute, group, n, before (of the baseline), after (of the system), change
    = |after| - |before|, change_low, change_high, p, p_holm, effect. Holm's correction is over the whole table; `effect` is
    "smaller" or "larger" where p_holm < 1 - `confidence`, else "not shown". Where the table is long, there are more than
    `resamples`: the p-value of a bootstrap is at least 2 / resamples, which times the number of rows must stay below 1 -
    `confidence`.
    """
    tables, essays = [], next(iter(machines.values()))
    groups = judgement.groups(essays)
    rows = 2 * len(pairs) * (1 + sum(len(members) for _, members in fairness.group_masks(essays, groups)))
    enough = max(resamples, math.ceil(4 * rows / (1 - confidence)))
    how = {"groups": groups, "min_group": min_group, "confidence": confidence, "resamples": enough, "seed": seed}
    for system, baseline in pairs:
        both = machines[system].assign(before=machines[baseline]["value"].to_numpy())
        for measure in ("smd", "dsm"):
            found = fairness.change_by_group(both, before="before", after="value", measure=measure, **how)
            found = found.rename(columns={f"{measure}_before": "before", measure: "after"})
            tables.append(found.assign(system=system, baseline=baseline, measure=measure.upper()))
    first = ["system", "baseline", "measure"]
    if not tables:
        return pd.DataFrame(columns=first)
    table = pd.concat(tables, ignore_index=True)
    table = table[table["group"] != fairness.NOT_RECORDED]
    table["p_holm"] = comparisons.holm(table["p"])
    shown = table["p_holm"] < 1 - confidence
    table["effect"] = np.select([shown & (table["change"] < 0), shown], ["smaller", "larger"], "not shown")
    rest = ["attribute", "group", "n", "before", "after", "change", "change_low", "change_high", "p", "p_holm", "effect"]
    return table[[*first, *rest]].reset_index(drop=True)


def _machine_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["machine", *table.columns.drop("machine")]]
