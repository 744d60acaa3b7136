"""A table of predictions, read without loss or refused with a remedy; and the folder where its audit is written."""

from __future__ import annotations

import itertools
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files
from cyborg_utils.stats import metrics
from cyborg_utils.stats.fairness import NOT_RECORDED
from cyborg_utils.study import arms, artefacts, scores

NOTEBOOK = "14_audit_scores"
OWN = (
    "bench",
    "coverage",
    "robustness",
    "public_scorers",
)  # folders of results/ that belong to the package, beside those of the studies
SHOWN = 5  # faults told in full
PROMPTS = ("prompt", "prompt_id", "prompt_name", "essay_set")  # names of a column of prompts that nobody need point to


# ---------------------------------------------------------------- where an audit is written


def folder_name(file: Path) -> str:
    """A name for results/ from a file's name: letters of any alphabet, digits and `_`; at most 60, which every disk can hold."""
    stem = unicodedata.normalize("NFC", file.stem).lower()
    return re.sub(r"\W+", "_", stem).strip("_")[:60] or "audit"


def check_folder(name: str, file: Path, *, replace: bool = False) -> None:
    """Raises CyborgError where results/<name> is a study's, the package's, or holds the audit of a file with other content."""
    folder, record = paths.results(name), artefacts.record_file(name, NOTEBOOK)
    owners = {study.casefold(): f"is the folder of the study {study!r}" for study in config.profiles()}
    owner = (owners | dict.fromkeys(OWN, "holds results of this package")).get(name.casefold(), "")
    if not owner and folder.is_dir() and any(folder.iterdir()):
        earlier = json.loads(record.read_text(encoding="utf-8"))["inputs"] if record.is_file() else None
        if earlier is None and not (folder / "tables" / "table_audit.csv").is_file():
            owner = "is there and is no audit"
        elif earlier is not None and provenance.sha256(file)[:16] not in earlier.values() and not replace:
            raise CyborgError(
                f"results/{name} holds the audit of {', '.join(earlier) or 'another file'}, with other content than "
                f"{paths.shown(file)} has now. Give another name, such as --name {_another(name, file)}, or --replace it."
            )
    if owner:
        raise CyborgError(f"results/{name} {owner}. Give another, such as --name {name}_audit.")


def remove_older(name: str, started: float) -> None:
    """Take away what an earlier audit wrote to results/<name> and this one, begun at `started`, had no reason to write."""
    entries = artefacts.registry().items()
    for artefact in [one for one, entry in entries if entry["notebook"] == NOTEBOOK and entry.get("optional")]:
        for file in artefacts.files(name, artefact):
            if file.is_file() and file.stat().st_mtime < started:
                file.unlink()


def _another(name: str, file: Path) -> str:
    """A free name: that of the file's folder before its own, or with a number behind."""
    names = itertools.chain([f"{folder_name(file.parent)}_{name}"[:90]], (f"{name}_{at}" for at in itertools.count(2)))
    return next(one for one in names if not paths.results(one).exists())


# ---------------------------------------------------------------- reading


def load(
    file: str | Path,
    *,
    id: str,
    human: str,
    machine: str,
    groups: Sequence[str],
    scale: Scale,
    second: str = "",
    prompt: str = "",
    machine_scale: Sequence[float] = (),
    none_is_value: bool = False,
    reading: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """Checked predictions, one row an essay: essay_id, score, value, second_score (NaN where there is none), groups.<name>.

    With a column of prompts (`prompt`, else one of `PROMPTS`), also prompt. How the `file` is read is found out
    (`files.layout`), but for what `reading` says. A human score lies on the scale; a machine's may be any real number, and
    `machine_scale` (its lowest and highest score) is mapped linearly onto the scale. An empty group or second score is unknown;
    so is a group called None, NA or the like, unless `none_is_value`. `attrs["notes"]` tells such readings. Nothing is left
    out: raises CyborgError that names file, row and column of every kind of fault, and where machine scores lie on another
    scale than that given.
    """
    path = files.given(str(file))
    wanted = [name for name in (id, human, machine, second, prompt, *groups) if name]
    how = files.layout(path, **reading)
    there = files.header(path, how)
    if absent := [name for name in wanted if name not in there]:
        told = f"no column {files.listed(absent)}; there are {files.listed(there)}"
        raise CyborgError(f"{paths.shown(path)}: {told}. Name the columns.")
    for names, role in (([human, machine, *filter(None, [second])], "score"), (groups, "group")):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise CyborgError(f"{paths.shown(path)}: column {files.listed(twice)} is given twice as a {role}. Name each once.")
    named, prompt = prompt, prompt or next((name for name in there if name.lower() in PROMPTS and name not in wanted), "")
    wanted = list(dict.fromkeys([*wanted, *filter(None, [prompt])]))
    rows, faults, seen, unknown = [], [], {}, Counter()
    for row in files.rows(path, how):
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
        if prompt:
            found["prompt"] = files.group(row.cells.get(prompt)) or files.text(row.cells.get(prompt)) or NOT_RECORDED
        if named and found["prompt"] == NOT_RECORDED:
            faults.append(f"row {row.number}, column {prompt}: no prompt")
        for name in groups:
            cell = row.cells.get(name)
            found[f"groups.{name}"] = files.group(cell, () if none_is_value else files.MISSING)
            if found[f"groups.{name}"] is None:
                unknown[name, files.text(cell)] += 1
        rows.append(found)
    if faults:
        told = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise CyborgError(f"{paths.shown(path)}: {len(faults)} fault(s); mend these cells or take the rows out:\n{told}{more}")
    columns = ["essay_id", "score", "value", "second_score", *["prompt"] * bool(prompt), *(f"groups.{name}" for name in groups)]
    frame = pd.DataFrame(rows, columns=columns)
    notes = [*how.notes, *files.unknown_groups(unknown, "use --none-is-value")]
    if prompt and not named:
        notes.append(f"Column `{prompt}` is read as that of the prompts (`--prompt` names another).")
    if len(machine_scale):
        frame["value"] = _mapped(frame["value"], machine_scale, scale)
        notes.append(f"Machine scores from {_span(machine_scale)} are mapped linearly onto {_span([scale.low, scale.high])}.")
    for role, column in (("value", machine), ("second_score", second)):
        if odd := _other_scale(frame.dropna(subset=[role]), role, scale, machine_scale):
            raise CyborgError(f"{paths.shown(path)}, column {column}: {odd}")
    frame.attrs["notes"] = notes
    return frame


def _mapped(value: pd.Series, ends: Sequence[float], scale: Scale) -> pd.Series:
    """Machine scores from their own scale, mapped linearly onto the scale of the human scores."""
    if len(ends) != 2 or not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise CyborgError(f"machine scale {list(ends)}: needs the lowest and the highest score, such as 0 1.")
    return scale.low + (value - ends[0]) * (scale.high - scale.low) / (ends[1] - ends[0])


def _other_scale(frame: pd.DataFrame, role: str, scale: Scale, machine_scale: Sequence[float]) -> str:
    """Why scores are not on the scale, and what to do; "" where they may be, as under 10 essays and where that was declared.

    Signs: over half of them lie outside the scale; or, where they go along with the human scores (r at least 0.3), one of their
    points stands for more than 3 human points, by least squares (1.5 where all lie between 0 and 1 and are no whole numbers). A
    machine that only pulls to the middle stays near 1, whatever its r.
    """
    human, value = frame["score"].to_numpy(), frame[role].to_numpy()
    if len(frame) < 10 or list(machine_scale) == [scale.low, scale.high]:
        return ""
    outside = float(((value < scale.low) | (value > scale.high)).mean())
    r, unit = metrics.pearson_r(human, value), bool(((value >= 0) & (value <= 1)).all() and (value % 1).any())
    slope = r * metrics.sd_ratio(human, value) if r >= 0.3 else 1.0
    declared = role == "value" and len(machine_scale) > 0
    if outside <= 0.5 and (declared or slope <= (1.5 if unit else 3)):
        return ""
    known = f"scores lie in {_span([value.min(), value.max()])}, the scale is {_span([scale.low, scale.high])}"
    if role != "value":
        return f"second human {known}. Take out --second, or bring both to one scale."
    low, high = (0, 1) if unit else (0, 100) if value.min() >= 0 and 10 < value.max() <= 100 else (value.min(), value.max())
    return (
        f"machine {known}{' after the mapping' if declared else ''}. Nothing can be judged like this. Declare the machine's "
        f"scale, such as --machine-scale {low:g} {high:g}; it is mapped linearly. If these scores do count as they are, say "
        f"--machine-scale {scale.low:g} {scale.high:g}."
    )


def _span(ends: Sequence[float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"


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
    keep = ["essay_id", "score", "value", "second_score", "prompt", *(name for name in chosen if name.startswith("groups."))]
    return chosen[keep].reset_index(drop=True)


def _number(cell: object, scale: Scale | None, needed: bool) -> tuple[float, str]:
    """A cell as a number, and what is wrong with it; on the scale, where one is given."""
    if files.missing(cell):
        return math.nan, "no score" if needed else ""
    if math.isnan(number := files.number(cell)):
        return math.nan, f"{files.text(cell)[:30]!r} is not a finite number"
    if scale is not None and not scale.contains(number):
        return math.nan, f"{number:g} is not on the scale {scale}"
    return number, ""
