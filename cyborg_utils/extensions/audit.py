"""Anybody's predictions -> the audit of notebook 14, without any training:

    cyborg audit PREDICTIONS.csv --id id --human score --machine machine --groups gender ell --scale 1 6 1

One row an essay: an id, a human score, a machine score made elsewhere, and, where there are any, a second human score and groups
of writers. Essays' texts are not needed and not read. Results are written as a study's are, in `results/<name>`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files
from cyborg_utils.stats import metrics, power
from cyborg_utils.stats.bootstrap import Interval, bootstrap_interval
from cyborg_utils.study import arms, scores

NOTEBOOK = "14_audit_scores"
SHOWN = 5  # faults told in full
LARGEST = "largest |SMD| of a group"


def load(
    file: str | Path, *, id: str, human: str, machine: str, groups: Sequence[str], scale: Scale, second: str = ""
) -> pd.DataFrame:
    """Checked predictions, one row an essay: essay_id, score, value, second_score (NaN where there is none), groups.<name>.

    `file` is CSV, TSV, Parquet or JSON Lines. A human score lies on the scale; a machine's may be any real number. An empty group
    or second score is unknown. Nothing is left out: raises CyborgError that names file, row and column of every kind of fault.
    """
    path = files.given(str(file))
    wanted = [name for name in (id, human, machine, second, *groups) if name]
    there = files.header(path)
    if absent := [name for name in wanted if name not in there]:
        told = f"no column {files.listed(absent)}; there are {files.listed(there)}"
        raise CyborgError(f"{paths.shown(path)}: {told}. Name the columns.")
    rows, faults, seen = [], [], {}
    for row in files.rows(path):
        found = {"essay_id": files.text(row.cells.get(id)), "score": math.nan, "value": math.nan, "second_score": math.nan}
        if row.fault:
            faults.append(f"row {row.number}: {row.fault}")
            continue
        if odd := [(name, reason) for name in wanted if (reason := files.fault(row.cells.get(name)))]:
            faults += [f"row {row.number}, column {name}: {reason}; save it as UTF-8 text" for name, reason in odd]
            continue
        if not found["essay_id"]:
            faults.append(f"row {row.number}, column {id}: no id")
        elif (before := seen.setdefault(found["essay_id"], row.number)) != row.number:
            faults.append(
                f"row {row.number}, column {id}: {files.printable(found['essay_id'][:40])} stands in row {before} already"
            )
        for column, role, needed in ((human, "score", True), (machine, "value", True), (second, "second_score", False)):
            if column:
                found[role], fault = _number(row.cells.get(column), scale if role != "value" else None, needed)
                faults += [f"row {row.number}, column {column}: {fault}"] if fault else []
        rows.append(found | {f"groups.{name}": files.group(row.cells.get(name)) for name in groups})
    if faults:
        told = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise CyborgError(f"{paths.shown(path)}: {len(faults)} fault(s); mend these cells or take the rows out:\n{told}{more}")
    columns = ["essay_id", "score", "value", "second_score", *(f"groups.{name}" for name in groups)]
    return pd.DataFrame(rows, columns=columns)


def of_study(profile: str, labels: str) -> pd.DataFrame:
    """The test essays of a study as `load` gives them, scored by its first Student on these labels, of its first seed (matched).

    One Student, not the mean over seeds: an average of several scores agrees better with people than any of them would in use.
    """
    raters = scores.raters(profile)
    fraction = arms.headline_fraction(raters) if labels != "full" else 1.0
    student, head = config.load(profile).headline
    own = arms.pick(raters, student=student, head=head, labels=labels, fraction=fraction)
    if own.empty:
        raise CyborgError(f"{profile}: no Student with labels {labels!r}; there are {', '.join(raters['labels'].unique())}.")
    chosen = arms.pick(own, seed=own["seed"].min()).assign(value=lambda rows: rows["matched_value"]).sort_values("essay_id")
    keep = ["essay_id", "score", "value", "second_score", *(name for name in chosen if name.startswith("groups."))]
    return chosen[keep].reset_index(drop=True)


def thresholds(
    frame: pd.DataFrame, scale: Scale, *, by_group: pd.DataFrame, smd_limit: float = 0.10, **options: object
) -> pd.DataFrame:
    """The field's operational thresholds, one row a criterion: criterion, group, value, low, high, threshold, from, met.

    `frame` as `load` gives it; `by_group` the groups that are judged, as `fairness.smd_by_group` has them (no row: none), of
    which the largest |SMD| counts; `group` names it. Intervals are over essays; `options` (resamples, confidence, seed) go to
    `bootstrap.bootstrap_interval`. `met` is judged by the value, as the
    conventions are: "yes", "no", or "not known" (no second human score, no group). They are conventions, not laws.
    """
    human, value = frame["score"].to_numpy(), frame["value"].to_numpy()
    double = frame.dropna(subset=["second_score"])
    people = metrics.qwk(scale.level(double["score"]), scale.level(double["second_score"]), levels=scale.size)
    own = bootstrap_interval(scale.level(human), scale.nearest(value), metric="qwk", **options)
    r, smd, ratio = (bootstrap_interval(human, value, metric=name, **options) for name in ("r", "smd", "sd_ratio"))
    group = metrics.Threshold(f"at most {smd_limit:.2f}", metrics.WILLIAMSON, lambda size: size <= smd_limit)
    name, worst = _largest(by_group)
    rows = [
        ("QWK", own, metrics.THRESHOLDS["qwk"]),
        ("Pearson r", r, metrics.THRESHOLDS["r"]),
        ("below two people (QWK)", Interval(people - own.value, math.nan, math.nan), metrics.THRESHOLDS["below_people"]),
        ("SMD, all essays", smd, metrics.THRESHOLDS["smd"]),
        (LARGEST, worst, group),
        ("SD ratio, human / machine", ratio, metrics.THRESHOLDS["sd_ratio"]),
    ]
    met = ["not known" if math.isnan(found.value) else "yes" if rule.met(found.value) else "no" for _, found, rule in rows]
    told = [
        (criterion, *found, rule.words, rule.source, answer) for (criterion, found, rule), answer in zip(rows, met, strict=True)
    ]
    table = pd.DataFrame(told, columns=["criterion", "value", "low", "high", "threshold", "from", "met"])
    table.insert(1, "group", [name if criterion == LARGEST else "" for criterion in table["criterion"]])
    return table


def agreement_of_raters(essays: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """`metrics.agreement_metrics` of the machine and, where there is one, of the second rater, each with the human scores."""
    rows = {"machine": metrics.agreement_metrics(essays["score"], essays["value"], scale)}
    double = essays.dropna(subset=["second_score"])
    if len(double):
        people = metrics.human_agreement(double[["score", "second_score"]], scale).iloc[0]
        rows["second rater"] = people.drop(["first", "second"]).to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("rater").reset_index()


def _largest(by_group: pd.DataFrame) -> tuple[str, Interval]:
    """Name and |SMD| of the group where it is largest; the interval is that of its SMD, turned round where that is below 0."""
    if by_group.empty:
        return "", Interval(math.nan, math.nan, math.nan)
    worst = by_group.loc[by_group["smd"].abs().idxmax()]
    low, high = worst["smd_low"], worst["smd_high"]
    ends = (low, high) if worst["smd"] >= 0 else (-high, -low)
    return f"{worst['attribute']}: {worst['group']}", Interval(abs(worst["smd"]), *ends)


def _number(cell: object, scale: Scale | None, needed: bool) -> tuple[float, str]:
    """A cell as a number, and what is wrong with it; on the scale, where one is given."""
    if files.missing(cell):
        return math.nan, "no score" if needed else ""
    if math.isnan(number := files.number(cell)):
        return math.nan, f"{files.text(cell)[:30]!r} is not a finite number"
    if scale is not None and not scale.contains(number):
        return math.nan, f"{number:g} is not on the scale {scale}"
    return number, ""


# ---------------------------------------------------------------- sentences


def described(essays: pd.DataFrame, source: str) -> str:
    """How many essays there are, from where, how many with a second human score, and the groups of writers."""
    groups = [
        f"{name.removeprefix('groups.')} ({essays[name].nunique()} groups, {essays[name].isna().sum()} not recorded)"
        for name in essays
        if name.startswith("groups.")
    ]
    return (
        f"**{len(essays):,} essays** {source}; {essays['second_score'].notna().sum():,} with a second human score. "
        f"Writer groups: {'; '.join(groups) or 'none named'}."
    )


def thresholds_met(table: pd.DataFrame, judged: pd.DataFrame, *, smd_limit: float) -> str:
    """Thresholds met, missed and not known, and the verdicts on the groups large enough to judge.

    `table` is that of `thresholds`; `judged` the rows of `fairness.smd_by_group` that it was given.
    """
    met, missed, unknown = (table.loc[table["met"] == answer, "criterion"].tolist() for answer in ("yes", "no", "not known"))
    lines = [f"**{len(met)} of {len(met) + len(missed)} thresholds are met.**"]
    lines += [f"Missed: {', '.join(missed)}."] if missed else []
    lines += [f"Not known: {', '.join(unknown)}."] if unknown else []
    if len(judged):
        count = judged["verdict"].value_counts()
        biased = [f"{row.attribute} = {row.group} ({row.smd:+.2f})" for row in judged.query("verdict == 'biased'").itertuples()]
        lines.append(
            f"Of {len(judged)} writer groups large enough to judge, {len(biased)} are treated differently, beyond {smd_limit:g}"
            f"{': ' + ', '.join(biased) if biased else ''}; {count.get('not biased', 0)} are not, "
            f"{count.get('undecided', 0)} cannot be told."
        )
    return "\n\n".join(lines)


def true_score(essays: pd.DataFrame) -> str:
    """PRMSE, where essays have a second human score."""
    if essays["second_score"].isna().all():
        return "Without a second human score, agreement with the *true* score (PRMSE) cannot be computed."
    prmse = metrics.prmse(essays[["score", "second_score"]], essays["value"])
    return (
        f"Against the *true* score (two ratings of an essay tell how far a single one can be trusted): **PRMSE = {prmse:.3f}**, "
        "the share of the variance of true scores that the machine predicts (Loukina et al. 2020)."
    )


def high_scores(found: Mapping[str, float]) -> str:
    """Whether the two highest scores are given too rarely, from `fairness.suppression`."""
    low, high = found["change_low"], found["change_high"]
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
    listed = ", ".join(f"{row.attribute} ({row.r2_adjusted:.1%} of the variance of the error)" for row in clear.itertuples())
    some = f"At equal human score, writers are treated differently by **{listed}**."
    return some if listed else "At equal human score no attribute makes a difference beyond chance (CSD, Holm)."


def can_be_cleared(table: pd.DataFrame, *, smd_limit: float) -> str:
    """For how many groups these essays can show that there is no bias, from `power.smd_power`."""
    asked = table[(table["question"] == power.CLEARED) & (table["attribute"] != "all")]
    if asked.empty:
        return "No writer groups are named."
    return (
        f"“No bias within {smd_limit:g}” can be shown here (where it is true, in 80 % of such samples) for "
        f"**{asked['answerable'].sum()} of {len(asked)} groups**."
    )
