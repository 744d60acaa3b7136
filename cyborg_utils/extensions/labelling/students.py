"""The Students that are kept for new essays: the frozen one, and a fine-tuned one where a person asks whether that is worth it.

Both are Students of `models.student` on the same Cyborg Data. Fine-tuning takes minutes where ridge regression takes a second, so
only a few folds judge it; the frozen Student is judged by the same folds, so that both had the same human scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cyborg_utils.core import provenance
from cyborg_utils.extensions.labelling.machines import STUDENT, Features, cut, fit
from cyborg_utils.extensions.labelling.report import Report
from cyborg_utils.extensions.scoring import advisory_flags, bundle
from cyborg_utils.models import student, trials
from cyborg_utils.stats.bootstrap import paired_bootstrap
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.stats.comparisons import cross_fitted

FOLDS = 3
LABELS = "cyborg-soft"  # the Teacher's guesses, unrounded


@dataclass(frozen=True)
class Pupil:
    """A Student on all Cyborg Data, its raw values of the scored essays, cross-fitted, and what the page says of it."""

    student: student.Student
    value: np.ndarray
    told: str = ""

    def save(self, report: Report, folder: Path, *, name: str) -> None:
        """Write the Student, ready for `cyborg score`; its errors are those on the scored essays."""
        settings = self.student.settings
        mark = provenance.fingerprint({"name": name, "head": settings.head}, data=self.value.round(6).tolist())
        self.student.save(folder, mark)
        rows = pd.DataFrame({"score": report.own.score, "value": self.value})
        corpus = advisory_flags.Corpus.of(report.essays.frame["text"].tolist())
        bundle.write_one(folder, name, bundle.Name("label", settings.model, settings.head, LABELS), mark, rows, corpus)


def frozen(report: Report, settings: student.Settings, *, folder: Path) -> Pupil:
    """The Student that the page judges (`machines.STUDENT`)."""
    return Pupil(_on_everything(report, settings, folder), report.cross.guess[STUDENT])


def fine_tuned(report: Report, features: Features, settings: student.Settings, *, folder: Path) -> Pupil:
    """The frozen Student as a start, then all of it trained, without each of `FOLDS` folds and on everything, and whether that
    was worth it. Finished trainings in `folder` are not repeated."""
    essays, scale, seed = report.essays, report.essays.scale, report.settings.seed
    scored, score, settings = essays.scored, report.own.score, replace(settings, head="frozen-then-tuned")
    fold = cut(essays, folds=FOLDS, seed=seed, alone=FOLDS)
    jobs, raw, plain, tuned = [], *(np.empty(len(scored)) for _ in range(3))
    for number in range(FOLDS):
        held = fold == number
        made, labels = fit(essays, features, scored[~held], score[~held])
        plain[held] = made[STUDENT].match.apply(made[STUDENT].guess(features, scored[held]))
        jobs.append(trials.Trial([training_set(report, scored[~held], score[~held], labels)], seed))
    how = {"scale": scale, "settings": settings, "folder": folder, "show": "Fine-tuning"}
    for number, row in enumerate(trials.run(jobs, settings.model, essays.frame["text"], **how)):
        raw[fold == number] = row[scored[fold == number]]
    for number in range(FOLDS):  # matched on essays of other folds, each by a network that did not learn from it
        held = fold == number
        tuned[held] = MeanSdMatch.fit(target=score[~held], values=raw[~held]).apply(raw[held])
    level, how = scale.level(score), {"seed": seed, "resamples": report.settings.resamples}
    gain = paired_bootstrap(level, scale.nearest(tuned), scale.nearest(plain), **how)
    low, high = cross_fitted(*gain, folds=FOLDS)
    worth = "**It was worth it**" if low > 0 else "**It was not worth it**" if high < 0 else "**Not shown to be worth it**"
    told = (
        f"Fine-tuning the Student: {gain.value:+.3f} [{low:+.3f}, {high:+.3f}] QWK against the frozen one "
        f"({FOLDS} folds, both on the same Cyborg Data). {worth}."
    )
    return Pupil(_on_everything(report, settings, folder), raw, told)


def training_set(report: Report, places: np.ndarray, score: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """A Student's training set, as `cyborg_data.training_sets` makes them: human scores of the essays at `places`, and labels of
    the blank ones."""
    blank = report.essays.blank
    rows = report.essays.frame[["essay_id", "text"]].iloc[np.r_[places, blank]].reset_index(drop=True)
    return rows.assign(source=np.repeat(["human", "teacher"], [len(places), len(blank)]), value=np.r_[score, labels])


def _on_everything(report: Report, settings: student.Settings, folder: Path) -> student.Student:
    data = training_set(report, report.essays.scored, report.own.score, report.cross.labels)
    kept = folder / settings.head
    return student.train([data], report.essays.scale, settings, seed=report.settings.seed, folder=kept)[0]
