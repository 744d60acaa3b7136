"""Essays that nearly repeat each other, and essays of one writer: what belongs together, so that a split does not part it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

WORDS = 3  # consecutive words that make a shingle
ALIKE = 0.7  # share of the shingles of two texts that both have (Jaccard similarity), from which they count as near-duplicates
MOST = 50_000  # essays among which near-duplicates are looked for unasked; they need some ten kilobytes each
SOONER = 0.1  # by how much less alike candidates may be: at the threshold, hashing then misses about one pair in a hundred


def pairs(texts: Iterable[str], alike: float = ALIKE) -> Iterator[tuple[int, int]]:
    """Pairs of places (earlier, later) of texts whose Jaccard similarity of word triples is at least `alike`.

    Candidates come from locality-sensitive hashing of MinHashes (Broder 1997; `datasketch`), and are then compared exactly.
    """
    index, seen = MinHashLSH(threshold=max(0.05, alike - SOONER), weights=(0.1, 0.9)), []
    empty = MinHash()
    for place, text in enumerate(texts):
        shingles, mark = _shingles(text), empty.copy()
        mark.update_batch(shingles)
        marks = np.array(sorted({zlib.crc32(shingle) for shingle in shingles}), dtype=np.uint32)
        yield from ((other, place) for other in sorted(index.query(mark)) if _similarity(marks, seen[other]) >= alike)
        index.insert(place, mark)
        seen.append(marks)


def _shingles(text: str) -> list[bytes]:
    words = re.findall(r"\w+", text.casefold())
    return list({" ".join(words[at : at + WORDS]).encode() for at in range(max(1, len(words) - WORDS + 1))})


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


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
