"""Corpus files: finding them, reading rows (CSV, TSV, workbooks, Parquet, JSON), and interpreting cells."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet

from cyborg_utils.core import atomic, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import delimited, encodings, headers, spreadsheets

MISSING = {"", "na", "n/a", "nan", "none", "null"}  # of a group or a score, not of a text
READING = ("encoding", "delimiter", "quoting", "decimal", "sheet", "header")  # what `layout` finds out unless it is given
ANY = {"rubric", "sample"}  # options of every corpus
KINDS = [*delimited.ENDINGS, ".parquet", ".jsonl", ".ndjson", ".json", *spreadsheets.ENDINGS]


class Row(NamedTuple):
    """One row: its number as the user sees it, its cells by column name, and the reason why it is unreadable, or ""."""

    number: int  # CSV, TSV, workbooks: as in a spreadsheet, where the header is mostly row 1; Parquet, JSON: the first is row 1
    cells: dict[str, Any]
    fault: str


def locate(corpus: str, sets: list[list[str]], options: dict[str, Any], advice: str) -> list[Path]:
    """The files of a corpus: those named in `options` (`file` or `files`), else the first complete set of `sets`.

    A set is complete where all its files are in one data folder, or in the subfolder `corpus` of one. Raises CyborgError that
    lists the folders searched and ends with `advice` (what to do).
    """
    if unknown := sorted(set(options) - {"file", "files"} - ANY, key=str):
        raise CyborgError(f"prepare_data.options: unknown {listed(unknown)}; {corpus} knows file (or files), rubric and sample.")
    if "file" in options or "files" in options:
        return named(options)
    folders = [folder / sub for folder in paths.data_folders() for sub in (corpus, "")]
    for names in sets:
        for folder in folders:
            if all((folder / name).is_file() for name in names):
                return [folder / name for name in names]
    wanted = "; or ".join(" and ".join(names) for names in sets)
    looked = ", ".join(dict.fromkeys(paths.shown(folder) for folder in folders))
    raise CyborgError(f"{wanted}: not found. Looked in {looked}. Set CYBORG_DATA_DIR to the folder that holds it, or: {advice}")


def named(options: dict[str, Any]) -> list[Path]:
    """The files named in `options`, which has either `file` (a name) or `files` (a list of names)."""
    names = options.get("files", [options.get("file")])
    wrong = not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names)
    if wrong or ("file" in options) == ("files" in options):
        raise CyborgError("prepare_data.options: give file (the name of a file), or files (a list of such names).")
    if len(set(names)) < len(names):
        raise CyborgError(f"prepare_data.options.files: {listed(names)}: a file stands twice. Name each once.")
    return [given(name) for name in names]


def rubric(options: dict[str, Any]) -> Path | None:
    """The rubric named in `options`, a file in the project's folder, or None. Raises CyborgError where the file is missing."""
    if not (name := options.get("rubric")):
        return None
    if not isinstance(name, str):
        raise CyborgError(f"prepare_data.options.rubric: {str(name)[:60]}: must be the name of a file.")
    with contextlib.suppress(OSError):  # a name too long for a file system
        if (path := paths.home() / name).is_file():
            return path
    told = "the rubric file named in prepare_data.options.rubric is not there. Name it relative to the project's folder."
    raise CyborgError(f"{listed([name])}: {told}")


def sample(options: dict[str, Any]) -> dict[str, int]:
    """The most training and test essays that a study keeps, named in `options`; {} for all."""
    wanted = options.get("sample", {})
    known = isinstance(wanted, dict) and set(wanted) <= {"train", "test"}
    if not known or not all(type(count) is int and count > 0 for count in wanted.values()):
        raise CyborgError(
            f"prepare_data.options.sample: {str(wanted)[:60]}: must be numbers of essays, {{train: 6000, test: 2500}}."
        )
    return wanted


def listed(names: Iterable[Any], most: int = 20) -> str:
    """Names for a message. A long one may be essay text in the wrong place, so only its beginning is shown."""
    texts = [str(name) for name in names]
    short = [printable(text) if len(text) <= 40 else f"{printable(text[:20])}... ({len(text)} characters)" for text in texts]
    return ", ".join(text or '""' for text in short[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def fault(value: Any) -> str:
    """Why a cell is unusable in any column; "" for a good one."""
    if isinstance(value, (bytes, list, dict)):
        return f"neither text nor number but {type(value).__name__}"
    return "unreadable bytes" if isinstance(value, str) and encodings.UNREADABLE.search(value) else ""


def text(value: Any) -> str:
    """A cell as text, with uniform line ends and without surrounding space.

    A missing cell is "". A whole number stored as a float (12.0) loses its decimals.
    """
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    found = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return found.replace("\r\n", "\n").replace("\r", "\n").strip()


def missing(value: Any) -> bool:
    """Whether the cell of a group or a score means that there is none."""
    return text(value).lower() in MISSING


def group(value: Any, unknown: Collection[str] = MISSING) -> str | None:
    """A cell as the name of a group of writers; None where it is empty or one of the words `unknown` (in lower case)."""
    name = text(value)
    if not name or name.lower() in unknown:
        return None
    return re.sub(r"^(\d+)\.0$", r"\1", name)  # a column with gaps becomes float in many tools


def unknown_groups(words: Counter[tuple[str, str]], remedy: str) -> list[str]:
    """One sentence a word that was read as an unknown group. `words`: how often, by (column, word); `remedy`: what to set."""
    return [
        f"{count:,} cell(s) of {listed([column])} say {printable(word)!r} and were read as unknown. If that is a group, {remedy}."
        for (column, word), count in sorted(words.items())
        if word
    ]


def number(value: Any) -> float:
    """A cell as a finite number, or NaN; also NaN for `1_0`, which only Python reads as a number."""
    try:
        found = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def printable(value: Any) -> str:
    """A text that can be printed and written to a file; other characters are escaped, as `\\udc80` or `\\x00`."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def given(name: str) -> Path:
    """The file named in the params file: absolute, or relative to the project or a data folder."""
    bases = [paths.home(), *paths.data_folders()]
    with contextlib.suppress(OSError, RuntimeError):  # too long a name; the home of an unknown user (`~nobody/a.csv`)
        for path in [base / Path(name).expanduser() for base in bases]:
            if path.is_file():
                return path
    looked = ", ".join(dict.fromkeys(paths.shown(base) for base in bases))
    raise CyborgError(
        f"{listed([name])}: no such file. Looked in {looked}. "
        "Name it relative to one of them, or set CYBORG_DATA_DIR to its folder."
    )


@dataclass(frozen=True)
class Layout:
    """How a file is read: `kind` (its ending, or what its content is), and what its kind needs. `notes`: for the reader."""

    kind: str
    encoding: str = ""
    dialect: delimited.Dialect | None = None
    sheet: str = ""
    head: headers.Header = headers.Header()
    notes: tuple[str, ...] = ()


def layout(
    path: Path,
    *,
    encoding: str = "",
    delimiter: str = "",
    quoting: str = "",
    decimal: str = "",
    sheet: str = "",
    header: str | int = "",
) -> Layout:
    """How to read a file: as given, else as found. One note says what was found that is not the plain case.

    `header`: the row of the column names, from 1. Raises CyborgError for faults of the file as a whole: an unknown kind, no
    encoding that can be told, merging rows.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise CyborgError(f"{paths.shown(path)}: unknown file type. Use {', '.join(KINDS)}.")
    for name, value, allowed in (("quoting", quoting, ("csv", "none")), ("decimal", decimal, (".", ","))):
        if value and value not in allowed:
            raise CyborgError(f"{paths.shown(path)}: {name} {value[:9]!r} is unknown. Use {' or '.join(map(repr, allowed))}.")
    if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise CyborgError(f"{paths.shown(path)}: {delimiter[:9]!r} cannot be its delimiter. Give one character, such as ';'.")
    if header and not re.fullmatch(r"[1-9]\d{0,5}", str(header)):
        raise CyborgError(f"{paths.shown(path)}: header {str(header)[:9]!r} must be the number of a row, such as 3.")
    row = int(header or 0)
    if kind == ".parquet":
        return Layout(kind)
    with _readable(path), path.open("rb") as handle:
        start = handle.read(4)
    if kind in spreadsheets.ENDINGS or start in spreadsheets.STARTS:
        return _sheet(path, sheet, row)
    with _as_text(path):
        code = encoding or encodings.encoding_of(path)
        found: list[tuple[str, str]] = [] if encoding or code.startswith("utf-8") else [(f"as {code}", "encoding")]
        how, head = None, headers.Header()
        if kind in delimited.ENDINGS:
            how = delimited.dialect(path, code, delimiter=delimiter, quoting=quoting, decimal=decimal, header=row)
            head = how.head
            found += how.notes
    return Layout(kind, code, how, head=head, notes=_note(path, found))


def _sheet(path: Path, sheet: str, row: int) -> Layout:
    with _readable(path):
        there = spreadsheets.sheets(path)
        if not there or sheet and sheet not in there:
            told = f"no sheet {listed([sheet])} with rows; it has {listed(there)}" if there else "no sheet has rows"
            raise CyborgError(f"{paths.shown(path)}: {told}. Check that it was saved whole, or set `sheet`.")
        chosen = sheet or there[0]
        head = spreadsheets.header(path, chosen, row)
    found = [(f"from sheet {listed([chosen])} of {len(there)}", "sheet")] if len(there) > 1 and not sheet else []
    found += [(f"with its header in row {head.row}", "header")] if head.row > 1 and not row else []
    found += [(f"without {head.more} further header row(s)", "")] if head.more else []
    found += [("as the workbook that it is", "")] if path.suffix.lower() not in spreadsheets.ENDINGS else []
    return Layout(spreadsheets.ENDINGS[0], sheet=chosen, head=head, notes=_note(path, found))


def _note(path: Path, found: list[tuple[str, str]]) -> tuple[str, ...]:
    """One sentence on how a file is read, and the options that say otherwise; none for a plain file."""
    if not found:
        return ()
    options = " and ".join(f"`{name}`" for _, name in found if name)
    other = f" Set {options} if that is wrong." if options else ""
    return (f"{paths.shown(path)} was read {', '.join(words for words, _ in found)}.{other}",)


def rows(path: Path, how: Layout | None = None) -> Iterator[Row]:
    """Rows of a file, streamed, without blank ones. CSV cells are text; other formats keep their types. `how`: see `layout`.

    Raises CyborgError for faults of the file as a whole, as `layout` does.
    """
    how = how or layout(path)
    if how.kind == ".parquet":
        yield from _parquet(path)
    elif how.sheet:
        with _readable(path):
            yield from itertools.starmap(Row, spreadsheets.rows(path, how.sheet, how.head))
    else:
        with _as_text(path):
            if how.dialect:
                yield from itertools.starmap(Row, delimited.rows(path, how.encoding, how.dialect))
            else:
                yield from _json(path, how)


@contextlib.contextmanager
def _as_text(path: Path) -> Iterator[None]:
    try:
        with _readable(path):
            yield
    except (UnicodeError, LookupError, ValueError) as error:  # ValueError: a NUL in the name of an encoding
        raise CyborgError(f"{paths.shown(path)}: {printable(error)[:300]}. Save it as UTF-8, or set `encoding`.") from error


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = atomic.remedy(error) or f"{error.strerror}. Make it readable, or name another file."
        raise CyborgError(f"{paths.shown(path)}: {advice}") from error


def header(path: Path, how: Layout | None = None) -> list[str]:
    """Column names of a file; for JSON all keys of its first thousand rows."""
    how = how or layout(path)
    if how.kind == ".parquet":
        return list(_parquet_file(path).schema_arrow.names)
    some = itertools.islice(rows(path, how), 1 if how.dialect or how.sheet else 1000)
    return list(dict.fromkeys(name for row in some for name in row.cells))


def _json(path: Path, how: Layout) -> Iterator[Row]:
    """JSON Lines; also a JSON array of objects, in a file that ends in .json."""
    with delimited.opened(path, how.encoding) as handle:
        if how.kind == ".json" and handle.read(100).lstrip("\ufeff \t\r\n").startswith("["):
            handle.seek(0)
            try:
                found = json.loads(handle.read().lstrip("\ufeff"), object_pairs_hook=_object)
            except (ValueError, RecursionError) as error:
                told = f"not JSON: {printable(getattr(error, 'msg', error))[:200]}. Mend it, or save the table as CSV."
                raise CyborgError(f"{paths.shown(path)}: {told}") from error
            yield from (_row(number, cells) for number, cells in enumerate(found, start=1))
            return
        handle.seek(0)
        for number, line in enumerate(handle, start=1):
            if line.strip():
                try:
                    yield _row(number, json.loads(line.lstrip("\ufeff"), object_pairs_hook=_object))
                except (ValueError, RecursionError) as error:  # ValueError: also a duplicate key, a number of 5,000 digits
                    yield Row(number, {}, f"the line is not JSON: {getattr(error, 'msg', error)}")


def _row(number: int, cells: Any) -> Row:
    """A row of a JSON object; what stands in an object within it is a column too, named `outer.inner`."""
    if not isinstance(cells, dict):
        return Row(number, {}, "the line is not a JSON object")
    inner = {f"{name}.{key}": each for name, cell in cells.items() if isinstance(cell, dict) for key, each in cell.items()}
    return Row(number, cells | {name: cell for name, cell in inner.items() if name not in cells}, "")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a duplicate key, of which one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {listed(name for name in found if names.count(name) > 1)} stands twice")
    return found


def _parquet(path: Path) -> Iterator[Row]:
    number = 0
    with _reported(path):
        for batch in _parquet_file(path).iter_batches(batch_size=1024):
            for cells in batch.to_pylist():
                number += 1
                yield Row(number, cells, "")


def _parquet_file(path: Path) -> pyarrow.parquet.ParquetFile:
    with _reported(path):
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CyborgError(f"{paths.shown(path)}: column names stand twice: {listed(twice)}. Rename one of each.")
    return file


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # broken text or dates are ValueErrors
        told = printable(error)[:300]
        raise CyborgError(f"{paths.shown(path)}: not readable as Parquet: {told} Download it, or write it, again.") from error
