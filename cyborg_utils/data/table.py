"""Any table of essays -> checked rows with the common columns. Also the corpus `table`: a user's own file, declared in YAML.

prepare_data:
  corpus: table
  score: holistic                # name of the score column in the file
  options:
    file: my_essays.csv          # CSV, TSV, Excel, Parquet or JSON; or `files: [a.csv, b.csv]`
    id: essay
    text: full_text
    second_score: rater_2        # from here on all may be left out
    prompt: topic
    assignment: task_text
    split: part                  # values train, dev (or validation), test; used where `test: 0`
    groups: {gender: sex}        # our name: its column
    traits: {grammar: gram}
    missing: ["", "NA"]          # words that mean "unknown" in a group column (default: empty, NA, N/A, NaN, None, null)
    labels: {A: 4, B: 3}         # scores that are words
    markup: strip                # HTML is taken out of the texts (default: keep)
    unscored: keep               # essays without a score are the pool that a model scores (default: exclude them)
    encoding: latin-1            # these five are found out where they are left out, and notebook 01 says what was found
    delimiter: ";"
    quoting: none                # none: quotation marks are ordinary characters; csv: they enclose cells
    decimal: ","
    sheet: Essays                # of an Excel workbook
    rubric: my_rubric.txt        # what the Teacher is told about the scale
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import advice, files
from cyborg_utils.data.spool import Store

EXCLUSION_COLUMNS = ["file", "row", "column", "reason", "essay_id"]
SPLITS = {"train": "train", "training": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}
ROUNDED_ID = re.compile(r"\d(\.\d+)?E\+\d+")  # a spreadsheet's idea of a long number
MOST_EXCLUDED = 0.10
READING = ("encoding", "delimiter", "quoting", "decimal", "sheet")  # options that `files.layout` takes
LONGEST_SHOWN = 16  # characters; a longer value may be essay text in the wrong column
LONGEST_ID = 200  # characters; a longer one is a text in the wrong column
UNSCORED = "no score"  # reason of an exclusion
ROW = "-"  # the column of an exclusion that is not about one cell


@dataclass(frozen=True)
class Columns:
    """A file's columns by their role; `""` where it has none."""

    id: str
    text: str
    score: str
    second_score: str = ""
    prompt: str = ""
    assignment: str = ""
    split: str = ""
    groups: dict[str, str] = field(default_factory=dict)
    traits: dict[str, str] = field(default_factory=dict)
    repeats: bool = False  # an essay may stand in several rows (discourse layout): the first counts

    @property
    def used(self) -> list[str]:
        roles = [self.id, self.text, self.score, self.second_score, self.prompt, self.assignment, self.split]
        return [name for name in [*roles, *self.groups.values(), *self.traits.values()] if name]


@dataclass
class Raw:
    """A corpus as read. `rows_read == len(frame) + len(exclusions) + repeated` always holds.

    `frame`: essay_id, prompt, score (NaN only with `unscored: keep`), second_score, true_score, split ("" = none), file, row,
    groups.<name>, traits.<name>;
    `store`: text and assignment of the same rows. `notes`: sentences for the reader of notebook 01.
    """

    frame: pd.DataFrame
    store: Store
    exclusions: pd.DataFrame
    rows_read: int
    repeated: int = 0
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sources(settings: dict[str, Any]) -> list[Path]:
    """The files that are read."""
    return files.named(settings.get("options", {}))


def read(settings: dict[str, Any]) -> Raw:
    """A user's own file(s), declared in `options`; raises CyborgError for an unknown or missing key, column or file."""
    options = settings.get("options", {})
    known = (set(Columns.__dataclass_fields__) - {"score", "repeats"}) | {"file", "files", "rubric", *READING}
    known |= {"missing", "labels", "markup", "unscored"}
    unknown, missing = sorted(set(options) - known, key=str), sorted({"id", "text"} - set(options))
    if unknown or missing or ("file" in options) == ("files" in options):
        problem = f"unknown {files.listed(unknown)}" if unknown else f"missing {', '.join(missing) or 'file (or files)'}"
        raise CyborgError(
            f"prepare_data.options: {problem}. A table needs file, id, text; it may have {', '.join(sorted(known))}."
        )
    for key, value in options.items():
        kind = {"groups": dict, "traits": dict, "labels": dict, "files": list, "missing": list}.get(key, str)
        if not isinstance(value, kind):
            raise CyborgError(
                f"prepare_data.options.{key}: must be a {'mapping' if kind is dict else kind.__name__}, not {repr(value)[:60]}."
            )
        names = [*value, *value.values()] if key in ("groups", "traits") else [value] if key in ("id", "text") else []
        if not all(isinstance(name, str) and name for name in names):
            raise CyborgError(f"prepare_data.options.{key}: {repr(value)[:60]}: must give the name of a column, as text.")
    roles = {key: value for key, value in options.items() if key in Columns.__dataclass_fields__}
    roles |= {} if settings["test"] == 0 else {"split": ""}  # a declared split counts where the params keep it: `test: 0`
    return collect(sources(settings), Columns(**{"score": settings["score"], **roles}), settings)


def collect(sources: list[Path], columns: Columns, settings: dict[str, Any]) -> Raw:
    """Read and check every row of `sources`; each row is kept, excluded with a reason, or counted as a repetition.

    `settings["groups"]` picks among `columns.groups`; `settings["options"]` says how files are read (see the top of this file).
    Raises CyborgError for a missing column, an unreadable file, an unknown group, or more than 10 % of the rows excluded.
    """
    scale, wanted, options = Scale(*settings["scale"]), list(settings["groups"]), settings.get("options", {})
    unknown, labels = _words(options), _labels(options, scale)
    strip, blank = _wish(options, "markup", ("keep", "strip")), _wish(options, "unscored", ("exclude", "keep"))
    if absent := [name for name in wanted if name not in columns.groups]:
        raise CyborgError(
            f"prepare_data.groups: {files.listed(absent)} unknown; this corpus has {', '.join(columns.groups) or 'none'}."
        )
    columns = Columns(**{**columns.__dict__, "groups": {name: columns.groups[name] for name in wanted}})
    kept, excluded, first, notes = Store(normalised), [], {}, []
    emptied, unlike, words, scores = Counter(), Counter(), Counter(), Counter()
    marked = 0
    beside = [name for name in columns.used if name not in (columns.id, columns.text, columns.score)]
    rows_read = repeated = 0
    for source in sources:
        file = paths.shown(source)
        how = files.layout(source, **{key: options[key] for key in READING if key in options})
        notes += how.notes
        _require(files.header(source, how), columns.used, file)
        for row in files.rows(source, how):
            rows_read += 1
            essay_id = files.text(row.cells.get(columns.id))
            score = files.text(row.cells.get(columns.score))
            shown = len(score) <= LONGEST_SHOWN or advice.DATE.fullmatch(score)
            if shown and (score in scores or len(scores) < advice.DISTINCT):
                scores[score] += 1
            if score in labels:
                row.cells[columns.score] = labels[score]
            column, reason = _fault(row, columns, scale, blank=blank)
            if not reason:
                content = hash((row.cells[columns.text], str(row.cells[columns.score])))
                others = [hash(str(row.cells.get(name))) for name in beside] if columns.repeats else []
                where, before, stood = first.setdefault(essay_id, (f"{file}, row {row.number}", None, others))
                if before == content and columns.repeats:
                    repeated += 1
                    unlike.update(name for name, one, other in zip(beside, stood, others, strict=True) if one != other)
                    continue
                if before is not None:
                    column, reason = columns.id, f"id stands already in {where}"
                    reason += "" if before == content else ", with another text or score"
                    reason += "; a spreadsheet has rounded this id" if ROUNDED_ID.fullmatch(essay_id) else ""
            if reason:
                excluded.append((file, row.number, column, reason, files.printable(essay_id[:LONGEST_ID])))
                continue
            first[essay_id] = (where, content, others)
            if advice.marked_up(row.cells[columns.text]):
                marked += 1
                row.cells[columns.text] = advice.stripped(row.cells[columns.text]) if strip else row.cells[columns.text]
            record = _record(row.cells, essay_id, columns, scale, emptied, unknown)
            nobody = [column for name, column in columns.groups.items() if record[f"groups.{name}"] is None]
            words.update((column, files.text(row.cells.get(column))) for column in nobody)
            kept.append({**record, "file": file, "row": row.number})
    notes += [f"{count} further row(s) of an essay give another {name}; the first counts." for name, count in unlike.items()]
    notes += [f"{count} value(s) of {name} could not be used and are left empty." for name, count in sorted(emptied.items())]
    notes += files.unknown_groups(words, "leave its word out of prepare_data.options.missing, such as missing: []")
    if marked:
        told = "was taken out" if strip else "counts as text; set prepare_data.options.markup: strip to take it out"
        notes.append(f"{marked:,} essay(s) hold HTML (tags or entities), which {told}.")
    frame = kept.frame()
    notes += advice.ids(list(frame.get("essay_id", [])))
    for name, column in columns.groups.items():
        notes += advice.look_alikes(column, frame[f"groups.{name}"].dropna().unique()) if len(frame) else []
    if rounded := [name for name in frame.get("essay_id", []) if ROUNDED_ID.fullmatch(name)]:
        notes.append(f"{len(rounded)} id(s) were rounded by a spreadsheet (such as {rounded[0]}); unique still, kept as text.")
    exclusions = pd.DataFrame(excluded, columns=EXCLUSION_COLUMNS)
    _limit(exclusions, rows_read, scores, scale)
    if not kept:
        raise CyborgError(f"{', '.join(map(paths.shown, sources))}: no essays in it. Check that it was saved whole.")
    return Raw(frame, kept, exclusions, rows_read, repeated, list(sources), notes)


def normalised(text: str) -> str:
    """Text without case, punctuation and spacing: essays that are equal after this are duplicates."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", text)) or text.strip()


def _words(options: dict[str, Any]) -> set[str]:
    """The words that mean "unknown" in a group column, in lower case."""
    words = options.get("missing", list(files.MISSING))
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise CyborgError(f"prepare_data.options.missing: {repr(words)[:60]}: must be a list of words, such as [] or ['', 'NA'].")
    return {word.strip().lower() for word in words}


def _labels(options: dict[str, Any], scale: Scale) -> dict[str, float]:
    """Scores by the words that stand for them."""
    labels = options.get("labels", {})
    if wrong := [word for word, score in labels.items() if not scale.contains(files.number(score))]:
        raise CyborgError(f"prepare_data.options.labels: {files.listed(wrong)}: must give a score on the scale {scale}.")
    return {files.text(word): float(score) for word, score in labels.items()}


def _wish(options: dict[str, Any], name: str, words: tuple[str, str]) -> bool:
    """Whether an option says the second of these words, and not the first, which is its default."""
    if (wish := options.get(name, words[0])) not in words:
        raise CyborgError(f"prepare_data.options.{name}: {repr(wish)[:60]}: must be {' or '.join(words)}.")
    return wish == words[1]


def _require(present: list[str], used: list[str], file: str) -> None:
    if missing := [name for name in used if name not in present]:
        hint = " Is the delimiter another? Set options.delimiter." if len(present) == 1 else ""
        raise CyborgError(f"{file}, row 1: no column {files.listed(missing)}. It has: {files.listed(present)}.{hint}")


def _fault(row: files.Row, columns: Columns, scale: Scale, *, blank: bool = False) -> tuple[str, str]:
    """(column, reason) that excludes a row; column `ROW` if no single cell is at fault; two empty strings for a good row.

    `blank`: whether a row may lack its score.
    """
    if row.fault:
        return ROW, row.fault
    text, score = row.cells.get(columns.text), row.cells.get(columns.score)
    if not (own := files.text(row.cells.get(columns.id))):
        return columns.id, "no id"
    if len(own) > LONGEST_ID:
        return columns.id, f"an id of {len(own)} characters, more than {LONGEST_ID}"
    if text is not None and not isinstance(text, str):
        return columns.text, f"not a text but {type(text).__name__}"
    if not (text or "").strip():
        return columns.text, "empty text"
    for name in columns.used:
        value = row.cells.get(name)
        if reason := "NUL bytes" if isinstance(value, str) and "\0" in value else files.fault(value):
            return name, reason
    if files.missing(score):
        if not blank:
            return columns.score, UNSCORED
    elif math.isnan(number := files.number(score)):
        return columns.score, f"score {_brief(score)} is not a number"
    elif not scale.contains(number):
        return columns.score, f"score {_brief(score)} is off the scale {scale}"
    if columns.split and files.text(row.cells.get(columns.split)).lower() not in SPLITS:
        return columns.split, f"split {_brief(row.cells.get(columns.split))} is none of {', '.join(SPLITS)}"
    return "", ""


def _record(cells: dict[str, Any], essay_id: str, columns: Columns, scale: Scale, emptied: Counter, unknown: set[str]) -> dict:
    """The common columns of a good row; an optional score that cannot be used is left empty and counted."""

    def optional(name: str) -> float:
        value = files.number(cells.get(name))
        if scale.contains(value):
            return value
        emptied[name] += not files.missing(cells.get(name))
        return math.nan

    return {
        "essay_id": essay_id,
        "text": files.text(cells[columns.text]),
        "prompt": files.text(cells.get(columns.prompt)),
        "assignment": files.text(cells.get(columns.assignment)),
        "score": files.number(cells[columns.score]),
        "second_score": optional(columns.second_score) if columns.second_score else math.nan,
        "true_score": math.nan,
        "split": SPLITS[files.text(cells[columns.split]).lower()] if columns.split else "",
        **{f"groups.{name}": files.group(cells.get(column), unknown) for name, column in columns.groups.items()},
        **{f"traits.{name}": optional(column) for name, column in columns.traits.items()},
    }


def _limit(exclusions: pd.DataFrame, rows_read: int, scores: Counter[str], scale: Scale) -> None:
    if len(exclusions) > MOST_EXCLUDED * rows_read:
        head = "; ".join(f"{e.file}, row {e.row}, column {e.column}: {e.reason}" for e in exclusions.head(3).itertuples())
        unscored = int((exclusions["reason"] == UNSCORED).sum())
        told = f" {unscored} rows have no score: a study needs them all scored; `cyborg label` scores these from the others."
        raise CyborgError(
            f"{len(exclusions)} of {rows_read} rows cannot be used, more than {MOST_EXCLUDED:.0%}. {head}; ... "
            f"Check the declared columns, the scale and the file.{advice.scores(scores, scale)}"
            f"{told if 2 * unscored > len(exclusions) else ''}"
        )


def _brief(value: Any) -> str:
    """A wrong value for a message; long values are not shown, since they may be essay text in the wrong column."""
    return repr(value) if len(str(value)) <= LONGEST_SHOWN else f"({len(str(value))} characters)"
