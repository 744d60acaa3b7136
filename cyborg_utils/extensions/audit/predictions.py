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
from typing import Any

import pandas as pd

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import advice, files, human_scores
from cyborg_utils.data.human_scores import UNSCORED, ScoreReader
from cyborg_utils.extensions.audit.rows import Rows
from cyborg_utils.stats import metrics
from cyborg_utils.stats.fairness import NOT_RECORDED
from cyborg_utils.study import arms, artefacts, scores

NOTEBOOK = "14_audit_scores"
OWN = ("bench", "coverage", "robustness", "public_scorers")  # folders of results/ that are the package's, beside the studies'
LONGEST = 16  # characters of a score that are remembered for an advice
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

SCORING = ("labels", "condition_codes", "combine", "adjudication", "rater", "unscored")  # how scores are read: see `load`


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
    weight: str = "",
    machine_scale: Sequence[float] = (),
    none_is_value: bool = False,
    reading: Mapping[str, str] = MappingProxyType({}),
    scoring: Mapping[str, Any] = MappingProxyType({}),
) -> pd.DataFrame:
    """Checked predictions, one row an essay: essay_id, score, value, second_score (NaN where there is none), groups.<name>.

    With a column of prompts (`prompt`, else one of `PROMPTS`), also prompt; with one of sampling weights (`weight`), also weight.
    How the `file` is read is found out (`files.layout`), but for what `reading` says. A human score lies on the scale; a
    machine's may be any real number, and `machine_scale` (its lowest and highest score) is mapped linearly onto the scale. An
    empty group or second score is unknown; so is a group called None, NA or the like, unless `none_is_value`.

    `scoring` may hold labels and condition_codes (see `human_scores.reader`), and `unscored: drop`, with which essays that lack
    a human or machine score are left out. It may say how people's scores become one: `combine` is "first" (the default) or
    "mean" of the columns `human` and `second`, or, with `rater` (a column: each row is one person's score of an essay), of the
    rows of an essay; a score in the column `adjudication` counts in their place. Then first_score and second_score are those of
    two people.

    `attrs["notes"]` tells such readings. Nothing else is left out: raises CyborgError that names file, row and column of every
    kind of fault, and where machine scores lie on another scale than that given.
    """
    path = files.given(str(file))
    if unknown := sorted(set(scoring) - set(SCORING)):
        raise CyborgError(f"scoring: unknown {files.listed(unknown)}; it may have {', '.join(SCORING)}.")
    if scoring.get("combine", "first") not in human_scores.COMBINE or scoring.get("unscored", "drop") != "drop":
        raise CyborgError("scoring: combine must be mean or first, and unscored, if anything, drop.")
    adjudication, rater = scoring.get("adjudication", ""), scoring.get("rater", "")
    wanted = [name for name in (id, human, machine, second, prompt, weight, adjudication, rater, *groups) if name]
    how = files.layout(path, **reading)
    there = files.header(path, how)
    if absent := [name for name in wanted if name not in there]:
        told = f"no column {files.listed(absent)}; there are {files.listed(there)}"
        raise CyborgError(f"{paths.shown(path)}: {told}. Name the columns.")
    for names, role in (([human, machine, *filter(None, [second, adjudication])], "score"), (groups, "group")):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise CyborgError(f"{paths.shown(path)}: column {files.listed(twice)} is given twice as a {role}. Name each once.")
    if rater and second:
        raise CyborgError(f"{paths.shown(path)}: with --rater each row is one person's score, so there is no --second column.")
    named, prompt = prompt, prompt or next((name for name in there if name.lower() in PROMPTS and name not in wanted), "")
    wanted = list(dict.fromkeys([*wanted, *filter(None, [prompt])]))
    reader, table = human_scores.reader(scoring, scale, "--"), Rows(path)
    unknown, seen = Counter(), Counter()
    for row in files.rows(path, how):
        cells = row.cells
        if row.fault:
            table.faults.append(f"row {row.number}: {row.fault}")
            continue
        if odd := [(name, reason) for name in wanted if (reason := files.fault(cells.get(name)))]:
            table.faults += [f"row {row.number}, column {name}: {reason}; save it as UTF-8 text" for name, reason in odd]
            continue
        found: dict[str, Any] = {"essay_id": files.text(cells.get(id))}
        reasons, task = {}, files.text(cells.get(prompt)) if prompt else ""
        for column, role in ((human, "score"), (second, "second_score"), (adjudication, "resolved")):
            found[role], reasons[role, column] = reader.read(cells.get(column), task) if column else (math.nan, "")
        seen.update(files.text(cells.get(column))[:LONGEST] for column in (human, second) if column)
        found["value"], reasons["value", machine] = _number(cells.get(machine), reader)
        if reasons["value", machine] not in ("", UNSCORED):
            seen[files.text(cells.get(machine))[:LONGEST]] += 1
        if weight:
            found["weight"], reasons["weight", weight] = _weight(cells.get(weight))
        if prompt:
            found["prompt"] = files.group(cells.get(prompt)) or files.text(cells.get(prompt)) or NOT_RECORDED
        if named and found["prompt"] == NOT_RECORDED:
            reasons["prompt", prompt] = "no prompt"
        for name in groups:
            found[f"groups.{name}"] = files.group(cells.get(name), () if none_is_value else files.MISSING)
            if found[f"groups.{name}"] is None:
                unknown[name, files.text(cells.get(name))] += 1
        table.add(row.number, found, reasons, id, scoring=scoring)
    table.refuse(advice.scores(seen, scale, advice.COMMAND))
    people = [adjudication or rater or scoring.get("combine", "first") == "mean"]
    columns = ["essay_id", "score", "value", *["first_score"] * any(people), "second_score", *["weight"] * bool(weight)]
    columns += [*["prompt"] * bool(prompt), *(f"groups.{name}" for name in groups)]
    frame = pd.DataFrame(table.people(scoring.get("combine", "first")), columns=columns)
    if off := [f"{one:g}" for one in frame["score"] if not scale.contains(one)]:
        told = f"{len(off)} means of people's scores, such as {off[0]}, are off the scale {scale}"
        hint = advice.scores(Counter(off) + seen, scale, advice.COMMAND)
        raise CyborgError(f"{paths.shown(path)}: {told}.{hint} Or --combine first.")
    notes = [*how.notes, *reader.notes, *table.notes, *files.unknown_groups(unknown, "use --none-is-value")]
    if prompt and not named:
        notes.append(f"Column `{prompt}` is read as that of the prompts (`--prompt` names another).")
    if len(machine_scale):
        frame["value"] = _mapped(frame["value"], machine_scale, scale)
        notes.append(f"Machine scores from {_span(machine_scale)} are mapped linearly onto {_span([scale.low, scale.high])}.")
    for role, column in (("value", machine), ("second_score", second or human)):
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
    beside = [name for name in chosen if name == "first_score" or name.startswith("groups.")]
    keep = ["essay_id", "score", "value", "second_score", "prompt", *beside]
    return chosen[keep].reset_index(drop=True)


def _number(cell: object, reader: ScoreReader) -> tuple[float, str]:
    """A machine's score, any real number or a label, and what is wrong with it."""
    if (word := files.text(cell)) in reader.labels:
        return reader.labels[word], ""
    if files.missing(cell):
        return math.nan, UNSCORED
    number = files.number(cell)
    return number, f"{word[:30]!r} is not a finite number" if math.isnan(number) else ""


def _weight(cell: object) -> tuple[float, str]:
    """A sampling weight and what is wrong with it."""
    number = files.number(cell)
    return number, "" if number > 0 else f"{files.text(cell)[:30]!r} is not a weight above 0"
