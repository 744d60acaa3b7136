"""PERSUADE 2.0: 25,996 argumentative essays, grades 6-12, holistic score 1-6 (Crossley et al. 2024). The paper's corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files, table

ESSAY_FILE = "persuade_2.0_human_scores_demo_id_github.csv"  # one row an essay, no official split
DISCOURSE_FILES = ["persuade_corpus_2.0_train.csv", "persuade_corpus_2.0_test.csv"]  # one row a discourse element
GROUPS = [
    "gender",
    "race_ethnicity",
    "economically_disadvantaged",
    "grade_level",
    "ell_status",
    "student_disability_status",
]
ADVICE = "see `.venv/bin/cyborg download persuade`."


def sources(settings: dict[str, Any]) -> list[Path]:
    """The files that are read."""
    sets = [DISCOURSE_FILES, [ESSAY_FILE]] if settings["test"] == 0 else [[ESSAY_FILE], DISCOURSE_FILES]
    return files.locate("persuade", sets, settings.get("options", {}), ADVICE)


def read(settings: dict[str, Any]) -> table.Raw:
    """Either layout; of the discourse layout one row an essay is taken, the others are counted as repeated.

    `test: 0` keeps the official split (`competition_set`) and so prefers the discourse files, which have it.
    """
    official, there = settings["test"] == 0, sources(settings)
    header = files.header(there[0])
    if official and "competition_set" not in header:
        raise CyborgError(
            f"{paths.shown(there[0])}, row 1: no column competition_set, so no official split. "
            f"Use {' and '.join(DISCOURSE_FILES)}, which have it, or set prepare_data.test to a number of essays or a share."
        )
    columns = table.Columns(
        id="essay_id_comp",
        text="full_text",
        score=settings["score"],
        prompt="prompt_name",
        assignment="assignment",
        split="competition_set" if official else "",
        groups={name: name for name in GROUPS},
        repeats="discourse_id" in header,
    )
    return table.collect(there, columns, settings)
