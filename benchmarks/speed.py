"""Tokens per second of Teacher and Student, in the steady state, against the plain way: `make bench`.

    ours    what the notebooks do: `fine_tuning.finetune`, `Teacher.probabilities`, `states.of_essays`, `student.train`, in the
            workflow's environment
    before  the same of another commit (`--against main`), in a worktree of its own
    plain   Hugging Face Trainer and `generate()` as most tutorials use them: float32, every text padded to the longest
            allowed, loss over the whole vocabulary, PyTorch's own attention, the system's allocator settings

All get the same essays, and the same real tokens are counted: padding counts for nobody. Ways alternate within a run, each
measurement in a process of its own, since the allocator's settings act per process. Loading and one whole update (or batch) to
warm up are not timed: the first update takes memory from the system, page by page. The share of the machine's peak is that of the
products that are needed for what is computed (the prompts' common beginning once a batch), against the best product of two large
matrices. Writes results/bench/speed.csv (every measurement), speed.md (medians), speed.json.
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

WARM_UP, UPDATES = 1, 4  # updates that are not timed, and that are
TASKS = {  # essays in each measurement, and the ways; the plain way of a task without its own is that of another
    "teacher training": (4 * (WARM_UP + UPDATES), ("plain", "ours")),
    "teacher training, lora_from 0.5": (4 * (WARM_UP + UPDATES), ("ours",)),
    "teacher scoring": (8 * (WARM_UP + UPDATES), ("plain", "ours")),
    "frozen states": (8 * (WARM_UP + UPDATES), ("ours",)),
    "student training": (16 * (WARM_UP + UPDATES), ("plain", "ours")),
}
PLAIN = {"teacher training, lora_from 0.5": "teacher training", "frozen states": "teacher scoring"}
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
def stopwatch(trainer: type, tokens: Callable[[dict], tuple[int, int]]):
    """Time the updates of a Trainer class after the first; yields a dict that gets seconds, tokens, computed, and ends there.

    `tokens(inputs)` counts the real tokens of a batch, and those that are computed for them.
    """
    step, log, found, started, calls = trainer.training_step, trainer.log, {"tokens": 0, "computed": 0}, [], []

    def timed(self, model, inputs, *args, **options):
        calls.append(None)
        if len(calls) == WARM_UP + 1:
            _wait()
            started.append(time.perf_counter())
        if started:
            real, computed = tokens(inputs)
            found["tokens"] += real
            found["computed"] += computed
        return step(self, model, inputs, *args, **options)

    def last(self, *args, **options):  # Trainer logs at the end of the epoch, after the last update
        _wait()
        found["seconds"] = time.perf_counter() - started[0]
        raise Done

    trainer.training_step, trainer.log = timed, last
    try:
        yield found
    except Done:
        pass
    finally:
        trainer.training_step, trainer.log = step, log


def of_prompts(inputs: dict) -> tuple[int, int]:
    """Tokens of a batch of prompts; those that all begin with are computed once."""
    prompts = inputs["prompts"]
    return sum(map(len, prompts)), sum(map(len, prompts)) - (len(prompts) - 1) * len(os.path.commonprefix(prompts))


def of_mask(inputs: dict) -> tuple[int, int]:
    real = int(inputs["attention_mask"].sum())
    return real, real


def _matrices(model, *, passes: int) -> float:
    """FLOPs of a token in the layers' matrices: two for each weight and pass; a backward pass with gradients counts as two."""
    from cyborg_utils.models import states

    return 2.0 * passes * sum(part.numel() for part in states.blocks(model).parameters() if part.dim() == 2)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _template():
    from cyborg_utils.core.scale import Scale
    from cyborg_utils.models import prompt

    return prompt.Prompt(prompt.rubric("ellipse", "Overall"), Scale(1, 6))


def _teacher_settings(model: str, **own):
    from cyborg_utils.models.teacher import Settings

    s = SETTINGS
    return Settings(model, 1, s["learning_rate"], s["batch_size"], s["lora_rank"], "attention", 0.0, s["teacher_tokens"], **own)


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
    tasks = sorted(set(frame["assignment"]))
    longest, _ = template.encode(tokenizer, ["word " * 2 * most] * len(tasks), tasks, max_tokens=most)
    return prompts, max(map(len, longest))


def teacher_training(way: str, model: str, frame: pd.DataFrame, lora_from: float = 0.0) -> dict[str, float]:
    if way != "plain":
        from transformers import AutoConfig, AutoModelForCausalLM

        from cyborg_utils.models import fine_tuning, weights

        settings = _teacher_settings(model, **({"lora_from": lora_from} if lora_from else {}))
        with tempfile.TemporaryDirectory() as folder, stopwatch(fine_tuning._ScoreTrainer, of_prompts) as found:
            fine_tuning.finetune(frame, frame[:2], _template(), settings, seed=1, folder=Path(folder))
        if way == "ours":
            from cyborg_utils.models import lora, memory

            config = AutoConfig.from_pretrained(weights.resolve(model))
            import torch

            with torch.device("meta"):
                shape = AutoModelForCausalLM.from_config(config)
            own = lora.configuration(shape, rank=settings.lora_rank, targets=settings.lora_targets, share=lora_from)
            found["flops"] = found["computed"] * memory.of_training(config, own, half=False)[0].flops_per_token
        return found
    from peft import LoraConfig, get_peft_model

    loaded, tokenizer = _plain_teacher(model)
    prompts, longest = _prompts(tokenizer, frame)
    lora = LoraConfig(
        r=SETTINGS["lora_rank"], lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM"
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
    return _plain_training(loaded, rows, SETTINGS["batch_size"])


def student_training(way: str, model: str, frame: pd.DataFrame) -> dict[str, float]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from cyborg_utils.core.scale import Scale
    from cyborg_utils.models import cyborg_data, student, weights

    most, batch = SETTINGS["student_tokens"], SETTINGS["student_batch"]
    if way != "plain":
        part = cyborg_data.training_sets(frame.assign(split="train"), Scale(1, 6), "full")[0]
        settings = student.Settings(model, "regression", 1, 1, 1e-4, batch, most)
        with tempfile.TemporaryDirectory() as folder, stopwatch(student.LengthTrainer, of_mask) as found:
            student.train([part], Scale(1, 6), settings, seed=1, folder=Path(folder))
        if way == "ours":
            found["flops"] = found["computed"] * _matrices(student.untrained(settings, Scale(1, 6)).network.encoder, passes=3)
        return found
    tokenizer = AutoTokenizer.from_pretrained(weights.resolve(model))
    loaded = AutoModelForSequenceClassification.from_pretrained(weights.resolve(model), num_labels=1, dtype=torch.float32)
    padded = tokenizer([*frame["text"]], truncation=True, max_length=most, padding="max_length")
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": float(level)}
        for ids, mask, level in zip(padded["input_ids"], padded["attention_mask"], frame["level"], strict=True)
    ]
    return _plain_training(loaded, rows, batch)


def _plain_training(model, rows: list[dict], batch_size: int) -> dict[str, float]:
    import torch
    from transformers import Trainer, TrainingArguments, default_data_collator

    options = {"per_device_train_batch_size": batch_size, "num_train_epochs": 1, "logging_strategy": "epoch"}
    cpu = not torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder, stopwatch(Trainer, of_mask) as found:
        arguments = TrainingArguments(output_dir=folder, save_strategy="no", report_to="none", use_cpu=cpu, **options)
        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=default_data_collator).train()
    return found


def teacher_scoring(way: str, model: str, frame: pd.DataFrame) -> dict[str, float]:
    import torch

    from cyborg_utils.models import teacher

    first = len(frame) // (WARM_UP + UPDATES)
    if way != "plain":
        reader = teacher.load(_teacher_settings(model), _template())
        prompts, _ = _prompts(reader.tokenizer, frame)
        reader.probabilities(prompts[:first])
        started = time.perf_counter()
        reader.probabilities(prompts[first:])
        seconds = time.perf_counter() - started
        tokens, computed = of_prompts({"prompts": prompts[first:]})
        flops = {"flops": computed * _matrices(reader.decoder, passes=1)} if way == "ours" else {}
        return {"seconds": seconds, "tokens": tokens, "computed": computed} | flops
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

    warm = -(-first // SETTINGS["batch_size"])
    for number, batch in enumerate(batches):
        if number == warm:
            _wait()
            started = time.perf_counter()
        generate(batch, longest, SETTINGS["answer_tokens"])
    _wait()
    tokens = sum(map(len, prompts[warm * SETTINGS["batch_size"] :]))
    return {"seconds": time.perf_counter() - started, "tokens": tokens, "computed": tokens}


def frozen_states(way: str, model: str, frame: pd.DataFrame) -> dict[str, float]:
    """States of the layers about two thirds up, with the rubric before the essay, as a frozen Teacher has them."""
    from transformers import AutoConfig

    from cyborg_utils.models import states, weights

    source = weights.resolve(model)
    config = AutoConfig.from_pretrained(source)
    layers = tuple(sorted({config.num_hidden_layers * third // 6 for third in (3, 4)}))
    reading, template = states.Reading(model, layers, SETTINGS["teacher_tokens"], rubric=True), _template()
    rows, _ = states.encoded(source, config, frame, reading, template)
    body = states.Body(source, config, layers)
    first = len(rows) // (WARM_UP + UPDATES)
    spans = [(len(row) - 1, len(row)) for row in rows]
    body.means(rows[:first], spans[:first])
    started = time.perf_counter()
    for start in range(first, len(rows), first):
        body.means(rows[start : start + first], spans[start : start + first])
    _wait()
    seconds = time.perf_counter() - started
    batches = [of_prompts({"prompts": rows[start : start + first]}) for start in range(first, len(rows), first)]
    tokens, computed = map(sum, zip(*batches, strict=True))
    return {"seconds": seconds, "tokens": tokens, "computed": computed}


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
    name, _, share = task.partition(", lora_from ")
    work = {
        "teacher training": teacher_training,
        "teacher scoring": teacher_scoring,
        "frozen states": frozen_states,
        "student training": student_training,
    }
    return work[name](way, model, essays(count), **({"lora_from": float(share)} if share else {}))


# ---------------------------------------------------------------- all of them


def measure(task: str, way: str, model: str, count: int, *, before: str = "") -> dict[str, float]:
    """One measurement in a fresh process, which prints it as its last line; `before`: the checkout of the way of that name."""
    from cyborg_utils.run import workflow

    environment = workflow.environment()
    if way == "plain":
        environment.pop("GLIBC_TUNABLES", None)
    if way == "before":
        environment["PYTHONPATH"] = before
    call = [sys.executable, __file__, "--task", task, "--way", way, "--model", model, "--essays", str(count)]
    done = subprocess.run(call, env=environment | {"TOKENIZERS_PARALLELISM": "false"}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{task}, {way}: failed\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def checkout(commit: str):
    """A worktree of another commit, for as long as it is measured; "" for none."""
    if not commit:
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", f"{folder}/before", commit], check=True)
        try:
            yield f"{folder}/before"
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", f"{folder}/before"], check=True)


def summary(rounds: pd.DataFrame, peak: float) -> pd.DataFrame:
    """Median tokens a second of each task and way, ours against plain (with its lowest and highest round), share of the peak."""
    speed = rounds.pivot_table(index="task", columns="way", values="tokens_per_second", aggfunc="median", sort=False)
    each = rounds.pivot(index=["task", "round"], columns="way", values="tokens_per_second").unstack("round")
    for task, other in PLAIN.items():
        if task in speed.index and other in speed.index and "plain" in speed:
            speed.loc[task, "plain"] = speed.loc[other, "plain"]
            each.loc[task, "plain"] = each.loc[other, "plain"].to_numpy()
    ratio = each["ours"] / each["plain"]
    columns = [way for way in ("plain", "before", "ours") if way in speed]
    table = speed[columns].assign(ratio=speed["ours"] / speed["plain"], lowest=ratio.min(axis=1), highest=ratio.max(axis=1))
    ours = rounds[rounds["way"] == "ours"]
    reached = (ours["flops"] / ours["seconds"] / 1e9 / peak).groupby(ours["task"]).median()
    return table.assign(share=reached).rename_axis(columns=None).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--student", default="all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", default="", metavar="COMMIT", help="measure this commit too, in turn with the others")
    parser.add_argument(
        "--quick", action="store_true", help="a smaller Teacher, one round, in another folder: does it run at all?"
    )
    for hidden in ("--task", "--way", "--model"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--essays", type=int, help="essays in each measurement (default: five batches)")
    options = parser.parse_args()
    if options.task:
        print("\n" + json.dumps(one(options.task, options.way, options.model, options.essays)))
        return

    from cyborg_utils.core import paths, provenance

    if options.quick:
        options.teacher, options.rounds = "smollm2-135m-instruct", 1
    folder, started = paths.build("bench") if options.quick else paths.results("bench"), time.time()
    models = {task: options.student if task.startswith("student") else options.teacher for task in TASKS}
    peak, rows = measure("peak", "ours", "-", 0), []
    with checkout(options.against) as before:
        for number in range(1, options.rounds + 1):
            for task, (count, ways) in TASKS.items():
                ways = [*ways, *(["before"] if before and "plain" in ways else [])]
                for way in ways if number % 2 else ways[::-1]:
                    found = measure(task, way, models[task], options.essays or count, before=before)
                    rows.append({"task": task, "round": number, "way": way, "model": models[task], "flops": np.nan, **found})
                    rows[-1]["tokens_per_second"] = found["tokens"] / found["seconds"]
                    print(f"{number}  {task:<32} {way:<6} {rows[-1]['tokens_per_second']:9.0f} tokens/s", flush=True)
    from cyborg_utils.core import dtype

    rounds = pd.DataFrame(rows)
    table = summary(rounds, peak[dtype.name()])
    write(folder, rounds, table, peak, models, provenance.machine(), options.against)
    print(f"\n{(folder / 'speed.md').read_text(encoding='utf-8')}\n{time.time() - started:.0f} s; {paths.shown(folder)}")


def write(folder: Path, rounds: pd.DataFrame, table: pd.DataFrame, peak: dict, models: dict, machine: str, against: str) -> None:
    """speed.csv, speed.md, speed.json."""
    from cyborg_utils.core import provenance
    from cyborg_utils.study import artefacts

    ways = [way for way in ("plain", "before", "ours") if way in table]
    shown = table.assign(ratio=table["ratio"].map("{:.1f}".format), **{way: table[way].round() for way in ways})
    shown["ratio"] += " (" + table["lowest"].map("{:.1f}".format) + "-" + table["highest"].map("{:.1f}".format) + ")"
    shown["share"] = table["share"].map(lambda share: "" if np.isnan(share) else f"{share:.0%}")
    names = {way: f"{way}, tokens/s" for way in ways} | {"share": "ours, of peak"}
    shown = shown.drop(columns=["lowest", "highest"]).rename(columns=names)
    lines = [
        "Tokens per second in the steady state (after one whole update), padding not counted: median of the rounds; ours against "
        "plain with its lowest and highest round.",
        shown.to_markdown(index=False, floatfmt=".0f", missingval=""),
        f"Teacher {models['teacher training']}, Student {models['student training']}. Plain: float32, padded to the longest "
        f"allowed, Trainer's and generate()'s defaults; that of lora_from is plain training, that of states plain scoring. "
        + (f"Before: commit {against}. " if against else "")
        + f"{machine}; "
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
