"""Frozen states: what the layers of a pretrained model hold of each essay, computed once and kept on disk.

A language model that was never fine-tuned knows much about writing. A ridge regression on the mean of a middle layer's states
over an essay's tokens turns that into scores in a second (`models.frozen`). One forward pass over a corpus serves every share
of human scores, every seed, trait and draw.

The states of a corpus are a memory-mapped float16 array in `build/<profile>/states`, with a record of its hash. They are never
committed: an essay can be guessed from its states. Only the layers asked for are kept, and none after the last of them is
computed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoTokenizer

from cyborg_utils.core import atomic, dtype, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import cpu_attention, recipes, trainer, weights
from cyborg_utils.models.prompt import Prompt, plain_ids

BUDGET = {"cpu": 8192, "cuda": 65536}  # tokens a batch
EVERY = 10.0  # seconds of work that a kill can cost


@dataclass(frozen=True)
class Reading:
    """How a model reads an essay: its name, the layers whose output is kept (1 is the first block), and the essay's token limit.

    `rubric`: the Teacher's prompt, up to the essay, stands before it; else the essay stands alone.
    """

    model: str
    layers: tuple[int, ...]
    max_tokens: int
    rubric: bool = False


def of_essays(
    essays: pd.DataFrame, reading: Reading, *, template: Prompt | None = None, folder: Path, show: str = "States"
) -> np.ndarray:
    """Mean states of essays (columns text, assignment), float16 (n, layers, hidden), memory-mapped and read-only.

    They are computed once for these texts and this reading, kept under `folder`, and an interrupted call resumes. `template` is
    the prompt of a reading with rubric. Raises CyborgError where the model has fewer layers than are asked for.
    """
    source = weights.resolve(reading.model)
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    most = config.num_hidden_layers
    if (
        not reading.layers
        or min(reading.layers) < 1
        or max(reading.layers) > most
        or list(reading.layers) != sorted(set(reading.layers))
    ):
        raise CyborgError(f"layers {list(reading.layers)}: {reading.model} has layers 1 to {most}. Name some of them, ascending.")
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    rows, spans = _encoded(tokenizer, essays, reading, template, causal=_is_causal(config))
    said = {"reading": asdict(reading), "model": weights.identity(reading.model), "recipe": recipes.STATES.version}
    target = folder / provenance.fingerprint(said, data=[rows, spans])[:20]
    if not (target / "record.json").is_file():
        shape = (len(rows), len(reading.layers), config.hidden_size)
        _fill(target, shape, rows, spans, lambda: _Body(source, config, reading.layers), show)
        record = said | {"shape": list(shape), "sha256": provenance.sha256(target / "states.npy")}
        record |= {"seconds": float((target / "seconds.txt").read_text()), "dtype": dtype.name()}
        provenance.write_json(target / "record.json", record)
    return np.load(target / "states.npy", mmap_mode="r", allow_pickle=False)


def seconds(folder: Path) -> dict[str, float]:
    """Seconds of every finished pass under `folder`, by model and layers."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/record.json"))]
    return {f"{one['reading']['model']} {one['reading']['layers']}": one["seconds"] for one in records}


def _is_causal(config: Any) -> bool:
    return any("CausalLM" in name for name in config.architectures or ())


def _encoded(
    tokenizer, essays: pd.DataFrame, reading: Reading, template: Prompt | None, *, causal: bool
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Token ids of what the model reads of each essay, and the essay's own part of them. No text can make a special token."""
    texts, limit = list(essays["text"]), reading.max_tokens
    if not causal:  # an encoder's marks at both ends belong to what is averaged, as in a Student
        options = {"split_special_tokens": True, "verbose": False, "truncation": True, "max_length": limit}
        rows = tokenizer(texts, **options)["input_ids"]
        return rows, [(0, len(row)) for row in rows]
    heads = [[tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []] * len(texts)
    if reading.rubric:
        heads = template.heads(tokenizer, list(essays["assignment"]), max_tokens=limit)
    own = [plain_ids(tokenizer, text)[:limit] for text in texts]
    rows = [head + (ids or [tokenizer.eos_token_id]) for head, ids in zip(heads, own, strict=True)]
    return rows, [(len(head), len(row)) for head, row in zip(heads, rows, strict=True)]


def _fill(target: Path, shape: tuple[int, ...], rows, spans, body, show: str) -> None:
    """Fill the array batch by batch. `done` marks essays whose states are on disk, so that a killed pass goes on after them."""
    target.mkdir(parents=True, exist_ok=True)
    begun = (target / "done.npy").is_file()  # written after the array
    states = np.lib.format.open_memmap(target / "states.npy", mode="r+" if begun else "w+", dtype=np.float16, shape=shape)
    done = np.load(target / "done.npy", allow_pickle=False) if begun else np.zeros(len(rows), dtype=bool)
    spent = float((target / "seconds.txt").read_text()) if begun else 0.0
    network = body()
    bar = tqdm(total=len(rows), initial=int(done.sum()), desc=show, unit="essay", mininterval=2)
    waiting, since = [], time.monotonic()
    batches = [batch[~done[batch]] for batch in trainer.token_batches([*map(len, rows)], BUDGET[network.device.type])]
    for number, batch in enumerate(batches, 1):
        if len(batch):
            states[batch] = network.means([rows[at] for at in batch], [spans[at] for at in batch])
            waiting.append(batch)
            bar.update(len(batch))
        if waiting and (number == len(batches) or time.monotonic() - since > EVERY):
            states.flush()
            done[np.concatenate(waiting)] = True
            spent, since, waiting = spent + time.monotonic() - since, time.monotonic(), []
            atomic.write(target / "seconds.txt", f"{spent:.3f}\n")
            with atomic.file(target / "done.npy") as temporary, temporary.open("wb") as sink:
                np.save(sink, done)
    bar.close()


class _Body:
    """A pretrained model up to the last layer that is asked for, without its output layer."""

    def __init__(self, source: Path, config: Any, layers: Sequence[int]) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for name in [key for key, value in config.to_dict().items() if "dropout" in key and isinstance(value, float)]:
            setattr(config, name, 0.0)
        model = AutoModel.from_pretrained(source, config=config, dtype=dtype.dtype(), use_safetensors=True)
        if model._can_set_attn_implementation():
            model.set_attn_implementation(cpu_attention.name())
        self.model, self.device, self.causal = model.to(device).eval(), device, _is_causal(config)
        blocks = next(
            part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == config.num_hidden_layers
        )
        del blocks[max(layers) :]  # what comes after them is not computed
        self.pad, self.found, self.layers = config.pad_token_id or 0, {}, list(layers)
        for at in layers:
            blocks[at - 1].register_forward_hook(lambda _, __, output, at=at: self._keep(at, output))

    def _keep(self, at: int, output: Any) -> None:
        self.found[at] = output[0] if isinstance(output, tuple) else output

    @torch.no_grad()
    def means(self, rows: Sequence[list[int]], spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """Mean states over each essay's own tokens, float16 (rows, layers, hidden)."""
        shared = len(commonprefix(list(rows))) if self.causal and len(rows) > 1 else 0
        shared = min(shared, min(start for start, _ in spans))
        padded = trainer.pad([row[shared:] for row in rows], self.pad).to(self.device)
        if shared:  # the rubric's keys and values are computed once a batch
            cache = self.model(input_ids=torch.tensor([rows[0][:shared]], device=self.device), use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(rows))
            self.model(input_ids=padded, past_key_values=cache, use_cache=True)
        elif self.causal:  # a token cannot see what follows it, so padding on the right needs no mask
            self.model(input_ids=padded, use_cache=False)
        else:
            self.model(input_ids=padded, attention_mask=trainer.pad([[1] * len(row) for row in rows], 0).to(self.device))
        place = torch.arange(padded.shape[1], device=self.device)[None] + shared
        start, end = torch.tensor(spans, device=self.device).T[:, :, None]
        share = ((place >= start) & (place < end)).float()
        share /= share.sum(1, keepdim=True)
        means = [torch.einsum("bth,bt->bh", self.found[at].float(), share) for at in self.layers]
        limit = torch.finfo(torch.float16).max
        return torch.stack(means, 1).clamp(-limit, limit).half().cpu().numpy()
