"""Many Students on many training sets, and what an encoder makes of essays. Stopped work goes on where it was.

Only their scores are kept (`<mark>.npz` in the given folder): a Student of a trial is not for use.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from cyborg_utils.core import atomic, dtype, provenance
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import baseline, recipes, student, trainer
from cyborg_utils.stats.calibration import MeanSdMatch

RIDGE = "ridge"  # the classical Student; any other kind names an encoder


class Trial(NamedTuple):
    """A Student to be: `sets` as `cyborg_data.training_sets` gives them."""

    sets: list[pd.DataFrame]
    seed: int = 0  # of initialisation and order; the classical Student has neither


def run(
    trials: Sequence[Trial], kind: str, texts: Sequence[str], *, scale: Scale, settings: student.Settings, folder: Path, show: str
) -> np.ndarray:
    """Values (score units) of `texts` by a Student of each trial, shape (trials, texts); trials of equal content are run once.

    `kind` is "ridge" or an encoder, trained with the other `settings`. A network's checkpoints are in `folder` while it trains.
    """
    values, texts = [], list(texts)
    settings = settings if kind == RIDGE else student.Settings(**{**vars(settings), "model": kind})
    read = provenance.fingerprint({}, data=texts)
    for trial in tqdm(trials, desc=show, unit="Student", mininterval=2):
        data = [part.drop(columns="source").round(6).to_numpy().tolist() for part in trial.sets]
        own = vars(settings) | {"seed": trial.seed, "recipe": recipes.STUDENT.version}
        how = {"recipe": recipes.RIDGE.version} if kind == RIDGE else own
        mark = provenance.fingerprint({"kind": kind, "texts": read} | how, data=data)
        file = folder / f"{mark}.npz"
        if not file.is_file():
            started = time.monotonic()
            if kind == RIDGE:
                given = baseline.train(pd.concat(trial.sets, ignore_index=True)).predict(texts)
            else:
                pupil, _ = student.train(trial.sets, scale, settings, seed=trial.seed, folder=folder / mark)
                given = pupil.predict(texts)[0]
            with atomic.file(file) as temporary:
                np.savez(temporary, values=given, seconds=time.monotonic() - started)
            shutil.rmtree(folder / mark, ignore_errors=True)
        with np.load(file, allow_pickle=False) as saved:
            values.append(saved["values"])
    return np.stack(values)


def levels(values: np.ndarray, judged: pd.DataFrame, scale: Scale) -> np.ndarray:
    """Levels of the test essays, (trials, test): each trial's mean and SD matched to people's on the development essays.

    `judged` has split and score of the essays of `values` (trials, essays), in their order.
    """
    dev, test = ((judged["split"] == part).to_numpy() for part in ("dev", "test"))
    target = judged.loc[dev, "score"]
    matched = [MeanSdMatch.fit(target=target, values=row[dev]).apply(row[test]) for row in values]
    return np.stack([scale.nearest(row) for row in matched])


@torch.no_grad()
def embeddings(
    pupil: student.Student, texts: Sequence[str], folder: Path, *, show: str = "Embeddings"
) -> tuple[np.ndarray, float]:
    """Mean token vectors of essays by a Student's encoder, (n, hidden), and the seconds that all took (NaN: not known)."""
    rows, _ = pupil.encode(texts)
    pupil.network.to(pupil.device).eval()

    def work(batch: np.ndarray) -> np.ndarray:
        inputs = {key: value.to(pupil.device) for key, value in pupil.collate([rows[index] for index in batch]).items()}
        with dtype.autocast(pupil.device):
            return pupil.network.pooled(**inputs).cpu().numpy()

    mark = provenance.fingerprint(vars(pupil.settings) | {"recipe": recipes.STUDENT.version}, data=rows)
    found = trainer.in_parts(work, trainer.token_batches([*map(len, rows)], 16384), folder, mark, every=1, show=show)
    return found, trainer.seconds(folder)
