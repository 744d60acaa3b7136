"""Which essays are in which split, and which in U: one stratified order serves both.

A programme draws the essays that people score before anybody has scored them. So the draw is random, or stratified by what is
known beforehand (prompt, length). Stratified by score it would be too lucky: QWK then varies less from draw to draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cyborg_utils.core.errors import CyborgError


def strata(frame: pd.DataFrame, by: str) -> np.ndarray:
    """The stratum of each essay, (n,), int64; `by` is "nothing", "prompt", "length" (fifths of the number of words) or "score".

    `frame` has the column prompt, words or level.
    """
    if by == "nothing":
        return np.zeros(len(frame), dtype=np.int64)
    if by == "length":
        return pd.qcut(frame["words"].rank(method="first"), min(5, len(frame)), labels=False).to_numpy(dtype=np.int64)
    return pd.factorize(frame["prompt" if by == "prompt" else "level"], sort=True)[0].astype(np.int64)


def stratified_order(stratum: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order whose every prefix holds each stratum in proportion (to about one essay); positions, shape (n,).

    Essay number r (at random) of the n_k of stratum k gets the place (r + u_k) / n_k, u_k uniform in [0, 1): systematic
    sampling within each stratum. Rare ones need no merging, and a longer prefix contains a shorter one. With a single stratum
    every order is equally likely.
    """
    stratum = np.asarray(stratum)
    place = np.empty(len(stratum))
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        place[rng.permutation(members)] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.lexsort((rng.random(len(stratum)), place))


def assign(frame: pd.DataFrame, *, dev: float, test: float, seed: int) -> np.ndarray:
    """Split of each essay ("train", "dev", "test"), stratified by `stratum`; essays with the same `duplicate` key stay together.

    `test` > 0 draws the test split from all essays, `test` = 0 keeps the corpus's own (column `split`); `dev` is drawn from the
    rest. Below 1 they are shares, else counts; with duplicates a split can be short of its count by less than a cluster.
    A dev split of the corpus is kept where `dev` = 0. Raises CyborgError where there are too few essays.
    """
    own = frame["split"].to_numpy(dtype=object)
    split = np.full(len(frame), "train", dtype=object)
    if test == 0:
        if not (own == "test").any() or not (own != "test").any():
            raise CyborgError(
                "prepare_data.test is 0, which keeps the corpus's own test split, but it has none beside a training split. "
                "Give a number of essays or a share."
            )
        split[own == "test"] = "test"
        if (own == "dev").any():
            if dev > 0:
                raise CyborgError("the corpus brings its own dev split: set prepare_data.dev to 0 to keep it.")
            split[own == "dev"] = "dev"
    free = np.flatnonzero(split == "train")
    n_test = _count("test", test, len(free))
    n_dev = _count("dev", dev, max(0, len(free) - n_test))
    if n_test + n_dev >= len(free):
        raise CyborgError(
            f"prepare_data: test {test:g} and dev {dev:g} leave none of {len(free)} essays for training. Give smaller numbers."
        )
    unit = pd.factorize(frame["duplicate"].iloc[free], sort=True)[0]  # number of each essay's cluster, by its key's order
    by_unit = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(unit[by_unit]) > 0])
    sizes = np.diff(np.r_[starts, len(free)])
    stratum = frame["stratum"].to_numpy()[free[by_unit[starts]]]  # of the cluster's first essay
    left = {"test": n_test, "dev": n_dev}
    for number in stratified_order(stratum, np.random.default_rng(seed)):
        size = sizes[number]
        name = next((name for name, room in left.items() if size <= room), "train")
        if name in left:
            split[free[by_unit[starts[number] : starts[number] + size]]] = name
            left[name] -= size
        elif not any(left.values()):
            break
    return split


def sampled(frame: pd.DataFrame, most: Mapping[str, int], *, seed: int) -> np.ndarray:
    """Which essays stay, (n,) bool, where a split may hold at most `most[split]`; the others are left out at random.

    It depends on ids and seed alone. Nested: with the same seed a larger sample contains a smaller one.
    """
    stay = np.ones(len(frame), dtype=bool)
    for name, count in most.items():
        places = np.flatnonzero(frame["split"] == name)
        places = places[np.argsort(frame["essay_id"].to_numpy(dtype=str)[places], kind="stable")]
        stay[np.random.default_rng(seed).permutation(places)[count:]] = False
    return stay


def _count(name: str, size: float, of: int) -> int:
    """A number or a share of essays as a count; CyborgError for another number, and where a share comes to no essay."""
    if not 0 <= size < math.inf:
        raise CyborgError(f"prepare_data.{name}: {size} is no number of essays. Give a number from 0 on, below 1 a share.")
    count = round(size * of) if size < 1 else round(size)
    if size and of and not count:
        raise CyborgError(f"prepare_data.{name}: {size:g} of {of} essays is none. Give a larger share, or a number of essays.")
    return count
