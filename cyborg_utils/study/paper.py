"""What the paper reports, beside what a study found. Only what is known of the paper: an unknown number is an empty cell.

North & Ormerod, "Cyborg Data: Merging Human with AI Generated Training Data", arXiv 2503.22736 (2025). Its corpus is PERSUADE,
its Teacher Llama 3.1 8B, its Students ELECTRA and ModernBERT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cyborg_utils.core import config
from cyborg_utils.study import artefacts

BIAS, CLAIM, DATA = "06_analyze_bias", "05_test_significance", "01_prepare_data"


@dataclass(frozen=True)
class Fact:
    """A number of the paper (`value`), or a statement about a number (`sign`: it is above or below 0)."""

    name: str
    notebook: str
    text: str
    value: float | None = None
    sign: int = 0
    tolerance: float = 0.02


FACTS = (
    Fact("train", DATA, "Essays in X (training and development)", value=15594, tolerance=0),
    Fact("test", DATA, "Essays in Y (test)", value=10402, tolerance=0),
    Fact("human", CLAIM, "QWK, Student on 10 % human scores", value=0.658),
    Fact("cyborg", CLAIM, "QWK, Student on Cyborg Data (10 % human)", value=0.809),
    Fact("full", CLAIM, "QWK, Student on 100 % human scores"),
    Fact("teacher", CLAIM, "QWK, the Teacher itself"),
    Fact("gain", CLAIM, "QWK gained by the synthetic scores", value=0.151, sign=1),
    Fact("shift", BIAS, "Mean shift of the synthetic scores (points)", sign=-1),
    Fact("top", BIAS, "Change in the share of the two highest scores", sign=-1),
    Fact("disadvantaged", BIAS, "SMD, economically disadvantaged writers", sign=-1),
    Fact("learners", BIAS, "SMD, English learners", sign=-1),
    Fact("disabled", BIAS, "SMD, students with disabilities", sign=-1),
)


def comparable(profile: str) -> bool:
    """Whether a study's numbers may stand against the paper's: its corpus, and ELECTRA among its Students."""
    study = config.load(profile)
    students = study.section("train_student")["models"]
    return study.section("prepare_data")["corpus"] == "persuade" and any("electra" in name.lower() for name in students)


def measured(profile: str) -> dict[str, list[float]]:
    """What a study measured of the facts, by their names: (value,) or (value, low, high), from the notebooks' records."""
    given = {}
    for notebook in dict.fromkeys(fact.notebook for fact in FACTS):
        given |= artefacts.read_record(profile, notebook)["measured"]["published"]
    return {name: [float("nan") if value is None else value for value in row] for name, row in given.items()}


def beside(profile: str, here: Mapping[str, Sequence[float]], *, notebook: str = "") -> pd.DataFrame:
    """One row a fact (of one notebook): quantity, published, here, low, high, difference, verdict.

    `here` maps a fact's name to (value,) or (value, low, high). A difference is given only where the study is comparable; a
    direction ("below 0") is compared on any corpus, since the paper claims it in general, and needs an interval that leaves out 0
    where there is one. Verdicts: "as published", "not as published" (off by more than the fact's tolerance), "same direction",
    "other direction", "undecided", "another study" (a number of another corpus or model), "not published", "not run".
    """
    persuade = config.load(profile).section("prepare_data")["corpus"] == "persuade"
    same, rows = comparable(profile), []
    for fact in FACTS:
        if notebook and fact.notebook != notebook:
            continue
        value, low, high = (tuple(here.get(fact.name, ())) + (float("nan"),) * 3)[:3]
        number = fact.value is not None and (persuade if fact.notebook == DATA else same)
        difference = value - fact.value if number else float("nan")
        row = {"quantity": fact.text, "published": _shown(fact), "here": value, "low": low, "high": high}
        rows.append(row | {"difference": difference, "verdict": _verdict(fact, value, low, high, number)})
    return pd.DataFrame(rows)


def _shown(fact: Fact) -> str:
    words = {1: "above 0", -1: "below 0", 0: "not known to us"}[fact.sign]
    return words if fact.value is None else f"{fact.value:g}"


def _verdict(fact: Fact, value: float, low: float, high: float, number: bool) -> str:
    if pd.isna(value):
        return "not run"
    if number:
        return "as published" if abs(value - fact.value) <= fact.tolerance else "not as published"
    if fact.sign:
        if low <= 0 <= high:
            return "undecided"
        return "same direction" if value * fact.sign > 0 else "other direction"
    return "not published" if fact.value is None else "another study"


def as_shown(frame: pd.DataFrame) -> Any:
    """The table for display in a notebook that does not save it (00_overview saves the whole)."""
    cells = dict.fromkeys(["here", "low", "high"], _number) | {"difference": lambda value: _number(value, sign="+")}
    return frame.style.hide(axis="index").format(cells)


def _number(value: float, *, sign: str = "") -> str:
    return "–" if pd.isna(value) else f"{value:{sign},.0f}" if abs(value) >= 100 else f"{value:{sign}.3f}"
