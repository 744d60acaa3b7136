"""Corpora: any of them -> one `datasets.Dataset` with the same columns, checked, split and saved.

Columns: essay_id, text, prompt, assignment, score, second_score, true_score, level, stratum, traits{}, groups{}, split.
Where a table keeps essays without a score (`options.unscored: keep`), these have the split "pool", and no score and level.
`sources.CORPORA` reads; here the rows are split, turned into a dataset, saved and loaded. Texts go from file to file and are
never all in memory, so a corpus may be larger than memory (`frame(text=True)` is for studies, whose texts fit).
"""

from __future__ import annotations

import itertools
import os
import shutil
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features, Value, load_from_disk

from cyborg_utils.core import atomic, config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files, near_duplicates, splits, table
from cyborg_utils.data.sources import CORPORA
from cyborg_utils.data.spool import Store

BASIC = {
    **{name: Value("string") for name in ("essay_id", "text", "prompt", "assignment")},
    **{name: Value("float64") for name in ("score", "second_score", "true_score")},
    "level": Value("int64"),
    "stratum": Value("int64"),
}
COLUMNS = ["essay_id", "prompt", "score", "second_score", "true_score", "level", "split"]  # of `frame`, before groups and traits
FIRST = "first_score"  # a further column, where several people's scores were combined: the first one's own
POOL = "pool"  # the split of essays without a score
ROWS = "data-00000-of-00001.arrow"  # its name, and the state, as `Dataset.save_to_disk` has them
STATE = {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus. `counts`: rows_read = essays + excluded + repeated (+ not_sampled); `sources`: the files read;
    `notes`: for readers.

    `clusters`: a number for each essay of `split`, equal for essays that belong together: copies, near-duplicates, one writer's.
    """

    dataset: Dataset
    exclusions: pd.DataFrame  # file, row, column, reason, essay_id
    split: pd.DataFrame  # essay_id, split
    counts: dict[str, int]
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clusters: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def prepare(profile: str) -> Prepared:
    """Read, check and split the corpus of a study; writes nothing. Settings: section `prepare_data` of the params file."""
    return build(config.load(profile).section("prepare_data"))


def build(settings: dict[str, Any]) -> Prepared:
    """`prepare` for given settings."""
    raw, rubric = CORPORA[settings["corpus"]].read(settings), files.rubric(settings.get("options", {}))
    essays, exclusions, notes = raw.frame, raw.exclusions, list(raw.notes)
    essays["level"] = _levels(essays["score"], settings)
    essays["duplicate"], essays["place"] = raw.store.copies(), np.arange(len(essays))
    if settings["test"] == 0:
        essays, dropped = _without_leaks(essays)
        exclusions = pd.concat([exclusions, dropped], ignore_index=True) if len(dropped) else exclusions
    copies = int(essays["duplicate"].duplicated().sum())
    notes += [f"{copies} essay(s) repeat the text of another; copies share a split."] if copies else []
    essays["duplicate"] = _clusters(essays, raw.store, settings, notes)
    by = settings.get("stratify", "nothing")
    if by == "length":
        words = np.concatenate([[len(text.split()) for text in texts["text"].to_pylist()] for texts in raw.store.batches()])
        essays["words"] = words[essays["place"]]
    essays["stratum"] = splits.strata(essays, by)
    scored = essays["score"].notna()
    essays.loc[~scored, "split"] = POOL
    sizes = {"dev": settings["dev"], "test": settings["test"]}
    essays.loc[scored, "split"] = splits.assign(essays[scored], **sizes, seed=settings["split_seed"])
    counts = {"rows_read": raw.rows_read, "repeated": raw.repeated, "excluded": len(exclusions)}
    if most := files.sample(settings.get("options", {})):
        stay = splits.sampled(essays, most, seed=settings["split_seed"])
        told = " and ".join(f"{int((essays['split'] == name).sum()):,} {name}" for name in most)
        left = f"{int((~stay).sum()):,} of {told} essays"
        notes.append(f"{left} are left out at random (options.sample), whatever their score.")
        essays, counts["not_sampled"] = essays[stay].reset_index(drop=True), int((~stay).sum())
    counts["essays"] = len(essays)
    dataset = _dataset(essays, raw.store)
    read = [*raw.sources, *filter(None, [rubric])]
    clusters = pd.factorize(essays["duplicate"], sort=True)[0]
    return Prepared(dataset, exclusions, essays[["essay_id", "split"]].copy(), counts, read, notes, clusters)


def sources(settings: dict[str, Any]) -> list[Path]:
    """The study's own files that decide its essays and how they are scored: those of the corpus, and the rubric if it names one.

    Raises CyborgError where one is missing.
    """
    return [*CORPORA[settings["corpus"]].sources(settings), *filter(None, [files.rubric(settings.get("options", {}))])]


def save(dataset: Dataset, profile: str) -> Path:
    """Write the essays to `build/<profile>/essays` (an atomic write); replaces an earlier copy."""
    target = paths.build(profile, "essays")
    with atomic.folder(target) as temporary:
        if ready := _folder_of(dataset):
            for file in ready.iterdir():
                _link(file, temporary / file.name)
        else:
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

    Where several people's scores were combined, also first_score: then this and second_score are those of two people.

    `text=True` adds text and assignment. Missing numbers are NaN, missing groups None.
    """
    names = [*COLUMNS, *[FIRST] * (FIRST in dataset.features), *["text", "assignment"] * text]
    plain = dataset.with_format(None)
    flat = pd.DataFrame({name: plain[name][:] for name in names})
    for kind in ("groups", "traits"):
        values = plain[kind][:] if kind in plain.column_names else []
        for name in dataset.features[kind] if kind in plain.column_names else []:
            dtype = float if kind == "traits" else object
            flat[f"{kind}.{name}"] = pd.Series([value[name] for value in values], dtype=dtype)
    return flat.astype({name: float for name in flat if name in (FIRST, "second_score", "true_score")})


def draw_human(dataset: Dataset, fraction: float, seed: int) -> np.ndarray:
    """Ids of U: the share `fraction` of the training essays (at least one), drawn at random within the study's strata.

    Nested: with the same seed a larger fraction contains a smaller one. Depends on ids and strata only, not on row order.
    """
    if not 0 < fraction <= 1:
        raise CyborgError(f"fraction {fraction}: must be above 0 and at most 1")
    plain = dataset.with_format(None)
    train = pd.DataFrame({name: plain[name][:] for name in ("essay_id", "stratum", "split")}).query("split == 'train'")
    train = train.sort_values("essay_id", ignore_index=True)
    order = splits.stratified_order(train["stratum"].to_numpy(), np.random.default_rng(seed))
    chosen = order[: max(1, round(fraction * len(train)))]
    return train["essay_id"].to_numpy(dtype=object)[np.sort(chosen)].astype(str)


def _levels(score: pd.Series, settings: dict[str, Any]) -> pd.Series:
    """Levels of scores, missing where a score is. Raises CyborgError where all are."""
    scored = score.dropna()
    if scored.empty:
        raise CyborgError(f"column {settings['score']}: no essay has a score. Score some of them by hand first.")
    levels = pd.Series(Scale(*settings["scale"]).level(scored), index=scored.index)
    return levels if len(scored) == len(score) else levels.astype("Int64").reindex(score.index)


def _clusters(essays: pd.DataFrame, store: Store, settings: dict[str, Any], notes: list[str]) -> np.ndarray:
    """Keys of essays that belong together, (n,): copies as they are, and in a user's table near-duplicates and one writer's.

    Adds sentences on what was found to `notes`.
    """
    own = settings["corpus"] == "table"
    usual = near_duplicates.ALIKE if len(essays) <= near_duplicates.MOST else 0
    alike = settings.get("options", {}).get("near_duplicates", usual)
    near: list[tuple[int, int]] = []
    if own and alike:
        if not 0 < alike <= 1:
            raise CyborgError(
                f"prepare_data.options.near_duplicates: {alike:g}: must be a share above 0 and at most 1, or 0 for none."
            )
        places = {place: at for at, place in enumerate(essays["place"])}
        texts = itertools.chain.from_iterable(batch["text"].to_pylist() for batch in store.batches())
        near = [(places[a], places[b]) for a, b in near_duplicates.pairs(texts, alike) if a in places and b in places]
        keys, score, names, split = (essays[name].to_numpy() for name in ("duplicate", "score", "essay_id", "split"))
        new = [(a, b) for a, b in near if keys[a] != keys[b]]
        unlike = [(a, b) for a, b in near if abs(score[a] - score[b]) > 0]
        if new:
            told = f"{alike:.0%} or more of their word triples with another, such as {files.listed(names[list(new[0])])}"
            notes.append(f"{len({b for _, b in new}):,} essay(s) share {told}; near-duplicates share a split.")
        if across := sum((split[a] == "test") != (split[b] == "test") for a, b in new) if settings["test"] == 0 else 0:
            notes.append(f"{across:,} pair(s) of near-duplicates stand on both sides of the split that the table brings.")
        if unlike:
            told = f"such as {files.listed(names[list(unlike[0])])}. Are these scores right?"
            notes.append(f"{len(unlike):,} pair(s) of copies or near-duplicates have different scores, {told}")
    elif own and "near_duplicates" not in settings.get("options", {}):
        notes.append(f"Near-duplicates were not looked for among {len(essays):,} essays; options.near_duplicates: 0.7 does.")
    writers: list[tuple[int, int]] = []
    if "writer" in essays:
        writers = [*near_duplicates.same(essays["writer"])]
        count = essays["writer"].replace("", np.nan).nunique()
        notes.append(f"{count:,} writers wrote {len(essays):,} essays; the essays of a writer share a split.")
        sides = essays.groupby("writer")["split"].nunique().drop("", errors="ignore")
        if settings["test"] == 0 and (sides > 1).any():
            notes.append(f"{int((sides > 1).sum()):,} writer(s) stand on both sides of the split that the table brings.")
    return near_duplicates.together(essays["duplicate"].to_numpy(), near, writers)


def _without_leaks(essays: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """For a corpus with its own split: where a text is on both sides, the test copy stays; the others become exclusions."""
    rank = essays["split"].map({"test": 0, "dev": 1}).fillna(2)
    leaked = rank > rank.groupby(essays["duplicate"]).transform("min")
    first = essays[~leaked].groupby("duplicate")["essay_id"].first()
    dropped = essays[leaked]
    reason = "same text as essay " + dropped["duplicate"].map(first) + " of another split"
    dropped = dropped[["file", "row", "essay_id"]].assign(column="text", reason=reason)
    return essays[~leaked].reset_index(drop=True), dropped[table.EXCLUSION_COLUMNS]


def _dataset(essays: pd.DataFrame, store: Store) -> Dataset:
    """The essays with the store's texts, as a dataset on disk in the store's folder, which is removed with it."""
    features = BASIC | ({FIRST: Value("float64")} if FIRST in essays else {})
    for kind, value in (("traits", "float64"), ("groups", "string")):
        names = [name.removeprefix(f"{kind}.") for name in essays.columns if name.startswith(f"{kind}.")]
        features[kind] = {name: Value(value) for name in names}
    features = Features(features | {"split": Value("string")})
    schema, folder = features.arrow_schema, store.folder / "essays"
    kept, at, done = np.zeros(len(store), dtype=bool), 0, 0
    kept[essays["place"]] = True
    folder.mkdir()
    with pa.OSFile(str(folder / ROWS), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for texts in store.batches():
            at, texts = at + len(texts), texts.filter(pa.array(kept[at : at + len(texts)]))
            rows, done = essays.iloc[done : done + len(texts)], done + len(texts)
            writer.write_batch(pa.record_batch([_cells(field, rows, texts) for field in schema], schema=schema))
    (store.folder / "texts.arrow").unlink()
    DatasetInfo(features=features).write_to_directory(str(folder))
    state = {**STATE, "_data_files": [{"filename": ROWS}], "_fingerprint": provenance.sha256(folder / ROWS)[:16]}
    provenance.write_json(folder / "state.json", state)
    dataset = load_from_disk(str(folder))
    weakref.finalize(dataset, lambda held: held.remove(), store)  # the store is held until then
    return dataset


def _cells(field: pa.Field, rows: pd.DataFrame, texts: pa.RecordBatch) -> pa.Array:
    """One column of a batch; missing values are null, also inside a struct."""
    if field.name in texts.schema.names:
        return texts.column(field.name)
    if not pa.types.is_struct(field.type):
        return pa.array(rows[field.name], field.type, from_pandas=True)
    if not field.type.num_fields:
        return pa.array([{}] * len(rows), field.type)
    inside = [pa.array(rows[f"{field.name}.{part.name}"], part.type, from_pandas=True) for part in field.type]
    return pa.StructArray.from_arrays(inside, fields=list(field.type))


def _folder_of(dataset: Dataset) -> Path | None:
    """The folder that holds exactly this dataset, if `build` made it and it was not changed since."""
    folders = {Path(file["filename"]).parent for file in dataset.cache_files}
    if len(folders) != 1 or not ((folder := folders.pop()) / "state.json").is_file():
        return None
    return folder if load_from_disk(str(folder))._fingerprint == dataset._fingerprint else None


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except OSError:  # a file system without links
        shutil.copyfile(file, to)
