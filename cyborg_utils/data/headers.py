"""The header of a table: its row, further header rows below it, and its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

LOOKED_AT = 30  # rows among which the header is looked for
TITLE = 2  # cells of a row that can be a title (`Grades of class 7b`; `Course:`, `English`)
ALIKE = 0.8  # share of the rows below a header that have as many cells
LONGEST_NUMBER = 20


class Header(NamedTuple):
    """`row`: the header's, from 1; `more`: rows below it that are headers too."""

    row: int = 1
    more: int = 0


def find(first: Sequence[Sequence[str]], row: int = 0) -> Header:
    """The header among the first rows of a table: in `row` (from 1), or found where that is 0.

    It is the first row, unless this is blank or a title: a cell or two, above a row of more than two names and rows as wide.
    """
    at = row - 1 if row else _found([[cell.strip() for cell in cells] for cells in first])
    more = 0
    for place, cells in enumerate([cells for cells in first[at + 1 :] if any(map(str.strip, cells))][:3], start=1):
        if any(cell.startswith('{"ImportId"') for cell in cells) or any(cell.strip() == "Points Possible" for cell in cells):
            more = place  # Qualtrics: labels and ids; Canvas: points possible
            break
    return Header(at + 1, more)


def _found(first: Sequence[Sequence[str]]) -> int:
    counts = [sum(map(bool, cells)) for cells in first]
    blank = next((at for at, count in enumerate(counts) if count), 0)
    at = next((at for at, count in enumerate(counts) if count > TITLE), blank)
    below = [len(cells) == len(first[at]) for cells, count in zip(first[at + 1 :], counts[at + 1 :], strict=True) if count]
    if at == blank or counts[blank] > min(TITLE, counts[at] / 2) or not below or sum(below) < ALIKE * len(below):
        return blank
    names = [cell for cell in first[at] if cell]
    return at if len(set(names)) == len(names) and not any(map(_is_number, names)) else blank


def _is_number(cell: str) -> bool:
    return len(cell) <= LONGEST_NUMBER and cell.replace(",", "").replace(".", "").lstrip("+-").isdigit()


def numbered(names: list[str]) -> list[str]:
    """Column names; those that stand twice get numbers (`score (1)`, `score (2)`), so that neither is taken for the other."""
    often, seen = Counter(names), Counter()
    taken = []
    for name in names:
        seen[name] += 1
        taken.append(f"{name} ({seen[name]})".strip() if often[name] > 1 else name)
    return taken if len(set(taken)) == len(names) else [f"{name} [{at}]" for at, name in enumerate(names, start=1)]
