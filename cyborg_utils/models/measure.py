"""How fast this machine is: its matrix products, and one or two real layers of a model, with random weights."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM

from cyborg_utils.core import dtype
from cyborg_utils.models import cpu_attention, lora, memory
from cyborg_utils.models.teacher import Teacher

REPEATS = 3  # after one to warm up; the quickest counts


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The quickest of several calls, after one that is not counted."""
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        wait()
        found.append(time.perf_counter() - started)
    return min(found[1:])


def wait() -> None:
    """Until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rate(kind: torch.dtype, *, size: int = 4096) -> float:
    """FLOP/s of products of two square matrices."""
    one = torch.randn(size, size, device=device()).to(kind)
    return 2 * size**3 / seconds(lambda: one @ one)


def of_layers(config: Any, build: Callable[[Any], Callable[[], Any]]) -> float:
    """Seconds of one batch through all layers of a model, from models of one layer and of two: what is left is counted once.

    `build(config)` makes the small model and returns what is to be timed.
    """
    one, two = (seconds(build(memory.small(config, layers))) for layers in (1, 2))
    each = max(two - one, 0.1 * one)
    return max(0.0, one - each) + config.num_hidden_layers * each


def teacher(config: Any, prompts: Sequence[int], shared: int, adapted: LoraConfig | None = None) -> float:
    """Seconds of one batch of prompts (their lengths, and how many tokens all begin with) through a Teacher.

    With LoRA (`adapted`) forward and backward, as in training; without, forward.
    """
    rows = [[0] * shared + [1 + at % (memory.WORDS - 2)] * (length - shared) for at, length in enumerate(prompts)]

    def build(small: Any) -> Callable[[], Any]:
        where = device()
        options = {"dtype": dtype.dtype(), "attn_implementation": cpu_attention.name(flash=True)}
        model = AutoModelForCausalLM.from_config(small, **options).to(where)
        reader = Teacher.__new__(Teacher)  # a Teacher without a tokenizer
        reader.lower, reader.half = None, False
        if adapted is None:
            reader.model = model.eval()
            return lambda: _without_gradients(lambda: reader.hidden(reader.decoder, rows, shared))
        own = copy.deepcopy(adapted)
        own.layers_to_transform = None
        reader.model = get_peft_model(model, own).train()
        if lora.is_half(where):
            lora.compute_in_half(reader.model)
            reader.half = True
        # as if layers came before: their gradient is needed where LoRA begins below
        return lambda: reader.hidden(reader.decoder, rows, shared)[:, -1].float().sum().backward()

    return of_layers(config, build)


def student(config: Any, lengths: Sequence[int], *, train: bool) -> float:
    """Seconds of one batch of essays (their lengths) through an encoder: forward and backward, or forward."""
    width = max(lengths)
    mask = torch.tensor([[1] * length + [0] * (width - length) for length in lengths], device=device())

    def build(small: Any) -> Callable[[], Any]:
        encoder = AutoModel.from_config(small, dtype=torch.float32).to(device())
        if encoder._can_set_attn_implementation():
            encoder.set_attn_implementation(cpu_attention.name())
        encoder.get_input_embeddings().weight.requires_grad_(False)
        encoder.train(train)

        def forward() -> torch.Tensor:
            with dtype.autocast(mask.device):
                return encoder(input_ids=mask + 4, attention_mask=mask).last_hidden_state

        return (lambda: forward().float().mean().backward()) if train else (lambda: _without_gradients(forward))

    return of_layers(config, build)


@torch.no_grad()
def _without_gradients(work: Callable[[], Any]) -> Any:
    return work()
