"""Any table of essays -> checked rows with the common columns: each row is kept, excluded with a reason, or a repetition."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import advice, encodings, files, human_scores, row_faults
from cyborg_utils.data.columns import Columns
from cyborg_utils.data.human_scores import CODED, LONGEST_SHOWN, UNSCORED, brief
from cyborg_utils.data.spool import Store

EXCLUSION_COLUMNS = ["file", "row", "column", "reason", "essay_id"]
SPLITS = {"train": "train", "training": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}
MOST_EXCLUDED = 0.10
SHOWN = 5  # rows that a sentence lists


@dataclass
class Raw:
    """A corpus as read. `rows_read == len(frame) + len(exclusions) + repeated` always holds.

    `frame`: essay_id, prompt, score (NaN only with `unscored: keep`), second_score, true_score, split ("" = none), file, row,
    groups.<name>, traits.<name>; first_score where several people's scores are combined; writer where a column names it;
    `store`: text and assignment of the same rows. `notes`: sentences for the reader of notebook 01.
    """

    frame: pd.DataFrame
    store: Store
    exclusions: pd.DataFrame
    rows_read: int
    repeated: int = 0
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect(sources: list[Path], columns: Columns, settings: dict[str, Any]) -> Raw:
    """Read and check every row of `sources`; each row is kept, excluded with a reason, or counted as a repetition.

    `settings["groups"]` picks among `columns.groups`; `settings["options"]` says how files are read (see `own_table`).
    Raises CyborgError for a missing column, an unreadable file, an unknown group, or more than 10 % of the rows excluded.
    """
    wanted = list(settings["groups"])
    if absent := [name for name in wanted if name not in columns.groups]:
        raise CyborgError(
            f"prepare_data.groups: {files.listed(absent)} unknown; this corpus has {', '.join(columns.groups) or 'none'}."
        )
    collection = _Collection(replace(columns, groups={name: columns.groups[name] for name in wanted}), settings)
    for source in sources:
        collection.add(source)
    return collection.finished(sources)


def normalised(text: str) -> str:
    """Text without case, punctuation and spacing: essays that are equal after this are duplicates."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", text)) or text.strip()


class _Collection:
    """The rows of one corpus, as they are read."""

    def __init__(self, columns: Columns, settings: Mapping[str, Any]) -> None:
        options = settings.get("options", {})
        self.columns, self.options, self.scale = columns, options, Scale(*settings["scale"])
        self.reader, self.unknown = human_scores.reader(options, self.scale), _words(options)
        self.combine = _wish(options, "combine", human_scores.COMBINE)
        self.strip = _wish(options, "markup", ("keep", "strip")) == "strip"
        self.blank = _wish(options, "unscored", ("exclude", "keep", "any")) != "exclude"
        self.lenient = options.get("unscored") == "any"
        self.lines = settings.get("write", advice.STUDY)  # how an advice tells the caller what to write
        self.kept, self.excluded, self.notes = Store(normalised), [], self.reader.notes
        self.unusable: list[tuple] = []  # scores in whose place a machine's score may stand: as `excluded`
        self.first: dict[str, tuple] = {}  # of an essay: where it stands, what it holds, what stands beside
        self.ratings: defaultdict[str, list[float]] = defaultdict(list)  # with one row a rating
        self.resolved: dict[str, float] = {}
        self.ends: dict[str, tuple[float, float]] = {}  # lowest and highest score of each prompt
        self.emptied, self.unlike, self.words, self.scores, self.of_writer = (Counter() for _ in range(5))
        self.rows_read = self.repeated = self.marked = self.spaced = self.mended = self.lost = 0
        self.beside = [name for name in columns.used if name not in (columns.id, columns.text, *columns.scores)]

    def add(self, source: Path) -> None:
        """Read one file."""
        file = paths.shown(source)
        how = files.layout(source, **{key: self.options[key] for key in files.READING if key in self.options})
        self.notes += how.notes
        sheet = f"sheet {files.listed([how.sheet])}, " if how.sheet else ""
        row_faults.require(files.header(source, how), self.columns.used, f"{file}, {sheet}row {how.head.row}")
        chosen, value = self.columns.only
        for row in files.rows(source, how):
            if chosen and files.text(row.cells.get(chosen)) != value:
                continue
            self.rows_read += 1
            essay_id = self._id(row)
            column, reason = self._add(row, essay_id, file)
            if reason:
                self.excluded.append((file, row.number, column, reason, files.printable(essay_id[: row_faults.LONGEST_ID])))

    def finished(self, sources: list[Path]) -> Raw:
        """The corpus. Raises CyborgError where it has no essays, or too many rows are excluded."""
        columns, notes = self.columns, self.notes
        notes += [f"{n} further row(s) of an essay give another {name}; the first counts." for name, n in self.unlike.items()]
        notes += [f"{n} value(s) of {name} could not be used and are left empty." for name, n in sorted(self.emptied.items())]
        notes += files.unknown_groups(self.words, self.lines.none_is_value)
        if self.marked:
            told = "was taken out" if self.strip else f"counts as text; {self.lines.strip} to take it out"
            notes.append(f"{self.marked:,} essay(s) hold HTML (tags or entities), which {told}.")
        if self.spaced or self.mended:
            told = f"{self.spaced:,} essay(s) held no-break spaces, which are plain ones now; in {self.mended:,}"
            notes.append(f"{told} characters were mended that a conversion between encodings had garbled.")
        frame = self.kept.frame()
        if self.lost:
            notes.append(f"{self.lost:,} essay(s) hold the sign U+FFFD, where an earlier conversion lost a character.")
        if columns.rater and len(frame):
            frame = self._rated(frame)
        notes += advice.ids(list(frame.get("essay_id", [])))
        for name, column in columns.groups.items():
            notes += advice.look_alikes(column, frame[f"groups.{name}"].dropna().unique()) if len(frame) else []
        if rounded := [name for name in frame.get("essay_id", []) if row_faults.ROUNDED_ID.fullmatch(name)]:
            told = f"{len(rounded)} id(s) were rounded by a spreadsheet (such as {rounded[0]}); unique still, kept as text."
            notes.append(told)
        exclusions = pd.DataFrame(self.excluded, columns=EXCLUSION_COLUMNS)
        notes += self._limit(exclusions)
        if not self.kept:
            raise CyborgError(f"{', '.join(map(paths.shown, sources))}: no essays in it. Check that it was saved whole.")
        return Raw(frame, self.kept, exclusions, self.rows_read, self.repeated, list(sources), notes)

    def _id(self, row: files.Row) -> str:
        cells = row.cells
        if self.columns.id:
            return files.text(cells.get(self.columns.id))
        if not self.columns.writer:
            return f"row {row.number}"
        writer = files.text(cells.get(self.columns.writer))
        self.of_writer[writer] += 1
        return f"{writer}-{self.of_writer[writer]}" if writer else ""

    def _add(self, row: files.Row, essay_id: str, file: str) -> tuple[str, str]:
        """Keep a row; or (column, reason) why it is excluded."""
        cells, columns = row.cells, self.columns
        self._remember(cells)
        column, reason = row_faults.fault(row, essay_id, columns)
        if reason:
            return column, reason
        prompt = files.text(cells.get(columns.prompt))
        score, column, reason = self._score(cells, prompt)
        if reason and self.lenient and not reason.startswith(CODED):
            self.unusable.append((file, row.number, column, reason, essay_id))
            score, reason = {"score": math.nan, "resolved": math.nan}, ""
        if reason:
            return column, reason
        if columns.split and files.text(cells.get(columns.split)).lower() not in SPLITS:
            return columns.split, f"split {brief(cells.get(columns.split))} is none of {', '.join(SPLITS)}"
        given = "" if columns.rater else [str(cells.get(name)) for name in columns.scores]
        content = hash((cells[columns.text], *given))
        others = [hash(str(cells.get(name))) for name in self.beside] if columns.repeats else []
        where, before, stood = self.first.setdefault(essay_id, (f"{file}, row {row.number}", None, others))
        again = before == content and (columns.repeats or columns.rater)
        if before is not None and not again:
            return columns.id or columns.writer, row_faults.repeated(essay_id, where, same=before == content)
        if columns.rater:
            self.ratings[essay_id] += [score["score"]]
            self.resolved[essay_id] = human_scores.combined([self.resolved.get(essay_id, math.nan)], "first", score["resolved"])
        if again:
            self.repeated += 1
            pairs = zip(self.beside, stood, others, strict=True) if columns.repeats else ()
            self.unlike.update(name for name, one, other in pairs if one != other)
            return "", ""
        self.first[essay_id] = (where, content, others)
        if advice.marked_up(cells[columns.text]):
            self.marked += 1
            cells[columns.text] = advice.stripped(cells[columns.text]) if self.strip else cells[columns.text]
        self.lost += "\ufffd" in cells[columns.text]
        if columns.mend:
            found = cells[columns.text]
            cells[columns.text] = encodings.mended(found)
            self.spaced += encodings.NO_BREAK in found
            self.mended += cells[columns.text] != found.replace(encodings.NO_BREAK, " ")
        record = self._record(cells, essay_id, prompt, score)
        nobody = [column for name, column in columns.groups.items() if record[f"groups.{name}"] is None]
        self.words.update((column, files.text(cells.get(column))) for column in nobody)
        self.kept.append({**record, "file": file, "row": row.number})
        return "", ""

    def _remember(self, cells: Mapping[str, Any]) -> None:
        """Count a row's scores as they stand, for an advice."""
        for name in self.columns.scores:
            score = files.text(cells.get(name))
            shown = len(score) <= LONGEST_SHOWN or advice.DATE.fullmatch(score)
            declared = score in self.reader.labels or score in self.reader.codes
            if shown and not declared and (score in self.scores or len(self.scores) < advice.DISTINCT):
                self.scores[score] += 1
            number, prompt = files.number(score), files.text(cells.get(self.columns.prompt))[:LONGEST_SHOWN]
            if number == number and prompt and (prompt in self.ends or len(self.ends) < advice.FEW):
                low, high = self.ends.get(prompt, (number, number))
                self.ends[prompt] = (min(low, number), max(high, number))

    def _score(self, cells: Mapping[str, Any], prompt: str) -> tuple[dict[str, float], str, str]:
        """Scores of a row: score, resolved (the adjudicated one), and with several raters first_score and second_score.

        Also (column, reason) why it has none: empty strings for a good row, which may lack its score with `unscored: keep`.
        """
        columns, read = self.columns, {}
        for name in (*columns.scores, *filter(None, [columns.adjudication])):
            read[name], reason = self.reader.read(cells.get(name), prompt)
            if reason not in ("", UNSCORED):
                return {}, name, reason
        resolved = read[columns.adjudication] if columns.adjudication else math.nan
        ratings = [read[name] for name in columns.scores]
        score = human_scores.combined(ratings, self.combine, math.nan if columns.rater else resolved)
        found = {"score": score, "resolved": resolved}
        if columns.raters:
            found |= dict(zip(("first_score", "second_score"), human_scores.first_two(ratings), strict=True))
        if math.isnan(score):
            return found, columns.scores[0], "" if self.blank or columns.rater and not math.isnan(resolved) else UNSCORED
        if not self.scale.contains(score):
            self.scores[f"{score:g}"] += 1
            given = " and ".join(f"{one:g}" for one in ratings if one == one)
            return {}, columns.scores[0], f"the mean {score:g} of {given} is off the scale {self.scale}"
        return found, "", ""

    def _record(self, cells: Mapping[str, Any], essay_id: str, prompt: str, score: Mapping[str, float]) -> dict[str, Any]:
        """The common columns of a good row; an optional score that cannot be used is left empty and counted."""
        columns = self.columns

        def optional(name: str) -> float:
            value, reason = self.reader.read(cells.get(name), prompt)
            if reason not in ("", UNSCORED):
                self.emptied[name] += 1
            return value

        people = {"second_score": optional(columns.second_score) if columns.second_score else math.nan}
        if columns.raters or columns.rater:
            people = {name: score.get(name, math.nan) for name in ("first_score", "second_score")}
        return {
            "essay_id": essay_id,
            "text": files.text(cells[columns.text]),
            "prompt": prompt,
            "assignment": files.text(cells.get(columns.assignment)),
            "score": score["score"],
            **people,
            "true_score": math.nan,
            **({"writer": files.text(cells.get(columns.writer))} if columns.writer else {}),
            "split": SPLITS[files.text(cells[columns.split]).lower()] if columns.split else "",
            **{f"groups.{name}": files.group(cells.get(column), self.unknown) for name, column in columns.groups.items()},
            **{f"traits.{name}": optional(column) for name, column in columns.traits.items()},
        }

    def _rated(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The essays with the scores of all their rows. Raises CyborgError where a mean is off the scale."""
        ratings = [self.ratings[name] for name in frame["essay_id"]]
        resolved = [self.resolved[name] for name in frame["essay_id"]]
        score = [human_scores.combined(own, self.combine, by) for own, by in zip(ratings, resolved, strict=True)]
        known = [one for one in score if not math.isnan(one)]
        if off := [one for one in known if not self.scale.contains(one)]:
            hint = advice.scores(Counter(f"{one:g}" for one in known), self.scale)
            told = f"{len(off)} means of people's scores, such as {off[0]:g}, are off the scale {self.scale}"
            raise CyborgError(f"{told}.{hint} Or set combine: first.")
        people = [human_scores.first_two(own) for own in ratings]
        frame["score"] = score
        frame[["first_score", "second_score"]] = pd.DataFrame(people, index=frame.index)
        return frame

    def _limit(self, exclusions: pd.DataFrame) -> list[str]:
        """A sentence on essays left out for their score. Raises CyborgError where too many rows are excluded."""
        coded = exclusions["reason"].str.startswith(CODED)
        hint = advice.scales(self.ends, self.scale, self.lines) or advice.scores(self.scores, self.scale, self.lines)
        others, unusable = exclusions[~coded], pd.DataFrame(self.unusable, columns=EXCLUSION_COLUMNS)
        given = len(unusable) + (int(self.kept.frame()["score"].notna().sum()) if self.kept and self.unusable else 0)
        if len(unusable) > max(SHOWN, MOST_EXCLUDED * given):
            told = "; ".join(f"row {e.row}: {e.reason}" for e in unusable.head(SHOWN).itertuples())
            raise CyborgError(
                f"{len(unusable)} of {given} scores cannot be used, more than {MOST_EXCLUDED:.0%}. {told}; ...{hint}"
            )
        if len(others) > MOST_EXCLUDED * self.rows_read:
            head = "; ".join(f"{e.file}, row {e.row}, column {e.column}: {e.reason}" for e in others.head(3).itertuples())
            unscored = int((others["reason"] == UNSCORED).sum())
            told = f" {unscored} rows have no score: a study needs them all scored; `cyborg label` scores these from the others."
            writers = " If the ids are those of writers, write writer: in place of id:." if row_faults.are_writers(others) else ""
            raise CyborgError(
                f"{len(others)} of {self.rows_read} rows cannot be used, more than {MOST_EXCLUDED:.0%}. {head}; ... "
                f"Check the declared columns, the scale and the file.{hint}"
                f"{told if 2 * unscored > len(others) else ''}{writers}"
            )
        off = int((others["column"].isin(self.columns.scores) & (others["reason"] != UNSCORED)).sum())
        notes = [f"{int(coded.sum()):,} essay(s) with a condition code are left out."] if coded.any() else []
        notes += [f"{off:,} essay(s) are left out for their score.{hint}"] if off else []
        if len(unusable):
            notes.append(f"{len(unusable)} essay(s) count as not scored: {first_rows(unusable)}.{hint}")
        return notes


def first_rows(rows: pd.DataFrame) -> str:
    """The first `SHOWN` rows (columns row, reason) for a sentence, and how many more there are."""
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return "; ".join(f"row {one.row} ({one.reason})" for one in rows.head(SHOWN).itertuples()) + more


def _words(options: Mapping[str, Any]) -> set[str]:
    """The words that mean "unknown" in a group column, in lower case."""
    words = options.get("missing", list(files.MISSING))
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise CyborgError(f"prepare_data.options.missing: {repr(words)[:60]}: must be a list of words, such as [] or ['', 'NA'].")
    return {word.strip().lower() for word in words}


def _wish(options: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str:
    """The word that an option says, of which the first is its default."""
    if (wish := options.get(name, words[0])) not in words:
        raise CyborgError(f"prepare_data.options.{name}: {repr(wish)[:60]}: must be {' or '.join(words)}.")
    return wish
