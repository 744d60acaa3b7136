"""What an attack gains with each scorer: its scores of the attacked essays, compared with those of the same essays before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.attacks import texts
from cyborg_utils.models import prompt, teacher, teachers
from cyborg_utils.stats.bootstrap import bootstrap_interval
from cyborg_utils.stats.calibration import Calibration, match_on_dev

NONE, CLEANED, DELIMITERS = "none", "cleaned", "delimiters"  # the defences
NEARLY_ALWAYS = 0.9  # of the essays are flagged


# ---------------------------------------------------------------- scorers under attack


def reported(values: ArrayLike, match: Calibration, scale: Scale) -> dict[str, np.ndarray]:
    """Real-valued scores (n,) as they would be reported: matched to human scores and kept within the scale (`value`), and the
    nearest `level`.
    """
    value = match.apply(values).clip(scale.low, scale.high)
    return {"value": value, "level": scale.nearest(value)}


def student_scores(
    predict: Callable[[Sequence[str]], ArrayLike],
    attacked: Mapping[str, Sequence[str]],
    sample: pd.DataFrame,
    *,
    dev: pd.DataFrame,
    scale: Scale,
) -> pd.DataFrame:
    """A Student's scores of all attacked essays, as they are and cleaned: defence, attack, essay_id, value, level.

    `sample` names the attacked essays (essay_id); `dev` holds the development essays (text, score), on which mean and SD are
    matched.
    """
    match = match_on_dev(dev.assign(value=predict([*dev["text"]])))
    return _plain_and_cleaned(predict, attacked, sample, match=match, scale=scale)


def _plain_and_cleaned(predict, attacked, sample: pd.DataFrame, *, match: Calibration, scale: Scale) -> pd.DataFrame:
    """Scores of all attacked essays, as they are and cleaned, matched by `match`."""
    rows = [
        pd.DataFrame(
            {"defence": defence, "attack": attack, "essay_id": sample["essay_id"]}
            | reported(predict([change(essay) for essay in essays]), match, scale)
        )
        for defence, change in ((NONE, str), (CLEANED, texts.cleaned))
        for attack, essays in attacked.items()
    ]
    return pd.concat(rows, ignore_index=True)


def teacher_scores(
    profile: str,
    run: str,
    attacked: Mapping[str, Sequence[str]],
    sample: pd.DataFrame,
    *,
    dev: pd.DataFrame,
    scale: Scale,
) -> pd.DataFrame:
    """The Teacher's expected scores of all attacked essays: the columns of `student_scores`, with one more defence.

    That is a prompt with delimiters around the essay and a sentence that whatever stands between them is the essay; the Teacher
    was fine-tuned without them. `dev` has the Teacher's scores of the development essays (`expected`, `score`). Finished parts
    are kept in `build/<profile>/teacher/attacked`. Raises CyborgError where chat markers in an essay become special tokens.
    """
    folder = paths.build(profile, "teacher", run)
    settings, rubric, mark = teacher.saved(folder / "adapter")
    match = match_on_dev(dev, "expected")
    if settings.method != "lora":  # it gives no answer: nothing stands behind the essay, so there are no delimiters

        def predict(changed: Sequence[str]) -> pd.Series:
            essays = sample[["essay_id", "assignment"]].assign(text=changed)
            return teachers.score(folder, essays, prompt.Prompt(rubric, scale))["expected"]

        return _plain_and_cleaned(predict, attacked, sample, match=match, scale=scale).assign(scorer="Teacher")
    loaded = teacher.load(settings, prompt.Prompt(rubric, scale), adapter=folder / "adapter")
    plain, rows = sample[["essay_id", "assignment"]], []
    essays = [plain.assign(attack=attack, text=changed) for attack, changed in attacked.items()]
    essays = pd.concat(essays, ignore_index=True)
    for defence, template in ((NONE, ""), (CLEANED, ""), (DELIMITERS, "teacher_delimited")):
        asked = prompt.Prompt(rubric, scale, template=template)
        reader = teacher.Teacher(loaded.model, loaded.tokenizer, asked, max_tokens=loaded.max_tokens)
        change = texts.cleaned if defence == CLEANED else str
        given = essays.assign(essay_id=essays["attack"] + "|" + essays["essay_id"], text=essays["text"].map(change))
        kept = paths.build(profile, "teacher", "attacked", f"{run}_{defence}")
        rated = teacher.score(reader, given, folder=kept, mark=f"{mark} {defence}")
        found = reported(rated["expected"], match, scale)
        rows.append(essays[["attack", "essay_id"]].assign(scorer="Teacher", defence=defence, **found))
        if defence != CLEANED and (formed := special_tokens(reader, attacked)):
            raise CyborgError(f"{defence}: the attack with chat markers forms {formed} special tokens of {settings.model}.")
    return pd.concat(rows, ignore_index=True)


def special_tokens(reader: teacher.Teacher, attacked: Mapping[str, Sequence[str]]) -> int:
    """How many special tokens the attack with chat markers adds to the prompts; 0 by construction."""
    special = set(reader.tokenizer.all_special_ids)

    def count(essays: Sequence[str]) -> int:
        return sum(token in special for row in reader.encode(essays, [""] * len(essays))[0] for token in row)

    return count(attacked["chat markers"]) - count(attacked[""])


# ---------------------------------------------------------------- the comparison


def flagged_by(corpus: Any, attacked: Mapping[str, Sequence[str]], sample: pd.DataFrame) -> pd.DataFrame:
    """Whether the advisory flags mark each attacked essay: attack, essay_id, flagged.

    `corpus` is what the training essays are like (`advisory_flags.Corpus`); `sample` has essay_id and assignment.
    """
    tasks = sample["assignment"].fillna("")
    rows = [
        (attack, essay_id, bool(corpus.flags(corpus.measure(text, task))))
        for attack, essays in attacked.items()
        for essay_id, text, task in zip(sample["essay_id"], essays, tasks, strict=True)
    ]
    return pd.DataFrame(rows, columns=["attack", "essay_id", "flagged"])


def compared(scores: pd.DataFrame, flagged: pd.DataFrame) -> pd.DataFrame:
    """Scores of unchanged and changed essays side by side, one row an essay, scorer, defence and attack, as `effects` takes them.

    `scores`: scorer, defence, attack ("" for the unchanged essay), essay_id, value, level. `flagged`: attack, essay_id, flagged.
    """
    unchanged = scores["attack"] == ""
    before = scores[unchanged].rename(columns={"value": "before", "level": "level_before"}).drop(columns="attack")
    after = scores[~unchanged].rename(columns={"value": "after", "level": "level_after"})
    return after.merge(before, on=["scorer", "defence", "essay_id"]).merge(flagged, on=["attack", "essay_id"])


def effects(rows: pd.DataFrame, *, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """What each attack does to each scorer, from one row an essay: scorer, defence, attack, essay_id, before, after (real-valued
    scores), level_before, level_after, and flagged (is the changed essay flagged?).

    Columns: scorer, defence, attack, n, rises (share of essays whose level rises), falls, rise, low, high (mean change of the
    real-valued score in points, with its bootstrap interval over essays), after (mean score of the changed essays), flagged.
    """
    table = []
    for key, part in rows.groupby(["scorer", "defence", "attack"], sort=False):
        options = {"resamples": resamples, "confidence": confidence, "seed": seed}
        rise = bootstrap_interval(part["before"], part["after"], metric="mean_difference", **options)
        change = np.sign(part["level_after"] - part["level_before"])
        row = dict(zip(("scorer", "defence", "attack"), key, strict=True)) | {"n": len(part), "rises": (change > 0).mean()}
        row |= {"falls": (change < 0).mean(), "rise": rise.value, "low": rise.low, "high": rise.high}
        table.append(row | {"after": part["after"].mean(), "flagged": part["flagged"].mean()})
    return pd.DataFrame(table)


# ---------------------------------------------------------------- sentences, from the table of `effects`


def what_helps(table: pd.DataFrame) -> str:
    """A line a scorer: how many attacks raise its score beyond chance, with and without defences, and how many are flagged."""
    lines = []
    for scorer, part in table.groupby("scorer", sort=False):
        own = part[part["defence"] == NONE].set_index("attack")
        gains, worst = own[own["low"] > 0], own["rise"].idxmax()
        lines.append(
            f"- **{scorer}**: {len(gains)} of {len(own)} attacks raise the score beyond chance; the worst, *{worst}*, by "
            f"{own.loc[worst, 'rise']:+.2f} points"
        )
        for defence, other in part[part["defence"] != NONE].groupby("defence", sort=False):
            still = (other["low"] > 0).sum()
            lines.append(f"    - {defence}: {still} still do, the worst by {other['rise'].max():+.2f}")
        seen = (gains["flagged"] >= NEARLY_ALWAYS).sum()
        lines.append(f"    - flags mark {seen} of these {len(gains)} nearly always (9 in 10 essays)")
    return "\n".join(lines)


def lessons(table: pd.DataFrame) -> str:
    """What instructions in an essay change, and what a text that is no essay gets; without any defence."""
    bare = table[table["defence"] == NONE]
    lines = [
        f"**Instructions in an essay**, {scorer}: scores change by {part['rise'].min():+.2f} to {part['rise'].max():+.2f} "
        f"points; at most {part['rises'].max():.0%} of the essays rise a level."
        for scorer, part in bare[bare["attack"].isin(texts.INSTRUCTIONS)].groupby("scorer", sort=False)
    ]
    junk = bare[bare["attack"].isin(texts.REPLACED)]
    best, flagged = junk.loc[junk["after"].idxmax()], junk.groupby("attack")["flagged"].mean()
    lines.append(
        f"**What is no essay** still gets a score: up to {best['after']:.2f} on average ({best['attack']}, {best['scorer']}), "
        f"and is flagged in {flagged.min():.0%} to {flagged.max():.0%} of the cases, depending on its kind."
    )
    return "\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1))


def finding(table: pd.DataFrame, *, run: str, labels: str) -> str:
    """The attack that gains most with each scorer, in one sentence; it is the best of many, and the sentence says so."""
    bare = table[table["defence"] == NONE]
    best = bare.sort_values("rise").groupby("scorer", sort=False).tail(1)
    gains = [f"{row.scorer} {row.rise:+.2f} [{row.low:+.2f}, {row.high:+.2f}] ({row.attack})" for row in best.itertuples()]
    return (
        f"Of {len(texts.ATTACKS)} attacks on {bare['n'].max()} test essays (run {run}, {labels} labels), the one that gains most "
        f"with each scorer changes its mean score by so many points: {'; '.join(gains)}."
    )
