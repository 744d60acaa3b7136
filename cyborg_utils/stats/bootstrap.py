"""Bootstrap and permutation over essays, for any metric of `metrics.METRICS` and scorers of the same essays.

Systems scored on the same essays are dependent, so essays are resampled together with all their scores. Every metric is a
function of sums over essays (`metrics.moments`). A resample therefore needs only the number of times each essay, or each cell
(essays with the same human level x level of A x level of B), was drawn: ten thousand resampled confusion tables are one matrix
product.

Essays that answer the same prompt are alike. Where `clusters` (n,) names each essay's prompt, whole prompts are drawn in place of
essays, and intervals hold for other prompts too (cluster bootstrap, Davison & Hinkley 1997, section 3.8).

Intervals hold for other essays from the same population. They do not cover training noise; see `comparisons.across_seeds`.
Metrics that compare categories (QWK, exact, adjacent) require levels; the others take levels or real values, in one unit.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.stats.metrics import SUMS, from_moments, middle, moments, paired, paired_levels

LEVEL_METRICS = ("qwk", "exact", "adjacent")
METHODS = ("expanded", "percentile", "bca")  # of a bootstrap interval
CHUNK = 2_000_000  # numbers drawn at a time; keeps memory to some tens of MB
TIE = 1e-12  # statistics closer than this count as equal: the order of summation alone can make such a difference

Seed = int | np.random.Generator


class Interval(NamedTuple):
    """A value with its confidence interval; the ends are NaN where there is no interval."""

    value: float
    low: float
    high: float


def resampled_sums(
    human: ArrayLike,
    machines: Sequence[ArrayLike],
    *,
    resamples: int,
    seed: Seed,
    centre: float | None = None,
    clusters: ArrayLike | None = None,
) -> np.ndarray:
    """Sums of `metrics.moments` over n essays drawn with replacement from n, shape (resamples, systems, 9).

    `centre` is the centre of the moments, by default near these essays' mean. The sums of several groups can be added only if
    they share one centre. All systems share each draw. Where cells are few, their counts are drawn (multinomial); where they are
    many, essays are drawn one by one. Both ways give the same distribution; the faster one is used. With `clusters`, G clusters
    are drawn from G, each with all its essays; the number of essays then varies.
    """
    rows = _rows(human, machines)
    n, centre = len(rows), middle(rows[:, 0]) if centre is None else centre
    if clusters is not None:
        number, _ = cluster_numbers(clusters, n)
        parts = np.zeros((number.max() + 1, rows.shape[1] - 1, SUMS))
        np.add.at(parts, number, _parts(rows, centre))
        drawn = np.random.default_rng(seed).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=resamples)
        return (drawn.astype(float) @ parts.reshape(len(parts), -1)).reshape(resamples, *parts.shape[1:])
    cells, counts = np.unique(rows, axis=0, return_counts=True)
    few = 16 * len(cells) < n  # measured: a cell of a multinomial draw costs as much as 16 single draws
    parts, rng = _parts(cells if few else rows, centre), np.random.default_rng(seed)
    flat = parts.reshape(len(parts), -1)
    if few:
        sums = [rng.multinomial(n, counts / n, size=size).astype(float) @ flat for size in _chunks(resamples, len(flat))]
    return (np.concatenate(sums) if few else resampled_rows(flat, resamples, rng)).reshape(resamples, *parts.shape[1:])


def resampled_rows(terms: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Sums of `terms` (n, width) over n essays drawn one by one with replacement, (resamples, width)."""
    sums = []
    for size in _chunks(resamples, len(terms)):
        drawn, rng.bit_generator.state = _drawn(json.dumps(rng.bit_generator.state), len(terms), size)
        sums.append(drawn.astype(float) @ terms)
    return np.concatenate(sums)


@functools.lru_cache(maxsize=64)  # 128 MB at most
def _drawn(state: str, n: int, size: int) -> tuple[np.ndarray, Mapping[str, Any]]:
    """How often each of n essays is in each of `size` resamples, uint8 (size, n), and the generator's state after the draws.

    Arms are compared on the same essays from the same seed, so the same draws are asked for again and again.
    `state` is that of the generator before them, as JSON.
    """
    own = np.random.default_rng()
    own.bit_generator.state = json.loads(state)
    places = own.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(places.ravel(), minlength=size * n).reshape(size, n).astype(np.uint8), own.bit_generator.state


def cluster_numbers(clusters: ArrayLike, n: int) -> tuple[np.ndarray, int]:
    """The number (0 .. G-1) of each essay's cluster, (n,), and G. Raises CyborgError where an essay's cluster is not known."""
    clusters = pd.Series(np.asarray(clusters, dtype=object))
    if len(clusters) != n or clusters.isna().any():
        raise CyborgError(f"clusters: {n} essays, but {int(clusters.notna().sum())} of {len(clusters)} clusters are known")
    number, names = pd.factorize(clusters)
    return number, len(names)


def resampled_metric(
    human: ArrayLike,
    machines: Sequence[ArrayLike],
    *,
    metric: str,
    resamples: int,
    seed: Seed,
    clusters: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A metric of each system, (systems,), and its value in each resample, (resamples, systems); NaN where undefined."""
    rows = _rows(human, _checked(human, machines, metric))
    values = from_moments(metric, _parts(rows, middle(rows[:, 0])).sum(axis=0))
    return values, from_moments(metric, resampled_sums(human, machines, resamples=resamples, seed=seed, clusters=clusters))


def averaged_metric(human: ArrayLike, groups: Sequence[Sequence[ArrayLike]], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """`resampled_metric` averaged within groups of systems, such as an arm's seeds: (groups,) and (resamples, groups)."""
    members = [one for group in groups for one in group]
    values, resampled = resampled_metric(human, members, **options)
    sizes = np.array([len(group) for group in groups])
    starts = np.cumsum(sizes) - sizes
    return np.add.reduceat(values, starts) / sizes, np.add.reduceat(resampled, starts, axis=1) / sizes


def percentile_interval(value: float, resampled: np.ndarray, *, confidence: float = 0.95, n: int | None = None) -> Interval:
    """Percentile interval of a value from its resampled values (resamples,).

    Undefined resamples (say, all essays drawn have one level) are left out; if more than one in twenty is undefined, there is no
    interval.

    With `n`, the number of essays (or of clusters, where these are drawn), the interval is the expanded one (Hesterberg 2015),
    which matters when essays are few. A resample of n essays varies too little, by sqrt((n-1)/n), and normal quantiles ignore
    that the spread is estimated. The tails are therefore those of sqrt(n/(n-1)) t with n - 1 degrees of freedom. The interval
    is 22 % wider with 10 essays and less than 1 % wider with 400. There is no interval for n < 2.
    """
    tails = _tails(confidence)
    if n is not None:
        tails = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tails, n - 1)) if n > 1 else np.full(2, np.nan)
    return _interval(value, resampled, tails)


def resampled_tail(resampled: np.ndarray, margin: float, n: int) -> float:
    """The alpha at which the upper end of `percentile_interval` with n touches the margin; NaN where there is no interval."""
    known = resampled[np.isfinite(resampled)]
    if len(known) < 0.95 * len(resampled) or n < 2:
        return float("nan")
    share = np.clip(np.mean(known >= margin), 1 / (len(known) + 1), 1 - 1 / (len(known) + 1))
    return float(stats.t.cdf(stats.norm.ppf(share) * np.sqrt((n - 1) / n), n - 1))


def bootstrap_p(resampled: np.ndarray, n: int) -> float:
    """Two-sided p-value of "the value is 0" from its resampled values (resamples,).

    It is 1 - the confidence of the interval that just touches 0 (`percentile_interval` with n), and about 2 / resamples at the
    least. NaN where there is no interval.
    """
    return float(np.minimum(1.0, 2 * np.min([resampled_tail(side * resampled, 0.0, n) for side in (1, -1)])))


def bootstrap_interval(
    human: ArrayLike,
    machine: ArrayLike,
    *,
    seed: Seed,
    metric: str = "qwk",
    resamples: int = 10_000,
    confidence: float = 0.95,
    method: str = "expanded",
    clusters: ArrayLike | None = None,
) -> Interval:
    """A metric of one system with its bootstrap interval over essays, or over `clusters` of essays (not for "bca").

    `method` is "expanded" (`percentile_interval` with n), "percentile" or "bca" (bias-corrected and accelerated, Efron 1987), the
    latter two as in scipy. With 50 essays "percentile" is too short; "bca" was even shorter in simulation (results/coverage).

    The value is NaN where the metric is. There is no interval where `percentile_interval` gives none, nor for "bca" where all
    resamples lie on one side of the value.
    """
    return _bootstrap(human, [machine], metric, resamples, confidence, method, seed, clusters)


def paired_bootstrap(
    human: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: Seed,
    metric: str = "qwk",
    resamples: int = 10_000,
    confidence: float = 0.95,
    method: str = "expanded",
    clusters: ArrayLike | None = None,
) -> Interval:
    """metric(first) - metric(second) on the same essays with its paired bootstrap interval, as `bootstrap_interval`."""
    return _bootstrap(human, [first, second], metric, resamples, confidence, method, seed, clusters)


class Swaps:
    """Permutation test of "the two systems are exchangeable on every essay", for the difference of a metric; two-sided.

    Each resample swaps the two scores of an essay with probability 1/2 (as `scipy.stats.permutation_test` does with
    `permutation_type="samples"`). `draw` adds resamples, so that a test can go on until its verdict is safe (`decided`).

    `first` and `second` may be mappings seed -> array with the same seeds. The statistic is then the mean over seeds of the
    difference, and all seeds of an essay are swapped together. The test is about these trained models, not about other seeds.
    """

    def __init__(
        self,
        human: ArrayLike,
        first: ArrayLike | Mapping[Any, ArrayLike],
        second: ArrayLike | Mapping[Any, ArrayLike],
        *,
        seed: Seed,
        metric: str = "qwk",
    ) -> None:
        if isinstance(first, Mapping):
            if set(first) != set(second):
                raise CyborgError(f"permutation test: seeds {sorted(first)} and {sorted(second)} must be the same")
            systems = [*first.values(), *(second[key] for key in first)]
        else:
            systems = [first, second]
        self.metric, self.seeds, self.rng = metric, len(systems) // 2, np.random.default_rng(seed)
        self.resamples, self.hits = 0, 0  # hits: |differences| at least as large as the observed one
        rows = _rows(human, _checked(human, systems, metric))
        centre = middle(rows[:, 0])
        self.total = _parts(rows, centre).sum(axis=0)
        self.observed = self._difference(self.total[: self.seeds], self.total[self.seeds :])
        # A swap changes nothing where both systems agree, and has the same effect on all essays of a cell.
        apart = (rows[:, 1 : 1 + self.seeds] != rows[:, 1 + self.seeds :]).any(axis=1)
        cells, self.counts = np.unique(rows[apart], axis=0, return_counts=True)
        parts = _parts(cells, centre)
        self.change = (parts[:, self.seeds :] - parts[:, : self.seeds]).reshape(len(cells), self.seeds * SUMS)

    def _difference(self, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return (from_moments(self.metric, ours) - from_moments(self.metric, theirs)).mean(axis=-1)

    def draw(self, resamples: int) -> Swaps:
        """Add resamples. An undefined one counts as large. Returns the test itself."""
        for size in _chunks(resamples, len(self.counts)) if np.isfinite(self.observed) else ():
            shape, several = (size, len(self.counts)), self.counts.max(initial=0) > 1
            swapped = self.rng.binomial(self.counts, 0.5, shape) if several else self.rng.integers(0, 2, shape, dtype=np.uint8)
            moved = (swapped.astype(float) @ self.change).reshape(size, self.seeds, SUMS)
            found = self._difference(self.total[: self.seeds] + moved, self.total[self.seeds :] - moved)
            self.hits += size - int((np.abs(found) < abs(self.observed) - TIE).sum())
        self.resamples += resamples
        return self

    @property
    def p(self) -> float:
        """(1 + hits) / (1 + resamples), so never 0; NaN where the observed difference is undefined."""
        return (1 + self.hits) / (1 + self.resamples) if np.isfinite(self.observed) else float("nan")

    @property
    def error(self) -> float:
        """Standard error of p that the number of resamples leaves (Monte Carlo error)."""
        return float(np.sqrt(self.p * (1 - self.p) / (1 + self.resamples)))

    def range(self, confidence: float = 0.999) -> tuple[float, float]:
        """The range in which p would lie with endless resamples, at this confidence (Clopper & Pearson 1934)."""
        if not np.isfinite(self.observed):
            return float("nan"), float("nan")
        low, high = proportion_confint(self.hits, self.resamples, alpha=1 - confidence, method="beta")
        return float(low), float(high)


def _bootstrap(human, machines, metric, resamples, confidence, method, seed, clusters) -> Interval:
    """Interval of a metric of one system, or of the difference first minus second."""
    if method not in METHODS or (method == "bca" and clusters is not None):
        raise CyborgError(f"no bootstrap method {method!r} here; there are {', '.join(METHODS)} (bca not for clusters)")
    values, resampled = resampled_metric(human, machines, metric=metric, resamples=resamples, seed=seed, clusters=clusters)
    signs = np.array([1.0, -1.0])[: len(machines)]
    value, resampled = float(values @ signs), resampled @ signs
    if method != "bca":
        units = len(np.asarray(human)) if clusters is None else cluster_numbers(clusters, len(np.asarray(human)))[1]
        n = units if method == "expanded" else None
        return percentile_interval(value, resampled, confidence=confidence, n=n)
    rows = _rows(human, machines)
    parts = _parts(rows, middle(rows[:, 0]))
    without = from_moments(metric, parts.sum(axis=0) - parts) @ signs  # the jackknife: each essay left out once
    pull = np.nanmean(without) - without[np.isfinite(without)]
    speed = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5) if pull.any() else 0.0
    shift = stats.norm.ppf((np.mean(resampled < value) + np.mean(resampled <= value)) / 2)
    z = shift + stats.norm.ppf(_tails(confidence))
    return _interval(value, resampled, stats.norm.cdf(shift + z / (1 - speed * z)))


def _interval(value: float, resampled: np.ndarray, tails: np.ndarray) -> Interval:
    known = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not np.isfinite(tails).all() or len(known) < 0.95 * len(resampled):
        return Interval(float(value), float("nan"), float("nan"))
    return Interval(float(value), *(float(end) for end in np.quantile(known, tails)))


def _tails(confidence: float) -> np.ndarray:
    return np.array([(1 - confidence) / 2, (1 + confidence) / 2])


def _rows(human: ArrayLike, machines: Sequence[ArrayLike]) -> np.ndarray:
    """One row per essay, its human score before the machine scores, (n, 1 + systems); rows are drawn as a whole."""
    pairs = [paired(human, machine) for machine in machines]
    if not pairs or not len(pairs[0][0]):
        raise CyborgError("nothing to resample: give at least one essay and one list of machine scores")
    return np.column_stack([pairs[0][0], *(machine for _, machine in pairs)])


def _parts(rows: np.ndarray, centre: float) -> np.ndarray:
    """`metrics.moments` of every system in rows (n, 1 + systems): (n, systems, SUMS)."""
    return moments(rows[:, :1], rows[:, 1:], centre=centre)


def _checked(human: ArrayLike, machines: Sequence[ArrayLike], metric: str) -> Sequence[ArrayLike]:
    """The machines unchanged; raises CyborgError where the metric requires levels and something else is given."""
    for machine in machines if metric in LEVEL_METRICS else ():
        paired_levels(human, machine)
    return machines


def _chunks(resamples: int, width: int) -> Iterator[int]:
    """Sizes of the chunks in which `resamples` rows of `width` numbers are drawn."""
    step = max(1, CHUNK // max(1, width))
    yield from (min(step, resamples - start) for start in range(0, resamples, step))
