"""Figures of one quantity against another: cost against agreement, human scores against agreement."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from cyborg_utils.plots.style import BAND, DOUBLE, FAINT, INK, LOOKS, alt_text, counts_axis, estimate, label, looks, styled, ticks


@styled
def correction_forest(frame: pd.DataFrame, *, reference: str, limit: float = 0.10) -> tuple[Figure, str]:
    """QWK with interval beside the largest |SMD| of a group, a row a correction, as `corrections.trade_off` gives them.

    First those that need to know nothing about a writer, then the others, each by QWK. Dashed: QWK of `reference`. Grey bar: what
    `worst` would be by chance if no group had a bias, up to its high quantile, with a tick at the median. Filled: beyond the bar.
    Dotted: `limit`.
    """
    shown = frame.assign(known=frame["needs"] != "nothing").sort_values(["known", "qwk"], ascending=[True, False])
    rows, places = shown.to_dict("records"), np.arange(len(shown)) + shown["known"].to_numpy()  # a row of room for the heading
    figure, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE, 1.0 + 0.19 * places.max()), sharey=True)
    color, half = LOOKS["full"].color, 0.3
    bars = {"color": BAND, "ec": "#C4C4C4", "lw": 0.5, "label": "by chance, without any bias (tick: median)"}
    right.barh(places, shown["worst_chance_high"], 2 * half, zorder=0, **bars)
    right.vlines(shown["worst_chance"], places - half, places + half, color=FAINT, lw=1.2)
    for at, row in zip(places, rows, strict=True):
        left.hlines(at, row["low"], row["high"], color=color, lw=1.2)
        left.plot(row["qwk"], at, "o", ms=4.5, color=color, mec="white", mew=0.4)
        fill = color if row["worst"] > row["worst_chance_high"] else "white"
        right.plot(row["worst"], at, "D", ms=4.5, color=fill, mec=color, mew=0.9)
    left.axvline(shown.loc[shown["method"] == reference, "qwk"].iloc[0], color=FAINT, lw=0.8, ls="--", zorder=1)
    right.axvline(limit, color=INK, lw=0.8, ls=":")
    if shown["known"].any():
        heading = {"xy": (0, places[shown["known"]].min() - 0.9), "xytext": (-3.5, 0), "textcoords": "offset points"}
        heading |= {"xycoords": left.get_yaxis_transform(), "ha": "right", "va": "center", "annotation_clip": False}
        left.annotate("The writer's group must be known", fontsize=7, weight="bold", **heading)
    names = [row["method"].replace("_", " ") + " (reference)" * (row["method"] == reference) for row in rows]
    left.set_yticks(places, names)
    left.set(xlabel="QWK with human scores", ylim=(places.max() + 0.6, -0.6))
    right.set(xlabel="Largest |SMD| of a group (test essays)")
    right.set_xlim(0, 1.08 * np.nanmax([limit, *shown["worst"], *shown["worst_chance_high"]]))
    for ax in (left, right):
        ax.xaxis.set_major_locator(ticks(6))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
    right.plot([], [], "D", ls="none", color=color, mec=color, label="found, beyond chance")
    right.plot([], [], "D", ls="none", color="white", mec=color, mew=0.9, label="found, not beyond chance")
    figure.suptitle("Agreement and bias that is left, by correction", x=0.01, ha="left")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    told = "; ".join(
        f"{row['method']}: QWK {row['qwk']:.3f}, worst {row['worst']:.2f}, by chance up to {row['worst_chance_high']:.2f}"
        for row in rows
    )
    return figure, f"QWK beside the largest |SMD| of a group, a row a correction. {told}."


@styled
def checks_curve(frame: pd.DataFrame, *, within: float = 0.05) -> tuple[Figure, str]:
    """Half width of the interval of each group's bias against its number of checked essays, as `spot_checks.checking` gives them.

    Both axes are logarithmic. Band: the aim, +-`within`. All groups start near one line, since a group's errors are about as
    large as everybody's; a line turns down where few of the group's essays are left unchecked. Intervals wider than +-1 SD, which
    say nothing, are left out.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.85, 3.2))
    known = frame[frame["half_width"].between(0, 1, inclusive="right")]  # 0: all are checked, which has no logarithm
    ax.axhspan(1e-3, within, color=BAND, lw=0, zorder=0)
    styles = looks(known["attribute"])
    for (attribute, _), part in known.groupby(["attribute", "group"], sort=False):
        look = styles[attribute]
        ax.plot(part["checked"], part["half_width"], color=look.color, marker=look.marker, ls=look.line, lw=0.9, ms=3.5)
    for attribute, look in styles.items():
        name = "all essays" if attribute == "all" else f"by {attribute.replace('_', ' ')}"
        ax.plot([], [], color=look.color, marker=look.marker, ls=look.line, lw=0.9, label=name)
    ax.set(xscale="log", yscale="log", title="How well a group's bias is known after so many checks")
    ax.set(xlabel="Essays of the group that a person checked", ylabel="Half width of the interval, in SDs")
    low, high = (end([within, *known["half_width"]]) for end in (min, max))
    ax.set_ylim(low / 1.3, high * 1.2)
    places = [place for place in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if low / 1.3 <= place <= high * 1.2]
    ax.set_yticks(places, [f"{place:g}" for place in places])
    ax.yaxis.set_minor_formatter("")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.axhline(within, color=FAINT, lw=0.8)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    last = known[known["checks"] == known["checks"].max()] if "checks" in known else known
    widths = "; ".join(f"{row.attribute} {row.group} ±{row.half_width:.2f} from {row.checked:.0f}" for row in last.itertuples())
    return figure, f"Half width of the interval of a group's bias by its checked essays: {widths}."


@styled
def enough_scores(measured: pd.DataFrame, curve: pd.DataFrame, enough: pd.Series, *, arms: pd.DataFrame) -> tuple[Figure, str]:
    """QWK of the classical Student on human scores alone against their number, with the recommended one.

    n counts the human scores that are paid for: those to train on, and the development essays that the match of mean and SD uses.
    `measured`: n, qwk, low, high, price (of n); `curve`: n, qwk, low, high of the fit; `enough`: margin, n, low, high. `arms` are
    other Students' arms as points: student, arm, n, qwk, low, high.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.9, 3.0))
    look = LOOKS["human"]
    ax.axvspan(enough["low"], enough["high"], color=LOOKS["cyborg"].color, alpha=0.12, lw=0)
    ax.axvline(enough["n"], color=LOOKS["cyborg"].color, lw=1.1)
    ax.fill_between(curve["n"], curve["low"], curve["high"], color=look.color, alpha=0.15, lw=0)
    ax.plot(curve["n"], curve["qwk"], color=look.color, label="Ridge, human scores only (fitted)")
    spread = np.clip([measured["qwk"] - measured["low"], measured["high"] - measured["qwk"]], 0, None)
    ax.errorbar(measured["n"], measured["qwk"], spread, fmt="o", ms=4, lw=0.9, color=look.color, mec="white", label="measured")
    styles, alike = looks(arms["arm"]), arms.groupby("n")
    aside = np.exp(0.06 * (alike.cumcount() - (alike["n"].transform("size") - 1) / 2))  # arms of one size side by side
    for (name, arm), part in arms.assign(x=arms["n"] * aside).groupby(["student", "arm"], sort=False):
        own, ends = styles[arm], np.clip([part["qwk"] - part["low"], part["high"] - part["qwk"]], 0, None)
        line = {"fmt": own.marker, "ms": 5, "lw": 0.9, "color": own.color, "mec": "white"}
        ax.errorbar(part["x"], part["qwk"], ends, label=f"{name}: {label(arm)}", **line)
    words = f"{enough['n']:,.0f} [{enough['low']:,.0f}, {enough['high']:,.0f}]\nwithin {enough['margin']:g} of all"
    ax.annotate(words, (enough["n"], 0.02), (4, 2), xycoords=ax.get_xaxis_transform(), textcoords="offset points", fontsize=6.5)
    named = _apart(measured)
    counts_axis(ax, named["n"].to_numpy(), [f"{row.n:,.0f}\n{row.price:,.0f}" for row in named.itertuples()])
    ax.yaxis.set_major_locator(ticks(8))
    ax.set(title="How many essays should people have scored?", ylabel="QWK (test essays)")
    ax.set_xlabel("Human scores, development essays included (below: their price)")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center")
    points = ", ".join(f"{row.n} {row.qwk:.3f}" for row in measured.itertuples())
    ends = f"{enough['n']:.0f} [{enough['low']:.0f}, {enough['high']:.0f}]"
    return figure, f"QWK of the classical Student on human scores alone: {points}. Within {enough['margin']:g} of all: {ends}."


@styled
def more_scores(measured: pd.DataFrame, forecast: pd.DataFrame) -> tuple[Figure, str]:
    """QWK by the number of human scores, measured (n, qwk, low, high, fitted), and where the fitted curve leads (n, qwk, low,
    high).

    The first row of `forecast` is the number that there is; what lies beyond is extrapolated and drawn hollow.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.75, 2.6))
    look, ahead = LOOKS["teacher"], LOOKS["cyborg"]
    for part, own, fill in ((measured, look, look.color), (forecast, ahead, "white")):
        spread = np.clip([part["qwk"] - part["low"], part["high"] - part["qwk"]], 0, None)
        words = "measured, cross-fitted" if part is measured else "by the fitted curve"
        ax.errorbar(part["n"], part["qwk"], spread, fmt="o", ms=4.5, lw=0.9, color=own.color, mfc=fill, label=words)
    line = pd.concat([measured[["n", "fitted"]].rename(columns={"fitted": "qwk"}), forecast[["n", "qwk"]]]).sort_values("n")
    ax.plot(line["n"], line["qwk"], color=look.color, lw=1)
    ax.axvline(forecast["n"].iloc[0], color=FAINT, lw=0.8, ls=":")
    counts_axis(ax, line["n"].to_numpy(), [f"{n:,.0f}" for n in line["n"]])
    shown = min(0.0, line["qwk"].min(), forecast["low"].min())  # ends of intervals from few essays may lie far below
    ax.set_ylim(bottom=max(shown, ax.get_ylim()[0]))
    ax.yaxis.set_major_locator(ticks(6))
    ax.set(xlabel="Human scores that the Teacher learns from", ylabel="QWK", title="Would more human scores help?")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    told = "; ".join(f"{row.n:.0f} {estimate(row.qwk, row.low, row.high, '.3f')}" for row in measured.itertuples())
    later = "; ".join(f"{row.n:.0f} {estimate(row.qwk, row.low, row.high, '.3f')}" for row in forecast.itertuples())
    return figure, f"QWK by the number of human scores: {told}. By the fitted curve: {later}."


def _apart(measured: pd.DataFrame) -> pd.DataFrame:
    """The rows whose numbers can be named below a logarithmic axis: from the largest down, none nearer than a tenth of it."""
    kept, span = [], max(np.log(measured["n"].max() / measured["n"].min()), 1e-9)
    for row in measured.sort_values("n", ascending=False).to_dict("records"):
        if not kept or np.log(kept[-1]["n"] / row["n"]) / span >= 0.1:
            kept.append(row)
    return pd.DataFrame(kept[::-1])


@styled
def cost_frontier(costs: pd.DataFrame, *, curve: pd.DataFrame | None = None, currency: str = "") -> tuple[Figure, str]:
    """QWK with interval against cost per 1,000 essays; `costs`: student, arm, n_human, per_1000, qwk, low, high, frontier.

    Ringed and joined by steps: the arms that none beats in both. Filled: networks; hollow: the classical Student. `curve`
    (per_1000, qwk) is that Student on human scores alone. Arms of equally many human scores cost nearly the same: they are drawn
    side by side around their cost, the steps with them, and the axis says so. Where the columns step, step_low and step_high are
    there (`cost.frontier_steps`), the words tell them too.
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
    ax.set(xlabel=cost, ylabel="QWK (test essays)", title="What agreement costs")
    figure.legend(handles, names, loc="outside right center")
    alt = cost.replace("Cost per 1,000 scored essays", "QWK against cost per 1,000 essays").replace("\n", "; ")
    return figure, f"{alt}. On the frontier: {'; '.join(_priced(row, currency) for row in best.to_dict('records'))}."


@styled
def risk_coverage(curve: pd.DataFrame, promises: pd.DataFrame) -> tuple[Figure, str]:
    """Risk of the essays that the machine scores against their share, on test essays.

    `curve`: coverage, risk, low, high. Band: its interval, point by point. Dashed: essays handed over at random. `promises` as
    `deferral.promises` gives them: a dotted line a target, a square where development essays chose a share for it.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.85, 3.0))
    look, risk = LOOKS["cyborg"], promises["risk"].iloc[0]
    ax.fill_between(curve["coverage"], curve["low"], curve["high"], color=look.color, alpha=0.15, lw=0)
    ax.plot(curve["coverage"], curve["risk"], color=look.color, label=f"the surest first: {promises['signal'].iloc[0]}")
    ax.axhline(curve["risk"].iloc[-1], color=INK, lw=0.9, ls="--", label="at random")
    for at, row in enumerate(promises.to_dict("records")):
        ax.axhline(row["target"], color=FAINT, lw=0.8, ls=":", label=None if at else "targets")
    made = promises[promises["machine_share"] > 0]
    ax.plot(made["machine_share_test"], made["risk_test"], "s", color=look.color, mec=INK, ls="none", label="promised share")
    ax.set(xlim=(0, 1.02), title="Which essays does a person have to score?")
    ax.set_xlabel("Share of the test essays that the machine scores")
    ax.set_ylabel("Mean squared error (levels)" if risk == "squared error" else f"Share {risk}")
    ax.set_ylim(0, 1.15 * np.nanmax([*curve["high"][curve["coverage"] >= 0.2], *curve["risk"], *promises["target"]]))
    ax.xaxis.set_major_formatter("{x:.0%}")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    places = [curve.iloc[(curve["coverage"] - share).abs().argmin()] for share in (0.25, 0.5, 0.75, 1)]
    told = "; ".join(f"{row['coverage']:.0%}: {estimate(row['risk'], row['low'], row['high'], '.3f')}" for row in places)
    points = "; ".join(
        f"target {row.target:g}: "
        + (f"{row.machine_share_test:.0%} with {row.risk_test:.3f}" if row.machine_share else "nothing promised")
        for row in promises.itertuples()
    )
    return figure, f"Risk ({risk}) by the share of test essays that the machine scores. {told}. {points}."


@styled
def agreement_and_price(scorers: pd.DataFrame, *, currency: str = "") -> tuple[Figure, str]:
    """QWK with interval against the price of computing a million scores, a point a scorer, as `cost.scorers` gives them.

    The price axis is logarithmic; scorers of one price are drawn side by side. Filled: on Cyborg Data, or the Teacher; hollow:
    human scores alone. Rows without an agreement or a price are named in the words alone.
    """
    shown = scorers[scorers["left_out"] == ""].sort_values("per_million", kind="stable")
    alike = shown.groupby("per_million")
    shown = shown.assign(x=shown["per_million"] * 1.2 ** (alike.cumcount() - (alike["qwk"].transform("size") - 1) / 2))
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.8, 3.0))
    marks = {"Teacher": "teacher-expected", "Student, ONNX": "cyborg-soft", "Student": "cyborg", "Ridge": "ridge"}
    for row in shown.to_dict("records"):
        look = LOOKS[next(arm for name, arm in marks.items() if row["scorer"].startswith(name))]
        fill = "white" if row["labels"] == "human" else look.color
        ax.vlines(row["x"], row["low"], row["high"], color=look.color, lw=1.1)
        handle = {"mec": INK, "mew": 0.6, "ms": 6, "ls": "none", "label": f"{row['scorer']} ({row['per_million']:,.2f})"}
        ax.plot(row["x"], row["qwk"], look.marker, color=fill, **handle)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    ax.yaxis.set_major_locator(ticks(8))
    price = f"Computing a million scores{f' ({currency})' if currency else ''}"
    paid = ", ".join(f"{int(n):,}" for n in sorted(set(shown["n_human"])))
    ax.set(title="Does the Student add anything?", ylabel="QWK (test essays)")
    ax.set_xlabel(f"{price}\nafter {paid} human scores; equal prices side by side")
    ax.margins(x=0.12)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", title="scorer (price)")
    each = [
        f"{row.scorer} {row.per_million:,.2f} {currency}".strip() + f", QWK {row.qwk:.3f} ({row.low:.3f}, {row.high:.3f})"
        for row in shown.itertuples()
    ]
    absent = "; ".join(f"{row.scorer}, {row.left_out}" for row in scorers[scorers["left_out"] != ""].itertuples())
    words = "QWK against the price of computing a million scores" + (f" (not shown: {absent})" if absent else "")
    return figure, alt_text(words, each)


def _priced(row: dict[str, Any], currency: str) -> str:
    """An arm of the frontier in words, with its step over the next cheaper one where that is known."""
    price = f"{row['per_1000']:,.2f} {currency}".strip()
    words = f"{row['student']}, {row['arm']}, {row['n_human']} human scores: {price}, QWK {row['qwk']:.3f}"
    if np.isfinite(row.get("step", np.nan)):
        words += f", step {row['step']:+.3f} [{row['step_low']:+.3f}, {row['step_high']:+.3f}]"
    return words


@styled
def gain_over_draws(frame: pd.DataFrame, *, title: str = "Gain over draws") -> tuple[Figure, str]:
    """Differences in QWK by number of human scores, one dot a draw, with their median and quartiles; a panel a baseline.

    frame: n_human, baseline, gain.
    """
    names = list(dict.fromkeys(frame["baseline"]))
    figure, axes = plt.subplots(1, len(names), figsize=(DOUBLE, 2.6), sharey=True, squeeze=False)
    described = []
    for ax, name in zip(axes[0], names, strict=True):
        part = frame[frame["baseline"] == name].sort_values("n_human")
        sizes = part["n_human"].map("{:,.0f}".format)
        aside = np.random.default_rng(0).uniform(-0.25, 0.25, len(part))  # the same every time, unlike seaborn's jitter
        dots = {"color": LOOKS["cyborg"].color, "ms": 2, "alpha": 0.5, "zorder": 1}
        ax.plot(pd.factorize(sizes)[0] + aside, part["gain"], "o", mew=0, **dots)
        box = {"facecolor": "none", "edgecolor": INK}
        seaborn.boxplot(x=sizes, y=part["gain"], ax=ax, showfliers=False, width=0.55, boxprops=box, linewidth=0.9)
        ax.axhline(0, color=FAINT, lw=0.8)
        ax.set(title=f"against {label(name)}", xlabel="Essays with a human score", ylabel="")
        described += [f"{label(name)}, {n:,}: {rows['gain'].median():+.3f}" for n, rows in part.groupby("n_human")]
    axes[0][0].set_ylabel("Difference in QWK")
    figure.suptitle(title, x=0.01, ha="left")
    return figure, alt_text("Median difference in QWK over draws of U between Cyborg Data and human scores alone", described)
