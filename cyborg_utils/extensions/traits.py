"""Trait scores: the same experiment for several scores of an essay at once. Frames are those of `corpora.frame`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.models import cyborg_data, student, teacher, teachers
from cyborg_utils.models.prompt import Prompt
from cyborg_utils.plots.style import label
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.study import agreement, arms, bias, bias_in_words, scores

TOGETHER = "all traits"  # the Student with one output for each trait
FILED = ["essay_id", "part", "trait", "student", "labels", "value", "matched_value", "matched_level"]  # of the Students' scores

# ---------------------------------------------------------------- essays and scores


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


def correlations(essays: pd.DataFrame, traits: Sequence[str]) -> pd.DataFrame:
    """Correlations of people's scores of these traits, and of the holistic score, with each other."""
    human = essays[[f"traits.{name}" for name in traits]].assign(holistic=essays["score"])
    return human.rename(columns=lambda name: name.removeprefix("traits.")).corr()


def training_sets(
    essays: pd.DataFrame, traits: Sequence[str], scale: Scale, labels: str, synthetic: pd.DataFrame | None
) -> list[pd.DataFrame]:
    """`cyborg_data.training_sets` for several traits: essay_id, text, source and `value.<trait>`.

    `essays` is the frame of `levels`; `synthetic` has a row an essay and trait (`teacher.score`, with part).
    """
    whole: list[pd.DataFrame] = []
    for name in traits:
        given = None if synthetic is None else arms.pick(synthetic, trait=name)
        parts = cyborg_data.training_sets(essays.assign(level=essays[f"level.{name}"]), scale, labels, given)
        whole = whole or [part[["essay_id", "text", "source"]] for part in parts]
        whole = [known.assign(**{f"value.{name}": part["value"]}) for known, part in zip(whole, parts, strict=True)]
    return whole


def scored(essays: pd.DataFrame, traits: Sequence[str], values: pd.DataFrame, scale: Scale, **who: object) -> pd.DataFrame:
    """A rater's scores as `scores.raters` has them, one row an essay and trait, matched on the development essays.

    `values`: one column a trait, rows as `essays`; `who` names the rater (student, head, labels, ...). Added: trait, score,
    second_score (unknown), n_dev, human_level, value, level, matched_value, matched_level.
    """
    tables = []
    for name in traits:
        rows = essays[["essay_id", "split", *(column for column in essays if column.startswith("groups."))]]
        rows = rows.assign(trait=name, score=essays[f"traits.{name}"], human_level=essays[f"level.{name}"], **who)
        rows = rows.assign(second_score=np.nan, n_dev=(essays["split"] == "dev").sum())  # no corpus has traits scored twice
        value = values[name].to_numpy(dtype=float)
        rows = rows.assign(value=value, level=scale.nearest(value))
        matched = match_on_dev(rows[rows["split"] == "dev"]).apply(value)
        tables.append(rows.assign(matched_value=matched, matched_level=scale.nearest(matched)))
    return pd.concat(tables, ignore_index=True)


# ---------------------------------------------------------------- Teacher and Students


def finetune(profile: str, essays: pd.DataFrame, template: Prompt, run: config.Run) -> pd.DataFrame:
    """Fine-tune a Teacher of all traits of the prompt, as notebook 02 does, on the run's U; its curve, with the run's name.

    Taken up where it stopped.
    """
    section = config.load(profile).section("finetune_teacher")
    human, dev = essays[_has_human_scores(profile, essays, run)], essays[essays["split"] == "dev"]
    settings, attempts = teacher.Settings.of(section), section["attempts"]
    curve = teachers.fit(human, dev, template, settings, seed=run.seed, folder=_folder(profile, run), attempts=attempts)
    return curve.assign(run=run.name)


def label_essays(profile: str, essays: pd.DataFrame, template: Prompt, run: config.Run) -> pd.DataFrame:
    """The scores that the run's Teacher gives all essays, as `teacher.score` has them, with `part` (U, pool, dev, test)."""
    folder = _folder(profile, run)
    given = teachers.score(folder, essays, template)
    part = essays["split"].mask(essays["split"] == "train", "pool").mask(_has_human_scores(profile, essays, run), "U")
    given.insert(1, "part", given["essay_id"].map(dict(zip(essays["essay_id"], part, strict=True))))
    return given


def train_students(
    profile: str, essays: pd.DataFrame, traits: Sequence[str], run: config.Run, labels: Sequence[str], *, alone: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """For each kind of labels a Student of all traits, and one more for each trait in `alone`; their scores and training times.

    Scores as `scored` has them, of all essays. Training times are seconds by "run, labels, Student". Taken up where it stopped.
    """
    study = config.load(profile)
    settings = student.Settings.of(study.section("train_student"), model=study.headline[0], head=arms.matched_head(study))
    kinds = {TOGETHER: list(traits), **{f"{one} alone": [one] for one in alone}}
    given, rated, seconds = _given(profile, run), [], {}
    for labelled in labels:
        sets = training_sets(essays, traits, study.scale, labelled, None if labelled == "full" else given)
        for name, asked in kinds.items():
            keep = ["essay_id", "text", "source", *(f"value.{one}" for one in asked)]
            folder = paths.build(profile, "further_students", run.name, f"traits-{name.replace(' ', '-')}-{labelled}")
            pupil, curve = student.train([part[keep] for part in sets], study.scale, settings, seed=run.seed, folder=folder)
            seconds[f"{run.name}, {labelled}, {name}"] = float(curve["seconds"].sum())
            values = pd.DataFrame(pupil.predict(essays["text"])[0].reshape(len(essays), -1), columns=asked)
            who = {"student": name, "head": settings.head, "labels": labelled, "seed": run.seed}
            who |= {"fraction": 1.0 if labelled == "full" else run.fraction}
            who |= {"n_human": _paid(essays, sets[-1].loc[sets[-1]["source"] == "human", "essay_id"])}
            rated.append(scored(essays, asked, values, study.scale, **who))
    return pd.concat(rated, ignore_index=True), seconds


def filed(rated: pd.DataFrame) -> pd.DataFrame:
    """What the file `traits_students_<run>.csv` holds of the scores of `train_students`: development and test essays."""
    return rated.query("split != 'train'").rename(columns={"split": "part"})[FILED]


def teacher_as_rater(profile: str, essays: pd.DataFrame, traits: Sequence[str], run: config.Run) -> pd.DataFrame:
    """The run's Teacher in the table of `scored`, read by its expected score from its file."""
    given = _given(profile, run)
    expected = given.pivot(index="essay_id", columns="trait", values="expected").loc[essays["essay_id"]].reset_index()
    who = {"student": "teacher", "head": "expected", "labels": "teacher", "seed": run.seed, "fraction": run.fraction}
    n_human = _paid(essays, given.loc[given["part"] == "U", "essay_id"])
    return scored(essays, traits, expected, config.load(profile).scale, n_human=n_human, **who)


def _folder(profile: str, run: config.Run) -> Path:
    return paths.build(profile, "teacher", f"traits_{run.name}")


def _has_human_scores(profile: str, essays: pd.DataFrame, run: config.Run) -> pd.Series:
    return essays["essay_id"].isin(corpora.draw_human(corpora.load(profile), run.fraction, run.seed))


def _paid(essays: pd.DataFrame, taught: pd.Series) -> int:
    """Essays whose human scores are paid for: those `taught` (ids), and the development essays that match every rater."""
    return int((essays["essay_id"].isin(taught) | (essays["split"] == "dev")).sum())


def _given(profile: str, run: config.Run) -> pd.DataFrame:
    return pd.read_csv(scores.file(profile, f"traits_teacher_{run.name}"), dtype={"essay_id": str})


# ---------------------------------------------------------------- tables


def with_holistic(raters: pd.DataFrame, known: pd.DataFrame, *, model: str) -> pd.DataFrame:
    """The raters of traits, and after them those of the holistic score (`scores.raters`) as one more trait, "holistic".

    Of `known` come the Student of this model, named as the one of all traits, and the Teacher, at the same fractions, seeds and
    labels.
    """
    same = np.logical_and.reduce([known[name].isin(raters[name].unique()) for name in ("fraction", "seed", "labels", "head")])
    rows = known[same & known["student"].isin([model, "teacher"])]
    rows = rows.assign(trait="holistic", student=rows["student"].replace({model: TOGETHER}))
    return pd.concat([raters, rows[raters.columns]], ignore_index=True) if len(rows) else raters


def agreement_by_trait(raters: pd.DataFrame, *, scale: Scale, **options: object) -> pd.DataFrame:
    """`agreement.agreement_table` of each trait, after a column trait."""
    return arms.of_each(raters, ["trait"], lambda part: agreement.agreement_table(part, scale=scale, **options))


def gaps(raters: pd.DataFrame, **options: object) -> pd.DataFrame:
    """`agreement.gaps` of each trait, after a column trait."""
    return arms.of_each(raters, ["trait"], lambda part: agreement.gaps(part, **options))


def gains(raters: pd.DataFrame, labels: str, *, student: str, **options: object) -> pd.DataFrame:
    """QWK of a Student on these labels minus that on human scores alone, trait by trait, on the same essays and seeds.

    Columns: trait, change, low, high (`comparisons.across_seeds`). No rows where one of the two arms is missing, or where these
    labels hold no synthetic scores.
    """
    rows = []
    own = arms.pick(raters, student=student)
    for name, part in own.groupby("trait", sort=False) if labels.startswith("cyborg") else ():
        ours, theirs = (arms.by_seed(arms.pick(part, labels=kind), "matched_level") for kind in (labels, "human"))
        if ours and theirs:
            pooled = across_seeds(arms.human(part), ours, theirs, **options)
            rows.append((name, pooled["mean"], pooled["low"], pooled["high"]))
    return pd.DataFrame(rows, columns=["trait", "change", "low", "high"])


def bias_by_trait(raters: pd.DataFrame, *, groups: Sequence[str], scale: Scale, **options: object) -> pd.DataFrame:
    """`bias.smd_of_runs` of each trait and arm (matched), after trait, labels, student."""

    def of_arm(arm: pd.DataFrame) -> pd.DataFrame:
        return bias.smd_of_runs(arm, "matched_value", groups=groups, scale=scale, **options)

    return arms.of_each(raters, ["trait"], lambda part: arms.of_each(part, ["labels", "student"], of_arm))


# ---------------------------------------------------------------- sentences


def mixed_labels(labels: Sequence[str]) -> str:
    """The kind of labels that the sentences speak of: the first with synthetic scores, or else the first."""
    return next((kind for kind in labels if kind.startswith("cyborg")), labels[0])


def gap_closed(table_gap: pd.DataFrame) -> str:
    """The share of the gap that each arm closes, trait by trait; the gap itself where it is not beyond chance."""
    lines = []
    for row in table_gap.itertuples():
        share, gap = f"**{row.gap_closed:.0%}** [{row.low:.0%}, {row.high:.0%}]", f"a gap of {row.gap:+.3f}, not beyond chance"
        lines.append(f"- {row.trait}, {label(row.labels)} ({row.student}): {share if row.resolved else gap}")
    return "\n".join(lines) or "Without the labels `human` and `full` there is no gap to measure."


def alone_or_together(table_traits: pd.DataFrame, alone: Sequence[str], labels: Sequence[str]) -> str:
    """QWK of the Students of one trait beside that of the Student of all traits, by trait and kind of labels."""
    lines = []
    for name in alone:
        for kind in labels:
            both = arms.pick(table_traits, trait=name, labels=kind).set_index("student")[["qwk", "low", "high"]]
            own, beside = ("{:.3f} [{:.3f}, {:.3f}]".format(*both.loc[who]) for who in (f"{name} alone", TOGETHER))
            lines.append(f"- {name}, {label(kind)}: alone {own}, with the others {beside}")
    return "\n".join(lines) or "This study trains no Student for one trait alone."


def learned(
    table_traits: pd.DataFrame, gained: pd.DataFrame, table_gap: pd.DataFrame, table_bias: pd.DataFrame, *, labels: str
) -> str:
    """A numbered list on the Student of all traits on these labels: gain, gap, differences between traits, bias.

    `gained` is the table of `gains`.
    """
    lines = []
    if len(gained):
        ends = gained.sort_values("change").iloc[[0, -1]].itertuples()
        least, most = (f"{row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}] ({row.trait})" for row in ends)
        lines.append(
            f"**Synthetic scores raise QWK beyond chance for {_raised(gained)} traits**: the change is "
            f"{gained['change'].mean():+.3f} on average, from {least} to {most}."
        )
    own = arms.pick(table_traits, student=TOGETHER, labels=labels).query("trait != 'holistic'").sort_values("qwk")
    if len(closed := _closed(table_gap, labels)):
        where, average = f"where it is beyond chance ({len(closed)} of {len(own)} traits)", closed["gap_closed"].mean()
        lines.append(f"**The gap**, {where}, closes by {average:.0%} on average.")
    worst, best = (f"{row.qwk:.3f} ({row.trait})" for row in own.iloc[[0, -1]].itertuples())
    lines.append(f"**Not all traits are alike** ({label(labels)}): QWK goes from {worst} to {best}.")
    groups = bias_in_words.judged(arms.pick(table_bias, student=TOGETHER, labels=labels)).dropna(subset="smd_low")
    if len(groups):
        row, biased = groups.loc[groups["smd"].abs().idxmax()], (groups["verdict"] == "biased").sum()
        lines.append(
            f"**Biased**: {biased} of {len(groups)} judged pairs of trait and group; the largest SMD is {row['smd']:+.2f} "
            f"[{row['smd_low']:+.2f}, {row['smd_high']:+.2f}] ({row['trait']}, {row['attribute']} = {row['group']})."
        )
    return "\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1))


def finding(gained: pd.DataFrame, table_gap: pd.DataFrame, *, labels: str) -> str:
    """The notebook in one sentence."""
    parts = ["what synthetic scores add cannot be told without Students on `human` and on `cyborg` labels"]
    if len(gained):
        mean = f"by {gained['change'].mean():+.3f} on average over all of them"
        parts = [f"synthetic scores raise QWK beyond chance for {_raised(gained)} traits, {mean}"]
    closed = _closed(table_gap, labels).sort_values("gap_closed")
    if shares := [f"{row.gap_closed:.0%} [{row.low:.0%}, {row.high:.0%}] ({row.trait})" for row in closed.itertuples()]:
        ends = f"between {shares[0]} and {shares[-1]}" if len(shares) > 1 else shares[0]
        parts.append(f"of the gap to all human scores they close {ends}")
    elif len(table_gap):
        parts.append("no gap to all human scores is beyond chance")
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _closed(table_gap: pd.DataFrame, labels: str) -> pd.DataFrame:
    """The gaps of the Student of all traits on these labels that are beyond chance."""
    return arms.pick(table_gap, student=TOGETHER, labels=labels, resolved=True)


def _raised(gained: pd.DataFrame) -> str:
    return f"{(gained['low'] > 0).sum()} of {len(gained)}"
