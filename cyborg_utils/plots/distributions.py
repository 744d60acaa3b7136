"""Figures of distributions: scores, lengths, confusion tables, confidence, training curves.

Every function takes a tidy frame and returns the figure and its alt text, with this frame's numbers. `artefacts.save_figure`
writes both. Figures have print size (one or two columns), one style sheet and fixed looks (`style`). Frames of one row and
missing groups are allowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from statsmodels.stats.proportion import proportion_confint

from cyborg_utils.core.scale import Scale
from cyborg_utils.plots.style import DOUBLE, FAINT, INK, LOOKS, SINGLE, SPARE, label, looks, parts, styled, ticks
from cyborg_utils.stats.metrics import qwk_from_confusion

BINS = 8  # of confidence


@styled
def score_distributions(
    frame: pd.DataFrame, *, scale: Scale, score: str = "score", title: str = "Score distributions"
) -> tuple[Figure, str]:
    """One panel a source, stacked; `frame` has one row an essay and source: source, `score` (on the scale).

    The first source is the reference: its outline is drawn over all others, and their mean shift is measured from it.
    """
    names = list(dict.fromkeys(frame["source"]))
    colors = {name: looks([name])[name].color for name in names}  # panels of one kind look alike: each has its own title
    first, first_mean, described = None, np.nan, []
    figure, axes = plt.subplots(len(names), 1, figsize=(SINGLE, 0.6 + 0.78 * len(names)), sharex=True, sharey=True, squeeze=False)
    edges = np.append(scale.scores - scale.step / 2, scale.high + scale.step / 2)
    for ax, name in zip(axes[:, 0], names, strict=True):
        given = frame.loc[frame["source"] == name, score].dropna().to_numpy(dtype=float)
        shares, mean = np.bincount(scale.level(given), minlength=scale.size) / max(1, len(given)), np.nan
        ax.bar(scale.scores, shares, 0.78 * scale.step, color=colors[name], edgecolor="white", lw=0)
        note = "no essays"
        if len(given):
            mean = given.mean()
            note = f"n = {len(given):,}   mean {mean:.2f}"
            ax.axvline(mean, color="white", lw=2)
            ax.axvline(mean, color=INK, lw=1)
        if first is None:
            first, first_mean = shares, mean
        else:
            ax.stairs(first, edges, color=INK, lw=0.8, ls=(0, (2, 1)))
            note += f" ({mean - first_mean:+.2f})".replace("-", "−") if np.isfinite(mean - first_mean) else ""
        panel = "Human scores" if name == "human" else label(name)
        each = ", ".join(f"{score:g} {share:.0%}" for score, share in zip(scale.scores, shares, strict=True))
        described.append(f"{panel}: {' '.join(note.split())}" + f"; {each}" * bool(len(given)))
        ax.set_title(panel)
        ax.set_title(note, loc="right", fontsize=6.5, weight="normal")
        ax.grid(axis="x", visible=False)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.yaxis.set_major_locator(ticks(4))
    axes[-1, 0].set_xticks(scale.scores, [f"{value:g}" for value in scale.scores])
    axes[-1, 0].set_xlabel("Score (line: mean; dashed: the first distribution)" if len(names) > 1 else "Score (line: mean)")
    figure.supylabel("Share of essays", fontsize=7.5)
    figure.suptitle(title, x=0.01, ha="left")
    return figure, f"Bars of the share of essays at each score, one panel for each source. {'. '.join(described)}."


@styled
def confusion_matrix(
    tables: Mapping[str, np.ndarray], *, scale: Scale, title: str = "Where machine and human agree"
) -> tuple[Figure, str]:
    """Confusion tables side by side; `tables` maps a rater to counts (K, K), row = human level (`metrics.confusion`).

    Shade, and percentage where it fits: share of the row, so that each human score is judged by itself. Number: essays. The
    diagonal is outlined. The axis gives the essays of each row where all raters scored the same essays.
    """
    across = min(len(tables), 3)
    down = -(-len(tables) // across)
    width = SINGLE if across == 1 else DOUBLE
    side = (width - 1.25) / across - 0.1  # of a panel, in inches: the axis and the colour bar need the rest
    figure, axes = plt.subplots(down, across, figsize=(width, (side + 0.6) * down + 0.2), squeeze=False, sharey=True)
    for ax in axes.flat[len(tables) :]:
        ax.remove()
    totals = {tuple(np.asarray(counts).sum(axis=1).tolist()) for counts in tables.values()}
    scores = [f"{value:g}" for value in scale.scores]
    rows = [f"{score}  ({n:,})" for score, n in zip(scores, totals.pop(), strict=True)] if len(totals) == 1 else scores
    room = side / scale.size  # of a cell, in inches
    for ax, (name, counts) in zip(axes.flat, tables.items(), strict=False):
        counts = np.asarray(counts)
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        notes = [f"{share:.0%}\n{n:,}" if room > 0.3 else f"{n:,}" for share, n in zip(shares.flat, counts.flat, strict=True)]
        notes = np.where(counts > 0, np.reshape(notes, counts.shape), "")
        words = {"fontsize": 6.3 if room > 0.24 else 5.2, "linespacing": 1.25}
        sns.heatmap(shares, ax=ax, annot=notes, fmt="", annot_kws=words, cmap="Blues", vmin=0, vmax=1, square=True, cbar=False)
        for i in range(scale.size):
            ax.add_patch(plt.Rectangle((i, i), 1, 1, fill=False, ec=INK, lw=0.7, clip_on=False, zorder=3))
        ax.set_xticks(np.arange(scale.size) + 0.5, scores, rotation=0)
        ax.set_yticks(np.arange(scale.size) + 0.5, rows, rotation=0)
        ax.set(title=label(name), xlabel="Machine score")
        ax.grid(False)
        ax.spines[:].set(visible=True, color="#CCCCCC")
        ax.tick_params(length=0)
    for ax in axes[:, 0]:
        ax.set_ylabel("Human score" + ("  (essays)" if rows is not scores else ""))
    used, shade = list(axes.flat[: len(tables)]), axes.flat[0].collections[0]
    bar = figure.colorbar(shade, ax=used, shrink=0.7, fraction=0.03, pad=0.015, format=PercentFormatter(1, decimals=0))
    bar.set_label("Share of the row")
    bar.outline.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left")
    agreement = [
        f"{label(name)}: {np.trace(counts) / max(1, counts.sum()):.0%} exactly right, QWK {qwk_from_confusion(counts):.3f}"
        for name, counts in ((name, np.asarray(counts)) for name, counts in tables.items())
    ]
    essays = " or ".join(f"{n:,}" for n in sorted({int(np.sum(counts)) for counts in tables.values()}))
    return figure, f"Grids of human score by machine score of {essays} essays. {'; '.join(agreement)}."


@styled
def learning_curve(frame: pd.DataFrame, *, loss: str, qwk: str, run: str) -> tuple[Figure, str]:
    """Training loss and QWK on the development split by epoch; the best epoch is ringed. `run`: a column, one line a value."""
    several = frame[run].nunique() > 1
    sets, styles = parts(frame, run if several else None, alone="teacher")
    figure, axes = plt.subplots(1, 2, figsize=(DOUBLE if several else 5.2, 2.3))
    described = []
    for ax, column, name in ((axes[0], loss, "Training loss"), (axes[1], qwk, "QWK, development split")):
        for key, part in sets.items():
            part, look, text = part.sort_values("epoch").dropna(subset=[column]), styles[key], label(key)
            if column == qwk and len(part):
                best = part.loc[part[qwk].idxmax()]
                ax.plot(best["epoch"], best[qwk], "o", ms=9, mfc="none", mec=INK, mew=0.8)
                text = f"{text}: best {best[qwk]:.3f} (epoch {best['epoch']:g})".removeprefix(": ")
                described.append(text)
            line = {"color": look.color, "marker": look.marker, "ls": look.line if several else "-"}
            ax.plot(part["epoch"], part[column], label=text, **line)
        ax.set(title=name, xlabel="Epoch")
        ax.margins(y=0.12)
        ax.yaxis.set_major_locator(ticks(6))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=1 if len(sets) == 1 else 2)
    figure.suptitle("Training, epoch by epoch", x=0.01, ha="left")
    shown = "Training loss and QWK with human scores on the development split, by epoch"
    return figure, f"{shown}. QWK: {'; '.join(described) or 'not known'}."


@styled
def reliability(frame: pd.DataFrame, *, title: str = "Confidence against accuracy") -> tuple[Figure, str]:
    """Does the Teacher know when it is right? One row an essay: confidence (probability of its answer), correct.

    Essays fall into `BINS` equally full bins by confidence. Point: mean confidence and share correct; bar: 95 % Wilson interval.
    On the diagonal the confidence is as it should be; below it the rater is overconfident. The upper panel counts essays.
    """
    figure, (top, ax) = plt.subplots(2, 1, figsize=(SINGLE, 3.5), sharex=True, height_ratios=(1, 3.6))
    ax.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=(0, (3, 2)), label="exactly as sure as right")
    look, sure = LOOKS["teacher"], frame["confidence"]
    binned = frame.groupby(pd.qcut(sure, min(BINS, sure.nunique()), duplicates="drop"), observed=True)
    x, y, n = binned["confidence"].mean(), binned["correct"].mean(), binned.size()
    low, high = proportion_confint(y * n, n, method="wilson")
    spread = np.clip([y - low, high - y], 0, None)
    ax.errorbar(x, y, spread, marker=look.marker, color=look.color, lw=1, ls=look.line, label="essays of one bin")
    top.hist(sure, np.linspace(0, 1, 26), color=look.color, alpha=0.85)
    top.set(ylabel="Essays", title=title)
    top.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    ax.set(xlabel="Confidence (probability of the given score)", ylabel="Exactly right", xlim=(0, 1), ylim=(0, 1))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(loc="upper left")
    means = f"mean confidence {sure.mean():.0%}, exactly right {frame['correct'].mean():.0%}"
    return figure, f"Share of exactly right scores by confidence; {means}."


@styled
def length_distribution(frame: pd.DataFrame, *, tokens: str, source: str, title: str, unit: str) -> tuple[Figure, str]:
    """Cumulative share of essays by length (column `tokens`, in `unit`), a curve for each value of the column `source`."""
    sets, styles = parts(frame, source, alone="full")
    figure, ax = plt.subplots(figsize=(SINGLE, 2.5))
    for key, part in sets.items():
        ax.ecdf(part[tokens], color=styles[key].color, ls=styles[key].line, label=label(key))
    ax.set(xlabel=f"Length in {unit}", ylabel="Share up to this length", title=title)
    ax.set_xlim(left=0)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center")
    medians = ", ".join(f"{key} {part[tokens].median():.0f} {unit}" for key, part in sets.items())
    return figure, f"Cumulative share of essays by length, one line for each kind. Medians: {medians}."


@styled
def unlike_map(frame: pd.DataFrame, *, shortest: float, longest: float, unknown: float) -> tuple[Figure, str]:
    """Every essay by its number of words and its share of unknown words: kind, words, unknown; the first kind in black.

    The box holds what gets no flag: from `shortest` to `longest` words, at most the share `unknown` of them unknown.
    """
    figure, ax = plt.subplots(figsize=(DOUBLE, 3.0))
    kinds = list(dict.fromkeys(frame["kind"]))
    box = {"fill": False, "ec": INK, "lw": 1.0, "ls": "--", "zorder": 3}
    ax.add_patch(plt.Rectangle((shortest, -0.02), longest - shortest, unknown + 0.02, **box))
    palette = itertools.cycle([look for name, look in LOOKS.items() if name not in ("human", "ridge")] + [*SPARE])
    for kind, look in zip(kinds[1:], palette, strict=False):
        part = frame[frame["kind"] == kind]
        ax.plot(part["words"], part["unknown"], look.marker, ms=3.2, mew=0, alpha=0.6, color=look.color, label=kind)
    ground = frame[frame["kind"] == kinds[0]]
    ax.plot(ground["words"], ground["unknown"], ".", ms=2.2, mew=0, color=INK, label=kinds[0], zorder=3)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(title="Essays unlike those that the Student learned from", ylim=(-0.03, 1.03))
    ax.set(xlabel="Words", ylabel="Words that no training essay has")
    figure.legend(loc="outside right center", markerscale=1.6)
    typical = frame.groupby("kind", sort=False)[["words", "unknown"]].median()
    medians = "; ".join(f"{row.Index} {row.words:.0f} words, {row.unknown:.0%} unknown" for row in typical.itertuples())
    return figure, f"Median of each kind: {medians}. The box: what gets no flag."
