"""ELLIPSE: essays by English learners, grades 8-12, `Overall` and six traits, 1.0-5.0 by 0.5 (Crossley et al. 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files, table

TEST_FILE, TRAIN_FILE = "ELLIPSE_Final_github_test.csv", "ELLIPSE_Final_github_train.csv"
TRAITS = ["Cohesion", "Syntax", "Vocabulary", "Phraseology", "Grammar", "Conventions"]
GROUPS = {"gender": "gender", "race_ethnicity": "race_ethnicity", "economically_disadvantaged": "SES", "grade_level": "grade"}


def sources(settings: dict[str, Any]) -> list[Path]:
    """The files that are read."""
    sets = [[TRAIN_FILE, TEST_FILE]] if settings["test"] == 0 else [[TEST_FILE]]
    advice = "`.venv/bin/cyborg download ellipse` fetches it."
    return files.locate("ellipse", sets, settings.get("options", {}), advice)


def read(settings: dict[str, Any]) -> table.Raw:
    """The official test file, to be split here; with `test: 0` the official training and test files with their split.

    `settings["score"]` is `Overall` or a trait; ids stay text as they are, also those a spreadsheet rounded (`1.99E+11`).
    """
    if settings["score"] not in ["Overall", *TRAITS]:
        raise CyborgError(f"prepare_data.score: {settings['score']!r} is none of Overall, {', '.join(TRAITS)}")
    columns = table.Columns(
        id="text_id_kaggle",
        text="full_text",
        score=settings["score"],
        prompt="prompt",
        split="set" if settings["test"] == 0 else "",
        groups=GROUPS,
        traits={name: name for name in TRAITS},
    )
    return table.collect(sources(settings), columns, settings)
