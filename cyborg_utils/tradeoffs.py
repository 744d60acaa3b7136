"""Figures of remedies: agreement against bias, and what checking by people buys. Frames as `remedies` gives them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cyborg_utils.forests import BAND
from cyborg_utils.style import DOUBLE, FAINT, INK, looks, styled, ticks


@styled
def bias_frontier(frame: pd.DataFrame, *, limit: float = 0.10, title: str = "Agreement against bias, by correction") -> Figure:
    """QWK with interval against the largest |SMD| of a group, as `remedies.trade_off` gives them: up and to the left is better.

    Band: |SMD| up to `limit`. Filled: on the frontier; hollow: another correction is better in both. The marker says what must be
    known about a writer.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE, 3.6))
    ax.axvspan(0, limit, color=BAND, lw=0, zorder=0)
    styles = looks(frame["needs"])
    shown = frame.sort_values("qwk", ascending=False).reset_index(drop=True)
    for at, row in enumerate(shown.to_dict("records"), 1):
        look = styles[row["needs"]]
        ax.vlines(row["worst"], row["low"], row["high"], color=look.color, lw=0.8, alpha=0.5)
        fill = look.color if row["frontier"] else "white"
        ax.plot(row["worst"], row["qwk"], look.marker, ms=6, color=fill, mec=look.color)
        end = row["high"] if np.isfinite(row["high"]) else row["qwk"]
        ax.annotate(str(at), (row["worst"], end), (0, 2), textcoords="offset points", ha="center", fontsize=6, color=INK)
    for needs, look in styles.items():
        words = "nothing about the writer" if needs == "nothing" else needs.replace("_", " ")
        ax.plot([], [], look.marker, color=look.color, label=f"needs {words}")
    lines = [f"{at}  {row.method.replace('_', ' ')}" for at, row in enumerate(shown.itertuples(), 1)]
    ax.annotate("\n".join(lines), (1.02, 1), xycoords="axes fraction", va="top", fontsize=6.5, annotation_clip=False)
    ax.set(xlabel="Largest |SMD| of a group (test essays)", ylabel="QWK with human scores", title=title)
    ax.set_xlim(0, 1.08 * max(limit, np.nanmax([*shown["worst"], 0.0])))
    ax.xaxis.set_major_locator(ticks(6))
    ax.yaxis.set_major_locator(ticks(7))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@styled
def checks_curve(
    frame: pd.DataFrame, *, within: float = 0.05, title: str = "How well a group's bias is known after so many checks"
) -> Figure:
    """Half width of the interval of each group's bias against its number of checked essays, as `remedies.checking` gives them.

    Both axes are logarithmic. Band: the aim, +-`within`. Every group lies near one line, since its errors are about as large as
    everybody's: what counts is how many of *its* essays are checked.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.85, 3.2))
    known = frame.dropna(subset=["half_width"])
    ax.axhspan(1e-3, within, color=BAND, lw=0, zorder=0)
    styles = looks(known["attribute"])
    for (attribute, _), part in known.groupby(["attribute", "group"], sort=False):
        look = styles[attribute]
        ax.plot(part["checked"], part["half_width"], color=look.color, marker=look.marker, ls=look.line, lw=0.9, ms=3.5)
    for attribute, look in styles.items():
        name = "all essays" if attribute == "all" else f"by {attribute.replace('_', ' ')}"
        ax.plot([], [], color=look.color, marker=look.marker, ls=look.line, lw=0.9, label=name)
    ax.set(xscale="log", yscale="log", xlabel="Essays of the group that a person checked", title=title)
    ax.set_ylabel("Half width of the interval, in SDs")
    low, high = known["half_width"].min(), known["half_width"].max()
    ax.set_ylim(min(within, low) / 1.3, high * 1.2)
    places = [place for place in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if min(within, low) / 1.3 <= place <= high * 1.2]
    ax.set_yticks(places, [f"{place:g}" for place in places])
    ax.yaxis.set_minor_formatter("")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.axhline(within, color=FAINT, lw=0.8)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
