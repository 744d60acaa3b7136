"""A person's table, some of its essays scored by hand and the rest blank -> essays with scores, or NaN where there is none.

The project's one reader reads it (`data.table`, with `unscored: any`). What a person has not named is found here: the columns by
their names and contents, the scale from the scores. `Essays.notes` says what was found.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import advice, corpora, files, human_scores, table
from cyborg_utils.extensions import query_strategies

LEAST = 10  # scored essays
FEWEST_OTHERS = 2  # scored essays with another score than the most frequent one: leaving one out must leave two scores
NAMES = {  # of columns, without case and signs, the likeliest first
    "text": ("text", "essay", "fulltext", "essaytext", "response", "answer"),
    "score": ("score", "mark", "marks", "grade", "holisticscore", "overall", "rating", "points", "totalscore"),
    "id": ("id", "essayid", "textid", "responseid", "studentid", "name", "studentname", "fullname", "student", "writer"),
    "prompt": ("prompt", "promptname", "task", "topic", "assignment"),
}
LETTERS = 80  # of a text on average, below which a column is not taken for essays
ALIKE = (
    f"Nothing can be learned from scores that are alike. Score more essays, until at least {FEWEST_OTHERS} have another score."
)
READ = {"corpus": "table", "dev": 1, "test": 1, "split_seed": 1}  # the reader splits the scored ones, which is of no account here
GROUPS = 6  # different words up to which a column may name groups of writers, two of them with `LEAST` essays each
FAR = 4  # a single score, this many times the range of all others away from them, is a slip


@dataclass(frozen=True)
class Columns:
    """A table's columns by their role. "": found out; where no column tells essays apart, they are named after their row."""

    id: str = ""
    writer: str = ""  # of several essays, where it stands for `id`
    text: str = ""
    score: str = ""
    prompt: str = ""
    groups: Sequence[str] = ()


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
    columns: Columns = Columns()

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
    columns: Columns = Columns(),
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
    found = _found(columns, there, rows, shown)
    texts = [files.text(row.cells.get(found.text)) for row in rows]
    named = found.id or found.writer
    ids = [files.text(row.cells.get(named)) if named else f"row {row.number}" for row in rows]
    scored = np.array([not files.missing(row.cells.get(found.score)) for row in rows])
    _enough(ids, texts, scored, shown)
    limits, told = list(scale), ""
    if not limits:
        labels, cells = options.get("labels", {}), [row.cells.get(found.score) for row in rows]
        numbers = [labels.get(files.text(cell), human_scores.plain(cell)) for cell in cells]
        limits, told = _scale(numbers, [row.number for row in rows], found.score, shown)
    groups = {name: name for name in found.groups}
    wishes = {"text": found.text, "groups": groups, "unscored": "any", "file": str(file.resolve()), **reading}
    wishes |= {"writer": found.writer} if found.writer and not found.id else {"id": found.id}
    wishes |= {"prompt": found.prompt, "assignment": found.prompt} if found.prompt else {}
    settings = READ | {"score": found.score, "scale": limits, "groups": [*groups], "write": advice.COMMAND}
    made = of(corpora.build(settings | {"options": wishes | options}), Scale(*limits), shown)
    notes = [*_columns_told(columns, found), *filter(None, [told]), *made.notes]
    notes += [] if found.groups else _groups_told(found, there, rows)
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


def _found(columns: Columns, there: Sequence[str], rows: Sequence[files.Row], shown: str) -> Columns:
    """All columns by name. Raises CyborgError for one that is not there, and for a role that cannot be told."""
    given = [*filter(None, (getattr(columns, role) for role in (*NAMES, "writer"))), *columns.groups]
    if absent := [name for name in given if name not in there]:
        hint = " Is the delimiter another? Give --delimiter." if len(there) == 1 else ""
        raise CyborgError(f"{shown}: no column {files.listed(absent)}; there are {files.listed(there)}.{hint}")
    plain: dict[str, str] = {}
    for name in there:
        plain.setdefault(re.sub(r"[\W_]", "", str(name).casefold()), name)
    roles, taken = {}, set(given)
    for role, names in NAMES.items():
        likely = next((plain[name] for name in names if name in plain and plain[name] not in taken), "")
        roles[role] = getattr(columns, role) or likely
        taken.add(roles[role])
    cells = {name: [files.text(row.cells.get(name)) for row in rows] for name in there}
    some = [name for name in there if name not in taken]
    lengths = {name: np.mean([len(cell) for cell in cells[name]]) for name in some}
    if not roles["text"] and lengths and max(lengths.values()) >= LETTERS:
        roles["text"] = max(lengths, key=lengths.get)
    if missing := [role for role in ("text", "score") if not roles[role]]:
        ask = " and ".join(f"--{role}" for role in missing)
        raise CyborgError(f"{shown}: no column was found for {', '.join(missing)}. Give {ask}; there are {files.listed(there)}.")

    def one_each(name: str) -> bool:  # whether no two texts share a cell; a row that stands twice is no second text
        return len(set(zip(cells[name], cells[roles["text"]], strict=True))) == len(set(cells[name]))

    likely = [name for name in some if name != roles["text"] and lengths[name] < LETTERS and all(cells[name]) and one_each(name)]
    roles["id"] = roles["id"] or ("" if columns.writer else next(iter(likely), ""))
    writer = columns.writer
    if roles["id"] and not writer and not one_each(roles["id"]):
        roles["id"], writer = "", roles["id"]
    return Columns(**roles, writer=writer, groups=tuple(columns.groups))


def _columns_told(given: Columns, found: Columns) -> list[str]:
    roles = [role for role in (*NAMES, "writer") if getattr(found, role) and not getattr(given, role)]
    guessed, ask = [f"{role} {getattr(found, role)!r}" for role in roles], ", ".join(f"--{role}" for role in roles)
    notes = [f"Columns found: {', '.join(guessed)}. Name others with {ask}."] if guessed else []
    if found.writer and not found.id:
        notes.append(f"{found.writer!r} stands for several essays: they are called by it and a number.")
    if not found.id and not found.writer:
        notes.append("No column tells the essays apart: they are called by their row. Name one with --id.")
    return notes


def _groups_told(found: Columns, there: Sequence[str], rows: Sequence[files.Row]) -> list[str]:
    """Columns that may name groups of writers, which the page compares only where they are named."""
    taken, like = {getattr(found, role) for role in (*NAMES, "writer")}, {}
    for name in (name for name in there if name not in taken):
        counts = Counter(files.text(row.cells.get(name)) for row in rows)
        counts.pop("", None)
        words = sorted(word for word, count in counts.items() if count >= LEAST)
        if len(counts) <= GROUPS and len(words) > 1 and max(map(len, counts)) < LETTERS:
            like[name] = files.listed(words, most=3)
    if not like:
        return []
    each = " and ".join(f"{name!r} ({words})" for name, words in like.items())
    ask = " ".join(map(shlex.quote, like))
    return [f"{each} may name groups of writers. To compare them, add --groups {ask}."]


def _scale(scores: Sequence[float], numbers: Sequence[int], column: str, shown: str) -> tuple[list[float], str]:
    """The scale of the scores (NaN where there is none), and the sentence that says so. `numbers`: of their rows."""
    values = np.unique([score for score in scores if score == score])
    for slip, rest in ((values[:1], values[1:]), (values[-1:], values[:-1])):
        if len(rest) > 1 and np.abs(rest - slip).min() > FAR * np.ptp(rest) and scores.count(slip[0]) == 1:
            row = next(number for number, score in zip(numbers, scores, strict=True) if score == slip)
            low, high = f"{rest[0]:g}", f"{rest[-1]:g}"
            raise CyborgError(
                f"{shown}, row {row}, column {column}: {slip[0]:g}, and all other scores lie between {low} and {high}. Mend it, "
                f"or give the scale, such as --scale {low} {high} 1."
            )
    if len(values) == 1:
        raise CyborgError(f"{shown}: all scores are {values[0]:g}. {ALIKE}")
    try:
        if not len(values):
            raise CyborgError("none of the scores is a number")
        step = 1.0 if np.all(values % 1 == 0) else float(np.diff(values).min())
        limits = [float(values[0]), float(values[-1]), step]
        Scale(*limits).level(values)
    except CyborgError as error:
        raise CyborgError(
            f"{shown}, column {column}: the scale cannot be told: {error}. Give it, such as --scale 1 6 1."
        ) from error
    low, high = (f"{end:g}" for end in limits[:2])
    return limits, (
        f"Scale {Scale(*limits)}, since the scores go from {low} to {high}. No other score will be given: where the scale goes "
        f"further, say how far, such as --scale 1 6 1."
    )
