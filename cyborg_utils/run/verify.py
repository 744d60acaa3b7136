"""Recomputed tables against the committed ones: `cyborg verify demo`. Says which cell differs, exits 1 if so.

How far a cell may differ stands in `params/artefacts.yaml`, column by column: results of a model change a little with processor,
thread count and library build, counts and names do not.
"""

from __future__ import annotations

import io
import math
import subprocess

import pandas as pd

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.study import artefacts

SHOWN = 20  # differences printed for one table; the rest are counted


def compare(committed: pd.DataFrame, now: pd.DataFrame, tolerance: dict[str, float]) -> list[str]:
    """Every difference of two tables in words; empty where they agree.

    Rows are compared by place, and named by their first cell. Two undefined cells agree; numbers agree within the tolerance of
    their column (`tolerance["default"]`, or 0, where it has none of its own); everything else must be the same. Columns that
    appear, go or move, and another number of rows, are differences.
    """
    if list(committed.columns) != list(now.columns):
        return [f"columns: committed {', '.join(committed.columns)}; now {', '.join(now.columns)}"]
    if len(committed) != len(now):
        return [f"rows: committed {len(committed)}; now {len(now)}"]
    found = []
    for column in committed.columns:
        most = allowed(column, tolerance)
        if most == math.inf:
            continue
        for row, (old, new) in enumerate(zip(committed[column], now[column], strict=True)):
            if gap(old, new) > most + 1e-9:
                name = f"row {row + 1} ({committed.iloc[row, 0]}), column {column}"
                found.append(f"{name}: committed {old}, now {new}, tolerance {most:g}")
    return found


def allowed(column: str, tolerance: dict[str, float]) -> float:
    """How far a column's cells may differ; inf where it is not compared."""
    return float(tolerance.get(column, tolerance.get("default", 0)))


def gap(old: object, new: object) -> float:
    """Distance of two cells: 0 for two undefined ones, the same words or nine same digits; inf for other words."""
    if pd.isna(old) or pd.isna(new):
        return 0.0 if pd.isna(old) and pd.isna(new) else math.inf
    try:
        old_number, new_number = float(old), float(new)
        return 0.0 if math.isclose(old_number, new_number, rel_tol=1e-9) else abs(new_number - old_number)
    except (TypeError, ValueError):  # words
        return 0.0 if str(old) == str(new) else math.inf


def committed(profile: str, kind: str, commit: str, ending: str = ".csv") -> dict[str, str]:
    """A study's committed files of one kind ("tables", "records"), by name without its ending."""
    folder = paths.shown(paths.results(profile, kind))
    names = _git("ls-tree", "-r", "--name-only", commit, "--", folder).splitlines()
    texts = {name: _git("show", f"{commit}:./{name}") for name in names if name.endswith(ending)}
    return {name.rsplit("/", 1)[-1].removesuffix(ending): text for name, text in texts.items()}


def verify(profile: str, *, against: str = "HEAD") -> tuple[int, list[str]]:
    """Number of committed tables of a study, and every difference of the present ones from them (a missing or new table is one).

    Raises CyborgError where the commit holds no table of the study.
    """
    folder, tables = paths.shown(paths.results(profile, "tables")), committed(profile, "tables", against)
    if not tables:
        raise CyborgError(f"{folder}: the commit {against} holds no table to compare with.")
    found = []
    for table, text in tables.items():
        name, file = f"{folder}/{table}.csv", paths.results(profile, "tables", f"{table}.csv")
        if not file.is_file():
            found.append(f"{name}: committed, but not there now")
            continue
        tolerance = artefacts.artefact(table, "table").get("tolerance", {})
        differences = compare(pd.read_csv(io.StringIO(text)), pd.read_csv(file), tolerance)
        found += [f"{name}: {line}" for line in differences[:SHOWN]]
        if len(differences) > SHOWN:
            found.append(f"{name}: and {len(differences) - SHOWN} more")
    present = {file.stem for file in paths.results(profile, "tables").glob("*.csv")}
    new = [f"{folder}/{name}.csv: there now, but not committed" for name in sorted(present - set(tables))]
    return len(tables), found + new


def _git(*arguments: str) -> str:
    call = ["git", "-C", str(paths.home()), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise CyborgError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
