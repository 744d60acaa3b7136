"""Score new essays with a saved Student:

    cyborg score ESSAYS.csv --student build/ellipse/students/u10_s1/<Student> -o SCORES.csv

One row an essay: id, score (the nearest on the scale to value), value (real-valued, matched to people's mean and SD as in the
Student's study), low and high (an interval that holds a human score with the stated confidence), doubt (the chance that a human
score is more than one level from score, by the errors on the development essays: the larger, the sooner a person should look),
flags (how the essay differs from the training essays).

low and high lie around the least-squares value, the best guess for one essay. value is more extreme, since matched scores are
spread as people's are. So a very high or low score can lie outside of its own interval.
The file is read and written in parts, so it may be larger than memory; a stopped call resumes where it was.
"""

from __future__ import annotations

import itertools
import shutil
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cyborg_utils.core import atomic, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files
from cyborg_utils.extensions.scoring import advisory_flags, bundle, onnx
from cyborg_utils.models import student
from cyborg_utils.stats import conformal, selective
from cyborg_utils.study import artefacts

COLUMNS = ["id", "score", "value", "low", "high", "doubt", "flags"]
PART = 512  # essays read, scored and written at a time
SHOWN = 5  # faults that a message shows in full


@dataclass(frozen=True)
class Columns:
    """Names of the file's columns. `prompt`: the text of an essay's task, if it is not one of the Student's corpus."""

    id: str = "id"
    text: str = "text"
    prompt: str = ""
    delimiter: str = ""
    encoding: str = ""
    quoting: str = ""
    decimal: str = ""
    sheet: str = ""
    header: str = ""

    def layout(self, file: Path) -> files.Layout:
        """How a file is read; its notes are for the user."""
        return files.layout(file, **{name: getattr(self, name) for name in files.READING})


class Scorer:
    """A saved Student ready to score: with its calibration, the half-width of its intervals, and a description of its corpus."""

    def __init__(self, folder: Path, *, confidence: float = 0.90, form: str = "torch") -> None:
        """`form`: "torch", "float32" (ONNX) or "int8" (ONNX). Raises CyborgError where `folder` has no Student with a bundle."""
        self.release, self.confidence, self.form = bundle.read(folder), confidence, form
        self.student = student.load(folder)
        if form != "torch":
            self.student = onnx.attached(self.student, onnx.exported(self.student, folder, int8=form == "int8"))
        self.width = conformal.half_width(self.release.line.residuals, confidence)

    def score(self, ids: Sequence[str], texts: Sequence[str], prompts: Sequence[str] = ()) -> pd.DataFrame:
        """`COLUMNS` of these essays, in their order."""
        scale, corpus = self.student.scale, self.release.corpus
        rows, cut = self.student.encode(texts)
        raw, _ = self.student.read(rows)
        value, predicted = self.release.match.apply(raw), self.release.line.apply(raw)
        level, (low, high) = scale.nearest(value), conformal.interval(predicted, self.width, scale)
        doubt = selective.signals(predicted, level, self.release.line, scale, risk=selective.FAR_OFF)[selective.EXPECTED]
        shares = [lost / (lost + len(row)) for row, lost in zip(rows, cut, strict=True)]
        tasks = prompts or itertools.repeat("")
        measures = map(corpus.measure, texts, tasks)
        flags = [advisory_flags.as_text(corpus.flags(one, cut=share)) for one, share in zip(measures, shares, strict=True)]
        numbers = [column.round(4) for column in (value, low, high, doubt)]
        return pd.DataFrame(dict(zip(COLUMNS, [list(ids), scale.score(level), *numbers, flags], strict=True)))


def count(file: Path, columns: Columns) -> int:
    """Number of essays in a file; reads and checks all of it before any essay is scored.

    Raises CyborgError that names file, row and column of every kind of fault: a missing column, a missing or repeated id, a text
    that is not a text. An empty text is not a fault: it gets a score and a flag.
    """
    how = columns.layout(file)
    there = files.header(file, how)
    wanted = [name for name in (columns.id, columns.text, columns.prompt) if name]
    if absent := [name for name in wanted if name not in there]:
        hint = " Is the delimiter another? Give --delimiter." if len(there) == 1 else ""
        problem = f"no column {files.listed(absent)}; there are {files.listed(there)}"
        raise CyborgError(f"{paths.shown(file)}: {problem}. Give --id and --text.{hint}")
    ids, faulty = array("q"), False  # eight bytes an essay: ids themselves may be long
    for row in files.rows(file, how):
        name = files.text(row.cells.get(columns.id))
        ids.append(hash(name))
        faulty = faulty or bool(_fault(row, name, row.number, columns))
    if not ids:
        raise CyborgError(f"{paths.shown(file)}: no essays in it.")
    in_order = np.sort(np.frombuffer(ids, dtype=np.int64))
    twice = in_order[1:][in_order[1:] == in_order[:-1]]
    if faulty or len(twice):
        raise CyborgError(_faults(file, how, columns, set(twice.tolist())))
    return len(ids)


def _faults(file: Path, how: files.Layout, columns: Columns, twice: set[int]) -> str:
    """What is wrong with a file, the first `SHOWN` faults in full. `twice`: hashes of the ids that are in several rows."""
    seen: dict[int, int] = {}
    faults, wrong = [], 0
    for row in files.rows(file, how):
        name = files.text(row.cells.get(columns.id))
        before = seen.setdefault(hash(name), row.number) if hash(name) in twice else row.number
        if fault := _fault(row, name, before, columns):
            wrong += 1
            faults += [f"row {row.number}{fault}"] if len(faults) < SHOWN else []
    more = f"\n  and {wrong - len(faults)} more" if wrong > len(faults) else ""
    listed = "\n".join(f"  {fault}" for fault in faults)
    return f"{paths.shown(file)}: {wrong} fault(s); mend these cells or take the rows out:\n{listed}{more}"


def _fault(row: files.Row, name: str, before: int, columns: Columns) -> str:
    if row.fault:
        return f": {row.fault}"
    if not name:
        return f", column {columns.id}: no id"
    if reason := files.fault(row.cells.get(columns.id)):
        return f", column {columns.id}: {reason}; give --encoding, or save it as UTF-8 text"
    if before != row.number:
        return f", column {columns.id}: {files.printable(name[:40])} stands in row {before} already"
    for column in filter(None, (columns.text, columns.prompt)):
        cell = row.cells.get(column)
        if cell is not None and cell == cell and not isinstance(cell, str):  # NaN is not a text, but not a fault either
            return f", column {column}: not a text but {type(cell).__name__}"
        if files.fault(cell):
            return f", column {column}: unreadable bytes; give --encoding"
    return ""


def parts(file: Path, columns: Columns) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Ids, texts and prompts of a checked file, `PART` essays at a time."""
    rows = files.rows(file, columns.layout(file))
    while part := list(itertools.islice(rows, PART)):
        ids = [files.text(row.cells.get(columns.id)) for row in part]
        texts, prompts = ([files.text(row.cells.get(name)) for row in part] for name in (columns.text, columns.prompt))
        yield ids, texts, prompts if columns.prompt else []


def score_file(file: Path, out: Path, scorer: Scorer, columns: Columns) -> pd.Series:
    """Score a file into `out` (CSV, an atomic write); return how many essays have each flag, and "essays", "unlike".

    Finished parts wait in `<out>.parts`; they are reused while file, Student, columns and options are the same.
    """
    total, folder, state = count(file, columns), out.with_name(out.name + ".parts"), file.stat()
    settings = {"columns": vars(columns), "width": scorer.width, "form": scorer.form, "mark": scorer.release.mark}
    mark = provenance.fingerprint(settings, data=[str(file.resolve()), state.st_size, state.st_mtime_ns, PART])
    if not (folder / mark).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        artefacts.write(folder / mark, "")
    flagged: dict[str, int] = {"essays": total, "unlike": 0}
    with tqdm(total=total, desc="score", unit="essay", mininterval=1) as bar:
        for number, (ids, texts, prompts) in enumerate(parts(file, columns)):
            made = folder / f"{number:06d}.csv"
            if not made.is_file():
                artefacts.write(made, scorer.score(ids, texts, prompts).to_csv(index=False, header=False, lineterminator="\n"))
            bar.update(len(ids))
    with atomic.file(out) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write(",".join(COLUMNS) + "\n")
        for made in sorted(folder.glob("*.csv")):
            handle.write(made.read_text(encoding="utf-8"))
            cells = pd.read_csv(made, names=COLUMNS, usecols=["flags"], dtype=str, keep_default_na=False)["flags"]
            for names in cells.map(advisory_flags.names):
                flagged["unlike"] += any(name in advisory_flags.UNLIKE for name in names)
                flagged |= {name: flagged.get(name, 0) + 1 for name in names}
    shutil.rmtree(folder)
    return pd.Series(flagged)
