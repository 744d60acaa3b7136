"""How far another machine moves the numbers: `.venv/bin/python benchmarks/machines.py demo --against COMMIT`.

The tables of a study in this checkout beside those that another machine made and committed. Writes robustness/machines.csv (a row
for each table and tolerance: cells compared, how many differ at all, the largest difference, the tolerance that `make verify`
allows), machines.md and machines.json. What changed in the code between the two commits counts as a difference too.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cyborg_utils import paths, provenance, report, verify

COLUMNS = ["table", "tolerance", "cells", "differ", "largest", "column", "over"]


def differences(name: str, old: pd.DataFrame, new: pd.DataFrame, tolerance: dict[str, float]) -> list[dict[str, object]]:
    """Rows of COLUMNS for one table, one for each tolerance in it; `column` is where the largest difference stands.

    Other words are infinitely far. A table of another shape is one row with no cells and `over` 1.
    """
    if list(old.columns) != list(new.columns) or len(old) != len(new):
        return [dict(zip(COLUMNS, [name, float("nan"), 0, 0, float("inf"), "(another shape)", 1], strict=True))]
    rows: dict[float, dict[str, object]] = {}
    for column in old.columns:
        allowed = verify.allowed(column, tolerance)
        if allowed == float("inf"):
            continue
        gaps = pd.Series([verify.gap(*pair) for pair in zip(old[column], new[column], strict=True)], dtype=float)
        first = dict(zip(COLUMNS, [name, allowed, 0, 0, 0.0, "", 0], strict=True))
        row = rows.setdefault(allowed, first)
        row["cells"] += len(gaps)
        row["differ"] += int((gaps > 1e-9).sum())
        row["over"] += int((gaps > allowed + 1e-9).sum())
        if len(gaps) and gaps.max() > row["largest"]:
            row["largest"], row["column"] = float(gaps.max()), column
    return [rows[allowed] for allowed in sorted(rows)]


def processors(records: Iterable[str]) -> str:
    """The processors in a study's records (JSON), each once."""
    return ", ".join(sorted({json.loads(record)["hardware"]["processor"] for record in records})) or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="demo")
    parser.add_argument("--against", required=True, help="the commit with the other machine's results")
    parser.add_argument("--folder", type=Path, default=paths.results("robustness"))
    options = parser.parse_args()
    tables, rows = verify.committed(options.profile, "tables", options.against), []
    for name, text in tables.items():
        file = paths.results(options.profile, "tables", f"{name}.csv")
        if file.is_file():
            tolerance = report.artefact(name, "table").get("tolerance", {})
            rows += differences(name, pd.read_csv(io.StringIO(text)), pd.read_csv(file), tolerance)
    found = pd.DataFrame(rows, columns=COLUMNS)
    there = verify.committed(options.profile, "records", options.against, ".json").values()
    here = [file.read_text(encoding="utf-8") for file in paths.results(options.profile, "records").glob("*.json")]
    head = (
        f"The study `{options.profile}` on two machines: {processors(there)} (commit {options.against}) and "
        f"{processors(here)} (here). {found['table'].nunique()} tables, {found['cells'].sum():,} cells compared, "
        f"{found['differ'].sum():,} differ at all, {found['over'].sum():,} by more than `make verify` allows. "
        "A change of the code between the two commits would count as well."
    )
    shown = found[found["differ"] > 0].sort_values(["tolerance", "largest"], ascending=[True, False])
    report.write(options.folder / "machines.csv", found.to_csv(index=False, lineterminator="\n"))
    report.write(options.folder / "machines.md", f"{head}\n\n{shown.to_markdown(index=False, floatfmt='.4g')}\n")
    settings = {"profile": options.profile, "against": options.against}
    measured = {"cells": int(found["cells"].sum()), "differ": int(found["differ"].sum()), "over": int(found["over"].sum())}
    provenance.write_json(options.folder / "machines.json", provenance.record(settings, measured=measured))
    print((options.folder / "machines.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
