"""Tables of the essays (notebook 01). Frames of `corpora.frame(..., text=True)` in, tidy tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cyborg_utils.core.config import Run
from cyborg_utils.core.scale import Scale
from cyborg_utils.data.corpora import POOL
from cyborg_utils.stats.metrics import agreement_metrics, two_people

SPLITS = ("train", "dev", "test")


def by_split(essays: pd.DataFrame) -> pd.DataFrame:
    """One row a split (with `pool` where some essays have no score) and one for all: split, essays, prompts, words, median_words,
    longest, mean_score, sd (column `words`)."""
    rows = []
    for name in [*SPLITS, *({POOL} & set(essays["split"])), "all"]:
        part = essays if name == "all" else essays[essays["split"] == name]
        words, score = part["words"], part["score"]
        row = {"split": name, "essays": len(part), "prompts": part["prompt"].nunique(), "words": words.mean()}
        row |= {"median_words": words.median(), "longest": words.max(), "mean_score": score.mean(), "sd": score.std()}
        rows.append(row)
    return pd.DataFrame(rows)


def length_bands(essays: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The scored essays, sorted by score, with `band`: "score 1 to 2", ... for low, middle and high scores."""
    essays = essays.dropna(subset=["score"])
    lowest = scale.scores[[0, scale.size // 3, 2 * scale.size // 3]]
    highest = [*(lowest[1:] - scale.step), scale.high]
    names = {low: f"score {low:g} to {high:g}" for low, high in zip(lowest, highest, strict=True)}
    band = essays["score"].map(lambda score: names[max(low for low in lowest if low <= score)])
    return essays.assign(band=band).sort_values("score")


def human_agreement(essays: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Agreement of the two human scores, on all essays and on the test essays that have both; empty where no essay has."""
    double = two_people(essays).assign(split=essays["split"]).dropna(subset=["first", "second"])
    parts = {"all": double, "test": double[double["split"] == "test"]} if len(double) else {}
    rows = [{"essays": name} | agreement_metrics(part["first"], part["second"], scale) for name, part in parts.items()]
    return pd.DataFrame(rows, columns=["essays", "n", "qwk", "exact", "adjacent", "r", "smd"])


def by_group(essays: pd.DataFrame) -> pd.DataFrame:
    """One row a group of each attribute (`groups.*`): essays in each split, mean score, and the mean true score where known."""
    rows = []
    for column in (name for name in essays if name.startswith("groups.")):
        named = essays[column].fillna("not recorded")
        for group in sorted(named.unique(), key=lambda name: (name == "not recorded", name.zfill(3))):  # 8 before 10
            part = essays[named == group]
            sizes = part["split"].value_counts().reindex(SPLITS, fill_value=0)
            row = {"attribute": column.removeprefix("groups."), "group": group, **sizes, "all": len(part)}
            row |= {"mean_score": part["score"].mean()}
            rows.append(row | ({"mean_true_score": part["true_score"].mean()} if part["true_score"].notna().all() else {}))
    return pd.DataFrame(rows)


def subsets(essays: pd.DataFrame, chosen: Mapping[Run, Sequence[str]], scale: Scale) -> pd.DataFrame:
    """One row a run: run, fraction, seed, human_scores, pool, and the essays of U at each score. `chosen`: the ids of each U."""
    train, rows = essays[essays["split"] == "train"].set_index("essay_id"), []
    for run, ids in chosen.items():
        counts = train.loc[ids, "score"].value_counts().reindex(scale.scores, fill_value=0)
        row = {"run": run.name, "fraction": run.fraction, "seed": run.seed, "human_scores": len(ids)}
        rows.append(row | {"pool": len(train) - len(ids)} | {f"{score:g}": count for score, count in counts.items()})
    return pd.DataFrame(rows)
