"""The look of every figure: sizes, one palette, and a fixed look for each arm of the study.

Never colour alone: marker, line and hatch differ too, so that the colour-blind and a grey printer keep the arms apart.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

SHEET = Path(__file__).with_name("cyborg.mplstyle")
SINGLE, DOUBLE = 3.4, 7.0  # inches: one column, two columns
INK, FAINT = "#222222", "#888888"


class Look(NamedTuple):
    """How an arm is drawn everywhere."""

    color: str
    marker: str
    line: str | tuple
    hatch: str


LOOKS = {
    "human": Look("#4D4D4D", "o", "-", ""),
    "cyborg": Look("#D8410D", "s", "-", "////"),
    "cyborg-soft": Look("#E9BE45", "D", "--", "...."),
    "cyborg-staged": Look("#AF2293", "^", "-.", "xxxx"),
    "full": Look("#14245C", "P", (0, (5, 1.5)), ""),
    "teacher": Look("#10B26C", "X", ":", "\\\\\\\\"),
    "teacher-expected": Look("#A9ED90", "d", (0, (2, 1)), "||||"),
    "ridge": Look("#B3B3B3", "v", (0, (1, 1)), "----"),
}
SPARE = (Look("#5B8ED8", "p", (0, (3, 1, 1, 1)), "++++"), Look("#612C06", "h", (0, (4, 2, 1, 2)), "oo"))
ARMS = {
    "human": "Human scores only",
    "cyborg": "Cyborg",
    "cyborg-soft": "Cyborg, soft labels",
    "cyborg-staged": "Cyborg, staged",
    "full": "All human scores",
    "teacher": "Teacher",
    "teacher-expected": "Teacher, expected score",
    "ridge": "Ridge",
}


def label(name: str) -> str:
    """An arm as readers know it; any other name as it is, a model's without its commit."""
    return ARMS.get(name, unpinned(str(name)))


def unpinned(text: str) -> str:
    """Without the commits that pin models of the hub (`owner/name@<40 hex digits>`): CSV files and records have them."""
    return re.sub(r"(?<=\w)@[0-9a-f]{40}\b", "", text)


def ticks(most: int) -> MaxNLocator:
    """At most so many round ticks: steps of 1, 2 or 5."""
    return MaxNLocator(most, steps=[1, 2, 5, 10])


def counts_axis(ax: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    """A logarithmic x axis of numbers of essays, named at these places only."""
    ax.set_xscale("log")
    if len(places):
        ax.xaxis.set_major_locator(FixedLocator(places))
        ax.set_xticks(places, names)
    ax.xaxis.set_minor_locator(NullLocator())


def lowest(axes: np.ndarray, used: int) -> list[Axes]:
    """The lowest axes in use of each column of a grid with shared x axes, with tick labels; those not in use are removed."""
    for ax in axes.flat[used:]:
        ax.remove()
    low = list(axes.flat[max(0, used - axes.shape[1]) : used])
    for ax in low:
        ax.tick_params(labelbottom=True)
    return low


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, different while they last: its arm's, or of the arm it names ("Teacher on U"), or a spare one."""
    names, found = list(dict.fromkeys(names)), {}
    for name in sorted(names, key=lambda name: name not in LOOKS):  # an arm itself before what is named after it
        text = str(name).lower().replace("synthetic", "teacher").replace(", ", "-").replace(" ", "-")
        arm = max((arm for arm in LOOKS if arm in text), key=len, default=None)
        if arm and LOOKS[arm] not in found.values():
            found[name] = LOOKS[arm]
    rest = itertools.cycle([look for look in (*SPARE, *LOOKS.values()) if look not in found.values()] or SPARE)
    return {name: found.get(name) or next(rest) for name in names}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the project's style, and close: the caller shows or saves the figure, Jupyter does not show it twice."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        others = set(plt.get_fignums())
        try:
            with plt.style.context(SHEET):
                result = draw(*args, **kwargs)
                figure = result[0] if isinstance(result, tuple) else result  # TODO(change-over): tuples only
                figure.draw_without_rendering()  # ticks are made late: make them while the style holds
                return result
        finally:
            for number in set(plt.get_fignums()) - others:
                plt.close(number)

    return drawn


def parts(frame: pd.DataFrame, by: str | None, *, alone: str) -> tuple[dict[str, pd.DataFrame], dict[str, Look]]:
    """A frame by the values of a column, in order of appearance, and their looks; without one, a part "" that looks `alone`."""
    if by is None:
        return {"": frame}, {"": LOOKS[alone]}
    found = {str(name): frame[frame[by] == name] for name in dict.fromkeys(frame[by].dropna())}
    return found, looks(found)
