"""The Student: a small pretrained encoder that learns to score essays, from human or synthetic scores.

Token vectors are averaged, and one linear layer makes a real-valued score or a distribution over levels. Heads:

- `regression`         a score; squared error, every layer trained
- `classification`     a distribution over levels; cross-entropy, every layer trained (the paper's)
- `frozen`             a score by ridge regression on middle layers; the encoder stays as it is, and what is above them is cut off
- `frozen-then-tuned`  the same as a start, then trained like `regression` (LP-FT: Kumar et al. 2022)

Any encoder of the hub can be used. All heads but `classification` can learn several scores of an essay at once, its traits.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, set_seed

from cyborg_utils.core import atomic, config, dtype, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import TrainStudent
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import cpu_attention, memory, recipes, states, trainer, weights
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.models.mean_penalty import ConstrainedTrainer, MeanConstraint
from cyborg_utils.models.ridge_head import RidgeHead
from cyborg_utils.models.trainer import LengthTrainer, arguments, checkpoint

# How one Student is trained: its model and head, and the keys of a study's `train_student` section that are not lists of them
Settings = config.settings(
    TrainStudent, ("epochs", "min_steps", "learning_rate", "batch_size", "max_tokens", "layers"), model=str, head=str
)
FROZEN = ("frozen", "frozen-then-tuned")


class _Network(nn.Module):
    """Encoder, mean over tokens (and over `layers`, where there are any), one linear layer."""

    def __init__(self, encoder, outputs: int, *, regression: bool, layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.encoder, self.regression, self.layers, width = encoder, regression, tuple(layers), encoder.config.hidden_size
        self.top = RidgeHead(width + 1, outputs) if layers else nn.Linear(width, outputs)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, targets: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        essays = self.pooled(input_ids, attention_mask)
        # float32, whatever the encoder ran in: the layer is small, and its output is the score.
        with torch.autocast(essays.device.type, enabled=False):
            if self.layers:  # the logarithm of the number of tokens, which a mean loses
                essays = torch.cat([essays, attention_mask.sum(1, keepdim=True).float().log()], dim=1)
            output = self.top(essays)
        if targets is None:
            return {"output": output}
        loss = functional.mse_loss(output, targets) if self.regression else functional.cross_entropy(output, targets)
        return {"loss": loss, "output": output}

    def pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Mean token vector of each essay, (n, hidden), float32."""
        given = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=bool(self.layers))
        hidden = given.last_hidden_state.float()
        if self.layers:
            hidden = torch.stack([given.hidden_states[at].float() for at in self.layers]).mean(0)
        mask = attention_mask.unsqueeze(-1).float()
        return (hidden * mask).sum(1) / mask.sum(1)


class Student:
    """A trained Student: network, tokenizer, scale, and the units of its outputs."""

    def __init__(self, network: _Network, tokenizer, scale: Scale, settings: Settings) -> None:
        self.network, self.tokenizer, self.scale, self.settings = network, tokenizer, scale, settings
        # Mean and SD of the training scores, shape (scores,): the network's outputs are in these units.
        self.centre, self.spread = np.zeros(1), np.ones(1)
        self.shape, self.max_tokens = network.encoder.config, min(settings.max_tokens, _positions(network.encoder))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def encode(self, essays: Sequence[str]) -> tuple[list[list[int]], np.ndarray]:
        """Token ids, cut at `max_tokens`, and the number of tokens cut from each essay.

        No text can produce a special token.
        """
        essays, options = list(essays), {"split_special_tokens": True, "verbose": False}
        rows, cut = self.tokenizer(essays, **options)["input_ids"], np.zeros(len(essays), dtype=int)
        if long := [at for at, row in enumerate(rows) if len(row) > self.max_tokens]:
            texts = [essays[at] for at in long]
            shorter = self.tokenizer(texts, truncation=True, max_length=self.max_tokens, **options)["input_ids"]
            for at, row in zip(long, shorter, strict=True):
                rows[at], cut[at] = row, len(rows[at]) - len(row)
        return rows, cut

    def collate(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        return {
            "input_ids": trainer.pad(rows, self.tokenizer.pad_token_id or 0),
            "attention_mask": trainer.pad([[1] * len(row) for row in rows], 0),
        }

    def predict(self, essays: Sequence[str], *, stored: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Values (score units, float) and levels of essays, both of shape (n,), or (n, T) for a Student of T > 1 scores.

        Regression: the raw value and its nearest level. Classification: the most likely level and its score. With `stored`, a
        frozen Student takes the states of essays from the store, so that many Students of one encoder read an essay once.
        """
        if not (stored and self.settings.head == "frozen" and len(essays)):
            return self.read(self.encode(essays)[0])
        found = features(self, essays)
        with torch.no_grad():
            return self._read(self.network.top.cpu()(torch.from_numpy(np.hstack([*found.values()])).float()).numpy())

    def read(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """`predict` for essays that are already encoded."""
        return self._read(self._outputs(rows))

    def _read(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.settings.head != "classification":
            value = self.centre + self.spread * output.astype(float)
            value = value[:, 0] if value.shape[1] == 1 else value
            return value, self.scale.nearest(value)
        level = output.argmax(1)
        return self.scale.score(level), level

    def probabilities(self, essays: Sequence[str]) -> dict[str, np.ndarray]:
        """The distribution over levels that a classifier gives essays: p_1 .. p_K, (n,) each."""
        p = softmax(self._outputs(self.encode(essays)[0]).astype(float), axis=1)
        return {f"p_{level + 1}": p[:, level] for level in range(self.scale.size)}

    @torch.no_grad()
    def _outputs(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        self.network.to(self.device).eval()
        budget = memory.token_budget(self.shape, self.device, cpu=16384)

        def work(batch: np.ndarray) -> np.ndarray:
            inputs = {key: value.to(self.device) for key, value in self.collate([rows[index] for index in batch]).items()}
            with dtype.autocast(self.device):
                return self.network(**inputs)["output"].float().cpu().numpy()

        return trainer.in_parts(work, trainer.token_batches([*map(len, rows)], budget), None, "")

    def save(self, folder: Path, mark: str = "", curve: pd.DataFrame | None = None) -> None:
        """Write the Student as safetensors and JSON, atomically. It replaces everything in `folder`."""
        top = {key: value.contiguous().cpu() for key, value in self.network.top.state_dict().items()}
        scale = [self.scale.low, self.scale.high, self.scale.step]
        content = {"settings": asdict(self.settings), "scale": scale, "mark": mark}
        content |= {"centre": self.centre.tolist(), "spread": self.spread.tolist()}
        with atomic.folder(folder) as temporary:
            self.network.encoder.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            save_file(top, temporary / "top.safetensors")
            if curve is not None:
                curve.to_csv(temporary / "curve.csv", index=False)
            provenance.write_json(temporary / "student.json", content)


def load(folder: Path) -> Student:
    """A saved Student. Raises CyborgError where a file of its weights was cut short."""
    weights.check(folder, "Remove this folder and train the Student again (notebook 04).")
    content = json.loads((folder / "student.json").read_text(encoding="utf-8"))
    settings, scale = Settings(**content["settings"]), Scale(*content["scale"])
    centre, spread = np.atleast_1d(content["centre"]), np.atleast_1d(content["spread"])
    student = _new(settings, scale, weights.plain(folder), len(centre))
    student.network.top.load_state_dict(load_file(folder / "top.safetensors"))
    student.centre, student.spread = centre, spread
    return student


def untrained(settings: Settings, scale: Scale, scores: int = 1) -> Student:
    """A Student of `scores` scores before training, for example to count what its tokenizer reads and cuts."""
    return _new(settings, scale, weights.resolve(settings.model), scores)


def _new(settings: Settings, scale: Scale, folder: Path, scores: int) -> Student:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)  # unset, it would offer to run a model's own code
    layers = states.middle(config, settings.layers) if settings.head in FROZEN else ()
    # No dropout: its random numbers take a good part of a step on a CPU, and its noise on a mean harms regression.
    for name in [key for key, value in config.to_dict().items() if "dropout" in key and isinstance(value, float)]:
        setattr(config, name, 0.0)
    encoder = AutoModel.from_pretrained(folder, config=config, dtype=torch.float32, use_safetensors=True)
    if encoder._can_set_attn_implementation():
        encoder.set_attn_implementation(cpu_attention.name())
    if layers:
        states.cut(encoder, max(layers))
        settings = replace(settings, layers=list(layers))  # as saved: the depth by which they were chosen is gone
    # Word embeddings are frozen: they are half of MiniLM's weights, and a few hundred essays cannot improve them.
    encoder.get_input_embeddings().weight.requires_grad_(False)
    regression = settings.head != "classification"
    network = _Network(encoder, scores if regression else scale.size, regression=regression, layers=layers)
    return Student(network, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), scale, settings)


def _positions(encoder) -> int:
    """The most tokens that an encoder takes. MPNet and RoBERTa lose the positions up to their padding token's id."""
    tables = [module for name, module in encoder.named_modules() if name.endswith("position_embeddings")]
    lost = max((table.padding_idx + 1 for table in tables if getattr(table, "padding_idx", None) is not None), default=0)
    limit = getattr(encoder.config, "max_position_embeddings", None) or -1  # absent or -1: relative positions, no limit
    return limit - lost if limit > 0 else 10**9


def train(
    sets: Sequence[pd.DataFrame],
    scale: Scale,
    settings: Settings,
    *,
    seed: int,
    folder: Path,
    constraint: MeanConstraint | None = None,
) -> tuple[Student, pd.DataFrame]:
    """Train a Student on one set, or on several in sequence (see `cyborg_data.training_sets`).

    A set has columns text and value, or for several scores one `value.<name>` each (regression only). A classifier learns
    p_1 .. p_K, the distribution over levels.

    The Student is kept in `folder`. Where settings, data and recipe are the same, a finished Student is not trained again, and
    an interrupted one resumes from its last epoch. The last epoch is kept: no development essay is used to choose one.
    A `constraint` keeps the Student's mean score near people's (regression only; the loss includes the penalty).
    Returns the Student and its training curve (stage, epoch, loss, seconds).
    """
    if constraint and settings.head not in ("regression", "frozen-then-tuned"):
        raise CyborgError(f"a mean constraint needs head regression, not {settings.head}, which has no gradient")
    if settings.head == "frozen" and len(sets) > 1:
        raise CyborgError("head frozen is fitted once, on one training set: leave out labels that come in stages")
    set_seed(seed)
    data = [part.drop(columns="source").round(6).to_numpy().tolist() for part in sets]
    said = told(settings, seed) | ({"constraint": constraint.mark()} if constraint else {})
    mark = provenance.fingerprint(said, data=data)
    finished = folder / "student.json"
    if finished.is_file() and json.loads(finished.read_text())["mark"] == mark and not weights.cut_short(folder):
        return load(folder), pd.read_csv(folder / "curve.csv")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True) if not (folder / "checkpoints" / mark).is_dir() else None
    scores = np.concatenate([_values(part) for part in sets])
    student = untrained(settings, scale, scores.shape[1])
    student.centre, student.spread = scores.mean(axis=0), scores.std(axis=0)
    student.spread[student.spread == 0] = 1.0
    curves = [_start(student, sets[0])] if settings.head in FROZEN else []
    if settings.head != "frozen":
        curves += [
            _stage(student, part, stage, seed, folder / "checkpoints" / mark / f"stage{stage}", constraint)
            for stage, part in enumerate(sets, 1)
        ]
    curve = pd.concat(curves, ignore_index=True)
    student.save(folder, mark, curve)  # this also removes the checkpoints
    return student, curve


def told(settings: Settings, seed: int) -> dict[str, Any]:
    """What decides a Student beside its data, for its mark: the settings that its head uses, seed, and versions of recipes."""
    if settings.head in FROZEN:
        versions = {"states": recipes.STATES.version, "frozen": recipes.FROZEN.version}
        return asdict(settings) | {"seed": seed, "recipe": recipes.STUDENT.version} | versions
    settled = {name: value for name, value in asdict(settings).items() if name != "layers"}
    return settled | {"seed": seed, "recipe": recipes.STUDENT.version}


def schedule(essays: int, settings: Settings) -> tuple[int, int]:
    """Updates an epoch, and epochs, of a training set. A small set gets more epochs, until they bring `min_steps` updates."""
    steps = -(-essays // settings.batch_size)
    return steps, max(settings.epochs, -(-settings.min_steps // steps))


def _values(part: pd.DataFrame) -> np.ndarray:
    """The scores of a training set, (n, scores)."""
    return part[[name for name in part if name == "value" or name.startswith("value.")]].to_numpy(dtype=float)


def features(student: Student, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """What the frozen heads see of essays: states (n, hidden), from the store, and length (n, 1), float64."""
    reading = states.Reading(student.settings.model, student.network.layers, student.max_tokens)
    means = states.of_essays(pd.DataFrame({"text": list(texts), "assignment": ""}), reading, show="The encoder's states")
    lengths = np.log([len(row) for row in student.encode(texts)[0]])
    return {"states": np.asarray(means, dtype=np.float64).mean(axis=1), "length": lengths[:, None]}


def _start(student: Student, part: pd.DataFrame) -> pd.DataFrame:
    """Put ridge regressions on the encoder's states in place of the top layer: one row of a curve, with their leave-one-out loss.

    The states of a set of essays are computed once, whoever scored them and whichever Student asks.
    """
    since, blocks = time.monotonic(), features(student, part["text"])
    scores = _values(part)
    fits = [Frozen.fit(blocks, score, student.scale) for score in scores.T]
    student.network.top.start(fits, student.centre, student.spread)
    errors = np.stack([fit.left_out for fit in fits], axis=1) - scores
    loss = np.mean((errors / student.spread) ** 2)
    return pd.DataFrame([{"stage": 0, "epoch": 0, "loss": loss, "seconds": time.monotonic() - since}])


def _stage(
    student: Student, part: pd.DataFrame, stage: int, seed: int, checkpoints: Path, constraint: MeanConstraint | None
) -> pd.DataFrame:
    settings = student.settings
    ids, _ = student.encode(part["text"])
    if student.network.regression:
        targets = (_values(part) - student.centre) / student.spread
    else:
        targets = part[[f"p_{level + 1}" for level in range(student.scale.size)]].to_numpy()
    rows = [{"ids": row, "target": target} for row, target in zip(ids, targets, strict=True)]
    steps_an_epoch, epochs = schedule(len(rows), settings)

    def collate(batch: list[dict]) -> dict[str, torch.Tensor]:
        targets = torch.tensor(np.stack([row["target"] for row in batch]), dtype=torch.float32)
        return student.collate([row["ids"] for row in batch]) | {"targets": targets}

    options = arguments(
        checkpoints,
        seed=seed,
        num_train_epochs=epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        lr_scheduler_type="linear",
        warmup_steps=max(1, steps_an_epoch * epochs // 10),
        weight_decay=0.01,
        bf16=dtype.dtype() == torch.bfloat16,  # autocast: weights stay in float32
        save_total_limit=1,
    )
    shared = {"model": student.network, "args": options, "train_dataset": rows, "data_collator": collate}
    if constraint:
        dev, _ = student.encode(constraint.texts)
        wanted = (constraint.scores - student.centre) / student.spread
        trainer = ConstrainedTrainer(constraint=constraint, ids=dev, targets=wanted, collate=student.collate, **shared)
    else:
        trainer = LengthTrainer(**shared)
    trainer.train(resume_from_checkpoint=checkpoint(checkpoints))
    columns = ["stage", "epoch", "loss", "seconds"]
    log = [entry | {"stage": stage, "epoch": round(entry["epoch"])} for entry in trainer.state.log_history if "loss" in entry]
    return pd.DataFrame(log, columns=columns)
