"""Notebook 06 in words: whether groups of writers are treated alike, from its tables as they are saved. Frames in, Markdown out.

Every number is computed. A sentence says what the data show, also where that is not what the paper found.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cyborg_utils.plots.style import label
from cyborg_utils.stats import fairness
from cyborg_utils.study import arms, bias

NOT_JUDGED = ("too few", "not a group")
SHIFT = 0.05  # SD: a smaller shift is not called taken over
EFFECT = {"worse": "**worse**", "better": "better", "not shown": "no change shown"}
CONFOUNDED = 0.3  # Cramer's V from which an attribute is called confounded with prompts (Cohen 1988: medium for two groups)


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of groups that are large enough for a verdict; without the row of all essays."""
    return table[~table["verdict"].isin(NOT_JUDGED) & (table["attribute"] != "all")]


def named_groups(table: pd.DataFrame) -> str:
    """`gender = Female (-0.21), ...`, a name a row."""
    return ", ".join(f"{row.attribute} = {row.group} ({row.smd:+.2f})" for row in table.itertuples())


def scope(raters: pd.DataFrame, groups: Sequence[str], *, fraction: float, student: str) -> str:
    """What the tables speak of: test essays, human scores that were paid for, Student, writer groups."""
    named, paid = ", ".join(name.removeprefix("groups.") for name in groups), arms.pick(raters, fraction=fraction)["n_human"]
    none = "**This study names no writer groups**: only the row of all essays appears below."
    return (
        f"{raters['essay_id'].nunique():,} test essays; **{paid.iloc[0]:,}** human scores (U, {fraction:.0%} of the training "
        f"essays, and the development split); Student **{label(student)}**. "
    ) + (f"Writer groups: {named}." if groups else none)


def high_scores(table_suppression: pd.DataFrame, *, fraction: float, n_human: int) -> str:
    """Whether the Teacher is stricter than people, and how often each arm gives the two highest scores.

    `n_human` counts the human scores of U and of the development split.
    """
    at = table_suppression.set_index(["fraction", "arm", "essays"])
    pool = at.loc[(fraction, "teacher", "pool")]
    strict, lenient = pool["shift_high"] < 0, pool["shift_low"] > 0
    verdict = "stricter than" if strict else "more lenient than" if lenient else "not shown to differ in mean from"
    lines = [
        f"With {n_human:,} human scores the Teacher is **{verdict}** people: "
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


def by_chance(groups: int, *, confidence: float) -> str:
    """How many of so many groups are wrongly called biased at most: each with half of what its interval leaves out."""
    return f"{(1 - confidence) / 2 * groups:.1f}"


def model_or_method(table: pd.DataFrame, *, confidence: float) -> str:
    """The claim about the method and the verdict on each trained model, side by side, a line an arm (`bias.model_or_method`)."""
    if not table["judged"].any():
        return "No group is large enough (or none is named), so nothing is judged here."
    lines, apart = [], []
    for _, part in table.groupby(["fraction", "labels", "student", "head"], sort=False):
        method, models = part.iloc[0], part.iloc[1:]
        of_method = bias.ONE_SEED if method["biased_groups"] == bias.ONE_SEED else _counts(method)
        alone = "; ".join(f"{row['speaks_of']}: {_biased(row)}" for _, row in models.iterrows())
        lines.append(f"- **{label(method['labels'])}**: the method: {of_method}. As trained: {alone}.")
        if of_method != bias.ONE_SEED and method["biased"] == 0 and (models["biased"] > 0).any():
            apart.append(label(method["labels"]))
    models, groups = table[table["speaks_of"] != bias.METHOD], int(table["judged"].max())
    in_all = by_chance(int(models["judged"].sum()), confidence=confidence)
    lines.append(
        f"\nBy chance alone, were the true |SMD| of all {groups} groups just the limit, "
        f"{by_chance(groups, confidence=confidence)} of them would be called biased in each row, and {in_all} in the "
        f"{len(models)} trained models together; here it is {models['biased'].sum()}."
    )
    if apart:
        lines.append(
            f"\n**Both are right** for {'; '.join(apart)}: the method is not shown to be biased against or for any group, yet a "
            "model trained by it is. Who uses a model must audit that model."
        )
    return "\n".join(lines)


def in_short(table: pd.DataFrame, *, labels: str = "cyborg") -> str:
    """The verdict on the method, and how many trained models treat some group differently (`bias.model_or_method`)."""
    part = arms.pick(table, labels=labels)
    if part.empty or not part["judged"].any():
        return "No group is large enough (or none is named), so nothing is judged here."
    method, models = part.iloc[0], part.iloc[1:]
    told = "from one seed nothing can be said" if method["biased_groups"] == bias.ONE_SEED else _counts(method)
    apart = (models["biased"] > 0).sum()
    return f"{label(labels)}, the method: {told}. Of {len(models)} trained models {apart} treat some group differently."


def _biased(row: pd.Series) -> str:
    return f"{row['biased'] or 'none'} biased" + (f" ({row['biased_groups']})" if row["biased"] else "")


def _counts(row: pd.Series) -> str:
    return f"of {row['judged']} groups {_biased(row)}, {row['not_biased']} not, {row['undecided']} undecided"


def crossed(table_crossed: pd.DataFrame, *, min_group: int, confidence: float) -> str:
    """The verdicts on crossed groups, and what they speak of."""
    large = table_crossed[table_crossed["verdict"].isin(fairness.SIGNS)]
    count, biased = large["verdict"].value_counts(), named_groups(large.query("verdict == 'biased'")).replace(", ", "; ")
    text = (
        f"Of {len(large)} crossed groups of {min_group} essays or more, {count.get('biased', 0)} are biased"
        f"{': ' + biased if biased else ''}; {count.get('not biased', 0)} are not, {count.get('undecided', 0)} cannot be told. "
        f"By chance alone {by_chance(len(large), confidence=confidence)} would be called biased, were every |SMD| just the limit."
    )
    return text + of_one_model(table_crossed)


def of_one_model(table: pd.DataFrame) -> str:
    """A warning where verdicts speak of one trained model; "" where they speak of the method."""
    alone = (table["verdict_method"] == bias.ONE_SEED).any()
    return f" These verdicts are on one trained model; a claim about the method {bias.ONE_SEED}." if alone else ""


def prompts(short: pd.DataFrame, table_confounding: pd.DataFrame) -> str:
    """What intervals over prompts change, and which attributes are confounded with prompts (`prompts.confounding`).

    `short` are rows of `table_smd`.
    """
    count, rows = int(short.loc[short["attribute"] == "all", "prompts"].max()), judged(short).dropna(subset=["smd_prompt_low"])
    if count < 2 or rows.empty:
        return "All essays answer one prompt, or no group can be judged: intervals over prompts cannot be had here."
    longer = (rows["smd_prompt_high"] - rows["smd_prompt_low"]) / (rows["smd_high"] - rows["smd_low"])
    anew = fairness.judged_anew(rows, "smd", "smd_prompt_low", "smd_prompt_high")["verdict"]
    others = rows.assign(anew=anew)[rows["verdict"] != anew].itertuples()
    changed = [f"{label(row.labels)}, {row.attribute} {row.group}: {row.verdict} → {row.anew}" for row in others]
    text = (
        f"The test essays answer {count} prompts. With prompts as the units of chance, the intervals of groups are "
        f"{longer.median():.2f} times as long (median), and {len(changed)} of {len(rows)} verdicts change"
        f"{': ' + '; '.join(changed) if changed else ''}."
    )
    near = table_confounding["cramers_v"] >= CONFOUNDED
    listed = [f"{row.attribute} {row.cramers_v:.2f}" for row in table_confounding.itertuples() if row.cramers_v == row.cramers_v]
    for name in table_confounding.loc[near, "attribute"]:
        text += f" **`{name}` is confounded with prompts**: its groups wrote on different ones, "
        text += "so a gap of a group may be one of its prompts."
    if listed:
        strength = "0: unrelated; 1: a prompt tells the group"
        text += f" Cramér's V of attribute and prompt ({strength}): {', '.join(listed)}."
        text += f" From {CONFOUNDED:g} on we say confounded." if near.any() else " None is confounded with prompts."
    return text


def matching(table_matching: pd.DataFrame, *, confidence: float) -> str:
    """What matching did to all essays and to the group that is worst afterwards, a line an arm (`bias.matching_table`)."""
    lines = []
    for _, part in table_matching.groupby(["fraction", "labels", "student", "head"], sort=False):
        whole, groups = part[part["attribute"] == "all"].iloc[0], part[part["attribute"] != "all"]
        line = f"- **{label(whole['labels'])}**: SMD of all essays {whole['smd_before']:+.2f} → {whole['smd']:+.2f}"
        if len(groups):
            count = groups["effect"].value_counts()
            better, worse, lucky = count.get("better", 0), count.get("worse", 0), (1 - confidence) * len(groups)
            line += f"; {worst_group(groups)}. Of {len(groups)} groups {better} better off beyond chance and {worse} worse "
            line += f"({lucky:.1f} either way by chance alone)"
        lines.append(f"{line}.")
    return "\n".join(lines)


def worst_group(groups: pd.DataFrame) -> str:
    """The group with the largest |SMD| after a correction, and what the correction did to it (`fairness.change_by_group`)."""
    row = groups.loc[groups["smd"].abs().idxmax()]
    before, after = abs(row["smd_before"]), abs(row["smd"])
    return (
        f"worst group afterwards {row['attribute']} {row['group']} (n = {row['n']}), |SMD| {before:.2f} → {after:.2f}, paired "
        f"change {row['change']:+.2f} [{row['change_low']:+.2f}, {row['change_high']:+.2f}]: {EFFECT[row['effect']]}"
    )


def taken_over(stages: pd.DataFrame) -> str:
    """SMD of all essays at each stage, and whether the Student takes over the Teacher's shift; `stages` are of one fraction."""
    overall = stages[stages["attribute"] == "all"].set_index("stage")["smd"]
    lines = [f"- {label(name)}: all essays {value:+.2f}" for name, value in overall.items()]
    if {"cyborg", "human"} <= set(overall.index):
        passed_on, given = overall["cyborg"] - overall["human"], overall["Teacher on the pool"]
        taken = passed_on * given > 0 and min(abs(passed_on), abs(given)) > SHIFT
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


def each_student(table_truth_seeds: pd.DataFrame) -> str:
    """In how many trained Students alone each group's interval leaves out 0 (`bias.truth_by_seed`); empty without any."""
    if table_truth_seeds.empty:
        return ""
    count, told = table_truth_seeds["seed"].nunique(), []
    for attribute, part in table_truth_seeds.groupby("attribute", sort=False):
        fewer, more = (part["gap_high"] < 0).groupby(part["group"]).sum(), (part["gap_low"] > 0).groupby(part["group"]).sum()
        found = [f"{group} too few points in {n}" for group, n in fewer.items() if n]
        found += [f"{group} too many in {n}" for group, n in more.items() if n]
        told.append(f"{attribute}: {', '.join(found) or 'none'}")
    return f"Each of {count} Students on Cyborg Data alone, intervals that leave out 0. {'; '.join(told)}."


def explained(table_osa: pd.DataFrame) -> str:
    """The attributes that explain part of the machine's error beyond chance, after correction."""
    clear = table_osa[table_osa["p_holm"] < 0.05].itertuples()
    lines = [f"- {label(row.labels)}, {row.attribute}: {row.measure}, {row.r2_adjusted:.1%} of the variance" for row in clear]
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
