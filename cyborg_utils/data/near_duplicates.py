"""Essays that nearly repeat each other, and essays of one writer: what belongs together, so that a split does not part it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

WORDS = 3  # consecutive words that make a shingle
ALIKE = 0.7  # share of all shingles of two texts that both have (Jaccard similarity), from which they count as near-duplicates
MOST = 50_000  # essays among which near-duplicates are looked for unasked: about a millisecond and four kilobytes each
PERMUTATIONS = 128  # of a MinHash: its similarity has a standard error of at most 0.045


def pairs(texts: Iterable[str], alike: float = ALIKE) -> Iterator[tuple[int, int]]:
    """Pairs of places (earlier, later) of texts whose Jaccard similarity of word triples is at least `alike`.

    The similarity is MinHash's estimate (Broder 1997), among the candidates of locality-sensitive hashing.
    """
    index, seen = MinHashLSH(threshold=alike, num_perm=PERMUTATIONS), []
    empty = MinHash(num_perm=PERMUTATIONS)
    for place, text in enumerate(texts):
        mark = empty.copy()
        mark.update_batch(_shingles(text))
        yield from ((other, place) for other in sorted(index.query(mark)) if mark.jaccard(seen[other]) >= alike)
        index.insert(place, mark)
        seen.append(mark)


def _shingles(text: str) -> list[bytes]:
    words = re.findall(r"\w+", text.casefold())
    return list({" ".join(words[at : at + WORDS]).encode() for at in range(max(1, len(words) - WORDS + 1))})


def together(keys: np.ndarray, *relations: Iterable[tuple[int, int]]) -> np.ndarray:
    """The lowest key of each essay's cluster, (n,): essays are in one where their keys are equal or a relation links them.

    Where no relation links anything, these are the `keys` as they were.
    """
    keys = np.asarray(keys)
    order = np.argsort(keys, kind="stable")
    same = order[1:][keys[order[1:]] == keys[order[:-1]]], order[:-1][keys[order[1:]] == keys[order[:-1]]]
    linked = np.array([pair for relation in relations for pair in relation], dtype=np.int64).reshape(-1, 2)
    start, end = np.r_[same[0], linked[:, 0]], np.r_[same[1], linked[:, 1]]
    part = connected_components(coo_array((np.ones(len(start)), (start, end)), shape=(len(keys), len(keys))), directed=False)[1]
    lowest = np.full(part.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, part, keys)
    return lowest[part]


def same(names: Iterable[str | None]) -> Iterator[tuple[int, int]]:
    """Pairs of places (the last one, this one) with the same name; empty names link nothing."""
    last: dict[str, int] = {}
    for place, name in enumerate(names):
        if name:
            if name in last:
                yield last[name], place
            last[name] = place
