"""Notebook 05 in words: whether synthetic scores help, from its tables as they are saved. Frames in, Markdown out.

Every number is computed. A sentence says what the data show, also where that is not what the paper found.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cyborg_utils.core.config import Study
from cyborg_utils.plots.style import label
from cyborg_utils.study import arms
from cyborg_utils.study.artefacts import p_value

ALPHA = 0.05  # of the corrected p-value


def interval(row: pd.Series, value: str = "difference", low: str = "low", high: str = "high") -> str:
    """`+0.108 [+0.069, +0.148]`, from a row with these columns."""
    return f"{row[value]:+.3f} [{row[low]:+.3f}, {row[high]:+.3f}]"


def counted_seeds(count: int) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} seed{'' if count == 1 else 's'}"


def scope(raters: pd.DataFrame, missing: Sequence[str], *, fraction: float, student: str, head: str) -> str:
    """What the tables speak of: test essays, shares and seeds, the Student that is shown, and the runs that are missing."""
    seeds = raters[raters["fraction"] < 1].groupby("fraction")["seed"].nunique()
    grid = ", ".join(f"{share:.0%} ({counted_seeds(count)})" for share, count in seeds.items())
    return (
        f"**{raters['essay_id'].nunique():,}** test essays; shares of human scores: {grid}. "
        f"Where one share is shown it is **{fraction:.0%}**; where one Student is shown it is **{label(student)}**, {head} head. "
        + (f"**Not run (yet): {', '.join(missing)}.**" if missing else "Every run of the study is there.")
    )


def agreement(table_qwk: pd.DataFrame, *, fraction: float, student: str, head: str) -> str:
    """QWK with interval of each arm of one Student, and of the Teacher, at one share of human scores and at all of them."""
    rows = arms.of_student(table_qwk, student, head, fraction=fraction)
    listed = "\n".join(f"- {label(row.arm)}: **{row.qwk:.3f} [{row.low:.3f}, {row.high:.3f}]**" for row in rows.itertuples())
    return f"QWK of {label(student)}, {head} head, {fraction:.0%} human scores:\n\n{listed}"


def unlike_teachers(study: Study) -> str:
    """A warning where Teachers were trained for different numbers of epochs; "" where all were trained alike."""
    epochs = {
        share: {study.section("finetune_teacher", run)["epochs"] for run in study.runs if run.fraction == share}
        for share in study.fractions
    }
    if len(set().union(*epochs.values())) <= 1:
        return ""
    shares = "; ".join(f"{share:.0%}: {', '.join(map(str, sorted(counts)))} epochs" for share, counts in epochs.items())
    return f"The Teachers were not trained alike ({shares}), so a step between two shares is not only that of more human scores."


def gain(table_comparisons: pd.DataFrame, *, student: str, head: str, margin: float) -> str:
    """Each Cyborg arm against `human` and against `full`, share by share, from `agreement.comparisons`."""
    lines = []
    for share, part in arms.pick(table_comparisons, student=student, head=head).groupby("fraction"):
        pairs = part.set_index(["system", "baseline"])
        gap = pairs["difference"].get(("full", "human"), float("nan"))
        lines.append(f"\n**{share:.0%} human scores**" + (f" (`full` is {gap:+.3f} from `human`)" if gap == gap else "") + "\n")
        for arm in pairs.index.levels[0]:
            if arm.startswith("cyborg") and (arm, "human") in pairs.index:
                bound = pairs.loc[(arm, "full")] if (arm, "full") in pairs.index else None
                lines.append(_gain_of_arm(arm, pairs.loc[(arm, "human")], bound, margin))
        if gap == gap and 0 < gap < 2 * margin:
            lines.append(f"- The margin is {margin / gap:.0%} of all there is to win here: read *comparable* with that in mind.")
    return "\n".join(lines)


def _gain_of_arm(arm: str, gained: pd.Series, bound: pd.Series | None, margin: float) -> str:
    other_seeds = gained["low"] * gained["high"] > 0  # the interval speaks of other seeds as well, p of these trained models only
    if gained["p_holm"] >= ALPHA:
        verdict = "not beyond chance"
    elif other_seeds:
        verdict = "**beyond chance**"
    else:
        verdict = f"beyond chance for these models, though {gained['seeds']} seeds say little of others"
    verdict += f" (p = {p_value(gained['p'])}, corrected {p_value(gained['p_holm'])}".replace("= <", "<")
    verdict += ", one seed)" if gained["seeds"] == 1 else ")"
    line = f"- **{arm}** agrees {'better' if gained['difference'] > 0 else 'worse'} with people than `human`: "
    line += f"{interval(gained)}, {verdict}"
    if bound is not None:
        words = {"equivalent": "comparable to", "not equivalent": "not comparable to"}
        line += f"; it is **{words.get(bound['equivalence'], 'not shown to be comparable to')}** all human scores"
        line += f" ({interval(bound, low='tost_low', high='tost_high')}, margin {margin:g})"
    return line + "."


def condition(table_comparisons: pd.DataFrame, *, student: str, head: str) -> str:
    """Whether the Teacher, in both readings, agrees better with people than the `human` Student: the method's condition."""
    mine = arms.pick(table_comparisons, student=student, head=head)
    rows = mine[(mine["baseline"] == "human") & mine["system"].isin(arms.TEACHER)]
    lines = []
    for row in rows.to_dict("records"):
        clear = row["p_holm"] < ALPHA and row["low"] * row["high"] > 0
        holds = f"**The condition {'holds' if row['difference'] > 0 else 'does not hold'}**" if clear else "**It is not decided**"
        lines.append(
            f"- {row['fraction']:.0%} human scores: {label(row['system'])} {row['qwk']:.3f}, `human` Student "
            f"{row['qwk_baseline']:.3f}, difference {interval(row)}, corrected p {p_value(row['p_holm'])}, "
            f"{counted_seeds(row['seeds'])}. {holds}."
        )
        learner = arms.pick(mine, fraction=row["fraction"], system="cyborg", baseline="human")
        if row["system"] == "teacher" and row["difference"] < 0 and (learner["difference"] > 0).any():
            lines.append(
                f"  Yet `cyborg`, which learns these very scores, stands {learner['difference'].item():+.3f} from `human`: QWK "
                "marks a Teacher down that gives few different levels, and a Student that is matched in mean and spread need "
                "not inherit that."
            )
    return "\n".join(lines) or "No run has both a Teacher and a `human` Student: nothing can be said."


def gap_closed(table_gap_closed: pd.DataFrame, *, student: str, head: str) -> str:
    """The share of the gap to all human scores that each Cyborg arm closes, from `agreement.gaps`; no share without a gap."""
    lines = []
    for row in arms.pick(table_gap_closed, student=student, head=head).itertuples():
        share = f"**{row.gap_closed:.0%}** of the gap [{row.low:.0%}, {row.high:.0%}]"
        none = f"no share to quote, the gap itself is not shown ({row.gap:+.3f} [{row.gap_low:+.3f}, {row.gap_high:+.3f}])"
        lines.append(f"- {row.fraction:.0%}, {row.labels}: {share if row.resolved else none}")
    return "\n".join(lines) or "This study has no arm `full`, so there is no gap to measure."


def seed_noise(several: pd.DataFrame) -> str:
    """In how many arms the seed makes more difference than the test essays, from the rows of `table_qwk` with several seeds."""
    if several.empty:
        return (
            "Every arm has one seed here, so the noise of training is **not measured**: read small differences with that in mind."
        )
    louder = (several["seed_sd"] > several["test_sd"]).sum()
    return f"In **{louder}** of these {len(several)} arms the seed makes more difference than the choice of test essays."


def unanswerable(table_power: pd.DataFrame, *, margin: float) -> str:
    """The questions, up to the size of the margin, that these test essays and seeds cannot be relied on to answer."""
    cannot = table_power[~table_power["answerable"] & (table_power["size"] <= margin)]
    lines = [
        f"- {'all' if row.essays == 'all' else f'{row.essays} essays'} ({row.n}), {row.pair}: {row.question} {row.size:g} "
        f"(chance {row.power:.0%})"
        for row in cannot.itertuples()
    ]
    return "**These essays and seeds cannot be relied on to:**\n\n" + "\n".join(lines) if lines else "All can be answered."


def matching(table_qwk: pd.DataFrame) -> str:
    """What matching mean and spread on the development essays does to QWK and to the overall SMD of the regression arms."""
    matched = table_qwk[table_qwk["head"] == "regression"]
    change = (matched["qwk"] - matched["qwk_raw"]).agg(["mean", "min", "max"])
    smd = matched[["smd_raw", "smd"]].abs().max()
    return (
        f"Over {len(matched)} regression arms, matching changes QWK by {change['mean']:+.3f} on average "
        f"({change['min']:+.3f} to {change['max']:+.3f}); the largest overall gap between machine and human means goes from "
        f"{smd['smd_raw']:.2f} to {smd['smd']:.2f} SD."
    )
