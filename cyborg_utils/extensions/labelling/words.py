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
    return (
        f"{len(essays.scored):,} of {len(essays.frame):,} essays had a human score. The other {len(essays.blank):,} got one from "
        f"{SHORT[report.settings.by]}, which agrees with people at QWK {_interval(own, 'qwk')} on essays that it did not "
        f"learn from."
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
        return f"Guarantee: the machine may score {which}: {aim} of them, with {sure}, **on essays like the scored ones**."
    wide = f" On {scale.size} scores, ask for a mean error: --promise error {(scale.high - scale.low) / 20:.1g}."
    wide = wide if scale.size > MOST_LEVELS and found.wish.risk != "absolute error" else ""
    if found.n < found.needed:
        least = math.ceil(found.needed / LEAST_SHARE)
        return (
            f"Guarantee: **none yet**. To promise {aim} with {sure} takes {found.needed} human scores even if not one is "
            f"missed, and {least} for the surer half of the essays; there are {found.n}.{wide}"
        )
    return (
        f"Guarantee: **none**. On the surest essays tried, the bound that holds with {sure} is {found.made.bound:.3g} where "
        f"{found.wish.target:.3g} was asked for ({aim}). A weaker promise (--promise), or more human scores, may bring one.{wide}"
    )


def condition(report: Report) -> str:
    """Does the Teacher know more than the Student could learn without it?"""
    row = _pair(report, *CONDITION)
    clear, above = row["low"] > 0 or row["high"] < 0, row["difference"] > 0
    told = ("holds" if above else "does not hold") if clear else "is not decided"
    advice = "" if clear and above else " Until it does, the Teacher's labels are not shown to be worth their time."
    return (
        f"The method's condition **{told}**: the Teacher minus the Student that has the same human scores and no Teacher is "
        f"{_difference(row)} QWK.{advice}"
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
    found = f"treated differently: **{named['biased']}**" if "biased" in named else "none is shown to be treated differently"
    alike = f", and not: {named['not biased']}" if "not biased" in named else ", and none to be treated alike"
    found += alike
    open_ = [name for verdict in ("undecided", "too few") for name in named.get(verdict, "").split(", ") if name]
    rest = f" Too few essays to tell: {', '.join(open_)}." if open_ else ""
    return f"Groups of writers: {found} (|SMD| above {report.settings.smd_limit:g}).{rest}"


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
        f"scored essays its true coverage lies between {low:.0%} and {high:.0%}. Without a machine, always {trivial[0]:g} to "
        f"{trivial[1]:g} would do."
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
        f"By the Teacher's learning curve, QWK {now['qwk']:.3f} with {now['n']:,} human scores; {told}. Beyond what there "
        f"is, it is extrapolated."
    )


def suspected(report: Report) -> str:
    count = len(report.suspects)
    if not count:
        return (
            "No human score is contradicted by Teacher and Student with confidence. A slip of one level cannot be seen like this."
        )
    return (
        f"{count} human score(s) are contradicted by Teacher and Student, neither of which learned from them. Read these essays "
        f"again: about {1 - FALSE_SUSPECTS:.0%} of such a list are expected to be out of the ordinary, by the rater or by the "
        "writer."
    )


def following(report: Report) -> str:
    ids = report.essays.frame["essay_id"].iloc[report.following]
    if not len(ids):
        return "Every essay has a human score."
    return (
        f"Drawn at random over all lengths, so that every promise still holds with them: {files.listed(ids, most=100)}. Score "
        "these, put the scores into the table, and run the command again; no essay is read twice."
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
