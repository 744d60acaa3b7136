"""Notebook 06 in words: whether groups of writers are treated alike, from its tables as they are saved. Frames in, Markdown out.

Every number is computed. A sentence says what the data show, also where that is not what the paper found.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cyborg_utils.plots.style import label
from cyborg_utils.stats import fairness
from cyborg_utils.study import arms

NOT_JUDGED = ("too few", "not a group")
SHIFT = 0.05  # SD: a smaller shift is not called taken over


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of groups that are large enough for a verdict; without the row of all essays."""
    return table[~table["verdict"].isin(NOT_JUDGED) & (table["attribute"] != "all")]


def named_groups(table: pd.DataFrame) -> str:
    """`gender = Female (-0.21), ...`, a name a row."""
    return ", ".join(f"{row.attribute} = {row.group} ({row.smd:+.2f})" for row in table.itertuples())


def scope(raters: pd.DataFrame, groups: Sequence[str], *, fraction: float, student: str) -> str:
    """What the tables speak of: test essays, share of human scores, Student, writer groups."""
    named = ", ".join(name.removeprefix("groups.") for name in groups)
    none = "**This study names no writer groups**: only the row of all essays appears below."
    return f"{raters['essay_id'].nunique():,} test essays; **{fraction:.0%}** human scores; Student **{label(student)}**. " + (
        f"Writer groups: {named}." if groups else none
    )


def high_scores(table_suppression: pd.DataFrame, *, fraction: float) -> str:
    """Whether the Teacher is stricter than people, and how often each arm gives the two highest scores."""
    at = table_suppression.set_index(["fraction", "arm", "essays"])
    pool = at.loc[(fraction, "teacher", "pool")]
    strict, lenient = pool["shift_high"] < 0, pool["shift_low"] > 0
    verdict = "stricter than" if strict else "more lenient than" if lenient else "not shown to differ in mean from"
    lines = [
        f"With {fraction:.0%} human scores the Teacher is **{verdict}** people: "
        f"{pool['shift']:+.2f} points [{pool['shift_low']:+.2f}, {pool['shift_high']:+.2f}]. Its share of the two highest "
        "scores, and that of the Students:\n"
    ]
    for (_, arm, essays), row in at[at.index.isin([fraction, 1.0], level="fraction")].iterrows():
        verdict = "suppressed" if row["ratio_high"] < 1 else "inflated" if row["ratio_low"] > 1 else "not shown to differ"
        lines.append(
            f"- {label(arm)}, {'pool' if essays == 'pool' else 'test essays'}: {row['machine_top']:.1%} instead of "
            f"{row['human_top']:.1%}, ratio {row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]: {verdict}"
        )
    return "\n".join(lines)


def thresholds(table_thresholds: pd.DataFrame, *, people: float) -> str:
    """Which raters meet all of the field's thresholds, and how well two people agree where that is known."""
    passed = table_thresholds[table_thresholds["misses"] == "none"]
    listed = ", ".join(f"{label(row.labels)} ({row.head})" for row in passed.itertuples())
    lines = [f"All thresholds are met by: {listed}." if listed else "**No rater meets all thresholds here.**"]
    lines += [f"Two people agree with QWK {people:.3f} on these test essays."] if people == people else []
    return "\n\n".join(lines)


def verdicts(short: pd.DataFrame) -> str:
    """A line an arm: how many groups are biased, not biased, undecided; from rows of `table_smd`."""
    lines = []
    for arm, part in judged(short).groupby("labels", sort=False):
        by = {name: part[part["verdict"] == name] for name in fairness.SIGNS}
        names = named_groups(by["biased"])
        line = f"- **{label(arm)}**: {len(by['biased'])} of {len(part)} groups biased" + (f": {names}" if names else "")
        lines.append(f"{line}; {len(by['not biased'])} not biased, {len(by['undecided'])} undecided.")
    return "\n".join(lines) or "No group is large enough (or none is named), so nothing is judged here."


def crossed(table_crossed: pd.DataFrame, *, min_group: int) -> str:
    """The same for crossed groups, as one sentence."""
    large = table_crossed[table_crossed["verdict"].isin(fairness.SIGNS)]
    count, biased = large["verdict"].value_counts(), named_groups(large.query("verdict == 'biased'")).replace(", ", "; ")
    return (
        f"Of {len(large)} crossed groups of {min_group} essays or more, {count.get('biased', 0)} are biased"
        f"{': ' + biased if biased else ''}; {count.get('not biased', 0)} are not, {count.get('undecided', 0)} cannot be told."
    )


def matching(table_smd: pd.DataFrame, labels: Sequence[str], *, student: str, head: str) -> str:
    """SMD of all essays and the largest |SMD| of a judged group, before and after matching, a line a kind of labels."""
    lines = []
    for arm in labels:
        rows = arms.pick(table_smd, labels=arm, student=student, head=head)
        overall = rows[rows["attribute"] == "all"].set_index("scores")["smd"]
        worst = judged(rows).assign(size=lambda part: part["smd"].abs()).groupby("scores")["size"].max()
        steps = [
            f"{name} {overall[name]:+.2f}" + (f" (worst group {worst[name]:.2f})" if name in worst else "")
            for name in overall.index[::-1]
        ]
        lines.append(f"- {label(arm)}: " + " → ".join(steps))
    return "SMD of all essays, and the largest |SMD| of a judged group:\n\n" + "\n".join(lines)


def taken_over(stages: pd.DataFrame) -> str:
    """SMD of all essays at each stage, and whether the Student takes over the Teacher's shift; `stages` are of one fraction."""
    overall = stages[stages["attribute"] == "all"].set_index("stage")["smd"]
    lines = [f"- {label(name)}: all essays {value:+.2f}" for name, value in overall.items()]
    if {"cyborg", "human"} <= set(overall.index):
        passed_on, given = overall["cyborg"] - overall["human"], overall["Teacher on the pool"]
        taken = passed_on * given > 0 and abs(passed_on) > SHIFT
        lines.append(
            f"\nOn Cyborg Data the Student stands {passed_on:+.2f} from the one without synthetic scores; the synthetic scores "
            f"themselves stand at {given:+.2f}. "
            + ("**The Student takes over the Teacher's shift.**" if taken else "No shift to speak of is taken over.")
        )
    return "\n".join(lines)


def against_truth(table_truth: pd.DataFrame, *, confidence: float) -> str:
    """How many intervals of `bias.truth_table` leave out 0, beside how many would by chance."""
    clear = table_truth[table_truth["gap_low"] * table_truth["gap_high"] > 0]
    listed = "; ".join(f"{label(row.labels)}, {row.attribute} {row.group} {row.gap:+.2f}" for row in clear.itertuples())
    chance = f"Of {len(table_truth)} intervals about {(1 - confidence) * len(table_truth):.0f} leave out 0 by chance alone"
    return f"{chance}; here {len(clear)} do{f': {listed}' if listed else ''}."


def explained(table_osa: pd.DataFrame) -> str:
    """The attributes that explain part of the machine's error beyond chance, after correction."""
    lines = [
        f"- {label(row.labels)}, {row.attribute}: {row.measure}, {row.r2_adjusted:.1%} of the variance"
        for row in table_osa[table_osa["p_holm"] < 0.05].itertuples()
    ]
    some = "Beyond chance after correction:\n\n" + "\n".join(lines)
    return some if lines else "Nothing here is beyond chance after correction."


# ---------------------------------------------------------------- wide tables for display


def truth_wide(table_truth: pd.DataFrame) -> pd.DataFrame:
    """`bias.truth_table` with a column a kind of labels and its interval in the cell."""
    cells = [f"{row.gap:+.2f} [{row.gap_low:+.2f}, {row.gap_high:+.2f}]" for row in table_truth.itertuples()]
    wide = table_truth.assign(cell=cells).pivot(index=["attribute", "group", "n"], columns="labels", values="cell")
    return wide[list(dict.fromkeys(table_truth["labels"]))].rename(columns=label)


def explained_wide(table_osa: pd.DataFrame) -> pd.DataFrame:
    """`bias.osa_table` with a column an arm: percent of the error's variance, with a star where it is beyond chance."""
    cells = table_osa.assign(arm=table_osa["labels"].map(label))
    cells["cell"] = [f"{100 * row.r2_adjusted:.1f}{' *' * (row.p_holm < 0.05)}" for row in cells.itertuples()]
    return cells.pivot(index=["attribute", "measure"], columns="arm", values="cell")[list(dict.fromkeys(cells["arm"]))]
