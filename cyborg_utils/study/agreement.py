"""How well the arms of a study agree with people: tables of QWK, differences, gap closed, power. Frames in, tidy tables out.

The statistics come from `stats.comparisons`, pooled over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.bootstrap import Swaps
from cyborg_utils.stats.comparisons import across_seeds, contrast, decided, equivalences, gap_closed, mean_over_seeds, one_by_one
from cyborg_utils.stats.metrics import MIN_DOUBLE, agreement_metrics, prmse
from cyborg_utils.stats.power import qwk_power
from cyborg_utils.study.arms import TEACHER, Runs, by_seed, human, of_student, pick, prompts, shared, systems
from cyborg_utils.study.scores import ARM


def agreement_table(raters: pd.DataFrame, *, scale: Scale, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """One row per arm: QWK with interval (`across_seeds`), and the means over seeds of the other agreement metrics.

    Columns: fraction, n_human (U and development essays), n_dev, labels, student, head, seeds, n, qwk, low, high, interval_of,
    seed_sd, test_sd, exact, adjacent, r, sd_ratio, smd, prmse, qwk_raw, smd_raw. n counts the test essays. The `raw` metrics are
    of the scores before mean and SD are matched. prmse is NaN where fewer than `metrics.MIN_DOUBLE` essays have a second score.
    """
    h, score, second = human(raters), human(raters, "score"), human(raters, "second_score")
    first = human(raters, "first_score") if "first_score" in raters else score
    rows, ratings = [], np.column_stack([first, second])
    for key, arm in raters.groupby(ARM, sort=False):
        levels, values = by_seed(arm, "matched_level"), by_seed(arm, "matched_value").values()
        pooled = across_seeds(h, levels, resamples=resamples, confidence=confidence, seed=seed)
        main = pd.DataFrame([agreement_metrics(score, value, scale) for value in values]).mean()
        raw = pd.DataFrame([agreement_metrics(score, value, scale) for value in by_seed(arm, "value").values()]).mean()
        true = np.mean([prmse(ratings, value) for value in values]) if np.isfinite(second).sum() >= MIN_DOUBLE else np.nan
        hits = [(np.mean(level == h), np.mean(np.abs(level - h) <= 1)) for level in levels.values()]
        rows.append(
            dict(zip(ARM, key, strict=True))
            | {name: arm[name].iloc[0] for name in ("n_human", "n_dev")}
            | {"seeds": len(levels), "n": len(h), "qwk": pooled["mean"]}
            | {name: pooled[name] for name in ("low", "high", "interval_of", "seed_sd", "test_sd")}
            | dict(zip(("exact", "adjacent"), np.mean(hits, axis=0), strict=True))
            | {name: main[name] for name in ("r", "sd_ratio", "smd")}
            | {"prmse": true, "qwk_raw": raw["qwk"], "smd_raw": raw["smd"]}
        )
    first, table = [*PLACE, "labels", "student", "head"], pd.DataFrame(rows)
    return table[[*first, *table.columns.drop(first)]]


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
    there = [arm for arm in ("human", "cyborg", "full", "teacher") if arm in rows.index]
    found = {arm: tuple(rows.loc[arm, ["qwk", "low", "high"]]) for arm in there}
    pair = pick(table_comparisons, fraction=fraction, student=student, head=head, system="cyborg", baseline="human")
    gain = pair[["difference", "low", "high"]].to_numpy()
    return found | ({"gain": tuple(gain[0])} if len(gain) else {})


def single_runs(raters: pd.DataFrame, *, scale: Scale) -> pd.DataFrame:
    """One row per arm and seed: QWK on the test essays; the dots of the figures."""
    h, rows = human(raters, "score"), []
    for key, arm in raters.groupby([*ARM, "n_human"], sort=False):
        for seed, level in by_seed(arm, "matched_level").items():
            rows.append((*key, seed, agreement_metrics(h, scale.score(level), scale)["qwk"]))
    return pd.DataFrame(rows, columns=[*ARM, "n_human", "seed", "qwk"])


def comparisons(raters: pd.DataFrame, *, margin: float, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Differences in QWK within each fraction, student and head; all rows are one family for Holm's corrections.

    Pairs: every kind of Cyborg labels against `human`, `human+dev` and `full`; `human+dev`, `full` and the Teacher's two
    readings against `human`. Columns: fraction, n_human, n_dev, student, head, system, baseline, seeds (those that both have),
    n, qwk, qwk_baseline, those of `comparisons.contrast`, `decided` and `equivalences`, least_margin (the smallest margin at
    which the pair alone would be equivalent). "Comparable" is asked of the pairs with `full` alone: they are the family of that
    verdict, and the others have "not asked".
    """
    h, prompts_, rows, tests = human(raters), prompts(raters), [], []
    for place, arms in settings(raters, "matched_level"):
        for system, baseline in _pairs(arms):
            ours, theirs = shared(arms[system], arms[baseline])
            if not ours:
                continue
            options = {"margin": margin, "resamples": resamples, "confidence": confidence, "seed": seed}
            level = [mean_over_seeds(h, runs) for runs in (ours, theirs)]
            rows.append(
                place
                | {"system": system, "baseline": baseline, "seeds": len(ours), "n": len(h)}
                | {"qwk": level[0], "qwk_baseline": level[1]}
                | contrast(h, ours, theirs, clusters=prompts_, **options)
            )
            tests.append(Swaps(h, one_by_one(ours), one_by_one(theirs), seed=seed))
    table = pd.DataFrame(rows, columns=None if rows else _COMPARED)
    if rows:
        table = pd.concat([table, decided(tests, alpha=1 - confidence, resamples=resamples)], axis=1)
        asked = table["baseline"] == "full"
        table[["p_tost", "p_beyond"]] = table[["p_tost", "p_beyond"]].where(asked)
        table = equivalences(table, alpha=1 - confidence)
        table["equivalence"] = table["equivalence"].where(asked, "not asked")
    least = table[["tost_low", "tost_high"]].abs().max(axis=1)
    return table.assign(least_margin=least).reindex(columns=_COMPARED)


def seed_by_seed(
    raters: pd.DataFrame, *, resamples: int, confidence: float, seed: int, column: str = "matched_level"
) -> pd.DataFrame:
    """`cyborg` against `human` and `human+dev` in each seed alone; all rows are one family for Holm's correction.

    A seed has its own U, Teacher and Students; the test essays are the same. Columns: fraction, n_human, n_dev, student, head,
    baseline, seed, n, qwk, qwk_baseline, difference, low, high (over test essays), and those of `decided`.
    """
    h, rows, tests = human(raters), [], []
    for place, arms in settings(raters, column):
        for baseline in ("human", "human+dev"):
            ours, theirs = shared(arms.get("cyborg", {}), arms.get(baseline, {}))
            for one in ours:
                pair = ({one: ours[one]}, {one: theirs[one]})
                level = [mean_over_seeds(h, runs) for runs in pair]
                row = place | {"baseline": baseline, "seed": one, "n": len(h), "qwk": level[0], "qwk_baseline": level[1]}
                found = across_seeds(h, *pair, resamples=resamples, confidence=confidence, seed=seed)
                rows.append(row | {"difference": found["mean"], "low": found["low"], "high": found["high"]})
                tests.append(Swaps(h, *map(one_by_one, pair), seed=seed))
    if not rows:
        return pd.DataFrame(columns=["fraction", "student", "head", "baseline", "seed", "difference", "low", "high", "p_holm"])
    return pd.concat([pd.DataFrame(rows), decided(tests, alpha=1 - confidence, resamples=resamples)], axis=1)


PLACE = ["fraction", "n_human", "n_dev"]  # how many human scores: their share of X, all that were paid for, for development
_COMPARED = [*PLACE, "student", "head", "system", "baseline", "seeds", "n", "qwk", "qwk_baseline", "difference"]
_COMPARED += ["low", "high", "prompt_low", "prompt_high", "p", "p_holm", "p_error", "swaps", "p_settled", "tost_low", "tost_high"]
_COMPARED += ["p_tost_holm", "margin", "equivalence", "least_margin"]
MEASURES = {  # by which a gap can be closed: metric, column of the human scores, column of the machine's
    "QWK, matched": ("qwk", "human_level", "matched_level"),
    "r": ("r", "score", "value"),
    "exact, matched": ("exact", "human_level", "matched_level"),
    "MAE, matched": ("mae", "score", "matched_value"),
    "QWK, raw": ("qwk", "human_level", "level"),
    "MAE, raw": ("mae", "score", "value"),
}


def gaps(
    raters: pd.DataFrame, *, resamples: int, confidence: float, seed: int, measures: Sequence[str] = ("QWK, matched",)
) -> pd.DataFrame:
    """Share of the gap between `human` and `full` that each kind of Cyborg labels closes (`comparisons.gap_closed`).

    `measures` are names in `MEASURES`; a claim that holds by one of them alone depends on the metric. Columns: fraction,
    n_human, n_dev, student, head, labels, measure, seeds, n, gap_closed, low, high, gained, gap, gap_low, gap_high, resolved.
    """
    rows = []
    for measure in measures:
        metric, of, column = MEASURES[measure]
        options = {"metric": metric, "resamples": resamples, "confidence": confidence, "seed": seed}
        for place, arms in settings(raters, column):
            if not {"human", "full"} <= set(arms):
                continue
            for labels in (name for name in arms if name.startswith("cyborg")):
                found = gap_closed(human(raters, of), arms["human"], arms[labels], arms["full"], **options)
                rows.append(place | {"labels": labels, "measure": measure, "seeds": len(arms[labels])} | found)
    columns = [*PLACE, "student", "head", "labels", "measure", "seeds", "n", "gap_closed", "low", "high", "gained"]
    return pd.DataFrame(rows, columns=[*columns, "gap", "gap_low", "gap_high", "resolved"])


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
) -> pd.DataFrame:
    """What the test essays and seeds can show about the main pairs of one Student (`power.qwk_power`); empty without a pair.

    The table covers all essays and, where `groups` are named, also those of the smallest group of at least `min_group` essays.
    The first column, `essays`, names the set.
    """
    wanted, tables = {"fraction": fraction, "student": student, "head": head}, []
    for name, rows in {"all": raters, **_smallest_group(raters, groups, min_group)}.items():
        asked = {}
        for place, arms in settings(rows, "matched_level"):
            for system, baseline in (("cyborg", "human"), ("cyborg", "full"), ("cyborg-soft", "full")):
                ours, theirs = shared(arms.get(system, {}), arms.get(baseline, {}))
                if wanted.items() <= place.items() and ours:
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


def settings(raters: pd.DataFrame, column: str) -> Iterator[tuple[dict, dict[str, Runs]]]:
    """Each fraction, student and head with its arms, including `full` and the Teacher's: labels -> seed -> levels."""
    students = raters[(raters["student"] != "teacher") & (raters["fraction"] < 1)]
    for (fraction, n_human, n_dev, student, head), rows in students.groupby([*PLACE, "student", "head"], sort=False):
        arms = {labels: by_seed(arm, column) for labels, arm in rows.groupby("labels", sort=False)}
        others = {"full": pick(raters, student=student, head=head, labels="full")}
        others |= {name: pick(raters, fraction=fraction, student="teacher", head=reading) for name, reading in TEACHER.items()}
        arms |= {name: by_seed(rows, column) for name, rows in others.items() if len(rows)}
        yield {"fraction": fraction, "n_human": n_human, "n_dev": n_dev, "student": student, "head": head}, arms


def _pairs(arms: dict[str, Runs]) -> list[tuple[str, str]]:
    mixed = [name for name in arms if name.startswith("cyborg")]
    pairs = [(name, baseline) for baseline in ("human", "human+dev", "full") for name in mixed]
    pairs += [(name, "human") for name in ("human+dev", "full", *TEACHER)]
    return [(system, baseline) for system, baseline in pairs if system in arms and baseline in arms]
