"""Tokens per second of Teacher training, Teacher scoring and Student training, against the plain way: `make bench`.

    ours    what the notebooks do: `teacher.finetune`, `Teacher.probabilities`, `student.train`, in the workflow's environment
    plain   Hugging Face Trainer and `generate()` as most tutorials use them: float32, every text padded to the longest
            allowed, loss over the whole vocabulary, PyTorch's own attention, the system's allocator settings

Both get the same essays, and the same real tokens are counted: padding counts for nobody. Ways alternate within a run, each
measurement in a process of its own, since the allocator's settings act per process. Model loading and one short step to warm up
are not timed. Writes results/bench/speed.csv (every measurement), speed.md (medians) and speed.json (hardware, settings).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

TASKS = {"teacher training": 4, "teacher scoring": 8, "student training": 32}  # essays in each measurement
SETTINGS = {  # of ELLIPSE: params/ellipse.yaml
    "learning_rate": 4.0e-04,
    "lora_rank": 16,
    "teacher_tokens": 448,
    "student_tokens": 512,
    "batch_size": 4,
    "student_batch": 16,
    "answer_tokens": 4,  # that generate() may give
}


# ---------------------------------------------------------------- one measurement, in a process of its own


def essays(count: int) -> pd.DataFrame:
    """Simulated essays, joined until they are as long as ELLIPSE's (mean 424 words, SD about 190); levels of a 1-6 scale."""
    from cyborg_utils.data import simulated

    rng, source = np.random.default_rng(1), simulated.essays(100 * count, 1)
    rows = []
    for words in np.clip(rng.normal(424, 190, count), 80, 1200):
        row = next(source)
        while len(row["text"].split()) < words:
            row["text"] += "\n\n" + next(source)["text"]
        rows.append({**row, "text": " ".join(row["text"].split(" ")[: int(words)]), "level": int(row["score"]) - 1})
    return pd.DataFrame(rows)


class Done(Exception):
    """The epoch is over: no evaluation, no saving."""


@contextlib.contextmanager
def stopwatch(trainer: type, warm_up: Callable):
    """Time one epoch of a Trainer class; yields a list that gets its seconds, and ends the training there.

    The clock starts with the first update, after `warm_up(trainer)`: the first product of a kind sets up threads and kernels.
    """
    step, log, seconds, started = trainer.training_step, trainer.log, [], []

    def first(self, *args, **options):
        if not started:
            warm_up(self)
            self.model.zero_grad()
            _wait()
            started.append(time.perf_counter())
        return step(self, *args, **options)

    def last(self, *args, **options):  # Trainer logs at the end of the epoch, after the last update
        _wait()
        seconds.append(time.perf_counter() - started[0])
        raise Done

    trainer.training_step, trainer.log = first, last
    try:
        yield seconds
    except Done:
        pass
    finally:
        trainer.training_step, trainer.log = step, log


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _template():
    from cyborg_utils.core.scale import Scale
    from cyborg_utils.models import prompt

    return prompt.Prompt(prompt.rubric("ellipse", "Overall"), Scale(1, 6))


def _teacher_settings(model: str):
    from cyborg_utils.models.teacher import Settings

    s = SETTINGS
    return Settings(model, 1, s["learning_rate"], s["batch_size"], s["lora_rank"], "attention", 0.0, s["teacher_tokens"])


def _plain_teacher(model: str):
    """The float32 model and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from cyborg_utils.models import weights

    folder = weights.resolve(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def _prompts(tokenizer, frame: pd.DataFrame) -> tuple[list[list[int]], int]:
    """Prompts as token ids and the longest that can occur: the frame around a whole essay of `teacher_tokens`."""
    template, most = _template(), SETTINGS["teacher_tokens"]
    prompts, _ = template.encode(tokenizer, [*frame["text"]], [*frame["assignment"]], max_tokens=most)
    longest, _ = template.encode(tokenizer, ["word " * 2 * most], [max(frame["assignment"], key=len)], max_tokens=most)
    return prompts, len(longest[0])


def teacher_training(way: str, model: str, frame: pd.DataFrame) -> dict[str, float]:
    from transformers import AutoTokenizer

    from cyborg_utils.models import teacher, weights

    if way == "ours":
        prompts, _ = _prompts(AutoTokenizer.from_pretrained(weights.resolve(model)), frame)

        def warm_up(trainer):
            trainer.teacher.logits([prompts[0][:40]] * 2).sum().backward()

        with tempfile.TemporaryDirectory() as folder, stopwatch(teacher._ScoreTrainer, warm_up) as seconds:
            teacher.finetune(frame, frame[:2], _template(), _teacher_settings(model), seed=1, folder=Path(folder))
        return {"seconds": seconds[0], "tokens": sum(map(len, prompts))}
    from peft import LoraConfig, get_peft_model

    loaded, tokenizer = _plain_teacher(model)
    prompts, longest = _prompts(tokenizer, frame)
    lora = LoraConfig(
        r=SETTINGS["lora_rank"], lora_alpha=32, target_modules=teacher.LORA_TARGETS["attention"], task_type="CAUSAL_LM"
    )
    loaded = get_peft_model(loaded, lora)
    rows = []
    for ids, level in zip(prompts, frame["level"], strict=True):
        answer, room = tokenizer.encode(str(level + 1), add_special_tokens=False), longest - len(ids)
        rows.append(
            {
                "input_ids": ids + answer + [tokenizer.pad_token_id] * room,
                "attention_mask": [1] * (len(ids) + 1) + [0] * room,
                "labels": [-100] * len(ids) + answer + [-100] * room,
            }
        )
    seconds = _plain_training(loaded, rows, SETTINGS["batch_size"])
    return {"seconds": seconds, "tokens": sum(map(len, prompts))}


def student_training(way: str, model: str, frame: pd.DataFrame) -> dict[str, float]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from cyborg_utils.core.scale import Scale
    from cyborg_utils.models import cyborg_data, student, weights

    most, batch = SETTINGS["student_tokens"], SETTINGS["student_batch"]
    tokenizer = AutoTokenizer.from_pretrained(weights.resolve(model))
    tokens = sum(map(len, tokenizer([*frame["text"]], truncation=True, max_length=most)["input_ids"]))
    if way == "ours":
        part = cyborg_data.training_sets(frame.assign(split="train"), Scale(1, 6), "full")[0]
        settings = student.Settings(model, "regression", 1, 1, 1e-4, batch, most)

        def warm_up(trainer):
            few = {name: torch.ones(2, 8, dtype=torch.long) for name in ("input_ids", "attention_mask")}
            _forward(trainer.model, few)["output"].sum().backward()

        with tempfile.TemporaryDirectory() as folder, stopwatch(student.LengthTrainer, warm_up) as seconds:
            student.train([part], Scale(1, 6), settings, seed=1, folder=Path(folder))
        return {"seconds": seconds[0], "tokens": tokens}
    loaded = AutoModelForSequenceClassification.from_pretrained(weights.resolve(model), num_labels=1, dtype=torch.float32)
    padded = tokenizer([*frame["text"]], truncation=True, max_length=most, padding="max_length")
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": float(level)}
        for ids, mask, level in zip(padded["input_ids"], padded["attention_mask"], frame["level"], strict=True)
    ]
    return {"seconds": _plain_training(loaded, rows, batch), "tokens": tokens}


def _plain_training(model, rows: list[dict], batch_size: int) -> float:
    import torch
    from transformers import Trainer, TrainingArguments, default_data_collator

    few = {key: torch.tensor([row[key][:40] for row in rows[:2]]) for key in ("input_ids", "attention_mask")}
    options = {"per_device_train_batch_size": batch_size, "num_train_epochs": 1, "logging_strategy": "epoch"}
    cpu = not torch.cuda.is_available()

    def warm_up(trainer):
        _forward(trainer.model, few).logits.sum().backward()

    with tempfile.TemporaryDirectory() as folder, stopwatch(Trainer, warm_up) as seconds:
        arguments = TrainingArguments(output_dir=folder, save_strategy="no", report_to="none", use_cpu=cpu, **options)
        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=default_data_collator).train()
    return seconds[0]


def _forward(model, few: dict):
    device = next(model.parameters()).device
    return model(**{key: value.to(device) for key, value in few.items()})


def teacher_scoring(way: str, model: str, frame: pd.DataFrame) -> dict[str, float]:
    import torch

    from cyborg_utils.models import teacher

    if way == "ours":
        reader = teacher.load(_teacher_settings(model), _template())
        prompts, _ = _prompts(reader.tokenizer, frame)
        reader.probabilities([ids[:40] for ids in prompts[:2]])
        started = time.perf_counter()
        reader.probabilities(prompts)
        return {"seconds": time.perf_counter() - started, "tokens": sum(map(len, prompts))}
    loaded, tokenizer = _plain_teacher(model)
    prompts, longest = _prompts(tokenizer, frame)
    batches = [prompts[start : start + SETTINGS["batch_size"]] for start in range(0, len(prompts), SETTINGS["batch_size"])]

    def generate(batch: list[list[int]], length: int, answer_tokens: int) -> None:
        rows = [[tokenizer.pad_token_id] * (length - len(ids)) + ids for ids in batch]
        mask = [[0] * (length - len(ids)) + [1] * len(ids) for ids in batch]
        inputs = {
            "input_ids": torch.tensor(rows, device=loaded.device),
            "attention_mask": torch.tensor(mask, device=loaded.device),
        }
        given = loaded.generate(**inputs, max_new_tokens=answer_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        tokenizer.batch_decode(given[:, length:])

    generate([ids[:40] for ids in prompts[:2]], 40, 2)
    started = time.perf_counter()
    for batch in batches:
        generate(batch, longest, SETTINGS["answer_tokens"])
    _wait()
    return {"seconds": time.perf_counter() - started, "tokens": sum(map(len, prompts))}


def matrix_peak() -> dict[str, float]:
    """The best of several products of 4096 x 4096 matrices, in GFLOP/s."""
    import torch

    device, found = "cuda" if torch.cuda.is_available() else "cpu", {}
    for name, kind in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        one = torch.randn(4096, 4096, device=device).to(kind)
        seconds = []
        for _ in range(8):
            started = time.perf_counter()
            one @ one
            _wait()
            seconds.append(time.perf_counter() - started)
        found[name] = 2 * 4096**3 / min(seconds) / 1e9
    return found


def one(task: str, way: str, model: str, count: int) -> dict[str, float]:
    """What the process of one measurement does."""
    if task == "peak":
        return matrix_peak()
    work = {"teacher training": teacher_training, "teacher scoring": teacher_scoring, "student training": student_training}
    return work[task](way, model, essays(count))


# ---------------------------------------------------------------- all of them


def measure(task: str, way: str, model: str, count: int) -> dict[str, float]:
    """One measurement in a fresh process, which prints it as its last line."""
    from cyborg_utils.run import workflow

    environment = workflow.environment()
    if way == "plain":
        environment.pop("GLIBC_TUNABLES", None)
    call = [sys.executable, __file__, "--task", task, "--way", way, "--model", model, "--essays", str(count)]
    done = subprocess.run(call, env=environment | {"TOKENIZERS_PARALLELISM": "false"}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{task}, {way}: failed\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(rounds: pd.DataFrame) -> pd.DataFrame:
    """Median tokens a second of each task and way, and their ratio."""
    speed = rounds.pivot_table(index="task", columns="way", values="tokens_per_second", aggfunc="median", sort=False)
    each = rounds.pivot(index=["task", "round"], columns="way", values="tokens_per_second")
    ratio = (each["ours"] / each["plain"]).groupby("task")
    table = speed[["plain", "ours"]].assign(ratio=speed["ours"] / speed["plain"], lowest=ratio.min(), highest=ratio.max())
    return table.rename_axis(columns=None).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--student", default="all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="a smaller Teacher, one round, in another folder: does it run at all?"
    )
    for hidden in ("--task", "--way", "--model"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--essays", type=int, help=f"essays in each measurement (default: {TASKS})")
    options = parser.parse_args()
    if options.task:
        print("\n" + json.dumps(one(options.task, options.way, options.model, options.essays)))
        return

    from cyborg_utils.core import paths, provenance

    if options.quick:
        options.teacher, options.rounds = "smollm2-135m-instruct", 1
    folder = paths.build("bench") if options.quick else paths.results("bench")
    models = {task: options.student if task.startswith("student") else options.teacher for task in TASKS}
    peak, rows, started = measure("peak", "ours", "-", 0), [], time.time()
    for number in range(1, options.rounds + 1):
        for task, model in models.items():
            for way in ("plain", "ours") if number % 2 else ("ours", "plain"):
                found = measure(task, way, model, options.essays or TASKS[task])
                rows.append({"task": task, "round": number, "way": way, "model": model, **found})
                rows[-1]["tokens_per_second"] = found["tokens"] / found["seconds"]
                print(f"{number}  {task:<17} {way:<6} {rows[-1]['tokens_per_second']:9.0f} tokens/s", flush=True)
    rounds = pd.DataFrame(rows)
    table = summary(rounds)
    write(folder, rounds, table, peak, models, provenance.hardware())
    print(f"\n{(folder / 'speed.md').read_text(encoding='utf-8')}\n{time.time() - started:.0f} s; {paths.shown(folder)}")


def write(folder: Path, rounds: pd.DataFrame, table: pd.DataFrame, peak: dict, models: dict, machine: dict) -> None:
    """speed.csv, speed.md, speed.json."""
    from cyborg_utils.core import provenance
    from cyborg_utils.study import artefacts

    shown = table.assign(ratio=table["ratio"].map("{:.1f}".format), plain=table["plain"].round(), ours=table["ours"].round())
    shown["ratio"] += " (" + table["lowest"].map("{:.1f}".format) + "-" + table["highest"].map("{:.1f}".format) + ")"
    shown = shown.drop(columns=["lowest", "highest"]).rename(columns={"plain": "plain, tokens/s", "ours": "ours, tokens/s"})
    lines = [
        "Tokens per second, padding not counted: median of the rounds; ratio with its lowest and highest round.",
        shown.to_markdown(index=False, floatfmt=".0f"),
        f"Teacher {models['teacher training']}, Student {models['student training']}. Plain: float32, padded to the longest "
        f"allowed, Trainer's and generate()'s defaults. {machine['processor']}, {machine['cores']} cores, GPU {machine['gpu']}; "
        f"its matrix products reach {peak['bf16']:,.0f} GFLOP/s in bf16, {peak['float32']:,.0f} in float32.",
    ]
    artefacts.write(folder / "speed.csv", rounds.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    artefacts.write(folder / "speed.md", "\n\n".join(lines) + "\n")
    record = provenance.record(
        {**SETTINGS, "models": models}, measured={"peak_gflops": peak, "summary": table.to_dict("records")}
    )
    provenance.write_json(folder / "speed.json", record)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    main()
