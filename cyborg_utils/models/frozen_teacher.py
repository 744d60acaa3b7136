"""The Teacher left as it is: ridge regression on what its middle layers hold of an essay, fitted on U in a second.

The prompt stands before the essay as in fine-tuning, so the model reads the essay as a rater would who knows the rubric (unless
`rubric` is false: then it reads the essay alone). Text statistics stand beside the states, because a mean over tokens loses an
essay's length. Penalties, stacking, the match of mean and SD and the probabilities all come from leave-one-out on U
(`frozen.Frozen`): no development essay is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from cyborg_utils.core import atomic, provenance
from cyborg_utils.models import baseline, frozen, recipes, states, weights
from cyborg_utils.models.prompt import Prompt
from cyborg_utils.models.teacher import Settings
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import MeanSdMatch


class FrozenTeacher:
    """A fitted Teacher: how it reads, a regression for each trait ("" where there is one score), and the ids of U."""

    def __init__(self, settings: Settings, template: Prompt, scorers: dict[str, frozen.Frozen], u: list[str]) -> None:
        self.settings, self.prompt, self.scorers, self.u = settings, template, scorers, u

    def guesses(self, essays: pd.DataFrame) -> dict[str, np.ndarray]:
        """Best guesses of essays by trait, (n,) in score units."""
        found = features(essays, self.settings, self.prompt)
        return {trait: scorer.guess(found) for trait, scorer in self.scorers.items()}

    def score(self, essays: pd.DataFrame) -> pd.DataFrame:
        """Scores of essays (columns essay_id, text, assignment) as `teacher.score` gives them.

        `expected` is the best guess, `level` the nearest one after mean and SD were matched to those of U, because ridge
        regression shrinks. Essays of U get the guess of a regression without them.
        """
        place = pd.Series(range(len(self.u)), index=self.u).reindex(essays["essay_id"]).to_numpy()
        in_u, tables = ~np.isnan(place), []
        for trait, guess in self.guesses(essays).items():
            scorer = self.scorers[trait]
            guess[in_u] = scorer.left_out[place[in_u].astype(int)]
            rows = {"essay_id": essays["essay_id"].to_numpy()} | ({"trait": trait} if trait else {})
            rows, p = rows | {"level": scorer.level(guess), "expected": guess}, scorer.probabilities_of(guess)
            tables.append(pd.DataFrame(rows).assign(**{f"p_{level + 1}": p[:, level] for level in range(p.shape[1])}))
        return pd.concat(tables).sort_index(kind="stable").reset_index(drop=True)


def reading(settings: Settings) -> states.Reading:
    """How the Teacher reads an essay."""
    return states.Reading(settings.model, tuple(settings.layers), settings.max_tokens, rubric=settings.rubric)


def features(essays: pd.DataFrame, settings: Settings, template: Prompt) -> dict[str, np.ndarray]:
    """Blocks of features of essays: mean states of the layers side by side, (n, layers * hidden), and text statistics, (n, 8)."""
    found = states.of_essays(essays, reading(settings), template=template, show="Teacher reads")
    return {"states": found.reshape(len(found), -1).astype(np.float32), "statistics": baseline.statistics(essays["text"])}


def human(train: pd.DataFrame, template: Prompt) -> dict[str, np.ndarray]:
    """Human levels of U by trait ("" where there is one score), (n,) each."""
    return {trait: train[f"level.{trait}" if trait else "level"].to_numpy() for trait in template.traits or ("",)}


def agreement(scorers: Mapping[str, frozen.Calibrated], levels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """QWK, r, SMD and loss of the left-out guesses with human levels, as in `teacher.measures`; means over traits."""
    rows = []
    for trait, level in levels.items():
        scorer, score = scorers[trait], scorers[trait].scale.score(level)
        given, p = scorer.level(scorer.left_out), scorer.probabilities_of(scorer.left_out)
        row = {"qwk": metrics.qwk(level, given, levels=scorer.scale.size), "r": metrics.pearson_r(score, scorer.left_out)}
        row |= {"smd": metrics.smd(score, scorer.scale.score(given))}
        rows.append(row | {"loss": float(-np.log(np.clip(p[np.arange(len(p)), level], 1e-12, None)).mean())})
    return pd.DataFrame(rows).mean().to_dict()


def fit(train: pd.DataFrame, template: Prompt, settings: Settings, *, folder: Path) -> pd.DataFrame:
    """Fit on U (columns essay_id, text, assignment, level; for traits `level.<trait>`), save in `folder/adapter`.

    Returns one row with the columns of `fine_tuning.finetune`; its measures are those of the leave-one-out guesses of U, for
    traits their mean.
    """
    since = time.monotonic()
    made = fitted(train, features(train, settings, template), template, settings)
    with atomic.folder(folder / "adapter") as temporary:
        provenance.write_json(temporary / "teacher.json", write(made, temporary))
    curve = {"attempt": 1, "epoch": 0, "train_loss": np.nan} | agreement(made.scorers, human(train, template))
    return pd.DataFrame([curve | {"seconds": time.monotonic() - since, "best": True}])


def fitted(train: pd.DataFrame, found: Mapping[str, np.ndarray], template: Prompt, settings: Settings) -> FrozenTeacher:
    """The Teacher of U with these features (`features` of the same essays)."""
    scale, levels = template.scale, human(train, template)
    scorers = {trait: frozen.Frozen.fit(found, scale.score(level), scale) for trait, level in levels.items()}
    return FrozenTeacher(settings, template, scorers, [*train["essay_id"]])


ARRAYS, NUMBERS = ("centre", "spread", "weights"), ("intercept", "penalty")


def write(teacher: FrozenTeacher, folder: Path) -> dict[str, Any]:
    """Write the regressions as safetensors; returns what teacher.json says. The mark is of settings, prompt, recipe and fit."""
    arrays, told = {}, {}
    for trait, scorer in teacher.scorers.items():
        arrays |= {
            f"{trait}/{name}/{key}": np.asarray(getattr(block, key)) for name, block in scorer.blocks.items() for key in ARRAYS
        }
        arrays[f"{trait}/left_out"] = scorer.left_out
        blocks = {name: {key: getattr(block, key) for key in NUMBERS} for name, block in scorer.blocks.items()}
        told[trait] = {"shares": scorer.shares, "line": vars(scorer.line), "match": vars(scorer.match), "error": scorer.error}
        told[trait]["blocks"] = blocks
    said = {"settings": asdict(teacher.settings), "rubric": teacher.prompt.rubric, "u": teacher.u, "scorers": told}
    recipe = {"states": recipes.STATES.version, "frozen": recipes.FROZEN.version}
    recipe |= {"model": weights.identity(teacher.settings.model)}
    mark = provenance.fingerprint(said | recipe, data=[array.tolist() for array in arrays.values()])
    save_file(arrays, folder / "frozen.safetensors")
    return said | {"mark": mark}


def load(folder: Path, template: Prompt, settings: Settings) -> FrozenTeacher:
    """A saved Teacher, with the prompt and settings that `teacher.saved` tells."""
    weights.check(folder, "Remove this folder and fit the Teacher again (notebook 02).")
    said, arrays = json.loads((folder / "teacher.json").read_text(encoding="utf-8")), load_file(folder / "frozen.safetensors")
    scorers = {}
    for trait, told in said["scorers"].items():
        blocks = {
            name: frozen.Block(**{key: arrays[f"{trait}/{name}/{key}"] for key in ARRAYS}, **numbers)
            for name, numbers in told["blocks"].items()
        }
        line, match = (MeanSdMatch(**told[name]) for name in ("line", "match"))
        known = {"line": line, "match": match, "error": told["error"], "left_out": arrays[f"{trait}/left_out"]}
        scorers[trait] = frozen.Frozen(scale=template.scale, blocks=blocks, shares=told["shares"], **known)
    return FrozenTeacher(settings, template, scorers, said["u"])
