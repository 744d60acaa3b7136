"""Tables as Markdown and LaTeX, figures as SVG: for papers and slides, never tracked by git.

`save_table` and `save_figure` write them to `build/<profile>/exports` as a notebook runs. `make exports` makes the missing ones:
from a rebuild where the scores are enough, otherwise from the table's CSV.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from tabulate import tabulate

from cyborg_utils.core import paths
from cyborg_utils.core.atomic import write
from cyborg_utils.plots.style import unpinned

SVG_LIMIT = 1_000_000  # bytes; a figure with many thousand points exists as PNG only
Formats = Mapping[str, Callable[[Any], str]]


def folder(profile: str) -> Path:
    """The folder of a study's exports."""
    return paths.build(profile, "exports")


def for_people(
    frame: pd.DataFrame, *, digits: int | Mapping[str, int] = 3, formats: Formats | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A table's cells as text, and the side on which each column is aligned.

    `digits` is the number of decimals of real numbers, for all columns or by column; `formats` override it. An undefined cell is
    an en dash. A model's name appears without the commit that pins it.
    """
    by_column = digits if isinstance(digits, Mapping) else dict.fromkeys(frame.columns, digits)
    cells = {
        column: [_text(value, digits=by_column.get(column, 3), special=(formats or {}).get(column)) for value in frame[column]]
        for column in frame.columns
    }
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) and frame[column].dtype != bool for column in frame.columns]
    shown = pd.DataFrame(cells, dtype=object).rename(columns=lambda column: column.replace("_", " "))
    return shown, ["right" if flag else "left" for flag in numeric]


def table(profile: str, name: str, shown: pd.DataFrame, sides: list[str], caption: str) -> None:
    """Write a table of `for_people` as Markdown and as LaTeX (booktabs)."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in shown.itertuples(index=False)]
    align = sides if rows else None
    body = tabulate(rows, headers=list(shown.columns), tablefmt="pipe", colalign=align, disable_numparse=True)
    write(folder(profile) / f"{name}.md", f"{caption}\n\n{body}\n")
    styled = shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    columns = "".join(side[0] for side in sides)
    layout = {"hrules": True, "position_float": "centering", "column_format": columns}
    text = styled.to_latex(caption=_latex(caption), label=f"tab:{name}", **layout)
    write(folder(profile) / f"{name}.tex", text)


def figure(profile: str, name: str, drawn: Figure) -> None:
    """Write a figure as SVG, with the same bytes for the same figure; no SVG where it would exceed `SVG_LIMIT`."""
    vector, file = io.BytesIO(), folder(profile) / f"{name}.svg"
    with plt.rc_context({"svg.hashsalt": name}):
        drawn.savefig(vector, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    if vector.tell() <= SVG_LIMIT:
        write(file, vector.getvalue())
    else:
        file.unlink(missing_ok=True)


def _text(value: Any, *, digits: int, special: Callable[[Any], str] | None) -> str:
    if value is None or (not isinstance(value, (list, tuple)) and pd.isna(value)):
        return "–"
    if special:
        return special(value)
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if isinstance(value, float):  # numpy.float64 is one too
        return f"{value:.{digits}f}"
    return unpinned(str(value))


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(sign, "\\" + sign if sign in "&%$#_{}" else sign) for sign in text)
