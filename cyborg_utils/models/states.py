"""Frozen states: what the layers of a pretrained model hold of each essay, computed once and kept on disk.

A language model that was never fine-tuned knows much about writing. A ridge regression on the mean of a middle layer's states
over an essay's tokens turns that into scores in a second (`models.frozen`). One forward pass over a corpus serves every share
of human scores, every seed, trait and draw.

States are kept in `build/_states`, one store for each way of reading, with a record of its hash. They are never committed: an
essay can be guessed from its states. Only the layers asked for are kept, and none after the last of them is computed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from torch import nn
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from cyborg_utils.core import atomic, dtype, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import cpu_attention, memory, recipes, trainer, weights
from cyborg_utils.models.prompt import Prompt, plain_ids

BUDGET = {"cpu": 8192}  # tokens a batch; on a GPU see `memory`
EVERY = 10.0  # seconds of work that a kill can cost
KEY = 16  # bytes


@dataclass(frozen=True)
class Reading:
    """How a model reads an essay: its name, the layers whose output is kept (1 is the first block), and the essay's token limit.

    No layers stand for `middle` ones. `rubric`: the Teacher's prompt, up to the essay, stands before it; else the essay is
    alone.
    """

    model: str
    layers: tuple[int, ...]
    max_tokens: int
    rubric: bool = False


def middle(config: Any, given: Sequence[int] = (), *, count: int = 2) -> tuple[int, ...]:
    """The `given` layers of a model, else `count` of them from half of the way up: 3 and 4 of 6, or 12, 16 and 18 of 24.

    Middle layers say most about how an essay is written; the last ones prepare the next word, or one sentence's meaning.
    """
    depth = config.num_hidden_layers
    found = tuple(given) or tuple(dict.fromkeys(max(1, round(depth * share)) for share in (1 / 2, 2 / 3, 3 / 4)[:count]))
    if min(found) < 1 or max(found) > depth or list(found) != sorted(set(found)):
        raise CyborgError(f"layers {list(found)}: the model has layers 1 to {depth}. Name some of them, ascending.")
    return found


def blocks(model: nn.Module) -> nn.ModuleList:
    """The layers of a decoder or encoder, in order."""
    depth = model.config.num_hidden_layers
    return next(part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == depth)


def cut(model: nn.Module, last: int) -> nn.ModuleList:
    """Take off the layers above `last`, so that they are neither computed nor saved; returns the layers that are left.

    A norm behind the layers (ModernBERT, decoders) does nothing from here on: the states are those of the layers.
    """
    layers = blocks(model)
    del layers[last:]
    model.config.num_hidden_layers = last
    for norm in [part for name, part in model.named_children() if name in ("final_norm", "norm")]:
        norm.forward = _unchanged
    return layers


def _unchanged(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


def of_essays(
    essays: pd.DataFrame, reading: Reading, *, template: Prompt | None = None, folder: Path | None = None, show: str = "States"
) -> np.ndarray:
    """Mean states of essays (columns text, assignment), float16 (n, layers, hidden).

    Each essay is read once by this model in this way, whoever asks: only what is not in the store under `folder` (by default that
    of all studies) is computed, and an interrupted call resumes. `template` is the prompt of a reading with rubric. Raises
    CyborgError where the model has fewer layers than are asked for.
    """
    source, config = opened(reading)
    reading = replace(reading, layers=middle(config, reading.layers, count=3))
    if essays.empty:
        return np.empty((0, len(reading.layers), config.hidden_size), np.float16)
    rows, spans = encoded(source, config, essays, reading, template)
    said, target = _said(reading), _folder(reading, folder)
    target.mkdir(parents=True, exist_ok=True)
    keys = [_key(row, span) for row, span in zip(rows, spans, strict=True)]
    with FileLock(target / "lock"):
        store = _Store(target, (len(reading.layers), config.hidden_size))
        first = {key: at for at, key in reversed([*enumerate(keys)])}  # a text that stands twice is read once
        if lacking := sorted(at for key, at in first.items() if key not in store.places):
            _fill(store, lacking, keys, rows, spans, Body(source, config, reading.layers), show)
            record = said | {"essays": len(store.places), "seconds": store.seconds, "dtype": dtype.name()}
            provenance.write_json(target / "record.json", record | {"sha256": provenance.sha256(store.states)})
        return store.read(keys)


def known(essays: pd.DataFrame, reading: Reading, *, template: Prompt | None = None, folder: Path | None = None) -> np.ndarray:
    """Whether the states of each essay are in the store already, (n,) of bool: `of_essays` reads these no more."""
    source, config = opened(reading)
    keys = _folder(replace(reading, layers=middle(config, reading.layers, count=3)), folder) / "keys"
    if essays.empty or not keys.is_file():
        return np.zeros(len(essays), dtype=bool)
    held = _places(keys)
    rows, spans = encoded(source, config, essays, reading, template)
    return np.array([_key(row, span) in held for row, span in zip(rows, spans, strict=True)])


def _said(reading: Reading) -> dict[str, Any]:
    return {"reading": asdict(reading), "model": weights.identity(reading.model), "recipe": recipes.STATES.version}


def _folder(reading: Reading, folder: Path | None) -> Path:
    """The folder of a reading's store, whose layers are given."""
    return (folder or paths.build("_states")) / provenance.fingerprint(_said(reading))[:20]


def _places(keys: Path) -> dict[bytes, int]:
    """The row of each essay in a store, by its key."""
    known = keys.read_bytes()
    return {known[at : at + KEY]: at // KEY for at in range(0, len(known), KEY)}


class _Store:
    """The states that one reading has found so far, in two files that only grow: an essay's key, and its states, each in a row.

    A key is written after its states, so what a killed process left behind has no key, and is cut off.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.keys, self.states, self.clock, self.shape = folder / "keys", folder / "states", folder / "seconds", shape
        self.row = 2 * shape[0] * shape[1]  # bytes, float16
        sizes = [file.stat().st_size // width if file.is_file() else 0 for file, width in self._files()]
        for file, width in self._files():
            with file.open("ab") as sink:
                sink.truncate(min(sizes) * width)
        self.places = _places(self.keys)
        self.seconds = float(self.clock.read_text()) if self.clock.is_file() else 0.0

    def _files(self) -> list[tuple[Path, int]]:
        return [(self.states, self.row), (self.keys, KEY)]

    def append(self, keys: Sequence[bytes], states: np.ndarray, seconds: float) -> None:
        for (file, _), content in zip(self._files(), (states.astype(np.float16).tobytes(), b"".join(keys)), strict=True):
            with file.open("ab") as sink:
                sink.write(content)
                sink.flush()
                os.fsync(sink.fileno())
        self.places |= {key: len(self.places) + at for at, key in enumerate(keys)}
        self.seconds += seconds
        atomic.write(self.clock, f"{self.seconds:.3f}\n")

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """The states of these essays in their order; the file is mapped, so no others are held in memory."""
        found = np.memmap(self.states, np.float16, "r", shape=(len(self.places), *self.shape))
        return found[[self.places[key] for key in keys]]


def _key(row: Sequence[int], span: tuple[int, int]) -> bytes:
    return hashlib.blake2b(np.array([*span, *row], dtype=np.int64).tobytes(), digest_size=KEY).digest()


def tokens(essays: pd.DataFrame, reading: Reading, *, template: Prompt | None = None) -> int:
    """Tokens that a pass over essays computes. What stands before the essays of an assignment counts once."""
    if essays.empty:
        return 0
    rows, spans = encoded(*opened(reading), essays, reading, template)
    heads = Counter(tuple(row[:start]) for row, (start, _) in zip(rows, spans, strict=True))
    return sum(map(len, rows)) - sum(len(head) * (count - 1) for head, count in heads.items())


def pace(reading: Reading, *, width: int = 256, rows: int = 4) -> float:
    """Tokens a second of a reading on this machine now, from one batch of so many rows and tokens, after one that warms up."""
    source, config = opened(reading)
    body = Body(source, config, middle(config, reading.layers, count=3))
    width = min(width, reading.max_tokens, (getattr(config, "max_position_embeddings", None) or width + 2) - 2)  # MPNet loses two
    ids = np.random.default_rng(0).integers(0, min(1000, config.vocab_size), (rows, width)).tolist()
    body.means(ids[:1], [(0, width)])
    started = time.monotonic()
    body.means(ids, [(0, width)] * rows)
    return rows * width / (time.monotonic() - started)


def unread(texts: Sequence[str], reading: Reading) -> np.ndarray:
    """The share of each text's tokens that stand behind a reading's limit, (n,)."""
    tokenizer = AutoTokenizer.from_pretrained(weights.resolve(reading.model), trust_remote_code=False)
    rows = tokenizer(list(texts), split_special_tokens=True, verbose=False)["input_ids"]
    lengths = np.array([len(row) for row in rows])
    return np.maximum(0, lengths - reading.max_tokens) / np.maximum(1, lengths)


def seconds(folder: Path) -> dict[str, float]:
    """Seconds of every finished pass under `folder`, by model and layers."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/record.json"))]
    return {f"{one['reading']['model']} {one['reading']['layers']}": one["seconds"] for one in records}


def opened(reading: Reading) -> tuple[Path, Any]:
    """The folder of a reading's model, and its config."""
    source = weights.resolve(reading.model)
    return source, AutoConfig.from_pretrained(source, trust_remote_code=False)


def encoded(
    source: Path, config: Any, essays: pd.DataFrame, reading: Reading, template: Prompt | None
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Token ids of what the model reads of each essay, and the essay's own part of them. No text can make a special token."""
    texts, limit = list(essays["text"]), reading.max_tokens
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if not memory.is_causal(config):  # an encoder's marks at both ends belong to what is averaged, as in a Student
        options = {"split_special_tokens": True, "verbose": False, "truncation": True, "max_length": limit}
        rows = tokenizer(texts, **options)["input_ids"]
        return rows, [(0, len(row)) for row in rows]
    heads = [[tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []] * len(texts)
    if reading.rubric:
        heads = template.heads(tokenizer, list(essays["assignment"]), max_tokens=limit)
    own = [plain_ids(tokenizer, text)[:limit] for text in texts]
    rows = [head + (ids or [tokenizer.eos_token_id]) for head, ids in zip(heads, own, strict=True)]
    return rows, [(len(head), len(row)) for head, row in zip(heads, rows, strict=True)]


def _fill(store: _Store, lacking: Sequence[int], keys, rows, spans, body: Body, show: str) -> None:
    """Read the `lacking` essays batch by batch and put them into the store every few seconds."""
    bar = tqdm(total=len(lacking), desc=show, unit="essay", mininterval=2)
    waiting, since = [], time.monotonic()
    budget = memory.token_budget(body.model.config, body.device, cpu=BUDGET["cpu"])
    alike = defaultdict(list)  # essays of one assignment share all that stands before them
    for at in lacking:
        alike[tuple(rows[at][: spans[at][0]])].append(at)
    batches = [
        [part[at] for at in batch]
        for part in alike.values()
        for batch in trainer.token_batches([len(rows[at]) for at in part], budget)
    ]

    def means(part: np.ndarray) -> np.ndarray:
        return body.means([rows[at] for at in part], [spans[at] for at in part])

    for number, places in enumerate(batches, 1):
        waiting.append(([keys[at] for at in places], trainer.fitting(means, np.array(places))))
        bar.update(len(places))
        if number == len(batches) or time.monotonic() - since > EVERY:
            found, states = zip(*waiting, strict=True)
            store.append([*itertools.chain(*found)], np.concatenate(states), time.monotonic() - since)
            waiting, since = [], time.monotonic()
    bar.close()


class Body:
    """A pretrained model up to the last layer that is asked for, without its output layer."""

    def __init__(self, source: Path, config: Any, layers: Sequence[int]) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for name in [key for key, value in config.to_dict().items() if "dropout" in key and isinstance(value, float)]:
            setattr(config, name, 0.0)
        self.causal = memory.is_causal(config)
        kind = AutoModelForCausalLM if self.causal else AutoModel  # the file's own kind: no report of an output layer to spare
        model = kind.from_pretrained(source, config=config, dtype=dtype.dtype(), use_safetensors=True).base_model
        if model._can_set_attn_implementation():
            model.set_attn_implementation(cpu_attention.name())
        self.model, self.device = model.to(device).eval(), device
        left = cut(model, max(layers))
        self.pad, self.found, self.layers = config.pad_token_id or 0, {}, list(layers)
        for at in layers:
            left[at - 1].register_forward_hook(lambda _, __, output, at=at: self._keep(at, output))

    def _keep(self, at: int, output: Any) -> None:
        self.found[at] = output[0] if isinstance(output, tuple) else output

    @torch.no_grad()
    def means(self, rows: Sequence[list[int]], spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """Mean states over each essay's own tokens, float16 (rows, layers, hidden)."""
        limit = torch.finfo(torch.float16).max
        return self.pooled(rows, spans).clamp(-limit, limit).half().cpu().numpy()

    def pooled(self, rows: Sequence[list[int]], spans: Sequence[tuple[int, int]], *, share_prefix: bool = True) -> torch.Tensor:
        """`means` in float32, with gradients where they are recorded."""
        shared = len(commonprefix(list(rows))) if share_prefix and self.causal and len(rows) > 1 else 0
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
        with torch.autocast(self.device.type, enabled=False):
            return torch.stack([torch.einsum("bth,bt->bh", self.found.pop(at).float(), share) for at in self.layers], 1)
