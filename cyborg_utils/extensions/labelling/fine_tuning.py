"""Is it worth fine-tuning the Student? The network of notebook 04 on the same Cyborg Data, judged on the same essays.

Fine-tuning takes minutes where ridge regression takes a second, so only a few folds are made. The frozen Student is judged by the
same folds, so that both had the same human scores.
"""

from __future__ import annotations

from dataclasses import dataclass
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

FOLDS = 3
SETTINGS = student.Settings(
    epochs=4, min_steps=150, learning_rate=1.0e-4, batch_size=16, max_tokens=512, model="all-minilm-l6-v2", head="regression"
)


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned Student on all Cyborg Data, its cross-fitted values of the scored essays (raw), and the sentence for the page."""

    student: student.Student | None
    value: np.ndarray
    told: str


def compare(report: Report, features: Features, *, settings: student.Settings = SETTINGS, folder: Path) -> Tuned:
    """Fine-tune without each of `FOLDS` folds, then on everything. Finished trainings in `folder` are not repeated."""
    essays, scale, seed = report.essays, report.essays.scale, report.settings.seed
    scored, score, fold = essays.scored, report.own.score, cut(report.essays, folds=FOLDS, seed=seed)
    texts, jobs, frozen = essays.frame["text"], [], np.empty(len(scored))
    rounds = [*range(fold.max() + 1)] if fold.max() + 1 <= FOLDS else []
    if not rounds:
        return Tuned(None, frozen, f"Fine-tuning was not tried: {len(scored)} scored essays are too few to judge it by.")
    for number in rounds:
        held = fold == number
        made, labels = fit(essays, features, scored[~held], score[~held])
        values = made[STUDENT].guess(features, scored[held])
        frozen[held] = made[STUDENT].match.apply(values)
        jobs.append(trials.Trial([training_set(essays.frame, scored[~held], score[~held], essays.blank, labels)], seed))
    how = {"scale": scale, "settings": settings, "folder": folder, "show": "Fine-tuning"}
    given, raw, tuned = trials.run(jobs, settings.model, texts, **how), np.empty(len(scored)), np.empty(len(scored))
    for number, row in zip(rounds, given, strict=True):
        raw[fold == number] = row[scored[fold == number]]
    for number in rounds:  # matched on essays that its network did not learn from, in other folds
        held = fold == number
        tuned[held] = MeanSdMatch.fit(target=score[~held], values=raw[~held]).apply(raw[held])
    everything = training_set(essays.frame, scored, score, essays.blank, report.cross.labels)
    pupil, _ = student.train([everything], scale, settings, seed=seed, folder=folder / "all")
    level = scale.level(score)
    gain = paired_bootstrap(level, scale.nearest(tuned), scale.nearest(frozen), seed=seed, resamples=report.settings.resamples)
    worth = (
        "It was worth it"
        if gain.low > 0
        else "It was **not** worth it"
        if gain.high < 0
        else "It is not shown to have been worth it"
    )
    told = (
        f"Fine-tuning: the fine-tuned Student minus the frozen one is {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] QWK "
        f"({FOLDS} folds, both on the same Cyborg Data). {worth}."
    )
    return Tuned(pupil, raw, told)


def training_set(
    frame: pd.DataFrame, places: np.ndarray, score: np.ndarray, pool: np.ndarray, labels: np.ndarray
) -> pd.DataFrame:
    """A Student's training set, as `cyborg_data.training_sets` makes them, for a regression head."""
    rows = frame.iloc[np.r_[places, pool]]
    source = np.repeat(["human", "teacher"], [len(places), len(pool)])
    values = {"source": source, "value": np.r_[score, labels]}
    return rows[["essay_id", "text"]].reset_index(drop=True).assign(**values)


def save(tuned: Tuned, report: Report, folder: Path, *, name: str) -> None:
    """The fine-tuned Student, ready for `cyborg score`; its errors are those on the scored essays, cross-fitted."""
    mark = provenance.fingerprint({"name": name, "settings": vars(tuned.student.settings)}, data=tuned.value.round(6).tolist())
    tuned.student.save(folder, mark)
    rows = pd.DataFrame({"score": report.own.score, "value": tuned.value})
    corpus = advisory_flags.Corpus.of(report.essays.frame["text"].tolist())
    release = bundle.Name("label", tuned.student.settings.model, "regression", "cyborg-soft")
    bundle.write_one(folder, name, release, mark, rows, corpus)
