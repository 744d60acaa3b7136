"""What can be done about a bias: corrections of a Student's scores, and human scores spent on checking the Teacher's.

Frames are those of `scores.raters` (`dev`, `test`) and `scores.teachers`. Corrections are fitted on the development essays alone
and judged on the test essays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from ppi_py import ppi_mean_pointestimate
from scipy import stats
from scipy.optimize import brentq

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.bootstrap import TIE, Interval
from cyborg_utils.stats.calibration import METHODS, ByGroup, GroupShifts
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.stats.fairness import SIGNS, verdict
from cyborg_utils.study import arms, bias

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
    """SMD of every method by group: `bias.smd_of_runs`, after method, needs and seeds."""
    tables = []
    for (method, needs), part in rows.groupby(["method", "needs"], sort=False):
        table = bias.smd_of_runs(part, "value", groups=groups, scale=scale, seed=seed, limit=limit, **options)
        tables.append(table.assign(method=method, needs=needs, seeds=part["seed"].nunique()))
    whole = pd.concat(tables, ignore_index=True)
    return whole[["method", "needs", "seeds", *whole.columns.drop(["method", "needs", "seeds"])]]


def trade_off(
    rows: pd.DataFrame, bias: pd.DataFrame, *, aim: float, resamples: int, confidence: float, seed: int
) -> pd.DataFrame:
    """One row a method: agreement, what it costs against `BASE` on the same seeds, and the bias that is left.

    Columns: method, needs, seeds, qwk, low, high, interval_of, change, change_low, change_high (QWK - that of `BASE`), smd (all
    essays), smd_low, smd_high, worst (largest |SMD| of a group that is judged), worst_group, worst_low, worst_high (the interval
    of that group's SMD), worst_chance, worst_chance_high (median and `confidence` quantile of `worst` if no group had a bias,
    `largest_by_chance`), biased, not_biased, undecided (groups by verdict), within_aim, beyond_aim, undecided_aim (the same with
    `aim` as the limit: groups whose whole interval lies within +-`aim`, beyond it, and all others).
    """
    human = arms.human(rows)
    levels = {key: arms.by_seed(part, "level") for key, part in rows.groupby(["method", "needs"], sort=False)}
    base, table, options = levels[BASE, "nothing"], [], {"resamples": resamples, "confidence": confidence, "seed": seed}
    for (method, needs), runs in levels.items():
        alone, shared = across_seeds(human, runs, **options), sorted(set(runs) & set(base))
        change = across_seeds(human, {one: runs[one] for one in shared}, {one: base[one] for one in shared}, **options)
        mine = arms.pick(bias, method=method, needs=needs)
        whole = mine[mine["attribute"] == "all"].iloc[0]
        row = {"method": method, "needs": needs, "seeds": len(runs), "qwk": alone["mean"]}
        row |= {name: alone[name] for name in ("low", "high", "interval_of")} | {"change": change["mean"]}
        row |= {"change_low": change["low"], "change_high": change["high"]}
        row |= {name: whole[name] for name in ("smd", "smd_low", "smd_high")}
        groups = mine[(mine["attribute"] != "all") & mine["verdict"].isin(VERDICTS)]
        table.append(row | _left(groups, aim=aim, confidence=confidence))
    return pd.DataFrame(table)


VERDICTS = tuple(SIGNS)
BY_AIM = {"within_aim": "not biased", "beyond_aim": "biased", "undecided_aim": "undecided"}  # columns, as verdicts


def _left(groups: pd.DataFrame, *, aim: float, confidence: float) -> dict[str, object]:
    """What a method leaves in the groups that are judged (rows of `judged`): the columns of `trade_off` from `worst` on."""
    known, nothing = groups.dropna(subset=["smd"]), float("nan")
    found = {"worst": nothing, "worst_group": "", "worst_low": nothing, "worst_high": nothing}
    if len(known):
        worst = known.loc[known["smd"].abs().idxmax()]
        found = {"worst": abs(worst["smd"]), "worst_group": f"{worst['attribute']}: {worst['group']}"}
        found |= {"worst_low": worst["smd_low"], "worst_high": worst["smd_high"]}
    for column, share in (("worst_chance", 0.5), ("worst_chance_high", confidence)):
        found[column] = largest_by_chance(known["smd_se"], known["n"], share)
    by_limit = groups["verdict"].tolist()
    by_aim = [verdict(row.smd, row.smd_low, row.smd_high, limit=aim) for row in groups.itertuples()]
    found |= {name.replace(" ", "_"): by_limit.count(name) for name in VERDICTS}
    return found | {column: by_aim.count(name) for column, name in BY_AIM.items()}


def largest_by_chance(errors: ArrayLike, sizes: ArrayLike, share: float) -> float:
    """The `share` quantile of the largest |SMD| of groups none of which is biased.

    From the standard errors of their SMDs (bootstrap) and their numbers of essays n: SMD / (error sqrt(n / (n - 1))) is taken as
    t with n - 1 degrees of freedom, as in `bootstrap.percentile_interval`, and independent of the other groups', so that
    P(largest <= x) is a product. (Groups of different attributes share essays, which makes the truth a little smaller.) Groups
    with an error of 0 or NaN are left out; NaN where no other is there.
    """
    errors, sizes = np.asarray(errors, dtype=float), np.asarray(sizes, dtype=float)
    errors, sizes = errors[errors > 0], sizes[errors > 0]
    if not len(errors):
        return float("nan")
    spread = errors * np.sqrt(sizes / (sizes - 1))

    def beyond(size: float) -> float:
        return float((1 - 2 * stats.t.sf(size / spread, sizes - 1)).prod() - share)

    return float(brentq(beyond, 0, 1000 * spread.max()))


# ---------------------------------------------------------------- what may be said of a trade-off


def groups_below(least: int, part: pd.DataFrame, *, among: pd.DataFrame, groups: Sequence[str]) -> str:
    """In words: the groups of writers in `among` with fewer than `least` essays in `part`, and how many these are; or "none"."""
    essays, found = part.drop_duplicates("essay_id"), []
    for column in groups:
        sizes = essays[column].value_counts().reindex(sorted(among[column].dropna().unique(), key=str), fill_value=0)
        found += [f"{column.removeprefix('groups.')} {name} ({size})" for name, size in sizes.items() if size < least]
    return ", ".join(found) or "none"


def against_chance(row: pd.Series, *, confidence: float) -> str:
    """In words: the largest |SMD| that a method leaves (a row of `trade_off`), and what chance alone would bring."""
    more = "more" if row["worst"] > row["worst_chance_high"] else "no more"
    digits = 2 if f"{row['worst']:.2f}" != f"{row['worst_chance_high']:.2f}" else 3  # "0.40, more than 0.40" would puzzle
    return (
        f"{row['worst']:.{digits}f} ({row['worst_group']}), {more} than chance alone brings where no group is biased (median "
        f"{row['worst_chance']:.2f}, {confidence:.0%} of the time at most {row['worst_chance_high']:.{digits}f})"
    )


def aim_reached(table: pd.DataFrame, *, aim: float) -> str:
    """In words: for which methods of `trade_off` the intervals show that *every* judged group is within +-`aim`.

    Point estimates do not count: the largest of several noisy |SMD|s is beyond a small aim even where no group is biased.
    """
    judged = table[table["worst"].notna()]
    if judged.empty:
        return "no group is large enough to be judged"
    sure = judged.loc[judged["within_aim"] == judged[list(BY_AIM)].sum(axis=1), "method"]
    if len(sure):
        verb = "brings" if len(sure) == 1 else "bring"
        return f"these essays show that {', '.join(f'*{name}*' for name in sure)} {verb} every judged group within ±{aim:g}"
    more = int((judged["worst"] > judged["worst_chance_high"]).sum())
    return (
        f"these essays cannot show for any correction that every judged group is within ±{aim:g}; {more or 'none'} of "
        f"{len(judged)} {'leaves' if more <= 1 else 'leave'} more in some group than chance alone brings"
    )


def knowing_groups(table: pd.DataFrame, *, confidence: float) -> str:
    """In words: whether corrections that know the group take off a bias of `BASE` beyond chance; "" where none knows it."""
    own = table[(table["needs"] != "nothing") & table["worst"].notna()]
    if own.empty:
        return ""
    base = table[(table["method"] == BASE) & (table["needs"] == "nothing")].iloc[0]
    more, reach = int((own["worst"] > own["worst_chance_high"]).sum()), f"{own['worst'].min():.2f} to {own['worst'].max():.2f}"
    words = f"{BASE} for everybody leaves at most {against_chance(base, confidence=confidence)}"
    if base["worst"] <= base["worst_chance_high"]:
        words += ", so these essays cannot show that knowing the group takes anything off"
    return (
        f"{words}. The {len(own)} corrections that use the group leave {reach}; {more or 'none'} of them more than chance "
        "alone brings."
    )


# ---------------------------------------------------------------- checking the Teacher by human scores


def bias_interval(human: ArrayLike, synthetic: ArrayLike, rest: ArrayLike, *, sd: float, confidence: float = 0.95) -> Interval:
    """Bias of a pool's synthetic scores, in SDs `sd` of the human ones: their mean minus the mean that people would give.

    `human` and `synthetic` (n,) are the scores of the essays that a person checked, `rest` (N - n,) the synthetic scores of the
    pool's other essays. The people's mean is estimated by prediction-powered inference (`ppi-python`), tuned as PPI++ does
    (Angelopoulos, Duchi & Zrnic 2023), with predictions for the whole pool: the regression estimate of survey sampling.

    The interval is for *these* N essays, where PPI's own is for an endless population from which they come: the mean prediction
    of the pool is known, so only the errors that it leaves in unchecked essays count. Half width = t sqrt((1 - n/N) / n) times
    the SD of what the prediction leaves, t with n - 2 degrees of freedom (Cochran 1977, Sampling Techniques, chapters 2 and 7);
    0 where all are checked. NaN ends with fewer than three checks.
    """
    human, synthetic, rest = (np.asarray(part, dtype=float) for part in (human, synthetic, rest))
    n, pool = len(human), np.r_[synthetic, rest]
    if n < 3:
        return Interval(float("nan"), float("nan"), float("nan"))
    slope = _slope(human, synthetic, pool)
    bias = pool.mean() - float(np.squeeze(ppi_mean_pointestimate(human, synthetic, pool, lam=slope)))
    error = np.std(human - slope * synthetic, ddof=2) * np.sqrt((1 - n / len(pool)) / n)
    half = stats.t.ppf((1 + confidence) / 2, n - 2) * error
    return Interval(bias / sd, (bias - half) / sd, (bias + half) / sd)


def _slope(human: np.ndarray, synthetic: np.ndarray, pool: np.ndarray) -> float:
    """How far the people's scores follow the synthetic ones of the same essays; at least 0, and 0 where the pool's do not vary.

    PPI++'s lambda without its factor for a further population: there it is smaller by (N - n) / N.
    """
    spread = pool.var(ddof=1)
    return max(0.0, float(np.cov(human, synthetic, bias=True)[0, 1] / spread)) if spread > 0 else 0.0


def checks_needed(error_sd: float, human_sd: float, *, pool: float, within: float, confidence: float = 0.95) -> float:
    """Random checks among `pool` essays that bring the interval of their bias within +-`within` SDs of the human scores.

    n0 / (1 + n0 / pool) with n0 = (z error_sd / (within human_sd))^2, what an endless pool would take (Cochran 1977, Sampling
    Techniques, chapter 4). `error_sd` is the SD of what the synthetic scores leave unexplained.
    """
    endless = (stats.norm.ppf((1 + confidence) / 2) * error_sd / (within * human_sd)) ** 2
    return float(endless / (1 + endless / pool))


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
    (the truth), half_width (median, of `bias_interval`), left (the `confidence` quantile of |estimate - truth|, what a correction
    by the estimate would leave), coverage (share of intervals that hold the truth), needed (`checks_needed` in the group),
    needed_alone (the same for the people's mean without synthetic scores), reached (half_width <= within). Draws with fewer than
    three checks in the group have no interval and are left out.
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
            ours, theirs, found = human[inside], synthetic[inside], []
            sd, among = ours.std(ddof=1), {"pool": len(ours), "within": within, "confidence": confidence}
            truth, unexplained = (theirs - ours).mean() / sd, np.std(ours - _slope(ours, theirs, theirs) * theirs, ddof=1)
            for chosen in drawn:
                seen, unseen = chosen & inside, inside & ~chosen
                found.append(bias_interval(human[seen], synthetic[seen], synthetic[unseen], sd=sd, confidence=confidence))
            estimate, low, high = np.array(found).T
            known = np.isfinite(estimate)
            rows.append(
                {"attribute": attribute, "group": group, "n": int(inside.sum()), "checks": size}
                | {"checked": np.mean([(chosen & inside).sum() for chosen in drawn]), "bias": truth}
                | {"half_width": np.median((high - low)[known]) / 2 if known.any() else np.nan}
                | {"left": np.quantile(np.abs(estimate - truth)[known], confidence) if known.any() else np.nan}
                | {"coverage": np.mean((low <= truth + TIE) & (truth <= high + TIE), where=known) if known.any() else np.nan}
                | {"needed": checks_needed(unexplained, sd, **among)}
                | {"needed_alone": checks_needed(sd, sd, **among)}
            )
    table = pd.DataFrame(rows)
    return table.assign(reached=table["half_width"] <= within)
