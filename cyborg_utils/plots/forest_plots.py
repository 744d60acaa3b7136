"""Figures that compare arms by an estimate and its interval. Frames as `study.agreement` gives them."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cyborg_utils.plots.style import (
    BAND,
    DOUBLE,
    FAINT,
    INK,
    LOOKS,
    SINGLE,
    alt_text,
    beside,
    counts_axis,
    estimate,
    estimates,
    known,
    label,
    looks,
    lowest,
    parts,
    styled,
    ticks,
)


@styled
def qwk_by_fraction(
    frame: pd.DataFrame, *, seeds: pd.DataFrame | None = None, title: str = "Agreement by number of human scores"
) -> tuple[Figure, str]:
    """QWK against the number of human scores; one row an arm and number: arm, n_human, qwk, low, high (fraction).

    The arm `full` (its n_human is ignored) is a band over the whole width. `seeds` has the single runs as small dots: arm,
    n_human, qwk.
    """
    figure, ax = plt.subplots(figsize=(5.2, 2.7))
    bound, rest = frame[frame["arm"] == "full"], frame[frame["arm"] != "full"]
    arms, places = list(dict.fromkeys(rest["arm"])), np.sort(rest["n_human"].unique())
    styles = looks([*arms, "full"])
    wide = max(np.log(places[-1] / places[0]), 0.7) if len(places) else 1.0  # of the logarithmic axis
    for _, row in bound.iterrows():
        ax.axhspan(row["low"], row["high"], color=styles["full"].color, alpha=0.12, lw=0)
        ax.axhline(row["qwk"], color=styles["full"].color, ls=styles["full"].line, label=label("full"))
    for at, arm in enumerate(arms):
        part, look = rest[rest["arm"] == arm].sort_values("n_human"), styles[arm]
        aside = np.exp(0.02 * wide * (at - (len(arms) - 1) / 2))  # arms side by side
        spread = np.clip([part["qwk"] - part["low"], part["high"] - part["qwk"]], 0, None)
        line = {"color": look.color, "marker": look.marker, "ls": look.line, "lw": 1.1, "mec": "white", "mew": 0.4}
        ax.errorbar(part["n_human"] * aside, part["qwk"], spread, label=label(arm), **line)
        if seeds is not None:
            dots = seeds[seeds["arm"] == arm]
            ax.plot(dots["n_human"] * aside * np.exp(0.008 * wide), dots["qwk"], ".", ms=3, color=look.color)
    names = {row["n_human"]: f"\n{100 * row['fraction']:g} %" for _, row in rest.iterrows()} if "fraction" in rest else {}
    counts_axis(ax, places, [f"{place:,.0f}{names.get(place, '')}" for place in places])
    if len(places):
        ax.set_xlim(places[0] / np.exp(0.14 * wide), places[-1] * np.exp(0.14 * wide))
    ax.yaxis.set_major_locator(ticks(8))
    ax.set(xlabel="Essays with a human score", ylabel="QWK with human scores", title=title)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center")
    each = [f"{label(row['arm'])}, {row['n_human']:,.0f} human scores, {row['qwk']:.3f}" for row in frame.to_dict("records")]
    return figure, alt_text("QWK by number of human scores", each)


@styled
def arm_forest(
    frame: pd.DataFrame,
    *,
    panel: str | None = None,
    xlabel: str = "QWK with human scores (test essays)",
    title: str = "Agreement by arm",
) -> tuple[Figure, str]:
    """QWK with its interval by arm: arm, qwk, low, high. `panel` names a column that is spread over panels, two in a row."""
    sets, _ = parts(frame, panel, alone="full")
    arms = list(dict.fromkeys(frame["arm"]))
    across = max(1, min(2, len(sets)))
    down, styles = max(1, -(-len(sets) // across)), looks(arms)
    size = (1.35 * SINGLE if across == 1 else DOUBLE, 0.25 + (0.6 + 0.24 * len(arms)) * down)
    figure, axes = plt.subplots(down, across, figsize=size, sharey=True, sharex=True, squeeze=False)
    for ax, (key, part) in zip(axes.flat, sets.items(), strict=False):
        for _, row in part.iterrows():
            at, look = arms.index(row["arm"]), styles[row["arm"]]
            ax.hlines(at, row["low"], row["high"], color=look.color, lw=1.6)
            ax.plot(row["qwk"], at, look.marker, color=look.color, ms=5.5, mec="white", mew=0.5)
            beside(ax, at, estimate(row["qwk"], row["low"], row["high"], ".3f").replace(" [", "  [").replace("-", "−"))
        ax.set_title(textwrap.fill(label(key), 34))  # a hub id and its head are longer than half a page
        ax.xaxis.set_major_locator(ticks(6))
        ax.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(arms)), [label(arm) for arm in arms])
    axes[0, 0].set_ylim(len(arms) - 0.4, -0.6)
    for ax in lowest(axes, len(sets)):
        ax.set_xlabel(xlabel)
    figure.suptitle(title, x=0.01, ha="left")
    prefix = frame[panel].astype(str).map(label) + ", " if panel else pd.Series("", index=frame.index)
    told = zip(prefix, frame["arm"], estimates(frame, "qwk", ".3f"), strict=True)
    each = [f"{where}{label(arm)} {qwk}" for where, arm, qwk in told]
    return figure, alt_text(f"{xlabel}, with intervals", each)


@styled
def item_forest(
    frame: pd.DataFrame,
    *,
    item: str = "trait",
    value: str = "qwk",
    xlabel: str = "QWK with human scores (test essays)",
    title: str = "Agreement by trait",
) -> tuple[Figure, str]:
    """An estimate with its interval for every item (a trait, say), its arms below each other: item, arm, `value`, low, high."""
    items, arms = list(dict.fromkeys(frame[item])), list(dict.fromkeys(frame["arm"]))
    there = frame.groupby(item)["arm"].agg(set)
    most = int(there.map(len).max())
    styles, step = looks(arms), 0.7 / most
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.85, 0.9 + 0.13 * (most + 1) * len(items)))
    for row in frame.to_dict("records"):
        own = [arm for arm in arms if arm in there[row[item]]]  # an item need not have all arms
        look, y = styles[row["arm"]], items.index(row[item]) + (own.index(row["arm"]) - (len(own) - 1) / 2) * step
        ax.hlines(y, row["low"], row["high"], color=look.color, lw=1.2)
        ax.plot(row[value], y, look.marker, ms=4.5, color=look.color, mec="white", mew=0.4)
    for arm in arms:
        ax.plot([], [], color=styles[arm].color, marker=styles[arm].marker, lw=1.2, label=label(arm))
    for at in range(1, len(items)):
        ax.axhline(at - 0.5, color=FAINT, lw=0.4)
    ax.set_yticks(range(len(items)), [label(name) for name in items])
    ax.set(xlabel=xlabel, title=title, ylim=(len(items) - 0.45, -0.55))
    ax.xaxis.set_major_locator(ticks(7))
    ax.grid(axis="y", visible=False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(arms)))
    told = zip(frame[item], frame["arm"], estimates(frame, value, ".3f"), strict=True)
    each = [f"{label(name)}, {label(arm)} {found}" for name, arm, found in told]
    return figure, alt_text(f"{xlabel}, with intervals", each)


@styled
def difference_forest(frame: pd.DataFrame, *, title: str = "What differs, and what is equivalent") -> tuple[Figure, str]:
    """Differences with intervals, one row a comparison, as `comparisons.compare` gives them.

    Thin line: the interval; thick: the shorter one that decides equivalence; band: the margin of equivalence. Filled marker:
    p (Holm) below 0.05. Beside each row its difference, p and verdict (`equivalence`), where the frame has them.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.85, 0.85 + 0.27 * len(frame)))
    columns = (7, 53, 93) if "p_holm" in frame else (7, 53, 53)  # points right of the axes
    margin = float(frame["margin"].max()) if "margin" in frame and len(frame) else float("nan")
    if np.isfinite(margin):
        ax.axvspan(-margin, margin, color=BAND, lw=0, zorder=0)
    ax.axvline(0, color=FAINT, lw=0.8)
    styles = looks(frame["system"])
    for at, row in enumerate(frame.to_dict("records")):
        look = styles[row["system"]]
        ax.hlines(at, row["low"], row["high"], color=look.color, lw=1.0)
        ax.hlines(at, row.get("tost_low", np.nan), row.get("tost_high", np.nan), color=look.color, lw=2.6)
        fill, edge = (look.color, "white") if row.get("p_holm", np.nan) < 0.05 else ("white", look.color)
        ax.plot(row["difference"], at, look.marker, ms=6, color=fill, mec=edge)
        notes = [f"{row['difference']:+.3f}".replace("-", "−"), _p(row.get("p_holm", np.nan)), row.get("equivalence", "")]
        for points, note in zip(columns, notes, strict=True):
            beside(ax, at, note, points=points)
    heads = ("difference", "p (Holm)" if "p_holm" in frame else "", f"within ±{margin:g}?" if np.isfinite(margin) else "")
    for points, head in zip(columns, heads, strict=True):
        beside(ax, -0.85, head, points=points, color=FAINT)
    names = [f"{label(system)} − {label(baseline)}" for system, baseline in zip(frame["system"], frame["baseline"], strict=True)]
    ax.set_yticks(range(len(frame)), names)
    ax.set(xlabel="Difference in QWK (same test essays)", ylim=(len(frame) - 0.4, -0.6))
    ax.xaxis.set_major_locator(ticks(7))
    ax.grid(axis="y", visible=False)
    figure.suptitle(textwrap.fill(title, 80), x=0.01, ha="left")
    told = zip(names, estimates(frame, "difference", "+.3f"), strict=True)
    each = [f"{name.replace('−', 'minus')} {difference}" for name, difference in told]
    return figure, alt_text("Difference in QWK (same test essays), with intervals", each)


@styled
def variance_sources(frame: pd.DataFrame) -> tuple[Figure, str]:
    """What other test essays and what another training would change; one row an arm: arm, seeds, test_sd, seed_sd.

    As `comparisons.across_seeds` gives them (SDs of one run). Diamond: the standard error of the mean over the seeds, from both.
    With one seed the training's part is not known, and the figure says so.
    """
    figure, ax = plt.subplots(figsize=(SINGLE * 1.35, 0.95 + 0.42 * len(frame)))
    bars = (("test_sd", "other test essays", LOOKS["full"], ""), ("seed_sd", "another seed of training", LOOKS["cyborg"], "////"))
    place = np.arange(len(frame))
    for at, (column, name, look, hatch) in enumerate(bars):
        style = {"color": look.color, "hatch": hatch, "edgecolor": "white", "lw": 0}
        ax.barh(place + 0.36 * (at - 0.5), frame[column].fillna(0), 0.34, label=name, **style)
    both = np.sqrt(frame["test_sd"] ** 2 + frame["seed_sd"] ** 2 / frame["seeds"])
    ax.plot(both, place, "D", color="white", mec=INK, mew=0.9, ms=4.5, ls="none", label="both, mean over the seeds")
    reach = max(0.005, 1.12 * np.nanmax([*frame["test_sd"], *frame["seed_sd"], 0.0]))
    for y in place[frame["seed_sd"].isna()]:
        style = {"textcoords": "offset points", "va": "center", "fontsize": 6, "color": FAINT}
        ax.annotate("one seed: not known", (0, y + 0.18), (3, 0), **style)
    for y, seeds in zip(place, frame["seeds"], strict=True):
        beside(ax, y, f"{seeds} seed{'' if seeds == 1 else 's'}")
    ax.set_yticks(place, [label(name) for name in frame["arm"]])
    ax.set(xlabel="SD of QWK", title="Two sources of chance: test essays and training")
    ax.set(xlim=(0, reach), ylim=(len(frame) - 0.5, -0.5))
    ax.xaxis.set_major_locator(ticks(5))
    ax.grid(axis="y", visible=False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    each = [
        f"{label(row['arm'])}: test essays {known(row['test_sd'], '.3f')}, seeds {known(row['seed_sd'], '.3f')}"
        for row in frame.to_dict("records")
    ]
    return figure, alt_text("SD of QWK from two sources", each)


def _p(p: float) -> str:
    return "" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
