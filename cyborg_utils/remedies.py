"""What can be done about a bias: corrections of a Student's scores, and human scores spent on checking the Teacher's.

Frames are those of `scores.raters` (`dev`, `test`) and `scores.teachers`. Corrections are fitted on the development essays alone
and judged on the test essays.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from ppi_py import ppi_mean_ci

from cyborg_utils import arms
from cyborg_utils.calibration import METHODS, ByGroup, GroupShifts
from cyborg_utils.fairness import SIGNS, smd_by_group
from cyborg_utils.resampling import Interval
from cyborg_utils.scale import Scale
from cyborg_utils.significance import across_seeds

BASE = "mean and SD"  # what the studies use everywhere; the others are compared with it


def corrected(dev: pd.DataFrame, test: pd.DataFrame, *, scale: Scale, groups: Sequence[str], min_group: int) -> pd.DataFrame:
    """Every correction of one Student: the rows of `test`, seed by seed, once a method, with the corrected value and level.

    Further columns: method, and `needs`: what must be known about a writer whenever an essay is scored ("nothing", an attribute
    or "all groups").
    """
    found = []
    for seed, rows in test.groupby("seed"):
        fit, given = arms.pick(dev, seed=seed), {}
        target, values = fit["score"].to_numpy(), fit["value"].to_numpy()
        for name, method in METHODS.items():
            given[name, "nothing"] = method(target, values, scale).apply(rows["value"])
        for column in groups:
            by = ByGroup.fit(target, values, scale, group=fit[column], method=BASE, min_group=min_group)
            attribute = column.removeprefix("groups.")
            given[f"{BASE} by {attribute}", attribute] = by.apply(rows["value"], rows[column])
        if groups:
            shifts = GroupShifts.fit(target, values, scale, groups=fit[list(groups)])
            given[f"{BASE}, shifts of all groups", "all groups"] = shifts.apply(rows["value"], rows[list(groups)])
        for (name, needs), value in given.items():
            found.append(rows.assign(method=name, needs=needs, value=value, level=scale.nearest(value)))
    return pd.concat(found, ignore_index=True)


def judged(
    rows: pd.DataFrame, *, groups: Sequence[str], scale: Scale, seed: int, limit: float, **options: object
) -> pd.DataFrame:
    """SMD of every method by group: `fairness.smd_by_group` of the essays' mean value over seeds, after method and needs."""
    tables = []
    for (method, needs), part in rows.groupby(["method", "needs"], sort=False):
        table = smd_by_group(arms.averaged(part, "value"), groups=groups, scale=scale, seed=seed, limit=limit, **options)
        tables.append(table.assign(method=method, needs=needs, seeds=part["seed"].nunique()))
    whole = pd.concat(tables, ignore_index=True)
    return whole[["method", "needs", "seeds", *whole.columns.drop(["method", "needs", "seeds"])]]


def trade_off(rows: pd.DataFrame, bias: pd.DataFrame, *, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """One row a method: agreement, what it costs against `BASE` on the same seeds, and the bias that is left.

    Columns: method, needs, seeds, qwk, low, high, interval_of, change, change_low, change_high (QWK - that of `BASE`), smd (all
    essays), smd_low, smd_high, worst (largest |SMD| of a group that is judged), worst_group, worst_low, worst_high (the interval
    of that group's SMD), biased, not_biased, undecided (groups), frontier (no method with the same needs or fewer is better in
    both QWK and `worst`).
    """
    human = arms.human(rows)
    levels = {key: arms.by_seed(part, "level") for key, part in rows.groupby(["method", "needs"], sort=False)}
    base, table, options = levels[BASE, "nothing"], [], {"resamples": resamples, "confidence": confidence, "seed": seed}
    for (method, needs), runs in levels.items():
        alone, shared = across_seeds(human, runs, **options), sorted(set(runs) & set(base))
        change = across_seeds(human, {one: runs[one] for one in shared}, {one: base[one] for one in shared}, **options)
        mine = arms.pick(bias, method=method, needs=needs)
        whole, real = (
            mine[mine["attribute"] == "all"].iloc[0],
            mine[(mine["attribute"] != "all") & mine["verdict"].isin(VERDICTS)],
        )
        row = {"method": method, "needs": needs, "seeds": len(runs), "qwk": alone["mean"]}
        row |= {name: alone[name] for name in ("low", "high", "interval_of")} | {"change": change["mean"]}
        row |= {"change_low": change["low"], "change_high": change["high"]}
        row |= {name: whole[name] for name in ("smd", "smd_low", "smd_high")}
        if len(real):
            worst = real.loc[real["smd"].abs().idxmax()]
            row |= {"worst": abs(worst["smd"]), "worst_group": f"{worst['attribute']}: {worst['group']}"}
            row |= {"worst_low": worst["smd_low"], "worst_high": worst["smd_high"]}
        table.append(row | {name.replace(" ", "_"): int((real["verdict"] == name).sum()) for name in VERDICTS})
    columns = ["worst", "worst_group", "worst_low", "worst_high"]
    found = pd.DataFrame(table).assign(**{name: np.nan for name in columns if name not in table[0]})
    return found.assign(frontier=[not _beaten(row, found) for row in found.itertuples()])


VERDICTS = tuple(SIGNS)


def _beaten(row, table: pd.DataFrame) -> bool:
    """Is another method at least as good in both, better in one, and no more demanding?"""
    rivals = table[(table["needs"] == "nothing") | (table["needs"] == row.needs)]
    as_good = (rivals["qwk"] >= row.qwk) & (rivals["worst"] <= row.worst)
    return bool((as_good & ((rivals["qwk"] > row.qwk) | (rivals["worst"] < row.worst))).any())


# ---------------------------------------------------------------- checking the Teacher by human scores


def bias_interval(human: ArrayLike, synthetic: ArrayLike, rest: ArrayLike, *, sd: float, confidence: float = 0.95) -> Interval:
    """Bias of synthetic scores, in SDs `sd` of the human ones: their mean minus the mean that people would give.

    `human` and `synthetic` (n,) are the scores of the essays that a person checked, `rest` (N,) the synthetic scores of the
    others. The people's mean is estimated by prediction-powered inference, tuned (PPI++, Angelopoulos, Duchi & Zrnic 2023;
    `ppi-python`). NaN ends with fewer than two checks.
    """
    human, synthetic, rest = (np.asarray(part, dtype=float) for part in (human, synthetic, rest))
    if len(human) < 2 or not len(rest):
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = np.r_[synthetic, rest].mean()
    low, high = (float(np.squeeze(end)) for end in ppi_mean_ci(human, synthetic, rest, alpha=1 - confidence))
    return Interval((mean - (low + high) / 2) / sd, (mean - high) / sd, (mean - low) / sd)


def checks_needed(error_sd: float, human_sd: float, *, within: float, confidence: float = 0.95) -> float:
    """Random checks of a group that bring the interval of its bias within +-`within` SDs: (z sd_error / (within sd_human))^2."""
    return (NormalDist().inv_cdf((1 + confidence) / 2) * error_sd / (within * human_sd)) ** 2


def checking(
    pool: pd.DataFrame,
    *,
    groups: Sequence[str],
    checks: Sequence[int],
    draws: int,
    within: float,
    confidence: float,
    seed: int,
    min_group: int,
) -> pd.DataFrame:
    """What so many human scores, spent on random essays of the pool, tell about the bias of the synthetic scores there.

    `pool`: one row an essay, with score (known here, so that the truth is), synthetic and `groups`. For each group and number of
    checks (in the whole pool), over `draws` random choices: n (the group's essays), checked (its mean number of checks), bias
    (the truth), half_width (mean, of `bias_interval`), left (the `confidence` quantile of |estimate - truth|, what a correction
    by the estimate would leave), coverage (share of intervals that hold the truth), needed (`checks_needed` in the group),
    needed_alone (the same for the people's mean without synthetic scores), reached (half_width <= within).
    """
    rng, rows = np.random.default_rng(seed), []
    members = {("all", "all"): np.full(len(pool), True)}
    for column in groups:
        for name in sorted(pool[column].dropna().unique(), key=str):
            members[column.removeprefix("groups."), str(name)] = (pool[column] == name).to_numpy()
    members = {key: inside for key, inside in members.items() if inside.sum() >= min_group}
    human, synthetic = pool["score"].to_numpy(), pool["synthetic"].to_numpy()
    for size in checks:
        drawn = [np.isin(np.arange(len(pool)), rng.choice(len(pool), size, replace=False)) for _ in range(draws)]
        for (attribute, group), inside in members.items():
            sd, error = human[inside].std(ddof=1), synthetic[inside] - human[inside]
            truth, found = error.mean() / sd, []
            for chosen in drawn:
                seen, unseen = chosen & inside, inside & ~chosen
                found.append(bias_interval(human[seen], synthetic[seen], synthetic[unseen], sd=sd, confidence=confidence))
            estimate, low, high = np.array(found).T
            known = np.isfinite(estimate)
            rows.append(
                {"attribute": attribute, "group": group, "n": int(inside.sum()), "checks": size}
                | {"checked": np.mean([(chosen & inside).sum() for chosen in drawn]), "bias": truth}
                | {"half_width": np.mean((high - low)[known]) / 2 if known.any() else np.nan}
                | {"left": np.quantile(np.abs(estimate - truth)[known], confidence) if known.any() else np.nan}
                | {"coverage": np.mean((low <= truth) & (truth <= high), where=known) if known.any() else np.nan}
                | {"needed": checks_needed(error.std(ddof=1), sd, within=within, confidence=confidence)}
                | {"needed_alone": checks_needed(sd, sd, within=within, confidence=confidence)}
            )
    table = pd.DataFrame(rows)
    return table.assign(reached=table["half_width"] <= within)
