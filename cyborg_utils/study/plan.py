"""What a study will need on this machine, or on a GPU by its data sheet, before it starts: memory and minutes of each step.

Parameters, activations and FLOPs are counted on PyTorch's meta device; on this machine real layers of the models are timed. The
number of steps follows from the study's parameters and its essays. `cyborg plan PROFILE` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from transformers import AutoConfig, AutoTokenizer

from cyborg_utils.core import config, dtype, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora
from cyborg_utils.models import measure, memory, needs, prompt, states, student, trials, tuned_teacher, weights
from cyborg_utils.models.needs import GIB, Machine, Reads
from cyborg_utils.models.teacher import Settings
from cyborg_utils.study import artefacts

CARDS = {  # GiB and TFLOP/s in bf16, dense, of the data sheets
    "h200": (141, 990),
    "h100": (80, 990),
    "a100": (80, 312),
    "l40s": (48, 362),
    "a100-40": (40, 312),
    "4090": (24, 165),
    "l4": (24, 121),
}
SAMPLE = 200  # essays whose tokens are counted
UNMERGED = 1.3  # scoring with the adapter beside the weights, as in evaluation, against scoring with it merged
LEFT_OVER = 0.20  # of a machine's memory, for the system and what else runs
ABSENT = {"persuade": (15_594, 10_402, 418)}  # training and test essays and their mean words, where the files are not here
STATISTICS = (25.0, 4.4)  # seconds, and for each rater: from the records of demo and ellipse


class Corpus(NamedTuple):
    """A study's essays in numbers, and a sample of them (none: the files are not here)."""

    train: int
    dev: int
    test: int
    words: float
    sample: pd.DataFrame | None


def of(profile: str, *, gpu: str = "") -> tuple[Machine, pd.DataFrame, list[str]]:
    """Machine, table (step, runs, work, memory in GiB, minutes of one run, minutes of all, minutes recorded), and advice.

    Raises CyborgError for an unknown GPU, and where neither essays nor their number are known.
    """
    study, machine = config.load(profile), _machine(gpu)
    corpus = _corpus(study)
    rows, advice = [], []
    for part in (_teacher_rows, _student_rows):
        part(study, corpus, machine, rows, advice)
    raters = len({run.fraction for run in study.runs}) + sum(row["raters"] for row in rows)
    seconds = STATISTICS[0] + STATISTICS[1] * raters
    row = {"step": "statistics (05, 06, 14, 00)", "runs": 1, "work": f"{raters} raters"}
    table = pd.DataFrame([*rows, row | {"memory": needs.PYTHON, "seconds": seconds}])
    table["recorded"] = [_recorded(study, step) for step in table["step"]]
    table["minutes"] = table["seconds"] / 60
    table["total"] = table["minutes"] * table["runs"]
    if study.beyond:
        advice.append(f"Not in this plan: {', '.join(study.beyond)}.")
    columns = ["step", "runs", "work", "memory", "minutes", "total", "recorded"]
    return machine, table[columns], advice


def text(profile: str, machine: Machine, table: pd.DataFrame, advice: Sequence[str]) -> str:
    """The plan as people read it."""
    how = "its layers timed now" if machine.flops is None else "by its data sheet, not measured"
    shown = table.rename(columns={"memory": "GiB", "minutes": "minutes each", "total": "minutes"})
    shown = shown if shown["recorded"].notna().any() else shown.drop(columns="recorded")
    shown = shown.rename(columns={"recorded": "took here, each"})
    lines = [
        f"{config.load(profile).title}\n{machine.name}, {machine.memory / GIB:.0f} GiB; {how}",
        shown.to_markdown(index=False, floatfmt=".1f", missingval="", disable_numparse=False),
        f"{table['total'].sum() / 60:.1f} hours in all on a quiet machine; at most {table['memory'].max():.1f} GiB in one step.",
        *advice,
    ]
    return "\n\n".join(lines)


# ---------------------------------------------------------------- machine and essays


def _machine(gpu: str) -> Machine:
    if gpu:
        if gpu not in CARDS:
            raise CyborgError(f"--gpu {gpu}: not known; choose from {', '.join(CARDS)}.")
        size, flops = CARDS[gpu]
        return Machine(f"One {gpu.upper()}", size * GIB, True, flops * 1e12)
    here = provenance.hardware()
    if torch.cuda.is_available():
        return Machine(here["gpu"], torch.cuda.get_device_properties(0).total_memory, True)
    rate = measure.matrix_rate(dtype.dtype()) / 1e9
    name = f"{here['processor']}, {here['threads']} threads, {rate:,.0f} GFLOP/s in {dtype.name()}"
    return Machine(name, here["memory_gib"] * GIB, False)


def _corpus(study: config.Study) -> Corpus:
    settings = study.section("prepare_data")
    try:
        prepared = (paths.build(study.profile, "essays") / "state.json").is_file()
        dataset = corpora.load(study.profile) if prepared else corpora.build(settings).dataset
    except CyborgError:
        if settings["corpus"] not in ABSENT:
            raise
        train, test, words = ABSENT[settings["corpus"]]
        dev = int(settings["dev"] if settings["dev"] >= 1 else settings["dev"] * train)
        return Corpus(train - dev, dev, test, words, None)
    essays = corpora.frame(dataset, text=True)
    sizes = essays["split"].value_counts()
    sample = essays.sample(min(SAMPLE, len(essays)), random_state=1)
    counts = [int(sizes.get(name, 0)) for name in ("train", "dev", "test")]
    return Corpus(*counts, sample["text"].str.split().str.len().mean(), sample)


def _configuration(name: str) -> tuple[Any, Any]:
    """A model's config, and its tokenizer where it can be had without its weights."""
    repository, _, revision = name.partition("@")
    if name not in weights.registry() and not (paths.home() / name / "config.json").is_file():
        options = {"revision": revision or None, "trust_remote_code": False, "local_files_only": repository in _shapes()}
        try:
            return AutoConfig.from_pretrained(repository, **options), AutoTokenizer.from_pretrained(repository, **options)
        except Exception as error:  # no network, not in the hub's cache, a gated model
            if repository not in _shapes():
                raise CyborgError(
                    f"model {name!r}: its config could not be fetched ({type(error).__name__}). Check the network and the name."
                ) from error
            return AutoConfig.for_model(**_shapes()[repository]), None
    folder = weights.resolve(name)
    return AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _shapes() -> dict[str, dict[str, Any]]:
    file = Path(memory.__file__).with_name("shapes.yaml")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _reads(ids: Sequence[Sequence[int]], shared: int = 0) -> Reads:
    lengths = [*map(len, ids)]
    return Reads(int(np.mean(lengths)), max(lengths), shared)


# ---------------------------------------------------------------- Teachers


def _teacher_rows(study: config.Study, corpus: Corpus, machine: Machine, rows: list[dict], advice: list[str]) -> None:
    settings = Settings.of(study.section("finetune_teacher"))
    shape, tokenizer = _configuration(settings.model)
    reads = _prompts(study, corpus, settings, tokenizer)
    needed = needs.teacher_memory(shape, settings, reads, machine)
    train, read = needs.teacher_speed(_cut(shape, settings), settings, reads, machine)
    everyone = corpus.train + corpus.dev + corpus.test
    if settings.method == "frozen":  # one pass of all essays through the lower layers serves every run
        row = {"step": "Teacher's states", "runs": 1, "work": f"{everyone:,} essays of {reads.usual:,} tokens"}
        rows.append(row | {"memory": needed["score"], "seconds": read * everyone, "raters": len(study.runs)})
        return
    for fraction in study.fractions:
        runs = [run for run in study.runs if run.fraction == fraction]
        epochs = study.section("finetune_teacher", runs[0])["epochs"]
        human = max(1, round(fraction * corpus.train))
        updates = -(-human // settings.batch_size) * epochs
        learnt, judged = human * epochs, corpus.dev * max(1, epochs)  # essays
        if settings.method == "frozen-then-lora":  # cross-fitted: each fold is left out once, and judged
            learnt, judged, updates = tuned_teacher.FOLDS * learnt, human * (epochs + 1), tuned_teacher.FOLDS * updates
        for step, work, seconds in (
            (
                "Teacher",
                f"{human:,} essays of {reads.usual:,} tokens, {updates:,} updates",
                train * learnt + read * UNMERGED * judged,
            ),
            ("labelling", f"{everyone:,} essays", read * everyone),
        ):
            row = {"step": f"{step} {fraction:.0%}", "runs": len(runs), "work": work, "seconds": seconds}
            memory_of = needed["train" if step == "Teacher" else "score"]
            rows.append(row | {"memory": memory_of, "raters": len(runs) * (step == "Teacher")})
    if needed["train"] * GIB > machine.memory * (1 - LEFT_OVER * (not machine.cuda)):
        advice.append(_teacher_advice(shape, settings, reads, machine))


def _cut(shape: Any, settings: Settings) -> Any:
    """The Teacher's config up to the last layer that is computed."""
    if settings.method == "lora":
        return shape
    return memory.up_to(shape, max(states.middle(shape, settings.layers, count=3)))


def _prompts(study: config.Study, corpus: Corpus, settings: Settings, tokenizer: Any) -> Reads:
    data = study.section("prepare_data")
    asked = prompt.Prompt(prompt.rubric(data["corpus"], data["score"], data["options"]), study.scale)
    alone = settings.method != "lora" and not settings.rubric
    if tokenizer is None or corpus.sample is None:  # 1.38 tokens a word, and the prompt around the essay, of Llama 3
        essay, around = int(1.38 * corpus.words), 0 if alone else 330
        return Reads(around + essay, around + min(settings.max_tokens, 3 * essay), around)
    texts, tasks = [*corpus.sample["text"]], [*corpus.sample["assignment"]]
    if alone:
        return _reads([prompt.plain_ids(tokenizer, text)[: settings.max_tokens] for text in texts])
    ids, _ = asked.encode(tokenizer, texts, tasks, max_tokens=settings.max_tokens)
    return _reads(ids, len(commonprefix(ids)))


def _teacher_advice(shape: Any, settings: Settings, reads: Reads, machine: Machine) -> str:
    said = f"The Teacher does not fit into {machine.memory / GIB:.0f} GiB."
    if machine.cuda and settings.quantization == "none":
        small = needs.teacher_memory(shape, replace(settings, quantization="nf4"), reads, machine)
        if max(small.values()) * GIB < machine.memory:
            return f"{said} With `finetune_teacher.quantization: nf4` it needs {max(small.values()):.1f} GiB at least."
    return f"{said} Take a smaller model (`finetune_teacher.model`), or fewer tokens (`finetune_teacher.max_tokens`)."


# ---------------------------------------------------------------- Students


def _student_rows(study: config.Study, corpus: Corpus, machine: Machine, rows: list[dict], advice: list[str]) -> None:
    section = study.section("train_student")
    speeds, most, trained = {}, {}, [head for head in section["heads"] if head != "frozen"]
    for name in section["models"]:
        shape, tokenizer = _configuration(name)
        limit = min(section["max_tokens"], getattr(shape, "max_position_embeddings", None) or section["max_tokens"])
        if tokenizer is None or corpus.sample is None:
            reads = Reads(int(min(limit, 1.3 * corpus.words)), limit)
        else:
            reads = _reads(tokenizer([*corpus.sample["text"]], truncation=True, max_length=limit)["input_ids"])
        most[name] = needs.student_memory(shape, reads, section["batch_size"], machine)
        speeds[name] = needs.student_speed(shape, reads, section["batch_size"], machine)
    for fraction in (*study.fractions, *([1.0] if study.full_runs else [])):
        runs = [run for run in (*study.runs, *study.full_runs) if run.fraction == fraction]
        kinds = [kind for kind in section["labels"] if (kind == "full") == (fraction == 1)]
        human = max(1, round(fraction * corpus.train))
        sets = {kind: _sets(kind, human, corpus) for kind in kinds}
        seconds, updates, students = 0.0, 0, len(section["models"]) * len(section["heads"]) * len(kinds)
        for name in section["models"]:
            settings = student.Settings.of(section, model=name, head="regression")
            train, read = speeds[name]
            for kind, sizes in sets.items():
                fold = [human * (trials.FOLDS - 1) // trials.FOLDS] * trials.FOLDS if kind == "human+dev" else []
                for size in (*sizes, *fold):
                    steps, epochs = student.schedule(size, settings)
                    updates += steps * epochs * len(trained)
                    seconds += len(trained) * train * steps * epochs
                seconds += len(trained) * read * (corpus.dev + corpus.test)
            if trained != section["heads"] and fraction == study.fractions[0]:  # states, read once for all runs
                seconds += read * (corpus.train + corpus.dev + corpus.test) / len(runs)
        seconds += sum(0.004 * sum(sizes) for sizes in sets.values() if len(sizes) == 1)  # ridge
        row = {"step": f"Students {fraction:.0%}", "runs": len(runs), "work": f"{students} Students, {updates:,} updates"}
        rows.append(row | {"memory": max(most.values()), "seconds": seconds, "raters": len(runs) * students})
    if max(most.values()) * GIB > machine.memory * (1 - LEFT_OVER * (not machine.cuda)):
        name = max(most, key=most.get)
        advice.append(f"Student {name} does not fit. Take a smaller `train_student.batch_size` or `train_student.max_tokens`.")


def _sets(kind: str, human: int, corpus: Corpus) -> list[int]:
    """Sizes of a Student's training sets, one after the other (see `cyborg_data.training_sets`)."""
    sizes = {"human": [human], "human+dev": [human + corpus.dev], "cyborg-staged": [corpus.train - human, human]}
    return sizes.get(kind, [corpus.train])


# ---------------------------------------------------------------- what it took


def _recorded(study: config.Study, step: str) -> float:
    """Minutes of one run of a step by the study's records of this machine, median of its runs; NaN where there is none."""
    name, _, share = step.partition(" ")
    notebook = {"Teacher": "02_finetune_teacher", "labelling": "03_label_essays", "Students": "04_train_student"}.get(name)
    here, found = provenance.hardware(), []
    for run in (*study.runs, *study.full_runs):
        record = artefacts.record_if_any(study.profile, notebook, run.name) if notebook else {}
        alike = record and all(record["hardware"][key] == here[key] for key in ("processor", "cores", "gpu"))
        if alike and f"{run.fraction:.0%}" == share:
            took = record["measured"].get({"Teacher": "seconds_finetune", "labelling": "seconds_score"}.get(name, "seconds"))
            found.append(sum(took.values()) if isinstance(took, dict) else took)
    found = [seconds for seconds in found if seconds and seconds > 5]  # what was taken from disk took none
    return float(np.median(found)) / 60 if found else float("nan")
