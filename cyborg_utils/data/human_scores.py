"""Scores as people write them -> numbers on a study's scale: labels, condition codes, other scales, several raters.

`ScoreReader` interprets one cell, `combined` the scores of several people. Studies and audits read scores with both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files

UNSCORED, CODED = "no score", "condition code"  # how reasons begin
NOT_SCORED = {"-", "–", "—"}  # what Moodle and others write where nobody has scored, beside `files.MISSING`
OUT_OF = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)")  # Google Forms: 4 / 6
PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
COMMA = re.compile(r"-?\d{1,3},\d{1,2}")  # a decimal comma; 1,234 may be a thousand
COMBINE = ("mean", "first")
LONGEST_SHOWN = 16  # characters; a longer value may be essay text in the wrong column


@dataclass(frozen=True)
class ScoreReader:
    """How the cells of human scores are read.

    `labels`: scores by the words that stand for them. `codes`: condition codes, whose essays have no score. `own`: (lowest,
    highest) of another scale by prompt ("" for all), mapped linearly onto the levels of `scale`. `cuts`: the lowest score of
    each level but the first, for a scale that is cut into levels. `comma`: a decimal comma is read too.
    """

    scale: Scale
    labels: Mapping[str, float] = field(default_factory=dict)
    codes: frozenset[str] = frozenset()
    own: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    cuts: tuple[float, ...] = ()
    comma: bool = True

    def read(self, cell: Any, prompt: str = "") -> tuple[float, str]:
        """A score on the scale and "", or NaN and why there is none: `UNSCORED`, `CODED ...`, or what is wrong with the cell."""
        word = files.text(cell)
        if word in self.labels:
            return self.labels[word], ""
        if word in self.codes:
            return math.nan, f"{CODED} {word}"
        if files.missing(cell) or word in NOT_SCORED:
            return math.nan, UNSCORED
        low, high = self.own.get(prompt, self.own.get("", (self.scale.low, self.scale.high)))
        if self.own and prompt not in self.own and "" not in self.own:
            return math.nan, f"own_scale has no prompt {brief(prompt)}"
        number = plain(cell) if self.comma else files.number(cell)
        if math.isnan(number) and (part := OUT_OF.fullmatch(word)):
            if float(part[2]) != high:
                return math.nan, f"score {brief(cell)} is out of {part[2]}, but the scale ends at {high:g}"
            number = float(part[1])
        if math.isnan(number) and (part := PERCENT.fullmatch(word)):
            if high != 100:
                return math.nan, f"score {brief(cell)} is a percentage, but the scale ends at {high:g}"
            number = float(part[1])
        if math.isnan(number):
            return math.nan, f"score {brief(cell)} is not a number"
        if self.cuts:
            return float(self.scale.score(np.searchsorted(self.cuts, number, side="right"))), ""
        if not self.own:
            off = f"score {brief(cell)} is off the scale {self.scale}"
            return (number, "") if self.scale.contains(number) else (math.nan, off)
        if not low <= number <= high:
            return math.nan, f"score {brief(cell)} is off its own scale {low:g} to {high:g}"
        mapped = self.scale.low + (number - low) * (self.scale.high - self.scale.low) / (high - low)
        return float(self.scale.score(self.scale.nearest(mapped))), ""

    @property
    def notes(self) -> list[str]:
        """What happens to scores of another scale, as sentences."""
        if self.cuts:
            return [f"Scores are cut into {self.scale.size} levels, at {', '.join(f'{cut:g}' for cut in self.cuts)}."]
        from_to = [f"{low:g} to {high:g}{f' (prompt {prompt})' if prompt else ''}" for prompt, (low, high) in self.own.items()]
        mapped = f"are mapped linearly onto {self.scale} and rounded to its levels."
        return [f"Scores from {', '.join(from_to)} {mapped}"] if from_to else []


def reader(options: Mapping[str, Any], scale: Scale, where: str = "prepare_data.options.") -> ScoreReader:
    """The reader that options declare: labels, condition_codes, own_scale, cuts. `where`: how messages call them.

    Raises CyborgError for labels off the scale, and for a scale or cuts that are none.
    """
    labels = options.get("labels", {})
    if wrong := [word for word, score in labels.items() if not scale.contains(files.number(score))]:
        raise CyborgError(f"{where}labels: {files.listed(wrong)}: must give a score on the scale {scale}.")
    codes = options.get("condition_codes", [])
    if not isinstance(codes, list):
        raise CyborgError(f"{where}condition_codes: {repr(codes)[:60]}: must be a list of words, such as [BL, OT].")
    given = options.get("own_scale", {})
    own = {files.text(prompt): ends for prompt, ends in (given.items() if isinstance(given, dict) else [("", given)])}
    for ends in own.values():
        numbers = [files.number(end) for end in ends] if isinstance(ends, list) else []
        if len(numbers) != 2 or not numbers[0] < numbers[1]:
            told = "must be the lowest and the highest score, such as [0, 100], or these by prompt, such as"
            raise CyborgError(f"{where}own_scale: {repr(given)[:60]}: {told} {{1: [2, 12], 2: [0, 3]}}.")
    cuts = options.get("cuts", [])
    numbers = [files.number(cut) for cut in cuts] if isinstance(cuts, list) else []
    if cuts and (len(numbers) != scale.size - 1 or not all(a < b for a, b in zip(numbers, numbers[1:], strict=False))):
        told = f"must be {scale.size - 1} ascending numbers, the lowest score of each level of {scale} but the first."
        raise CyborgError(f"{where}cuts: {repr(cuts)[:60]}: {told}")
    if cuts and own:
        raise CyborgError(f"{where}cuts and {where}own_scale say two things about the same scores. Give one of them.")
    return ScoreReader(
        scale,
        {files.text(word): float(score) for word, score in labels.items()},
        frozenset(files.text(code) for code in codes),
        {prompt: (float(low), float(high)) for prompt, (low, high) in own.items()},
        tuple(numbers),
        options.get("decimal") != ".",  # then somebody said that it is none
    )


def plain(cell: Any) -> float:
    """A score that is a number, also with a decimal comma as typed into a workbook whose own mark is the point; else NaN."""
    word = files.text(cell)
    return files.number(word.replace(",", ".") if COMMA.fullmatch(word) else cell)


def combined(ratings: Sequence[float], how: str, adjudicated: float = math.nan) -> float:
    """One score of several people's: the adjudicated one where there is one, else the "mean" or the "first"; NaN of none."""
    if not math.isnan(adjudicated):
        return adjudicated
    known = [rating for rating in ratings if not math.isnan(rating)]
    if not known:
        return math.nan
    return known[0] if how == "first" else sum(known) / len(known)


def first_two(ratings: Sequence[float]) -> tuple[float, float]:
    """The first two scores that are there, NaN where there are fewer: two people, whose agreement is that of people."""
    known = [rating for rating in ratings if not math.isnan(rating)]
    return (*known[:2], *[math.nan] * (2 - len(known[:2])))


def brief(value: Any) -> str:
    """A wrong value for a message; long values are not shown, since they may be essay text in the wrong column."""
    return repr(value) if len(str(value)) <= LONGEST_SHOWN else f"({len(str(value))} characters)"
