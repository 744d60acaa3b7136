"""Cyborg Data, the paper's idea in one file: U keeps its human scores, the rest of X gets the Teacher's.

Labels of a Student:

- `human`          U with human scores, nothing else (the baseline)
- `human+dev`      U and the development essays with human scores: all that were paid for, and no Teacher
- `cyborg`         U with human scores + the pool with the Teacher's most likely level (as in the paper)
- `cyborg-soft`    the same, but the pool has the Teacher's expected score (regression) or distribution (classification)
- `cyborg-staged`  first the pool with the Teacher's expected scores, then U with human scores
- `full`           all of X with human scores (the upper bound)
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale

LABELS = ("human", "human+dev", "cyborg", "cyborg-soft", "cyborg-staged", "full")


def training_sets(essays: pd.DataFrame, scale: Scale, labels: str, teacher: pd.DataFrame | None = None) -> list[pd.DataFrame]:
    """The training sets of a Student with these labels: one, or two in their order for `cyborg-staged`.

    essays: columns essay_id, text, level, split; only split `train` is used, and for `human+dev` split `dev`. teacher: the
    Teacher's scores (essay_id, part, level, expected, p_1 .. p_K), where part `U` marks the essays that keep their human score;
    not needed for `full`. Each set has essay_id, text, source ("human" or "teacher"), value (score) and p_1 .. p_K (a
    distribution over levels). Raises CyborgError where an essay of X has no Teacher score.
    """
    if labels not in LABELS:
        raise CyborgError(f"labels {labels!r}: choose from {', '.join(LABELS)}")
    train = essays[essays["split"] == "train"]
    if labels == "full":
        return [_human(train, scale)]
    if teacher is None:
        raise CyborgError(f"labels {labels!r} need the Teacher's scores: run notebook 03 first")
    scores = teacher.set_index("essay_id")
    missing = train.loc[~train["essay_id"].isin(scores.index), "essay_id"]
    if len(missing):
        raise CyborgError(
            f"{len(missing)} training essay(s) have no Teacher score, first: {missing.iloc[0]}. Run notebook 03 again."
        )
    in_u = (scores.loc[train["essay_id"], "part"] == "U").to_numpy()
    human, pool = _human(train[in_u], scale), _synthetic(train[~in_u], scores, scale, soft=labels != "cyborg")
    if labels == "human+dev":
        return [pd.concat([human, _human(essays[essays["split"] == "dev"], scale)], ignore_index=True)]
    if labels == "human":
        return [human]
    return [pool, human] if labels == "cyborg-staged" else [pd.concat([human, pool], ignore_index=True)]


def _human(essays: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    return _rows(essays, "human", scale.score(essays["level"]), np.eye(scale.size)[essays["level"]])


def _synthetic(essays: pd.DataFrame, scores: pd.DataFrame, scale: Scale, *, soft: bool) -> pd.DataFrame:
    given = scores.loc[essays["essay_id"]]
    if not soft:
        return _rows(essays, "teacher", scale.score(given["level"]), np.eye(scale.size)[given["level"]])
    p = given[[f"p_{level + 1}" for level in range(scale.size)]].to_numpy()
    return _rows(essays, "teacher", given["expected"].to_numpy(), p)


def _rows(essays: pd.DataFrame, source: str, value: np.ndarray, p: np.ndarray) -> pd.DataFrame:
    rows = essays[["essay_id", "text"]].reset_index(drop=True).assign(source=source, value=value)
    return pd.concat([rows, pd.DataFrame(p, columns=[f"p_{level + 1}" for level in range(p.shape[1])])], axis=1)
