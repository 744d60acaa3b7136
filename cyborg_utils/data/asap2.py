"""ASAP 2.0: about 24,700 source-based essays, grades 6-10, holistic score 1-6 (Crossley et al. 2025).

12,871 of its essays also stand in PERSUADE 2.0: a transfer experiment between the two must drop the overlap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyborg_utils.data import files, table
from cyborg_utils.data.persuade import GROUPS

FILES = ["ASAP_2_Final_github_train.csv", "ASAP_2_Final_github_test.csv"]
KAGGLE_FILE = "ASAP2_train_sourcetexts.csv"  # the training half alone


def sources(settings: dict[str, Any]) -> list[Path]:
    """The files that are read."""
    sets = [FILES] if settings["test"] == 0 else [FILES, FILES[:1], [KAGGLE_FILE]]
    advice = "`.venv/bin/cyborg download asap2` fetches it."
    return files.locate("asap2", sets, settings.get("options", {}), advice)


def read(settings: dict[str, Any]) -> table.Raw:
    """The two official files with their split (`set`) where `test: 0`; else all essays of the files found, to be split here."""
    columns = table.Columns(
        id="essay_id",
        text="full_text",
        score=settings["score"],
        prompt="prompt_name",
        assignment="assignment",
        split="set" if settings["test"] == 0 else "",
        groups={name: name for name in GROUPS},
    )
    return table.collect(sources(settings), columns, settings)
