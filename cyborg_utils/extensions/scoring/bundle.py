"""What a saved Student needs to score new essays: its study's calibration, its errors, and a description of its essays.

It is saved beside the Student as `scoring.json`, from files that exist once a study has run (the prepared essays and
`scores/students_<run>.csv`), without loading a model. So notebook 12 does it for every Student of a study, also for those trained
before, and notebook 04 need not be executed again.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora
from cyborg_utils.extensions.scoring.advisory_flags import Corpus
from cyborg_utils.stats.calibration import MeanSdMatch, match_on_dev
from cyborg_utils.stats.conformal import LeastSquares
from cyborg_utils.study import arms, scores

FILE = "scoring.json"


@dataclass(frozen=True)
class Name:
    """Which Student of a study."""

    run: str
    model: str
    head: str
    labels: str

    def folder(self, profile: str) -> Path:
        """The folder where notebook 04 saves it."""
        return paths.build(profile, "students", self.run, f"{self.model.replace('/', '--')}-{self.head}-{self.labels}")


@dataclass(frozen=True)
class Release:
    """A Student's bundle. `match` gives the score; `line`, fitted on the same development essays, the centre of its prediction
    interval and their leave-one-out residuals; `mark`: the fingerprint of the Student's training."""

    profile: str
    name: Name
    mark: str
    match: MeanSdMatch
    line: LeastSquares
    corpus: Corpus


def saved(profile: str) -> list[Name]:
    """The Students of a study that are on this machine, in the order of the study."""
    study = config.load(profile)
    section = study.section("train_student")
    runs = [run.name for run in dict.fromkeys([*study.runs, *study.full_runs])]
    names = itertools.starmap(Name, itertools.product(runs, section["models"], section["heads"], section["labels"]))
    return [name for name in names if (name.folder(profile) / "student.json").is_file()]


def find(profile: str, labels: str, run: str = "") -> Name:
    """The study's headline Student on these labels: of `run`, or of the first run that is there.

    Raises CyborgError where it is not on this machine.
    """
    model, head = config.load(profile).headline
    there = saved(profile)
    fitting = [name for name in there if (name.model, name.head, name.labels) == (model, head, labels)]
    fitting = [name for name in fitting if name.run == run] if run else fitting
    if not fitting:
        place = paths.shown(paths.build(profile, "students"))
        have = ", ".join(f"{name.run} {name.labels}" for name in there) or "none"
        raise CyborgError(
            f"{place}: no {model} ({head}) on {labels!r}{f' of {run}' if run else ''}; there are: {have}. "
            f"`make reproduce PROFILE={profile}` trains it (without KEEP=1)."
        )
    return fitting[0]


def write(profile: str) -> list[Name]:
    """Write `scoring.json` beside every saved Student whose scores are there; return these Students. Needs no model.

    Calibration and errors come from the development essays, the description of the corpus from the training essays.
    """
    essays = corpora.frame(corpora.load(profile), text=True)
    train = essays[essays["split"] == "train"]
    corpus = Corpus.of(train["text"].tolist(), [text for text in train["assignment"].fillna("") if text])
    given, written = scores.students(profile).query("part != 'test'"), []  # essays that this Student did not learn from
    for name in saved(profile):
        rows = arms.pick(given, run=name.run, student=name.model, head=name.head, labels=name.labels)
        folder = name.folder(profile)
        mark = json.loads((folder / "student.json").read_text(encoding="utf-8"))["mark"]
        if len(rows):
            write_one(folder, profile, name, mark, rows, corpus)
            written.append(name)
    return written


def write_one(folder: Path, profile: str, name: Name, mark: str, dev: pd.DataFrame, corpus: Corpus) -> None:
    """Write `scoring.json` beside one Student; `dev`: score and value of essays that it did not learn from."""
    line = LeastSquares.fit(target=dev["score"], values=dev["value"])
    content = {"profile": profile, "name": vars(name), "mark": mark, "match": vars(match_on_dev(dev, head=name.head))}
    content["line"] = vars(line) | {"residuals": np.sort(line.residuals).round(6)}  # in no order that tells the essays
    provenance.write_json(folder / FILE, content | {"corpus": corpus.as_json()})


def read(folder: Path) -> Release:
    """The bundle beside a Student.

    Raises CyborgError where it is missing, belongs to an earlier training, or was made by an earlier version of this package.
    """
    for file, advice in (("student.json", "Name the folder of a saved Student (notebook 04)"), (FILE, "Run notebook 12")):
        if not (folder / file).is_file():
            raise CyborgError(f"{paths.shown(folder)}: no {file} there. {advice}.")
    content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    if content["mark"] != json.loads((folder / "student.json").read_text(encoding="utf-8"))["mark"]:
        raise CyborgError(f"{paths.shown(folder / FILE)}: of an earlier training of this Student. Run notebook 12 again.")
    if "line" not in content:
        remedy = f"`cyborg cards {content['profile']}` makes it anew, from files and without a model."
        raise CyborgError(f"{paths.shown(folder / FILE)}: made by an earlier version, whose intervals were wider. {remedy}")
    return Release(
        content["profile"],
        Name(**content["name"]),
        content["mark"],
        MeanSdMatch(**content["match"]),
        LeastSquares(**content["line"] | {"residuals": np.array(content["line"]["residuals"], dtype=float)}),
        Corpus.from_json(content["corpus"]),
    )
