"""Audit samples: human scores spent on random essays of the pool, to learn the bias of the Teacher's scores there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from ppi_py import ppi_mean_pointestimate
from scipy import stats

from cyborg_utils.stats.bootstrap import TIE, Interval


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


def members_of(frame: pd.DataFrame, groups: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """Masks of the essays of each known group, by (attribute, group); all essays first."""
    members = {("all", "all"): np.full(len(frame), True)}
    for column in groups:
        for name in sorted(frame[column].dropna().unique(), key=str):
            members[column.removeprefix("groups."), str(name)] = (frame[column] == name).to_numpy()
    return members


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
    members = {key: inside for key, inside in members_of(pool, groups).items() if inside.sum() >= min_group}
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


# ---------------------------------------------------------------- sentences


def most_checks(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `checking` with the largest number of checks."""
    return table[table["checks"] == table["checks"].max()]


def what_it_takes(table: pd.DataFrame, *, n_human: int, within: float) -> str:
    """How many checks the aim takes for all essays, and in the smallest and the largest group.

    `n_human` counts the study's human scores, U and the development split.
    """
    last = most_checks(table)
    whole, groups = last[last["attribute"] == "all"].iloc[0], _groups(last)
    text = (
        f"Knowing the bias of *all* synthetic scores within ±{within:g} SD takes about **{whole['needed']:,.0f}** checked essays "
        f"(the study has {n_human:,} human scores, U and the development split); {whole['checks']:,} give "
        f"±{whole['half_width']:.2f}. "
        f"Without the Teacher's scores it would take {whole['needed_alone']:,.0f}."
    )
    if len(groups):
        few, many = groups.loc[groups["n"].idxmin()], groups.loc[groups["n"].idxmax()]
        text += f" Each group needs its own: the smallest ({few['attribute']} {few['group']}) {few['needed']:,.0f} of its "
        text += f"{few['n']:,} essays, the largest ({many['attribute']} {many['group']}) {many['needed']:,.0f} of {many['n']:,}."
    return text


def lesson(table: pd.DataFrame, *, within: float) -> str:
    """The same in one line, with the share of a group's essays."""
    last = most_checks(table)
    whole, groups = last[last["attribute"] == "all"].iloc[0], _groups(last)
    text = f"**Checking by people**: {whole['needed']:,.0f} of {whole['n']:,} essays for ±{within:g} SD overall"
    if len(groups):
        share = groups["needed"] / groups["n"]
        text += f"; to know that of a group as well, {share.min():.0%} to {share.max():.0%} of its essays"
    return f"{text}."


def _groups(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["attribute"] != "all") & rows["needed"].notna()]
