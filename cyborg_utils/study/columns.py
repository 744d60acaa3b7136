"""The data dictionary of all result tables: the meaning and unit of every column, and the meaning of an empty cell.

`columns.yaml` is its source; `.venv/bin/python tools/columns.py` writes docs/columns.md from it.
"""

from __future__ import annotations

import functools
from pathlib import Path

import yaml

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.study import artefacts

SCORE = "<score>"  # stands for every column that is named after a score
HEADER = "| column | meaning | unit | an empty cell means |\n|---|---|---|---|"
Entries = dict[str, dict[str, str]]


@functools.lru_cache
def dictionary() -> tuple[Entries, dict[str, Entries]]:
    """The entries that hold for every table, and those that hold for one table only."""
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return content["columns"], content["tables"]


def name(column: str) -> str:
    """The name under which the dictionary lists a column."""
    return SCORE if column.replace(".", "", 1).isdigit() else column


def entry(table: str, column: str) -> dict[str, str]:
    """meaning, unit and (where a cell can be empty) empty of a table's column. Raises CyborgError for an undescribed column."""
    everywhere, tables = dictionary()
    base, known = artefacts.artefact(table, "table")["name"], name(column)
    found = tables.get(base, {}).get(known) or everywhere.get(known)
    if found is None:
        raise CyborgError(f"cyborg_utils/study/columns.yaml: no column {column!r} of {base}. Say there what it means.")
    return found


def page() -> str:
    """The text of docs/columns.md."""
    everywhere, tables = dictionary()
    parts = [
        "# Columns of the result tables",
        "Made from `cyborg_utils/study/columns.yaml` by `python tools/columns.py`. Tables are CSV files in "
        "`results/<study>/tables`: 12 significant digits, `.` for decimals, an undefined value is an empty cell.",
        "## In every table",
        _rows(everywhere),
        "## In one table alone",
    ]
    registry = artefacts.registry()
    parts += [f"**{table}**: {registry[table]['title']}\n\n{_rows(entries)}" for table, entries in tables.items()]
    return "\n\n".join(parts) + "\n"


def _rows(entries: Entries) -> str:
    cells = [(f"`{column}`", told["meaning"], told["unit"], told.get("empty", "")) for column, told in entries.items()]
    return "\n".join([HEADER, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)])
