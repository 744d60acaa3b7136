"""Checked rows on their way to a dataset: their texts wait in a file, and only light columns stay in memory.

So a corpus may be larger than memory. Light columns are ids, scores and groups, and a hash of 16 bytes a text, to find copies.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cyborg_utils.core import atomic, paths

HEAVY = ("text", "assignment")
NUMBERS = {"row": pa.int64(), **dict.fromkeys(("score", "first_score", "second_score", "true_score"), pa.float64())}
BATCH = 1000  # most rows that wait to be written
LETTERS = 1 << 22  # most characters that wait to be written
FIRST, SORTED = 64, 1 << 27  # bytes of a key that are compared first, and of all keys at most
_numbers = itertools.count()


class Store:
    """Rows of one corpus: append them all, then read `frame` and `batches`. Its `folder` is removed with it."""

    def __init__(self, key: Callable[[str], str]) -> None:
        """`key`: what two copies of a text have in common."""
        self.folder, self._key = _folder(), key
        self.remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._waiting: list[dict[str, Any]] = []
        self._letters, self._writer, self._sink = 0, None, None
        self._light: list[pa.RecordBatch] = []
        self._hashes: list[bytes] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: dict[str, Any]) -> None:
        """`row`: text, assignment, and light columns, the same in every row (text, except NUMBERS and `traits.<name>`)."""
        self._waiting.append(row)
        self._count += 1
        self._letters += len(row["text"]) + len(row["assignment"])
        if len(self._waiting) == BATCH or self._letters >= LETTERS:
            self._flush()

    def frame(self) -> pd.DataFrame:
        """The light columns; no row may be appended afterwards."""
        self._flush()
        if self._writer:
            self._writer.close()
            self._sink.close()
            self._writer = None
        return pa.Table.from_batches(self._light).to_pandas() if self._light else pd.DataFrame()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Texts and assignments, in the rows' order. Read, not memory-mapped: a mapped file would count as memory in use."""
        with pa.OSFile(str(self.folder / "texts.arrow")) as source, pa.ipc.open_stream(source) as stream:
            yield from stream

    def copies(self) -> np.ndarray:
        """A number for each row: equal for texts with the same key, and in the order of the keys."""
        hashes = np.frombuffer(b"".join(self._hashes), dtype="S16")
        _, first, number = np.unique(hashes, return_index=True, return_inverse=True)
        return self._ranks(first)[number]

    def _ranks(self, rows: np.ndarray) -> np.ndarray:
        """Rank of each of these rows by its key; no two keys are equal.

        Keys are compared piece by piece from their beginning: few differ late, so few texts are read more than once.
        """
        rank, tied, start, width = np.zeros(len(rows), dtype=np.int64), np.arange(len(rows)), 0, FIRST
        while len(tied):
            width = min(width, max(16, SORTED // len(tied)))
            piece = self._pieces(rows[tied], start, width)
            order = np.lexsort((piece, rank[tied]))
            tied, piece, before = tied[order], piece[order], rank[tied[order]]
            other = np.r_[True, before[1:] != before[:-1]]  # than the row above, so far
            differs = other | np.r_[True, piece[1:] != piece[:-1]]
            rank[tied] = before + _since(differs) - _since(other)
            alone = differs & np.r_[differs[1:], True]
            tied, start, width = tied[~alone], start + width, 8 * width
        return rank

    def _pieces(self, rows: np.ndarray, start: int, width: int) -> np.ndarray:
        """Bytes `start` to `start + width` of these rows' keys."""
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        pieces, at = [b""] * len(rows), 0
        for batch in self.batches():
            wanted = place[at : at + batch.num_rows]
            for within in np.flatnonzero(wanted >= 0):
                text = self._encoded(batch.column("text")[int(within)].as_py())
                pieces[wanted[within]] = text[start : start + width]
            at += batch.num_rows
        return np.array(pieces, dtype="S")

    def _encoded(self, text: str) -> bytes:
        return self._key(text).encode("utf-8", "surrogatepass")  # in this encoding bytes sort as letters do

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows, self._waiting, self._letters = self._waiting, [], 0
        heavy = pa.record_batch({name: pa.array([row.pop(name) for row in rows], pa.string()) for name in HEAVY})
        if self._writer is None:
            self._sink = pa.OSFile(str(self.folder / "texts.arrow"), "wb")
            self._writer = pa.ipc.new_stream(self._sink, heavy.schema)
        self._writer.write_batch(heavy)
        texts = map(self._encoded, heavy["text"].to_pylist())
        self._hashes.append(b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts))
        self._light.append(pa.record_batch({name: pa.array([row[name] for row in rows], _light_type(name)) for name in rows[0]}))


def _light_type(name: str) -> pa.DataType:
    return pa.float64() if name.startswith("traits.") else NUMBERS.get(name, pa.string())


def _since(marks: np.ndarray) -> np.ndarray:
    """Place of the last mark at or before each place."""
    return np.maximum.accumulate(np.where(marks, np.arange(len(marks)), 0))


def _folder() -> Path:
    """A new folder under build/ (not /tmp, which may be in memory); removes those that killed processes left."""
    parent = paths.home() / "build" / ".preparing"
    for left in parent.glob(f"{atomic.HOST}@*"):
        owner = int(left.name.rpartition("@")[2].split("-")[0])
        if owner != os.getpid() and not atomic.lives(owner):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{atomic.HOST}@{os.getpid()}-{next(_numbers)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
