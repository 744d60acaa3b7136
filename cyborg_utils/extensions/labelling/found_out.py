"""What a person has not said of a table with essays, found out from it: columns by their names and contents, the scale from the
scores. Each finding has a sentence that says so, and the option that says otherwise.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import advice, files, human_scores
from cyborg_utils.stats import metrics

LEAST = 10  # scored essays
FEWEST_OTHERS = 2  # scored essays with another score than the most frequent one: leaving one out must leave two scores
NAMES = {  # of columns, without case and signs, the likeliest first
    "text": ("text", "essay", "fulltext", "essaytext", "response", "answer"),
    "score": ("score", "mark", "marks", "grade", "holisticscore", "overall", "rating", "points", "totalscore"),
    "id": ("id", "essayid", "textid", "responseid", "studentid", "name", "studentname", "fullname", "student", "writer"),
    "prompt": ("prompt", "promptname", "task", "topic", "assignment"),
}
WRITERS = ("writer", "writerid", "author", "authorid", "student", "studentid", "studentname", "learner", "learnerid")
LETTERS = 80  # of a text on average, below which a column is not taken for essays
ALIKE = (
    f"Nothing can be learned from scores that are alike. Score more essays, until at least {FEWEST_OTHERS} have another score."
)
GROUPS = 6  # different words up to which a column may name groups of writers, two of them with `LEAST` essays each
LIKE = 0.5  # correlation with the scores from which another column of scores is taken for a second person's
FAR = 4  # a single score, this many times the range of all others away from them, is a slip


@dataclass(frozen=True)
class Columns:
    """A table's columns by their role. "": found out; where no column tells essays apart, they are named after their row."""

    id: str = ""
    writer: str = ""  # of several essays, which stay together; they are named after it where there is no `id`
    text: str = ""
    score: str = ""
    prompt: str = ""
    groups: Sequence[str] = ()


ALL_FOUND = Columns()


def columns(given: Columns, there: Sequence[str], rows: Sequence[files.Row], shown: str) -> Columns:
    """All columns by name. Raises CyborgError for one that is not there, and for a role that cannot be told."""
    named = [*filter(None, (getattr(given, role) for role in (*NAMES, "writer"))), *given.groups]
    if absent := [name for name in named if name not in there]:
        hint = " Is the delimiter another? Give --delimiter." if len(there) == 1 else ""
        raise CyborgError(f"{shown}: no column {files.listed(absent)}; there are {files.listed(there)}.{hint}")
    plain: dict[str, str] = {}
    for name in there:
        plain.setdefault(re.sub(r"[\W_]", "", str(name).casefold()), name)
    roles, taken = {}, set(named)
    for role, names in NAMES.items():
        likely = next((plain[name] for name in names if name in plain and plain[name] not in taken), "")
        roles[role] = getattr(given, role) or likely
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
    roles["id"] = roles["id"] or ("" if given.writer else next(iter(likely), ""))
    writer = given.writer
    if roles["id"] and not writer and not one_each(roles["id"]):
        roles["id"], writer = "", roles["id"]
    writers = [plain[name] for name in WRITERS if name in plain and plain[name] not in taken]
    writer = writer or next((name for name in writers if all(cells[name]) and not one_each(name)), "")
    return Columns(**roles, writer=writer, groups=tuple(given.groups))


def columns_told(given: Columns, found: Columns) -> list[str]:
    roles = [role for role in (*NAMES, "writer") if getattr(found, role) and not getattr(given, role)]
    guessed, ask = [f"{role} {getattr(found, role)!r}" for role in roles], ", ".join(f"--{role}" for role in roles)
    notes = [f"Columns found: {', '.join(guessed)}. Name others with {ask}."] if guessed else []
    if found.writer and not found.id:
        notes.append(f"{found.writer!r} stands for several essays: they are called by it and a number.")
    if not found.id and not found.writer:
        notes.append("No column tells the essays apart: they are called by their row. Name one with --id.")
    return notes


def others_told(found: Columns, there: Sequence[str], rows: Sequence[files.Row], scale: Scale) -> list[str]:
    """Columns that may hold a second person's scores, or name groups of writers; these are compared only where they are named."""
    taken, like, second = {getattr(found, role) for role in (*NAMES, "writer")} | {*found.groups}, {}, []
    own = np.array([human_scores.plain(row.cells.get(found.score)) for row in rows])
    for name in (name for name in there if name not in taken):
        counts = Counter(files.text(row.cells.get(name)) for row in rows)
        counts.pop("", None)
        words = sorted(word for word, count in counts.items() if count >= LEAST)
        if _like_scores(name, rows, own, scale):
            second.append(name)
        elif len(counts) <= GROUPS and len(words) > 1 and max(map(len, counts)) < LETTERS:
            like[name] = files.listed(words, most=3)
    notes = []
    if second:
        told = f"{files.listed(second)} may be another person's scores, which are not used."
        write = f"raters: [{', '.join([found.score, *second])}]"
        notes.append(f"{told} A study takes the mean of several people: `{write}` in params/mine.yaml.")
    if like and not found.groups:
        each = " and ".join(f"{name!r} ({words})" for name, words in like.items())
        ask = " ".join(map(shlex.quote, like))
        notes.append(f"{each} may name groups of writers. To compare them, add --groups {ask}.")
    return notes


def _like_scores(name: str, rows: Sequence[files.Row], own: np.ndarray, scale: Scale) -> bool:
    """Whether a column holds scores and nothing else, and they go with the `own` ones, (n,) with NaN where there is none."""
    other = np.array([human_scores.plain(row.cells.get(name)) for row in rows])
    filled, both = [not files.missing(row.cells.get(name)) for row in rows], scale.contains(other) & scale.contains(own)
    only = scale.contains(other)[filled].all()
    return bool(only and both.sum() >= LEAST and metrics.pearson_r(own[both], other[both]) >= LIKE)


def scale_of(rows: Sequence[files.Row], found: Columns, labels: Mapping[str, float], shown: str) -> tuple[list[float], str]:
    """The scale of the scores, and the sentence that says so. Raises CyborgError where it cannot be told from them."""
    cells = [files.text(row.cells.get(found.score)) for row in rows]
    scores = [labels.get(cell, human_scores.plain(cell)) for cell in cells]
    column, values = found.score, np.unique([score for score in scores if score == score])
    if not len(values):
        hint = advice.scores(Counter(cells), Scale(1, 6), advice.COMMAND)
        raise CyborgError(f"{shown}, column {column}: none of the scores is a number.{hint}")
    for slip, rest in ((values[:1], values[1:]), (values[-1:], values[:-1])):
        if len(rest) > 1 and np.abs(rest - slip).min() > FAR * np.ptp(rest) and scores.count(slip[0]) == 1:
            row = rows[scores.index(slip[0])].number
            low, high = f"{rest[0]:g}", f"{rest[-1]:g}"
            raise CyborgError(
                f"{shown}, row {row}, column {column}: {slip[0]:g}, and all other scores lie between {low} and {high}. Mend it, "
                f"or give the scale, such as --scale {low} {high} 1."
            )
    if len(values) == 1:
        raise CyborgError(f"{shown}: all scores are {values[0]:g}. {ALIKE}")
    _one_scale(rows, scores, found, shown)
    try:
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


def _one_scale(rows: Sequence[files.Row], scores: Sequence[float], found: Columns, shown: str) -> None:
    """Raises CyborgError where the scores of prompts with enough of them lie on scales that cannot be one."""
    prompts = [files.text(row.cells.get(found.prompt)) for row in rows]  # all alike where no column holds them
    given = pd.DataFrame({"prompt": prompts, "score": scores}).dropna()
    ends = given.groupby("prompt")["score"].agg(["size", "min", "max"]).query("size >= @LEAST")
    if advice.unlike(ends["max"]):
        each = "; ".join(f"{prompt[:40]}: {one['min']:g} to {one['max']:g}" for prompt, one in ends.head(GROUPS).iterrows())
        raise CyborgError(
            f"{shown}: the prompts seem to have scales of their own ({each}): {advice.COMMAND.scales({})}. If they are one "
            "scale, give it, such as --scale 1 6 1."
        )
