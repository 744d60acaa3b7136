"""Anybody's predictions -> the audit of notebook 14, without any training:

    python -m cyborg_utils.extensions.audit PREDICTIONS.csv --id id --human score --machine machine --groups gender ell --scale 1 6 1

One row an essay: an id, a human score, a machine score made elsewhere, and, where there are any, a second human score and groups
of writers. Essays' texts are not needed and not read. Results are written as a study's are, in `results/<name>`.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files
from cyborg_utils.run import execute
from cyborg_utils.stats import metrics
from cyborg_utils.stats.bootstrap import Interval, bootstrap_interval
from cyborg_utils.study import arms, scores

NOTEBOOK = "14_audit_scores"
SHOWN = 5  # faults told in full
LARGEST = "largest |SMD| of a group"


def load(
    file: str | Path, *, id: str, human: str, machine: str, groups: Sequence[str], scale: Scale, second: str = ""
) -> pd.DataFrame:
    """Checked predictions, one row an essay: essay_id, score, value, second_score (NaN where there is none), groups.<name>.

    `file` is CSV, TSV, Parquet or JSON Lines. A human score lies on the scale; a machine's may be any real number. An empty group
    or second score is unknown. Nothing is left out: raises CyborgError that names file, row and column of every kind of fault.
    """
    path = files.given(str(file))
    wanted = [name for name in (id, human, machine, second, *groups) if name]
    there = files.header(path)
    if absent := [name for name in wanted if name not in there]:
        told = f"no column {files.listed(absent)}; there are {files.listed(there)}"
        raise CyborgError(f"{paths.shown(path)}: {told}. Name the columns.")
    rows, faults, seen = [], [], {}
    for row in files.rows(path):
        found = {"essay_id": files.text(row.cells.get(id)), "score": math.nan, "value": math.nan, "second_score": math.nan}
        if row.fault:
            faults.append(f"row {row.number}: {row.fault}")
            continue
        if odd := [(name, reason) for name in wanted if (reason := files.fault(row.cells.get(name)))]:
            faults += [f"row {row.number}, column {name}: {reason}; save it as UTF-8 text" for name, reason in odd]
            continue
        if not found["essay_id"]:
            faults.append(f"row {row.number}, column {id}: no id")
        elif (before := seen.setdefault(found["essay_id"], row.number)) != row.number:
            faults.append(
                f"row {row.number}, column {id}: {files.printable(found['essay_id'][:40])} stands in row {before} already"
            )
        for column, role, needed in ((human, "score", True), (machine, "value", True), (second, "second_score", False)):
            if column:
                found[role], fault = _number(row.cells.get(column), scale if role != "value" else None, needed)
                faults += [f"row {row.number}, column {column}: {fault}"] if fault else []
        rows.append(found | {f"groups.{name}": files.group(row.cells.get(name)) for name in groups})
    if faults:
        told = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise CyborgError(f"{paths.shown(path)}: {len(faults)} fault(s); mend these cells or take the rows out:\n{told}{more}")
    columns = ["essay_id", "score", "value", "second_score", *(f"groups.{name}" for name in groups)]
    return pd.DataFrame(rows, columns=columns)


def of_study(profile: str, labels: str) -> pd.DataFrame:
    """The test essays of a study as `load` gives them, scored by its first Student on these labels, of its first seed (matched).

    One Student, not the mean over seeds: an average of several scores agrees better with people than any of them would in use.
    """
    raters = scores.raters(profile)
    fraction = arms.headline_fraction(raters) if labels != "full" else 1.0
    student, head = config.load(profile).headline
    own = arms.pick(raters, student=student, head=head, labels=labels, fraction=fraction)
    if own.empty:
        raise CyborgError(f"{profile}: no Student with labels {labels!r}; there are {', '.join(raters['labels'].unique())}.")
    chosen = arms.pick(own, seed=own["seed"].min()).assign(value=lambda rows: rows["matched_value"]).sort_values("essay_id")
    keep = ["essay_id", "score", "value", "second_score", *(name for name in chosen if name.startswith("groups."))]
    return chosen[keep].reset_index(drop=True)


def thresholds(
    frame: pd.DataFrame, scale: Scale, *, by_group: pd.DataFrame, smd_limit: float = 0.10, **options: object
) -> pd.DataFrame:
    """The field's operational thresholds, one row a criterion: criterion, group, value, low, high, threshold, from, met.

    `frame` as `load` gives it; `by_group` the groups that are judged, as `fairness.smd_by_group` has them (no row: none), of
    which the largest |SMD| counts; `group` names it. Intervals are over essays; `options` (resamples, confidence, seed) go to
    `bootstrap.bootstrap_interval`. `met` is judged by the value, as the
    conventions are: "yes", "no", or "not known" (no second human score, no group). They are conventions, not laws.
    """
    human, value = frame["score"].to_numpy(), frame["value"].to_numpy()
    double = frame.dropna(subset=["second_score"])
    people = metrics.qwk(scale.level(double["score"]), scale.level(double["second_score"]), levels=scale.size)
    own = bootstrap_interval(scale.level(human), scale.nearest(value), metric="qwk", **options)
    r, smd, ratio = (bootstrap_interval(human, value, metric=name, **options) for name in ("r", "smd", "sd_ratio"))
    group = metrics.Threshold(f"at most {smd_limit:.2f}", metrics.WILLIAMSON, lambda size: size <= smd_limit)
    name, worst = _largest(by_group)
    rows = [
        ("QWK", own, metrics.THRESHOLDS["qwk"]),
        ("Pearson r", r, metrics.THRESHOLDS["r"]),
        ("below two people (QWK)", Interval(people - own.value, math.nan, math.nan), metrics.THRESHOLDS["below_people"]),
        ("SMD, all essays", smd, metrics.THRESHOLDS["smd"]),
        (LARGEST, worst, group),
        ("SD ratio, human / machine", ratio, metrics.THRESHOLDS["sd_ratio"]),
    ]
    met = ["not known" if math.isnan(found.value) else "yes" if rule.met(found.value) else "no" for _, found, rule in rows]
    told = [
        (criterion, *found, rule.words, rule.source, answer) for (criterion, found, rule), answer in zip(rows, met, strict=True)
    ]
    table = pd.DataFrame(told, columns=["criterion", "value", "low", "high", "threshold", "from", "met"])
    table.insert(1, "group", [name if criterion == LARGEST else "" for criterion in table["criterion"]])
    return table


def _largest(by_group: pd.DataFrame) -> tuple[str, Interval]:
    """Name and |SMD| of the group where it is largest; the interval is that of its SMD, turned round where that is below 0."""
    if by_group.empty:
        return "", Interval(math.nan, math.nan, math.nan)
    worst = by_group.loc[by_group["smd"].abs().idxmax()]
    low, high = worst["smd_low"], worst["smd_high"]
    ends = (low, high) if worst["smd"] >= 0 else (-high, -low)
    return f"{worst['attribute']}: {worst['group']}", Interval(abs(worst["smd"]), *ends)


def _number(cell: object, scale: Scale | None, needed: bool) -> tuple[float, str]:
    """A cell as a number, and what is wrong with it; on the scale, where one is given."""
    if files.missing(cell):
        return math.nan, "no score" if needed else ""
    if math.isnan(number := files.number(cell)):
        return math.nan, f"{files.text(cell)[:30]!r} is not a finite number"
    if scale is not None and not scale.contains(number):
        return math.nan, f"{number:g} is not on the scale {scale}"
    return number, ""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cyborg_utils.extensions.audit",
        description="Audit scores of any machine: agreement, thresholds, fairness.",
    )
    parser.add_argument("file", help="predictions: CSV, TSV, Parquet or JSON Lines")
    parser.add_argument("--id", default="id", help="column of essay ids (default: id)")
    parser.add_argument("--human", default="human", help="column of human scores (default: human)")
    parser.add_argument("--machine", default="machine", help="column of machine scores (default: machine)")
    parser.add_argument("--second", default="", help="column of a second human score, if there is one")
    parser.add_argument("--groups", nargs="*", default=[], help="columns that name groups of writers")
    parser.add_argument("--scale", nargs=3, type=float, required=True, metavar=("LOW", "HIGH", "STEP"))
    parser.add_argument("--name", help="folder in results/ (default: the file's name)")
    options = parser.parse_args()
    name = options.name or re.sub(r"[^a-z0-9_]+", "_", Path(options.file).stem.lower()).strip("_") or "audit"
    try:
        if name in config.profiles():
            raise CyborgError(f"results/{name} is the folder of the study {name!r}. Give another, such as --name {name}_audit.")
        columns = {name: getattr(options, name) for name in ("id", "human", "machine", "second", "groups")}
        load(options.file, **columns, scale=Scale(*options.scale))  # a fault is told at once, not after a kernel has started
        given = columns | {"file": str(Path(options.file).resolve()), "scale": options.scale, "profile": name}
        copy = execute.execute(NOTEBOOK, name, values=config.parameters(paths.notebook(NOTEBOOK)) | given)
    except CyborgError as error:
        sys.exit(f"\n{error}\n")
    print(f"{paths.shown(copy)}\ntables and figures: {paths.shown(paths.results(name))}")


if __name__ == "__main__":
    main()
