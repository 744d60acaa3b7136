"""Delimited text (CSV, TSV): delimiter, quoting and decimal mark of a file, and its rows.

A quotation mark that opens a cell makes all up to the next one part of that cell, line ends included. In a file written without
quoting such a cell swallows rows. So a file is surveyed before it is read: where lines inside a cell look like rows of their own,
it is read without quoting (a TSV in which every line is a row) or refused with the line. No line is lost in silence.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import headers

ENDINGS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SEP_LINE = re.compile(r'\ufeff?"?sep=([^"\r\n\0])"?\r?\n?', re.IGNORECASE)  # a hint for Excel in the first line
LOOKED_AT, LETTERS = 200, 1_000_000  # lines that tell the delimiter, and where they are long, their letters
COMMA, POINT, WHOLE = (re.compile(rf"[+-]?\d+{mark}") for mark in (r",\d+", r"\.\d+", ""))
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
LONGEST_NUMBER = 20
ENOUGH = 3  # cells that look like those of rows; fewer, where each line has as many cells as the header
KNOWN = 5  # rows that tell how the cells of a column look
SHAPED = 1000  # rows whose cells are looked at for it
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # an essay may be longer than the default of 128 KiB


@dataclass(frozen=True)
class Dialect:
    """How a file is read. `notes`: (what was found, the option that sets it), of what is not the plain case."""

    delimiter: str
    quoted: bool = True
    commas: frozenset[int] = frozenset()  # columns of numbers with decimal commas
    skipped: int = 0  # lines before the header
    head: headers.Header = headers.Header()
    notes: tuple[tuple[str, str], ...] = ()


@dataclass
class Survey:
    """What one reading of a whole file finds."""

    names: list[str] = field(default_factory=list)
    blank: int = 0
    merged: tuple[int, int] = (0, 0)  # first and last line of a cell that swallows what look like rows
    sure: bool = False  # whether other rows tell so
    ragged: int = 0  # rows with more or fewer cells than the header
    broken: str = ""  # why it cannot be read with quoting
    commas: frozenset[int] = frozenset()  # columns of numbers with decimal commas


def dialect(path: Path, encoding: str, *, delimiter: str = "", quoting: str = "", decimal: str = "", header: int = 0) -> Dialect:
    """The dialect of a file: as given, else found. Raises CyborgError where quotation marks would make rows merge."""
    with opened(path, encoding) as handle:
        head, letters = [], 0
        for line in itertools.islice(handle, LOOKED_AT):
            head, letters = [*head, line], letters + len(line)
            if letters > LETTERS:
                break
    notes, skipped, usual = [], 0, ENDINGS[path.suffix.lower()]
    if head and (hint := SEP_LINE.fullmatch(head[0])):
        skipped, notes = 1, [("without its first line, a hint for Excel", "")]
        usual = hint[1]
    char = delimiter or _delimiter(head[skipped:], usual)
    if not delimiter and char != ENDINGS[path.suffix.lower()]:
        notes.append((f"with cells separated by {DELIMITERS.get(char, repr(char))}", "delimiter"))
    quoted = quoting != "none"
    head, above = _header(path, encoding, char, quoted=quoted, skipped=skipped, row=header)
    skipped += above
    notes += [(f"with its header in row {head.row}", "header")] if head.row > 1 and not header else []
    found = _survey(path, encoding, char, quoted=quoted, skipped=skipped, decimal=decimal)
    doubtful = quoting == "" and char == "\t" and (found.broken or found.sure or found.ragged)
    if doubtful and _each_line_is_a_row(path, encoding, char, skipped):
        quoted, found = False, _survey(path, encoding, char, quoted=False, skipped=skipped, decimal=decimal)
        notes.append(("with quotation marks as ordinary characters, since every line is a row", "quoting"))
    if found.broken:
        raise CyborgError(
            f"{paths.shown(path)}, near line {found.broken}. A quotation mark is open or misplaced: mend it, save the table "
            "again from a spreadsheet, or set `quoting` to none, if quotation marks are ordinary characters in this file."
        )
    if quoting == "" and found.merged[0]:
        first, last = found.merged
        raise CyborgError(
            f"{paths.shown(path)}, line {first}: a quotation mark opens a cell that ends in line {last}, and lines in it look "
            "like rows of their own. Mend it; or set `quoting` to none, if quotation marks are ordinary characters in this file, "
            "or to csv, if the cell is right."
        )
    notes += [("with decimal commas", "decimal")] if found.commas and not decimal else []
    notes += [(f"without {head.more} further header row(s)", "")] if head.more else []
    notes += [(f"without {found.blank} blank row(s)", "")] if found.blank else []
    if twice := sorted({name for name in found.names if found.names.count(name) > 1}):
        shown = ", ".join(repr(name[:40]) for name in twice[:5])
        notes.append(
            (f"with numbers after column names that stand twice ({shown}), as in {headers.numbered(twice[-1:] * 2)[1]!r}", "")
        )
    return Dialect(char, quoted, found.commas, skipped, head, tuple(notes))


def rows(path: Path, encoding: str, how: Dialect) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(number as in a spreadsheet, where the first row is row 1; cells by column name; fault or "") of every row not blank."""
    with opened(path, encoding) as handle:
        reader = _reader(itertools.islice(handle, how.skipped, None), how.delimiter, how.quoted)
        names = headers.numbered(_names(reader))
        number = first = how.head.row
        more = how.head.more
        for number, cells in enumerate(reader, start=first + 1):
            if not any(map(str.strip, cells)):
                continue
            if more:
                more -= 1
                continue
            fault = "" if len(cells) == len(names) else f"{len(cells)} cells where the header has {len(names)}"
            for column in how.commas:
                if column < len(cells) and _like(COMMA, cells[column]):
                    cells[column] = cells[column].replace(",", ".")
            yield number, dict(itertools.zip_longest(names, cells[: len(names)])), fault
    if number == how.head.row:
        raise CyborgError(f"{paths.shown(path)}: the file has no rows. Check that it was downloaded or saved whole.")


def opened(path: Path, encoding: str):
    """The file as text, its line ends as they are; broken bytes become surrogates."""
    return path.open(encoding=encoding, errors="surrogateescape", newline="")


def _names(reader: Iterator[list[str]]) -> list[str]:
    return [name.strip().lstrip("\ufeff") for name in next(reader, [])]


def _reader(lines: Iterable[str], delimiter: str, quoted: bool):
    return csv.reader(lines, delimiter=delimiter, strict=True, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)


def _like(pattern: re.Pattern, cell: str) -> bool:
    return len(cell) <= LONGEST_NUMBER and pattern.fullmatch(cell.strip()) is not None


def _delimiter(head: list[str], usual: str) -> str:
    """The delimiter that gives the first rows as many cells as the header; `usual` unless it fails and another does better.

    Where none does, the header is the first row that has as many cells as most rows: titles may stand above it.
    """

    def share(char: str, titles: bool) -> float:
        shares = [-1.0]
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            found = list(csv.reader(head, delimiter=char, quoting=quoting))
            widths = [len(cells) for cells in found]
            if titles and (several := Counter(width for width in widths if width > 1).most_common(1)):
                widths = widths[widths.index(several[0][0]) :]
            if widths and widths[0] > 1:
                shares.append(widths.count(widths[0]) / len(widths))
        return max(shares)

    for titles in (False, True):
        best = max(dict.fromkeys([usual, *DELIMITERS]), key=lambda char, titles=titles: share(char, titles))
        if share(usual, titles) >= 0.5 or share(best, titles) > 0.8:
            return usual if share(usual, titles) >= 0.5 else best
    return usual


def _header(path: Path, encoding: str, delimiter: str, *, quoted: bool, skipped: int, row: int) -> tuple[headers.Header, int]:
    """The header, in `row` or found, and the number of lines that stand above it."""
    first, ends = [], []
    with opened(path, encoding) as handle:
        reader = _reader(itertools.islice(handle, skipped, None), delimiter, quoted)
        with contextlib.suppress(csv.Error):  # the survey tells where
            for cells in itertools.islice(reader, headers.LOOKED_AT + row):
                first.append([cell.lstrip("\ufeff") for cell in cells])
                ends.append(reader.line_num)
    head = headers.find(first, row)
    if head.row > max(1, len(first)):
        raise CyborgError(f"{paths.shown(path)}: its header cannot be row {head.row}: it has {len(first)} rows. Set `header`.")
    return head, ends[head.row - 2] if head.row > 1 else 0


def _each_line_is_a_row(path: Path, encoding: str, delimiter: str, skipped: int) -> bool:
    """Whether every line has as many cells as the header, where quotation marks are ordinary characters."""
    with opened(path, encoding) as handle:
        counts = {line.count(delimiter) for line in itertools.islice(handle, skipped, None) if line.strip("\ufeff\r\n")}
    return len(counts) == 1 and counts != {0}


class _Lines:
    """Lines on their way to a reader, with those of the row that it read last."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self.of_row = iter(lines), []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.of_row.append(line := next(self._lines))
        return line


def _survey(path: Path, encoding: str, delimiter: str, *, quoted: bool, skipped: int, decimal: str) -> Survey:
    found = Survey()
    kinds: list[Counter] = []  # of the short cells of a column
    shapes: list[Counter] = []
    suspects: list[tuple[int, int, list[tuple[int, str]], bool]] = []
    several = 0  # rows of several lines
    with opened(path, encoding) as handle:
        lines = _Lines(itertools.islice(handle, skipped, None))
        reader = _reader(lines, delimiter, quoted)
        try:
            found.names = _names(reader)
            width = len(found.names)
            shapes, kinds = [Counter() for _ in found.names], [Counter() for _ in found.names]
            own, lines.of_row, known = lines.of_row, [], 0
            if len(own) > 1 and (inside := _like_rows(own, found.names, width, delimiter)):
                several += 1
                suspects.append((1 + skipped, reader.line_num + skipped, *inside))
            for number, cells in enumerate(reader):
                own, lines.of_row = lines.of_row, []
                found.blank += bool(cells) and not any(map(str.strip, cells))
                several += len(own) > 1
                if len(own) > 1 and (inside := _like_rows(own, cells, width, delimiter)):
                    last = reader.line_num + skipped
                    suspects.append((last - len(own) + 1, last, *inside))
                found.ragged += bool(cells) and len(cells) != width
                if known < SHAPED and len(cells) == width:
                    known += 1
                    for counter, cell in zip(shapes, cells, strict=True):
                        counter[_shape(cell)] += 1
                if number < 10 * SHAPED:
                    for kind, cell in zip(kinds, cells, strict=False):
                        kind.update(_number_kinds(cell))
        except csv.Error as error:
            found.broken = f"{reader.line_num + skipped}: {error}"
            return found
    found.commas = frozenset(at for at, kind in enumerate(kinds) if decimal != "." and _has_commas(kind, sure=decimal == ","))
    _judge(found, suspects, shapes, several)
    return found


def _number_kinds(cell: str) -> list[str]:
    """What tells the decimal mark of a column: whether a cell is filled, a number, and of which look."""
    if not (cell := cell.strip() if len(cell) <= LONGEST_NUMBER else "x"):
        return []
    looks = {"whole": WHOLE, "comma": COMMA, "point": POINT, "thousands": THOUSANDS}
    return ["filled", *(name for name, look in looks.items() if look.fullmatch(cell))]


def _has_commas(kind: Counter, *, sure: bool) -> bool:
    """Whether a column has numbers with decimal commas; not where it has `1,234` alone, or `1.5` too, unless `sure`."""
    numbers = kind["comma"] + kind["whole"] >= 0.5 * kind["filled"]
    return kind["comma"] > 0 and numbers and (sure or (kind["comma"] > kind["thousands"] and not kind["point"]))


def _like_rows(own: list[str], cells: list[str], width: int, delimiter: str) -> tuple[list[tuple[int, str]], bool] | None:
    """The lines of one row as rows of their own: (column, cell) inside its quoted cells; whether all lines have `width` cells.

    None where no line could be a row. The column of the quoted cell, an essay, tells nothing and is left out; so is what stands
    before its beginning and after its end, which belongs to the row either way.
    """
    plain = [line.rstrip("\r\n").split(delimiter) for line in own]
    fits = [len(parts) == width for parts in plain]
    if not any(fits):
        return None
    start = next(csv.reader([own[0]], delimiter=delimiter))
    at = len(start) - 1  # column of the cell that the first line leaves open
    inside = list(enumerate(plain[0]))[at + 1 :] if fits[0] else []
    for parts, fit in zip(plain[1:-1], fits[1:-1], strict=True):
        inside += [(column, cell) for column, cell in enumerate(parts) if column != at] if fit else []
    after = len(cells) - 1 - at
    if fits[-1]:
        inside += [(column, cell) for column, cell in enumerate(plain[-1][: max(0, width - after - 1)]) if column != at]
    blank = [not line.strip() for line in own]
    return inside, all(fit or none for fit, none in zip(fits, blank, strict=True))


def _shape(cell: str) -> str:
    """The look of a cell: words as `a`, numbers and words with digits as `0`, without quotation marks."""
    words = re.sub(r"[^\W_]+", lambda word: "a" if word[0].isalpha() else "0", cell[:80].replace('"', ""))
    return re.sub(r"\s+", " ", words)


def _judge(found: Survey, suspects: list, shapes: list[Counter], several: int) -> None:
    """Set `merged` where the lines of a suspect look like other rows; if these do not tell, where all long rows are suspects."""
    usual: dict[int, set[str]] = {}
    for column, counter in enumerate(shapes):
        common = counter.most_common(2)
        if counter.total() >= KNOWN and sum(count for _, count in common) >= 0.9 * counter.total():
            usual[column] = {shape for shape, _ in common}
            if usual[column] <= {"", "a"}:  # any single word looks so
                del usual[column]
    all_whole = sum(whole for *_, whole in suspects) == several
    for first, last, inside, whole in suspects:
        told = [_shape(cell) in usual[column] for column, cell in inside if column in usual and cell.strip()]
        if sum(told) >= 0.5 * len(told) and (sum(told) >= ENOUGH or told and whole):
            found.merged, found.sure = (first, last), True
            return
        if not told and all_whole and not found.merged[0]:
            found.merged = (first, last)
