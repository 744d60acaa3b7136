"""Excel workbooks (.xlsx): which sheet, and its rows."""

from __future__ import annotations

import contextlib
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import delimited

ENDINGS = (".xlsx", ".xlsm")
OLD = b"\xd0\xcf\x11\xe0"  # how an Excel file from before 2007 begins
ZIP = b"PK\x03\x04"  # how a workbook begins, whatever its name


def sheets(path: Path) -> list[str]:
    """Names of the sheets that have a header and a row."""
    with _book(path) as book:
        return [sheet.title for sheet in book.worksheets if sum(1 for _ in itertools.islice(_filled(sheet), 2)) == 2]


def header_rows(path: Path, sheet: str) -> int:
    """As `delimited.header_rows`."""
    with _book(path) as book:
        first = itertools.islice(_filled(book[sheet]), 1, 4)
        return delimited.header_rows([[str(cell or "") for cell in cells] for _, cells in first])


def rows(path: Path, sheet: str, heads: int = 0) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(row number of the sheet, cells by column name, fault or "") of every row not blank; numbers and dates keep their types."""
    with _book(path) as book:
        filled = _filled(book[sheet])
        names = [str("" if cell is None else cell).strip() for cell in next(filled, (0, ()))[1]]
        while names and not names[-1]:
            names.pop()
        names = delimited.numbered(names)
        for number, cells in itertools.islice(filled, heads, None):
            beyond = sum(cell is not None for cell in cells[len(names) :])
            fault = f"{len(names) + beyond} cells where the header has {len(names)}" if beyond else ""
            yield number, dict(itertools.zip_longest(names, cells[: len(names)])), fault


def _filled(sheet) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if any(cell is not None and str(cell).strip() for cell in cells):
            yield number, cells


@contextlib.contextmanager
def _book(path: Path):
    try:
        import openpyxl
    except ImportError as error:
        advice = "Save the sheet as CSV (UTF-8), or install openpyxl: .venv/bin/python -m pip install openpyxl"
        raise CyborgError(f"{paths.shown(path)}: an Excel workbook, which needs the package openpyxl. {advice}") from error
    with path.open("rb") as handle:
        try:
            book = openpyxl.load_workbook(handle, read_only=True, data_only=True)
            yield book
            book.close()
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, SyntaxError) as error:  # SyntaxError: its XML
            told = f"not readable as an Excel workbook ({type(error).__name__}). Save the sheet as CSV (UTF-8)."
            raise CyborgError(f"{paths.shown(path)}: {told}") from error
