"""Corpora: any of them -> one `datasets.Dataset` with the same columns, checked, split and saved.

Columns: essay_id, text, prompt, assignment, score, second_score, true_score, level, traits{}, groups{}, split.
A corpus module reads (`ellipse.read(settings)`); here its rows are split, turned into a dataset, saved and loaded.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, Features, Value, load_from_disk

from cyborg_utils import params, paths, whole
from cyborg_utils.corpora import splits, table
from cyborg_utils.errors import CyborgError
from cyborg_utils.scale import Scale

BASIC = {
    **{name: Value("string") for name in ("essay_id", "text", "prompt", "assignment")},
    **{name: Value("float64") for name in ("score", "second_score", "true_score")},
    "level": Value("int64"),
}


@dataclass(frozen=True)
class Prepared:
    """A corpus, ready. `counts`: rows_read = essays + excluded + repeated; `sources`: the files read; `notes`: for the reader."""

    dataset: Dataset
    exclusions: pd.DataFrame  # file, row, column, reason, essay_id
    split: pd.DataFrame  # essay_id, split
    counts: dict[str, int]
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def prepare(profile: str) -> Prepared:
    """Read, check and split the corpus of a study; writes nothing. Settings: section `prepare_data` of the params file."""
    return build(params.load(profile).section("prepare_data"))


def build(settings: dict[str, Any]) -> Prepared:
    """`prepare` for settings that are at hand already."""
    raw = importlib.import_module(f"cyborg_utils.corpora.{settings['corpus']}").read(settings)
    essays, exclusions, notes = raw.frame, raw.exclusions, list(raw.notes)
    essays["level"] = Scale(*settings["scale"]).level(essays["score"])
    essays["duplicate"] = essays["text"].map(table.normalised)
    if settings["test"] == 0:
        essays, dropped = _without_leaks(essays)
        exclusions = pd.concat([exclusions, dropped], ignore_index=True) if len(dropped) else exclusions
    copies = int(essays["duplicate"].duplicated().sum())
    notes += [f"{copies} essay(s) repeat the text of another; copies share a split."] if copies else []
    essays["split"] = splits.assign(essays, dev=settings["dev"], test=settings["test"], seed=settings["split_seed"])
    dataset = _dataset(essays)
    counts = {"rows_read": raw.rows_read, "repeated": raw.repeated, "excluded": len(exclusions), "essays": len(essays)}
    return Prepared(dataset, exclusions, essays[["essay_id", "split"]].copy(), counts, raw.sources, notes)


def save(dataset: Dataset, profile: str) -> Path:
    """Write the essays to `build/<profile>/essays`, whole or not at all; replaces an earlier copy."""
    target = paths.build(profile, "essays")
    with whole.folder(target) as temporary:
        dataset.save_to_disk(str(temporary))
    return target


def load(profile: str) -> Dataset:
    """The essays that notebook 01 saved; raises CyborgError where it has not run."""
    folder = paths.build(profile, "essays")
    if not (folder / "state.json").is_file():
        raise CyborgError(f"{paths.shown(folder)}: no essays yet. Run notebook 01_prepare_data for profile {profile} first.")
    return load_from_disk(str(folder))


def frame(dataset: Dataset, text: bool = False) -> pd.DataFrame:
    """One flat row an essay: essay_id, prompt, score, second_score, true_score, level, split, groups.<name>, traits.<name>.

    `text=True` adds text and assignment. Missing numbers are NaN, missing groups None.
    """
    names = ["essay_id", "prompt", "score", "second_score", "true_score", "level", "split"] + ["text", "assignment"] * text
    plain = dataset.with_format(None)
    flat = pd.DataFrame({name: plain[name][:] for name in names})
    for kind in ("groups", "traits"):
        values = plain[kind][:] if kind in plain.column_names else []
        for name in dataset.features[kind] if kind in plain.column_names else []:
            dtype = float if kind == "traits" else object
            flat[f"{kind}.{name}"] = pd.Series([value[name] for value in values], dtype=dtype)
    return flat.astype({"second_score": float, "true_score": float})


def draw_human(dataset: Dataset, fraction: float, seed: int) -> np.ndarray:
    """Ids of U: the share `fraction` of the training essays (at least one), stratified by level.

    Nested: with the same seed a larger fraction contains a smaller one. Depends on ids and levels only, not on row order.
    """
    if not 0 < fraction <= 1:
        raise CyborgError(f"fraction {fraction}: must be above 0 and at most 1")
    plain = dataset.with_format(None)
    train = pd.DataFrame({name: plain[name][:] for name in ("essay_id", "level", "split")}).query("split == 'train'")
    train = train.sort_values("essay_id", ignore_index=True)
    order = splits.stratified_order(train["level"].to_numpy(), np.random.default_rng(seed))
    chosen = order[: max(1, round(fraction * len(train)))]
    return train["essay_id"].to_numpy(dtype=object)[np.sort(chosen)].astype(str)


def _without_leaks(essays: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For a corpus with its own split: of texts on both sides the test copy stays, the others become exclusions."""
    rank = essays["split"].map({"test": 0, "dev": 1}).fillna(2)
    leaked = rank > rank.groupby(essays["duplicate"]).transform("min")
    first = essays[~leaked].groupby("duplicate")["essay_id"].first()
    dropped = essays[leaked]
    reason = "same text as essay " + dropped["duplicate"].map(first) + " of another split"
    dropped = dropped[["file", "row", "essay_id"]].assign(column="text", reason=reason)
    return essays[~leaked].reset_index(drop=True), dropped[table.EXCLUSION_COLUMNS]


def _dataset(essays: pd.DataFrame) -> Dataset:
    columns = {name: essays[name].tolist() for name in BASIC}
    features = dict(BASIC)
    for kind, value in (("traits", "float64"), ("groups", "string")):
        names = [name.removeprefix(f"{kind}.") for name in essays.columns if name.startswith(f"{kind}.")]
        cells = [essays[f"{kind}.{name}"].tolist() for name in names]
        columns[kind] = (
            [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
            if names
            else [{} for _ in range(len(essays))]
        )
        features[kind] = {name: Value(value) for name in names}
    columns["split"] = essays["split"].tolist()
    features["split"] = Value("string")
    columns = {name: [_null(value) for value in values] for name, values in columns.items()}
    return Dataset.from_dict(columns, features=Features(features))


def _null(value: Any) -> Any:
    """NaN as null, also inside a struct."""
    if isinstance(value, dict):
        return {name: _null(item) for name, item in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
