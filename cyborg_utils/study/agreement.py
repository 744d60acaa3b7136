"""How well the arms of a study agree with people: tables of QWK, differences, gap closed, power. Frames in, tidy tables out.

The statistics come from `stats.comparisons`, pooled over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.comparisons import across_seeds, contrast, gap_closed, holm
from cyborg_utils.stats.metrics import agreement_metrics
from cyborg_utils.stats.power import qwk_power
from cyborg_utils.study.arms import TEACHER, Runs, by_seed, human, of_student, pick, systems
from cyborg_utils.study.scores import ARM


def agreement_table(
    raters: pd.DataFrame, *, scale: Scale, resamples: int, confidence: float, seed: int, column: str = "matched"
) -> pd.DataFrame:
    """One row per arm: QWK with interval (`across_seeds`), and the means over seeds of the other agreement metrics.

    Columns: fraction, n_human, labels, student, head, seeds, n, qwk, low, high, interval_of, seed_sd, test_sd, exact, adjacent,
    r, sd_ratio, smd, qwk_raw, smd_raw. n counts the essays. The `raw` metrics are of the scores before mean and SD are matched on
    the development split.
    """
    h, score = human(raters), human(raters, "score")
    rows = []
    for key, arm in raters.groupby(ARM, sort=False):
        levels = by_seed(arm, f"{column}_level")
        pooled = across_seeds(h, levels, resamples=resamples, confidence=confidence, seed=seed)
        main = pd.DataFrame([agreement_metrics(score, value, scale) for value in by_seed(arm, f"{column}_value").values()]).mean()
        raw = pd.DataFrame([agreement_metrics(score, value, scale) for value in by_seed(arm, "value").values()]).mean()
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


def panels(table_qwk: pd.DataFrame, *, fraction: float) -> pd.DataFrame:
    """The arms at one fraction of human scores and at 1, one panel per Student and head; the Teacher is in every panel."""
    rows = systems(table_qwk[table_qwk["fraction"].isin([fraction, 1.0])])
    teacher, pupils = rows[rows["student"] == "teacher"], rows[rows["student"] != "teacher"]
    parts = pupils.groupby(["student", "head"], sort=False)
    return pd.concat([pd.concat([part, teacher]).assign(panel=f"{name}, {head}") for (name, head), part in parts])


def for_the_paper(
    table_qwk: pd.DataFrame, table_comparisons: pd.DataFrame, *, fraction: float, student: str, head: str
) -> dict[str, tuple[float, ...]]:
    """Values for `paper.beside`: QWK with interval of the arms present, and the gain of `cyborg` over `human`."""
    rows = of_student(table_qwk, student, head, fraction=fraction).set_index("arm")
    found = {
        arm: tuple(rows.loc[arm, ["qwk", "low", "high"]]) for arm in ("human", "cyborg", "full", "teacher") if arm in rows.index
    }
    pair = pick(table_comparisons, fraction=fraction, student=student, head=head, system="cyborg", baseline="human")
    gain = pair[["difference", "low", "high"]].to_numpy()
    return found | ({"gain": tuple(gain[0])} if len(gain) else {})


def single_runs(raters: pd.DataFrame, *, scale: Scale, column: str = "matched") -> pd.DataFrame:
    """One row per arm and seed: QWK on the test essays; the dots of the figures."""
    h, rows = human(raters, "score"), []
    for key, arm in raters.groupby([*ARM, "n_human"], sort=False):
        for seed, level in by_seed(arm, f"{column}_level").items():
            rows.append((*key, seed, agreement_metrics(h, scale.score(level), scale)["qwk"]))
    return pd.DataFrame(rows, columns=[*ARM, "n_human", "seed", "qwk"])


def comparisons(
    raters: pd.DataFrame, *, margin: float, resamples: int, confidence: float, seed: int, column: str = "matched_level"
) -> pd.DataFrame:
    """Differences in QWK within each fraction, student and head; all rows are one family for Holm's correction.

    Pairs: every kind of Cyborg labels against `human` and against `full`; `full` and the Teacher's two readings against `human`.
    Columns: fraction, student, head, system, baseline, seeds (those that both have), n, qwk, qwk_baseline, difference, low, high
    (`across_seeds`), p, p_holm (permutation over essays, swapping all seeds of an essay together), tost_low, tost_high (the
    2 confidence - 1 interval), margin, equivalence, least_margin (the smallest margin at which the pair is equivalent).
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
    """Share of the gap between `human` and `full` that each kind of Cyborg labels closes (`comparisons.gap_closed`).

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
    """What the test essays and seeds can show about the main pairs of one Student (`power.qwk_power`); empty without a pair.

    The table covers all essays and, where `groups` are named, also those of the smallest group of at least `min_group` essays.
    The first column, `essays`, names the set.
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
    """Name and rows of the smallest group with at least `min_group` essays; empty where there is none."""
    essays = raters.drop_duplicates("essay_id")
    sizes = {(column, group): n for column in groups for group, n in essays[column].value_counts().items() if n >= min_group}
    if not sizes:
        return {}
    column, group = min(sizes, key=sizes.__getitem__)
    return {f"{column.removeprefix('groups.')}: {group}": raters[raters[column] == group]}


def _settings(raters: pd.DataFrame, column: str) -> Iterator[tuple[dict, dict[str, Runs]]]:
    """Each fraction, student and head with its arms, including `full` and the Teacher's: labels -> seed -> levels."""
    students = raters[(raters["student"] != "teacher") & (raters["fraction"] < 1)]
    for (fraction, student, head), rows in students.groupby(["fraction", "student", "head"], sort=False):
        arms = {labels: by_seed(arm, column) for labels, arm in rows.groupby("labels", sort=False)}
        others = {"full": pick(raters, student=student, head=head, labels="full")}
        others |= {name: pick(raters, fraction=fraction, student="teacher", head=reading) for name, reading in TEACHER.items()}
        arms |= {name: by_seed(rows, column) for name, rows in others.items() if len(rows)}
        yield {"fraction": fraction, "student": student, "head": head}, arms


def _shared(arms: dict[str, Runs], system: str, baseline: str) -> tuple[Runs, Runs]:
    """The runs of two arms for the seeds that both have; empty where an arm is missing."""
    ours, theirs = arms.get(system, {}), arms.get(baseline, {})
    seeds = sorted(set(ours) & set(theirs))
    return {seed: ours[seed] for seed in seeds}, {seed: theirs[seed] for seed in seeds}


def _pairs(arms: dict[str, Runs]) -> list[tuple[str, str]]:
    mixed = [name for name in arms if name.startswith("cyborg")]
    pairs = [(name, "human") for name in mixed] + [(name, "full") for name in mixed]
    pairs += [(name, "human") for name in ("full", *TEACHER)]
    return [(system, baseline) for system, baseline in pairs if system in arms and baseline in arms]
