"""The Teacher: a causal language model that answers with one token, fine-tuned with LoRA on U, then read like a rater.

Each level has a single-token answer (see `prompt`), so that training is cross-entropy on that one answer and scoring is one
forward pass: the probabilities of the K answers are the Teacher's distribution over levels. Nothing is generated or parsed.

Two things make it fast without changing a result. The first part of the prompt is the same for every essay, so its keys and
values are computed once a batch (with gradients in training). Of the output layer, only the K answer rows are computed, at the
last position.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from transformers.utils import is_liger_kernel_available

from cyborg_utils.core import atomic, config, dtype, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import FinetuneTeacher
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import cpu_attention, lora, lower_layers, memory, recipes, trainer, weights
from cyborg_utils.models.prompt import Prompt
from cyborg_utils.models.trainer import LengthTrainer, MicroBatches, arguments, checkpoint
from cyborg_utils.stats import metrics
from cyborg_utils.stats.probabilities import offset_to_mean

# peft uses a name that transformers will change; the reader of a notebook cannot act on this warning
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

# Settings that the mark of an older Teacher does not have; with these values they change nothing
YOUNGER = {"method": "lora", "layers": [], "rubric": True, "lora_from": 0.0, "start_at": "model"}
FAILED = 0.2  # QWK on dev up to which a fine-tuning has failed: "slight" agreement (Landis & Koch 1977)
LARGE = 2e9  # parameters from which activations are recomputed in the backward pass on a CPU (gradient checkpointing)
STARTS = 64  # essays of U on which the answers' start is set


# How a Teacher is fine-tuned: the keys of a study's `finetune_teacher` section, but for how many attempts there are
Settings = config.settings(FinetuneTeacher, [name for name in FinetuneTeacher.model_fields if name != "attempts"])


class Teacher:
    """A causal language model, its tokenizer, and the prompt that it answers."""

    def __init__(self, model, tokenizer, template: Prompt, *, max_tokens: int) -> None:
        self.model, self.tokenizer, self.prompt, self.max_tokens = model, tokenizer, template, max_tokens
        self.answer_ids = torch.tensor(template.answer_ids(tokenizer), device=model.device)
        self.reads = torch.tensor(template.reads(tokenizer), device=model.device)
        self.bias: np.ndarray | None = None  # added to the answer logits, (K,) or (traits, K); see `offset_to_mean`
        self.lower: lower_layers.LowerStates | None = None  # the decoder begins with these instead of token ids
        self.half = False  # in autocast: LoRA's weights are float32, its products bf16

    def encode(self, essays: Sequence[str], assignments: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Prompts as token ids, and the number of tokens cut from each essay."""
        return self.prompt.encode(self.tokenizer, list(essays), list(assignments), max_tokens=self.max_tokens)

    def logits(self, prompts: Sequence[list[int]], *, share_prefix: bool = True) -> torch.Tensor:
        """Answer logits, shape (prompts, K), float32; (prompts, traits, K) where the prompt asks for traits.

        Prompts are padded on the right. In a causal model a token cannot see what follows it, so no mask is needed.
        """
        decoder, head, device = self.decoder, self.base.get_output_embeddings(), self.model.device
        shared = len(commonprefix(list(prompts))) if share_prefix and len(prompts) > 1 else 0
        shared = min(shared, min(map(len, prompts)) - 1 - int(self.reads.max()))
        tails = [ids[shared:] for ids in prompts]
        hidden = self.hidden(decoder, prompts, shared)
        last = torch.tensor([len(ids) - 1 for ids in tails], device=device)
        hidden = hidden[torch.arange(len(prompts), device=device)[:, None], last[:, None] - self.reads].float()
        hidden = hidden if self.prompt.traits else hidden[:, 0]
        # float32, because bf16 has steps of 0.125 at the usual size of logits: 13 % of a probability.
        bias = None if head.bias is None else head.bias[self.answer_ids].float()
        logits = functional.linear(hidden, head.weight[self.answer_ids].float(), bias)
        return logits if self.bias is None else logits + torch.as_tensor(self.bias, dtype=logits.dtype, device=device)

    @property
    def base(self):
        """The causal language model itself, without the adapter around it."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def decoder(self):
        """Its layers, without the output layer."""
        return self.base.get_decoder()

    def hidden(self, decoder, prompts: Sequence[list[int]], shared: int) -> torch.Tensor:
        """Last hidden states of prompts after the `shared` tokens with which all begin, (prompts, longest rest, width)."""
        with dtype.autocast(self.model.device) if self.half else contextlib.nullcontext():
            if not shared:
                return decoder(**self._given(prompts, 0), use_cache=False).last_hidden_state
            cache = decoder(**self._given(prompts[:1], 0, shared), use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(prompts))
            return decoder(**self._given(prompts, shared), past_key_values=cache, use_cache=True).last_hidden_state

    def _given(self, prompts: Sequence[list[int]], start: int, end: int | None = None) -> dict[str, torch.Tensor]:
        """The decoder's input for tokens `start` to `end`: their ids, or what its lower layers make of them."""
        if self.lower is not None:
            return {"inputs_embeds": self.lower.rows(prompts, start, end)}
        return {"input_ids": trainer.pad([ids[start:end] for ids in prompts], 0).to(self.model.device)}

    @torch.no_grad()
    def probabilities(
        self, prompts: Sequence[list[int]], *, folder: Path | None = None, mark: str = "", show: str = ""
    ) -> np.ndarray:
        """Probabilities of the K levels for every prompt, in the shape of `logits`; rows sum to 1.

        With a `folder`, finished parts are kept there under `mark`, so that an interrupted call can resume.
        """
        self.model.eval()
        budget = memory.token_budget(self.base.config, self.model.device, cpu=8192)

        def work(batch: np.ndarray) -> np.ndarray:
            return self.logits([prompts[index] for index in batch]).softmax(-1).cpu().numpy()

        return trainer.in_parts(work, trainer.token_batches([*map(len, prompts)], budget), folder, mark, show=show)


def load(settings: Settings, template: Prompt, *, adapter: Path | None = None) -> Teacher:
    """The base model (in `dtype.dtype()`, or 4-bit on request) with its tokenizer, and with the adapter of an `adapter` folder.

    The adapter's float32 product is added to the base weights as they are loaded, so that a sum is rounded once where these are
    bf16: bit for bit what merging in float32 gives for a model published in bf16, at half the memory. A 4-bit base keeps its
    adapter separate.
    """
    cuda = torch.cuda.is_available()
    if settings.quantization == "nf4" and not (cuda and importlib.util.find_spec("bitsandbytes")):
        lacks = "bitsandbytes, which is not installed (pip install bitsandbytes)" if cuda else "a CUDA GPU and bitsandbytes"
        raise CyborgError(f"finetune_teacher.quantization: nf4 needs {lacks}; or set `quantization: none`")
    folder, tokenizer = weights.resolve(settings.model), tokenizer_of(settings)
    options: dict[str, Any] = {
        "dtype": dtype.dtype(),
        "device_map": {"": 0} if cuda else None,
        "attn_implementation": cpu_attention.name(flash=True),
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if settings.quantization == "nf4":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype.dtype()
        )
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    if adapter is not None:
        weights.check(adapter, "Remove this folder and fine-tune the Teacher again (notebook 02).")
        model = PeftModel.from_pretrained(model, weights.plain(adapter, "adapter_model"))
        model = model.merge_and_unload() if settings.quantization == "none" else model
    teacher = Teacher(model, tokenizer, template, max_tokens=settings.max_tokens)
    if adapter is not None:
        teacher.bias = bias_of(adapter)
    return teacher


def tokenizer_of(settings: Settings):
    """The tokenizer alone: prompts can be counted and shown without loading the model."""
    folder = weights.resolve(settings.model)
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)  # unset, it would offer to run a model's own code


def targets(levels: np.ndarray, size: int, sd: float) -> np.ndarray:
    """Target distributions over levels, shape (*levels.shape, K): one-hot for `sd` 0, else a normalised Gaussian.

    `sd` is the Gaussian's SD in levels. Raters are often one level apart, and a smoothed target tells the Teacher that the
    neighbouring levels are nearly right.
    """
    distance = np.arange(size) - np.asarray(levels)[..., None]
    weight = (distance == 0).astype(float) if sd == 0 else np.exp(-0.5 * (distance / sd) ** 2)
    return weight / weight.sum(axis=-1, keepdims=True)


def measures(probabilities: np.ndarray, levels: np.ndarray, scale: Scale) -> dict[str, float]:
    """Agreement of distributions over levels with human levels: QWK and SMD of the most likely level, r of the expected score.

    For traits, shapes (n, traits, K) and (n, traits), each measure is the mean over the traits for which it is defined.
    """
    if levels.ndim == 2:
        each = [measures(probabilities[:, at], levels[:, at], scale) for at in range(levels.shape[1])]
        return pd.DataFrame(each).mean().to_dict()
    expected = probabilities @ scale.scores
    human = scale.score(levels)
    return {
        "qwk": metrics.qwk(levels, probabilities.argmax(1), levels=scale.size),
        "r": metrics.pearson_r(human, expected),
        "smd": metrics.smd(human, scale.score(probabilities.argmax(1))),
        "loss": float(-np.log(np.clip(probabilities[np.arange(len(levels)), levels], 1e-12, None)).mean()),
    }


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
        found = measures(probabilities, np.array([row["level"] for row in self.eval_dataset]), self.teacher.prompt.scale)
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
    if (adapter / "teacher.json").is_file() and saved(adapter)[2] == mark and not weights.cut_short(adapter):
        shutil.rmtree(checkpoints, ignore_errors=True)  # a killed run may have left some
        return pd.read_csv(adapter / "curve.csv")
    if not (checkpoints / f"{mark}.mark").is_file():
        shutil.rmtree(checkpoints, ignore_errors=True)
        checkpoints.mkdir(parents=True)
        (checkpoints / f"{mark}.mark").touch()

    teacher = load(settings, template)
    large = teacher.model.num_parameters() > LARGE
    if settings.quantization == "nf4" and large:  # frozen below, and not upcast: float32 activations would take twice the memory
        teacher.model.enable_input_require_grads()
    adapted = lora.configuration(teacher.model, rank=settings.lora_rank, targets=settings.lora_targets, share=settings.lora_from)
    teacher.model = get_peft_model(teacher.model, adapted)
    prompts, _ = teacher.encode(train["text"], train["assignment"])
    dev_prompts, _ = teacher.encode(dev["text"], dev["assignment"])
    if settings.lora_from:
        lower_layers.enter(teacher, settings, [*prompts, *dev_prompts], folder / "lower")
    goals = targets(_levels(train, template), template.scale.size, settings.target_sd)
    if settings.start_at == "human":
        teacher.bias = offset_to_mean(teacher.probabilities(prompts[:STARTS]), goals)
    if lora.is_half(teacher.model.device):
        lora.compute_in_half(teacher.model)
        teacher.half = True
    rows = [{"ids": ids, "target": target} for ids, target in zip(prompts, goals, strict=True)]
    steps = -(-len(rows) // settings.batch_size) * settings.epochs
    budget, checkpointing = _at_once(teacher, adapted, max(map(len, prompts)), large=large)
    options = arguments(
        checkpoints,
        seed=seed,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        activation_checkpointing=checkpointing,
        use_liger_kernel=teacher.half and is_liger_kernel_available(),
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 10),
        weight_decay=0.0,
        eval_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="qwk",
        disable_tqdm=False,
    )
    trainer = _ScoreTrainer(
        teacher=teacher,
        merge=(teacher.half or settings.lora_from > 0) and settings.quantization == "none",
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
    said |= {} if teacher.bias is None else {"bias": teacher.bias.tolist()}
    with atomic.folder(adapter) as temporary:
        teacher.model.save_pretrained(temporary)
        curve.to_csv(temporary / "curve.csv", index=False)
        provenance.write_json(temporary / "teacher.json", said)
    shutil.rmtree(checkpoints)
    return curve


def _at_once(teacher: Teacher, adapted: LoraConfig, longest: int, *, large: bool) -> tuple[int, bool]:
    """Tokens of a micro-batch, and whether activations are recomputed in the backward pass (gradient checkpointing).

    Without a GPU a model of up to `LARGE` parameters takes the whole batch, and a larger one an essay at a time, recomputed.
    """
    device = teacher.model.device
    if device.type != "cuda":
        return (0, True) if large else (sys.maxsize, False)
    saved = memory.of_training(teacher.base.config, adapted, half=teacher.half)
    return memory.micro_batch(*saved, memory.free(device), longest)


def bias_of(adapter: Path) -> np.ndarray | None:
    """What a fine-tuned Teacher adds to its answer logits; None where nothing."""
    file = adapter / "teacher.json"
    found = json.loads(file.read_text(encoding="utf-8")).get("bias") if file.is_file() else None
    return None if found is None else np.array(found)


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


def score(teacher: Teacher, essays: pd.DataFrame, *, folder: Path | None = None, mark: str = "") -> pd.DataFrame:
    """The Teacher's scores of essays (columns essay_id, text, assignment).

    Returns essay_id, level (most likely), expected (probability-weighted score, in score units), p_1 .. p_K. For traits there is
    one row an essay and trait, with a column trait.
    With a `folder`, finished parts are kept there and reused for the same essays and the same `mark` (of the Teacher).
    """
    prompts, _ = teacher.encode(essays["text"], essays["assignment"])
    of_these = provenance.fingerprint({"teacher": mark}, data=[[*essays["essay_id"]], prompts])
    p = teacher.probabilities(prompts, folder=folder, mark=of_these, show="Teacher scores")
    scale, traits = teacher.prompt.scale, teacher.prompt.traits
    frame = pd.DataFrame({"essay_id": essays["essay_id"].to_numpy().repeat(len(traits) or 1)})
    if traits:
        frame["trait"] = traits * len(essays)
    p = p.reshape(len(frame), scale.size)
    frame = frame.assign(level=p.argmax(1), expected=p @ scale.scores)
    return pd.concat([frame, pd.DataFrame(p, columns=[f"p_{level + 1}" for level in range(scale.size)])], axis=1)


def saved(folder: Path) -> tuple[Settings, str, str]:
    """Settings, rubric and mark of a fine-tuned Teacher, from its `adapter` folder."""
    content = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
    return Settings(**content["settings"]), content["rubric"], content["mark"]
