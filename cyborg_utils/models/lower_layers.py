"""The lower layers of a Teacher whose LoRA begins higher up: what they make of each prompt is computed once and kept.

Without LoRA a layer gives the same states in every epoch. So the states that enter the first adapted layer are computed once for
each prompt, in the model's own precision, and read from disk in training and in evaluation. The part that all prompts begin with
is kept once. Then the lower layers leave memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from cyborg_utils.core import atomic, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import lora, memory, trainer
from cyborg_utils.models.states import blocks

if TYPE_CHECKING:
    from cyborg_utils.models.teacher import Settings, Teacher

EVERY = 16  # batches between two looks at what is finished: what a kill can cost


class LowerStates:
    """States of prompts as they enter a decoder's layer `first`, on disk; `rows` gives those of a batch."""

    def __init__(self, prompts: Sequence[list[int]], folder: Path, kind: torch.dtype, device: torch.device) -> None:
        self.kind, self.device = kind, device
        self.shared = len(commonprefix(list(prompts)))
        self.shared = min(self.shared, min(map(len, prompts)) - 1)
        distinct = dict.fromkeys(map(tuple, prompts))
        starts = np.cumsum([self.shared, *(len(ids) - self.shared for ids in distinct)])
        self.places = {ids: int(start) for ids, start in zip(distinct, starts, strict=False)}
        self.length, self.file = int(starts[-1]), folder / "states.npy"

    def open(self, width: int, mode: str) -> None:
        """Map the array (tokens, width): the shared beginning, then the rest of each prompt. Its bits are those of `kind`."""
        bits = np.int16 if self.kind == torch.bfloat16 else np.float32
        self.array = np.lib.format.open_memmap(self.file, mode=mode, dtype=bits, shape=(self.length, width))

    def write(self, start: int, states: torch.Tensor) -> None:
        """Put the states (tokens, width) at `start`."""
        plain = states.cpu().contiguous()
        self.array[start : start + len(plain)] = (plain.view(torch.int16) if self.kind == torch.bfloat16 else plain).numpy()

    def rows(self, prompts: Sequence[list[int]], start: int, end: int | None = None) -> torch.Tensor:
        """States of tokens `start` to `end` of prompts, (prompts, longest, width), zero after the end of the shorter ones."""
        found = [self._of(ids, start, len(ids) if end is None else end) for ids in prompts]
        return nn.utils.rnn.pad_sequence(found, batch_first=True).to(self.device)

    def _of(self, ids: list[int], start: int, end: int) -> torch.Tensor:
        place = self.places[tuple(ids)] - self.shared  # where token 0 would be
        parts = [self.array[start : min(end, self.shared)], self.array[place + max(start, self.shared) : place + end]]
        bits = torch.from_numpy(np.concatenate([part for part in parts if len(part)]))
        return bits.view(torch.bfloat16) if self.kind == torch.bfloat16 else bits


class _Skipped(nn.Module):
    """Stands in the place of a layer whose output is the input already. It notes in the cache how many tokens went by."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def forward(self, hidden_states: torch.Tensor, past_key_values=None, **_) -> torch.Tensor:
        if past_key_values is not None:
            nothing = hidden_states.new_zeros(len(hidden_states), 1, hidden_states.shape[1], 1)
            past_key_values.update(nothing, nothing, self.at)
        return hidden_states


@torch.no_grad()
def states(
    decoder: nn.Module,
    first: int,
    prompts: Sequence[list[int]],
    *,
    folder: Path,
    mark: str,
    budget: int,
    read: Callable,
    show: str,
) -> LowerStates:
    """The states of `prompts` at layer `first`, from disk as far as they are there; `mark` identifies the model.

    `read(rows, shared)` runs the decoder on prompts that share their first `shared` tokens. Call `skip` afterwards.
    """
    layers = blocks(decoder)
    device, kind = layers[first].parameters().__next__().device, decoder.dtype
    said = {"mark": mark, "first": first, "kind": str(kind)}
    folder = folder / provenance.fingerprint(said, data=[*map(list, prompts)])
    found = LowerStates(prompts, folder, kind, device)
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "done.json"
    done = json.loads(progress.read_text()) if progress.is_file() else 0  # batches
    found.open(decoder.config.hidden_size, "r+" if done else "w+")
    seen: list[torch.Tensor] = []
    hook = layers[first - 1].register_forward_hook(lambda _, __, output: seen.append(_plain(output)))
    later = list(layers[first:])
    del layers[first:]  # they are not computed
    try:
        rows = [list(ids) for ids in found.places]
        batches = trainer.token_batches([len(ids) - found.shared for ids in rows], budget)
        bar = tqdm(total=len(rows), initial=sum(map(len, batches[:done])), desc=show, unit="essay", mininterval=2)
        for number, batch in enumerate(batches[done:], done + 1):
            trainer.fitting(lambda part: _fill(found, [rows[at] for at in part], read, seen), batch)
            bar.update(len(batch))
            if number == len(batches) or number % EVERY == 0:
                found.array.flush()
                atomic.write(progress, json.dumps(number))
        bar.close()
    finally:
        hook.remove()
        layers.extend(later)
    found.open(decoder.config.hidden_size, "r")
    return found


def _fill(found: LowerStates, rows: list[list[int]], read: Callable, seen: list[torch.Tensor]) -> np.ndarray:
    seen.clear()
    read(rows, found.shared)
    if found.shared:
        found.write(0, seen[0][0])
    for ids, states in zip(rows, seen[-1], strict=True):
        found.write(found.places[tuple(ids)], states[: len(ids) - found.shared])
    return np.zeros(len(rows))


def _plain(output) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def skip(decoder: nn.Module, first: int) -> None:
    """Take the layers below `first` out of the decoder: from here on its input is `LowerStates.rows`."""
    layers = blocks(decoder)
    for at in range(first):
        layers[at] = _Skipped(at)


def enter(teacher: Teacher, settings: Settings, prompts: list[list[int]], folder: Path) -> None:
    """Let the Teacher read these prompts from the first layer with LoRA on. Raises CyborgError where its answers would change."""
    decoder, few = teacher.decoder, sorted(prompts, key=len)[:2]
    first = lora.first_layer(settings.lora_from, len(blocks(decoder)))
    if not first:
        return
    before = teacher.probabilities(few)
    teacher.lower = states(
        decoder,
        first,
        prompts,
        folder=folder,
        mark=f"{settings.model} {settings.quantization}",
        budget=memory.token_budget(teacher.base.config, teacher.model.device, cpu=8192),
        read=lambda rows, shared: teacher.hidden(decoder, rows, shared),
        show="Lower layers",
    )
    skip(decoder, first)
    if not np.allclose(teacher.probabilities(few), before, atol=0.02):
        raise CyborgError(f"finetune_teacher.lora_from: {settings.model} cannot be entered in the middle; set `lora_from: 0.0`.")
