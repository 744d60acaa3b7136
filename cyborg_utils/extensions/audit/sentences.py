"""What the audit says in words: functions of its tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from cyborg_utils.data import advice
from cyborg_utils.extensions.audit.judgement import (
    FEWEST,
    OWN_SCALES,
    POOLED,
    WITHIN,
    between_prompts,
    count,
    judged_parts,
    no_ground,
    no_second,
)
from cyborg_utils.stats import metrics, power, true_score
from cyborg_utils.stats.fairness import NOT_RECORDED, SIGNS
from cyborg_utils.study.sentences import treated

FLATTERS = 0.05  # QWK by which pooling must exceed the mean within prompts to be said to flatter


def described(essays: pd.DataFrame, source: str) -> str:
    """How many essays there are, from where, how many with a second human score, the groups of writers, and what to know."""
    groups = {name.removeprefix("groups."): essays[name] for name in essays if name.startswith("groups.")}
    listed = [f"{name} ({count(of.nunique(), 'group')}, {of.isna().sum()} not recorded)" for name, of in groups.items()]
    prompts = f" {count(essays['prompt'].nunique(), 'prompt')}." if "prompt" in essays else ""
    first = (
        f"**{count(len(essays), 'essay')}** {source}; {essays['second_score'].notna().sum():,} with a second human score."
        f"{prompts} Writer groups: {'; '.join(listed) or 'none named'}."
    )
    alike = [line for name, of in groups.items() for line in advice.look_alikes(name, of.dropna().astype(str).unique())]
    return "\n\n".join([first, *essays.attrs.get("notes", []), *alike])


def at_hand(study: bool) -> str:
    """Of whom the audit speaks: the model at hand, not the method that made it."""
    if study:
        return (
            "This audit speaks of **the model at hand**: one trained Student, its matching as it is. Trained again, the same "
            "method would give other scores and may get other verdicts: notebook 06 speaks of the method, training noise counted."
        )
    return (
        "This audit speaks of **the model at hand**: the machine that gave these scores, as it was then. What the same method "
        "would do if trained again, one machine's scores cannot tell; for a study, notebook 06 does."
    )


def agreement_within(essays: pd.DataFrame, table: pd.DataFrame) -> str:
    """Whether agreement is judged within prompts, and whether pooling them flatters; "" without prompts.

    `table` is that of `by_prompt`.
    """
    if table.empty:
        return ""
    rows, share = table.set_index("prompt"), between_prompts(essays)
    within, pooled, judged = rows.loc[WITHIN, "qwk"], rows.loc[POOLED, "qwk"], (table["judged"] == "yes").sum()
    differ = f"Prompts account for {max(share, 0):.0%} of the variance of human scores."
    if len(judged_parts(essays)) == 1:
        return (
            f"Agreement is judged over all essays as one table: only {judged} of {len(table) - 2} prompts have {FEWEST} essays "
            f"with different scores. {differ}"
        )
    lines = [f"Agreement is judged within prompts: mean QWK **{within:.3f}** over {judged} of {len(table) - 2} prompts."]
    told = f"As one table it is {pooled:.3f}"
    flat = pooled - within
    lines.append(f"{told}: **pooling flatters by {flat:.2f}**, since prompts differ." if flat > FLATTERS else f"{told}.")
    if share > OWN_SCALES:
        differ += (
            " They have scales of their own: groups are not compared across them, and what follows for all essays as one table "
            "(levels, distribution, high scores) judges nothing. Audit each prompt by itself, with its own --scale."
        )
    return " ".join([*lines, differ])


def over_prompts(table: pd.DataFrame) -> str:
    """Intervals that hold for other prompts too, beside those of these prompts, from `judgement.thresholds`; "" without them."""
    told = [
        f"{row.criterion} [{row.low_prompts:.2f}, {row.high_prompts:.2f}] instead of [{row.low:.2f}, {row.high:.2f}]"
        for row in table.dropna(subset=["low_prompts", "high_prompts"]).itertuples()
    ]
    start = "Essays of one prompt are alike. With prompts drawn, not essays, the intervals are"
    return f"{start}: {'; '.join(told)}." if told else ""


def thresholds_met(table: pd.DataFrame, judged: pd.DataFrame, *, smd_limit: float) -> str:
    """Thresholds met, missed and not known, which answers hang on these essays, and the verdicts on groups large enough to judge.

    `table` is that of `thresholds`; `judged` the rows of `fairness.smd_by_group` that it was given.
    """
    met, missed = (table.loc[table["met"] == answer, "criterion"].tolist() for answer in ("yes", "no"))
    reasons = table.loc[table["met"] == "not known"].groupby("why", sort=False)["criterion"]
    unknown = "; ".join(f"{', '.join(criteria)} ({why})" for why, criteria in reasons)
    close = ", ".join(table.loc[table["clear"] == "no", "criterion"])
    answered = len(met) + len(missed)
    lines = [f"**{len(met)} of {count(answered, 'threshold')} {'is' if answered == 1 else 'are'} met.**"]
    lines = lines if answered else ["**No verdict.**"]
    lines += [f"Missed: {', '.join(missed)}."] if missed else []
    lines += [f"Not settled by these essays (the threshold lies in the interval): {close}."] if close else []
    lines += [f"Not known: {unknown}."] if unknown else []
    if len(judged) and answered:
        undefined = judged["smd"].isna()
        verdicts = judged.loc[~undefined, "verdict"].value_counts()
        biased = [f"{row.attribute} = {row.group} ({row.smd:+.2f})" for row in judged.query("verdict == 'biased'").itertuples()]
        lines.append(
            f"Of {len(judged)} writer groups large enough to judge, {len(biased)} are treated differently, beyond {smd_limit:g}"
            f"{': ' + ', '.join(biased) if biased else ''}; {verdicts.get('not biased', 0)} are not, "
            f"{verdicts.get('undecided', 0)} cannot be told"
            f"{f'; without SMD, since all human scores are the same: {undefined.sum()}' if undefined.any() else ''}."
        )
    return "\n\n".join(lines)


def in_short(table: pd.DataFrame, judged: pd.DataFrame) -> str:
    """`thresholds_met` in two sentences: thresholds met, and verdicts on the groups that are large enough to judge."""
    answered, verdicts = table[table["met"] != "not known"], judged["verdict"].value_counts()
    unknown = f"; {len(table) - len(answered)} not known" if len(answered) < len(table) else ""
    told = [f"Thresholds met: {(answered['met'] == 'yes').sum()} of {len(answered)}{unknown}."]
    if len(judged):
        counts = [f"{verdicts.get(name, 0)} {name}" for name in SIGNS]
        told.append(f"Of {count(len(judged), 'writer group')} large enough to judge: {', '.join(counts)}.")
    return " ".join(told)


def true_score_agreement(essays: pd.DataFrame, **options: object) -> str:
    """PRMSE with its interval, where enough essays have a second human score; `options` as in `true_score.prmse_interval`."""
    start = "Agreement with the *true* score (PRMSE) is **not known**"
    if why := no_second(essays) or no_ground(essays):
        return f"{start}: {why}."
    found = true_score.prmse_interval(metrics.two_people(essays), essays["value"], **options)
    if not found.value <= 1 or not math.isfinite(found.low):
        return f"{start}: two people's scores tell too little of the true score here (estimate {found.value:.2f})."
    return (
        "Against the *true* score (two ratings of an essay tell how far a single one can be trusted): "
        f"**PRMSE = {found.value:.3f}** [{found.low:.3f}, {min(found.high, 1):.3f}], the share of the variance of true scores "
        "that the machine predicts (Loukina et al. 2020)."
    )


def drawn(shown: pd.DataFrame, table: pd.DataFrame) -> str:
    """Groups that a figure leaves out; "" where there are none. `shown` is what `judgement.drawn_groups` leaves of the table."""
    every, some = (frame.groupby("attribute", sort=False)["group"].nunique() for frame in (table, shown))
    left = [f"{some[name]} of the {every[name]} groups of `{name}`" for name in every.index if some.get(name, 0) < every[name]]
    return f"Drawn: {'; '.join(left)}, biased ones first, then those with most essays. The table has all." if left else ""


def high_scores(found: Mapping[str, float], *, why: str = "") -> str:
    """Whether the two highest scores are given too rarely, from `fairness.suppression`; `why` that is not known, if it is not."""
    low, high = found["change_low"], found["change_high"]
    if why:
        return f"Whether high scores are suppressed is **not known**: {why}."
    verdict = "suppressed" if high < 0 else "given too often" if low > 0 else "not shown to be given too rarely"
    return (
        f"High scores are **{verdict}**: {found['machine_top']:.1%} of the essays get one of the two highest instead of "
        f"{found['human_top']:.1%} (difference {found['change']:+.1%} [{low:+.1%}, {high:+.1%}]). "
        f"The mean of rounded scores shifts by {found['shift']:+.2f} points "
        f"[{found['shift_low']:+.2f}, {found['shift_high']:+.2f}]."
    )


def unequal(table: pd.DataFrame) -> str:
    """Attributes that make a difference at equal human score beyond chance (CSD, Holm), from `fairness.osa_osd_csd`."""
    clear = table.query("measure == 'CSD' and p_holm < 0.05")
    if table.loc[table["measure"] == "CSD", "p_holm"].isna().all():
        return "Whether writers are treated differently at equal human score is **not known**: too few groups, essays or scores."
    listed = ", ".join(f"{row.attribute} ({row.r2_adjusted:.1%} of the variance of the error)" for row in clear.itertuples())
    some = f"At equal human score, writers are treated differently by **{listed}**."
    return some if listed else "At equal human score no attribute makes a difference beyond chance (CSD, Holm)."


def can_be_cleared(table: pd.DataFrame, *, smd_limit: float) -> str:
    """For how many groups these essays can show that there is no bias, from `power.smd_power`."""
    asked = table[(table["question"] == power.CLEARED) & (table["attribute"] != "all") & (table["group"] != NOT_RECORDED)]
    if asked.empty:
        return "No writer groups are compared."
    return (
        f"“No bias within {smd_limit:g}” can be shown here (where it is true, in 80 % of such samples) for "
        f"**{asked['answerable'].sum()} of {len(asked)} groups**."
    )


# ---------------------------------------------------------------- several machines


def of_machines(found: Mapping[str, pd.DataFrame]) -> str:
    """What several machines were found to do: `treated`, `compared` and `changed`, a paragraph each (`machines.audit`)."""
    said = [treated(found["machines_smd"], "machine"), compared(found["comparisons"]), changed(found["changes"])]
    return "\n\n".join(said)


def compared(table: pd.DataFrame) -> str:
    """What each comparison of `machines.compare` shows, a line a pair."""
    lines = []
    for row in table.to_dict("records"):
        shown = "agrees better" if row["difference"] > 0 else "agrees worse"
        shown = shown if row["p_holm"] < 0.05 else "is not shown to agree better or worse"
        p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
        over = f"; over prompts [{row['prompt_low']:+.3f}, {row['prompt_high']:+.3f}]" if "prompt_low" in row else ""
        lines.append(
            f"- **{row['system']}** {shown} with people than {row['baseline']}: QWK {row['qwk']:.3f} against "
            f"{row['qwk_baseline']:.3f}, difference {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] over essays"
            f"{over}; {p} (Holm)."
        )
    return "\n".join(lines)


def changed(table: pd.DataFrame) -> str:
    """For how many groups a pair's gaps differ beyond chance, a line a pair, from `machines.changes`."""
    lines = []
    for (system, baseline), rows in table.groupby(["system", "baseline"], sort=False):
        told = []
        for measure, part in rows[rows["attribute"] != "all"].groupby("measure", sort=False):
            counts = part["effect"].value_counts()
            far = part.loc[part["change"].abs().idxmax()]
            told.append(
                f"|{measure}| is smaller in {counts.get('smaller', 0)} and larger in {counts.get('larger', 0)} of "
                f"{count(len(part), 'group')} (most: {far.attribute} = {far.group}, {far.before:+.2f} to {far.after:+.2f})"
            )
        whole = rows[rows["attribute"] == "all"]
        start = "".join(f"SMD of all essays {row.before:+.2f} to {row.after:+.2f}; " for row in whole.itertuples())
        lines.append(f"- **{system}** instead of {baseline}: {start}{'; '.join(told)}.")
    return "\n".join(lines)
