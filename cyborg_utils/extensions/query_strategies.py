"""Which essays people should score, when only some can be: pure functions over arrays, essays -> indices.

Every rule returns `count` different indices of the pool, ascending, and the same ones for the same seed. What the rules are worth
is judged by `compare`, at the same number of human scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.stats.comparisons import across_seeds, contrast

STRATEGIES = ("random", "length", "clusters", "disagreement")


def at_random(pool: int, count: int, *, seed: int) -> np.ndarray:
    """Any essays: every set is as likely as any other."""
    return np.sort(np.random.default_rng(seed).choice(pool, _checked(pool, count), replace=False))


def by_length(lengths: ArrayLike, count: int, *, seed: int) -> np.ndarray:
    """Stratified by length: in order of length (ties at random) cut into `count` strata, one essay drawn from each."""
    rng, lengths = np.random.default_rng(seed), np.asarray(lengths)
    order = np.lexsort((rng.random(len(lengths)), lengths))
    return np.sort([rng.choice(stratum) for stratum in np.array_split(order, _checked(len(lengths), count))])


def by_cluster(embeddings: ArrayLike, count: int, *, seed: int) -> np.ndarray:
    """Stratified by what the essays are like: k-means with `count` clusters, of each the essay nearest to the centre.

    `embeddings` is (n, dimensions). Where essays repeat there are fewer clusters; the rest is drawn at random.
    """
    embeddings = np.asarray(embeddings, dtype=float)
    _checked(len(embeddings), count)
    clusters = min(count, len(np.unique(embeddings, axis=0)))
    means = KMeans(n_clusters=clusters, n_init=1, random_state=seed).fit(embeddings)
    far = np.linalg.norm(embeddings - means.cluster_centers_[means.labels_], axis=1)
    order = np.lexsort((far, means.labels_))  # cluster by cluster, the nearest first
    chosen = order[np.unique(means.labels_[order], return_index=True)[1]]
    rest = np.setdiff1d(np.arange(len(embeddings)), chosen)
    more = np.random.default_rng(seed).choice(rest, count - len(chosen), replace=False)
    return np.sort(np.concatenate([chosen, more]))


def by_disagreement(first: ArrayLike, second: ArrayLike, count: int) -> np.ndarray:
    """Where two machines differ most: |z(first) - z(second)|, each in its own SDs, since one may use more of the scale."""

    def standard(values: ArrayLike) -> np.ndarray:
        values = np.asarray(values, dtype=float)
        return (values - values.mean()) / (values.std() or 1.0)

    apart = np.abs(standard(first) - standard(second))
    return np.sort(np.argsort(-apart, kind="stable")[: _checked(len(apart), count)])


def choose(
    strategy: str,
    count: int,
    *,
    lengths: ArrayLike,
    embeddings: ArrayLike,
    teacher: ArrayLike,
    student: ArrayLike,
    seed: int,
) -> np.ndarray:
    """`count` essays of a pool by one of `STRATEGIES`; all arrays are of the same essays. CyborgError for another name."""
    if strategy == "random":
        return at_random(len(np.asarray(lengths)), count, seed=seed)
    if strategy == "length":
        return by_length(lengths, count, seed=seed)
    if strategy == "clusters":
        return by_cluster(embeddings, count, seed=seed)
    if strategy == "disagreement":
        return by_disagreement(teacher, student, count)
    raise CyborgError(f"strategy {strategy!r}: choose from {', '.join(STRATEGIES)}")


def compare(
    human: ArrayLike,
    levels: Mapping[str, Mapping[tuple[int, int], np.ndarray]],
    *,
    baseline: str,
    margin: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Each rule against a baseline rule, at the same number of human scores.

    `levels` maps a rule to (run, draw) -> a Student's levels of the test essays, all rules with the same runs and draws. Columns:
    system, baseline, runs, draws, difference (QWK), low, high (`across_seeds`: essays and runs, draws averaged within their run;
    with one run essays alone), p (permutation over essays), tost_low, tost_high, margin, equivalence, lowest_run, highest_run
    (mean difference of a run).
    """
    rows, base = [], by_run(levels[baseline])
    options = {"margin": margin, "resamples": resamples, "confidence": confidence, "seed": seed}
    for system in (name for name in levels if name != baseline):
        ours = by_run(levels[system])
        each = [across_seeds(human, {run: ours[run]}, {run: base[run]}, resamples=2, seed=seed)["mean"] for run in ours]
        rows.append(
            {"system": system, "baseline": baseline, "runs": len(ours), "draws": len(levels[system]) // len(ours)}
            | contrast(human, ours, base, **options)
            | {"lowest_run": min(each), "highest_run": max(each)}
        )
    return pd.DataFrame(rows)


def by_run(levels: Mapping[tuple[int, int], np.ndarray]) -> dict[int, list[np.ndarray]]:
    """(run, draw) -> levels as run -> those of its draws: draws of a run share its U and its Teacher, so they are no seeds."""
    runs: dict[int, list[np.ndarray]] = {}
    for (run, _), level in levels.items():
        runs.setdefault(run, []).append(level)
    return runs


def _checked(pool: int, count: int) -> int:
    if not 0 < count <= pool:
        raise CyborgError(f"{count} of {pool} essays of the pool cannot be chosen: ask for at least 1 and at most all of them.")
    return count
