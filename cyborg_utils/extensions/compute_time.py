"""Where a study's computing time went: seconds of each step by its records, and of one more score measured here."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cyborg_utils.core import config, paths
from cyborg_utils.models import baseline, student, trials
from cyborg_utils.study import artefacts, scores

FASTER = 10  # a record this many times faster than its processor's benchmark took up saved parts: its time measured nothing
UNTIMED = "not measured here"
STEP = ["fraction", "step", "student", "head", "labels"]


def seconds(profile: str) -> pd.DataFrame:
    """What was computed in a study, one row a run and step.

    Columns: fraction, seed, step, student, head, labels, seconds, hour_of, source.

    Steps: "fine-tune" (02), "score" (03; of all the study's essays) and "train" (04, one a Student). `hour_of` is the hardware,
    for `cost.Prices.hour`. Seconds are NaN for a Teacher whose training or scoring was resumed from parts that did not keep their
    time; its scoring is then estimated from its tokens and `make bench`, where that ran the same model and processor.
    """
    study, rows = config.load(profile), []
    bench = _bench(study.section("finetune_teacher")["model"])
    for run in scores.runs(profile, "teacher")[0]:
        place = {"fraction": run.fraction, "seed": run.seed, "student": "teacher", "head": "", "labels": "teacher"}
        trained = artefacts.read_table(profile, f"table_teacher_dev_{run.name}")["seconds"].sum(skipna=False)
        machine = artefacts.read_record(profile, "02_finetune_teacher", run.name)["hardware"]
        rows.append(place | {"step": "fine-tune", "seconds": trained, "hour_of": machine, "source": "record"})
        record = artefacts.read_record(profile, "03_label_essays", run.name)
        took, source = _scoring(record, bench)
        rows.append(place | {"step": "score", "seconds": took, "hour_of": record["hardware"], "source": source})
    for run in scores.runs(profile, "students")[0]:
        record = artefacts.read_record(profile, "04_train_student", run.name)
        for key, took in record["measured"]["seconds"].items():
            student, head, labels = key.rsplit("/", 2)
            place = {"fraction": run.fraction, "seed": run.seed, "student": student, "head": head, "labels": labels}
            rows.append(place | {"step": "train", "seconds": took, "hour_of": record["hardware"], "source": "record"})
    columns = ["fraction", "seed", "step", "student", "head", "labels", "seconds", "hour_of", "source"]
    return pd.DataFrame(rows, columns=columns)


def _bench(model: str) -> dict[str, Any]:
    """Tokens per second and processor of the Teacher's scoring in `make bench`; empty where it ran another model or never."""
    file = paths.results("bench", "speed.json")
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if content.get("parameters", {}).get("models", {}).get("teacher scoring") != model:
        return {}
    speed = {row["task"]: row["ours"] for row in content["measured"]["summary"]}
    return {"speed": speed["teacher scoring"], "hardware": content["hardware"]}


def _scoring(record: Mapping[str, Any], bench: Mapping[str, Any]) -> tuple[float, str]:
    """Seconds of a Teacher's scoring, and their source."""
    took, tokens = record["measured"]["seconds_score"], record["measured"]["prompt_tokens"]
    took = float("nan") if took is None else float(took)
    alike = bench and all(bench["hardware"][name] == record["hardware"][name] for name in ("processor", "cores", "gpu"))
    if not alike or took > tokens / bench["speed"] / FASTER:
        return took, "record"
    return tokens / bench["speed"], "tokens of the record, at the benchmark's speed"


def embed(study: config.Study, texts: Sequence[str], folder: Path) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Each Student model's embeddings of these essays (n, hidden), before it is trained, and its seconds for one essay."""
    embeddings, seconds_each = {}, {}
    for model in study.section("train_student")["models"]:
        settings = student.Settings.of(study.section("train_student"), model=model, head=study.headline[1])
        pupil = student.untrained(settings, study.scale)
        embeddings[model], took = trials.embeddings(pupil, texts, folder / model.replace("/", "--"))
        seconds_each[model] = took / len(texts)
    return embeddings, seconds_each


def ridge_seconds(judged: pd.DataFrame) -> float:
    """Seconds of the classical Student for one essay: trained on the development essays (split, text, score), it scores all."""
    pupil = baseline.train(judged[judged["split"] == "dev"].rename(columns={"score": "value"}))
    started = time.time()
    pupil.predict(judged["text"])
    return (time.time() - started) / len(judged)


def step_table(ledger: pd.DataFrame, seconds_each: Mapping[str, float]) -> pd.DataFrame:
    """Mean seconds of each step (`seconds`), then of one more essay by each scorer.

    Columns: `STEP`, seconds, runs_known (with a time of their own in the record), runs, source.
    """
    timed = ledger.assign(known=ledger["seconds"].notna() & (ledger["source"] == "record"))
    steps = timed.groupby(STEP, sort=False).agg(seconds=("seconds", "mean"), runs_known=("known", "sum"), runs=("known", "size"))
    known = ledger[ledger["seconds"].notna()].groupby(STEP)["source"].agg(lambda sources: "; ".join(sorted(set(sources))))
    one = pd.DataFrame(seconds_each.items(), columns=["student", "seconds"]).assign(step="one more essay", source="this notebook")
    one.loc[one["student"] == "teacher", "source"] = "runs of `score` with a time of their own, if any"
    table = pd.concat([steps.assign(source=known).reset_index(), one], ignore_index=True)
    return table.astype({"runs_known": "Int64", "runs": "Int64"})


def teacher_seconds(ledger: pd.DataFrame, essays: int) -> tuple[float, Mapping[str, Any], str]:
    """Seconds of the Teacher for one essay, the hardware, and how they are known; `ledger` is the frame of `seconds`.

    The mean of the runs whose record has a time of its own; only where none has, of those estimated by the benchmark's speed,
    which may be another processor's. NaN and {} where nothing is known.
    """
    asked = ledger[(ledger["step"] == "score") & ledger["seconds"].notna()]
    asked = asked[asked["source"] == "record"] if (asked["source"] == "record").any() else asked
    if asked.empty:
        return float("nan"), {}, UNTIMED
    source = f"03, {'; '.join(sorted(set(asked['source'])))}, {len(asked)} run(s)"
    return asked["seconds"].mean() / essays, asked["hour_of"].iloc[-1], source


def throughput(
    profile: str, ledger: pd.DataFrame, seconds_each: Mapping[str, float], machine: Mapping[str, Any], *, essays: int, model: str
) -> pd.DataFrame:
    """Seconds of one more score by each way to compute it, as this study measured them; index form.

    Columns: seconds, hour_of (hardware), same_score (share of essays with PyTorch's score, of an ONNX form), source. Forms:
    "teacher" (`teacher_seconds`), "student" (the network `model` by PyTorch) and "onnx float32", "onnx int8" from 12's race of
    the same essays, "ridge" from `seconds_each`, of this `machine`. Without a race of this model the Student's seconds are those
    of `seconds_each`, and ONNX has none (NaN).
    """
    took, hardware, source = teacher_seconds(ledger, essays)
    rows = {"teacher": (took, hardware or machine, float("nan"), source)}
    rows["student"] = (seconds_each.get(model, float("nan")), machine, float("nan"), "this notebook")
    rows |= dict.fromkeys(("onnx float32", "onnx int8"), (float("nan"), machine, float("nan"), UNTIMED))
    record, raced = artefacts.record_if_any(profile, "12_score_essays"), paths.results(profile, "tables", "table_onnx.csv")
    if raced.is_file() and record.get("measured", {}).get("student", {}).get("model") == model:
        for row in pd.read_csv(raced).itertuples():
            form = "student" if row.form.startswith("torch") else row.form
            same = float("nan") if form == "student" else row.same_score
            rows[form] = (1 / row.essays_per_second, record["hardware"], same, f"12, {row.n} essays, {row.form}")
    rows["ridge"] = (seconds_each["ridge"], machine, float("nan"), "this notebook")
    columns = ["seconds", "hour_of", "same_score", "source"]
    return pd.DataFrame(list(rows.values()), columns=columns, index=pd.Index(rows, name="form"))
