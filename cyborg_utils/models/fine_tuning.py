"""Fine-tuning a Teacher with LoRA on U: an epoch is kept by agreement on development essays, and a failure is repeated.

Training is cross-entropy on the one answer of a prompt (see `teacher`). An interrupted run resumes from its last epoch, and a
finished one is only read.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import get_peft_model
from torch.nn import functional
from transformers import set_seed
from transformers.utils import is_liger_kernel_available

from cyborg_utils.core import atomic, provenance
from cyborg_utils.models import lora, lower_layers, memory, recipes, teacher, weights
from cyborg_utils.models.prompt import Prompt
from cyborg_utils.models.teacher import FAILED, Settings, Teacher
from cyborg_utils.models.trainer import LengthTrainer, MicroBatches, arguments, checkpoint
from cyborg_utils.stats.probabilities import offset_to_mean

# Settings that the mark of an older Teacher does not have; with these values they change nothing
YOUNGER = {"method": "lora", "layers": [], "rubric": True, "lora_from": 0.0, "start_at": "model"}
STARTS = 64  # essays of U on which the answers' start is set


class _ScoreTrainer(MicroBatches, LengthTrainer):
    """Trainer whose loss is cross-entropy on the answer token, and whose evaluation is agreement on dev."""

    def __init__(self, *, teacher: Teacher, merge: bool, **options) -> None:
        super().__init__(model=teacher.model, **options)
        self.teacher, self.merge = teacher, merge

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = self.teacher.logits(inputs["prompts"], share_prefix=not self.args.activation_checkpointing)
        return functional.cross_entropy(logits.flatten(0, -2), inputs["targets"].to(logits.device).flatten(0, -2))

    def evaluate(self, *args, **kwargs):
        with lora.merged(self.model) if self.merge else contextlib.nullcontext():
            probabilities = self.teacher.probabilities([row["ids"] for row in self.eval_dataset])
        found = teacher.measures(probabilities, np.array([row["level"] for row in self.eval_dataset]), self.teacher.prompt.scale)
        found = {f"eval_{key}": value for key, value in found.items()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


def _collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "prompts": [row["ids"] for row in rows],
        "targets": torch.tensor(np.stack([row["target"] for row in rows]), dtype=torch.float32),
    }


def finetune(
    train: pd.DataFrame, dev: pd.DataFrame, template: Prompt, settings: Settings, *, seed: int, folder: Path, attempts: int = 1
) -> pd.DataFrame:
    """Fine-tune on U, keep the epoch with the best QWK on dev, and return the curve.

    train, dev: columns essay_id, text, assignment, level (for traits, one `level.<trait>` each). The adapter is saved in
    `folder/adapter`. `folder/checkpoints` holds a checkpoint an epoch, from which an interrupted run resumes. A finished run is
    not repeated. Both hold only where settings, data and recipe are the same.
    The best epoch is chosen by the QWK of the most likely level, since that is the score a Student learns (r can be high while
    the Teacher still gives nearly everyone the middle score). Returns one row an epoch: attempt, epoch, train_loss, qwk, r, smd,
    loss (dev), seconds (of its updates), best (in the last attempt, whose adapter is kept).

    On few essays a fine-tuning sometimes never leaves its starting point and gives everyone the same score (Mosbach,
    Andriushchenko & Klakow 2021). Where the best QWK on dev is not above `FAILED`, the fine-tuning is repeated from another
    initialisation and order, up to `attempts` times in all. The test essays play no part in this.
    """
    read = ["essay_id", "assignment", "text"]
    data = [[*frame[read].to_numpy().ravel(), *map(int, _levels(frame, template).ravel())] for frame in (train, dev)]
    curves = []
    last = attempts if settings.epochs else 1
    for attempt in range(1, last + 1):
        own = seed + 1000 * (attempt - 1)
        told = {"rubric": template.rubric} | ({"traits": template.traits} if template.traits else {})
        told |= ({} if template.chat else {"chat": False}) | ({"template": template.template} if template.template else {})
        told |= {"upper_recipe": recipes.UPPER.version} if settings.lora_from else {}
        known = {name: value for name, value in asdict(settings).items() if (name, value) not in YOUNGER.items()}
        mark = provenance.fingerprint(known | told | {"seed": own, "recipe": recipes.TEACHER.version}, data=data)
        failed = folder / f"failed_{mark}.csv"  # the next attempt replaces the adapter, and the last one's is kept
        curve = (
            pd.read_csv(failed)
            if attempt < last and failed.is_file()
            else _attempt(train, dev, template, settings, seed=own, folder=folder, mark=mark)
        )
        curves.append(curve.assign(attempt=attempt))
        if curve["qwk"].max() > FAILED:
            break
        if attempt < last:
            atomic.write(failed, curve.to_csv(index=False))
    shutil.rmtree(folder / "lower", ignore_errors=True)
    found = pd.concat(curves, ignore_index=True)
    found["best"] &= found["attempt"] == found["attempt"].max()
    return found[["attempt", *found.columns.drop("attempt")]]


def _attempt(
    train: pd.DataFrame, dev: pd.DataFrame, template: Prompt, settings: Settings, *, seed: int, folder: Path, mark: str
) -> pd.DataFrame:
    """The curve of one fine-tuning. It is only read where `folder/adapter` already has this `mark`."""
    set_seed(seed)
    adapter, checkpoints = folder / "adapter", folder / "checkpoints"
    if (curve := begin(folder, mark)) is not None:
        return curve
    reader = teacher.load(settings, template)
    large = reader.model.num_parameters() > memory.LARGE
    if settings.quantization == "nf4" and large:  # frozen below, and not upcast: float32 activations would take twice the memory
        reader.model.enable_input_require_grads()
    adapted = lora.configuration(reader.model, rank=settings.lora_rank, targets=settings.lora_targets, share=settings.lora_from)
    reader.model = get_peft_model(reader.model, adapted)
    prompts, _ = reader.encode(train["text"], train["assignment"])
    dev_prompts, _ = reader.encode(dev["text"], dev["assignment"])
    if settings.lora_from:
        lower_layers.enter(reader, settings, [*prompts, *dev_prompts], folder / "lower")
    goals = teacher.targets(_levels(train, template), template.scale.size, settings.target_sd)
    if settings.start_at == "human":
        reader.bias = offset_to_mean(reader.probabilities(prompts[:STARTS]), goals)
    if lora.is_half(reader.model.device):
        lora.compute_in_half(reader.model)
        reader.half = True
    rows = [{"ids": ids, "target": target} for ids, target in zip(prompts, goals, strict=True)]
    budget, checkpointing = memory.at_once(
        reader.base.config, reader.model.device, adapted, max(map(len, prompts)), large=large, half=reader.half
    )
    options = arguments(
        checkpoints,
        seed=seed,
        **lora.schedule(settings, len(rows)),
        weight_decay=0.0,
        activation_checkpointing=checkpointing,
        use_liger_kernel=reader.half and is_liger_kernel_available(),
        eval_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="qwk",
        disable_tqdm=False,
    )
    trainer = _ScoreTrainer(
        teacher=reader,
        merge=(reader.half or settings.lora_from > 0) and settings.quantization == "none",
        budget=budget,
        args=options,
        train_dataset=rows,
        eval_dataset=[{"ids": ids, "level": level} for ids, level in zip(dev_prompts, _levels(dev, template), strict=True)],
        data_collator=_collate,
    )
    if settings.epochs:
        trainer.train(resume_from_checkpoint=checkpoint(checkpoints))
    else:
        trainer.evaluate()  # zero-shot: the adapter is saved as initialised, which changes nothing
    curve = _curve(trainer.state.log_history)
    said = {"settings": asdict(settings), "seed": seed, "mark": mark, "rubric": template.rubric}
    said |= {} if reader.bias is None else {"bias": reader.bias.tolist()}
    with atomic.folder(adapter) as temporary:
        reader.model.save_pretrained(temporary)
        curve.to_csv(temporary / "curve.csv", index=False)
        provenance.write_json(temporary / "teacher.json", said)
    shutil.rmtree(checkpoints)
    return curve


def begin(folder: Path, mark: str) -> pd.DataFrame | None:
    """The curve of the finished Teacher in `folder/adapter` if it has this mark. Else None: `folder/checkpoints` is ready for it.

    What other work left there is removed.
    """
    adapter, checkpoints = folder / "adapter", folder / "checkpoints"
    if (adapter / "teacher.json").is_file() and teacher.saved(adapter)[2] == mark and not weights.cut_short(adapter):
        shutil.rmtree(checkpoints, ignore_errors=True)  # a killed run may have left some
        return pd.read_csv(adapter / "curve.csv")
    if not (checkpoints / f"{mark}.mark").is_file():
        shutil.rmtree(checkpoints, ignore_errors=True)
        checkpoints.mkdir(parents=True)
        (checkpoints / f"{mark}.mark").touch()
    return None


def _levels(frame: pd.DataFrame, template: Prompt) -> np.ndarray:
    """Human levels as the prompt asks for them: (n,), or (n, traits)."""
    return frame[[f"level.{name}" for name in template.traits]].to_numpy() if template.traits else frame["level"].to_numpy()


def _curve(history: list[dict[str, float]]) -> pd.DataFrame:
    """Trainer's log as one row an epoch. A zero-shot Teacher has one row: epoch 0, without a training loss."""
    epochs: dict[int, dict[str, float]] = {}
    for entry in history:
        row = epochs.setdefault(round(entry.get("epoch", 0)), {})
        if "loss" in entry:
            row |= {"train_loss": entry["loss"], "seconds": entry["seconds"]}
        row.update(
            {key.removeprefix("eval_"): entry[key] for key in ("eval_qwk", "eval_r", "eval_smd", "eval_loss") if key in entry}
        )
    curve = pd.DataFrame.from_dict(epochs, orient="index").rename_axis("epoch").reset_index()
    curve = curve.reindex(columns=["epoch", "train_loss", "qwk", "r", "smd", "loss", "seconds"]).dropna(subset=["loss"])
    curve = curve.reset_index(drop=True)
    return curve.assign(best=curve.index == curve["qwk"].fillna(-1).idxmax())  # the first of equals, as in Trainer
