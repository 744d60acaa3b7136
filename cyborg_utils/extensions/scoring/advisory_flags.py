"""Advisory flags: how an essay differs from those that a Student learned from. A person can check them; none refuses a score.

- too short, too long: the number of words lies outside the middle 99 % of the training essays.
- unknown words: the share of words that occur in no (other) training essay is above that of 99.5 % of the training essays. This
  finds other languages and random letters. A word is known once one writer has used it, so common slips are not flagged.
- copied prompt: more words than usual are in runs of eight that are the prompt's own.
- cut: the Student does not read to the end. Not a sign of a strange essay, but its score is for a part of it.

Not found: essays with the right words and length, such as sentences in random order or a good essay on another topic.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

RUN = 8  # consecutive words that are no coincidence
EDGE = 0.005  # share of the training essays outside each limit
LEAST = {"unknown": 0.05, "copied": 0.10}  # a limit is never below it: with a closed vocabulary one slip must not be flagged
UNLIKE = ("too short", "too long", "unknown words", "copied prompt")  # "cut" is shown beside them
WORD = re.compile(r"[^\W\d_]+")


class Measures(NamedTuple):
    """One essay: number of words, share of unknown words, share of words in runs copied from a prompt."""

    words: int
    unknown: float
    copied: float


@dataclass(frozen=True)
class Corpus:
    """What the training essays are like. Words and runs are kept as CRC-32 numbers, so that a shared Student holds no text."""

    essays: int
    shortest: float
    longest: float
    unknown: float
    copied: float
    words: frozenset[int]
    runs: frozenset[int]

    @classmethod
    def of(cls, texts: Iterable[str], prompts: Iterable[str] = ()) -> Corpus:
        """From the training essays and the texts of their prompts, if there are any. Each essay is compared with the others."""
        essays = [_numbers(_words(text)) for text in texts]
        uses = Counter(number for numbers in essays for number in set(numbers))
        runs = frozenset(run for prompt in set(prompts) for run in _runs(_words(prompt)))
        unknown = [np.mean([uses[number] == 1 for number in numbers]) for numbers in essays if numbers]
        copied = [_copied(_words(text), runs) for text in texts] if runs else [0.0]
        lengths = np.quantile([len(numbers) for numbers in essays], [EDGE, 1 - EDGE])
        limits = [np.quantile(shares or [0.0], 1 - EDGE) for shares in (unknown, copied)]
        limits = [max(least, float(limit)) for least, limit in zip(LEAST.values(), limits, strict=True)]
        return cls(len(essays), *map(float, lengths), *limits, frozenset(uses), runs)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"words": sorted(self.words), "runs": sorted(self.runs)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Corpus:
        return cls(**content | {"words": frozenset(content["words"]), "runs": frozenset(content["runs"])})

    def measure(self, text: str, prompt: str = "") -> Measures:
        """Measures of one essay; `prompt` is the text of its own prompt, where the corpus does not have it."""
        words = _words(text)
        runs = self.runs | set(_runs(_words(prompt))) if prompt else self.runs
        unknown = sum(number not in self.words for number in _numbers(words)) / max(1, len(words))
        return Measures(len(words), unknown, _copied(words, runs))

    def flags(self, measures: Measures, *, cut: float = 0.0) -> dict[str, str]:
        """Flag -> its reason in figures; empty for an essay like the others. `cut`: share of the tokens that is not read."""
        words, unknown, copied = measures
        reasons = {}
        if words < self.shortest:
            reasons["too short"] = f"{words} words, usual are {math.ceil(self.shortest)} and more"
        if words > self.longest:
            reasons["too long"] = f"{words} words, usual are {math.floor(self.longest)} at most"
        if unknown > self.unknown:
            reasons["unknown words"] = f"{unknown:.0%} of the words, usual are {self.unknown:.0%} at most"
        if copied > self.copied:
            reasons["copied prompt"] = f"{copied:.0%} of the words"
        if cut > 0:
            reasons["cut"] = f"the last {max(cut, 0.01):.0%} is not read"
        return reasons


def as_text(flags: dict[str, str]) -> str:
    """Flags as one cell: `too short (12 words, usual are 90 and more); cut (...)`."""
    return "; ".join(f"{name} ({reason})" for name, reason in flags.items())


def names(cell: str) -> list[str]:
    """The flags of a cell of `as_text`, without their reasons."""
    return [part.split(" (")[0] for part in cell.split("; ")] if cell else []


# ---------------------------------------------------------------- how well the flags work


def try_out(
    corpus: Corpus, essays: pd.DataFrame, makers: Mapping[str, Callable[[str, str, Random], str]], *, seed: int
) -> pd.DataFrame:
    """Measures and flags of good essays, then of the bad ones that each of `makers` makes of them.

    `essays` has text and assignment. A maker gets an essay, its prompt's text and a generator. One row an essay and kind: kind
    ("test essays" first), words, unknown, copied, flags (a set).
    """
    tasks, rng = essays["assignment"].fillna(""), Random(seed)
    rows = [("test essays", corpus.measure(text)) for text in essays["text"]]
    for kind, make in makers.items():
        rows += [(kind, corpus.measure(make(text, task, rng))) for text, task in zip(essays["text"], tasks, strict=True)]
    return pd.DataFrame([{"kind": kind, **found._asdict(), "flags": set(corpus.flags(found))} for kind, found in rows])


def rates(tried: pd.DataFrame) -> pd.DataFrame:
    """Share of the essays of each kind with any flag, and with each of `UNLIKE`: essays, n, flagged, one column a flag."""
    by_kind = tried.groupby("kind", sort=False)["flags"]
    table = by_kind.agg(n="size", flagged=lambda flags: flags.map(bool).mean())
    for name in UNLIKE:
        table[name] = by_kind.agg(lambda flags, name=name: flags.map(lambda given: name in given).mean())
    return table.rename_axis("essays").reset_index()


def found_and_missed(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The kinds of bad essays in `rates` that are flagged in 9 of 10 or more, and those in fewer than half."""
    bad = table.iloc[1:]
    return bad.loc[bad["flagged"] >= 0.9, "essays"].tolist(), bad.loc[bad["flagged"] < 0.5, "essays"].tolist()


def hits_and_alarms(table: pd.DataFrame, cells: Sequence[str]) -> str:
    """False alarms, and which kinds are found and missed; `cells`: the flags of the scored essays, as `as_text` writes them."""
    (found, missed), good = found_and_missed(table), table.iloc[0]
    cut = sum("cut" in names(cell) for cell in cells) / len(cells)
    lines = [
        f"**False alarms:** {good['flagged']:.1%} of {good['n']:,} test essays.",
        f"**Found** (9 in 10 or more): {', '.join(found) or 'nothing'}.",
        f"**Missed** (more than half): {', '.join(missed) or 'nothing'}.",
        f"Besides, {cut:.0%} of the test essays are marked `cut`: the Student does not read them to the end.",
    ]
    return "\n".join(f"- {line}" for line in lines)


# ---------------------------------------------------------------- words and runs as numbers


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
