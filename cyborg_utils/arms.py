"""The arms of a study on the same test essays: agreement, differences, gap closed, bias. Frames in, tidy tables out.

`raters` is always the frame of `scores.raters`. An arm is one value of (fraction, student, head, labels), repeated by seeds;
the arm `full` has fraction 1 and is the upper bound of every other fraction. The statistics are those of `significance` and
`fairness`, pooled over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from cyborg_utils.fairness import SIGNS, conditional_bias, judged_anew, osa_osd_csd, smd_by_group, suppression
from cyborg_utils.metrics import agreement
from cyborg_utils.power import qwk_power
from cyborg_utils.scale import Scale
from cyborg_utils.scores import ARM
from cyborg_utils.significance import across_seeds, contrast, gap_closed, holm, widened

Runs = dict[int, np.ndarray]  # seed -> one number an essay, essays in the order of their ids
TEACHER = {"teacher": "most likely", "teacher-expected": "expected"}  # the Teacher's two readings (`scores.raters`), as systems


def pick(raters: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows whose columns have these values: `pick(raters, fraction=0.1, labels="cyborg")`."""
    return raters[np.logical_and.reduce([raters[name] == value for name, value in wanted.items()])]


def systems(table: pd.DataFrame) -> pd.DataFrame:
    """With a column `arm`: the labels, and the Teacher's two readings by their names in `TEACHER`."""
    readings = {reading: name for name, reading in TEACHER.items()}
    return table.assign(arm=table["head"].map(readings).fillna(table["labels"]))


def by_seed(arm: pd.DataFrame, column: str) -> Runs:
    """A column of one arm as seed -> array."""
    return {int(seed): rows.sort_values("essay_id")[column].to_numpy() for seed, rows in arm.groupby("seed")}


def human(raters: pd.DataFrame, column: str = "human_level") -> np.ndarray:
    """The human scores of the same essays, in the order of `by_seed`."""
    return raters.drop_duplicates("essay_id").sort_values("essay_id")[column].to_numpy()


def headline_fraction(raters: pd.DataFrame) -> float:
    """The fraction that single-fraction tables show: most seeds, then nearest to the paper's 10 %."""
    seeds = raters[raters["fraction"] < 1].groupby("fraction")["seed"].nunique()
    return float(min(seeds.index, key=lambda fraction: (-seeds[fraction], abs(fraction - 0.10))))


def agreement_table(
    raters: pd.DataFrame, *, scale: Scale, resamples: int, confidence: float, seed: int, column: str = "matched"
) -> pd.DataFrame:
    """One row an arm: QWK with interval (`across_seeds`), and the means over seeds of the other figures of agreement.

    Columns: fraction, n_human, labels, student, head, seeds, n, qwk, low, high, interval_of, seed_sd, test_sd, exact, adjacent,
    r, sd_ratio, smd, qwk_raw, smd_raw. n counts the essays; `raw` is without the match of mean and SD on the development split.
    """
    h, score = human(raters), human(raters, "score")
    rows = []
    for key, arm in raters.groupby(ARM, sort=False):
        levels = by_seed(arm, f"{column}_level")
        pooled = across_seeds(h, levels, resamples=resamples, confidence=confidence, seed=seed)
        main = pd.DataFrame([agreement(score, value, scale) for value in by_seed(arm, f"{column}_value").values()]).mean()
        raw = pd.DataFrame([agreement(score, value, scale) for value in by_seed(arm, "value").values()]).mean()
        hits = [(np.mean(level == h), np.mean(np.abs(level - h) <= 1)) for level in levels.values()]
        rows.append(
            dict(zip(ARM, key, strict=True))
            | {"n_human": arm["n_human"].iloc[0], "seeds": len(levels), "n": len(h), "qwk": pooled["mean"]}
            | {name: pooled[name] for name in ("low", "high", "interval_of", "seed_sd", "test_sd")}
            | dict(zip(("exact", "adjacent"), np.mean(hits, axis=0), strict=True))
            | {name: main[name] for name in ("r", "sd_ratio", "smd")}
            | {"qwk_raw": raw["qwk"], "smd_raw": raw["smd"]}
        )
    first = ["fraction", "n_human", "labels", "student", "head"]
    table = pd.DataFrame(rows)
    return table[[*first, *(name for name in table if name not in first)]]


def single_runs(raters: pd.DataFrame, *, scale: Scale, column: str = "matched") -> pd.DataFrame:
    """One row an arm and seed: QWK on the test essays; the dots of the figures."""
    h, rows = human(raters, "score"), []
    for key, arm in raters.groupby([*ARM, "n_human"], sort=False):
        for seed, level in by_seed(arm, f"{column}_level").items():
            rows.append((*key, seed, agreement(h, scale.score(level), scale)["qwk"]))
    return pd.DataFrame(rows, columns=[*ARM, "n_human", "seed", "qwk"])


def comparisons(
    raters: pd.DataFrame, *, margin: float, resamples: int, confidence: float, seed: int, column: str = "matched_level"
) -> pd.DataFrame:
    """Differences in QWK within each fraction, student and head; all rows are one family for Holm's correction.

    Pairs: every kind of Cyborg labels against `human` and against `full`; `full` and the Teacher's two readings against `human`.
    Columns: fraction, student, head, system, baseline, seeds (those that both have), n, qwk, qwk_baseline, difference, low, high
    (`across_seeds`), p, p_holm (permutation over essays, all seeds of an essay together), tost_low, tost_high (the
    2 confidence - 1 interval), margin, equivalence, least_margin (the smallest margin that the pair would have passed).
    """
    h, rows = human(raters), []
    for place, arms in _settings(raters, column):
        for system, baseline in _pairs(arms):
            ours, theirs = _shared(arms, system, baseline)
            if not ours:
                continue
            options = {"margin": margin, "resamples": resamples, "confidence": confidence, "seed": seed}
            level = [float(across_seeds(h, runs, resamples=2, seed=seed)["mean"]) for runs in (ours, theirs)]
            rows.append(
                place
                | {"system": system, "baseline": baseline, "seeds": len(ours), "n": len(h)}
                | {"qwk": level[0], "qwk_baseline": level[1]}
                | contrast(h, ours, theirs, **options)
            )
    table = pd.DataFrame(rows, columns=None if rows else _COMPARED)
    least = table[["tost_low", "tost_high"]].abs().max(axis=1)
    return table.assign(p_holm=holm(table["p"]), least_margin=least)[_COMPARED]


_COMPARED = [
    "fraction",
    "student",
    "head",
    "system",
    "baseline",
    "seeds",
    "n",
    "qwk",
    "qwk_baseline",
    "difference",
    "low",
    "high",
]
_COMPARED += ["p", "p_holm", "tost_low", "tost_high", "margin", "equivalence", "least_margin"]


def gaps(raters: pd.DataFrame, *, resamples: int, confidence: float, seed: int, column: str = "matched_level") -> pd.DataFrame:
    """Share of the gap between `human` and `full` that each kind of Cyborg labels closes (`significance.gap_closed`).

    Columns: fraction, student, head, labels, seeds, n, gap_closed, low, high, gained, gap, gap_low, gap_high, resolved.
    """
    h, rows = human(raters), []
    for place, arms in _settings(raters, column):
        if not {"human", "full"} <= set(arms):
            continue
        for labels in (name for name in arms if name.startswith("cyborg")):
            options = {"resamples": resamples, "confidence": confidence, "seed": seed}
            found = gap_closed(h, arms["human"], arms[labels], arms["full"], **options)
            rows.append(place | {"labels": labels, "seeds": len(arms[labels])} | found)
    columns = ["fraction", "student", "head", "labels", "seeds", "n", "gap_closed", "low", "high", "gained", "gap", "gap_low"]
    return pd.DataFrame(rows, columns=[*columns, "gap_high", "resolved"])


def power_table(
    raters: pd.DataFrame,
    *,
    fraction: float,
    student: str,
    head: str,
    margin: float,
    seed: int,
    sizes: Sequence[float] = (0.02, 0.05, 0.10),
    groups: Sequence[str] = (),
    min_group: int = 10,
    column: str = "matched_level",
) -> pd.DataFrame:
    """What the test essays and seeds can tell about the main pairs of one Student (`power.qwk_power`); empty without a pair.

    Once for all essays and once for those of the smallest group of at least `min_group` essays, where `groups` are named; the
    first column, `essays`, says which.
    """
    wanted, tables = {"fraction": fraction, "student": student, "head": head}, []
    for name, rows in {"all": raters, **_smallest_group(raters, groups, min_group)}.items():
        asked = {}
        for place, arms in _settings(rows, column):
            for system, baseline in (("cyborg", "human"), ("cyborg", "full"), ("cyborg-soft", "full")):
                ours, theirs = _shared(arms, system, baseline)
                if place == wanted and ours:
                    asked[f"{system} - {baseline}"] = (ours, theirs)
        found = qwk_power(human(rows), asked, sizes=sizes, margins=(margin,), seed=seed)
        found.insert(0, "essays", name)
        tables.append(found)
    return pd.concat(tables, ignore_index=True)


def _smallest_group(raters: pd.DataFrame, groups: Sequence[str], min_group: int) -> dict[str, pd.DataFrame]:
    """Name and rows of the smallest group that is judged, or nothing."""
    essays = raters.drop_duplicates("essay_id")
    sizes = {(column, group): n for column in groups for group, n in essays[column].value_counts().items() if n >= min_group}
    if not sizes:
        return {}
    column, group = min(sizes, key=sizes.__getitem__)
    return {f"{column.removeprefix('groups.')}: {group}": raters[raters[column] == group]}


def smd_table(raters: pd.DataFrame, *, column: str = "matched_value", **options: object) -> pd.DataFrame:
    """`smd_of_runs` of every arm: its columns, after fraction, labels, student, head, seeds. `options` go there."""
    tables = [
        smd_of_runs(arm, column, **options).assign(**dict(zip(ARM, key, strict=True)), seeds=arm["seed"].nunique())
        for key, arm in raters.groupby(ARM, sort=False)
    ]
    first = ["fraction", "labels", "student", "head", "seeds"]
    whole = pd.concat(tables, ignore_index=True)
    return whole[[*first, *(name for name in whole if name not in first)]]


def smd_of_runs(arm: pd.DataFrame, column: str, *, confidence: float = 0.95, **options: object) -> pd.DataFrame:
    """`fairness.smd_by_group` of an arm that several seeds have run: its columns, then smd_seed_sd (NaN with one seed).

    smd, dsm, qwk and exact are those of one trained model, their means over the seeds. Intervals and verdicts hold for other
    seeds and other essays (`significance.widened`), and smd_se has both sources too. `options` go to `smd_by_group`.
    """
    table, alone = _by_runs(smd_by_group, ["attribute", "group"], arm, column, confidence=confidence, **options)
    if not alone:
        return table.assign(smd_seed_sd=np.nan)
    # by the SD of all seeds' essays: a seed may have two essays of a group (of U), whose own SD says nothing
    scaled = [(one["human_sd"] / table["human_sd"]).to_numpy() for one in alone]
    smd = [np.array([one[name] * by for one, by in zip(alone, scaled, strict=True)]) for name in ("smd", "smd_low", "smd_high")]
    dsm = [np.array([one[name] for one in alone]) for name in ("dsm", "dsm_low", "dsm_high")]
    means = pd.concat(alone).groupby(level=0)[["dsm", "qwk", "exact"]].mean()
    table[["dsm_low", "dsm_high"]] = table[["dsm_low", "dsm_high"]].sub(table["dsm"] - means["dsm"], axis=0)
    table[list(means)] = means
    for name, runs in (("smd", smd), ("dsm", dsm)):
        ends = widened(table[name], table[f"{name}_low"], table[f"{name}_high"], runs, confidence=confidence)
        table[f"{name}_low"], table[f"{name}_high"] = ends
    table["smd_seed_sd"] = pd.DataFrame(smd[0]).std(ddof=1)
    table["smd_se"] = np.hypot(table["smd_se"], table["smd_seed_sd"].fillna(0) / np.sqrt(len(alone)))
    return judged_anew(table, "smd", "smd_low", "smd_high")


def conditional_of_runs(arm: pd.DataFrame, column: str, *, confidence: float = 0.95, **options: object) -> pd.DataFrame:
    """`fairness.conditional_bias` of an arm that several seeds have run: means over them, with intervals as in `smd_of_runs`."""
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
    """A measure of the arm's mean scores over seeds and, where there are several seeds, of each seed's own, row by row.

    `place` names the columns that tell a row from another; what a seed does not have is NaN there.
    """
    seeds = sorted(arm["seed"].unique()) if arm["seed"].nunique() > 1 else []
    whole = measure(averaged(arm, column), **options)
    alone = [measure(averaged(pick(arm, seed=one), column), **options) for one in seeds]
    return whole, [whole[place].merge(one, on=place, how="left") for one in alone]


def stage_table(
    teachers: pd.DataFrame, raters: pd.DataFrame, *, student: str, head: str, scale: Scale, **options: object
) -> pd.DataFrame:
    """`smd_of_runs` of every stage at which a bias can enter, by fraction: its columns, after fraction, stage, essays.

    `teachers` is the frame of `scores.teachers`. On X, which the Student learns from: the Teacher (most likely level) on U, on
    which it was fine-tuned, and on the pool, its synthetic scores; Cyborg Data, which joins these to the human scores of U. On Y,
    the test essays: the second rater where there is one, the Teacher, and Students on few human scores, on Cyborg Data (as they
    come, and matched on the development split) and on all human scores. Where seeds differ, an essay counts with its mean over
    the seeds in which it has that place; the Teacher's seeds are those of the Cyborg Student. `options` go to `smd_of_runs`.
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
            ("Cyborg, matched", "Y", arm if head == "regression" else arm[:0], "matched_value"),
            ("full", "Y", pick(own, labels="full"), "value"),
        ]
        for stage, essays, rows, column in stages:
            if len(rows):
                found = smd_of_runs(rows, column, scale=scale, **options)
                tables.append(found.assign(fraction=fraction, stage=stage, essays=essays))
    whole = pd.concat(tables, ignore_index=True)
    return whole[["fraction", "stage", "essays", *whole.columns.drop(["fraction", "stage", "essays"])]]


def suppression_table(
    teachers: pd.DataFrame, raters: pd.DataFrame, *, student: str, head: str, scale: Scale, **options: object
) -> pd.DataFrame:
    """`fairness.suppression` of the Teacher on the pool and of every rater on the test essays, by fraction.

    Columns: fraction, arm, essays ("pool" or "Y"), seeds, then those of `fairness.suppression`; matched levels of the Students.
    """
    pool = pick(teachers, part="pool").assign(arm="teacher", essays="pool", matched_level=lambda rows: rows["level"])
    own = raters[((raters["student"] == student) & (raters["head"] == head)) | (raters["student"] == "teacher")]
    both, rows = pd.concat([pool, systems(own).assign(essays="Y")], ignore_index=True), []
    for key, part in both.groupby(["fraction", "arm", "essays"], sort=False):
        found = suppression(part["human_level"], part["matched_level"], scale=scale, essay=part["essay_id"], **options)
        rows.append(dict(zip(("fraction", "arm", "essays"), key, strict=True)) | {"seeds": part["seed"].nunique()} | found)
    return pd.DataFrame(rows)


def smd_wide(table: pd.DataFrame, column: str, *, index: Sequence[str] = ("attribute", "group", "n")) -> pd.DataFrame:
    """Rows of `fairness.smd_by_group` side by side, a column for each value of `column`: SMD and verdict as its sign.

    Both stand in the order of their first appearance, the groups of an attribute (first in `index`) together; "–" where there is
    no SMD.
    """
    cells = [f"{row.smd:+.2f}{SIGNS.get(row.verdict, '')}" if np.isfinite(row.smd) else "–" for row in table.itertuples()]
    places = list(dict.fromkeys(table["attribute"]))
    order = sorted(dict.fromkeys(table[list(index)].itertuples(index=False, name=None)), key=lambda row: places.index(row[0]))
    wide = table.assign(cell=cells).pivot(index=list(index), columns=column, values="cell")
    return wide.loc[order, list(dict.fromkeys(table[column]))]


def osa_table(raters: pd.DataFrame, *, groups: Sequence[str], min_group: int, column: str = "matched_value") -> pd.DataFrame:
    """`fairness.osa_osd_csd` of every arm, an essay's errors averaged over the seeds; Holm's correction over the whole table."""
    how = {"groups": groups, "min_group": min_group, "machine": column, "essay": "essay_id"}
    tables = [osa_osd_csd(arm, **how).assign(**dict(zip(ARM, key, strict=True))) for key, arm in raters.groupby(ARM, sort=False)]
    whole = pd.concat(tables, ignore_index=True)
    first = ["fraction", "labels", "student", "head"]
    return whole[[*first, *(name for name in whole if name not in first)]].assign(p_holm=holm(whole["p"]))


def averaged(arm: pd.DataFrame, column: str) -> pd.DataFrame:
    """One arm, one row an essay: `value` is the mean of a column over seeds."""
    mean = arm.groupby("essay_id", sort=True)[column].mean()
    return arm.drop_duplicates("essay_id").sort_values("essay_id").assign(value=mean.to_numpy())


def _settings(raters: pd.DataFrame, column: str) -> Iterator[tuple[dict, dict[str, Runs]]]:
    """Each fraction, student and head with its arms, `full` and the Teacher's among them: labels -> seed -> levels."""
    students = raters[(raters["student"] != "teacher") & (raters["fraction"] < 1)]
    for (fraction, student, head), rows in students.groupby(["fraction", "student", "head"], sort=False):
        arms = {labels: by_seed(arm, column) for labels, arm in rows.groupby("labels", sort=False)}
        others = {"full": pick(raters, student=student, head=head, labels="full")}
        others |= {name: pick(raters, fraction=fraction, student="teacher", head=reading) for name, reading in TEACHER.items()}
        arms |= {name: by_seed(rows, column) for name, rows in others.items() if len(rows)}
        yield {"fraction": fraction, "student": student, "head": head}, arms


def _shared(arms: dict[str, Runs], system: str, baseline: str) -> tuple[Runs, Runs]:
    """The runs of two arms with the seeds that both have; none where an arm is missing."""
    ours, theirs = arms.get(system, {}), arms.get(baseline, {})
    seeds = sorted(set(ours) & set(theirs))
    return {seed: ours[seed] for seed in seeds}, {seed: theirs[seed] for seed in seeds}


def _pairs(arms: dict[str, Runs]) -> list[tuple[str, str]]:
    mixed = [name for name in arms if name.startswith("cyborg")]
    pairs = [(name, "human") for name in mixed] + [(name, "full") for name in mixed]
    pairs += [(name, "human") for name in ("full", *TEACHER)]
    return [(system, baseline) for system, baseline in pairs if system in arms and baseline in arms]
