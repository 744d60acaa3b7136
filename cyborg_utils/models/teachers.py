"""The two ways to make a Teacher, behind one door: fine-tuned with LoRA (`teacher`), or left as it is (`frozen_teacher`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cyborg_utils.models import frozen_teacher, teacher, vllm_scorer
from cyborg_utils.models.prompt import Prompt


def fit(
    train: pd.DataFrame,
    dev: pd.DataFrame,
    template: Prompt,
    settings: teacher.Settings,
    *,
    seed: int,
    folder: Path,
    attempts: int = 1,
) -> pd.DataFrame:
    """Make the Teacher of `settings.method` from the human scores of U, in `folder/adapter`; its curve (`teacher.finetune`).

    A frozen Teacher has one row: leave-one-out on U. It needs no development essays, no seed, and it cannot fail.
    """
    if settings.method == "frozen":
        return frozen_teacher.fit(train, template, settings, folder=folder)
    return teacher.finetune(train, dev, template, settings, seed=seed, folder=folder, attempts=attempts)


def score(folder: Path, essays: pd.DataFrame, template: Prompt, *, engine: str = "transformers") -> pd.DataFrame:
    """The scores that the Teacher in `folder/adapter` gives essays (`teacher.score`); an interrupted call resumes.

    `engine`: "vllm" for a fine-tuned Teacher through vLLM.
    """
    settings, _, mark = teacher.saved(folder / "adapter")
    if settings.method == "frozen":
        return frozen_teacher.load(folder / "adapter", template, settings).score(essays)
    load = vllm_scorer.load if engine == "vllm" else teacher.load
    reader = load(settings, template, adapter=folder / "adapter")
    return teacher.score(reader, essays, folder=folder / "parts", mark=mark)
