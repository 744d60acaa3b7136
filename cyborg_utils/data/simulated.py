"""A corpus of simulated persuasive essays, so that the demo needs no download. Not the writing of real students.

    latent quality + group effect -> true_score (1-6, real) -> two raters' scores
                                  -> six abilities          -> text (simulated_text.py)

`simulated.md` describes the planted effects and their sizes; the constants below are its one source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

import pandas as pd

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files, table
from cyborg_utils.data.simulated_text import Writer, phrases
from cyborg_utils.data.spool import Store

DEFAULTS = {"essays": 900, "seed": 1}
MOST = 10_000_000  # essays, about an hour's work; a typing error must not ask for days
TRUE_MEAN, TRUE_SD = 3.2, 0.95  # of true_score, before it is trimmed to 1-6
RATER_SD = 0.46  # of one rater's error, in score points: human-human QWK about 0.75
LOADINGS = {  # correlation of each ability with quality; the rest is the writer's own profile
    "content": 0.60,
    "organization": 0.60,
    "vocabulary": 0.95,
    "grammar": 0.95,
}
TRAITS = {  # a trait's true score is TRUE_MEAN + TRUE_SD * the mean of these abilities
    "Content": ("content",),
    "Organization": ("organization",),
    "Vocabulary": ("vocabulary",),
    "Mechanics": ("grammar",),
}
GROUPS = ("groups.ell_status", "groups.gender", "groups.economically_disadvantaged")
ELL_SHARE, DISADVANTAGED_SHARE = 0.25, {"Yes": 0.65, "No": 0.38}
ELL_EFFECT, DISADVANTAGED_EFFECT = -0.7, -0.3  # on quality, in SD of it within a group; gender has none
HABIT_SHARE = {"Economically disadvantaged": 0.70, "Not economically disadvantaged": 0.04}  # who spells by sound
HABIT_RATE = 0.7  # of their -ing, and, because: written -in, an, cuz


def sources(settings: dict[str, Any]) -> list[Path]:
    """None: no file is read."""
    return []


def read(settings: dict[str, Any]) -> table.Raw:
    """`options: {essays: N, seed: S}` -> N essays; raises CyborgError for other options, another scale or a split of its own."""
    options = {**DEFAULTS, **settings.get("options", {})}
    if unknown := sorted(set(options) - set(DEFAULTS) - files.ANY, key=str):
        raise CyborgError(
            f"prepare_data.options: unknown {', '.join(map(str, unknown))}; the simulated corpus has essays and seed."
        )
    for key, least, most in (("essays", 1, MOST), ("seed", 0, math.inf)):
        if type(options[key]) is not int or not least <= options[key] <= most:
            limits = f"from {least} " + ("on" if most == math.inf else f"to {most:,}")
            raise CyborgError(f"prepare_data.options.{key}: {str(options[key])[:40]!r} must be a whole number {limits}.")
    if list(settings["scale"]) != [1, 6, 1] or settings["score"] != "score":
        raise CyborgError("prepare_data: the simulated corpus has `score: score` on `scale: [1, 6, 1]`.")
    groups = [f"groups.{name}" for name in settings["groups"]]
    if absent := [name for name in groups if name not in GROUPS]:
        raise CyborgError(f"prepare_data.groups: {', '.join(absent)} unknown; the simulated corpus has {', '.join(GROUPS)}.")
    left, store = [name for name in GROUPS if name not in groups], Store(table.normalised)
    for number, essay in enumerate(essays(options["essays"], options["seed"]), 1):
        row = {name: value for name, value in essay.items() if name not in left}
        store.append({**row, "split": "", "file": "simulated", "row": number})
    return table.Raw(store.frame(), store, pd.DataFrame(columns=table.EXCLUSION_COLUMNS), len(store))


def essays(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` essays, one at a time and no two with the same text; essay i depends on `seed` and i alone.

    Keys: essay_id, text, prompt, assignment, score, second_score, true_score, groups.<name>, traits.<name>. Memory: little more
    than 8 bytes an essay.
    """
    seen = set()
    for number in range(count):
        for attempt in range(100):
            row = _essay(Random(f"{seed}/{number}/{attempt}"))
            content = hash(table.normalised(row["text"]))
            if content not in seen:
                break
        seen.add(content)
        yield {"essay_id": f"sim{seed}-{number + 1:06d}", **row}


def _essay(rng: Random) -> dict[str, Any]:
    ell = "Yes" if rng.random() < ELL_SHARE else "No"
    poor = rng.random() < DISADVANTAGED_SHARE[ell]
    status = "Economically disadvantaged" if poor else "Not economically disadvantaged"
    raw = _normal(rng) + ELL_EFFECT * (ell == "Yes") + DISADVANTAGED_EFFECT * poor
    quality = (raw - QUALITY_MEAN) / QUALITY_SD
    true = min(6.0, max(1.0, TRUE_MEAN + TRUE_SD * quality))
    ability = {name: loading * quality + math.sqrt(1 - loading**2) * _normal(rng) for name, loading in LOADINGS.items()}
    dialect = HABIT_RATE if rng.random() < HABIT_SHARE[status] else 0.0
    prompt = phrases()["prompts"][int(rng.random() * len(phrases()["prompts"]))]
    return {
        "text": Writer(rng, ability, learner=ell == "Yes", dialect=dialect).essay(prompt),
        "prompt": prompt["name"],
        "assignment": prompt["assignment"],
        "score": _rating(rng, true),
        "second_score": _rating(rng, true),
        "true_score": round(true, 4),
        "groups.ell_status": ell,
        "groups.gender": "F" if rng.random() < 0.5 else "M",
        "groups.economically_disadvantaged": status,
        # drawn last, so that texts and scores are those of the corpus before it had traits
        **{f"traits.{name}": _rating(rng, _trait(ability, of)) for name, of in TRAITS.items()},
    }


def _trait(ability: dict[str, float], of: tuple[str, ...]) -> float:
    return TRUE_MEAN + TRUE_SD * sum(ability[name] for name in of) / len(of)


def _rating(rng: Random, true: float) -> float:
    """A rater's whole score: the true one with an error. Raters are fair: they do not know the group."""
    return float(min(6, max(1, math.floor(true + RATER_SD * _normal(rng) + 0.5))))


def _normal(rng: Random) -> float:
    """A standard normal number by the quantile function, which gives the same in every Python version."""
    return NormalDist().inv_cdf(min(max(rng.random(), 1e-12), 1 - 1e-12))


def _quality_moments() -> tuple[float, float]:
    """Mean and SD of quality over all groups, so that true_score has TRUE_MEAN and TRUE_SD whatever is planted."""
    cells = []
    for ell, ell_share in (("Yes", ELL_SHARE), ("No", 1 - ELL_SHARE)):
        for poor, share in ((True, DISADVANTAGED_SHARE[ell]), (False, 1 - DISADVANTAGED_SHARE[ell])):
            cells.append((ell_share * share, ELL_EFFECT * (ell == "Yes") + DISADVANTAGED_EFFECT * poor))
    mean = sum(weight * effect for weight, effect in cells)
    return mean, math.sqrt(1 + sum(weight * (effect - mean) ** 2 for weight, effect in cells))


QUALITY_MEAN, QUALITY_SD = _quality_moments()
