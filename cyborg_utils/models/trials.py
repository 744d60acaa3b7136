"""Many Students on many training sets, and an encoder's embeddings of essays. Interrupted work resumes.

Only the Students' scores are kept (`<mark>.npz` in the given folder), not the Students.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from sklearn.model_selection import KFold
from tqdm.auto import tqdm

from cyborg_utils.core import atomic, dtype, provenance
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.models import baseline, cyborg_data, recipes, student, trainer
from cyborg_utils.stats.calibration import match_on_dev

FOLDS = 5  # of `out_of_fold`
RIDGE = "ridge"  # the classical Student; any other kind is the name of an encoder


class Trial(NamedTuple):
    """One training job: data sets, as `cyborg_data.training_sets` gives them, and a seed."""

    sets: list[pd.DataFrame]
    seed: int = 0  # of initialisation and order; the classical Student needs none


def run(
    trials: Sequence[Trial], kind: str, texts: Sequence[str], *, scale: Scale, settings: student.Settings, folder: Path, show: str
) -> np.ndarray:
    """Values (score units) of `texts` by the Student of each trial, shape (trials, texts). Equal trials are run once.

    `kind` is "ridge" or an encoder, which is trained with the other `settings`. A network's checkpoints are in `folder` during
    training.
    """
    values, texts = [], list(texts)
    settings = settings if kind == RIDGE else student.Settings(**{**vars(settings), "model": kind})
    shown = tqdm(trials, desc=show, unit="Student", mininterval=2)
    for trial, file in zip(shown, _files(trials, kind, texts, settings, folder), strict=True):
        if not file.is_file():
            started = time.monotonic()
            if kind == RIDGE:
                given = baseline.train(pd.concat(trial.sets, ignore_index=True)).predict(texts)
            else:
                pupil, _ = student.train(trial.sets, scale, settings, seed=trial.seed, folder=file.with_suffix(""))
                given = pupil.predict(texts, stored=True)[0]
            with atomic.file(file) as temporary:
                np.savez(temporary, values=given, seconds=time.monotonic() - started)
            shutil.rmtree(file.with_suffix(""), ignore_errors=True)
        with np.load(file, allow_pickle=False) as saved:
            values.append(saved["values"])
    return np.stack(values)


def _files(trials: Sequence[Trial], kind: str, texts: list[str], settings: student.Settings, folder: Path) -> Iterator[Path]:
    """The file of each trial's values, named after all that decides them."""
    read = provenance.fingerprint({}, data=texts)
    for trial in trials:
        data = [part.drop(columns="source").round(6).to_numpy().tolist() for part in trial.sets]
        how = {"recipe": recipes.RIDGE.version} if kind == RIDGE else student.told(settings, trial.seed)
        yield folder / f"{provenance.fingerprint({'kind': kind, 'texts': read} | how, data=data)}.npz"


def seconds(trials: Sequence[Trial], kind: str, texts: Sequence[str], *, settings: student.Settings, folder: Path) -> list[float]:
    """What each trial of a finished `run` took, prediction included."""
    settings = settings if kind == RIDGE else student.Settings(**{**vars(settings), "model": kind})
    return [float(np.load(file, allow_pickle=False)["seconds"]) for file in _files(trials, kind, list(texts), settings, folder)]


def out_of_fold(part: pd.DataFrame, kind: str, *, folds: int = FOLDS, seed: int, **options: Any) -> np.ndarray:
    """Values (score units) of the essays of a training set, (n,), each by a Student that did not learn from it: cross-fitting.

    The set is cut at random into `folds` parts, and as many Students learn from all parts but one. So a scorer can be matched on
    the essays that it learns from. `options` go to `run`.
    """
    cuts = list(KFold(min(folds, len(part)), shuffle=True, random_state=seed).split(part))
    values = run([Trial([part.iloc[learnt]], seed) for learnt, _ in cuts], kind, part["text"], **options)
    found = np.empty(len(part))
    for row, (_, held) in zip(values, cuts, strict=True):
        found[held] = row[held]
    return found


def levels(values: np.ndarray, judged: pd.DataFrame, scale: Scale) -> np.ndarray:
    """Levels of the test essays, (trials, test). Each trial's mean and SD are matched to people's on the development essays.

    `judged` has the split and the human score of the essays of `values` (trials, essays), in the same order.
    """
    dev, test = ((judged["split"] == part).to_numpy() for part in ("dev", "test"))
    matched = [match_on_dev(judged[dev].assign(value=row[dev])).apply(row[test]) for row in values]
    return np.stack([scale.nearest(row) for row in matched])


def on_human_scores(
    dataset: Dataset,
    train: pd.DataFrame,
    judged: pd.DataFrame,
    sizes: Iterable[int],
    draws: int,
    *,
    scale: Scale,
    settings: student.Settings,
    folder: Path,
) -> dict[int, dict[int, np.ndarray]]:
    """Classical Students on human scores alone: size -> draw (1, 2, ...) -> levels of the test essays.

    `train` and `judged` are the training essays and all others, with text (`corpora.frame`). Draws are those of
    `corpora.draw_human`: in the same draw a larger size contains a smaller one.
    """
    grid = list(itertools.product(sizes, range(1, draws + 1)))
    chosen = [corpora.draw_human(dataset, size / len(train), draw) for size, draw in grid]
    jobs = [Trial(cyborg_data.training_sets(train[train["essay_id"].isin(ids)], scale, "full")) for ids in chosen]
    values = run(jobs, RIDGE, judged["text"], scale=scale, settings=settings, folder=folder, show="Learning curve")
    by_size: dict[int, dict[int, np.ndarray]] = {}
    for (size, draw), level in zip(grid, levels(values, judged, scale), strict=True):
        by_size.setdefault(size, {})[draw] = level
    return by_size


@torch.no_grad()
def embeddings(
    pupil: student.Student, texts: Sequence[str], folder: Path, *, show: str = "Embeddings"
) -> tuple[np.ndarray, float]:
    """Mean token vectors of essays by a Student's encoder, (n, hidden), and the seconds that this took (NaN: not known)."""
    rows, _ = pupil.encode(texts)
    pupil.network.to(pupil.device).eval()

    def work(batch: np.ndarray) -> np.ndarray:
        inputs = {key: value.to(pupil.device) for key, value in pupil.collate([rows[index] for index in batch]).items()}
        with dtype.autocast(pupil.device):
            return pupil.network.pooled(**inputs).cpu().numpy()

    mark = provenance.fingerprint(vars(pupil.settings) | {"recipe": recipes.STUDENT.version}, data=rows)
    vectors = trainer.in_parts(work, trainer.token_batches([*map(len, rows)], 16384), folder, mark, every=1, show=show)
    return vectors, trainer.seconds(folder)
