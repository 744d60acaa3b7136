"""Corpus files: finding them, their encoding, reading rows (CSV, TSV, Parquet, JSON Lines), and interpreting cells."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet

from cyborg_utils.core import atomic, paths
from cyborg_utils.core.errors import CyborgError

BYTE_ORDER_MARKS = {  # longest first: the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Surrogates: `surrogateescape` makes them from bytes that are not UTF-8, and JSON can spell them; no file can store them.
UNREADABLE = re.compile("[\ud800-\udfff]")
MISSING = {"", "na", "n/a", "nan", "none", "null"}  # of a group or a score, not of a text
NOT_ASCII = re.compile("[^\x00-\x7f]")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
KINDS = {**DELIMITERS, ".parquet": "", ".jsonl": "", ".ndjson": ""}


class Row(NamedTuple):
    """One row: its number as the user sees it, its cells by column name, and the reason why it is unreadable, or ""."""

    number: int  # CSV, TSV: as in a spreadsheet, where the header is row 1; Parquet, JSON Lines: the first is row 1
    cells: dict[str, Any]
    fault: str


def locate(corpus: str, sets: list[list[str]], options: dict[str, Any], advice: str) -> list[Path]:
    """The files of a corpus: those named in `options` (`file` or `files`), else the first complete set of `sets`.

    A set is complete where all its files are in one data folder, or in the subfolder `corpus` of one. Raises CyborgError that
    lists the folders searched and ends with `advice` (what to do).
    """
    if unknown := sorted(set(options) - {"file", "files", "rubric"}, key=str):
        raise CyborgError(f"prepare_data.options: unknown {listed(unknown)}; {corpus} knows file (or files), and rubric.")
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


def listed(names: Iterable[Any], most: int = 20) -> str:
    """Names for a message. A long one may be essay text in the wrong place, so only its beginning is shown."""
    texts = [str(name) for name in names]
    short = [printable(text) if len(text) <= 40 else f"{printable(text[:20])}... ({len(text)} characters)" for text in texts]
    return ", ".join(text or '""' for text in short[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def fault(value: Any) -> str:
    """Why a cell is unusable in any column; "" for a good one."""
    if isinstance(value, (bytes, list, dict)):
        return f"neither text nor number but {type(value).__name__}"
    return "unreadable bytes" if isinstance(value, str) and UNREADABLE.search(value) else ""


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


def group(value: Any) -> str | None:
    """A cell as the name of a group of writers; None where it is unknown."""
    return None if missing(value) else re.sub(r"^(\d+)\.0$", r"\1", text(value))  # a column with gaps becomes float in many tools


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


def encoding_of(path: Path) -> str:
    """Encoding of a text file: that of its byte order mark; else UTF-8; else Windows-1252 (the superset of Latin-1 in use).

    A file that is mostly valid UTF-8 is read as UTF-8 even if some bytes are broken. Excluding those rows one by one loses less
    than misreading every accent. Where broken bytes outnumber valid non-ASCII characters, the file is read as Windows-1252.
    """
    good = broken = 0
    with _readable(path), path.open("rb") as handle:
        start = handle.read(4)
        for mark, name in BYTE_ORDER_MARKS.items():
            if start.startswith(mark):
                return name
        if start[1::2] == b"\0\0" or start[::2] == b"\0\0":  # every other byte is zero
            return "utf-16-le" if start[1] == 0 else "utf-16-be"
        handle.seek(0)
        strict = codecs.getincrementaldecoder("utf-8")()
        try:
            while block := handle.read(1 << 20):
                strict.decode(block)
            strict.decode(b"", final=True)
            return "utf-8"
        except UnicodeDecodeError:
            handle.seek(0)
        lenient = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        while block := handle.read(1 << 20):
            text = lenient.decode(block)
            bad = len(UNREADABLE.findall(text))
            broken += bad
            good += len(NOT_ASCII.findall(text)) - bad
    return "cp1252" if broken > good else "utf-8"


def rows(path: Path, *, encoding: str = "", delimiter: str = "") -> Iterator[Row]:
    """Rows of a file, streamed, without blank lines. CSV cells are text; other formats keep their types.

    Raises CyborgError for faults of the file as a whole: an unknown format, an empty file, an open quotation mark.
    """
    if path.suffix.lower() not in KINDS:
        raise CyborgError(f"{paths.shown(path)}: unknown file type. Use {', '.join(KINDS)}.")
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path)
        return
    if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise CyborgError(f"{paths.shown(path)}: {delimiter[:9]!r} cannot be its delimiter. Give one character, such as ';'.")
    try:
        with _readable(path), path.open(encoding=encoding or encoding_of(path), errors="surrogateescape", newline="") as handle:
            if path.suffix.lower() in DELIMITERS:
                yield from _separated(handle, path, delimiter or DELIMITERS[path.suffix.lower()])
            else:
                yield from _json_lines(handle)
    except (UnicodeError, LookupError, ValueError) as error:  # ValueError: a NUL in the name of an encoding
        raise CyborgError(f"{paths.shown(path)}: {printable(error)[:300]}. Save it as UTF-8, or set options.encoding.") from error


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = atomic.remedy(error) or f"{error.strerror}. Make it readable, or name another file."
        raise CyborgError(f"{paths.shown(path)}: {advice}") from error


def header(path: Path, *, encoding: str = "", delimiter: str = "") -> list[str]:
    """Column names of a file; for JSON Lines all keys of its first thousand lines."""
    if path.suffix.lower() == ".parquet":
        return list(_parquet_file(path).schema_arrow.names)
    first = 1000 if path.suffix.lower() not in DELIMITERS else 1
    some = itertools.islice(rows(path, encoding=encoding, delimiter=delimiter), first)
    return list(dict.fromkeys(name for row in some for name in row.cells))


def _separated(handle, path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # an essay may be longer than the default of 128 KiB
    reader = csv.reader(handle, delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise CyborgError(f"{paths.shown(path)}, row 1: column names stand twice: {listed(twice)}. Rename one of each.")
        number = 1
        for number, cells in enumerate(reader, start=2):
            if cells:
                fault = "" if len(cells) == len(names) else f"{len(cells)} cells where the header has {len(names)}"
                yield Row(number, dict(itertools.zip_longest(names, cells[: len(names)])), fault)
    except csv.Error as error:
        raise CyborgError(
            f"{paths.shown(path)}, near line {reader.line_num}: {error}. A quotation mark is open or misplaced: mend it, or save "
            "the table again from a spreadsheet."
        ) from error
    if number == 1:
        raise CyborgError(f"{paths.shown(path)}: the file has no rows. Check that it was downloaded or saved whole.")


def _json_lines(handle) -> Iterator[Row]:
    for number, line in enumerate(handle, start=1):
        if line.strip():
            try:
                cells = json.loads(line.lstrip("\ufeff"), object_pairs_hook=_object)
                fault = "" if isinstance(cells, dict) else "the line is not a JSON object"
            except (ValueError, RecursionError) as error:  # ValueError: also a duplicate key, a number of 5,000 digits
                cells, fault = {}, f"the line is not JSON: {getattr(error, 'msg', error)}"
            yield Row(number, cells if isinstance(cells, dict) else {}, fault)


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
