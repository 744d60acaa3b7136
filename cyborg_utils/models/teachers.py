"""The ways to make a Teacher, behind one door.

`lora`: fine-tuned (`fine_tuning`). `frozen`: left as it is (`frozen_teacher`). `frozen-then-lora`: trained from there
(`tuned_teacher`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cyborg_utils.models import fine_tuning, frozen_teacher, teacher, tuned_teacher, vllm_scorer
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
    """Make the Teacher of `settings.method` from the human scores of U, in `folder/adapter`; its curve (`fine_tuning.finetune`).

    Only `lora` needs development essays and can need several attempts. The curve of a frozen Teacher has one row, leave-one-out
    on U; that of one trained from there begins with it.
    """
    if settings.method == "frozen":
        return frozen_teacher.fit(train, template, settings, folder=folder)
    if settings.method == "frozen-then-lora":
        return tuned_teacher.fit(train, template, settings, seed=seed, folder=folder)
    return fine_tuning.finetune(train, dev, template, settings, seed=seed, folder=folder, attempts=attempts)


def score(folder: Path, essays: pd.DataFrame, template: Prompt, *, engine: str = "transformers") -> pd.DataFrame:
    """The scores that the Teacher in `folder/adapter` gives essays (`teacher.score`); an interrupted call resumes.

    `engine`: "vllm" for a fine-tuned Teacher through vLLM.
    """
    settings, _, mark = teacher.saved(folder / "adapter")
    if settings.method != "lora":
        kind = frozen_teacher if settings.method == "frozen" else tuned_teacher
        return kind.load(folder / "adapter", template, settings).score(essays)
    load = vllm_scorer.load if engine == "vllm" else teacher.load
    reader = load(settings, template, adapter=folder / "adapter")
    return teacher.score(reader, essays, folder=folder / "parts", mark=mark)
