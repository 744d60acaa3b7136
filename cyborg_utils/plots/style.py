"""The look of every figure: sizes, one palette, and a fixed look for each arm of the study.

Arms differ in marker, line and hatch as well as in colour, so that colour-blind readers and grey prints can tell them apart.
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
from IPython.core.pylabtools import print_figure
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

SHEET = Path(__file__).with_name("cyborg.mplstyle")
SINGLE, DOUBLE = 3.4, 7.0  # inches: one column, two columns
BAND = "#EEEEEE"  # behind what counts as no difference
INK, FAINT = "#222222", "#888888"


class Look(NamedTuple):
    """How an arm is drawn everywhere."""

    color: str
    marker: str
    line: str | tuple
    hatch: str


LOOKS = {
    "human": Look("#4D4D4D", "o", "-", ""),
    "human+dev": Look("#7878F0", "h", (0, (4, 2, 1, 2)), "//"),
    "cyborg": Look("#D8410D", "s", "-", "////"),
    "cyborg-soft": Look("#E9BE45", "D", "--", "...."),
    "cyborg-staged": Look("#AF2293", "^", "-.", "xxxx"),
    "full": Look("#14245C", "P", (0, (5, 1.5)), ""),
    "teacher": Look("#10B26C", "X", ":", "\\\\\\\\"),
    "teacher-expected": Look("#A9ED90", "d", (0, (2, 1)), "||||"),
    "ridge": Look("#B3B3B3", "v", (0, (1, 1)), "----"),
}
SPARE = (Look("#5B8ED8", "p", (0, (3, 1, 1, 1)), "++++"), Look("#612C06", "8", (0, (4, 2, 1, 2)), "oo"))
ARMS = {
    "human": "Human scores only",
    "human+dev": "Human scores, development too",
    "cyborg": "Cyborg",
    "cyborg-soft": "Cyborg, soft labels",
    "cyborg-staged": "Cyborg, staged",
    "full": "All human scores",
    "teacher": "Teacher",
    "teacher-expected": "Teacher, expected score",
    "ridge": "Ridge",
    "length": "Length alone",
    "average": "Average of the rivals",
    "best": "Best rival",
}


def label(name: str) -> str:
    """An arm's name for readers. Any other name stays as it is, a model's without its commit."""
    return ARMS.get(name, unpinned(str(name)))


def unpinned(text: str) -> str:
    """The text without the commits that pin hub models (`owner/name@<40 hex digits>`); CSV files and records keep them."""
    return re.sub(r"(?<=\w)@[0-9a-f]{40}\b", "", text)


def ticks(most: int) -> MaxNLocator:
    """A locator of at most `most` round ticks, in steps of 1, 2 or 5."""
    return MaxNLocator(most, steps=[1, 2, 5, 10])


def counts_axis(ax: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    """Make the x axis a logarithmic axis of essay counts, labelled at `places` only."""
    ax.set_xscale("log")
    if len(places):
        ax.xaxis.set_major_locator(FixedLocator(places))
        ax.set_xticks(places, names)
    ax.xaxis.set_minor_locator(NullLocator())


def lowest(axes: np.ndarray, used: int) -> list[Axes]:
    """The lowest used axes of each column in a grid with shared x axes. They get tick labels; unused axes are removed."""
    for ax in axes.flat[used:]:
        ax.remove()
    low = list(axes.flat[max(0, used - axes.shape[1]) : used])
    for ax in low:
        ax.tick_params(labelbottom=True)
    return low


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, all different as long as there are enough.

    A name gets the look of its arm, of the arm that it mentions ("Teacher on U"), or a spare one.
    """
    names, found = list(dict.fromkeys(names)), {}
    for name in sorted(names, key=lambda name: name not in LOOKS):  # an arm itself comes before names that mention it
        text = str(name).lower().replace("synthetic", "teacher").replace(", ", "-").replace(" ", "-")
        arm = max((arm for arm in LOOKS if arm in text), key=len, default=None)
        if arm and LOOKS[arm] not in found.values():
            found[name] = LOOKS[arm]
    rest = itertools.cycle([look for look in (*SPARE, *LOOKS.values()) if look not in found.values()] or SPARE)
    return {name: found.get(name) or next(rest) for name in names}


def styled(draw: Callable[..., tuple[Figure, str]]) -> Callable[..., tuple[Figure, str]]:
    """A function that draws in the project's style and closes its figure, so that Jupyter does not show it twice."""

    @functools.wraps(draw)
    def in_style(*args, **kwargs) -> tuple[Figure, str]:
        others = set(plt.get_fignums())
        try:
            with plt.style.context(SHEET):
                figure, alt = draw(*args, **kwargs)
                figure.draw_without_rendering()  # ticks are made late: make them while the style is in force
                return figure, alt
        finally:
            for number in set(plt.get_fignums()) - others:
                plt.close(number)

    return in_style


def mark(figure: Figure, words: str) -> None:
    """Write words, small and faint, above the right corner of all that a figure shows.

    Not below: matplotlib moves a legend "outside lower" to the new edge, where it may meet them.
    """
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans + figure.transFigure.inverted())
    figure.text(box.x1, box.y1, words, ha="right", va="bottom", fontsize=5, color=FAINT)


def show(figure: Figure, alt: str) -> None:
    """Show a figure in a notebook, once, with its text alternative."""
    display(Image(data=print_figure(figure), alt=alt))  # as a picture, so that it does not depend on the backend
    plt.close(figure)


def parts(frame: pd.DataFrame, by: str | None, *, alone: str) -> tuple[dict[str, pd.DataFrame], dict[str, Look]]:
    """A frame split by a column's values, in order of appearance, and the looks of the parts.

    Without a column there is one part, named "", with the look of the arm `alone`.
    """
    if by is None:
        return {"": frame}, {"": LOOKS[alone]}
    split = {str(name): frame[frame[by] == name] for name in dict.fromkeys(frame[by].dropna())}
    return split, looks(split)


def alt_text(shown: str, each: list[str]) -> str:
    """Alternative text of a figure: what it shows, and its numbers."""
    return f"{shown}: {'; '.join(each)}."


def known(value: float, form: str) -> str:
    """A number for an alternative text; "not known" for NaN."""
    return format(value, form) if np.isfinite(value) else "not known"


def estimate(value: float, low: float, high: float, form: str) -> str:
    """An estimate with its interval, in words where it is not known."""
    interval = f" [{low:{form}}, {high:{form}}]" if np.isfinite([low, high]).all() else ""
    return known(value, form) + interval


def estimates(frame: pd.DataFrame, value: str, form: str) -> list[str]:
    """The `estimate` of each row of a table with the ends low and high."""
    return [estimate(*row, form) for row in frame[[value, "low", "high"]].itertuples(index=False)]


def beside(ax: Axes, y: float, text: str, *, points: float = 7, **options) -> None:
    """Text at height y, so many points to the right of the axes."""
    place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    ax.annotate(text, (1, y), (points, 0), annotation_clip=False, **place, **{"fontsize": 6.5, "color": INK, **options})
