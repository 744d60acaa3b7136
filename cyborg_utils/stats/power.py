"""How many test essays does a question need, and what is the smallest difference that the present ones can answer?

Standard errors are measured on the data at hand (bootstrap over essays) and shrink with 1/sqrt(n). Normal approximations are good
enough for planning, but not exact to the essay. The interval mean -+ half gives the answer, with z_q the normal quantile and
alpha the level:

    detect a difference d, tell from 0   the interval leaves out 0; half = z_(1-alpha/2) se
    show equivalence within m            it lies inside -+m, two one-sided tests (Schuirmann 1987; Chow, Shao & Wang 2008, section
                                         3.1), true difference 0; half = z_(1-alpha) se, for "not biased" z_(1-alpha/2) se
    call a group biased                  it lies beyond the limit, for a true SMD beyond the limit; half = z_(1-alpha/2) se

Training adds noise that more essays do not reduce. With several seeds it is part of the error, with its own wide interval
(`comparisons.across_seeds`: Student's t, which is 12.7 instead of 2 with two seeds). Where this noise is too large, no number of
test essays answers the question; only more seeds do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.stats.bootstrap import Seed
from cyborg_utils.stats.comparisons import across_seeds

DETECT, EQUIVALENT = "detect a difference of", "show equivalence within"
SEEN, CLEARED, BIASED = "tell from 0 an SMD of", "show no bias within", "call biased an SMD of"
QUESTIONS = (DETECT, EQUIVALENT, SEEN, CLEARED, BIASED)

Runs = ArrayLike | Mapping[Any, ArrayLike]


def chance(question: str, size: float, se: float, *, seed_se: float = 0.0, seeds: int = 1, alpha: float = 0.05) -> float:
    """Chance of the answer with a standard error `se` from essays and `seed_se` from training, estimated from `seeds` seeds.

    NaN where `se` is unknown, 1 where there is no error. Raises CyborgError for a question that is not in `QUESTIONS`.
    """
    if question not in QUESTIONS:
        raise CyborgError(f"no question {question!r}; there are {', '.join(QUESTIONS)}")
    if not 0 < alpha < 1:
        raise CyborgError(f"alpha {alpha} must lie between 0 and 1")
    spread = np.hypot(se, seed_se)
    if not np.isfinite(spread):
        return float("nan")
    if spread == 0:
        return float(size > 0)
    level = 1 - (alpha if question == EQUIVALENT else alpha / 2)
    half = stats.norm.ppf(level) * se
    if seed_se:  # the interval varies with the variance of the seeds drawn: chi-squared, here by 1,000 quantiles
        variance = stats.chi2.ppf((np.arange(1000) + 0.5) / 1000, seeds - 1) / (seeds - 1)
        half = np.sqrt(half**2 + (stats.t.ppf(level, seeds - 1) * seed_se) ** 2 * variance)
    near = stats.norm.cdf((size - half) / spread)
    if question in (EQUIVALENT, CLEARED):
        return float(np.maximum(0, 2 * near - 1).mean())
    far = 0.0 if question == BIASED else stats.norm.cdf((-size - half) / spread)  # significant, but on the wrong side
    return float(np.mean(near + far))


def needed(question: str, size: float, n: int, se: float, *, power: float = 0.80, seed_se: float = 0.0, **how: Any) -> float:
    """Number of essays that give the answer with this power, where n essays have a standard error `se`; `how` as in `chance`.

    Inf where no number suffices (training alone varies too much, or the size is 0); NaN where `se` is unknown.
    """

    def short(log: float) -> float:
        return power - chance(question, size, se * np.sqrt(n / np.exp(log)), seed_se=seed_se, **how)

    if not np.isfinite(se):
        return float("nan")
    if size <= 0 or chance(question, size, 0.0, seed_se=seed_se, **how) < power:
        return float("inf")
    if short(np.log(2)) <= 0:
        return 2.0
    most = next(log for log in np.arange(2, 80) if short(log) <= 0)
    return float(np.ceil(np.exp(optimize.brentq(short, np.log(2), most, xtol=1e-12)) - 1e-6))


def smallest(question: str, se: float, *, power: float = 0.80, seed_se: float = 0.0, **how: Any) -> float:
    """The smallest size that is answered with this power; NaN where `se` is unknown."""
    spread = np.hypot(se, seed_se)
    if not spread > 0:
        return float(spread)  # 0, or unknown
    over = next(times for times in 2.0 ** np.arange(20) if chance(question, times * spread, se, seed_se=seed_se, **how) >= power)
    return float(
        optimize.brentq(lambda size: chance(question, size, se, seed_se=seed_se, **how) - power, 0, over * spread, xtol=1e-12)
    )


def qwk_power(
    human_level: ArrayLike,
    pairs: Mapping[str, tuple[Runs, Runs]],
    *,
    seed: Seed,
    sizes: Sequence[float] = (0.01, 0.02, 0.05),
    margins: Sequence[float] = (0.02, 0.05),
    alpha: float = 0.05,
    power: float = 0.80,
    metric: str = "qwk",
    resamples: int = 2_000,
) -> pd.DataFrame:
    """What these test essays can say about differences in QWK; one row per pair of systems, question and size.

    `pairs` maps a name to (system, baseline): levels (n,), or mappings seed -> levels with the same seeds. Columns: pair, seeds,
    n, se (of the difference, from essays), seed_se (from training: SD over seeds / sqrt(seeds); NaN with one seed, then ignored),
    question, size, power (the chance with these essays), n_needed (essays for the argument `power`; inf = only more seeds can
    help), smallest (the smallest size that these essays answer with `power`), answerable (the chance is at least `power`).
    """
    rows = []
    for name, (system, baseline) in pairs.items():
        ours, theirs = (runs if isinstance(runs, Mapping) else {0: runs} for runs in (system, baseline))
        found = across_seeds(human_level, ours, theirs, metric=metric, resamples=resamples, seed=seed)
        fixed = found["seed_sd"] / np.sqrt(found["seeds"])
        first = {"pair": name, "seeds": found["seeds"], "n": found["n"], "se": found["test_sd"], "seed_se": fixed}
        for question, given in ((DETECT, sizes), (EQUIVALENT, margins)):
            rows += [first | _answer(question, size, first, alpha, power) for size in given]
    return pd.DataFrame(rows)


def smd_power(
    table: pd.DataFrame,
    *,
    sizes: Sequence[float] = (0.10, 0.20, 0.30),
    limit: float = 0.10,
    alpha: float = 0.05,
    power: float = 0.80,
) -> pd.DataFrame:
    """What these test essays can say about the SMD of each group; one row per group, question and size.

    `table` comes from `fairness.smd_by_group`: attribute, group, n, smd_se. Questions: is an SMD of this size distinguished from
    0; is a group without bias cleared within `limit`; is a group with an SMD of this size called biased (sizes beyond `limit`
    only). Columns: attribute, group, n, se, question, size, power, n_needed (essays of this group), smallest, answerable, as in
    `qwk_power`. Every group of an attribute needs that many, so the smallest group decides what a corpus can answer (`hardest`).
    """
    rows = []
    for row in table.to_dict("records"):
        first = {"attribute": row["attribute"], "group": row["group"], "n": row["n"], "se": row["smd_se"]}
        asked = [(SEEN, size, 0.0) for size in sizes] + [(CLEARED, limit, 0.0)]
        asked += [(BIASED, size, limit) for size in sizes if size > limit]
        rows += [first | _answer(question, size, first, alpha, power, beyond) for question, size, beyond in asked]
    return pd.DataFrame(rows)


def hardest(table: pd.DataFrame, *, min_group: int, unknown: str = "not recorded") -> pd.DataFrame:
    """The rows of `smd_power` for each attribute's smallest group of at least `min_group` essays.

    Smaller groups are left out because they cannot answer anything; essays whose group is `unknown` are not a group.
    """
    real = table[(table["group"] != unknown) & (table["n"] >= min_group)]
    smallest = real.groupby("attribute", sort=False)["n"].transform("min")
    rows = real[real["n"] == smallest]
    return rows[rows["group"] == rows.groupby("attribute")["group"].transform("first")].reset_index(drop=True)


def _answer(question: str, size: float, here: Mapping, alpha: float, power: float, beyond: float = 0.0) -> dict[str, Any]:
    """power, n_needed, smallest and answerable of one question; `beyond` is the limit that a bias must exceed."""
    how = {"seed_se": float(np.nan_to_num(here.get("seed_se", 0.0))), "seeds": here.get("seeds", 1), "alpha": alpha}
    known = chance(question, size - beyond, here["se"], **how)
    return {
        "question": question,
        "size": size,
        "power": known,
        "n_needed": needed(question, size - beyond, here["n"], here["se"], power=power, **how),
        "smallest": beyond + smallest(question, here["se"], power=power, **how),
        "answerable": bool(known >= power),
    }
