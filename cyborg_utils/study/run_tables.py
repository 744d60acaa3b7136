"""Tables of runs: the Teacher as a rater, training sets, Students (03, 04); a study's fine-tunings and machines, by its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from cyborg_utils.core import config, provenance
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import student, teacher
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.stats.metrics import agreement_metrics, qwk
from cyborg_utils.study import artefacts, scores
from cyborg_utils.study.arms import MATCHED

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
    """One row a kind of labels: whose scores the essays carry, mean and SD of the scores; updates, if it trains."""
    rows = []
    for name, parts in sets.items():
        both = pd.concat(parts)
        count = both["source"].value_counts().reindex(["human", "teacher"], fill_value=0)
        updates = sum(steps * epochs for steps, epochs in (student.schedule(len(part), settings) for part in parts))
        row = {"labels": name, "human scores": count["human"], "synthetic scores": count["teacher"]}
        row |= {"mean": both["value"].mean(), "sd": both["value"].std()}
        rows.append(row if settings.head == "frozen" else row | {"updates": updates})
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
        moved = head in MATCHED and len(dev) > 0
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


# ---------------------------------------------------------------- how a study was run


def attempts(profile: str) -> pd.DataFrame:
    """A study's Teachers, one row a run: run, fraction, seed, tuned, attempts, failed, best_qwk (dev, by attempt).

    A failed attempt is repeated with another seed (`fine_tuning.finetune`); it fails where its best QWK on the development essays
    is at most `teacher.FAILED`. From a frozen start it is the QWK of the last epoch, the one that is kept, on U. Tables without a
    column `attempt` are older than the repetition: there was one attempt. A frozen Teacher is not `tuned`: its table has no epoch
    after 0.
    """
    rows = []
    for run in scores.runs(profile, "teacher")[0]:
        curve = artefacts.read_table(profile, f"table_teacher_dev_{run.name}")
        kept = curve[curve["best"]] if curve["epoch"].min() == 0 else curve  # from epoch 0: nothing was chosen
        best = kept.groupby(kept["attempt"] if "attempt" in kept else pd.Series(1, index=kept.index))["qwk"].max()
        failed = int((best <= teacher.FAILED).sum())
        row = {"run": run.name, "fraction": run.fraction, "seed": run.seed, "tuned": curve["epoch"].max() > 0}
        row |= {"attempts": len(best), "failed": failed}
        rows.append(row | {"best_qwk": ", ".join(f"{value:.3f}" for value in best)})
    return pd.DataFrame(rows, columns=["run", "fraction", "seed", "tuned", "attempts", "failed", "best_qwk"])


def attempts_in_words(table: pd.DataFrame, *, confidence: float = 0.95) -> str:
    """How often a fine-tuning failed at first, and what became of it; `table` as `attempts` gives it, of one study or several.

    The interval of the rate is Wilson's (`statsmodels.stats.proportion`).
    """
    table = table[table["tuned"].astype(bool)]
    count, at_first = len(table), int((table["failed"] > 0).sum())
    if not count:
        return "No Teacher was fine-tuned here."
    low, high = proportion_confint(at_first, count, alpha=1 - confidence, method="wilson")
    never = int((table["failed"] == table["attempts"]).sum())
    repeated = " and was repeated with another seed" if at_first > never else ""
    return (
        f"In {at_first} of {count} fine-tunings of the Teacher the first attempt failed{repeated} "
        f"({table['failed'].sum()} of {table['attempts'].sum()} attempts failed; so few fine-tunings allow a rate of "
        f"{low:.0%} to {high:.0%}). "
        + (f"**In {never} every attempt failed.** " if never else "")
        + "The development essays alone decide on it, by the same rule in every run."
    )


def machines(profile: str) -> pd.DataFrame:
    """On what a study's models ran, one row an execution: notebook, run, processor, cores, gpu, commit, dirty.

    dirty: the sources were not committed, so that no commit repeats it. Executions without a model are left out: `make verify`
    repeats them exactly on any machine.
    """
    study, found = config.load(profile), artefacts.records(profile)
    found = found[[artefacts.needs(notebook, study) == "model" for notebook in found["notebook"]]].reset_index(drop=True)
    hardware = pd.DataFrame(found["hardware"].tolist(), columns=["processor", "cores", "gpu"])
    commit = found["commit"].astype(str)
    table = pd.concat([found[["notebook", "run"]], hardware], axis=1)
    return table.assign(commit=commit.str.removesuffix(provenance.DIRTY), dirty=commit.str.endswith(provenance.DIRTY))


def machines_in_words(table: pd.DataFrame) -> str:
    """The kinds of processor of a study's models, and those from uncommitted sources; `table` as `machines` gives it."""
    if table.empty:
        return "No model has run here yet."
    place = table["processor"].where(table["gpu"] == "none", table["processor"] + " with " + table["gpu"].astype(str))
    names = table["notebook"].str[:2] + ("_" + table["run"].fillna("")).where(table["run"].fillna("") != "", "")
    kinds = names.groupby(place.to_numpy(), sort=False).agg(list).sort_values(key=lambda lists: -lists.str.len())
    each = "; ".join(f"{kind} ({len(of)}: {', '.join(of)})" for kind, of in kinds.items())
    lines = [f"**This study mixes {len(kinds)} kinds of processor**, and models from different kinds are not the same: {each}."]
    if len(kinds) == 1:
        lines = [f"All {len(table)} executions with a model ran on one kind of processor: {kinds.index[0]}."]
    if len(dirty := names[table["dirty"]]):
        lines.append(f"**{len(dirty)} of {len(table)} executions are from uncommitted sources**, so no commit repeats them")
        lines[-1] += f": {', '.join(dirty)}. Their numbers stand until these are run again."
    else:
        lines.append(f"All {len(table)} are from committed sources.")
    return "\n\n".join(lines)
