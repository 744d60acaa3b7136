"""What a person asked for on the command line, or in a study's file -> essays and a task; and what is told at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora, files
from cyborg_utils.extensions.labelling import essays as tables
from cyborg_utils.extensions.labelling import plan, words
from cyborg_utils.extensions.labelling.essays import Essays
from cyborg_utils.extensions.labelling.found_out import Columns
from cyborg_utils.extensions.labelling.label import PAGE, SCORES, SHEET, Task
from cyborg_utils.extensions.labelling.report import Report, Settings
from cyborg_utils.models import prompt, states

SECTION = "label_your_essays"  # of a study file
STUDY = "study"  # as teacher: the study's own


def of_file(file: Path, options: Mapping[str, Any], reading: Mapping[str, Any]) -> Essays:
    """The essays of a table, by the options of the command line."""
    columns = Columns(**{name: options[name] for name in vars(Columns())})
    further = {name: options[name] for name in ("labels", "condition_codes", "markup") if options[name]}
    further |= {"missing": []} if options["none_is_value"] else {}
    return tables.read(file, columns, scale=options["scale"], reading=reading, options=further)


def task(options: Mapping[str, Any]) -> Task:
    """The task, by the options of the command line. Raises CyborgError for one that makes no sense."""
    kind, value = options["promise"]
    if (number := files.number(value)) != number:
        raise CyborgError(f"--promise {kind} {value}: {value!r} is not a number. Give, for example, adjacent 0.95.")
    for name, good in (
        ("sure", 0.5 < options["sure"] < 1),
        ("minutes", options["minutes"] > 0),
        ("following", options["following"] >= 0),
    ):
        if not good:
            raise CyborgError(f"--{name} {options[name]:g}: makes no sense.")
    settings = Settings(promise=(kind, number), sure=options["sure"], by=options["by"], following=options["following"])
    teachers, rubric = plan.candidates(options["teacher"]), _rubric(options["rubric"])
    return Task(options["minutes"], rubric, teachers, fine_tune=options["fine_tune"], settings=settings)


def of_study(profile: str) -> Essays:
    """The essays of a study's table, those without a score among them."""
    study = config.load(profile)
    data = study.section("prepare_data")
    if data["corpus"] == "table":  # every scored essay counts, whatever the study sets aside
        data = data | tables.READ | {"options": data["options"] | {"unscored": "any"}}
    source = ", ".join(path.name for path in corpora.sources(data)) or data["corpus"]
    named = {role: data["options"].get(role, "") for role in ("id", "text")}
    return replace(tables.of(corpora.build(data), study.scale, source), columns=Columns(**named))


def task_of_study(profile: str) -> Task:
    """The task of a study's section `label_your_essays`, or its defaults."""
    study = config.load(profile)
    return of_section(study.section(SECTION), study)


def of_section(section: Mapping[str, Any], study: config.Settings) -> Task:
    """A task of a study, with the parameters of notebook 15.

    Teacher `study` and the study's first Student read as they do in the study, so that their states are there already. Raises
    CyborgError where the study's Teacher is fine-tuned.
    """
    data = study.section("prepare_data")
    rubric = prompt.rubric(data["corpus"], data["score"], data["options"])
    if not section:
        return Task(rubric=rubric)
    same = ("sure", "interval", "confidence", "by", "following", "smd_limit", "min_group", "resamples", "draws")
    own = {"promise": (section["promise"], section["promised"]), "seed": section["analysis_seed"]}
    settings = Settings(**own, **{name: section[name] for name in same})
    pupil, known, teachers = plan.STUDENT, None, plan.TEACHERS
    if section["teacher"] == STUDY:
        own, theirs = study.section("finetune_teacher"), study.section("train_student")
        if own["method"] != "frozen":
            raise CyborgError(f"{SECTION}: teacher {STUDY} needs a frozen one. Set finetune_teacher: {{method: frozen}}.")
        known = states.Reading(own["model"], tuple(own["layers"]), own["max_tokens"], rubric=own["rubric"])
        pupil = replace(pupil, model=theirs["models"][0], max_tokens=theirs["max_tokens"])
    else:
        teachers = plan.candidates(section["teacher"])
    pupil = replace(pupil, model=section["encoder"]) if section["encoder"] else pupil
    return Task(section["minutes"], rubric, teachers, known, pupil, section["fine_tune"], settings)


def folder_name(file: Path) -> str:
    """A table's folder in build/."""
    name = re.sub(r"[^\w.-]", "_", file.stem)[:80].lstrip(".-_") or "essays"
    return f"label_{name}"


def told(report: Report, out: Path) -> str:
    """The last words of the command: what was found, and where it is."""
    plain = [line.replace("**", "") for line in (words.summary(report), *words.verdicts(report))]
    table = next(name for name in (SHEET, SCORES) if (out / name).is_file())
    return "\n".join(["", *plain, "", f"{out / PAGE}: how good they are; begin here", f"{out / table}: the scores"])


def _rubric(name: str) -> str:
    if not name:
        return ""
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CyborgError(f"{paths.shown(name)}: not readable as a rubric ({error}). Name a text file in UTF-8.") from error
