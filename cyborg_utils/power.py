"""How many test essays does a question need, and what is the smallest difference that these can answer?

From standard errors measured on this data (bootstrap over essays), which shrink with 1/sqrt(n). Normal approximations: enough to
plan with, not to the last essay. z_q is the normal quantile, alpha the level, "power" the chance to get the answer if it is true:

    detect a difference d         essays for which (z_(1-alpha/2) + z_power) se = d
    show equivalence within m     (z_(1-alpha) + z_((1+power)/2)) se = m, two one-sided tests, true difference 0 (Schuirmann 1987;
                                  Chow, Shao & Wang 2008, section 3.1); the verdict "not biased" is the same with z_(1-alpha/2)
    call a group biased           (z_(1-alpha/2) + z_power) se = |SMD| - limit, for a true SMD beyond the limit

Training adds noise that more essays do not take away. With several seeds it is part of the error, and may be too much of it: then
no number of test essays answers the question, only more seeds do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from cyborg_utils.errors import CyborgError
from cyborg_utils.significance import Seed, across_seeds

DETECT, EQUIVALENT = "detect a difference of", "show equivalence within"
SEEN, CLEARED, BIASED = "tell from 0 an SMD of", "show no bias within", "call biased an SMD of"

Runs = ArrayLike | Mapping[Any, ArrayLike]


def multiple(question: str, *, alpha: float = 0.05, power: float = 0.80) -> float:
    """How many standard errors must fit into the size asked about; see the module. Raises CyborgError for another question."""
    if not (0 < alpha < 1 and alpha < power < 1):
        raise CyborgError(f"power {power} must lie between alpha {alpha} and 1")
    if question in (DETECT, SEEN, BIASED):
        return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    if question in (EQUIVALENT, CLEARED):
        return float(stats.norm.ppf(1 - (alpha if question == EQUIVALENT else alpha / 2)) + stats.norm.ppf((1 + power) / 2))
    raise CyborgError(f"no question {question!r}; there are {', '.join((DETECT, EQUIVALENT, SEEN, CLEARED, BIASED))}")


def chance(question: str, size: float, se: float, *, alpha: float = 0.05) -> float:
    """Chance of the answer at this standard error, the reverse of `multiple`; NaN where se is unknown, 1 where it is 0."""
    if not np.isfinite(se):
        return float("nan")
    if se == 0:
        return float(size > 0)
    if question in (EQUIVALENT, CLEARED):
        z = stats.norm.ppf(1 - (alpha if question == EQUIVALENT else alpha / 2))
        return float(max(0.0, 2 * stats.norm.cdf(size / se - z) - 1))
    z = stats.norm.ppf(1 - alpha / 2)
    far = stats.norm.cdf(-size / se - z) if question != BIASED else 0.0  # significant, but on the wrong side
    return float(stats.norm.cdf(size / se - z) + far)


def needed(size: float, n: int, se: float, *, fixed: float = 0.0, times: float) -> float:
    """Essays for which `times` standard errors are `size`, given the standard error `se` that n essays have.

    `fixed` is a standard error that essays do not reduce (training). Inf where it alone is too large or the size is 0; NaN where
    `se` is unknown.
    """
    room = (size / times) ** 2 - fixed**2
    if not np.isfinite(se):
        return float("nan")
    return float(max(2, np.ceil(n * se**2 / room - 1e-9))) if room > 0 and size > 0 else float("inf")


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
    """What these test essays can say about differences in QWK; one row a pair of systems, question and size.

    `pairs` maps a name to (system, baseline): levels (n,), or mappings seed -> levels with the same seeds. Columns: pair, seeds,
    n, se (of the difference: essays), seed_se (training: SD over seeds / sqrt(seeds); NaN with one seed, and then left out),
    question, size, power (the chance here), n_needed (for `power`; inf = more essays cannot do it, only more seeds), smallest
    (the size that these essays answer with `power`), answerable (can this corpus: power here >= `power`).
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
    """What these test essays can say about the SMD of each group; one row a group, question and size.

    `table` is that of `fairness.smd_by_group`: attribute, group, n, smd_se. Questions: is an SMD of this size told from 0; is a
    group without bias cleared within `limit`; is a group called biased whose SMD is this size (those beyond `limit`). Columns:
    attribute, group, n, se, question, size, power, n_needed (essays of this group), smallest, answerable, as in `qwk_power`. The
    groups of an attribute need that many each, so its smallest group decides what a corpus can answer: `hardest`.
    """
    rows = []
    for row in table.to_dict("records"):
        first = {"attribute": row["attribute"], "group": row["group"], "n": row["n"], "se": row["smd_se"]}
        asked = [(SEEN, size, 0.0) for size in sizes] + [(CLEARED, limit, 0.0)]
        asked += [(BIASED, size, limit) for size in sizes if size > limit]
        rows += [first | _answer(question, size, first, alpha, power, beyond) for question, size, beyond in asked]
    return pd.DataFrame(rows)


def hardest(table: pd.DataFrame, *, unknown: str = "not recorded") -> pd.DataFrame:
    """Of a table of `smd_power`, the rows of each attribute's smallest group (essays without a group are none)."""
    real = table[table["group"] != unknown]
    smallest = real.groupby("attribute", sort=False)["n"].transform("min")
    rows = real[real["n"] == smallest]
    return rows[rows["group"] == rows.groupby("attribute")["group"].transform("first")].reset_index(drop=True)


def _answer(question: str, size: float, here: Mapping, alpha: float, power: float, beyond: float = 0.0) -> dict[str, Any]:
    """power, n_needed, smallest and answerable of one question; `beyond` is the limit that a bias must pass."""
    times, fixed = multiple(question, alpha=alpha, power=power), float(np.nan_to_num(here.get("seed_se", 0.0)))
    se = float(np.hypot(here["se"], fixed))
    known = chance(question, size - beyond, se, alpha=alpha)
    return {
        "question": question,
        "size": size,
        "power": known,
        "n_needed": needed(size - beyond, here["n"], here["se"], fixed=fixed, times=times),
        "smallest": beyond + times * se,
        "answerable": bool(known >= power),
    }
