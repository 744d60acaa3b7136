"""Query strategies: which essays people should score, when they cannot score all.

A rule is a pure function over arrays. It returns `count` different indices of the pool, ascending, and the same ones for the same
seed. `second_round` trains Students on the chosen essays; `compare` judges the rules at the same number of human scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import cyborg_data, student, trials
from cyborg_utils.plots.style import label
from cyborg_utils.stats.bootstrap import Swaps
from cyborg_utils.stats.comparisons import across_seeds, contrast, decided, equivalences, one_by_one
from cyborg_utils.study import scores

STRATEGIES = ("random", "length", "clusters", "disagreement")
SETTING = ["fraction", "student", "labels"]
DIFFERENCES = [*SETTING, "n_human", "system", "baseline", "runs", "draws", "difference", "low", "high", "p", "p_holm"]
DIFFERENCES += ["lowest_run", "highest_run", "margin", "equivalence"]  # what the saved table shows
VERDICTS = {
    "better": "better than chance",
    "worse": "worse than chance",
    "equivalent": "equal to chance within {margin:g}",
    "not equivalent": "differ by more than {margin:g} but not in every run",
    "undecided": "undecided: shown neither to differ from chance nor to equal it within {margin:g}",
}


def at_random(pool: int, count: int, *, seed: int) -> np.ndarray:
    """Any essays: every set is as likely as any other."""
    return np.sort(np.random.default_rng(seed).choice(pool, _checked(pool, count), replace=False))


def by_length(lengths: ArrayLike, count: int, *, seed: int) -> np.ndarray:
    """Stratified by length: in order of length (ties at random) cut into `count` strata, one essay drawn from each."""
    rng, lengths = np.random.default_rng(seed), np.asarray(lengths)
    order = np.lexsort((rng.random(len(lengths)), lengths))
    return np.sort([rng.choice(stratum) for stratum in np.array_split(order, _checked(len(lengths), count))])


def by_cluster(embeddings: ArrayLike, count: int, *, seed: int) -> np.ndarray:
    """Stratified by content: k-means with `count` clusters, and from each the essay nearest to the centre.

    `embeddings` is (n, dimensions). Repeated essays make fewer clusters; the rest is drawn at random.
    """
    embeddings = np.asarray(embeddings, dtype=float)
    _checked(len(embeddings), count)
    clusters = min(count, len(np.unique(embeddings, axis=0)))
    means = KMeans(n_clusters=clusters, n_init=1, random_state=seed).fit(embeddings)
    far = np.linalg.norm(embeddings - means.cluster_centers_[means.labels_], axis=1)
    order = np.lexsort((far, means.labels_))  # cluster by cluster, the nearest first
    chosen = order[np.unique(means.labels_[order], return_index=True)[1]]
    rest = np.setdiff1d(np.arange(len(embeddings)), chosen)
    more = np.random.default_rng(seed).choice(rest, count - len(chosen), replace=False)
    return np.sort(np.concatenate([chosen, more]))


def by_disagreement(first: ArrayLike, second: ArrayLike, count: int) -> np.ndarray:
    """Where two scorers differ most: |z(first) - z(second)|, each in its own SDs, since one may use more of the scale."""

    def standard(values: ArrayLike) -> np.ndarray:
        values = np.asarray(values, dtype=float)
        return (values - values.mean()) / (values.std() or 1.0)

    apart = np.abs(standard(first) - standard(second))
    return np.sort(np.argsort(-apart, kind="stable")[: _checked(len(apart), count)])


def choose(
    strategy: str,
    count: int,
    *,
    lengths: ArrayLike,
    embeddings: ArrayLike,
    teacher: ArrayLike,
    student: ArrayLike,
    seed: int,
) -> np.ndarray:
    """`count` essays of a pool by one of `STRATEGIES`; all arrays are of the same essays. CyborgError for another name."""
    if strategy == "random":
        return at_random(len(np.asarray(lengths)), count, seed=seed)
    if strategy == "length":
        return by_length(lengths, count, seed=seed)
    if strategy == "clusters":
        return by_cluster(embeddings, count, seed=seed)
    if strategy == "disagreement":
        return by_disagreement(teacher, student, count)
    raise CyborgError(f"strategy {strategy!r}: choose from {', '.join(STRATEGIES)}")


# ---------------------------------------------------------------- the second round


def second_round(
    profile: str,
    run: config.Run,
    kind: str,
    train: pd.DataFrame,
    judged: pd.DataFrame,
    *,
    embeddings: np.ndarray,
    labels: Sequence[str],
    added: float,
    draws: int,
    scale: Scale,
    settings: student.Settings,
    folder: Path,
) -> pd.DataFrame:
    """Choose `added` x U more essays of a run's pool by every rule, and train Students of a `kind` with their human scores.

    `train` and `judged` are the training essays and all others, with text, `embeddings` (n, hidden) those of `train`. `kind` is
    "ridge" or an encoder. One row a rule ("none" chooses nothing), draw and kind of labels: fraction, student, labels, rule, key
    (seed of the run, draw), level (of the test essays), added, n_human (paid: U, the development essays and the chosen ones),
    mean_words and sd_score (of the chosen essays).
    """
    how = {"scale": scale, "settings": settings, "folder": folder}
    given = pd.read_csv(scores.file(profile, f"teacher_{run.name}"), dtype={"essay_id": str})
    teacher = train[["essay_id"]].merge(given, on="essay_id", validate="one_to_one")
    pool, words = np.flatnonzero(teacher["part"] == "pool"), train["text"].str.split().str.len().to_numpy()
    first = trials.Trial(cyborg_data.training_sets(train, scale, "human", given), run.seed)
    before = len(train) - len(pool) + int((judged["split"] == "dev").sum())
    own = trials.run([first], kind, train["text"].iloc[pool], show=f"First round, {run.name}", **how)[0]
    facts = {"lengths": words[pool], "embeddings": embeddings[pool]}
    facts |= {"teacher": teacher["expected"].to_numpy()[pool], "student": own}
    more, rows, jobs = min(len(pool), max(1, round(added * (len(train) - len(pool))))), [], []
    for rule, draw in itertools.product(["none", *STRATEGIES], range(1, draws + 1)):
        places = pool[choose(rule, more, seed=1000 * run.seed + draw, **facts)] if rule != "none" else pool[:0]
        chosen = train.iloc[places]
        marked = given.assign(part=given["part"].mask(given["essay_id"].isin(chosen["essay_id"]), "U"))
        for name in labels:
            jobs.append(trials.Trial(cyborg_data.training_sets(train, scale, name, marked), draw))
            row = {"fraction": run.fraction, "student": kind, "labels": name, "rule": rule, "key": (run.seed, draw)}
            row |= {"added": len(places), "n_human": before + len(places)}
            row |= {"mean_words": words[places].mean() if len(places) else np.nan, "sd_score": chosen["score"].std()}
            rows.append(row)
    values = trials.run(jobs, kind, judged["text"], show=f"{kind}, {run.name}", **how)
    return pd.DataFrame(rows).assign(level=list(trials.levels(values, judged, scale)))


def selection_table(
    second: pd.DataFrame, human: ArrayLike, *, people: Callable[[int], ArrayLike], **options: Any
) -> pd.DataFrame:
    """QWK of every rule at equal cost; `people` gives the price of so many human scores.

    Columns: fraction, student, labels, rule, n_human, people, runs, draws, qwk, low, high, interval_of (`across_seeds` over
    runs, draws averaged within their run), mean_words, sd_score.
    """
    rows = []
    for key, part in second.groupby([*SETTING, "rule"], sort=False):
        pooled = across_seeds(human, by_run(dict(zip(part["key"], part["level"], strict=True))), **options)
        n = int(part["n_human"].iloc[0])
        row = dict(zip((*SETTING, "rule"), key, strict=True)) | {"n_human": n, "people": float(people(n))}
        row |= {"runs": pooled["seeds"], "draws": len(part) // pooled["seeds"], "qwk": pooled["mean"]}
        row |= {name: pooled[name] for name in ("low", "high", "interval_of")}
        rows.append(row | {name: part[name].mean() for name in ("mean_words", "sd_score")})
    return pd.DataFrame(rows)


def differences(second: pd.DataFrame, human: ArrayLike, **options: Any) -> pd.DataFrame:
    """Each rule against chance (`compare`) in every setting, with `decided` over all rows and a verdict (key of `VERDICTS`).

    A rule is "better" or "worse" only where its interval, the corrected p (below 0.05) and every run agree. All rows are one
    family, for both kinds of tests.
    """
    tables = []
    for key, part in second[second["rule"] != "none"].groupby(SETTING, sort=False):
        by_rule = {rule: dict(zip(rows["key"], rows["level"], strict=True)) for rule, rows in part.groupby("rule", sort=False)}
        table = compare(human, by_rule, baseline="random", **options)
        tables.append(table.assign(n_human=part["n_human"].iloc[0], **dict(zip(SETTING, key, strict=True))))
    table, alpha = pd.concat(tables, ignore_index=True), 1 - options["confidence"]
    settled = decided(table.pop("test"), alpha=alpha, resamples=options["resamples"])
    table = equivalences(pd.concat([table, settled], axis=1), alpha=alpha)
    apart = (table["low"] > 0) | (table["high"] < 0)
    clear = (table["p_holm"] < 0.05) & apart & (table["lowest_run"] * table["highest_run"] > 0)
    direction = np.where(table["difference"] > 0, "better", "worse")
    return table.assign(verdict=np.where(clear, direction, table["equivalence"].str.partition(", ")[0]))


def named(table: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """The rows of `differences` at one fraction, each with a system that names labels and rule, for `difference_forest`."""
    part = table[table["fraction"] == fraction]
    who = " (" + part["student"] + ")" if part["student"].nunique() > 1 else ""
    return part.assign(system=part["labels"].map(label) + who + ": " + part["system"])


def verdicts(table: pd.DataFrame) -> str:
    """The rows of `differences` by their verdict: a Markdown list."""
    lines, margin = [], table["margin"].iloc[0]
    for name, part in table.groupby("verdict", sort=False):
        who = [f"{row.system} ({label(row.labels)}, {row.student}, {row.n_human:,} human scores)" for row in part.itertuples()]
        rules = [f"{one}: {step:+.3f}" for one, step in zip(who, part["difference"], strict=True)]
        lines.append(f"- **{VERDICTS[name].format(margin=margin)}**: {'; '.join(rules)}")
    return "\n".join(lines)


def scored(table: pd.DataFrame, fraction: float) -> str:
    """How many human scores every rule has in `differences` at one fraction, in words."""
    return " or ".join(f"{n:,}" for n in sorted(set(table.loc[table["fraction"] == fraction, "n_human"]))) + " human scores"


def finding(table: pd.DataFrame, fraction: float) -> str:
    """How many comparisons with chance came out how, at one fraction."""
    part = table[table["fraction"] == fraction]
    kinds = {"system": "rules", "labels": "kinds of labels", "student": "Students"}
    tried = [f"{part[name].nunique()} {word}" for name, word in kinds.items() if part[name].nunique() > 1]
    better, worse, equal = ((part["verdict"] == name).sum() for name in ("better", "worse", "equivalent"))
    asked = f"{len(part)} comparisons with essays drawn at random ({' × '.join(tried)}, {scored(table, fraction)} each)"
    undecided, margin = len(part) - better - worse - equal, part["margin"].iloc[0]
    return f"of {asked} {better} came out better, {worse} worse, {equal} equal within {margin:g}, and {undecided} undecided"


def compare(
    human: ArrayLike,
    levels: Mapping[str, Mapping[tuple[int, int], np.ndarray]],
    *,
    baseline: str,
    margin: float,
    resamples: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Each rule against a baseline rule, at the same number of human scores.

    `levels` maps a rule to (run, draw) -> a Student's levels of the test essays; all rules have the same runs and draws.
    Columns: system, baseline, runs, draws, difference (QWK), low, high (`across_seeds`: over essays and runs, draws averaged
    within their run; over essays alone with one run), tost_low, tost_high, p_tost, p_beyond, margin (`comparisons.contrast`),
    test (`bootstrap.Swaps` of all draws), lowest_run, highest_run (mean difference of a run).
    """
    rows, base = [], by_run(levels[baseline])
    options = {"margin": margin, "resamples": resamples, "confidence": confidence, "seed": seed}
    for system in (name for name in levels if name != baseline):
        ours = by_run(levels[system])
        each = [across_seeds(human, {run: ours[run]}, {run: base[run]}, resamples=2, seed=seed)["mean"] for run in ours]
        rows.append(
            {"system": system, "baseline": baseline, "runs": len(ours), "draws": len(levels[system]) // len(ours)}
            | contrast(human, ours, base, **options)
            | {"lowest_run": min(each), "highest_run": max(each)}
            | {"test": Swaps(human, one_by_one(ours), one_by_one(base), seed=seed)}
        )
    return pd.DataFrame(rows)


def by_run(levels: Mapping[tuple[int, int], np.ndarray]) -> dict[int, list[np.ndarray]]:
    """(run, draw) -> levels as run -> those of its draws. Draws of a run share its U and its Teacher, so they are not seeds."""
    runs: dict[int, list[np.ndarray]] = {}
    for (run, _), level in levels.items():
        runs.setdefault(run, []).append(level)
    return runs


def _checked(pool: int, count: int) -> int:
    if not 0 < count <= pool:
        raise CyborgError(f"{count} of {pool} essays of the pool cannot be chosen: ask for at least 1 and at most all of them.")
    return count
