"""Verifies committed results: exactly, by a rebuild from the scores; or, after retraining, claim by claim.

`cyborg verify demo` rebuilds every table and figure that can be computed from the committed scores, without a model, and lists
the cells that differ by more than 1e-9. With `--retrained` it compares the present tables, from retrained models, with the
committed ones as described in `study.claims`. The exit code is 1 where anything differs.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.run import rebuild
from cyborg_utils.study import artefacts, claims

EXACT = 1e-9  # relative above 1, else absolute
SHOWN = 20  # differences printed for one table; the rest are counted


@dataclass(frozen=True)
class Report:
    """A summary of what was compared, and a line for every difference."""

    text: str
    differences: list[str]

    @property
    def ok(self) -> bool:
        return not self.differences


def compare(profile: str, *, retrained: bool = False, against: str = "HEAD") -> Report:
    """Rebuild a study from the scores of a commit and compare exactly; with `retrained`, compare the claims of present tables.

    Raises CyborgError where the commit has no scores of the study, and where a notebook fails.
    """
    return _retrained(profile, against) if retrained else _exact(profile, against)


def differences(committed: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    """A line for every difference between two tables; empty where they agree.

    Rows are compared by position and named by their first cell. Two undefined cells agree; numbers agree to `EXACT`; everything
    else must be identical. Added, removed or moved columns are a difference, and so is a different number of rows.
    """
    if list(committed.columns) != list(now.columns):
        return [f"columns: committed {', '.join(committed.columns)}; now {', '.join(now.columns)}"]
    if len(committed) != len(now):
        return [f"rows: committed {len(committed)}; now {len(now)}"]
    return [
        f"row {row + 1} ({committed.iloc[row, 0]}), column {column}: committed {old}, now {new}"
        for column in committed.columns
        for row, (old, new) in enumerate(zip(committed[column], now[column], strict=True))
        if gap(old, new) > EXACT
    ]


def gap(old: object, new: object) -> float:
    """Distance of two cells: for numbers absolute, relative above 1; otherwise 0 if both are undefined or equal, else inf."""
    if pd.isna(old) or pd.isna(new):
        return 0.0 if pd.isna(old) and pd.isna(new) else math.inf
    try:
        old_number, new_number = float(old), float(new)
        return 0.0 if old_number == new_number else abs(new_number - old_number) / max(1.0, abs(old_number), abs(new_number))
    except (TypeError, ValueError):  # text
        return 0.0 if str(old) == str(new) else math.inf


def between(committed: Path, now: Path, notebooks: list[str]) -> tuple[int, int, list[str]]:
    """Compare two folders of results: the numbers of committed tables and figures of these notebooks, and all differences.

    A figure is compared by its text alternative. A table or figure that only one folder has is a difference.
    """
    counts, lines = {"tables": 0, "figures": 0}, []
    for kind, ending in (("tables", ".csv"), ("figures", ".alt.txt")):
        there = {file.name.removesuffix(ending) for folder in (committed, now) for file in (folder / kind).glob(f"*{ending}")}
        for name in sorted(name for name in there if artefacts.artefact(name)["notebook"] in notebooks):
            old, new = (folder / kind / f"{name}{ending}" for folder in (committed, now))
            counts[kind] += old.is_file()
            if not (old.is_file() and new.is_file()):
                found = ["committed, but not made any more" if old.is_file() else "made now, but not committed"]
            elif kind == "tables":
                found = differences(*(pd.read_csv(file, float_precision="round_trip") for file in (old, new)))
            else:
                words = [file.read_text(encoding="utf-8").strip() for file in (old, new)]
                found = [] if words[0] == words[1] else [f"committed {words[0]!r}; now {words[1]!r}"]
            lines += [f"{old.parent.name}/{old.name}: {line}" for line in found[:SHOWN]]
            lines += [f"{old.parent.name}/{old.name}: and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return counts["tables"], counts["figures"], lines


def left_out(profile: str, committed: Path, notebooks: list[str]) -> list[str]:
    """A line for each notebook that is not executed, with the committed tables and figures that are therefore not rebuilt."""
    files = [*(committed / "tables").glob("*.csv"), *(committed / "figures").glob("*.alt.txt")]
    names = sorted({artefacts.RUN_SUFFIX.sub("", file.name.removesuffix(".alt.txt").removesuffix(".csv")) for file in files})
    by_notebook: dict[str, list[str]] = {}
    for name in names:
        if (notebook := artefacts.registry()[name]["notebook"]) not in notebooks:
            by_notebook.setdefault(notebook, []).append(name)
    study = config.load(profile)
    why = {"essays": "needs the corpus's own files", "model": "needs a model", "scores": "has no committed record"}
    return [f"  {name} ({why[artefacts.needs(name, study)]}): {', '.join(names)}" for name, names in sorted(by_notebook.items())]


def _exact(profile: str, against: str) -> Report:
    started = time.time()
    with rebuild.rebuilt(profile, commit=against) as (folder, notebooks):
        old, new = folder / "committed" / "results" / profile, folder / "results" / profile
        tables, figures, lines = between(old, new, notebooks)
        essays = [one / "scores" / "essays.csv" for one in (old, new)]
        if essays[0].is_file() and essays[0].read_bytes() != essays[1].read_bytes():
            lines.append("scores/essays.csv: notebook 01 writes another one from the corpus's files")
        left = left_out(profile, old, notebooks)
    lines = [f"results/{profile}/{line}" for line in lines]
    text = f"verify {profile}: {tables} tables and the data of {figures} figures rebuilt from the scores of {against} in "
    text += f"{time.time() - started:.0f} s, {len(lines)} difference(s) above {EXACT:g}"
    return Report("\n".join([text, *(["Not rebuilt:", *left] if left else [])]), lines)


def _retrained(profile: str, against: str) -> Report:
    with tempfile.TemporaryDirectory(prefix="cyborg-verify-") as name:
        rebuild.extract(profile, against, Path(name))
        committed = Path(name) / "results" / profile
        table = claims.held(committed, paths.results(profile), config.load(profile), claims.noise())
    wrong = table[~table["ok"]]
    text = f"verify {profile}, retrained: {len(table)} claims, {len(wrong)} outside their limit\n{claims.RULE}"
    return Report(f"{claims.shown(table)}\n\n{text}", [f"{row.claim}: {row.difference:+.3f}" for row in wrong.itertuples()])
