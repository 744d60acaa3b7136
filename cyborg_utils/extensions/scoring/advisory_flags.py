"""Is an essay unlike those that a Student learned from? Warnings that a person can check, beside a score, never a refusal.

- too short, too long: its number of words lies outside the middle 99 % of the training essays.
- unknown words: more of its words than in 99.5 % of the training essays stand in no (other) training essay. Another language and
  letters at random are found like this; a word is known once one writer has used it, so plain slips are not held against anybody.
- copied prompt: more of its words than usual stand in runs of eight that are the prompt's own.
- cut: the Student does not read to the end. No sign of a strange essay, but of a score for a part of it.

Not found: what has the right words and length, such as sentences in random order or a good essay on another topic.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

RUN = 8  # words running that are no coincidence
EDGE = 0.005  # share of the training essays outside each limit
LEAST = {"unknown": 0.05, "copied": 0.10}  # a limit is never below it: a closed vocabulary must not flag a single slip
UNLIKE = ("too short", "too long", "unknown words", "copied prompt")  # "cut" stands beside them
WORD = re.compile(r"[^\W\d_]+")


class Measures(NamedTuple):
    """Of one essay: number of words, share of them that is unknown, share in runs copied from a prompt."""

    words: int
    unknown: float
    copied: float


@dataclass(frozen=True)
class Corpus:
    """What the training essays are like. Words and runs are kept as CRC-32 numbers: a Student given away carries no text."""

    essays: int
    shortest: float
    longest: float
    unknown: float
    copied: float
    words: frozenset[int]
    runs: frozenset[int]

    @classmethod
    def of(cls, texts: Iterable[str], prompts: Iterable[str] = ()) -> Corpus:
        """From the training essays and the texts of their prompts, if there are any. Each essay is looked up in the others."""
        found = [_numbers(_words(text)) for text in texts]
        uses = Counter(number for numbers in found for number in set(numbers))
        runs = frozenset(run for prompt in set(prompts) for run in _runs(_words(prompt)))
        unknown = [np.mean([uses[number] == 1 for number in numbers]) for numbers in found if numbers]
        copied = [_copied(_words(text), runs) for text in texts] if runs else [0.0]
        lengths = np.quantile([len(numbers) for numbers in found], [EDGE, 1 - EDGE])
        limits = [np.quantile(shares or [0.0], 1 - EDGE) for shares in (unknown, copied)]
        limits = [max(least, float(limit)) for least, limit in zip(LEAST.values(), limits, strict=True)]
        return cls(len(found), *map(float, lengths), *limits, frozenset(uses), runs)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"words": sorted(self.words), "runs": sorted(self.runs)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Corpus:
        return cls(**content | {"words": frozenset(content["words"]), "runs": frozenset(content["runs"])})

    def measure(self, text: str, prompt: str = "") -> Measures:
        """`prompt`: the text of this essay's own prompt, where the corpus does not have it."""
        words = _words(text)
        runs = self.runs | set(_runs(_words(prompt))) if prompt else self.runs
        unknown = sum(number not in self.words for number in _numbers(words)) / max(1, len(words))
        return Measures(len(words), unknown, _copied(words, runs))

    def flags(self, found: Measures, *, cut: float = 0.0) -> dict[str, str]:
        """Flag -> its reason in figures; empty for an essay like the others. `cut`: share of the tokens that is not read."""
        told = {}
        if found.words < self.shortest:
            told["too short"] = f"{found.words} words, usual are {self.shortest:.0f} and more"
        if found.words > self.longest:
            told["too long"] = f"{found.words} words, usual are {self.longest:.0f} at most"
        if found.unknown > self.unknown:
            told["unknown words"] = f"{found.unknown:.0%} of the words, usual are {self.unknown:.0%} at most"
        if found.copied > self.copied:
            told["copied prompt"] = f"{found.copied:.0%} of the words"
        if cut > 0:
            told["cut"] = f"the last {max(cut, 0.01):.0%} is not read"
        return told


def as_text(flags: dict[str, str]) -> str:
    """Flags as one cell: `too short (12 words, usual are 90 and more); cut (...)`."""
    return "; ".join(f"{name} ({reason})" for name, reason in flags.items())


def names(cell: str) -> list[str]:
    """The flags of a cell of `as_text`, without their reasons."""
    return [part.split(" (")[0] for part in cell.split("; ")] if cell else []


def _words(text: str) -> list[str]:
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _numbers(words: Sequence[str]) -> list[int]:
    return [zlib.crc32(word.encode()) for word in words]


def _runs(words: Sequence[str]) -> list[int]:
    return _numbers([" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1)])


def _copied(words: Sequence[str], runs: frozenset[int] | set[int]) -> float:
    if not runs or not words:
        return 0.0
    inside = np.zeros(len(words), dtype=bool)
    for at, run in enumerate(_runs(words)):
        if run in runs:
            inside[at : at + RUN] = True
    return float(inside.mean())
