"""Small invented corpora for the tests: nobody's essays, only the layouts of the real files."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

WORDS = ("river", "window", "garden", "letter", "market", "summer", "bridge", "teacher", "music", "paper", "winter", "story")


def text(number: int, words: int = 40) -> str:
    """An invented text, another one for each number."""
    rng = random.Random(number)
    return f"Text {number}: " + " ".join(rng.choice(WORDS) for _ in range(words)) + "."


def settings(corpus: str, **changes: Any) -> dict[str, Any]:
    """Section `prepare_data` with the common values; `changes` replaces some."""
    base = {"corpus": corpus, "scale": [1, 6, 1], "score": "score", "groups": [], "dev": 0.1, "test": 0.2, "split_seed": 5}
    return {**base, **changes}


def write_csv(path: Path, rows: list[dict[str, Any]], *, encoding: str = "utf-8", delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def own(count: int = 30) -> list[dict[str, Any]]:
    """Rows of a user's own file: no, body, score, sex."""
    return [{"no": f"e{i}", "body": text(i), "score": 1 + i % 6, "sex": "FM"[i % 2]} for i in range(count)]


OWN = {"file": "own.csv", "id": "no", "text": "body", "groups": {"gender": "sex"}}


def persuade(count: int = 40, *, test_share: float = 0.4) -> list[dict[str, Any]]:
    """Essays in PERSUADE's columns, one row each, with the official split."""
    return [
        {
            "essay_id_comp": f"{i:012X}",
            "competition_set": "test" if i < test_share * count else "train",
            "full_text": text(i),
            "holistic_essay_score": 1 + i % 6,
            "prompt_name": f"Prompt {i % 3}",
            "task": "Independent",
            "assignment": f"Write about {i % 3}.",
            "source_text": "",
            "gender": "MF"[i % 2],
            "grade_level": ["8", "10.0", ""][i % 3],
            "ell_status": ["Yes", "No", ""][i % 3],
            "race_ethnicity": "White",
            "economically_disadvantaged": ["Economically disadvantaged", "Not economically disadvantaged", "NA"][i % 3],
            "student_disability_status": "Not identified as having disability",
            "essay_word_count": 40,
        }
        for i in range(count)
    ]


def discourse(essays: list[dict[str, Any]], elements: int = 11) -> list[dict[str, Any]]:
    """The same essays with one row a discourse element."""
    return [
        {
            **essay,
            "discourse_id": f"{essay['essay_id_comp']}{k}",
            "discourse_start": k,
            "discourse_text": "part",
            "discourse_type": "Claim",
        }
        for essay in essays
        for k in range(elements)
    ]


def ellipse(count: int = 40) -> list[dict[str, Any]]:
    """Rows in ELLIPSE's columns, with its oddities: an id that a spreadsheet rounded, and one empty SES."""
    traits = ["Cohesion", "Syntax", "Vocabulary", "Phraseology", "Grammar", "Conventions"]
    rows = []
    for i in range(count):
        score = 1 + (i % 9) / 2
        rows.append(
            {
                "text_id_kaggle": "1.99E+11" if i == 3 else f"A{i:011X}",
                "full_text": text(i),
                "gender": ["Female", "Male"][i % 2],
                "grade": 8 + i % 5,
                "race_ethnicity": "White",
                "SES": "" if i == 7 else "Economically disadvantaged",
                "prompt": "Invented",
                "task": "Independent",
                "set": "test",
                "Overall": f"{score:g}",
                **dict.fromkeys(traits, f"{score:g}"),
            }
        )
    return rows
