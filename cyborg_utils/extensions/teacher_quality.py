"""How good a Teacher is as a rater, and whether it holds back high scores: before fine-tuning, after, or only by rounding.

Frames have one row an essay, Teacher and run: teacher, share, seed, essay_id, part, score, human_level, level (most likely),
expected, p_1 .. p_K, groups.*; the share of a zero-shot Teacher is 0.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import weights
from cyborg_utils.models.teacher import Settings
from cyborg_utils.stats.bootstrap import percentile_interval
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.stats.metrics import pearson_r, smd
from cyborg_utils.study import arms

KEYS = ["teacher", "share"]


def absent(settings: Settings) -> str:
    """Why a Teacher cannot be run on this machine, in a line; "" where it can, and then its weights are here.

    What the machine lacks is asked first, so that no weights are fetched that could not be loaded.
    """
    if settings.quantization == "nf4" and not (torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes")):
        return "quantization nf4 needs a CUDA GPU and bitsandbytes"
    try:
        weights.resolve(settings.model)
    except CyborgError as error:
        return str(error).splitlines()[0]
    return ""


def probabilities(rows: pd.DataFrame, scale: Scale) -> np.ndarray:
    """p_1 .. p_K of the rows, (n, K)."""
    return rows[[f"p_{level + 1}" for level in range(scale.size)]].to_numpy()


def matched(rows: pd.DataFrame) -> pd.DataFrame:
    """With `matched_value`: the expected score with people's mean and SD on the development essays, run by run."""
    parts = []
    for _, run in rows.groupby([*KEYS, "seed"], sort=False):
        dev = run[run["part"] == "dev"]
        match = MeanSdMatch.fit(target=dev["score"], values=dev["expected"])
        parts.append(run.assign(matched_value=match.apply(run["expected"])))
    return pd.concat(parts, ignore_index=True)


def quality(rows: pd.DataFrame, scale: Scale, *, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Two rows a Teacher and share, its two readings: QWK with interval (`comparisons.across_seeds`) and the means over seeds.

    Columns: teacher, share, reading ("most likely", "expected, matched"), seeds, n, qwk, low, high, interval_of, r (of the
    expected score), smd (of the reading), confidence (mean probability of the most likely level), exact (how often that level is
    right), auc (how well confidence tells right from wrong; 0.5 is chance).
    """
    human, found = arms.human(rows), []
    for key, part in rows.groupby(KEYS, sort=False):
        part = part.assign(matched_level=scale.nearest(part["matched_value"]), likely=scale.score(part["level"]))
        for reading, level, value in (
            ("most likely", "level", "likely"),
            ("expected, matched", "matched_level", "matched_value"),
        ):
            options = {"resamples": resamples, "confidence": confidence, "seed": seed}
            pooled = across_seeds(human, arms.by_seed(part, level), **options)
            each = [_figures(run, value, scale) for _, run in part.groupby("seed")]
            found.append(
                dict(zip(KEYS, key, strict=True))
                | {"reading": reading, "seeds": len(each), "n": len(human), "qwk": pooled["mean"]}
                | {name: pooled[name] for name in ("low", "high", "interval_of")}
                | pd.DataFrame(each).mean().to_dict()
            )
    return pd.DataFrame(found)


def _figures(run: pd.DataFrame, value: str, scale: Scale) -> dict[str, float]:
    sure, right = probabilities(run, scale).max(axis=1), (run["level"] == run["human_level"]).to_numpy()
    auc = roc_auc_score(right, sure) if 0 < right.mean() < 1 else float("nan")
    figures = {"r": pearson_r(run["score"], run["expected"]), "smd": smd(run["score"], run[value])}
    return figures | {"confidence": sure.mean(), "exact": right.mean(), "auc": auc}


def top_shares(rows: pd.DataFrame, scale: Scale, *, resamples: int, confidence: float, seed: int, top: int = 2) -> pd.DataFrame:
    """Share of the `top` highest scores by reading of a Teacher, against people's on the same essays, with intervals over essays.

    Readings: "probability" (the mean probability that the Teacher gives these levels: nothing is rounded), "most likely",
    "expected" and "expected, matched" (both rounded). Where the probability is right and the most likely level is not, high
    scores are lost by rounding alone. Columns: teacher, share, reading, seeds, n, human_top, machine_top, ratio, low, high.
    """
    rng, first, found = np.random.default_rng(seed), scale.size - top, []
    ids = np.sort(rows["essay_id"].unique())
    drawn = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=resamples).astype(float)
    for key, part in rows.groupby(KEYS, sort=False):
        readings = {
            "probability": probabilities(part, scale)[:, first:].sum(axis=1),
            "most likely": part["level"] >= first,
            "expected": scale.nearest(part["expected"]) >= first,
            "expected, matched": scale.nearest(part["matched_value"]) >= first,
        }
        each = part.assign(human=part["human_level"] >= first, **{name: np.asarray(given) for name, given in readings.items()})
        each = each[["essay_id", "human", *readings]].astype({"human": float}).groupby("essay_id").mean().loc[ids].astype(float)
        people = drawn @ each["human"].to_numpy()
        for name in readings:
            with np.errstate(divide="ignore", invalid="ignore"):
                resampled = (drawn @ each[name].to_numpy()) / np.where(people > 0, people, np.nan)
                value = each[name].sum() / each["human"].sum() if each["human"].sum() else float("nan")
            ends = percentile_interval(value, resampled, confidence=confidence, n=len(ids))
            row = {"reading": name, "seeds": part["seed"].nunique(), "n": len(ids), "human_top": each["human"].mean()}
            row |= {"machine_top": each[name].mean()} | dict(zip(("ratio", "low", "high"), ends, strict=True))
            found.append(dict(zip(KEYS, key, strict=True)) | row)
    return pd.DataFrame(found)


def held_back(shares: pd.DataFrame) -> str:
    """Where one Teacher's high scores are shown to be rarer than people's, in words; `shares` has its rows of `top_shares`.

    Shown means that the interval of the ratio ends below 1. An interval that holds 1 shows neither a loss nor that there is none.
    """
    high = shares.set_index("reading")["high"]
    believed, given = high["probability"], high["most likely"]
    if pd.isna(believed) or pd.isna(given):
        return "too few essays have high scores to tell"
    if believed < 1 and given < 1:
        return "high scores are rarer than people's already in its probabilities: they are held back **in the model** itself"
    if given < 1:
        return "high scores are rarer than people's in its most likely answer, not shown so in its probabilities (**rounding**)"
    if believed < 1:
        return "high scores are rarer than people's in its probabilities, not shown so in its most likely answer"
    return "high scores are not shown to be rarer than people's, neither in its probabilities nor in its most likely answer"


def where(rows: pd.DataFrame, slices: dict[str, pd.Series], *, min_group: int) -> pd.DataFrame:
    """Where a Teacher errs: mean error and RMSE of its matched score by slice; slices with few essays are left out.

    `slices`: name -> label of each row (score, length, prompt, a group ...), index as `rows`. Columns: teacher, share, slice,
    value, n (essays), bias (mean machine - human, points), rmse.
    """
    error, found = rows["matched_value"] - rows["score"], []
    for name, labels in slices.items():
        keys = [rows["teacher"], rows["share"], labels.rename("value")]
        for key, part in error.groupby(keys, sort=False):
            n = rows.loc[part.index, "essay_id"].nunique()
            if n >= min_group:
                found.append((*key[:2], name, key[2], n, part.mean(), float(np.sqrt((part**2).mean()))))
    return pd.DataFrame(found, columns=[*KEYS, "slice", "value", "n", "bias", "rmse"])


def length_thirds(words: Sequence[float]) -> np.ndarray:
    """Each essay as "short", "middle" or "long", by thirds."""
    words = np.asarray(words, dtype=float)
    low, high = np.quantile(words, [1 / 3, 2 / 3])
    return np.where(words <= low, "short", np.where(words <= high, "middle", "long"))
