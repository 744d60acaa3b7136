"""Selective scoring: a person scores the essays of which the machine is least sure, so that the rest meet a stated risk.

    risk(c) = mean loss of the share c of the essays with the smallest signal of uncertainty     (risk-coverage curve)
    AURC    = mean of risk(c) over c = 1/n .. 1; when essays are handed over at random it is the mean loss

Sources: Geifman & El-Yaniv 2017, "Selective classification for deep neural networks" (a bound for the chosen share); Angelopoulos
et al. 2021, "Learn then test" (fixed sequence testing); Waudby-Smith & Ramdas 2024 (the betting bound of a bounded mean).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.bootstrap import Interval
from cyborg_utils.stats.conformal import LeastSquares
from cyborg_utils.stats.metrics import paired

FAR_OFF = "more than one level off"
RISKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # loss of an essay, from human minus machine level
    FAR_OFF: lambda apart: (np.abs(apart) > 1).astype(float),
    "not exact": lambda apart: (apart != 0).astype(float),
    "squared error": lambda apart: np.square(apart).astype(float),  # in levels
    "absolute error": lambda apart: np.abs(apart).astype(float),  # in levels
}
STEP = 0.05  # between the shares of essays that are tried
EXPECTED = "expected loss"
BY_PROBABILITIES = "expected loss by its own probabilities"


class Promise(NamedTuple):
    """What can be promised from n development essays: the machine scores those with `signal <= threshold` (infinite: all).

    `share`, `risk` and `bound` (upper, one-sided) are of development essays. Where nothing can be promised, threshold is -inf,
    share 0, risk NaN, and bound that of the smallest share tried.
    """

    threshold: float
    share: float
    risk: float
    bound: float


def most(risk: str, scale: Scale) -> float:
    """The largest loss that one essay can have."""
    return float(RISKS[risk](np.array(scale.size - 1)))


def signals(
    predicted: ArrayLike, level: ArrayLike, line: LeastSquares, scale: Scale, *, risk: str, own: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Signals of uncertainty of m essays, each (m,), larger where less sure; all are known when an essay is scored.

    `predicted` (m,): the least-squares values; `level` (m,): the levels that the machine gives; `own` (m, K): its probabilities,
    where it has some. The expected loss takes the line's leave-one-out residuals as the distribution of people's scores around
    `predicted`: mean over r of loss(nearest(predicted + r) - level). Raises CyborgError on NaN.
    """
    predicted, level = paired(predicted, level)
    loss, spread = RISKS[risk], np.empty(len(predicted))
    for at in range(0, len(predicted), 1000):  # a table of essays by residuals, 1,000 essays at a time
        part = slice(at, at + 1000)
        spread[part] = loss(scale.nearest(predicted[part, None] + line.residuals) - level[part, None]).mean(axis=1)
    found = {EXPECTED: spread, "distance from the score given": np.abs(predicted - scale.score(level))}
    found["distance from the middle"] = np.abs(predicted - line.target_mean)
    if own is not None:
        found[BY_PROBABILITIES] = (np.asarray(own) * loss(np.arange(scale.size) - level[:, None])).sum(axis=1)
    return found


def risk_coverage(signal: ArrayLike, loss: ArrayLike) -> pd.DataFrame:
    """The curve: coverage k/n and risk, the mean loss of the k essays with the smallest signal, k = 1 .. n.

    Essays of equal signal count with their mean loss, which is what a random order among them gives on average.
    Raises CyborgError on NaN and without essays.
    """
    risk = _risks(*_checked(signal, loss))
    return pd.DataFrame({"coverage": np.arange(1, len(risk) + 1) / len(risk), "risk": risk})


def aurc(signal: ArrayLike, loss: ArrayLike) -> float:
    """Area under the risk-coverage curve, the mean of its risks."""
    return float(_risks(*_checked(signal, loss)).mean())


def aurc_gain(signal: ArrayLike, loss: ArrayLike, *, seed: int, resamples: int = 1000, confidence: float = 0.95) -> Interval:
    """AURC of random deferral (the mean loss) minus that of the signal, with a percentile bootstrap interval over essays."""
    signal, loss = _checked(signal, loss)

    def gain(signal: np.ndarray, loss: np.ndarray) -> float:
        return float(loss.mean() - _risks(signal, loss).mean())

    value = gain(signal, loss)
    if len(loss) < 2:
        return Interval(value, math.nan, math.nan)
    settings = {"paired": True, "vectorized": False, "n_resamples": resamples, "method": "percentile"}
    found = stats.bootstrap((signal, loss), gain, confidence_level=confidence, rng=np.random.default_rng(seed), **settings)
    return Interval(value, *map(float, found.confidence_interval))


def interval(loss: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a mean loss: Clopper-Pearson where all are 0 or 1, else t; NaN without essays, or for t with one."""
    loss = np.asarray(loss, dtype=float)
    share = np.isin(loss, (0, 1)).all()
    if len(loss) < (1 if share else 2):
        return math.nan, math.nan
    if share:
        low, high = proportion_confint(int(loss.sum()), len(loss), alpha=1 - confidence, method="beta")
    else:
        low, high = DescrStatsW(loss).tconfint_mean(alpha=1 - confidence)
    return float(low), float(high)


def upper_bound(loss: ArrayLike, confidence: float, *, top: float = 1.0) -> float:
    """Upper confidence bound of a mean loss in [0, top], one-sided, valid for every n; `top` without essays.

    Clopper-Pearson where `top` is 1 and all losses are 0 or 1. Else by betting, in the order given, which must be random: the
    smallest mean m at which max over k of prod_{i <= k} (1 - b_i (loss_i / top - m)) reaches 1 / (1 - confidence), with bets b_i
    that depend on earlier essays only.
    """
    loss = np.asarray(loss, dtype=float) / top
    n, delta = len(loss), 1 - confidence
    if not n:
        return top
    if top == 1 and np.isin(loss, (0, 1)).all():
        wrong = int(loss.sum())
        return float(stats.beta.ppf(confidence, wrong + 1, n - wrong)) if wrong < n else 1.0
    k = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(loss)) / (1 + k)
    variance = np.concatenate([[0.25], (0.25 + np.cumsum((loss - mean) ** 2)) / (1 + k)])[:-1]
    bets = np.minimum(1.0, np.sqrt(2 * math.log(1 / delta) / (n * variance)))

    def evidence(m: float) -> float:
        return float(np.max(np.cumsum(np.log1p(-bets * (loss - m))))) + math.log(delta)

    low = float(loss.mean())
    if evidence(1.0) < 0:
        return top
    return top * (float(optimize.brentq(evidence, low, 1.0)) if evidence(low) < 0 else low)


def promise(
    signal: ArrayLike, loss: ArrayLike, *, target: float, confidence: float, least: float, top: float = 1.0, tried: int = 1
) -> Promise:
    """The largest share of essays whose risk is at most `target`, by development essays; wrong with probability 1 - confidence.

    Shares are tested from `least` upwards in steps of `STEP`, each by its `upper_bound`, up to the first that fails. A fixed
    sequence needs no correction for the number of its tests: the first false claim needs one error. `tried`, the number of
    signals among which this one was chosen on the same essays, divides 1 - confidence. Essays of one signal stay together.
    Raises CyborgError on NaN, without essays, and where `target`, `confidence` or `least` make no sense.
    """
    signal, loss = _checked(signal, loss)
    if not (0 < confidence < 1 and 0 < least <= 1 and target > 0 and tried >= 1):
        raise CyborgError("promise: confidence must be between 0 and 1, least in (0, 1], target above 0, tried 1 or more")
    ordered, level, found = np.sort(signal), 1 - (1 - confidence) / tried, Promise(-math.inf, 0.0, math.nan, math.nan)
    for share in [*np.arange(least, 1 - 1e-9, STEP), 1.0]:
        threshold = float(ordered[math.ceil(share * len(ordered) - 1e-9) - 1]) if share < 1 else math.inf
        taken = loss[signal <= threshold]
        bound = upper_bound(taken, level, top=top)
        if bound > target:
            return found if found.share else found._replace(bound=bound)
        found = Promise(threshold, len(taken) / len(loss), float(taken.mean()), bound)
    return found


def needed(target: float, confidence: float, *, least: float, tried: int = 1) -> int:
    """Development essays from which a promise of a share of errors can be made at all, if none of the tested essays is wrong."""
    return math.ceil(math.log((1 - confidence) / tried) / math.log1p(-target) / least)


def _risks(signal: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Mean loss of the k essays with the smallest signal, k = 1 .. n."""
    _, place, counts = np.unique(signal, return_inverse=True, return_counts=True)
    even = np.repeat(np.bincount(place, loss) / counts, counts)
    return np.cumsum(even) / np.arange(1, len(even) + 1)


def _checked(signal: ArrayLike, loss: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    signal, loss = paired(signal, loss)
    if not len(loss):
        raise CyborgError("no essays to rank by uncertainty")
    return signal, loss
