"""A table's columns by their role."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Columns:
    """A file's columns by their role; `""` where it has none."""

    id: str  # "": essays are named after their writer, or else after their row
    text: str
    score: str
    second_score: str = ""
    raters: tuple[str, ...] = ()  # several people's scores, in place of `score`
    rater: str = ""  # a row is one person's score of an essay
    adjudication: str = ""  # a score that counts where it is there, in place of the people's
    prompt: str = ""
    assignment: str = ""
    writer: str = ""
    split: str = ""
    groups: dict[str, str] = field(default_factory=dict)
    traits: dict[str, str] = field(default_factory=dict)
    repeats: bool = False  # an essay may stand in several rows (discourse layout): the first counts
    mend: bool = False  # texts hold traces of conversions, see `encodings.mended`
    only: tuple[str, str] = ("", "")  # a column, and the value that rows must have in it to be read

    @property
    def scores(self) -> tuple[str, ...]:
        return self.raters or (self.score,)

    @property
    def used(self) -> list[str]:
        roles = [self.id, self.text, *self.scores, self.second_score, self.rater, self.adjudication]
        roles += [self.prompt, self.assignment, self.writer, self.split, self.only[0]]
        return list(dict.fromkeys(name for name in [*roles, *self.groups.values(), *self.traits.values()] if name))
