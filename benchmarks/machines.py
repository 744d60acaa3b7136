"""How far another machine moves the numbers: `.venv/bin/python benchmarks/machines.py demo COMMIT COMMIT`.

The tables of a study that two machines made and committed, side by side. Writes robustness/machines.csv (a row for each table and
column: cells, how many differ at all, the largest difference, the tolerance that `make verify` allows), machines.md (each table's
column that comes nearest to its tolerance) and machines.json. What changed in the code between the two commits counts as a
difference too.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cyborg_utils.core import paths, provenance
from cyborg_utils.run import verify
from cyborg_utils.study import artefacts

COLUMNS = ["table", "column", "cells", "differ", "largest", "tolerance", "over"]


def differences(name: str, old: pd.DataFrame, new: pd.DataFrame, tolerance: dict[str, float]) -> list[tuple]:
    """Rows of COLUMNS for one table, one for each column that is compared.

    Other words are infinitely far. A table of another shape is one row with no cells and `over` 1.
    """
    if list(old.columns) != list(new.columns) or len(old) != len(new):
        return [(name, "(another shape)", 0, 0, math.inf, 0.0, 1)]
    rows = []
    for column in old.columns:
        gaps = pd.Series([verify.gap(*pair) for pair in zip(old[column], new[column], strict=True)], dtype=float)
        most = verify.allowed(column, tolerance)
        if most < math.inf and len(gaps):
            rows.append((name, column, len(gaps), int((gaps > 0).sum()), gaps.max(), most, int((gaps > most + 1e-9).sum())))
    return rows


def nearest(found: pd.DataFrame) -> pd.DataFrame:
    """The row of each table that uses up most of its tolerance, of those that differ."""
    used = (found["largest"] / found["tolerance"].replace(0, 1e-12)).rename("used")
    first = found.assign(used=used)[found["largest"] > 0].sort_values("used", ascending=False).drop_duplicates("table")
    return first.drop(columns=["used", "cells", "differ"]).reset_index(drop=True)


def processors(records: Iterable[str]) -> str:
    """The processors in a study's records (JSON), each once."""
    return ", ".join(sorted({json.loads(record)["hardware"]["processor"] for record in records})) or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile")
    parser.add_argument("commits", nargs=2, metavar="COMMIT", help="one with the results of each machine")
    parser.add_argument("--folder", type=Path, default=paths.results("robustness"))
    options = parser.parse_args()
    first, second = (verify.committed(options.profile, "tables", commit) for commit in options.commits)
    rows = []
    for name in sorted(set(first) & set(second)):
        old, new = (pd.read_csv(io.StringIO(tables[name])) for tables in (first, second))
        rows += differences(name, old, new, artefacts.artefact(name, "table").get("tolerance", {}))
    found = pd.DataFrame(rows, columns=COLUMNS)
    where = [
        f"{processors(verify.committed(options.profile, 'records', commit, '.json').values())} (commit {commit})"
        for commit in options.commits
    ]
    head = (
        f"The study `{options.profile}` on two machines: {' and '.join(where)}. {found['table'].nunique()} tables, "
        f"{found['cells'].sum():,} cells compared, {found['differ'].sum():,} differ at all, {found['over'].sum():,} by more than "
        "`make verify` allows. A change of the code between the two commits counts as well; a table of another shape is named."
    )
    artefacts.write(options.folder / "machines.csv", found.to_csv(index=False, lineterminator="\n"))
    artefacts.write(options.folder / "machines.md", f"{head}\n\n{nearest(found).to_markdown(index=False, floatfmt='.4g')}\n")
    settings = {"profile": options.profile, "commits": options.commits}
    measured = {"cells": int(found["cells"].sum()), "differ": int(found["differ"].sum()), "over": int(found["over"].sum())}
    provenance.write_json(options.folder / "machines.json", provenance.record(settings, measured=measured))
    print((options.folder / "machines.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
