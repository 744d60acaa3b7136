"""How the arms of a study treat groups of writers: SMD, DSM, bias at the same human score, by arm and stage.

The statistics come from `stats.fairness`. Where there are several seeds, their intervals are widened by training noise, and
where the development essays are given, by the noise of matching on so few: then they speak of the method. One seed speaks of one
trained model (`model_or_method`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.calibration import matching_noise
from cyborg_utils.stats.comparisons import holm, widened
from cyborg_utils.stats.fairness import (
    SIGNS,
    change_by_group,
    conditional_bias,
    gap_to_truth,
    judged_anew,
    osa_osd_csd,
    score_distribution,
    smd_by_group,
    suppression,
)
from cyborg_utils.stats.metrics import THRESHOLDS
from cyborg_utils.study.arms import MATCHED, averaged, by_seed, human, of_each, of_student, pick
from cyborg_utils.study.scores import ARM

KEYS = ["fraction", "labels", "student", "head"]  # `ARM`, in the order of the tables
ONE_SEED = "cannot be said from one seed"  # the verdict on the method where only one model was trained
COUNTS = {name.replace(" ", "_"): name for name in SIGNS}  # columns with the number of groups of a verdict
METHOD = "the method"  # what a row of `model_or_method` speaks of, where not of one trained model


def smd_table(
    raters: pd.DataFrame, *, column: str = "matched_value", dev: pd.DataFrame | None = None, **options: object
) -> pd.DataFrame:
    """`smd_of_runs` of every arm: fraction, labels, student, head, seeds, then its columns. It receives `options`.

    `dev` are the same raters' development essays, for the noise of matching; arms whose match changes nothing have none.
    """

    def of_arm(arm: pd.DataFrame) -> pd.DataFrame:
        found = smd_of_runs(arm, column, dev=matched_on(dev, arm, column), **options)
        found.insert(0, "seeds", arm["seed"].nunique())
        return found

    return of_each(raters, KEYS, of_arm)


def matched_on(dev: pd.DataFrame | None, arm: pd.DataFrame, column: str = "matched_value") -> pd.DataFrame | None:
    """The development essays that one arm's scores in `column` were matched on; None where they were not, or are not known."""
    if dev is None or column != "matched_value" or np.array_equal(arm["matched_value"], arm["value"]):
        return None
    rows = pick(dev, **arm[ARM].iloc[0].to_dict())
    return rows if len(rows) else None


def smd_of_runs(
    arm: pd.DataFrame,
    column: str,
    *,
    seed: int,
    dev: pd.DataFrame | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    **options: object,
) -> pd.DataFrame:
    """`fairness.smd_by_group` of an arm with several seeds, and what its verdicts speak of.

    Its columns, then smd_seed_sd (SD of smd over the seeds), smd_match_sd (SD over other development essays to match on,
    `calibration.matching_noise`), interval_of, verdict_method. smd, dsm, qwk and exact describe a single trained model: they are
    means over the seeds. Intervals and verdicts hold for other seeds and other essays (`comparisons.widened`), and with `dev`,
    the seeds' development essays with raw `value` and human `score`, for other essays to match on too. smd_se covers the same.

    With one seed, interval and `verdict` speak of that trained model, its match as it is, and verdict_method is `ONE_SEED`: a
    claim about the method needs the spread over seeds. NaN where a source is not counted. `options` go to `smd_by_group`.
    """
    options |= {"seed": seed, "resamples": resamples}
    table, alone = _by_runs(smd_by_group, ["attribute", "group"], arm, column, confidence=confidence, **options)
    table = table.assign(smd_seed_sd=np.nan, smd_match_sd=np.nan, interval_of="essays")
    if not alone:
        return table.assign(verdict_method=table["verdict"].where(~table["verdict"].isin(SIGNS), ONE_SEED))
    # scaled by the SD over all seeds' essays: a seed may have only two essays of a group in U, whose own SD means nothing
    scaled = [(one["human_sd"] / table["human_sd"]).to_numpy() for one in alone]

    def runs(*names: str, by: Sequence[ArrayLike] = scaled) -> list[np.ndarray]:
        return [np.array([one[name] * factor for one, factor in zip(alone, by, strict=True)]) for name in names]

    smd, dsm = runs("smd", "smd_low", "smd_high"), runs("dsm", "dsm_low", "dsm_high", by=[1] * len(alone))
    means = pd.concat(alone).groupby(level=0)[["dsm", "qwk", "exact"]].mean()
    table[["dsm_low", "dsm_high"]] = table[["dsm_low", "dsm_high"]].sub(table["dsm"] - means["dsm"], axis=0)
    table[list(means)] = means
    measured = {"smd": ("smd", smd), "dsm": ("dsm", dsm)}
    if "prompts" in table:
        measured["smd_prompt"] = ("smd", runs("smd", "smd_prompt_low", "smd_prompt_high"))
    for name, (value, own) in measured.items():
        ends = widened(table[value], table[f"{name}_low"], table[f"{name}_high"], own, confidence=confidence)
        table[f"{name}_low"], table[f"{name}_high"] = ends
    table["smd_seed_sd"], table["interval_of"] = pd.DataFrame(smd[0]).std(ddof=1), "essays and seeds"
    table["smd_se"] = np.hypot(table["smd_se"], table["smd_seed_sd"].fillna(0) / np.sqrt(len(alone)))
    table = judged_anew(table, "smd", "smd_low", "smd_high")
    table = table.assign(verdict_method=table["verdict"])
    if dev is None:
        return table
    target, raw = human(dev, "score"), by_seed(dev[dev["seed"].isin(arm["seed"])], "value").values()
    means = [one["machine_mean"] for one in alone]
    noise = matching_noise(target, list(raw), means, resamples=resamples, seed=seed)
    return with_noise(table, noise, essays=len(target), confidence=confidence)


def with_noise(table: pd.DataFrame, noise: ArrayLike, *, essays: int, confidence: float) -> pd.DataFrame:
    """`smd_of_runs` of several seeds with intervals and verdicts that also hold for other development essays.

    `noise` is the SD of each row's machine mean over other `essays` to match on, in points. A linear match changes no DSM.
    """
    sd = np.asarray(noise, dtype=float) / table["human_sd"]
    table = table.assign(smd_match_sd=sd, interval_of="essays, seeds and matching")
    table["smd_se"] = np.hypot(table["smd_se"], sd.fillna(0))
    half = stats.t.ppf((1 + confidence) / 2, essays - 1) * sd.fillna(0)
    for name in [name for name in ("smd", "smd_prompt") if f"{name}_low" in table]:
        table[f"{name}_low"] = table["smd"] - np.hypot(table["smd"] - table[f"{name}_low"], half)
        table[f"{name}_high"] = table["smd"] + np.hypot(table[f"{name}_high"] - table["smd"], half)
    table = judged_anew(table, "smd", "smd_low", "smd_high")
    return table.assign(verdict_method=table["verdict"])


def model_or_method(raters: pd.DataFrame, table: pd.DataFrame, **options: object) -> pd.DataFrame:
    """Two statements side by side: a claim about the method, and a verdict on each trained model; counts of groups.

    `raters` are the rows of some arms, `table` those of `smd_table` for the same arms. The method's verdicts count other test
    essays, other trainings and other development essays to match on; a model's count other test essays alone, its match fixed as
    deployed. Both can be right: a single training may be biased where the method is not shown to be.

    Columns: fraction, labels, student, head, speaks_of (`METHOD` or "seed 1" ...), judged (groups), biased, not_biased,
    undecided, biased_groups (names with SMD). For the method with one seed there are no counts, and biased_groups is `ONE_SEED`.
    `options` go to `smd_of_runs`.
    """
    rows = []
    for key, arm in raters.groupby(ARM, sort=False):
        place = dict(zip(ARM, key, strict=True))
        rows.append(place | {"speaks_of": METHOD} | _counted(pick(table, **place), "verdict_method"))
        for seed, own in arm.groupby("seed"):
            rows.append(place | {"speaks_of": f"seed {seed}"} | _counted(smd_of_runs(own, "matched_value", **options), "verdict"))
    return pd.DataFrame(rows).astype(dict.fromkeys(["judged", *COUNTS], "Int64"))


def _counted(table: pd.DataFrame, column: str) -> dict[str, object]:
    """Groups by their verdict in `column`, and the biased ones by name."""
    judged = table[table["verdict"].isin(SIGNS) & (table["attribute"] != "all")]
    if (judged[column] == ONE_SEED).any():
        return {"judged": len(judged)} | dict.fromkeys(COUNTS, pd.NA) | {"biased_groups": ONE_SEED}
    names = [f"{row.attribute} = {row.group} ({row.smd:+.2f})" for row in judged[judged[column] == "biased"].itertuples()]
    counts = {name: int((judged[column] == verdict).sum()) for name, verdict in COUNTS.items()}
    return {"judged": len(judged)} | counts | {"biased_groups": ", ".join(names)}


def matching_table(raters: pd.DataFrame, **options: object) -> pd.DataFrame:
    """What matching did to each judged group's |SMD|, by arm: fraction, labels, student, head, then `fairness.change_by_group`.

    An essay counts with its mean over the seeds, raw and matched. Arms whose match changes nothing are left out.
    """

    def of_arm(arm: pd.DataFrame) -> pd.DataFrame:
        both = averaged(arm, "value").assign(raw=lambda rows: rows["value"], matched=averaged(arm, "matched_value")["value"])
        return change_by_group(both, before="raw", after="matched", **options).drop(columns="p")

    moved = raters.assign(moved=raters["value"] != raters["matched_value"]).groupby(KEYS)["moved"].transform("any")
    return of_each(raters[moved], KEYS, of_arm)


def conditional_of_runs(arm: pd.DataFrame, column: str, *, confidence: float = 0.95, **options: object) -> pd.DataFrame:
    """`fairness.conditional_bias` of an arm with several seeds: means over them, with intervals as in `smd_of_runs`."""
    place = ["attribute", "group", "score"]
    table, alone = _by_runs(conditional_bias, place, arm, column, confidence=confidence, **options)
    for names in (("bias", "low", "high"), ("gap", "gap_low", "gap_high")) if alone else ():
        runs = [np.array([one[name] for one in alone]) for name in names]
        value, low, high = (table[name] for name in names)
        table[names[1]], table[names[2]] = widened(value, low, high, runs, confidence=confidence)
    return judged_anew(table, "gap", "gap_low", "gap_high")


def _by_runs(
    measure: Callable[..., pd.DataFrame], place: list[str], arm: pd.DataFrame, column: str, **options: object
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """A measure of the arm's mean scores over seeds, and of each seed's own scores where there are several seeds.

    `place` names the columns that identify a row. The seeds' tables have the rows of the first table, NaN where a seed has none.
    """
    seeds = sorted(arm["seed"].unique()) if arm["seed"].nunique() > 1 else []
    whole = measure(averaged(arm, column), **options)
    alone = [measure(averaged(pick(arm, seed=one), column), **options) for one in seeds]
    return whole, [whole[place].merge(one, on=place, how="left") for one in alone]


def stage_table(
    teachers: pd.DataFrame,
    raters: pd.DataFrame,
    *,
    student: str,
    head: str,
    scale: Scale,
    dev: pd.DataFrame | None = None,
    **options: object,
) -> pd.DataFrame:
    """`smd_of_runs` of every stage at which a bias can enter, by fraction: fraction, stage, essays, then its columns.

    `teachers` is the frame of `scores.teachers`. Stages on X, the essays that the Student learns from: the Teacher (most likely
    level) on U, on which it was fine-tuned; the Teacher on the pool (the synthetic scores); Cyborg Data, which joins these to the
    human scores of U. Stages on Y, the test essays: the second rater where there is one; the Teacher; Students trained on few
    human scores, on Cyborg Data (raw, and matched on the development split) and on all human scores.

    An essay counts with its mean over the seeds in which it is part of the stage. The Teacher's seeds are those of the Cyborg
    Student. `dev` is as in `smd_table`; `options` go to `smd_of_runs`.
    """
    double = raters.drop_duplicates("essay_id").dropna(subset=["second_score"])
    own, tables = pick(raters, student=student, head=head), []
    for fraction, arm in pick(own, labels="cyborg").groupby("fraction"):
        seen = teachers[(teachers["fraction"] == fraction) & teachers["seed"].isin(arm["seed"])]
        seen = seen.assign(synthetic=scale.score(seen["level"]))
        on_x = seen[seen["part"].isin(["U", "pool"])]
        labels = on_x["score"].where(on_x["part"] == "U", on_x["synthetic"])
        stages = [
            ("Teacher on U", "X", pick(seen, part="U"), "synthetic"),
            ("Teacher on the pool", "X", pick(seen, part="pool"), "synthetic"),
            ("Cyborg Data", "X", on_x.assign(label=labels), "label"),
            ("second rater", "Y", double, "second_score"),
            ("Teacher on Y", "Y", pick(seen, part="test"), "synthetic"),
            ("human", "Y", pick(own, fraction=fraction, labels="human"), "value"),
            ("cyborg", "Y", arm, "value"),
            ("Cyborg, matched", "Y", arm if head in MATCHED else arm[:0], "matched_value"),
            ("full", "Y", pick(own, labels="full"), "value"),
        ]
        for stage, essays, rows, column in stages:
            if len(rows):
                fitted = matched_on(dev, rows, column) if column == "matched_value" else None
                found = smd_of_runs(rows, column, dev=fitted, scale=scale, **options)
                tables.append(found.assign(fraction=fraction, stage=stage, essays=essays))
    whole = pd.concat(tables, ignore_index=True)
    return whole[["fraction", "stage", "essays", *whole.columns.drop(["fraction", "stage", "essays"])]]


def suppression_table(
    teachers: pd.DataFrame, raters: pd.DataFrame, *, student: str, head: str, scale: Scale, **options: object
) -> pd.DataFrame:
    """`fairness.suppression` of the Teacher on the pool and of every rater on the test essays, by fraction.

    Columns: fraction, arm, essays ("pool" or "Y"), seeds, then those of `fairness.suppression`. Students' levels are matched.
    """
    pool = pick(teachers, part="pool").assign(arm="teacher", essays="pool", matched_level=lambda rows: rows["level"])
    own = of_student(raters, student, head).assign(essays="Y")
    both, rows = pd.concat([pool, own], ignore_index=True), []
    for key, part in both.groupby(["fraction", "arm", "essays"], sort=False):
        found = suppression(part["human_level"], part["matched_level"], scale=scale, essay=part["essay_id"], **options)
        rows.append(dict(zip(("fraction", "arm", "essays"), key, strict=True)) | {"seeds": part["seed"].nunique()} | found)
    return pd.DataFrame(rows)


def smd_wide(table: pd.DataFrame, column: str, *, index: Sequence[str] = ("attribute", "group", "n")) -> pd.DataFrame:
    """Rows of `fairness.smd_by_group` side by side, one column per value of `column`; cells are SMD and verdict mark (`SIGNS`).

    Rows and columns keep the order of first appearance, except that the groups of an attribute (first in `index`) are together.
    "–" where there is no SMD.
    """
    cells = [f"{row.smd:+.2f}{SIGNS.get(row.verdict, '')}" if np.isfinite(row.smd) else "–" for row in table.itertuples()]
    places = list(dict.fromkeys(table["attribute"]))
    order = sorted(dict.fromkeys(table[list(index)].itertuples(index=False, name=None)), key=lambda row: places.index(row[0]))
    wide = table.assign(cell=cells).pivot(index=list(index), columns=column, values="cell")
    return wide.loc[order, list(dict.fromkeys(table[column]))]


def osa_table(raters: pd.DataFrame, *, groups: Sequence[str], min_group: int) -> pd.DataFrame:
    """`fairness.osa_osd_csd` of every arm, with errors averaged over seeds; Holm's correction covers the whole table."""
    how = {"groups": groups, "min_group": min_group, "machine": "matched_value", "essay": "essay_id"}
    whole = of_each(raters, KEYS, lambda arm: osa_osd_csd(arm, **how))
    return whole.assign(p_holm=holm(whole["p"]))


JUDGED = {"QWK": "qwk", "r": "r", "below people": "below_people", "SMD": "smd", "SD ratio": "sd_ratio"}  # thresholds by name
SMD_COLUMNS = ["fraction", "labels", "student", "head", "scores", "attribute", "group", "n", "human_mean", "machine_mean"]
SMD_COLUMNS += ["seeds", "smd", "smd_low", "smd_high", "interval_of", "smd_seed_sd", "smd_match_sd"]
SMD_COLUMNS += ["smd_prompt_low", "smd_prompt_high", "prompts", "dsm", "dsm_low", "dsm_high", "qwk", "exact", "limit"]
SMD_COLUMNS += ["verdict", "verdict_method"]


def distribution_table(teachers: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Human and synthetic scores of the pool side by side, by fraction.

    Columns: fraction, n_human, seeds, essays, then those of `fairness.score_distribution`. `teachers` is the frame of
    `scores.teachers`.
    """
    tables = []
    for (share, n_human), part in pick(teachers, part="pool").groupby(["fraction", "n_human"]):
        table = score_distribution({"human": part["human_level"], "synthetic": part["level"]}, scale)
        first = {"fraction": share, "n_human": n_human, "seeds": part["seed"].nunique(), "essays": part["essay_id"].nunique()}
        tables.append(table.assign(**first)[[*first, *table.columns]])
    return pd.concat(tables, ignore_index=True)


def pool_scores(teachers: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Human scores of the pool's essays, then synthetic scores by fraction, in one long frame with columns source and given."""
    pool = pick(teachers, part="pool")
    human = pool.drop_duplicates("essay_id").assign(source="human", given=lambda rows: rows["score"])
    named = pool.assign(source=pool["fraction"].map("Synthetic, U = {:.0%}".format), given=scale.score(pool["level"]))
    return pd.concat([human, named.sort_values("fraction", kind="stable")])


def threshold_table(table: pd.DataFrame, *, people: float) -> pd.DataFrame:
    """Each arm of `agreement.agreement_table` against the field's thresholds (`metrics.THRESHOLDS`), with a column `misses`.

    `people` is the QWK of two people on the same essays; where it is NaN the drop below it is not judged.
    """
    columns = ["labels", "student", "head", "seeds", "n", "qwk", "low", "high", "r", "smd", "sd_ratio"]
    rows = table[columns].assign(below_people=people - table["qwk"])
    fails = {name: rows[at].notna() & ~THRESHOLDS[at].met(rows[at]) for name, at in JUDGED.items()}
    rows["misses"] = [", ".join(name for name, wrong in fails.items() if wrong[at]) or "none" for at in rows.index]
    return rows


def smd_of_all(raters: pd.DataFrame, dev: pd.DataFrame, **options: object) -> pd.DataFrame:
    """`smd_table` of the final scores of all arms and of the raw scores of regression arms: `SMD_COLUMNS`.

    The column `scores` is "matched", "as given" (levels, which are not matched) or "raw". Intervals of matched scores count the
    noise of matching on `dev`; those over prompts stand beside. `options` go to `smd_by_group`.
    """
    options |= {"prompt": "prompt"}
    final = smd_table(raters, dev=dev, **options)
    final["scores"] = np.where(final["head"].isin(MATCHED), "matched", "as given")
    raw = smd_table(raters[raters["head"].isin(MATCHED)], column="value", **options).assign(scores="raw")
    return pd.concat([final, raw], ignore_index=True)[SMD_COLUMNS]


def truth_table(raters: pd.DataFrame, *, groups: Sequence[str], confidence: float) -> pd.DataFrame:
    """`fairness.gap_to_truth` for each kind of labels, on essays whose true quality is known; empty where there are none.

    Columns: attribute, group, n, labels, gap, gap_low, gap_high.
    """
    known = raters[raters["true_score"].notna()] if groups else raters[:0]
    how = {"groups": groups, "confidence": confidence}
    table = of_each(known, ["labels"], lambda part: gap_to_truth(averaged(part, "matched_value"), **how))
    return table.reindex(columns=["attribute", "group", "n", "labels", "gap", "gap_low", "gap_high"])


def truth_by_seed(raters: pd.DataFrame, *, groups: Sequence[str], confidence: float) -> pd.DataFrame:
    """`truth_table` of the Cyborg Student of each seed alone, with a column `seed`."""
    tables = [
        truth_table(part, groups=groups, confidence=confidence).assign(seed=seed)
        for seed, part in raters[raters["labels"] == "cyborg"].groupby("seed")
    ]
    return pd.concat(tables or [truth_table(raters[:0], groups=groups, confidence=confidence).assign(seed=0)], ignore_index=True)


def for_the_paper(
    table_suppression: pd.DataFrame, table_smd: pd.DataFrame, *, fraction: float, student: str, head: str
) -> dict[str, tuple[float, ...]]:
    """Values for `paper.beside`: shift and top scores of the pool, and the raw Cyborg Student's SMD in three groups.

    Each with its interval; an SMD, where essays have prompts, with that over prompts too: (value, low, high, low, high).
    """
    pool = table_suppression.set_index(["fraction", "arm", "essays"]).loc[(fraction, "teacher", "pool")]
    found = {"shift": ("shift", "shift_low", "shift_high"), "top": ("change", "change_low", "change_high")}
    found = {name: tuple(pool[list(columns)]) for name, columns in found.items()}
    own = pick(table_smd, student=student, head=head, labels="cyborg")
    columns = ["smd", "smd_low", "smd_high", *(name for name in ("smd_prompt_low", "smd_prompt_high") if name in own)]
    own = own[own["scores"] != "matched"].set_index(["attribute", "group"])[columns]
    return found | {name: tuple(own.loc[place]) for name, place in PUBLISHED_GROUPS.items() if place in own.index}


PUBLISHED_GROUPS = {  # the paper's three groups, as the corpora call them
    "disadvantaged": ("economically_disadvantaged", "Economically disadvantaged"),
    "learners": ("ell_status", "Yes"),
    "disabled": ("student_disability_status", "Identified as having disability"),
}
