"""Corpus files: where they lie, how they are encoded, and their rows one by one (CSV, TSV, Parquet, JSON Lines)."""

from __future__ import annotations

import codecs
import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cyborg_utils import paths
from cyborg_utils.errors import CyborgError

BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
UNREADABLE = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of a byte that is no UTF-8
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
KINDS = {**DELIMITERS, ".parquet": "", ".jsonl": "", ".ndjson": ""}


class Row(NamedTuple):
    """One row: its number as the user sees it, its cells by column name, and what makes it unreadable, if anything."""

    number: int  # CSV, TSV: as a spreadsheet counts, the header being row 1; Parquet, JSON Lines: the first is row 1
    cells: dict[str, Any]
    fault: str


def find(corpus: str, names: list[str], advice: str) -> list[Path]:
    """The files `names`, all from the first data folder that has them (in itself or in its subfolder `corpus`).

    Raises CyborgError that lists the folders looked in and ends with `advice` (what to do).
    """
    folders = [folder / sub for folder in paths.data_folders() for sub in (corpus, "")]
    for folder in folders:
        found = [folder / name for name in names]
        if all(path.is_file() for path in found):
            return found
    looked = ", ".join(dict.fromkeys(paths.shown(folder) for folder in folders))
    raise CyborgError(f"{' and '.join(names)}: not found. Looked in {looked}. Set CYBORG_DATA_DIR to its folder, or: {advice}")


def given(name: str) -> Path:
    """The file a user named in the params file: absolute, or relative to the project or a data folder."""
    bases = [paths.home(), *paths.data_folders()]
    for path in [base / Path(name).expanduser() for base in bases]:
        if path.is_file():
            return path
    looked = ", ".join(dict.fromkeys(paths.shown(base) for base in bases))
    raise CyborgError(
        f"{name}: no such file. Looked in {looked}. Name it relative to one of them, or set CYBORG_DATA_DIR to its folder."
    )


def encoding_of(path: Path) -> str:
    """Encoding of a text file: by its byte order mark; else UTF-8; else Windows-1252 (the superset of Latin-1 in use).

    A file that is mostly good UTF-8 stays UTF-8 although some bytes are broken: those rows are excluded one by one, which
    loses less than misreading every accent. Where broken bytes outnumber the good non-ASCII characters it is Windows-1252.
    """
    good = broken = 0
    with path.open("rb") as handle:
        start = handle.read(4)
        for mark, name in BYTE_ORDER_MARKS.items():
            if start.startswith(mark):
                return name
        handle.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        while block := handle.read(1 << 20):
            text = decoder.decode(block)
            if not text.isascii():
                bad = len(UNREADABLE.findall(text))
                broken += bad
                good += sum(character > "\x7f" for character in text) - bad
    return "cp1252" if broken > good else "utf-8"


def rows(path: Path, *, encoding: str = "", delimiter: str = "") -> Iterator[Row]:
    """Rows of a file, streamed; blank lines are no rows. CSV cells are text, other formats keep their types.

    Raises CyborgError for what no single row can answer for: an unknown format, an empty file, an open quotation mark.
    """
    if path.suffix.lower() not in KINDS:
        raise CyborgError(f"{paths.shown(path)}: unknown file type. Use {', '.join(KINDS)}.")
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path)
        return
    errors = "surrogateescape" if (encoding or "utf-8").lower().startswith("utf") else "replace"
    with path.open(encoding=encoding or encoding_of(path), errors=errors, newline="") as handle:
        try:
            if path.suffix.lower() in DELIMITERS:
                yield from _separated(handle, path, delimiter or DELIMITERS[path.suffix.lower()])
            else:
                yield from _json_lines(handle)
        except UnicodeError as error:
            raise CyborgError(f"{paths.shown(path)}: {error}. Save it as UTF-8, or set options.encoding.") from error


def header(path: Path, *, encoding: str = "", delimiter: str = "") -> list[str]:
    """Column names of a file (of the first row for JSON Lines)."""
    if path.suffix.lower() == ".parquet":
        return list(next(_parquet(path, size=1)).cells)
    return list(next(rows(path, encoding=encoding, delimiter=delimiter)).cells)


def _separated(handle, path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # an essay may be longer than the default of 128 KiB
    reader = csv.reader(handle, delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise CyborgError(f"{paths.shown(path)}, row 1: column names stand twice: {', '.join(twice)}. Rename one of each.")
        number = 1
        for number, cells in enumerate(reader, start=2):
            if cells:
                fault = "" if len(cells) == len(names) else f"{len(cells)} cells where the header has {len(names)}"
                yield Row(number, dict(zip(names, cells, strict=False)), fault)
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
                cells = json.loads(line)
                fault = "" if isinstance(cells, dict) else "the line is not a JSON object"
            except json.JSONDecodeError as error:
                cells, fault = {}, f"the line is not JSON: {error.msg}"
            yield Row(number, cells if isinstance(cells, dict) else {}, fault)


def _parquet(path: Path, size: int = 1024) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=size):
            for cells in batch.to_pylist():
                number += 1
                yield Row(number, cells, "")
    except pyarrow.ArrowException as error:
        raise CyborgError(f"{paths.shown(path)}: not readable as Parquet: {error}") from error
