"""Figures that compare arms or groups by an estimate and its interval. Frames as `significance` and `fairness` give them."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from cyborg_utils.plots.style import DOUBLE, FAINT, INK, LOOKS, SINGLE, counts_axis, label, looks, lowest, parts, styled, ticks

BAND = "#EEEEEE"
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
def qwk_by_fraction(
    frame: pd.DataFrame,
    *,
    seeds: pd.DataFrame | None = None,
    n: str = "n_human",
    value: str = "qwk",
    full: str = "full",
    title: str = "Agreement by number of human scores",
) -> tuple[Figure, str]:
    """QWK against the number of human scores; one row an arm and number: arm, n_human, qwk, low, high (fraction).

    The arm `full` (its n_human is of no account) is a band over the whole width. `seeds` has the single runs as small dots: arm,
    n_human, qwk.
    """
    figure, ax = plt.subplots(figsize=(5.2, 2.7))
    bound, rest = frame[frame["arm"] == full], frame[frame["arm"] != full]
    arms, places = list(dict.fromkeys(rest["arm"])), np.sort(rest[n].unique())
    styles = looks([*arms, full])
    wide = max(np.log(places[-1] / places[0]), 0.7) if len(places) else 1.0  # of the logarithmic axis
    for _, row in bound.iterrows():
        ax.axhspan(row["low"], row["high"], color=styles[full].color, alpha=0.12, lw=0)
        ax.axhline(row[value], color=styles[full].color, ls=styles[full].line, label=label(full))
    for at, arm in enumerate(arms):
        part, look = rest[rest["arm"] == arm].sort_values(n), styles[arm]
        aside = np.exp(0.02 * wide * (at - (len(arms) - 1) / 2))  # arms side by side
        spread = np.clip([part[value] - part["low"], part["high"] - part[value]], 0, None)
        line = {"color": look.color, "marker": look.marker, "ls": look.line, "lw": 1.1, "mec": "white", "mew": 0.4}
        ax.errorbar(part[n] * aside, part[value], spread, label=label(arm), **line)
        if seeds is not None:
            dots = seeds[seeds["arm"] == arm]
            ax.plot(dots[n] * aside * np.exp(0.008 * wide), dots[value], ".", ms=3, color=look.color)
    names = {row[n]: f"\n{row['fraction']:.0%}" for _, row in rest.iterrows()} if "fraction" in rest else {}
    counts_axis(ax, places, [f"{place:,.0f}{names.get(place, '')}" for place in places])
    if len(places):
        ax.set_xlim(places[0] / np.exp(0.14 * wide), places[-1] * np.exp(0.14 * wide))
    ax.yaxis.set_major_locator(ticks(8))
    ax.set(xlabel="Essays with a human score", ylabel="QWK with human scores", title=title)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center")
    each = [f"{label(row['arm'])}, {row[n]:,.0f} human scores, {row[value]:.3f}" for row in frame.to_dict("records")]
    return figure, _alt("QWK by number of human scores", each)


@styled
def arm_forest(
    frame: pd.DataFrame,
    *,
    seeds: pd.DataFrame | None = None,
    value: str = "qwk",
    panel: str | None = None,
    xlabel: str = "QWK with human scores (test essays)",
    title: str = "Agreement by arm",
) -> tuple[Figure, str]:
    """An estimate with its interval per arm: arm, `value`, low, high; `panel` names a column that is spread over panels.

    `seeds` has the single runs as small dots: arm, `value` (and the panel column). More than two panels go on in a next row.
    """
    sets, _ = parts(frame, panel, alone="full")
    arms = list(dict.fromkeys(frame["arm"]))
    across = max(1, min(2, len(sets)))
    down, styles = max(1, -(-len(sets) // across)), looks(arms)
    size = (1.35 * SINGLE if across == 1 else DOUBLE, 0.25 + (0.6 + 0.24 * len(arms)) * down)
    figure, axes = plt.subplots(down, across, figsize=size, sharey=True, sharex=True, squeeze=False)
    for ax, (key, part) in zip(axes.flat, sets.items(), strict=False):
        dots = seeds if seeds is None or panel is None else seeds[seeds[panel].astype(str) == key]
        for _, row in part.iterrows():
            at, look = arms.index(row["arm"]), styles[row["arm"]]
            ax.hlines(at, row["low"], row["high"], color=look.color, lw=1.6)
            if dots is not None:
                single = dots.loc[dots["arm"] == row["arm"], value]
                ax.plot(single, np.full(len(single), at + 0.26), ".", color=look.color, ms=3.5)
            ax.plot(row[value], at, look.marker, color=look.color, ms=5.5, mec="white", mew=0.5)
            known = np.isfinite([row["low"], row["high"]]).all()
            note = f"{row[value]:.3f}" + (f"  [{row['low']:.3f}, {row['high']:.3f}]" if known else "")
            _beside(ax, at, note.replace("-", "−"))
        ax.set_title(textwrap.fill(label(key), 34))  # a hub id and its head are longer than half a page
        ax.xaxis.set_major_locator(ticks(6))
        ax.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(arms)), [label(arm) for arm in arms])
    axes[0, 0].set_ylim(len(arms) - 0.4, -0.6)
    for ax in lowest(axes, len(sets)):
        ax.set_xlabel(xlabel)
    figure.suptitle(title, x=0.01, ha="left")
    prefix = frame[panel].astype(str).map(label) + ", " if panel else pd.Series("", index=frame.index)
    each = [
        f"{where}{label(row['arm'])} {_estimate(row[value], row['low'], row['high'], '.3f')}"
        for where, row in zip(prefix, frame.to_dict("records"), strict=True)
    ]
    return figure, _alt(f"{xlabel}, with intervals", each)


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
    each = [
        f"{label(row[item])}, {label(row['arm'])} {_estimate(row[value], row['low'], row['high'], '.3f')}"
        for row in frame.to_dict("records")
    ]
    return figure, _alt(f"{xlabel}, with intervals", each)


@styled
def difference_forest(
    frame: pd.DataFrame,
    *,
    xlabel: str = "Difference in QWK (same test essays)",
    title: str = "What differs, and what is equivalent",
) -> tuple[Figure, str]:
    """Differences with intervals, one row a comparison, as `comparisons.compare` gives them.

    Thin line: the interval; thick: the shorter one that decides equivalence; band: the margin of equivalence. Filled marker:
    p (Holm) below 0.05. Beside each row its difference, p and verdict.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE * 0.85, 0.85 + 0.27 * len(frame)))
    columns = (7, 53, 93)  # points right of the axes
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
            _beside(ax, at, note, points=points)
    for points, head in zip(columns, ("difference", "p (Holm)", f"within ±{margin:g}?"), strict=True):
        _beside(ax, -0.85, head, points=points, color=FAINT)
    names = [f"{label(system)} − {label(baseline)}" for system, baseline in zip(frame["system"], frame["baseline"], strict=True)]
    ax.set_yticks(range(len(frame)), names)
    ax.set(xlabel=xlabel, ylim=(len(frame) - 0.4, -0.6))
    ax.xaxis.set_major_locator(ticks(7))
    ax.grid(axis="y", visible=False)
    figure.suptitle(textwrap.fill(title, 80), x=0.01, ha="left")
    each = [
        f"{name.replace('−', 'minus')} {_estimate(row['difference'], row['low'], row['high'], '+.3f')}"
        for name, row in zip(names, frame.to_dict("records"), strict=True)
    ]
    return figure, _alt(f"{xlabel}, with intervals", each)


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
                _beside(ax, y, row.get("verdict", ""), weight="bold" if row.get("verdict") == "biased" else "normal")
    _group_axis(ax, frame, places, bottom)
    ax.set(xlabel=xlabel or AXIS.get(value, value), title=title, xlim=(left, right))
    if stage is not None:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(sets)))
    each = [
        f"{label(key)}, " * (stage is not None)
        + f"{row['attribute']} {row['group']} {_estimate(row[value], row[f'{value}_low'], row[f'{value}_high'], '+.2f')}"
        for key, part in sets.items()
        for row in part.to_dict("records")
    ]
    return figure, _alt(f"{xlabel or value.upper()}, with intervals", each)


@styled
def group_bars(
    frame: pd.DataFrame,
    *,
    value: str = "n",
    low: str | None = None,
    high: str | None = None,
    number: str = ",.0f",
    xlabel: str = "Essays",
    title: str = "Who wrote the essays",
) -> tuple[Figure, str]:
    """A bar a group: attribute, group, `value`, and n for the axis where there is one; `low` and `high` name interval columns."""
    places, bottom = _group_places(frame)
    figure, ax = plt.subplots(figsize=(SINGLE * 1.35, 0.8 + 0.17 * bottom))
    look = LOOKS["full"]
    for row in frame.to_dict("records"):
        y, end = places[row["attribute"], row["group"]], row[value]
        ax.barh(y, end, 0.68, color=look.color if row["group"] != "not recorded" else FAINT)
        if low and high:
            ax.hlines(y, row[low], row[high], color=INK, lw=1)
            end = np.nanmax([end, row[high]])
        if np.isfinite(row[value]):
            ax.annotate(format(row[value], number), (end, y), (3, 0), textcoords="offset points", va="center", fontsize=6.5)
    _group_axis(ax, frame, places, bottom, sizes=value != "n")
    ax.set(xlabel=xlabel, title=title)
    ax.margins(x=0.1)
    each = [f"{row['attribute']} {row['group']} {_known(row[value], number)}" for row in frame.to_dict("records")]
    return figure, _alt(f"{xlabel} by group", each)


@styled
def conditional_bias_curves(
    frame: pd.DataFrame, *, value: str = "bias", title: str = "Error of the machine at equal human score"
) -> tuple[Figure, str]:
    """Mean error against human score, a line a group and a panel an attribute, as `fairness.conditional_bias` gives it.

    Dashed: all essays together; hollow and not joined: too few essays to judge. What leaves the picture ends in an arrow. `value`
    may be "gap" (the group against the others at the same score), with a band of +-limit. Essays without a group are left out.
    The groups of one panel stand side by side at a score.
    """
    low, high = ("low", "high") if value == "bias" else ("gap_low", "gap_high")
    cells = frame[frame["score"].notna() & (frame["group"] != "not recorded")]
    everyone = cells[cells["attribute"] == "all"].sort_values("score")
    names = [name for name in dict.fromkeys(cells["attribute"]) if name != "all"] or ["all"]
    across = min(2, len(names))
    down, width = -(-len(names) // across), SINGLE * 1.35 if len(names) == 1 else DOUBLE
    figure, axes = plt.subplots(
        down, across, figsize=(width, 0.4 + 2.6 * down), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    step = np.diff(np.unique(cells["score"])).min(initial=1.0)
    solid, spans = cells.loc[~cells["verdict"].isin(HOLLOW), [value, low, high]].to_numpy(dtype=float), []
    for ax, name in zip(axes.flat, names, strict=False):
        part = cells[cells["attribute"] == name]
        groups = list(dict.fromkeys(part["group"]))
        styles = looks(groups)
        ax.axhline(0, color=FAINT, lw=0.8)
        if value == "gap" and len(part):
            ax.axhspan(-part["limit"].max(), part["limit"].max(), color=BAND, lw=0, zorder=0)
        elif name != "all" and len(everyone):
            enough = everyone[~everyone["verdict"].isin(HOLLOW)]
            ax.plot(enough["score"], enough[value], color=INK, ls=(0, (2, 1)), lw=0.9, label="All essays")
        for at, group in enumerate(groups):
            rows, look = part[part["group"] == group].sort_values("score"), styles[group]
            x = rows["score"] + 0.09 * step * (at - (len(groups) - 1) / 2)
            hollow = rows["verdict"].isin(HOLLOW).to_numpy()
            ax.plot(x[~hollow], rows.loc[~hollow, value], color=look.color, ls=look.line, lw=0.9)
            ax.vlines(x, rows[low], rows[high], color=np.where(hollow, FAINT, look.color), lw=0.9, alpha=0.8)
            spans.append((ax, x, rows[[value, low]].min(axis=1), rows[[value, high]].max(axis=1), look))
            for some, fill, edge in ((~hollow, look.color, "white"), (hollow, "white", look.color)):
                ax.plot(x[some], rows.loc[some, value], look.marker, color=fill, mec=edge, mew=0.7, ms=4.5, ls="none")
            shown = "All essays" if group == "all" else group
            ax.plot([], [], color=look.color, marker=look.marker, ls=look.line, lw=0.9, ms=4.5, label=shown)
        ax.set_title("" if name == "all" else _heading(name))
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
    figure.supylabel("Machine − human, in points" if value == "bias" else "Group − others, in points", fontsize=7.5)
    figure.suptitle(title, x=0.01, ha="left")
    overall = frame[frame["score"].isna() & (frame["attribute"] != "all")]
    each = [
        f"{row['attribute']} {row['group']} {_estimate(row['gap'], row['gap_low'], row['gap_high'], '+.2f')}"
        for row in overall.to_dict("records")
    ]
    shown = "Mean error" if value == "bias" else "Gap to the other groups"
    alt = f"{shown} against human score, a line for each group"
    return figure, _alt(f"{alt}. Gap to the other groups at equal score, in points", each) if each else f"{alt}."


@styled
def variance_sources(
    frame: pd.DataFrame, *, xlabel: str = "SD of QWK", title: str = "Two sources of chance: test essays and training"
) -> tuple[Figure, str]:
    """What other test essays and what another training would change; one row an arm: arm, seeds, test_sd, seed_sd.

    As `comparisons.across_seeds` gives them (SDs of one run). Diamond: the standard error of the mean over the seeds, from both.
    Where there was one seed the training's part is not known, and that stands there.
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
        ax.annotate(
            "one seed: not known", (0, y + 0.18), (3, 0), textcoords="offset points", va="center", fontsize=6, color=FAINT
        )
    for y, seeds in zip(place, frame["seeds"], strict=True):
        _beside(ax, y, f"{seeds} seed{'' if seeds == 1 else 's'}")
    ax.set_yticks(place, [label(name) for name in frame["arm"]])
    ax.set(xlabel=xlabel, title=title, xlim=(0, reach), ylim=(len(frame) - 0.5, -0.5))
    ax.xaxis.set_major_locator(ticks(5))
    ax.grid(axis="y", visible=False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    each = [
        f"{label(row['arm'])}: test essays {_known(row['test_sd'], '.3f')}, seeds {_known(row['seed_sd'], '.3f')}"
        for row in frame.to_dict("records")
    ]
    return figure, _alt(f"{xlabel} from two sources", each)


def _alt(shown: str, each: list[str]) -> str:
    """Alternative text of a figure: what it shows, and its numbers."""
    return f"{shown}: {'; '.join(each)}."


def _known(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "not known"


def _estimate(value: float, low: float, high: float, form: str) -> str:
    """An estimate with its interval, in words where it is not known."""
    interval = f" [{low:{form}}, {high:{form}}]" if np.isfinite([low, high]).all() else ""
    return _known(value, form) + interval


def _heading(attribute: str) -> str:
    """An attribute as readers know it; crossed ones part by part."""
    return " × ".join(HEADINGS.get(name, name.replace("_", " ").capitalize()) for name in attribute.split(" x "))


def _beside(ax: Axes, y: float, text: str, *, points: float = 7, **options) -> None:
    """Text at height y, so many points to the right of the axes."""
    place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    ax.annotate(text, (1, y), (points, 0), annotation_clip=False, **place, **{"fontsize": 6.5, "color": INK, **options})


def _reach(frame: pd.DataFrame, value: str, limit: float) -> tuple[float, float]:
    """Ends of the axis: all values, the band, and all but the widest intervals (those of tiny groups)."""
    known = frame.dropna(subset=[value, f"{value}_low", f"{value}_high"])
    ends = [-1.3 * limit, 1.3 * limit]
    if len(known):
        widths = known[f"{value}_high"] - known[f"{value}_low"]
        usual = known[widths <= 2.5 * widths.median()]
        ends = [
            min(ends[0], known[value].min(), usual[f"{value}_low"].min()),
            max(ends[1], known[value].max(), usual[f"{value}_high"].max()),
        ]
    room = 0.06 * (ends[1] - ends[0])
    return ends[0] - room, ends[1] + room


def _p(p: float) -> str:
    return "" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _group_places(frame: pd.DataFrame, *, heading: float = 1.0) -> tuple[dict[tuple[str, str], float], float]:
    """Height of each (attribute, group), with `heading` rows of room before each attribute but "all"; and that of the end."""
    places, at = {}, 0.0
    for attribute in dict.fromkeys(frame["attribute"]):
        at += 0 if attribute == "all" else heading
        for group in dict.fromkeys(frame.loc[frame["attribute"] == attribute, "group"]):
            places[attribute, group] = at
            at += 1
    return places, at


def _group_axis(
    ax: Axes, frame: pd.DataFrame, places: dict[tuple[str, str], float], bottom: float, *, sizes: bool = True
) -> None:
    """Group names, headings in bold, and where there is one number of essays a group, n."""
    counts = frame.groupby(["attribute", "group"])["n"].agg(["min", "max"]) if sizes and "n" in frame else None
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
        title = _heading(attribute)
        place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "ha": "right", "va": "bottom"}
        ax.annotate(title, (0, first - 0.5), (-3.5, 1), annotation_clip=False, fontsize=7, weight="bold", **place)
    ax.set_ylim(bottom - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)


def _alt(shown: str, each: list[str]) -> str:
    """Alternative text of a figure: what it shows, and its numbers."""
    return f"{shown}: {'; '.join(each)}."


def _known(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "not known"


def _estimate(value: float, low: float, high: float, form: str) -> str:
    """An estimate with its interval, in words where it is not known."""
    interval = f" [{low:{form}}, {high:{form}}]" if np.isfinite([low, high]).all() else ""
    return _known(value, form) + interval
