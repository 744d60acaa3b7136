"""Scores by essay id: writes, reads and checks the files in `results/<profile>/scores`, and joins them with the essays.

    essays.csv              essay_id, prompt, score, second_score, true_score, level,  notebook 01
                            split, words, groups.*, traits.*
    teacher_<run>.csv       essay_id, part, level, expected, p_1 .. p_K                notebook 03
    students_<run>.csv      essay_id, part, student, head, labels, value, level,       notebook 04
                            matched_value, matched_level

The files contain no text, so git tracks them. Every table of 05 and 06 can be recomputed from them, without a model and without
the essays.

Terms: score = on the human scale; level = 0 .. K-1; value = a machine's real-valued score on the score scale.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora
from cyborg_utils.models.cyborg_data import LABELS
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.study import arms, artefacts

ARM = ["fraction", "student", "head", "labels"]  # these identify an arm; seeds repeat it
WRITTEN_BY = {"teacher": "03_label_essays", "students": "04_train_student"}


def file(profile: str, name: str) -> Path:
    """The file of a name such as `essays`, `teacher_u10_s1` or `students_u10_s1`."""
    return paths.results(profile, "scores", f"{name}.csv")


def write(profile: str, name: str, frame: pd.DataFrame) -> Path:
    """Write one of the files above atomically, with real numbers to 6 significant digits and ids as text."""
    artefacts.write(file(profile, name), frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return file(profile, name)


def write_essays(profile: str, essays: pd.DataFrame) -> Path:
    """Write `essays.csv` from a `corpora.frame` with text: numbers with all their digits, word counts instead of the text."""
    listed = essays.assign(words=essays["text"].str.split().str.len())
    beside = [name for name in listed if name == corpora.FIRST or name.startswith(("groups.", "traits."))]
    told = [*corpora.COLUMNS, "words", *beside]
    return artefacts.write(file(profile, "essays"), listed[told].to_csv(index=False, lineterminator="\n"))


def essays(profile: str) -> pd.DataFrame:
    """The prepared essays without their text (`corpora.frame`), with `human_level` in place of `level`.

    Where the essays have not been prepared (a fresh clone without the corpus), they are read from `essays.csv`.
    """
    listed = file(profile, "essays")
    if listed.is_file() and not paths.build(profile, "essays").is_dir():
        names = pd.read_csv(listed, nrows=0).columns
        groups = [name for name in names if name.startswith("groups.")]
        types = dict.fromkeys(names, float) | dict.fromkeys(["essay_id", "prompt", "split"], str) | {"level": int}
        types |= dict.fromkeys(groups, object)
        frame = pd.read_csv(listed, dtype=types, keep_default_na=False, na_values=[""], float_precision="round_trip")
        frame = frame.drop(columns="words")
        frame[groups] = frame[groups].where(frame[groups].notna(), None)
    else:
        frame = corpora.frame(corpora.load(profile))
    return frame.rename(columns={"level": "human_level"})


def read(profile: str, kind: str, run: config.Run) -> pd.DataFrame:
    """One file, `kind` "teacher" or "students", joined with the essays; columns run, fraction, seed, n_human, n_dev are added.

    n_human counts the human scores that were paid for: those of U and the n_dev ones of the development essays. Raises
    CyborgError where the file is missing, where a score is missing, and where an essay or its part does not match the prepared
    essays (the corpus was prepared again with another split after the models had run).
    """
    path = file(profile, f"{kind}_{run.name}")
    if not path.is_file():
        raise CyborgError(f"{paths.shown(path)}: not there yet. Notebook {WRITTEN_BY[kind]} writes it for run {run.name}.")
    return _joined(path, essays(profile), run, WRITTEN_BY[kind])


def runs(profile: str, kind: str) -> tuple[list[config.Run], list[config.Run]]:
    """The study's runs whose file exists, and those whose file does not; the Students' `full` runs have fraction 1."""
    study = config.load(profile)
    wanted = [*study.runs, *(study.full_runs if kind == "students" else ())]
    there = [run for run in wanted if file(profile, f"{kind}_{run.name}").is_file()]
    return there, [run for run in wanted if run not in there]


def files(profile: str) -> list[Path]:
    """The existing files of the Teacher's and the Students' runs."""
    return [file(profile, f"{kind}_{run.name}") for kind in ("teacher", "students") for run in runs(profile, kind)[0]]


def missing(profile: str) -> list[str]:
    """Names of the study's runs that lack the Teacher's or the Students' scores."""
    return list(dict.fromkeys(run.name for kind in ("teacher", "students") for run in runs(profile, kind)[1]))


def teachers(profile: str) -> pd.DataFrame:
    """The Teacher's scores in every run that has a file: one row per essay and run. Raises CyborgError where there is none."""
    return _all(profile, "teacher")


def students(profile: str) -> pd.DataFrame:
    """The Students' scores, as `teachers`: one row per essay, run, student, head and labels."""
    return _all(profile, "students")


def raters(profile: str, *, part: str = "test") -> pd.DataFrame:
    """Every machine rater of a part ("test", "dev"), one row per essay and rater, in the order of the tables.

    Columns: fraction, n_human, n_dev, seed, run, student, head, labels, value, level, matched_value, matched_level, and the
    essays' score, human_level, groups.* ... `ARM` and seed identify a rater; `student` is a model's name, "ridge" or "teacher".

    The Teacher has labels "teacher" and two heads: "most likely" (the score it gives, from which `cyborg` Students learn) and
    "expected" (its mean, rounded for the level). `matched_*` are matched in mean and SD to the human scores of the development
    split. Levels from classifiers and from the "most likely" head are not matched: there `matched_*` are the same numbers. The
    classical Student learns from one set, so it has no `cyborg-staged` (older files have it, as a copy of `cyborg-soft`).

    Raises CyborgError where two rows of a rater score the same essay, and where a rater leaves out an essay of the part.
    """
    scale = config.load(profile).scale
    found = students(profile).query("part == @part and not (student == 'ridge' and labels == 'cyborg-staged')").copy()
    order = list(dict.fromkeys(found["student"]))
    if runs(profile, "teacher")[0]:
        given = teachers(profile).assign(student="teacher", labels="teacher")
        likely = given.assign(head="most likely", value=scale.score(given["level"]), matched_value=scale.score(given["level"]))
        mean = given.assign(head="expected", value=given["expected"], level=scale.nearest(given["expected"]))
        means = [_matched(rows) for _, rows in mean.groupby("run", sort=False)]
        both = pd.concat([likely, *means], ignore_index=True).query("part == @part")
        both = both.assign(matched_level=scale.nearest(both["matched_value"]))
        found = pd.concat([both, found], ignore_index=True)[list(found.columns)]
    _whole(found, profile, part)
    place = {name: at for at, name in enumerate(["teacher", *(name for name in order if name != "ridge"), "ridge"])}
    labels = {name: at for at, name in enumerate(["teacher", *LABELS])}
    heads = {name: at for at, name in enumerate(["most likely", "expected", *arms.MATCHED, "classification"])}
    keys = {"student": place, "head": heads, "labels": labels}
    sort = found.assign(**{f"_{name}": found[name].map(rank) for name, rank in keys.items()})
    sort = sort.sort_values(["fraction", "_student", "_head", "_labels", "seed", "essay_id"], kind="stable", ignore_index=True)
    return sort.drop(columns=[f"_{name}" for name in keys])


def _matched(rows: pd.DataFrame) -> pd.DataFrame:
    """One rater's rows with `matched_value`, its mean and SD matched to the human scores on the development essays."""
    dev = rows[rows["part"] == "dev"]
    return rows.assign(matched_value=match_on_dev(dev).apply(rows["value"]))


def _all(profile: str, kind: str) -> pd.DataFrame:
    there, _ = runs(profile, kind)
    if not there:
        place = paths.shown(file(profile, f"{kind}_<run>"))
        raise CyborgError(f"{place}: there is none yet. Notebook {WRITTEN_BY[kind]} writes them.")
    known = essays(profile)
    frames = [_joined(file(profile, f"{kind}_{run.name}"), known, run, WRITTEN_BY[kind]) for run in there]
    return pd.concat(frames, ignore_index=True)


def _joined(path: Path, known: pd.DataFrame, run: config.Run, notebook: str) -> pd.DataFrame:
    scores = pd.read_csv(path, dtype={"essay_id": str})
    joined = scores.merge(known, on="essay_id", how="left", validate="many_to_one")
    part = joined["part"].replace({"U": "train", "pool": "train"})
    if (strange := part != joined["split"]).any():
        raise CyborgError(
            f"{paths.shown(path)}: {int(strange.sum())} row(s) do not fit the prepared essays, first essay "
            f"{joined.loc[strange, 'essay_id'].iloc[0]}: the corpus was prepared anew since. Run notebook {notebook} again."
        )
    numbers = [name for name in ("level", "expected", "value", "matched_value", "matched_level") if name in joined]
    if (empty := joined[numbers].isna().any(axis=1)).any():
        raise CyborgError(f"{paths.shown(path)}: no score in {int(empty.sum())} row(s), first: row {int(np.argmax(empty)) + 2}.")
    sizes = known["split"].value_counts().reindex(["train", "dev"], fill_value=0)
    n_u = max(1, round(run.fraction * int(sizes["train"])))  # as corpora.draw_human counts
    counts = {"n_human": n_u + int(sizes["dev"]), "n_dev": int(sizes["dev"])}
    return joined.assign(run=run.name, fraction=run.fraction, seed=run.seed, **counts)


def _whole(found: pd.DataFrame, profile: str, part: str) -> None:
    size = int((essays(profile)["split"] == part).sum())
    for key, essay in found.groupby([*ARM, "seed"], sort=False)["essay_id"]:
        if len(essay) != size or essay.nunique() != size:
            name = ", ".join(map(str, key))
            raise CyborgError(f"{name}: scores of {essay.nunique()} essays in {len(essay)} rows, not of the {size} in {part}.")
