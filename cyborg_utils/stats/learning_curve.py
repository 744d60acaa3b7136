"""How agreement grows with the number of human scores, and how many are enough. Numbers in, numbers out.

The learning curve is the usual power law (Cortes et al. 1994; Hestness et al. 2017), QWK(n) = top - gap (n / N)^-speed + gap. It
is written so that `top` is the value at N, the largest number of essays measured.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import curve_fit

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.stats.bootstrap import resampled_metric

Runs = Mapping[Any, np.ndarray]  # seed -> levels of the same essays


class Curve(NamedTuple):
    """QWK(n) = top - gap ((n / most)^-speed - 1): the gain from n to n + 1 falls with n. gap >= 0, speed > 0."""

    top: float
    gap: float
    speed: float
    least: float  # range of the sizes measured; the curve is not valid outside it
    most: float

    def at(self, n: ArrayLike) -> np.ndarray:
        """QWK with `n` human scores."""
        return self.top - self.gap * ((np.asarray(n, dtype=float) / self.most) ** -self.speed - 1)

    def needed(self, qwk: float) -> float:
        """The number of human scores that gives this QWK, limited to the sizes measured (`most` where none reaches it)."""
        short = self.top - qwk
        if short <= 0 or self.gap <= 0:
            return self.most if short <= 0 else self.least
        return float(np.clip(self.most * (1 + short / self.gap) ** (-1 / self.speed), self.least, self.most))

    def enough(self, margin: float) -> float:
        """The smallest number of human scores whose QWK is at most `margin` below QWK with all of them."""
        return self.needed(self.top - margin)

    def gain(self, n: ArrayLike) -> np.ndarray:
        """The gain in QWK from one more human score at n (the derivative)."""
        n = np.asarray(n, dtype=float)
        return self.gap * self.speed / n * (n / self.most) ** -self.speed


def fit(sizes: Sequence[float], qwk: ArrayLike) -> Curve:
    """Least-squares fit (`scipy.optimize.curve_fit`) to one QWK per size. Raises CyborgError for fewer than four sizes."""
    sizes, qwk = np.asarray(sizes, dtype=float), np.asarray(qwk, dtype=float)
    if len(np.unique(sizes)) < 4:
        raise CyborgError(f"a learning curve has three parameters and needs four sizes, not {len(np.unique(sizes))}.")
    most = sizes.max()

    def law(n: np.ndarray, top: float, gap: float, speed: float) -> np.ndarray:
        return top - gap * ((n / most) ** -speed - 1)

    def slopes(n: np.ndarray, top: float, gap: float, speed: float) -> np.ndarray:
        power = (n / most) ** -speed
        return np.column_stack([np.ones_like(n), 1 - power, gap * power * np.log(n / most)])

    start, bounds = (qwk[np.argmax(sizes)], max(0.01, np.ptp(qwk) / 4), 0.5), ((-1, 0, 0.02), (1, 2, 3))
    found, _ = curve_fit(law, sizes, qwk, p0=np.clip(start, *bounds), jac=slopes, bounds=bounds, max_nfev=2000)
    return Curve(*map(float, found), float(sizes.min()), float(most))


def resampled_means(
    human: ArrayLike, systems: Mapping[Hashable, Runs], *, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean QWK over seeds of each system, (systems,), and the same with other essays and other seeds, (resamples, systems).

    Essays are drawn with replacement, the same for all systems. Seeds are too few to be resampled like this: a bootstrap of S
    seeds has a variance too small by (S - 1) / S, and lacks Student's tails. The effect of other seeds is therefore drawn from
    the t distribution that `comparisons.across_seeds` uses (`_seed_weights`), the same draw for all systems with these seeds.
    With one seed the resamples are over essays alone.
    """
    every = [run for runs in systems.values() for run in runs.values()]
    values, resampled = resampled_metric(human, every, metric="qwk", resamples=resamples, seed=seed)
    ends, drawn = np.cumsum([len(runs) for runs in systems.values()])[:-1], {}
    rng, means = np.random.default_rng([seed, 1]), []
    for runs, own, part in zip(systems.values(), np.split(values, ends), np.split(resampled, ends, axis=1), strict=True):
        weights = drawn.setdefault(tuple(runs), _seed_weights(len(runs), resamples, rng))
        means.append(part.mean(axis=1) + weights @ own)
    bounded = np.clip(np.column_stack(means), -1, 1)  # QWK's range, which the long tails of two or three seeds exceed
    return np.array([part.mean() for part in np.split(values, ends)]), bounded


def _seed_weights(seeds: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Weights w, (resamples, seeds), of sum 0: for values x of S seeds, w @ x is SD(x) / sqrt(S) times t with S - 1 degrees.

    The weights are centred normal numbers, divided by the root of a scaled chi-squared number as in Student's t; 0 for one seed.
    """
    if seeds == 1:
        return np.zeros((resamples, 1))
    normal = rng.standard_normal((resamples, seeds))
    estimated = np.sqrt(rng.chisquare(seeds - 1, (resamples, 1)) / (seeds - 1))
    return (normal - normal.mean(axis=1, keepdims=True)) / np.sqrt(seeds * (seeds - 1)) / estimated


class Fitted(NamedTuple):
    """The fitted curve, the curves fitted in the resamples, and the resampled QWK of the other systems."""

    curve: Curve
    curves: list[Curve]
    sizes: list[int]
    qwk: np.ndarray  # (sizes,)
    resampled: np.ndarray  # (resamples, sizes)
    others: dict[Hashable, tuple[float, np.ndarray]]

    def table(self, confidence: float) -> pd.DataFrame:
        """Measured QWK with its interval, beside the curve's: n, qwk, low, high, fitted."""
        low, high = self.interval(self.resampled, confidence)
        columns = {"n": self.sizes, "qwk": self.qwk, "low": low, "high": high, "fitted": self.curve.at(self.sizes)}
        return pd.DataFrame(columns)

    def band(self, confidence: float, points: int = 80) -> pd.DataFrame:
        """The curve with its interval at points evenly spaced on a log scale, for a figure: n, qwk, low, high."""
        n = np.geomspace(self.sizes[0], self.sizes[-1], points)
        low, high = self.interval([curve.at(n) for curve in self.curves], confidence)
        return pd.DataFrame({"n": n, "qwk": self.curve.at(n), "low": low, "high": high})

    def interval(self, values: Sequence[ArrayLike], confidence: float) -> np.ndarray:
        """Percentile ends, (2, ...), of values (or arrays), one per resample."""
        return np.quantile(np.asarray(values, dtype=float), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)

    def enough(self, margins: Sequence[float], *, confidence: float) -> pd.DataFrame:
        """The smallest number of human scores within each margin (`Curve.enough`), with interval: margin, n, low, high."""
        rows = []
        for margin in margins:
            ends = self.interval([curve.enough(margin) for curve in self.curves], confidence)
            rows.append((margin, *(round(value) for value in (self.curve.enough(margin), *ends))))
        return pd.DataFrame(rows, columns=["margin", "n", "low", "high"])

    def worth(self, *, confidence: float) -> pd.DataFrame:
        """How many human scores alone would give each other system's QWK.

        Columns: system, qwk, n, low, high, capped (n is the largest size measured).
        """
        rows = []
        for system, (qwk, resampled) in self.others.items():
            each = [curve.needed(value) for curve, value in zip(self.curves, resampled, strict=True)]
            n, ends = self.curve.needed(qwk), self.interval(each, confidence)
            rows.append((system, qwk, round(n), *(round(value) for value in ends), n >= self.curve.most))
        return pd.DataFrame(rows, columns=["system", "qwk", "n", "low", "high", "capped"])


def fit_resampled(
    human: ArrayLike, sizes: Mapping[int, Runs], others: Mapping[Hashable, Runs], *, resamples: int, seed: int
) -> Fitted:
    """Fit the curve to `sizes` (number of human scores -> runs), and again in every resample of essays and seeds."""
    systems = {("size", n): runs for n, runs in sizes.items()} | {("other", name): runs for name, runs in others.items()}
    values, resampled = resampled_means(human, systems, resamples=resamples, seed=seed)
    count, numbers = len(sizes), list(sizes)
    known = resampled[np.isfinite(resampled).all(axis=1)]  # a resample with an undefined QWK has no curve
    curves = [fit(numbers, row[:count]) for row in known]
    rest = {name: (float(values[count + at]), known[:, count + at]) for at, name in enumerate(others)}
    return Fitted(fit(numbers, values[:count]), curves, numbers, values[:count], known[:, :count], rest)
