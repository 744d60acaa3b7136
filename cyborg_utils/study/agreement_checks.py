"""What a sceptic asks of an agreement: the best rival, the price of the development essays, the quality of probabilities.

Frames in, tidy tables out, as in `agreement`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cyborg_utils.core.scale import Scale
from cyborg_utils.plots.style import label
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.stats.comparisons import across_seeds, gap_closed, mean_over_seeds
from cyborg_utils.stats.metrics import qwk, smd
from cyborg_utils.stats.probabilities import ece, rps
from cyborg_utils.study.agreement import PLACE
from cyborg_utils.study.arms import by_seed, human, pick, shared

BASELINES = ("human", "human+dev")  # labels of Students that no Teacher helps


def rivals(
    test: pd.DataFrame, dev: pd.DataFrame, *, student: str, head: str, resamples: int, confidence: float, seed: int
) -> pd.DataFrame:
    """Cyborg Data against every scorer that the same human scores can buy without a Teacher.

    `test` and `dev` are the frames of `scores.raters` of these parts. Rivals are all Students, networks and classical ones, on
    `human` and `human+dev` labels. `chosen` marks the one with the highest QWK on the development essays, the fair baseline:
    choosing it cost no test essay. One row per fraction, kind of Cyborg labels (of this `student` and `head`) and rival.

    Columns: fraction, n_human, n_dev, labels, rival, rival_labels, dev_qwk, chosen, seeds (those that both have), n, qwk,
    qwk_baseline, difference, low, high (`across_seeds`), gap_closed, gap_low, gap_high, resolved (share of the gap from the
    rival to `full` that is closed, its interval, and whether there is such a gap).
    """
    h, rows, options = human(test), [], {"resamples": resamples, "confidence": confidence, "seed": seed}
    students, on_dev = test[(test["student"] != "teacher") & (test["fraction"] < 1)], human(dev)
    own = pick(test, student=student, head=head)
    full = by_seed(pick(own, labels="full"), "matched_level")
    for place, part in students.groupby(PLACE):
        found = []
        for (name, kind, labels), arm in part[part["labels"].isin(BASELINES)].groupby(["student", "head", "labels"], sort=False):
            theirs = pick(dev, fraction=place[0], student=name, head=kind, labels=labels)
            qwk = mean_over_seeds(on_dev, by_seed(theirs, "matched_level"))
            found.append((f"{name}, {kind}", labels, qwk, by_seed(arm, "matched_level")))
        best = max((row[2] for row in found), default=np.nan)
        for system, arm in pick(own, fraction=place[0]).groupby("labels", sort=False):
            for rival, labels, dev_qwk, theirs in found if system.startswith("cyborg") else ():
                ours, base = shared(by_seed(arm, "matched_level"), theirs)
                if not ours:
                    continue
                step = across_seeds(h, ours, base, **options)
                level = [mean_over_seeds(h, runs) for runs in (ours, base)]
                share = gap_closed(h, base, ours, full, **options) if full else {"resolved": False}
                row = dict(zip(PLACE, place, strict=True)) | {"labels": system, "rival": rival, "rival_labels": labels}
                row |= {"dev_qwk": dev_qwk, "chosen": dev_qwk == best, "seeds": len(ours), "n": len(h)}
                row |= {"qwk": level[0], "qwk_baseline": level[1], "difference": step["mean"]}
                row |= {"low": step["low"], "high": step["high"], "gap_closed": share.get("gap_closed", np.nan)}
                ends = {"gap_low": share.get("low", np.nan), "gap_high": share.get("high", np.nan)}
                rows.append(row | ends | {"resolved": share["resolved"]})
    columns = [*PLACE, "labels", "rival", "rival_labels", "dev_qwk", "chosen", "seeds", "n", "qwk", "qwk_baseline"]
    columns += ["difference", "low", "high", "gap_closed", "gap_low", "gap_high", "resolved"]
    return pd.DataFrame(rows, columns=columns)


def for_forest(table_rivals: pd.DataFrame, *, fraction: float) -> pd.DataFrame:
    """The rows of `rivals` at one fraction for `forest_plots.difference_forest`; beside them whether a rival was the best."""
    rows = table_rivals[table_rivals["fraction"] == fraction]
    names = rows["rival"].str.split(", ").str[0].map(label) + " on " + rows["rival_labels"]
    best = rows["chosen"].map({True: "best rival", False: ""})
    return rows.assign(system=rows["labels"], baseline=names, equivalence=best)


def development_sizes(
    test: pd.DataFrame, dev: pd.DataFrame, *, scale: Scale, sizes: Sequence[int] = (25, 50, 100, 200), draws: int = 200, seed: int
) -> pd.DataFrame:
    """What a smaller development split would cost one arm, whose mean and SD are matched on it.

    `test` and `dev` are the arm's rows. Random subsets of the development essays, the same ones for all seeds of the arm, are
    taken for the match; the last row has all of them. Columns: development, draws, qwk, qwk_sd (mean and SD over draws of the
    mean over seeds), smd_sd (of the SMD of all test essays).
    """
    ids, rng, rows = dev["essay_id"].unique(), np.random.default_rng(seed), []
    h, score = human(test), human(test, "score")
    runs = {key: (pick(dev, seed=key).set_index("essay_id"), value) for key, value in by_seed(test, "value").items()}
    for size in [*(size for size in sizes if size < len(ids)), len(ids)]:
        found = []
        for _ in range(draws if size < len(ids) else 1):
            chosen = rng.choice(ids, size, replace=False)
            given = [match_on_dev(rows_.loc[chosen]).apply(value) for rows_, value in runs.values()]
            found.append(np.mean([(qwk(h, scale.nearest(one), levels=scale.size), smd(score, one)) for one in given], axis=0))
        mean, sd = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) if len(found) > 1 else np.full(2, np.nan)
        rows.append({"development": size, "draws": len(found), "qwk": mean[0], "qwk_sd": sd[0], "smd_sd": sd[1]})
    return pd.DataFrame(rows)


def probabilities(raters: pd.DataFrame, teachers: pd.DataFrame, scale: Scale, *, confidence: float) -> pd.DataFrame:
    """How good the probabilities are that the Teacher and classification Students give the levels of the test essays.

    One row per rater and fraction: fraction, rater, labels, seeds, n, rps, rps_low, rps_high, rps_shares (that of always giving
    the test essays' own shares, the best that needs no essay read), ece (`stats.probabilities`). Probabilities are the seeds'
    means.
    """
    names = [f"p_{level + 1}" for level in range(scale.size)]
    given = teachers[teachers["part"] == "test"].assign(student="teacher", labels="teacher")
    classes = raters[raters["head"] == "classification"]
    both = [given, classes] if set(names) <= set(classes.columns) else [given]
    rows = []
    for rater in both:
        for (fraction, student, labels), part in rater.groupby(["fraction", "student", "labels"], sort=False):
            mean = part.groupby("essay_id")[[*names, "human_level"]].mean()
            p, level = mean[names].to_numpy(), mean["human_level"].to_numpy().astype(int)
            shares = np.tile(np.bincount(level, minlength=scale.size) / len(level), (len(level), 1))
            row = {"fraction": fraction, "rater": student, "labels": labels, "seeds": part["seed"].nunique(), "n": len(level)}
            row |= dict(zip(("rps", "rps_low", "rps_high"), rps(p, level, confidence=confidence), strict=True))
            rows.append(row | {"rps_shares": rps(shares, level, confidence=confidence).value, "ece": ece(p, level)})
    columns = ["fraction", "rater", "labels", "seeds", "n", "rps", "rps_low", "rps_high", "rps_shares", "ece"]
    return pd.DataFrame(rows, columns=columns)
