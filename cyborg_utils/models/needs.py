"""What one Teacher or one Student needs, on this machine or on a GPU by its data sheet: bytes, and seconds of its work.

Counted on PyTorch's meta device, and timed on real layers of this machine (`measure`). For `cyborg plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from peft import get_peft_model
from transformers import AutoModel, AutoModelForCausalLM

from cyborg_utils.core import dtype
from cyborg_utils.models import lora, measure, memory
from cyborg_utils.models.memory import LARGE
from cyborg_utils.models.states import blocks
from cyborg_utils.models.teacher import Settings

GIB = 2**30
SHARES = {"train": 0.33, "score": 0.45, "student": 0.25}  # of a data sheet's FLOP/s that a card is taken to reach: assumed
STEP = 0.02  # seconds at least of an update on a GPU: what its launches take
PYTHON = 0.7  # GiB of a notebook's process before any model; of a GPU, what CUDA takes for itself


@dataclass(frozen=True)
class Machine:
    """Where a study is to run. `flops` is None for this machine, whose layers are timed."""

    name: str
    memory: float  # bytes
    cuda: bool
    flops: float | None = None


# On a CPU a process keeps more than it needs at once, mapped weights and freed pieces of all sizes: by the records of demo and
# ellipse, whose peaks were 1.6 and 4 to 8 times what is counted here.
KEPT = {"teacher": 1.6, "student": 5.0}


class Reads(NamedTuple):
    """Tokens that a model reads of an essay, median and longest, and how many all begin with."""

    usual: int
    longest: int
    shared: int = 0


def _adapted(model: Any, settings: Settings) -> Any:
    return lora.configuration(model, rank=settings.lora_rank, targets=settings.lora_targets, share=settings.lora_from)


def _on_meta(shape: Any, kind: Any = AutoModelForCausalLM) -> Any:
    with torch.device("meta"):
        return kind.from_config(shape, dtype=dtype.dtype())


def weights_bytes(shape: Any, quantization: str) -> float:
    """Bytes of a Teacher's weights: bf16 or float32; with nf4 its layers have 4 bits and their blocks' factors."""
    model = _on_meta(shape)
    size = dtype.dtype().itemsize
    inside = sum(parameter.numel() for parameter in blocks(model.get_decoder()).parameters())
    outside = sum(parameter.numel() for parameter in model.parameters()) - inside
    return outside * size + inside * (0.516 if quantization == "nf4" else size)


def teacher_memory(shape: Any, settings: Settings, reads: Reads, machine: Machine) -> dict[str, float]:
    """GiB that fine-tuning and labelling need at least; on a GPU they use what is free for larger batches."""
    model = _on_meta(shape)
    adapted, base = _adapted(model, settings), weights_bytes(shape, settings.quantization)
    saved = memory.of_training(shape, adapted, half=machine.cuda)
    large = sum(parameter.numel() for parameter in model.parameters()) > LARGE
    tokens = reads.shared + settings.batch_size * (reads.longest - reads.shared)
    needed = saved[1].bytes(reads.longest) if machine.cuda or large else saved[0].bytes(tokens)
    budget = memory.LEAST if machine.cuda else 8192
    score = base + memory.forward_bytes(shape) * max(budget, reads.longest)
    kept = 1.0 if machine.cuda else KEPT["teacher"]
    train = max(base + _adapter(model, adapted) + needed, score)
    return {"train": kept * train / GIB + PYTHON, "score": kept * score / GIB + PYTHON}


def _adapter(model: Any, adapted: Any) -> float:
    """Bytes of LoRA's float32 weights, their gradients, and the optimiser's two moments."""
    with torch.device("meta"):
        own = get_peft_model(model, adapted)
    return 16.0 * sum(parameter.numel() for parameter in own.parameters() if parameter.requires_grad)


def teacher_speed(shape: Any, settings: Settings, reads: Reads, machine: Machine) -> tuple[float, float]:
    """Seconds an essay, in training and in scoring."""
    adapted = _adapted(_on_meta(shape), settings)
    upper = 1 - lora.first_layer(settings.lora_from, shape.num_hidden_layers) / shape.num_hidden_layers
    batch = settings.batch_size
    if machine.flops is None:
        few = min(batch, 8)
        train = measure.teacher(shape, [reads.usual] * few, reads.shared, adapted) / few
        many = max(1, min(8, 8192 // reads.usual))
        read = measure.teacher(shape, [reads.usual] * many, reads.shared) / many
    else:
        whole, again = memory.of_training(shape, adapted, half=True)
        room = machine.memory - weights_bytes(shape, settings.quantization) - PYTHON * GIB
        _, checkpointing = memory.micro_batch(whole, again, room, reads.longest)
        flops = (again if checkpointing else whole).flops_per_token
        tokens = reads.usual - reads.shared + reads.shared / batch
        parameters = sum(part.numel() for part in blocks(_on_meta(shape).get_decoder()).parameters())
        train = tokens * flops / upper / (machine.flops * SHARES["train"])
        read = tokens * 2 * parameters / (machine.flops * SHARES["score"])
    once = read * (1 - upper) / max(1, settings.epochs)  # the lower layers, computed once
    return train * upper + once, read


def student_memory(shape: Any, reads: Reads, batch: int, machine: Machine) -> float:
    encoder = _on_meta(shape, AutoModel)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    words = encoder.get_input_embeddings().weight.numel()  # frozen: neither gradient nor moments
    size = dtype.dtype().itemsize
    inside = size * shape.num_hidden_layers * (10 * shape.hidden_size + 4 * shape.intermediate_size)
    kept = 1.0 if machine.cuda else KEPT["student"]
    return kept * (4 * words + 16 * (count - words) + inside * batch * reads.longest) / GIB + PYTHON


def student_speed(shape: Any, reads: Reads, batch: int, machine: Machine) -> tuple[float, float]:
    """Seconds of an update, and of an essay that is scored."""
    if machine.flops is None:
        lengths = [reads.usual] * batch
        return measure.student(shape, lengths, train=True), measure.student(shape, lengths, train=False) / batch
    encoder = _on_meta(shape, AutoModel)
    inside = sum(part.numel() for part in blocks(encoder).parameters())
    forward = 2 * inside * reads.usual / (machine.flops * SHARES["student"])
    return max(STEP, 3 * forward * batch), forward
