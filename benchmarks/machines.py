"""How far training noise moves the numbers: `.venv/bin/python benchmarks/machines.py demo COMMIT COMMIT`.

The tables of a study that two machines made and committed, side by side. Writes robustness/machines.csv (a row for each table and
column: cells, how many differ at all, the largest difference), machines.md (the column of each table that moves most), and
machines.json. What changed in the code between the two commits counts as a difference too.

It also writes robustness/noise.csv, for `make verify RETRAINED=1`: the SD of one trained model's QWK and SMD by rater, from
three sources: seeds of the study `ellipse` (another U each, so if anything too large), seeds of the ablation of `demo` (the
Teacher), and the two machines (same seed, same U; SD = root mean square of the differences / sqrt 2).
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from cyborg_utils.core import paths, provenance
from cyborg_utils.run import rebuild, verify
from cyborg_utils.stats import fairness
from cyborg_utils.study import artefacts, claims

COLUMNS = ["table", "column", "cells", "differ", "largest"]
NOISE = ["kind", "rater", "source", "sd", "degrees_of_freedom"]
KEYS = ["fraction", "labels", "student", "head"]


def committed(profile: str, kind: str, commit: str, ending: str = ".csv") -> dict[str, str]:
    """A study's committed files of one kind ("tables", "records"), by name without its ending."""
    folder = paths.shown(paths.results(profile, kind))
    names = [
        name for name in rebuild.git("ls-tree", "-r", "--name-only", commit, "--", folder).splitlines() if name.endswith(ending)
    ]
    return {name.rsplit("/", 1)[-1].removesuffix(ending): rebuild.git("show", f"{commit}:./{name}") for name in names}


def differences(name: str, old: pd.DataFrame, new: pd.DataFrame) -> list[tuple]:
    """Rows of COLUMNS for one table, one for each column. Other words are infinitely far; so is a table of another shape."""
    if list(old.columns) != list(new.columns) or len(old) != len(new):
        return [(name, "(another shape)", 0, 0, math.inf)]
    rows = []
    for column in old.columns:
        gaps = pd.Series([verify.gap(*pair) for pair in zip(old[column], new[column], strict=True)], dtype=float)
        rows.append((name, column, len(gaps), int((gaps > 0).sum()), gaps.max() if len(gaps) else 0.0))
    return rows


def most_moved(table: pd.DataFrame) -> pd.DataFrame:
    """The column of each table whose numbers differ most; verdicts and other words left out."""
    moved = table[(table["largest"] > 0) & (table["largest"] < math.inf) | (table["column"] == "(another shape)")]
    return moved.sort_values("largest", ascending=False).drop_duplicates("table").reset_index(drop=True)


def pooled(values: pd.DataFrame, kind: str, source: str) -> Iterator[tuple]:
    """Rows of NOISE: by rater the root of the mean variance of one number over seeds, weighted by degrees of freedom.

    `values`: student, head, variance, degrees (of freedom); models that no training noise reaches (variance 0) are left out.
    """
    values = values[values["variance"] > 0]
    for rater, part in values.groupby([claims.rater(row.student, row.head) for row in values.itertuples()]):
        degrees = int(part["degrees"].sum())
        yield kind, rater, source, math.sqrt((part["variance"] * part["degrees"]).sum() / degrees), degrees


def of_seeds(profile: str) -> Iterator[tuple]:
    """Noise over the seeds of a study, from its tables."""
    source = f"seeds of {profile}"
    table = artefacts.read_table(profile, "table_seed_variance")
    yield from pooled(table.assign(variance=table["seed_sd"] ** 2, degrees=table["seeds"] - 1), "qwk", source)
    table = artefacts.read_table(profile, "table_smd").query("scores != 'raw' and seeds > 1")
    table = table.assign(variance=table["smd_seed_sd"] ** 2, degrees=table["seeds"] - 1)
    yield from pooled(table[table["attribute"] == "all"], "smd", source)
    yield from pooled(table[(table["attribute"] != "all") & table["verdict"].isin(fairness.SIGNS)], "group smd", source)


def of_ablation(profile: str) -> Iterator[tuple]:
    """Noise of the Teacher over the seeds of `benchmarks/targets.py`, with the targets that the study uses."""
    runs = pd.read_csv(paths.results(profile, "ablation", "targets.csv")).query("target_sd > 0")
    columns = {("qwk", "teacher"): "qwk", ("qwk", "teacher-expected"): "qwk_expected_matched", ("smd", "teacher"): "smd"}
    for (kind, rater), column in columns.items():
        yield kind, rater, f"seeds of {profile}/ablation", runs[column].std(), len(runs) - 1


def of_machines(first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame], source: str) -> Iterator[tuple]:
    """Noise between two machines, from the tables of both by name; one degree of freedom for each number that differs."""
    qwk = first["table_qwk"].merge(second["table_qwk"], on=KEYS)
    yield from pooled(qwk.assign(variance=(qwk["qwk_x"] - qwk["qwk_y"]) ** 2 / 2, degrees=1), "qwk", source)
    smd = first["table_smd"].merge(second["table_smd"], on=[*KEYS, "scores", "attribute", "group"]).query("scores != 'raw'")
    smd = smd.assign(variance=(smd["smd_x"] - smd["smd_y"]) ** 2 / 2, degrees=1)
    yield from pooled(smd[smd["attribute"] == "all"], "smd", source)
    yield from pooled(smd[(smd["attribute"] != "all") & smd["verdict_x"].isin(fairness.SIGNS)], "group smd", source)


def processors(records: Iterable[str]) -> str:
    """The processors in a study's records (JSON), each once."""
    return ", ".join(sorted({json.loads(record)["hardware"]["processor"] for record in records})) or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile")
    parser.add_argument("commits", nargs=2, metavar="COMMIT", help="one with the results of each machine")
    parser.add_argument("--seeds", default="ellipse", help="the study whose seeds tell the noise")
    parser.add_argument("--folder", type=Path, default=paths.results("robustness"))
    options = parser.parse_args()
    texts = [committed(options.profile, "tables", commit) for commit in options.commits]
    first, second = ({name: pd.read_csv(io.StringIO(text)) for name, text in each.items()} for each in texts)
    rows = [row for name in sorted(set(first) & set(second)) for row in differences(name, first[name], second[name])]
    found = pd.DataFrame(rows, columns=COLUMNS)
    where = [
        f"{processors(committed(options.profile, 'records', commit, '.json').values())} (commit {commit})"
        for commit in options.commits
    ]
    source = f"two machines, {options.profile}, commits {' and '.join(options.commits)}"
    noise = [*of_seeds(options.seeds), *of_ablation(options.profile), *of_machines(first, second, source)]
    noise = pd.DataFrame(noise, columns=NOISE).sort_values(["kind", "rater", "source"], ignore_index=True)
    head = (
        f"The study `{options.profile}` on two machines: {' and '.join(where)}. {found['table'].nunique()} tables, "
        f"{found['cells'].sum():,} cells compared, {found['differ'].sum():,} differ at all. A change of the code between the two "
        "commits counts as well; a table of another shape is named. The largest difference of each table (relative above 1):"
    )
    artefacts.write(options.folder / "machines.csv", found.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    artefacts.write(options.folder / "noise.csv", noise.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    tables = [most_moved(found), noise]
    parts = [head, *(table.to_markdown(index=False, floatfmt=".4g") for table in tables)]
    parts.insert(2, "The SD of one trained model, by source; `make verify RETRAINED=1` takes the largest:")
    artefacts.write(options.folder / "machines.md", "\n\n".join(parts) + "\n")
    settings = {"profile": options.profile, "commits": options.commits, "seeds": options.seeds}
    measured = {"cells": int(found["cells"].sum()), "differ": int(found["differ"].sum())}
    provenance.write_json(options.folder / "machines.json", provenance.record(settings, measured=measured))
    print((options.folder / "machines.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
