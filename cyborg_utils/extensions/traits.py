"""Trait scores: the same experiment for several scores of an essay at once. Frames are those of `corpora.frame`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import cyborg_data
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.study import agreement, arms, bias


def levels(essays: pd.DataFrame, traits: Sequence[str], scale: Scale) -> pd.DataFrame:
    """The essays that have all these traits, with `level.<trait>` beside `traits.<trait>`.

    Raises CyborgError where the corpus has no such trait, or no essay has them all.
    """
    known = [name.removeprefix("traits.") for name in essays if name.startswith("traits.")]
    if missing := [name for name in traits if name not in known]:
        raise CyborgError(
            f"score_traits.traits: {', '.join(missing)}: not in this corpus, which has {', '.join(known) or 'none'}."
        )
    whole = essays.dropna(subset=[f"traits.{name}" for name in traits])
    if whole.empty:
        raise CyborgError(f"score_traits.traits: no essay has all of {', '.join(traits)}.")
    return whole.assign(**{f"level.{name}": scale.level(whole[f"traits.{name}"]) for name in traits})


def training_sets(
    essays: pd.DataFrame, traits: Sequence[str], scale: Scale, labels: str, teacher: pd.DataFrame | None
) -> list[pd.DataFrame]:
    """`cyborg_data.training_sets` for several traits: essay_id, text, source and `value.<trait>`.

    `essays` is the frame of `levels`; `teacher` has a row an essay and trait (`teacher.score`, with part).
    """
    whole: list[pd.DataFrame] = []
    for name in traits:
        given = None if teacher is None else arms.pick(teacher, trait=name)
        parts = cyborg_data.training_sets(essays.assign(level=essays[f"level.{name}"]), scale, labels, given)
        whole = whole or [part[["essay_id", "text", "source"]] for part in parts]
        whole = [known.assign(**{f"value.{name}": part["value"]}) for known, part in zip(whole, parts, strict=True)]
    return whole


def scored(essays: pd.DataFrame, traits: Sequence[str], values: pd.DataFrame, scale: Scale, **who: object) -> pd.DataFrame:
    """A rater's scores as `scores.raters` has them, one row an essay and trait, matched on the development essays.

    `values`: one column a trait, rows as `essays`; `who` names the rater (student, head, labels, ...). Added: trait, score,
    human_level, value, level, matched_value, matched_level.
    """
    tables = []
    for name in traits:
        rows = essays[["essay_id", "split", *(column for column in essays if column.startswith("groups."))]]
        rows = rows.assign(trait=name, score=essays[f"traits.{name}"], human_level=essays[f"level.{name}"], **who)
        value = values[name].to_numpy(dtype=float)
        dev = (rows["split"] == "dev").to_numpy()
        matched = MeanSdMatch.fit(target=rows.loc[dev, "score"], values=value[dev]).apply(value)
        rows = rows.assign(value=value, level=scale.nearest(value), matched_value=matched, matched_level=scale.nearest(matched))
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def agreement_by_trait(raters: pd.DataFrame, *, scale: Scale, **options: object) -> pd.DataFrame:
    """`agreement.agreement_table` of each trait, after a column trait."""
    tables = [agreement.agreement_table(part, scale=scale, **options).assign(trait=name) for name, part in _each(raters)]
    whole = pd.concat(tables, ignore_index=True)
    return whole[["trait", *whole.columns.drop("trait")]]


def gaps(raters: pd.DataFrame, **options: object) -> pd.DataFrame:
    """`agreement.gaps` of each trait, after a column trait."""
    tables = [agreement.gaps(part, **options).assign(trait=name) for name, part in _each(raters)]
    whole = pd.concat(tables, ignore_index=True)
    return whole[["trait", *whole.columns.drop("trait")]]


def gains(raters: pd.DataFrame, labels: str, *, student: str, **options: object) -> pd.DataFrame:
    """QWK of a Student on these labels minus that on human scores alone, trait by trait, on the same essays and seeds.

    Columns: trait, change, low, high (`comparisons.across_seeds`). No rows where one of the two arms is missing.
    """
    rows = []
    for name, part in _each(arms.pick(raters, student=student)):
        ours, theirs = (arms.by_seed(arms.pick(part, labels=kind), "matched_level") for kind in (labels, "human"))
        if ours and theirs:
            found = across_seeds(arms.human(part), ours, theirs, **options)
            rows.append((name, found["mean"], found["low"], found["high"]))
    return pd.DataFrame(rows, columns=["trait", "change", "low", "high"])


def bias_by_trait(raters: pd.DataFrame, *, groups: Sequence[str], scale: Scale, **options: object) -> pd.DataFrame:
    """`bias.smd_of_runs` of each trait and arm (matched), after trait, labels, student."""
    tables = []
    for name, part in _each(raters):
        for (labels, student), arm in part.groupby(["labels", "student"], sort=False):
            found = bias.smd_of_runs(arm, "matched_value", groups=groups, scale=scale, **options)
            tables.append(found.assign(trait=name, labels=labels, student=student))
    whole = pd.concat(tables, ignore_index=True)
    return whole[["trait", "labels", "student", *whole.columns.drop(["trait", "labels", "student"])]]


def _each(raters: pd.DataFrame):
    return ((name, part) for name, part in raters.groupby("trait", sort=False))
