"""What is wrong with a table's header, or with a row whatever its scores."""

from __future__ import annotations

import re

import pandas as pd

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files
from cyborg_utils.data.columns import Columns

ROUNDED_ID = re.compile(r"\d(\.\d+)?E\+\d+")  # a spreadsheet's idea of a long number
LONGEST_ID = 200  # characters; a longer one is a text in the wrong column
REPEATED = "id stands already in"
ROW = "-"  # the column of an exclusion that is not about one cell


def require(present: list[str], used: list[str], where: str) -> None:
    if missing := [name for name in used if name not in present]:
        hint = " Is the delimiter another? Set options.delimiter." if len(present) == 1 else ""
        told = f"no column {files.listed(missing)}. It has: {files.listed(present)}"
        raise CyborgError(f"{where}: {told}.{hint or _look_again(missing, present)}")


def _look_again(missing: list[str], present: list[str]) -> str:
    """What was perhaps meant by the missing names: a name that stands twice, or in an object."""
    for name in missing:
        if twice := [one for one in present if one in (f"{name} (1)", f"{name} (2)")]:
            both = f"or both as the scores of two people, raters: [{', '.join(twice)}]"
            return f" {files.listed([name])} stands twice: name {twice[0]!r}, {both}."
        if inner := [one for one in present if one.endswith(f".{name}")]:
            return f" Is it {inner[0]!r}?"
    return " If the column names stand in another row, set header to its number."


def fault(row: files.Row, essay_id: str, columns: Columns) -> tuple[str, str]:
    """(column, reason) that excludes a row whatever its scores; column `ROW` if no single cell is at fault; else "", ""."""
    if row.fault:
        return ROW, row.fault
    text, named = row.cells.get(columns.text), columns.id or columns.writer
    if not essay_id:
        return named, "no id"
    if len(essay_id) > LONGEST_ID:
        return named, f"an id of {len(essay_id)} characters, more than {LONGEST_ID}"
    if text is not None and not isinstance(text, str):
        return columns.text, f"not a text but {type(text).__name__}"
    if not (text or "").strip():
        return columns.text, "empty text"
    for name in columns.used:
        value = row.cells.get(name)
        if reason := "NUL bytes" if isinstance(value, str) and "\0" in value else files.fault(value):
            return name, reason
    return "", ""


def repeated(essay_id: str, where: str, *, same: bool) -> str:
    rounded = "; a spreadsheet has rounded this id" if ROUNDED_ID.fullmatch(essay_id) else ""
    return f"{REPEATED} {where}{'' if same else ', with another text or score'}{rounded}"


def are_writers(exclusions: pd.DataFrame) -> bool:
    """Whether most exclusions are for ids that stand several times."""
    return 2 * int(exclusions["reason"].str.startswith(REPEATED).sum()) > len(exclusions)
