"""Workbooks of Excel and LibreOffice (.xlsx, .xlsm, .xlsb, .xls, .ods): which sheet, where its header is, and its rows."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import python_calamine

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import headers

ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how a workbook begins, whatever its name: a ZIP; or Excel's before 2007


def sheets(path: Path) -> list[str]:
    """Names of the sheets that have a header and a row."""
    with _book(path) as book:
        return [name for name in book.sheet_names if sum(1 for _ in itertools.islice(_filled(book, name), 2)) == 2]


def header(path: Path, sheet: str, row: int = 0) -> headers.Header:
    """The header of a sheet: in `row` (from 1), or found where that is 0."""
    with _book(path) as book:
        first = itertools.islice(book.get_sheet_by_name(sheet).iter_rows(), headers.LOOKED_AT + row)
        return headers.find([[_name(cell) for cell in cells] for cells in first], row)


def rows(path: Path, sheet: str, head: headers.Header) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(row number of the sheet, cells by column name, fault or "") of every row not blank; numbers and dates keep their types.

    A number is a float, an empty cell "".
    """
    with _book(path) as book:
        filled = itertools.dropwhile(lambda row: row[0] < head.row, _filled(book, sheet))
        names = [_name(cell) for cell in next(filled, (0, ()))[1]]
        while names and not names[-1]:
            names.pop()
        names = headers.numbered(names)
        for number, cells in itertools.islice(filled, head.more, None):
            beyond = sum(cell != "" for cell in cells[len(names) :])
            fault = f"{len(names) + beyond} cells where the header has {len(names)}" if beyond else ""
            yield number, dict(itertools.zip_longest(names, cells[: len(names)])), fault


def _name(cell: Any) -> str:
    return (str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)).strip()


def _filled(book: python_calamine.CalamineWorkbook, sheet: str) -> Iterator[tuple[int, list[Any]]]:
    for number, cells in enumerate(book.get_sheet_by_name(sheet).iter_rows(), start=1):
        if any(str(cell).strip() for cell in cells):
            yield number, cells


@contextlib.contextmanager
def _book(path: Path) -> Iterator[python_calamine.CalamineWorkbook]:
    with path.open("rb") as handle:
        try:
            with python_calamine.CalamineWorkbook.from_filelike(handle) as book:
                yield book
        except python_calamine.PasswordError as error:
            told = "a workbook with a password. Save it without one."
            raise CyborgError(f"{paths.shown(path)}: {told}") from error
        except python_calamine.CalamineError as error:
            told = f"not readable as a workbook ({error}). Save the sheet as CSV (UTF-8)."
            raise CyborgError(f"{paths.shown(path)}: {told}") from error
