"""Tables of one run (notebooks 03 and 04): the Teacher as a rater, training sets, Students. Frames in, tidy tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cyborg_utils.core.scale import Scale
from cyborg_utils.models import student
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.stats.metrics import agreement_metrics, qwk

STUDENT = ["student", "head", "labels"]  # what tells the Students of one run apart


def teacher_quality(essays: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Agreement of the Teacher's three readings with people in each part of the corpus.

    essays: columns part, score (human), likely, expected, matched (the readings, in score units).
    Returns part, reading, n, qwk, exact, adjacent, rmse, r, sd_ratio, smd.
    """
    readings, rows = {"most likely": "likely", "expected": "expected", "expected, matched": "matched"}, []
    for name in ("U", "pool", "dev", "test"):
        part = essays[essays["part"] == name]
        for reading, column in readings.items() if len(part) else ():
            rows.append({"part": name, "reading": reading} | agreement_metrics(part["score"], part[column], scale))
    return pd.DataFrame(rows, columns=["part", "reading", "n", "qwk", "exact", "adjacent", "rmse", "r", "sd_ratio", "smd"])


def training_sets(sets: Mapping[str, Sequence[pd.DataFrame]], settings: student.Settings) -> pd.DataFrame:
    """One row a kind of labels: whose scores the essays carry, mean and SD of the scores, and updates of the network."""
    rows = []
    for name, parts in sets.items():
        both = pd.concat(parts)
        count = both["source"].value_counts().reindex(["human", "teacher"], fill_value=0)
        updates = sum(steps * epochs for steps, epochs in (student.schedule(len(part), settings) for part in parts))
        row = {"labels": name, "human scores": count["human"], "synthetic scores": count["teacher"]}
        rows.append(row | {"mean": both["value"].mean(), "sd": both["value"].std(), "updates": updates})
    return pd.DataFrame(rows)


def truncation(texts: Sequence[str], settings: Sequence[student.Settings], scale: Scale) -> pd.DataFrame:
    """One row an encoder: model, limit (tokens), essays, essays_cut (share), tokens, tokens_lost (share)."""
    rows = []
    for one in {one.model: one for one in settings}.values():
        ids, cut = student.untrained(one, scale).encode(texts)
        read = sum(map(len, ids))
        row = {"model": one.model, "limit": max(map(len, ids)), "essays": len(ids), "essays_cut": (cut > 0).mean()}
        rows.append(row | {"tokens": read + int(cut.sum()), "tokens_lost": cut.sum() / (read + cut.sum())})
    return pd.DataFrame(rows)


def matched(scores: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The Students' scores with `matched_value` and `matched_level`: mean and SD matched to people's on essays it never learnt.

    scores: columns part, student, head, labels, score (human), value, level. Matched on all essays but the test essays: the
    development essays, and for `human+dev` the out-of-fold scores of U and development essays. A classifier's scores stay as they
    are, as do all where there are no such essays.
    """
    rows = []
    for (_, head, _), own in scores.groupby(STUDENT, sort=False):
        dev = own[own["part"] != "test"]
        value = match_on_dev(dev, head=head).apply(own["value"])
        moved = head == "regression" and len(dev) > 0
        rows.append(own.assign(matched_value=value, matched_level=scale.nearest(value) if moved else own["level"]))
    return pd.concat(rows, ignore_index=True)


def students(scores: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """One row a Student, on the essays of `scores` (as `matched` gives them, with `seconds` of training).

    Returns student, head, labels, qwk, qwk_raw (before matching), exact, adjacent, rmse, r, smd, seconds.
    """
    rows = []
    for key, own in scores.groupby(STUDENT, sort=False):
        after = agreement_metrics(own["score"], own["matched_value"], scale)
        raw = qwk(scale.level(own["score"]), own["level"], levels=scale.size)
        row = dict(zip(STUDENT, key, strict=True)) | {"qwk": after["qwk"], "qwk_raw": raw}
        row |= {name: after[name] for name in ("exact", "adjacent", "rmse", "r", "smd")}
        rows.append(row | {"seconds": own["seconds"].iloc[0]})
    return pd.DataFrame(rows)
