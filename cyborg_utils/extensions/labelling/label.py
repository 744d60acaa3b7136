"""From a table with some scores to scores with known quality: `cyborg label marks.xlsx`.

What is left in the folder: scores.csv (.xlsx where the table was one), page.html, student/ (for `cyborg score`), cyborg_data/
(the training scores with their card). No essay's text is part of any of it. States of essays stay in build/, so that a second
call reads no essay twice.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import transformers

from cyborg_utils.core import atomic, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.extensions.labelling import machines, page, students, words
from cyborg_utils.extensions.labelling import plan as plans
from cyborg_utils.extensions.labelling import report as reports
from cyborg_utils.extensions.labelling.essays import Essays
from cyborg_utils.extensions.labelling.machines import STUDENT, TEACHER
from cyborg_utils.extensions.labelling.report import Report, Settings
from cyborg_utils.extensions.scoring import advisory_flags
from cyborg_utils.models import states, student
from cyborg_utils.stats import conformal

SCORES, SHEET, PAGE = "scores.csv", "scores.xlsx", "page.html"
CYBORG, PUPIL, TUNED = "cyborg_data", "student", "student_fine_tuned"
WHO = ("human", "machine", "person")  # gave the score; may leave it; should give one


@dataclass(frozen=True)
class Task:
    """What a person asks for. `teachers`: the plan's candidates; `known`: a reading whose states are there, in their place;
    `rubric`: its text."""

    minutes: float = 30.0
    rubric: str = ""
    teachers: tuple[states.Reading, ...] = plans.TEACHERS
    known: states.Reading | None = None
    student: student.Settings = plans.STUDENT
    fine_tune: bool = False
    settings: Settings = field(default_factory=Settings)


def label(essays: Essays, out: Path, task: Task = Task(), *, name: str) -> Report:
    """Score every essay, and write the folder `out`. What is computed on the way is kept in build/<name>.

    Raises CyborgError where `out` holds something else.
    """
    started, build = time.monotonic(), paths.build(name)
    check_folder(out)
    transformers.utils.logging.disable_progress_bar()  # of loading weights: those of reading essays are enough
    plan = plan_of(essays, task, build / "plan.json")
    print(plan.told(len(essays.frame)), flush=True)
    features = machines.features(essays, plan, rubric=task.rubric)
    report = reports.make(essays, features, task.settings)
    pupils = {PUPIL: students.frozen(report, task.student, folder=build / "students")}
    if task.fine_tune:
        pupils[TUNED] = students.fine_tuned(report, features, task.student, folder=build / "students")
    table, told = scores(report, plan), " ".join(one.told for one in pupils.values()).strip()
    done = [*plan.told(len(essays.frame)).splitlines(), f"{time.monotonic() - started:.0f} seconds in all, {machine()}"]
    with atomic.folder(out) as making:
        table.to_csv(making / SCORES, index=False, lineterminator="\n")
        if Path(essays.source).suffix.lower() in (".xlsx", ".xlsm"):
            table.to_excel(making / SHEET, index=False, freeze_panes=(1, 0))
        for folder, pupil in pupils.items():
            pupil.save(report, making / folder, name=name)
            own = _agreement(report, STUDENT)
            facts = {"command": command(essays, out / folder), "own": own, "plan": plan, "told": pupil.told}
            (making / folder / "README.md").write_text(_filled("student.md.j2", report, **facts), encoding="utf-8")
        save_cyborg_data(report, plan, making / CYBORG)
        there = [path.name for path in making.iterdir()]
        text = page.render(report, files=contents(essays, out, there), done=done, fine_tuned=told)
        (making / PAGE).write_text(text, encoding="utf-8")
    return report


def plan_of(essays: Essays, task: Task, file: Path) -> plans.Plan:
    """The plan, kept in `file`. Where states are there already, nothing is measured."""
    if task.known:
        return plans.Plan(task.known, task.student, task.minutes)
    options = {"minutes": task.minutes, "rubric": task.rubric, "teachers": task.teachers, "pupil": task.student}
    return plans.make(essays, **options, file=file)


def check_folder(out: Path) -> None:
    """Raises CyborgError where `out` is a folder or file that this command has not written."""
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / PAGE).is_file() and (out / SCORES).is_file())):
        raise CyborgError(f"{paths.shown(out)}: holds something else. Name another folder with -o.")


def scores(report: Report, plan: plans.Plan) -> pd.DataFrame:
    """One row an essay: id, score, who, low, high, doubt, flags, human, teacher, student, next; of a person's file row before
    them, and a row without a score for what could not be read, so that all its rows stand in their order.

    score: the person's, else the machine's; who: `WHO`; low to high: the interval; doubt: the expected loss by the errors on the
    scored essays (`promises.Wish.risk`); teacher and student: real-valued, with people's mean and SD, of scored essays
    cross-fitted; next: the order in which people should score blank essays.
    """
    essays, cross, own, settings = report.essays, report.cross, report.own, report.settings
    scored, blank, scale = essays.scored, essays.blank, essays.scale
    guess, value = {}, {}
    for name in (TEACHER, STUDENT):
        final = cross.final[name]
        guess[name], value[name] = np.empty(len(essays.frame)), np.empty(len(essays.frame))
        guess[name][scored], value[name][scored] = cross.guess[name], cross.value[name]
        guess[name][blank] = report.blank_guess[name]
        value[name][blank] = final.match.apply(report.blank_guess[name])
    level = scale.nearest(value[settings.by])
    low, high = conformal.interval(own.line.apply(guess[settings.by]), own.width(settings.interval), scale)
    doubt = own.doubt(guess[settings.by], level, report.guarantee.wish.risk)
    human = essays.frame["score"].to_numpy()
    who = np.where(~np.isnan(human), WHO[0], np.where(doubt <= report.guarantee.made.threshold, *WHO[1:]))
    order = pd.Series(np.arange(1, len(report.following) + 1), index=report.following)
    table = pd.DataFrame(
        {
            **({"row": essays.frame["row"]} if "row" in essays.frame else {}),
            "id": essays.frame["essay_id"],
            "score": np.where(np.isnan(human), scale.score(level), human),
            "who": who,
            "low": low.round(2),
            "high": high.round(2),
            "doubt": doubt.round(3),
            "flags": flags(report, plan),
            "human": human,
            "teacher": value[TEACHER].round(2),
            "student": value[STUDENT].round(2),
            "next": order.reindex(range(len(essays.frame))).astype("Int64").to_numpy(),
        }
    )
    if "row" not in table:
        return table
    lost = essays.without.rename(columns={"essay_id": "id"})
    lost = lost[["row", "id"]].assign(flags="no score (" + lost["reason"] + ")")
    return pd.concat([table, lost]).sort_values("row", ignore_index=True) if len(lost) else table


def flags(report: Report, plan: plans.Plan) -> list[str]:
    """Advisory flags of each essay beside all others, and of human scores that should be read again."""
    texts, tasks = report.essays.frame["text"], report.essays.frame["assignment"]
    corpus = advisory_flags.Corpus.of(texts.tolist(), [task for task in tasks if len(task.split()) >= advisory_flags.RUN])
    reading = plan.teacher or states.Reading(plan.student.model, (), plan.student.max_tokens)
    unread = states.unread(texts, reading)
    found = [corpus.flags(corpus.measure(text), cut=share) for text, share in zip(texts, unread, strict=True)]
    for row in report.suspects.itertuples():
        found[report.essays.scored[row.place]]["suspect"] = f"Teacher {row.teacher:.1f}, Student {row.student:.1f}"
    return [advisory_flags.as_text(one) for one in found]


def save_cyborg_data(report: Report, plan: plans.Plan, folder: Path) -> None:
    """The scores that the Student learned from, by id, with their card: id, source (human, teacher), value,
    score (the nearest)."""
    folder.mkdir()
    essays, human = report.essays, report.essays.frame["score"]
    value = human.copy()
    value.iloc[essays.blank] = report.cross.labels
    source = np.where(human.notna(), "human", "teacher")
    frame = pd.DataFrame({"id": essays.frame["essay_id"], "source": source, "value": value.round(4)})
    frame["score"] = essays.scale.score(essays.scale.nearest(frame["value"]))
    frame.to_csv(folder / "cyborg_data.csv", index=False, lineterminator="\n")
    facts = {"plan": plan, "own": _agreement(report, TEACHER), "spread": frame.groupby("source")["value"].describe()}
    (folder / "README.md").write_text(_filled("cyborg_data.md.j2", report, **facts), encoding="utf-8")


def contents(essays: Essays, out: Path, there: Collection[str]) -> dict[str, str]:
    """What the folder holds, by file. `there`: the names of its files."""
    tables = " and ".join(name for name in (SHEET, SCORES) if name in there)
    found = {tables: "every essay with its score; the columns stand above"}
    found |= {f"{one}/": f"for new essays: {command(essays, out / one)}" for one in (PUPIL, TUNED) if one in there}
    return found | {f"{CYBORG}/": "the scores that the Student learned from, with a data card"}


def command(essays: Essays, folder: Path) -> str:
    """The command that scores new essays with a saved Student, for a table like the labelled one."""
    named = {"--student": str(folder), "--id": essays.columns.id, "--text": essays.columns.text}
    wishes = [f"{option} {shlex.quote(name)}" for option, name in named.items() if name not in ("", option.removeprefix("--"))]
    ending = ".xlsx" if Path(essays.source).suffix.lower() in (".xlsx", ".xlsm") else ".csv"
    return f".venv/bin/cyborg score NEW{ending} {' '.join(wishes)} -o new_scores.csv"


def machine() -> str:
    facts: Mapping[str, Any] = provenance.hardware()
    return f"{facts['processor']}, {facts['threads']} thread(s), GPU {facts['gpu']}"


def _agreement(report: Report, system: str) -> pd.Series:
    return report.agreement.set_index("system").loc[system]


def _filled(template: str, report: Report, **facts: Any) -> str:
    around = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined)
    around.trim_blocks = around.lstrip_blocks = True
    return around.get_template(template).render(report=report, words=words, **facts).strip() + "\n"
