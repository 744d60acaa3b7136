"""Notebook 05 in words: whether synthetic scores help, from its tables as they are saved. Frames in, Markdown out.

Every number is computed. A sentence says what the data show, also where that is not what the paper found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cyborg_utils.core.config import Study
from cyborg_utils.core.scale import Scale
from cyborg_utils.plots.style import label
from cyborg_utils.stats.metrics import MIN_DOUBLE, qwk_of_people
from cyborg_utils.study import arms
from cyborg_utils.study.artefacts import p_value

ALPHA = 0.05  # of the corrected p-value
PRACTICE = 0.70  # QWK with people that practice asks for (Williamson, Xi & Breyer 2012)


def interval(row: Mapping[str, Any], value: str = "difference", low: str = "low", high: str = "high") -> str:
    """`+0.108 [+0.069, +0.148]`, from a row with these columns."""
    return f"{row[value]:+.3f} [{row[low]:+.3f}, {row[high]:+.3f}]"


def counted_seeds(count: int) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} seed{'' if count == 1 else 's'}"


def scope(raters: pd.DataFrame, missing: Sequence[str], *, fraction: float, student: str, head: str) -> str:
    """What the tables speak of: test essays, shares and seeds, the Student that is shown, and the runs that are missing."""
    seeds = raters[raters["fraction"] < 1].groupby(["fraction", "n_human", "n_dev"])["seed"].nunique()
    grid = "; ".join(f"{at[0]:.0%} of X, {arms.paid(*at[1:])}, {counted_seeds(count)}" for at, count in seeds.items())
    return (
        f"**{raters['essay_id'].nunique():,}** test essays. Human scores: {grid}. "
        f"Where one share is shown it is **{fraction:.0%}**; where one Student is shown it is **{label(student)}**, {head} head. "
        + (f"**Not run (yet): {', '.join(missing)}.**" if missing else "Every run of the study is there.")
    )


def agreement(table_qwk: pd.DataFrame, *, fraction: float, student: str, head: str) -> str:
    """QWK with interval of each arm of one Student, and of the Teacher, at one share of human scores and at all of them."""
    rows = arms.of_student(table_qwk, student, head, fraction=fraction)
    few = rows[rows["fraction"] == fraction].iloc[0]
    listed = "\n".join(f"- {label(row.arm)}: **{row.qwk:.3f} [{row.low:.3f}, {row.high:.3f}]**" for row in rows.itertuples())
    return f"QWK of {label(student)}, {head} head, {arms.paid(few['n_human'], few['n_dev'])}:\n\n{listed}"


def equal_price(table_qwk: pd.DataFrame, *, student: str, head: str) -> pd.DataFrame:
    """Each `cyborg` arm beside a Student on human scores alone whose training set is as large as what `cyborg` was paid for.

    That is `human+dev` of the same share, or `human` of a larger share with nearly (within a tenth) as many essays in U. Columns:
    those of the table for the Student, learnt (its human scores), then fraction, n_human, n_dev, qwk of the arm with `cyborg_`.
    """
    mine = arms.pick(table_qwk, student=student, head=head)
    learnt = mine["n_human"].where(mine["labels"] == "human+dev", mine["n_human"] - mine["n_dev"])
    alone = mine.assign(learnt=learnt)[mine["labels"].isin(["human", "human+dev"])]
    cyborg = arms.pick(mine, labels="cyborg")[["fraction", "n_human", "n_dev", "qwk"]].add_prefix("cyborg_")
    pairs = alone.merge(cyborg, how="cross")
    return pairs[(pairs["learnt"] / pairs["cyborg_n_human"] - 1).abs() <= 0.1]


def same_price(table_qwk: pd.DataFrame, *, student: str, head: str) -> str:
    """`equal_price` in words."""
    lines = [
        f"- {arms.paid(row.cyborg_n_human, row.cyborg_n_dev)}: `cyborg` {row.cyborg_qwk:.3f}; a Student on {row.learnt:,} human "
        f"scores (`{row.labels}` at {row.fraction:.0%}) {row.qwk:.3f} [{row.low:.3f}, {row.high:.3f}], so Cyborg Data brings "
        f"**{row.cyborg_qwk - row.qwk:+.3f}** over what the same number of human scores buys."
        for row in equal_price(table_qwk, student=student, head=head).itertuples()
    ]
    none = "No Student here learned from as many human scores as Cyborg Data cost (`human+dev` was not run)."
    return "\n".join(lines) or none


def unlike_teachers(study: Study) -> str:
    """A warning where Teachers were trained for different numbers of epochs; "" where all were trained alike."""
    epochs: dict[float, set[int]] = {share: set() for share in study.fractions}
    for run in study.runs:
        epochs[run.fraction].add(study.section("finetune_teacher", run)["epochs"])
    if len(set().union(*epochs.values())) <= 1:
        return ""
    shares = "; ".join(f"{share:.0%}: {', '.join(map(str, sorted(counts)))} epochs" for share, counts in epochs.items())
    return f"The Teachers were not trained alike ({shares}), so a step between two shares is not only that of more human scores."


def gain(table_comparisons: pd.DataFrame, *, student: str, head: str, margin: float) -> str:
    """Each Cyborg arm against `human` and against `full`, share by share, from `agreement.comparisons`."""
    lines = []
    mine = arms.pick(table_comparisons, student=student, head=head)
    for (share, *cost), part in mine.groupby(["fraction", "n_human", "n_dev"]):
        pairs = part.set_index(["system", "baseline"])
        gap = pairs["difference"].get(("full", "human"), float("nan"))
        known = f" (`full` is {gap:+.3f} from `human`)" if gap == gap else ""
        lines.append(f"\n**{share:.0%} of X, {arms.paid(*cost)}**{known}\n")
        for arm in pairs.index.levels[0]:
            if arm.startswith("cyborg") and (arm, "human") in pairs.index:
                bound = pairs.loc[(arm, "full")] if (arm, "full") in pairs.index else None
                lines.append(_gain_of_arm(arm, pairs.loc[(arm, "human")], bound, margin))
                if (arm, "human+dev") in pairs.index:
                    fair = pairs.loc[(arm, "human+dev")]
                    lines.append(f"  Against `human+dev`, which learned from all of these human scores: {_verdict(fair)}.")
        if gap == gap and 0 < gap < 2 * margin:
            lines.append(f"- The margin is {margin / gap:.0%} of all there is to win here: read *comparable* with that in mind.")
    return "\n".join(lines)


def other_students(table_comparisons: pd.DataFrame, *, student: str, head: str) -> str:
    """What `cyborg` brings the Students that are not this one, share by share; "" where there is no other."""
    rows = arms.pick(table_comparisons, system="cyborg")
    rows = rows[((rows["student"] != student) | (rows["head"] != head)) & rows["baseline"].isin(["human", "human+dev"])]
    lines = []
    for (share, name, kind), part in rows.groupby(["fraction", "student", "head"], sort=False):
        told = "; ".join(f"over `{row['baseline']}` {row['qwk_baseline']:.3f} {_verdict(row)}" for _, row in part.iterrows())
        lines.append(f"- {share:.0%} of X, {label(name)}, {kind} head: `cyborg` {part['qwk'].iloc[0]:.3f}, {told}.")
    return "\n".join(lines)


def each_seed(table_seeds: pd.DataFrame, *, student: str, head: str) -> str:
    """In how many seeds alone the Cyborg Student is better, from `agreement.seed_by_seed`; empty for a single seed."""
    lines, rows = [], arms.pick(table_seeds, student=student, head=head)
    for (share, baseline), part in rows.groupby(["fraction", "baseline"]):
        least, clear = part.loc[part["difference"].idxmin()], (part["p_holm"] < ALPHA) & (part["difference"] > 0)
        if len(part) > 1:
            lines.append(
                f"- {share:.0%} of X, each of {len(part)} seeds alone: `cyborg` is above `{baseline}` in "
                f"{(part['difference'] > 0).sum()}, beyond chance after correction in {clear.sum()}; least in seed "
                f"{least['seed']}, {interval(least)}."
            )
    return "\n".join(lines)


def _verdict(row: pd.Series) -> str:
    """A difference with interval, whether it is beyond chance, and what prompts have to say."""
    other_seeds = row["low"] * row["high"] > 0  # the interval speaks of other seeds as well, p of these trained models only
    if row["p_holm"] >= ALPHA:
        verdict = "not beyond chance"
    elif other_seeds:
        verdict = "**beyond chance**"
    else:
        verdict = f"beyond chance for these models, though {counted_seeds(row['seeds'])} say little of others"
    verdict += f" (p = {p_value(row['p'])}, corrected {p_value(row['p_holm'])}".replace("= <", "<")
    verdict += ", one seed)" if row["seeds"] == 1 else ")"
    if row["prompt_low"] == row["prompt_low"]:
        verdict += f"; over prompts [{row['prompt_low']:+.3f}, {row['prompt_high']:+.3f}]"
    return f"{interval(row)}, {verdict}" + ("" if row["p_settled"] else "; p is too near its limit to be told from it")


def _gain_of_arm(arm: str, gained: pd.Series, bound: pd.Series | None, margin: float) -> str:
    line = f"- **{arm}** agrees {'better' if gained['difference'] > 0 else 'worse'} with people than `human`: {_verdict(gained)}"
    if bound is not None:
        kind, _, side = bound["equivalence"].partition(", ")
        words = {"equivalent": "comparable to", "not equivalent": "not comparable to"}
        line += f"; it is **{words.get(kind, 'not shown to be comparable to')}** all human scores"
        line += f"{f' ({side})' if side else ''} ({interval(bound, low='tost_low', high='tost_high')}, margin {margin:g}, "
        line += f"corrected p {p_value(bound['p_tost_holm'])})"
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
            f"- {row['fraction']:.0%}, {arms.paid(row['n_human'], row['n_dev'])}: {label(row['system'])} {row['qwk']:.3f}, "
            f"`human` Student {row['qwk_baseline']:.3f}, difference {interval(row)}, corrected p {p_value(row['p_holm'])}, "
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
        told = f"- {row.fraction:.0%}, {arms.paid(row.n_human, row.n_dev)}, {row.labels}: {share if row.resolved else none}"
        lines.append(told + (", one seed" if row.seeds == 1 else ""))
    return "\n".join(lines) or "This study has no arm `full`, so there is no gap to measure."


def by_measure(table_measures: pd.DataFrame) -> str:
    """Whether the gap closes by every measure alike, from `agreement.gaps` with several measures of one Student."""
    lines = []
    for (share, labels), rows in table_measures.groupby(["fraction", "labels"], sort=False):
        there = rows[rows["resolved"].astype(bool)]
        if there.empty:
            lines.append(f"- {share:.0%}, {labels}: by none of {len(rows)} measures is there a gap to close.")
            continue
        told = ", ".join(f"{row.measure} {row.gap_closed:.0%}" for row in there.itertuples())
        agree = len(there) == len(rows) and (there["low"] > 0).all()
        verdict = "**robust**: more than nothing is closed by each of them" if agree else "**hangs on the measure**"
        lines.append(f"- {share:.0%}, {labels}: {told}; shown by {(there['low'] > 0).sum()} of {len(rows)} measures. {verdict}.")
    return "\n".join(lines) or "This study has no arm `full`, so there is no gap to measure."


def against_rivals(table_rivals: pd.DataFrame) -> str:
    """Cyborg Data against the best scorer that the same human scores buy without a Teacher (`agreement_checks.rivals`)."""
    lines = []
    for row in table_rivals[table_rivals["chosen"].astype(bool)].itertuples():
        told = f"- {row.fraction:.0%}, {arms.paid(row.n_human, row.n_dev)}, `{row.labels}` {row.qwk:.3f}: the best rival on the "
        told += f"development essays is {label(row.rival.split(', ')[0])} on `{row.rival_labels}` (test essays: "
        told += f"{row.qwk_baseline:.3f}); difference **{row.difference:+.3f}** [{row.low:+.3f}, {row.high:+.3f}]"
        share = f"{row.gap_closed:.0%} [{row.gap_low:.0%}, {row.gap_high:.0%}] of the gap from it to `full`"
        lines.append(f"{told}; {share if row.resolved else 'no gap from it to `full` is shown'}.")
    return "\n".join(lines) or "No run has a Student without a Teacher: there is no rival."


def development(table_development: pd.DataFrame) -> str:
    """What fewer development essays would cost, from `agreement_checks.development_sizes`."""
    rows = table_development.set_index("development")
    least, most = rows.index[0], rows.index[-1]
    if least == most:
        return f"There are only {most} development essays: no smaller number was tried."
    return (
        f"Matched on {least} in place of {most} development essays, QWK would be {rows.loc[least, 'qwk']:.3f} on average "
        f"in place of {rows.loc[most, 'qwk']:.3f}, with an SD of {rows.loc[least, 'qwk_sd']:.3f} over the choice "
        f"of essays; the SMD of all essays would vary with an SD of {rows.loc[least, 'smd_sd']:.3f}."
    )


def ceiling(raters: pd.DataFrame, table_qwk: pd.DataFrame, scale: Scale) -> str:
    """How well two people agree on the test essays, and which arms stand near them; why it is not known where it is not."""
    essays = raters.drop_duplicates("essay_id")
    double, best = essays["second_score"].notna().sum(), table_qwk.loc[table_qwk["qwk"].idxmax()]
    operational = table_qwk[table_qwk["qwk"] >= PRACTICE]
    told = (
        f"{len(operational)} of {len(table_qwk)} arms reach the {PRACTICE:.2f} that practice asks for"
        if len(operational)
        else (f"**No arm reaches the {PRACTICE:.2f} that practice asks for**, `full` included (the highest: {best['qwk']:.3f})")
    )
    if double < MIN_DOUBLE:
        why = "no essay has a second human score" if not double else f"only {double} test essays have a second human score"
        return (
            f"{told}. How near that is to people cannot be told: {why}. Scores that average several raters, or essays that were "
            "kept because their raters agreed, are also more reliable than a single rater's: agreement with them flatters."
        )
    people, top = qwk_of_people(essays, scale), table_qwk.loc[table_qwk["prmse"].idxmax()]
    above = (table_qwk["qwk"] > people).sum()
    return (
        f"Two people agree with QWK **{people:.3f}** on {double:,} test essays; {above} of {len(table_qwk)} arms agree better "
        "with the human score than these two with each other, which is easier where the score is their mean or sum. "
        f"{told}. Against the *true* score (PRMSE) the best arm is {label(top['labels'])} ({label(top['student'])}) with "
        f"{top['prmse']:.3f}."
    )


def probabilities(table_probabilities: pd.DataFrame) -> str:
    """Whether the probabilities say more than the shares of the levels do, from `agreement_checks.probabilities`."""
    lines = [
        f"- {row.fraction:.0%}, {label(row.rater)}{'' if row.labels == 'teacher' else f' on {row.labels}'}: RPS {row.rps:.3f} "
        f"[{row.rps_low:.3f}, {row.rps_high:.3f}], {'better' if row.rps_high < row.rps_shares else 'not shown to be better'} "
        f"than giving every essay the same shares ({row.rps_shares:.3f}); ECE {row.ece:.3f}."
        for row in table_probabilities.itertuples()
    ]
    return "\n".join(lines)


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
        f"- {'all' if essays == 'all' else f'{essays} essays'} ({part['n'].iloc[0]}), {pair}: "
        + ", ".join(f"{row.question} {row.size:g} (chance {row.power:.0%})" for row in part.itertuples())
        for (essays, pair), part in cannot.groupby(["essays", "pair"], sort=False)
    ]
    return "**These essays and seeds cannot be relied on to:**\n\n" + "\n".join(lines) if lines else "All can be answered."


def matching(table_qwk: pd.DataFrame) -> str:
    """What matching mean and spread on the development essays does to QWK and to the overall SMD of the regression arms."""
    matched = table_qwk[table_qwk["head"].isin(arms.MATCHED)]
    change = (matched["qwk"] - matched["qwk_raw"]).agg(["mean", "min", "max"])
    smd = matched[["smd_raw", "smd"]].abs().max()
    return (
        f"Over {len(matched)} regression arms, matching changes QWK by {change['mean']:+.3f} on average "
        f"({change['min']:+.3f} to {change['max']:+.3f}); the largest overall gap between machine and human means goes from "
        f"{smd['smd_raw']:.2f} to {smd['smd']:.2f} SD."
    )


def in_short(
    table_comparisons: pd.DataFrame, table_rivals: pd.DataFrame, table_gap_closed: pd.DataFrame, *, fraction: float, **one: str
) -> str:
    """The gain of `cyborg` at one share, against `human` and the best rival, and the gap closed. `one`: student, head."""
    pairs = arms.pick(table_comparisons, system="cyborg", baseline="human", fraction=fraction, **one)
    if pairs.empty:
        return "There is no Student on Cyborg Data beside one on human scores alone."
    row = pairs.iloc[0]
    shown = "beyond chance" if row["p_holm"] < ALPHA and (row["low"] > 0 or row["high"] < 0) else "which may be chance"
    lines = [
        f"With {arms.paid(row['n_human'], row['n_dev'])} QWK goes from {row['qwk_baseline']:.3f} to {row['qwk']:.3f} on Cyborg "
        f"Data, {interval(row)}, {shown} ({counted_seeds(row['seeds'])})."
    ]
    for rival in arms.pick(table_rivals, labels="cyborg", fraction=fraction, chosen=True).to_dict("records"):
        lines.append(f"Against the best rival that these human scores buy without a Teacher, {interval(rival)} is left.")
    for gap in arms.pick(table_gap_closed, labels="cyborg", fraction=fraction, resolved=True, **one).itertuples():
        share = f"{gap.gap_closed:.0%} [{gap.low:.0%}, {gap.high:.0%}]"
        lines.append(f"Cyborg Data closes {share} of the gap from few to all human scores.")
    return " ".join(lines)
