"""The sentences of the page: what was found, with its uncertainty, and what to do."""

from __future__ import annotations

import math

import pandas as pd

from cyborg_utils.core.config import MOST_LEVELS
from cyborg_utils.data import files
from cyborg_utils.extensions.labelling.machines import HUMAN, STUDENT, TEACHER, WITHOUT
from cyborg_utils.extensions.labelling.promises import FALSE_SUSPECTS, LEAST_SHARE
from cyborg_utils.extensions.labelling.report import CONDITION, NAMES, Report
from cyborg_utils.stats import conformal
from cyborg_utils.study.sentences import cell

DRAWN = {TEACHER: "Teacher", STUDENT: "Student", HUMAN: "Student, human scores only", WITHOUT: "no language model"}
SHORT = {TEACHER: "the Teacher", STUDENT: "the Student", HUMAN: "the Student on human scores alone", WITHOUT: "ridge"}


def summary(report: Report) -> str:
    """The first sentence: what there was, and what came of it."""
    essays, own = report.essays, report.agreement.set_index("system").loc[report.settings.by]
    others = f"The other {len(essays.blank):,} got one from {SHORT[report.settings.by]}, which"
    return (
        f"{len(essays.scored):,} of {len(essays.frame):,} essays had a human score. "
        f"{others if len(essays.blank) else SHORT[report.settings.by].capitalize()} agrees with people at QWK "
        f"{_interval(own, 'qwk')} on essays that it did not learn from."
    )


def terms(report: Report) -> str:
    """The words that the page is written in, for a person who meets them first here."""
    teacher = (
        "a language model has read every essay, and has learned your scores from what it found"
        if report.read
        else "here **no language model**, for which there was no time; your scores were learned from a small encoder, text "
        "statistics and words"
    )
    return (
        f"The **Teacher**: {teacher}. The **Student**: a small model that has learned from your scores and the Teacher's; it is "
        f"saved for new essays. **QWK**: agreement of two scorers, 1 where they always agree, 0 where no more than by chance. "
        f"**Adjacent**: one level off. [ ]: the interval that the true value lies in, with {report.settings.confidence:.0%} "
        f"confidence."
    )


def verdicts(report: Report) -> list[str]:
    """What stands first on the page: a line each on agreement, the guarantee, groups, the condition and the sample."""
    return [practice(report), guarantee(report), groups(report), condition(report), *filter(None, [sample(report)])]


def practice(report: Report) -> str:
    own = report.agreement.set_index("system").loc[report.settings.by]
    told = "above" if own["low"] >= 0.7 else "below" if own["high"] < 0.7 else "not shown to be on either side of"
    verdict = "**good enough by the field's rule**" if own["low"] >= 0.7 else "**not shown to be good enough**"
    return (
        f"Agreement: QWK {_interval(own, 'qwk')}, {told} the 0.70 that practice asks for: {verdict}. Exact {own['exact']:.0%}, "
        f"exact or adjacent {own['adjacent']:.0%} of the scored essays."
    )


def guarantee(report: Report) -> str:
    """Which essays the machine may score, or why none can be promised."""
    found, scale = report.guarantee, report.essays.scale
    aim, sure = found.wish.words, f"{found.sure:.0%} confidence"
    if found.made.share:
        surest = f"the {found.made.share:.0%} of essays of which it is surest"
        which = "all essays" if math.isinf(found.made.threshold) else surest
        return f"Guarantee: **the machine may score {which}**: {aim} of them, with {sure}, on essays like the scored ones."
    wide = f" On {scale.size} scores, ask for a mean error: --promise error {(scale.high - scale.low) / 20:.1g}."
    wide = wide if scale.size > MOST_LEVELS and found.wish.risk != "absolute error" else ""
    if found.n < found.needed:
        least = math.ceil(found.needed / LEAST_SHARE)
        return (
            f"Guarantee: **none yet**, so every score waits for a person. To promise {aim} with {sure} takes {found.needed} "
            f"human scores even if not one is missed, and {least} for the surer half of the essays; there are {found.n}.{wide}"
        )
    bound, target = (
        f"{value * scale.step:.2g} points" if found.wish.risk == "absolute error" else f"{value:.1%}"
        for value in (found.made.bound, found.wish.target)
    )
    loss = "their mean error may be" if found.wish.risk == "absolute error" else f"the share {found.wish.risk} may be"
    return (
        f"Guarantee: **none**, so every score waits for a person. Asked for was {aim}, with {sure}; of the surest essays tried, "
        f"{loss} as large as {bound}, where {target} is allowed. A weaker promise (--promise), or more human scores, may bring "
        f"one.{wide}"
    )


def condition(report: Report) -> str:
    """Does the Teacher know more than the Student could learn without it?"""
    row = _pair(report, *CONDITION)
    clear, above = row["low"] > 0 or row["high"] < 0, row["difference"] > 0
    told = ("holds" if above else "does not hold") if clear else "is not decided"
    advice = "" if clear and above else " As long as that is so, the Teacher is not shown to be worth its time."
    return (
        f"The method's condition **{told}**: the Teacher should agree with people better than a Student that has the same human "
        f"scores and no Teacher; the difference is {_difference(row)} QWK.{advice}"
    )


def rivals(report: Report) -> str:
    """What the language model brings, and what the Student loses."""
    against, lost = _pair(report, TEACHER, WITHOUT), _pair(report, STUDENT, TEACHER)
    brings = "brings more than" if against["low"] > 0 else "is worse than" if against["high"] < 0 else "is not shown to beat"
    stands = "stands below" if lost["high"] < 0 else "stands above" if lost["low"] > 0 else "is not shown to differ from"
    return (
        f"The Teacher {brings} the same human scores without a language model ({_difference(against)}). The Student {stands} "
        f"its Teacher ({_difference(lost)}); it needs no language model for new essays."
    )


def groups(report: Report) -> str:
    """Which groups of writers are treated differently."""
    judged = report.groups[report.groups["attribute"] != "all"]
    if judged.empty:
        return (
            "Groups of writers: **nothing is known about them**. Name columns with --groups; without them do not use the scores "
            "for decisions about people."
        )
    by = judged.groupby("verdict")
    named = {verdict: ", ".join(f"{row.attribute} {row.group}" for row in part.itertuples()) for verdict, part in by}
    limit = f"(|SMD| above {report.settings.smd_limit:g})"
    found = f"treated differently {limit}: **{named['biased']}**" if "biased" in named else ""
    found = found or f"none is shown to be treated differently {limit}"
    alike = f", and not: {named['not biased']}" if "not biased" in named else ", and none to be treated alike"
    found += alike
    open_ = [name for verdict in ("undecided", "too few") for name in named.get(verdict, "").split(", ") if name]
    rest = f" Too few essays to tell: {', '.join(open_)}." if open_ else ""
    return f"Groups of writers: {found}.{rest}"


def sample(report: Report) -> str:
    """A warning where the scored essays differ from the others; "" where no sign of it is found."""
    found = report.unlike[report.unlike["p_holm"] < 0.01]
    if found.empty:
        return ""
    each = ", ".join(f"{row.statistic} (median {row.scored:.2f}, others {row.blank:.2f})" for row in found.itertuples())
    return (
        f"**The scored essays are not like the others**: {each}. Guarantee, intervals and means hold for essays like the "
        "scored ones, so here they need not hold. Score some more, drawn at random (see below)."
    )


def width(report: Report) -> str:
    """How wide a single essay's interval is."""
    size, scale, n = report.own.width(report.settings.interval), report.essays.scale, len(report.essays.scored)
    if math.isinf(size):
        needed = math.ceil(report.settings.interval / (1 - report.settings.interval))
        return f"Too few scored essays for a {report.settings.interval:.0%} interval: it takes {needed}. Each is the whole scale."
    low, high = conformal.expected_range(n, report.settings.interval)
    trivial = conformal.trivial(report.own.score, report.settings.interval, scale)[0]
    return (
        f"The {report.settings.interval:.0%} interval of a single essay is its best guess ± {size:.2f} points; with {n:,} "
        f"scored essays its true coverage lies between {low:.0%} and {high:.0%}. Without a machine, the interval {trivial[0]:g} "
        f"to {trivial[1]:g} for every essay would hold as often."
    )


def more(report: Report) -> str:
    """What more human scores would buy, by the learning curve."""
    if report.curve is None:
        return "Too few scored essays for a learning curve: about 25 are needed."
    rows = report.forecast.to_dict("records")
    now, later = rows[0], rows[1:]
    told = "; ".join(f"with {row['n']:,} about {row['qwk']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for row in later)
    told = told or "there are no more essays to score"
    return (
        f"By the Teacher's learning curve, a line through its agreement with fewer scores, QWK {now['qwk']:.3f} with "
        f"{now['n']:,} human scores; {told}. Beyond what there is, it is extrapolated."
    )


def suspected(report: Report) -> str:
    count = len(report.suspects)
    if not count:
        return (
            "No human score is contradicted by Teacher and Student with confidence. A slip of one level cannot be seen like this."
        )
    return (
        f"{count} human score(s) are contradicted by Teacher and Student, neither of which learned from them. **Read these "
        f"essays again**: about {1 - FALSE_SUSPECTS:.0%} of such a list are expected to be out of the ordinary, by the rater or "
        f"by the writer. In the table: your score, their best guesses, and the chance p of such a gap where nothing is wrong."
    )


def following(report: Report) -> str:
    ids = report.essays.frame["essay_id"].iloc[report.following]
    if not len(ids):
        return "Every essay has a human score."
    return (
        "Score these without looking at the machine's scores, put yours into the table, and run the command again; no essay is "
        "read twice. They are drawn at random over all lengths, so that every promise still holds with them: "
        f"{files.listed(ids, most=100)}"
    )


def means(report: Report) -> str:
    row = report.means.iloc[0] if len(report.means) else None
    if row is None or row["scored"] < 3:
        return "Too few scored essays for a mean."
    saved = (row["alone_high"] - row["alone_low"]) / (row["high"] - row["low"]) if row["high"] > row["low"] else 1
    bought = f" As many human scores alone would leave an interval {saved:.2f} times as wide." if saved > 1.02 else ""
    ends = f"[{row['low']:.2f}, {row['high']:.2f}]"
    return f"People would give these {row['n']:,.0f} essays a mean of {row['mean']:.2f} {ends}.{bought}"


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose systems have their names in full."""
    return table.assign(**{column: table[column].map(NAMES) for column in ("system", "baseline") if column in table})


def _pair(report: Report, system: str, baseline: str) -> pd.Series:
    table = report.differences
    return table[(table["system"] == system) & (table["baseline"] == baseline)].iloc[0]


def _interval(row: pd.Series, value: str) -> str:
    return f"{row[value]:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _difference(row: pd.Series) -> str:
    value, low, high = (cell(row[name], "+z.3f") for name in ("difference", "low", "high"))
    return f"{value} [{low}, {high}]"


def columns(report: Report) -> dict[str, str]:
    """The columns of scores.csv, and what they hold."""
    risk = report.guarantee.wish.risk
    loss = "the error to expect, in levels" if risk == "absolute error" else f"the chance that the score is {risk}"
    return {
        "row, id": "of your table; its rows stand here in their order, also those that get no score",
        "score": "yours where you gave one, else the machine's",
        "who": "human: scored by you; machine: the guarantee covers it; person: someone should score it",
        "low, high": f"an interval that holds a person's score for {report.settings.interval:.0%} of the essays",
        "doubt": f"{loss}: the larger, the sooner a person should look",
        "flags": "why to look at it: unusually short or long, unknown words, not read to its end (cut), suspect",
        "human, teacher, student": "the three scores by themselves",
        "next": "the order in which people should score more essays",
    }
