"""A person's table, some of its essays scored by hand and the rest blank -> essays with scores, or NaN where there is none.

The project's one reader reads it (`data.table`, with `unscored: any`). What a person has not named is found out (`found_out`);
`Essays.notes` says what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import advice, corpora, files, table
from cyborg_utils.extensions import query_strategies
from cyborg_utils.extensions.labelling import found_out
from cyborg_utils.extensions.labelling.found_out import ALIKE, ALL_FOUND, FEWEST_OTHERS, LEAST, Columns

READ = {"corpus": "table", "dev": 1, "test": 1, "split_seed": 1}  # the reader splits the scored ones, which is of no account here


@dataclass(frozen=True)
class Essays:
    """`frame`, one row an essay: essay_id, text, assignment, score (NaN: blank), copy (essays that belong together share a
    number), groups.<name>, and of a person's file row. `without`: rows that get no score (row, column, reason, essay_id).
    `columns`: what a person's file calls them."""

    frame: pd.DataFrame
    scale: Scale
    source: str
    notes: list[str] = field(default_factory=list)
    without: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["row", "column", "reason", "essay_id"]))
    columns: Columns = ALL_FOUND

    @property
    def scored(self) -> np.ndarray:
        """Places of the essays that a person scored."""
        return np.flatnonzero(self.frame["score"].notna())

    @property
    def blank(self) -> np.ndarray:
        return np.flatnonzero(self.frame["score"].isna())

    @property
    def groups(self) -> list[str]:
        return [name for name in self.frame if name.startswith("groups.")]


def read(
    file: Path,
    columns: Columns = ALL_FOUND,
    *,
    scale: Sequence[float] = (),
    reading: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Essays:
    """Every row of a table. `scale`: lowest score, highest score, step; left out, it is taken from the scores. `reading` goes to
    `files.layout`, `options` are further ones of `data.table` (labels, condition_codes).

    Raises CyborgError that names file, row and column for what cannot be read or told, and for too few scored essays, with those
    to score first.
    """
    reading, options, shown = dict(reading or {}), dict(options or {}), paths.shown(file)
    how = files.layout(file, **reading)
    rows, there = list(files.rows(file, how)), files.header(file, how)
    if not rows:
        raise CyborgError(f"{shown}: no essays in it. Check that it was saved whole.")
    found = found_out.columns(columns, there, rows, shown)
    texts = [files.text(row.cells.get(found.text)) for row in rows]
    named = found.id or found.writer
    ids = [files.text(row.cells.get(named)) if named else f"row {row.number}" for row in rows]
    scored = np.array([not files.missing(row.cells.get(found.score)) for row in rows])
    _enough(ids, texts, scored, shown)
    limits, told = list(scale), ""
    if not limits:
        limits, told = found_out.scale_of(rows, found, options.get("labels", {}), shown)
    groups = {name: name for name in found.groups}
    wishes = {"text": found.text, "groups": groups, "unscored": "any", "file": str(file.resolve()), **reading}
    wishes |= {role: name for role in ("id", "writer") if (name := getattr(found, role))} or {"id": ""}
    wishes |= {"prompt": found.prompt, "assignment": found.prompt} if found.prompt else {}
    settings = READ | {"score": found.score, "scale": limits, "groups": [*groups], "write": advice.COMMAND}
    made = of(corpora.build(settings | {"options": wishes | options}), Scale(*limits), shown)
    notes = [*found_out.columns_told(columns, found), *filter(None, [told]), *made.notes]
    notes += found_out.others_told(found, there, rows, made.scale)
    lost = set(made.without["row"])
    frame = made.frame.assign(row=[row.number for row in rows if row.number not in lost])
    return Essays(frame, made.scale, made.source, notes, made.without, found)


def of(prepared: corpora.Prepared, scale: Scale, source: str) -> Essays:
    """Essays of any prepared corpus that keeps the unscored ones. Raises CyborgError where scores are too few, or alike."""
    frame = corpora.frame(prepared.dataset, text=True).assign(copy=prepared.clusters)
    frame["assignment"] = frame["assignment"].fillna("")
    keep = ["essay_id", "text", "assignment", "score", "copy", *(name for name in frame if name.startswith("groups."))]
    without = prepared.exclusions[["row", "column", "reason", "essay_id"]].reset_index(drop=True)
    more = ", which the page lists" if len(without) > table.SHOWN else ""
    lost = [f"{len(without)} row(s) get no score: {table.first_rows(without)}{more}."] if len(without) else []
    notes = [*prepared.notes, *lost]
    return checked(Essays(frame[keep], scale, source, notes, without))


def hidden(frame: pd.DataFrame, scale: Scale, source: str, *, share: float, seed: int) -> Essays:
    """Essays of a corpus that is scored throughout (`corpora.frame`, with text), of which a random share keeps its score."""
    kept = np.random.default_rng(seed).permutation(len(frame))[: max(LEAST, round(share * len(frame)))]
    score = frame["score"].where(np.isin(np.arange(len(frame)), kept))
    columns = ["essay_id", "text", "assignment", *(name for name in frame if name.startswith("groups."))]
    rows = frame[columns].assign(score=score, copy=pd.factorize(frame["text"])[0], assignment=frame["assignment"].fillna(""))
    return checked(Essays(rows, scale, source))


def checked(essays: Essays) -> Essays:
    """The same essays. Raises CyborgError where too few are scored, or their scores are alike."""
    frame, score = essays.frame, essays.frame["score"].dropna()
    _enough(frame["essay_id"], frame["text"], frame["score"].notna().to_numpy(), essays.source)
    counts = score.value_counts()
    if len(score) - counts.iloc[0] < FEWEST_OTHERS:
        raise CyborgError(f"{essays.source}: {counts.iloc[0]} of {len(score)} scores are {counts.index[0]:g}. {ALIKE}")
    return essays


def first_to_score(texts: Sequence[str], blank: np.ndarray, count: int, *, seed: int = 1) -> np.ndarray:
    """Places of `count` of the blank essays (all, where there are fewer), drawn at random over all lengths (`query_strategies`).

    Every essay is about as likely as any other: what is promised holds for essays like the scored ones, so essays that are
    picked because they look odd would spoil it.
    """
    if not len(blank) or count < 1:
        return blank[:0]
    lengths = [len(texts[at].split()) for at in blank]
    return blank[query_strategies.by_length(lengths, min(count, len(blank)), seed=seed)]


# ---------------------------------------------------------------- helpers


def _enough(ids: Sequence[str], texts: Sequence[str], scored: np.ndarray, shown: str) -> None:
    if (count := int(scored.sum())) < LEAST:
        ids, texts = list(ids), list(texts)
        blank = np.array([at for at in np.flatnonzero(~scored) if texts[at]], dtype=int)
        first = first_to_score(texts, blank, LEAST - count)
        names = files.listed(ids[at] for at in first) if len(first) else "none, since there are no others"
        raise CyborgError(
            f"{shown}: {count} of {len(ids)} essays are scored. At least {LEAST} are needed, and about 100 for useful promises. "
            f"Score these next, which were drawn at random over all lengths: {names}."
        )
