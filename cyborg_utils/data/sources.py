"""The corpora that a study can name: which files each reads, and how. `CORPORA` is their registry.

- ELLIPSE: essays by English learners, grades 8-12, `Overall` and six traits, 1.0-5.0 by 0.5 (Crossley et al. 2023).
- PERSUADE 2.0: 25,996 argumentative essays, grades 6-12, holistic score 1-6 (Crossley et al. 2024). The paper's corpus.
- ASAP-1: 10,686 essays, grades 7-10, six prompt sets of different scales, two raters each (Hewlett Foundation 2012).
- ASAP 2.0: about 24,700 source-based essays, grades 6-10, holistic score 1-6 (Crossley et al. 2025). 12,871 of its essays are in
  PERSUADE 2.0 too: a transfer experiment between the two must drop the overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files, own_table, simulated, table
from cyborg_utils.data.columns import Columns

ELLIPSE_TEST, ELLIPSE_TRAIN = "ELLIPSE_Final_github_test.csv", "ELLIPSE_Final_github_train.csv"
ELLIPSE_TRAITS = ["Cohesion", "Syntax", "Vocabulary", "Phraseology", "Grammar", "Conventions"]
ELLIPSE_GROUPS = {
    "gender": "gender",
    "race_ethnicity": "race_ethnicity",
    "economically_disadvantaged": "SES",
    "grade_level": "grade",
}
PERSUADE_ESSAYS = "persuade_2.0_human_scores_demo_id_github.csv"  # one row an essay, no official split
PERSUADE_PART = "persuade_2.0_partial.csv"  # one row an essay, with the official split: what public repositories hold of both
PERSUADE_SPLIT = {"train": 15_594, "test": 10_402}  # essays of the official split
PERSUADE_DISCOURSE = ["persuade_corpus_2.0_train.csv", "persuade_corpus_2.0_test.csv"]  # one row a discourse element
ASAP1 = "asap1_sets_1_to_6.csv"
ASAP1_SETS = range(1, 7)
ASAP2 = ["ASAP_2_Final_github_train.csv", "ASAP_2_Final_github_test.csv"]
ASAP2_KAGGLE = "ASAP2_train_sourcetexts.csv"  # the training half alone
GROUPS = ["gender", "race_ethnicity", "economically_disadvantaged", "grade_level", "ell_status", "student_disability_status"]


class Corpus(NamedTuple):
    """How a corpus is read; both take the section `prepare_data` of a study."""

    sources: Callable[[dict[str, Any]], list[Path]]  # the files that are read; CyborgError where one is missing
    read: Callable[[dict[str, Any]], table.Raw]


def ellipse_files(settings: dict[str, Any]) -> list[Path]:
    sets = [[ELLIPSE_TRAIN, ELLIPSE_TEST]] if settings["test"] == 0 else [[ELLIPSE_TEST]]
    return _locate("ellipse", sets, settings, "{} fetches it.")


def ellipse(settings: dict[str, Any]) -> table.Raw:
    """The official test file, to be split here; with `test: 0` the official training and test files with their split.

    `settings["score"]` is `Overall` or a trait. Ids stay text as they are, also those a spreadsheet rounded (`1.99E+11`).
    """
    if settings["score"] not in ["Overall", *ELLIPSE_TRAITS]:
        raise CyborgError(f"prepare_data.score: {settings['score']!r} is none of Overall, {', '.join(ELLIPSE_TRAITS)}")
    columns = Columns(
        id="text_id_kaggle",
        text="full_text",
        score=settings["score"],
        prompt="prompt",
        split="set" if settings["test"] == 0 else "",
        groups=ELLIPSE_GROUPS,
        traits={name: name for name in ELLIPSE_TRAITS},
    )
    return table.collect(ellipse_files(settings), columns, settings)


def persuade_files(settings: dict[str, Any]) -> list[Path]:
    sets = [PERSUADE_DISCOURSE, [PERSUADE_PART], [PERSUADE_ESSAYS]]
    return _locate("persuade", sets if settings["test"] == 0 else sets[::-1], settings, "see {}.")


def persuade(settings: dict[str, Any]) -> table.Raw:
    """Either layout; in the discourse layout one row an essay is kept, the others are counted as repeated.

    `test: 0` keeps the official split (`competition_set`) and so prefers the files that have it. Ids stay text, also those that
    look like numbers. Notes say which part of the corpus a file holds, and whose groups are known.
    """
    official, sources = settings["test"] == 0, persuade_files(settings)
    header = files.header(sources[0])
    if official and "competition_set" not in header:
        raise CyborgError(
            f"{paths.shown(sources[0])}, row 1: no column competition_set, so no official split. "
            f"Use {' and '.join(PERSUADE_DISCOURSE)}, which have it, or set prepare_data.test to a number of essays or a share."
        )
    columns = Columns(
        id="essay_id_comp",
        text="full_text",
        score=settings["score"],
        prompt="prompt_name",
        assignment="assignment",
        split="competition_set" if official else "",
        groups={name: name for name in GROUPS},
        repeats="discourse_id" in header,
        mend=True,
    )
    raw = table.collect(sources, columns, settings)
    raw.notes += _parts(raw.frame) if official else []
    return raw


def _parts(frame: pd.DataFrame) -> list[str]:
    """Sentences on a part of PERSUADE 2.0: how much of the official split it is, and which essays lack prompt or groups."""
    notes, named = [], [name for name in frame if name.startswith("groups.")]
    for name, whole in PERSUADE_SPLIT.items():
        part = frame[frame["split"] == name]
        if len(part) < whole:
            notes.append(f"{len(part):,} of the {whole:,} essays of the official {name} split are here, not drawn at random.")
        if len(part) and named:
            some, every = part[named].notna().any(axis=1), part[named].notna().all(axis=1)
            told = f"{some.sum():,} have a writer group, {every.sum():,} all that the study names."
            notes.append(f"Of {len(part):,} {name} essays {told}")
    if nameless := int((frame["prompt"] == "").sum()):
        notes.append(f"{nameless:,} essay(s) have no prompt; the Teacher is told that the assignment is not given.")
    return notes


def asap1_files(settings: dict[str, Any]) -> list[Path]:
    options = {name: value for name, value in settings.get("options", {}).items() if name != "set"}
    advice = "see the note in params/asap1_set1.yaml ({} cannot fetch it)."
    return _locate("asap1", [[ASAP1]], settings | {"options": options}, advice)


def asap1(settings: dict[str, Any]) -> table.Raw:
    """One prompt set of ASAP-1 (`options.set`), with the scores of both raters on the scale of the resolved one.

    The resolved `domain1_score` counts. In set 1 it is the sum of both, so the score of one person stands for twice itself: 1-6
    becomes 2-12, and the mean of the two is the sum.
    """
    which = settings.get("options", {}).get("set")
    if which not in ASAP1_SETS:
        raise CyborgError(f"prepare_data.options.set: {which!r}: must be one of {files.listed(ASAP1_SETS)}.")
    columns = Columns(
        id="essay_id",
        text="essay",
        score="domain1_score",
        raters=("rater1_domain1", "rater2_domain1"),
        adjudication="" if which == 1 else "domain1_score",
        prompt="essay_set",
        only=("essay_set", str(which)),
    )
    options = settings["options"] | ({"own_scale": [1, 6]} if which == 1 else {})
    return table.collect(asap1_files(settings), columns, settings | {"options": options})


def asap2_files(settings: dict[str, Any]) -> list[Path]:
    sets = [ASAP2] if settings["test"] == 0 else [ASAP2, ASAP2[:1], [ASAP2_KAGGLE]]
    return _locate("asap2", sets, settings, "{} fetches it.")


def asap2(settings: dict[str, Any]) -> table.Raw:
    """The two official files with their split (`set`) where `test: 0`; else all essays of the files found, to be split here."""
    columns = Columns(
        id="essay_id",
        text="full_text",
        score=settings["score"],
        prompt="prompt_name",
        assignment="assignment",
        split="set" if settings["test"] == 0 else "",
        groups={name: name for name in GROUPS},
    )
    return table.collect(asap2_files(settings), columns, settings)


def _locate(corpus: str, sets: list[list[str]], settings: dict[str, Any], advice: str) -> list[Path]:
    command = f"`.venv/bin/cyborg download {corpus}`"
    return files.locate(corpus, sets, settings.get("options", {}), advice.format(command))


CORPORA = {
    "simulated": Corpus(simulated.sources, simulated.read),
    "ellipse": Corpus(ellipse_files, ellipse),
    "persuade": Corpus(persuade_files, persuade),
    "asap1": Corpus(asap1_files, asap1),
    "asap2": Corpus(asap2_files, asap2),
    "table": Corpus(own_table.sources, own_table.read),
}
