"""LoRA on a Teacher: which layers it adapts, the precision in which it computes, and a merged copy to evaluate with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from cyborg_utils.core import dtype
from cyborg_utils.models import states

TARGETS = {"attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "all-linear": "all-linear"}


def first_layer(share: float, layers: int) -> int:
    """The first layer (0 is the lowest) with LoRA where `share` of the layers have none; the uppermost always has it."""
    return min(round(share * layers), layers - 1)


def configuration(model: nn.Module, *, rank: int, targets: str, share: float = 0.0) -> LoraConfig:
    """LoRA of this rank, alpha twice the rank, on the layers from `first_layer(share)` on."""
    chosen: Any = TARGETS[targets]
    options: dict[str, Any] = {}
    layers = states.blocks(model.get_decoder())
    if share:
        options["layers_to_transform"] = list(range(first_layer(share, len(layers)), len(layers)))
    if chosen == "all-linear":  # PEFT takes no layers beside this word, and only whole language models
        parts = layers.named_modules()
        chosen = sorted({name.split(".")[-1] for name, part in parts if isinstance(part, (nn.Linear, Conv1D))})
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=chosen, task_type="CAUSAL_LM", **options)


def schedule(settings: Any, essays: int) -> dict[str, Any]:
    """How a Teacher is trained on so many essays: options of `trainer.arguments` from a study's `finetune_teacher` section."""
    steps = -(-essays // settings.batch_size) * settings.epochs
    return {
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch_size,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, steps // 10),
    }


def is_half(device: torch.device) -> bool:
    """Whether LoRA's products are computed in bf16. Its weights, gradients and the optimiser's state stay in float32.

    Only on a GPU: on a CPU they are computed in float32, as in every Teacher that was trained on one.
    """
    return device.type == "cuda" and dtype.dtype() == torch.bfloat16


def compute_in_half(model: PeftModel) -> None:
    """Stop LoRA from casting its input to its weights' float32. Run the model under `dtype.autocast` from here on."""
    for layer in _layers(model):
        layer.cast_input_dtype_enabled = False


@contextmanager
def merged(model: PeftModel) -> Iterator[None]:
    """The model with its adapter added to the base weights, as in `teacher.load`; afterwards the weights are the old ones."""
    weights = [(layer, layer.get_base_layer().weight) for layer in _layers(model)]
    kept = [weight.data for _, weight in weights]
    try:
        for layer, weight in weights:
            weight.data = (weight.data + layer.get_delta_weight("default")).to(weight.dtype)
        with model.disable_adapter():
            yield
    finally:
        for (_, weight), data in zip(weights, kept, strict=True):
            weight.data = data


def merge(model: nn.Module) -> None:
    """Add the adapter to the base weights, for good."""
    for layer in _layers(model):
        layer.merge()


def _layers(model: nn.Module) -> list[LoraLayer]:
    return [part for part in model.modules() if isinstance(part, LoraLayer)]
