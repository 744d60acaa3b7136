"""Figures of what scores cost and what they buy; frames as `costs` and `learning_curve` give them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from cyborg_utils.style import DOUBLE, FAINT, INK, LOOKS, counts_axis, label, looks, styled, ticks


@styled
def enough_scores(
    measured: pd.DataFrame,
    curve: pd.DataFrame,
    enough: pd.Series,
    *,
    arms: pd.DataFrame | None = None,
    student: str = "ridge",
    title: str = "How many essays should people have scored?",
) -> Figure:
    """QWK of a Student on human scores alone against their number, with the recommended one.

    `measured`: n, qwk, low, high, price (of n); `curve`: n, qwk, low, high of the fit; `enough`: margin, n, low, high. `arms` are
    other Students' arms as points: student, arm, n, qwk, low, high.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.9, 3.0))
    look = LOOKS["human"]
    ax.axvspan(enough["low"], enough["high"], color=LOOKS["cyborg"].color, alpha=0.12, lw=0)
    ax.axvline(enough["n"], color=LOOKS["cyborg"].color, lw=1.1)
    ax.fill_between(curve["n"], curve["low"], curve["high"], color=look.color, alpha=0.15, lw=0)
    ax.plot(curve["n"], curve["qwk"], color=look.color, label=f"{label(student)}, human scores only (fitted)")
    spread = np.clip([measured["qwk"] - measured["low"], measured["high"] - measured["qwk"]], 0, None)
    ax.errorbar(measured["n"], measured["qwk"], spread, fmt="o", ms=4, lw=0.9, color=look.color, mec="white", label="measured")
    if arms is not None and len(arms):
        styles, alike = looks(arms["arm"]), arms.groupby("n")
        aside = np.exp(0.06 * (alike.cumcount() - (alike["n"].transform("size") - 1) / 2))  # arms of one size side by side
        for (name, arm), part in arms.assign(x=arms["n"] * aside).groupby(["student", "arm"], sort=False):
            own, ends = styles[arm], np.clip([part["qwk"] - part["low"], part["high"] - part["qwk"]], 0, None)
            line = {"fmt": own.marker, "ms": 5, "lw": 0.9, "color": own.color, "mec": "white"}
            ax.errorbar(part["x"], part["qwk"], ends, label=f"{name}: {label(arm)}", **line)
    words = f"{enough['n']:,.0f} [{enough['low']:,.0f}, {enough['high']:,.0f}]\nwithin {enough['margin']:g} of all"
    ax.annotate(words, (enough["n"], 0.02), (4, 2), xycoords=ax.get_xaxis_transform(), textcoords="offset points", fontsize=6.5)
    named = [f"{n:,.0f}\n{price:,.0f}" for n, price in zip(measured["n"], measured["price"], strict=True)]
    counts_axis(ax, measured["n"].to_numpy(), named)
    ax.yaxis.set_major_locator(ticks(8))
    ax.set(xlabel="Essays with a human score to train on (below: their price, in all)", ylabel="QWK (test essays)", title=title)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center")
    return figure


@styled
def cost_frontier(
    costs: pd.DataFrame,
    *,
    curve: pd.DataFrame | None = None,
    currency: str = "",
    title: str = "What agreement costs",
) -> Figure:
    """QWK with interval against cost per 1,000 essays; `costs`: student, arm, n_human, per_1000, qwk, low, high, frontier.

    Ringed and joined by steps: the arms that none beats in both. Filled: networks; hollow: the classical Student. `curve`
    (per_1000, qwk) is that Student on human scores alone. Arms of equally many human scores cost nearly the same: they are drawn
    side by side around their cost, the steps with them, and the axis says so.
    """
    known = costs[np.isfinite(costs["per_1000"]) & np.isfinite(costs["qwk"])].sort_values("per_1000", kind="stable")
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.9, 3.0))
    styles = looks(known["arm"])
    span = max(np.log(known["per_1000"].max() / known["per_1000"].min()), 0.2) if len(known) else 1.0
    alike = known.groupby("n_human")["per_1000"]
    known = known.assign(x=known["per_1000"] * np.exp(0.018 * span * (alike.cumcount() - (alike.transform("size") - 1) / 2)))
    best = known[known["frontier"]]
    ax.step(best["x"], best["qwk"], where="post", color=FAINT, lw=0.9, ls=(0, (3, 2)), label="frontier")
    if curve is not None:
        ax.plot(curve["per_1000"], curve["qwk"], color=LOOKS["human"].color, lw=0.9, label="Ridge, human scores only (fitted)")
    for row in known.to_dict("records"):
        look = styles[row["arm"]]
        fill = "white" if row["student"] == "ridge" else look.color
        ax.vlines(row["x"], row["low"], row["high"], color=look.color, lw=0.9, alpha=0.55)
        ax.plot(row["x"], row["qwk"], look.marker, color=fill, mec=look.color, mew=0.9, ms=5.5)
        if row["frontier"]:
            ax.plot(row["x"], row["qwk"], "o", ms=10, mfc="none", mec=INK, mew=0.8)
    handles, names = ax.get_legend_handles_labels()
    for arm, look in styles.items():
        handles.append(Line2D([], [], color=look.color, marker=look.marker, ls="none"))
        names.append(label(arm))
    handles.append(Line2D([], [], color="white", mec=INK, marker="o", ls="none"))
    names.append("hollow: the classical Student (ridge)")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(ticks(8))
    cost = f"Cost per 1,000 scored essays{f' ({currency})' if currency else ''}\narms of nearly equal cost are drawn side by side"
    ax.set(xlabel=cost, ylabel="QWK (test essays)", title=title)
    figure.legend(handles, names, loc="outside right center")
    return figure
