"""Figures of groups of writers: SMD, bias at the same human score. Frames as `stats.fairness` gives them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from cyborg_utils.plots.style import (
    BAND,
    DOUBLE,
    FAINT,
    INK,
    SINGLE,
    alt_text,
    beside,
    estimate,
    label,
    looks,
    lowest,
    parts,
    styled,
    ticks,
)

AXIS = {
    "smd": "SMD (below 0: stricter than the human raters; in SDs of the group's human scores)",
    "dsm": "DSM (difference of standardised means; below 0: stricter than with other groups)",
}
HEADINGS = {
    "race_ethnicity": "Race/ethnicity",
    "economically_disadvantaged": "Economic situation",
    "ell_status": "English learner",
    "student_disability_status": "Disability",
}
HOLLOW = ("too few", "not a group")  # shown, not judged


@styled
def smd_forest(
    frame: pd.DataFrame,
    *,
    stage: str | None = None,
    limit: float = 0.10,
    value: str = "smd",
    xlabel: str | None = None,
    title: str = "Gap between machine and human scores by group of writers",
) -> tuple[Figure, str]:
    """SMD with interval by group, as `fairness.smd_by_group` gives it; `stage` names a column (arms, stages) drawn side by side.

    Band: +-limit (wider for the whole sample). Hollow marker: shown, not judged (too few essays, or no group). With a single
    stage the verdict stands beside. `value` may be "dsm". A group missing from a stage is left blank; what leaves the picture
    ends in an arrow.
    """
    sets, styles = parts(frame, stage, alone="full")
    step, row_height = 0.62 / len(sets), 0.16 + 0.07 * (len(sets) - 1)  # rows, inches
    places, bottom = _group_places(frame, heading=0.17 / row_height)
    figure, ax = plt.subplots(figsize=(DOUBLE, 0.95 + row_height * bottom))
    ax.axvspan(-limit, limit, color=BAND, lw=0, zorder=0)
    ax.axvline(0, color=FAINT, lw=0.8)
    left, right = _reach(frame, value, limit)
    tip = 0.008 * (right - left)
    if ("all", "all") in places and "limit" in frame:  # the whole sample has a limit of its own
        own = frame.loc[frame["attribute"] == "all", "limit"].max()
        ax.barh(places["all", "all"], 2 * own, 1, left=-own, color=BAND, lw=0, zorder=0)
    for at, (key, part) in enumerate(sets.items()):
        look = styles[key]
        ax.plot([], [], color=look.color, marker=look.marker, lw=1.2, label=label(key))
        for row in part.to_dict("records"):
            y = places[row["attribute"], row["group"]] + (at - (len(sets) - 1) / 2) * step
            hollow, low, high = row.get("verdict") in HOLLOW, row[f"{value}_low"], row[f"{value}_high"]
            ax.hlines(y, low, high, color=look.color, lw=1.2, alpha=0.5 if hollow else 1)
            ax.plot(row[value], y, look.marker, ms=4.5, color="white" if hollow else look.color, mec=look.color, mew=0.8)
            for end, beyond, arrow in (
                (left + tip, np.fmin(row[value], low) < left, "<"),
                (right - tip, np.fmax(row[value], high) > right, ">"),
            ):
                if beyond:
                    ax.plot(end, y, arrow, ms=3.5, color="white" if hollow else look.color, mec=look.color, mew=0.8)
            if stage is None:
                beside(ax, y, row.get("verdict", ""), weight="bold" if row.get("verdict") == "biased" else "normal")
    _group_axis(ax, frame, places, bottom)
    ax.set(xlabel=xlabel or AXIS.get(value, value), title=title, xlim=(left, right))
    if stage is not None:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(sets)))
    each = [
        f"{label(key)}, " * (stage is not None)
        + f"{_named(row)} {estimate(row[value], row[f'{value}_low'], row[f'{value}_high'], '+.2f')}"
        for key, part in sets.items()
        for row in part.to_dict("records")
    ]
    return figure, alt_text(f"{xlabel or value.upper()}, with intervals", each)


@styled
def conditional_bias_curves(frame: pd.DataFrame) -> tuple[Figure, str]:
    """Mean error against human score, a line a group and a panel an attribute, as `fairness.conditional_bias` gives it.

    Dashed: all essays together; hollow and not joined: too few essays to judge. What leaves the picture ends in an arrow. Essays
    without a group are left out. The groups of one panel stand side by side at a score.
    """
    cells = frame[frame["score"].notna() & (frame["group"] != "not recorded")]
    everyone = cells[cells["attribute"] == "all"].sort_values("score")
    names = [name for name in dict.fromkeys(cells["attribute"]) if name != "all"] or ["all"]
    across = min(2, len(names))
    down, width = -(-len(names) // across), SINGLE * 1.35 if len(names) == 1 else DOUBLE
    size = {"figsize": (width, 0.4 + 2.6 * down), "layout": "constrained"}
    figure, axes = plt.subplots(down, across, sharex=True, sharey=True, squeeze=False, **size)
    step = np.diff(np.unique(cells["score"])).min(initial=1.0)
    solid, spans = cells.loc[~cells["verdict"].isin(HOLLOW), ["bias", "low", "high"]].to_numpy(dtype=float), []
    for ax, name in zip(axes.flat, names, strict=False):
        part = cells[cells["attribute"] == name]
        groups = list(dict.fromkeys(part["group"]))
        styles = looks(groups)
        ax.axhline(0, color=FAINT, lw=0.8)
        if name != "all" and len(everyone):
            enough = everyone[~everyone["verdict"].isin(HOLLOW)]
            ax.plot(enough["score"], enough["bias"], color=INK, ls=(0, (2, 1)), lw=0.9, label="All essays")
        for at, group in enumerate(groups):
            rows, look = part[part["group"] == group].sort_values("score"), styles[group]
            x = rows["score"] + 0.09 * step * (at - (len(groups) - 1) / 2)
            hollow = rows["verdict"].isin(HOLLOW).to_numpy()
            ax.plot(x[~hollow], rows.loc[~hollow, "bias"], color=look.color, ls=look.line, lw=0.9)
            ax.vlines(x, rows["low"], rows["high"], color=np.where(hollow, FAINT, look.color), lw=0.9, alpha=0.8)
            spans.append((ax, x, rows[["bias", "low"]].min(axis=1), rows[["bias", "high"]].max(axis=1), look))
            for some, fill, edge in ((~hollow, look.color, "white"), (hollow, "white", look.color)):
                ax.plot(x[some], rows.loc[some, "bias"], look.marker, color=fill, mec=edge, mew=0.7, ms=4.5, ls="none")
            shown = "All essays" if group == "all" else group
            ax.plot([], [], color=look.color, marker=look.marker, ls=look.line, lw=0.9, ms=4.5, label=shown)
        ax.set_title("" if name == "all" else heading(name))
        ax.xaxis.set_major_locator(FixedLocator(np.unique(cells["score"])))
        ax.yaxis.set_major_locator(ticks(7))
        ax.legend(loc="best", fontsize=6, ncols=2 if len(groups) > 4 else 1)
    lowest(axes, len(names))
    if np.isfinite(solid).any():
        ends = np.nanmin(solid), np.nanmax(solid)
        room = 0.12 * max(ends[1] - ends[0], 0.2)
        axes[0, 0].set_ylim(min(ends[0], 0) - room, max(ends[1], 0) + room)
    bottom, top = axes[0, 0].get_ylim()
    tip = 0.015 * (top - bottom)
    for ax, x, least, most, look in spans:
        for end, beyond, arrow in ((bottom + tip, least < bottom, "v"), (top - tip, most > top, "^")):
            ax.plot(x[beyond], np.full(beyond.sum(), end), arrow, ms=3, color=look.color, ls="none")
    figure.supxlabel("Human score", fontsize=7.5)
    figure.supylabel("Machine − human, in points", fontsize=7.5)
    figure.suptitle("Error of the machine at equal human score", x=0.01, ha="left")
    overall = frame[frame["score"].isna() & (frame["attribute"] != "all")]
    each = [
        f"{_named(row)} {estimate(row['gap'], row['gap_low'], row['gap_high'], '+.2f')}" for row in overall.to_dict("records")
    ]
    alt = "Mean error against human score, a line for each group"
    return figure, alt_text(f"{alt}. Gap to the other groups at equal score, in points", each) if each else f"{alt}."


def _named(row: dict) -> str:
    """A group in an alternative text; "all essays" for the whole sample."""
    return "all essays" if row["attribute"] == "all" else f"{row['attribute']} {row['group']}"


def heading(attribute: str) -> str:
    """An attribute as readers know it; crossed ones part by part."""
    return " × ".join(HEADINGS.get(name, name[:1].upper() + name[1:].replace("_", " ")) for name in attribute.split(" x "))


def _reach(frame: pd.DataFrame, value: str, limit: float) -> tuple[float, float]:
    """Ends of the axis: all values, the band, and all but the widest intervals (those of tiny groups)."""
    known = frame.dropna(subset=[value, f"{value}_low", f"{value}_high"])
    ends = [-1.3 * limit, 1.3 * limit]
    if len(known):
        widths = known[f"{value}_high"] - known[f"{value}_low"]
        usual = known[widths <= 2.5 * widths.median()]
        ends[0] = min(ends[0], known[value].min(), usual[f"{value}_low"].min())
        ends[1] = max(ends[1], known[value].max(), usual[f"{value}_high"].max())
    room = 0.06 * (ends[1] - ends[0])
    return ends[0] - room, ends[1] + room


def _group_places(frame: pd.DataFrame, *, heading: float) -> tuple[dict[tuple[str, str], float], float]:
    """Height of each (attribute, group), with `heading` rows of room before each attribute but "all"; and that of the end."""
    places, at = {}, 0.0
    for attribute in dict.fromkeys(frame["attribute"]):
        at += 0 if attribute == "all" else heading
        for group in dict.fromkeys(frame.loc[frame["attribute"] == attribute, "group"]):
            places[attribute, group] = at
            at += 1
    return places, at


def _group_axis(ax: Axes, frame: pd.DataFrame, places: dict[tuple[str, str], float], bottom: float) -> None:
    """Group names, headings in bold, and where the frame has numbers of essays, n."""
    counts = frame.groupby(["attribute", "group"])["n"].agg(["min", "max"]) if "n" in frame else None
    names = []
    for attribute, group in places:
        name = "All essays" if attribute == "all" else str(group)
        if counts is not None:
            few, many = counts.loc[(attribute, group)]
            name += f"  (n = {few:,})" if few == many else f"  (n = {few:,}–{many:,})"
        names.append(name)
    ax.set_yticks(list(places.values()), names)
    for attribute in dict.fromkeys(attribute for attribute, _ in places if attribute != "all"):
        first = min(at for (name, _), at in places.items() if name == attribute)
        title = heading(attribute)
        place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "ha": "right", "va": "bottom"}
        ax.annotate(title, (0, first - 0.5), (-3.5, 1), annotation_clip=False, fontsize=7, weight="bold", **place)
    ax.set_ylim(bottom - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
