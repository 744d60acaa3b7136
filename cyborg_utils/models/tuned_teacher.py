"""The frozen Teacher, trained further: LoRA below its ridge regressions, both from there on (LP-FT: Kumar et al. 2022).

The regressions become a linear head on the mean states of the layers that they read, with the text statistics beside them. The
decoder ends at the highest of these layers. LoRA adds nothing at first, so training begins at the frozen Teacher's guesses, and
it goes on by least squares on U's scores, for a fixed number of epochs: no development essay is needed.

Statistics stay in the head beside the states, as trainable as they: what the states come to say of length must be taken off the
weight that length had.

Whether training helps is told by cross-fitting. The whole of it, regression and training, is repeated without each fold of U, and
the guesses of that fold are noted after every epoch. The curve shows their agreement from epoch 0, the regression, to the last,
which is kept even where it is worse. The match of mean and SD, the spread of errors from which the probabilities come, and U's
own scores are made of these guesses, as they are of leave-one-out in the frozen Teacher. Networks of three quarters of U err a
little more than the one of all of it, so that the probabilities are rather too wide than too narrow.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import set_seed

from cyborg_utils.core import atomic, dtype, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import baseline, fine_tuning, frozen_teacher, lora, memory, recipes, states, trainer, weights
from cyborg_utils.models.frozen import Calibrated
from cyborg_utils.models.frozen_teacher import FrozenTeacher
from cyborg_utils.models.prompt import Prompt
from cyborg_utils.models.ridge_head import RidgeHead
from cyborg_utils.models.teacher import Settings
from cyborg_utils.models.trainer import LengthTrainer, MicroBatches, arguments, checkpoint
from cyborg_utils.stats.calibration import MeanSdMatch

FOLDS = 4  # of U, for cross-fitting: training is repeated so many times on three quarters of it


class _Network(nn.Module):
    """The decoder with LoRA, and the head. Its outputs are levels above U's mean score, (n, traits)."""

    def __init__(self, ridge: FrozenTeacher) -> None:
        super().__init__()
        settings, scorers = ridge.settings, [*ridge.scorers.values()]
        source, config = states.opened(frozen_teacher.reading(settings))
        self.body = states.Body(source, config, states.middle(config, settings.layers, count=3))
        self.decoder = self.body.model
        self.adapted = lora.configuration(
            self.decoder, rank=settings.lora_rank, targets=settings.lora_targets, share=settings.lora_from
        )
        inject_adapter_in_model(self.adapted, self)  # the decoder is all that it has so far
        self.half = lora.is_half(self.body.device)
        if self.half:
            lora.compute_in_half(self.decoder)
        self.head = RidgeHead(len(scorers[0].linear().weights), len(scorers))
        self.centre = np.array([scorer.match.target_mean for scorer in scorers])
        self.spread = np.array([scorer.scale.step for scorer in scorers])
        self.head.start(scorers, self.centre, self.spread)
        self.to(self.body.device)

    def forward(self, prompts, spans, statistics: torch.Tensor, *, share_prefix: bool = True) -> torch.Tensor:
        with dtype.autocast(self.body.device) if self.half else contextlib.nullcontext():
            pooled = self.body.pooled(prompts, spans, share_prefix=share_prefix)
        return self.head(torch.cat([pooled.flatten(1), statistics.to(self.body.device)], dim=1))

    def state_dict(self, *args, **options) -> dict[str, Any]:
        """What is trained; all else is on disk already."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **options).items() if name in trained}

    def load_state_dict(self, state_dict, strict: bool = True, assign: bool = False):
        """As PyTorch's, where only trained weights count as missing."""
        found = super().load_state_dict(state_dict, strict=False)
        return type(found)(sorted(set(found.missing_keys) & set(self.state_dict())), found.unexpected_keys)

    def activation_checkpointing_enable(self, **options: Any) -> None:
        self.decoder.activation_checkpointing_enable(**options)

    @torch.no_grad()
    def guesses(self, rows: Sequence[dict], folder: Path | None = None, mark: str = "", show: str = "") -> np.ndarray:
        """Guesses in score units, (n, traits)."""
        self.eval()

        def work(batch: np.ndarray) -> np.ndarray:
            inputs = _collate([rows[at] for at in batch])
            return self(inputs["prompts"], inputs["spans"], inputs["statistics"]).double().cpu().numpy()

        budget = memory.token_budget(self.decoder.config, self.body.device, cpu=states.BUDGET["cpu"])
        batches = trainer.token_batches([len(row["ids"]) for row in rows], budget)
        return self.centre + self.spread * trainer.in_parts(work, batches, folder, mark, show=show)


def _rows(essays: pd.DataFrame, settings: Settings, template: Prompt) -> list[dict[str, Any]]:
    """What the network is given of each essay."""
    reading = frozen_teacher.reading(settings)
    found = states.encoded(*states.opened(reading), essays, reading, template)
    counted = baseline.statistics(essays["text"]).astype(np.float32)
    return [{"ids": ids, "span": span, "statistics": own} for ids, span, own in zip(*found, counted, strict=True)]


def _collate(rows: Sequence[dict]) -> dict[str, Any]:
    found = {"prompts": [row["ids"] for row in rows], "spans": [row["span"] for row in rows]}
    names = {"statistics": "statistics"} | ({"targets": "target"} if "target" in rows[0] else {})
    return found | {name: torch.from_numpy(np.stack([row[key] for row in rows])) for name, key in names.items()}


class _LeastSquares(MicroBatches, LengthTrainer):
    """Trainer whose loss is the squared error, and whose evaluation notes the guesses of essays that it does not train on."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        share = not self.args.activation_checkpointing
        output = model(inputs["prompts"], inputs["spans"], inputs["statistics"], share_prefix=share)
        return functional.mse_loss(output, inputs["targets"].to(output))

    def create_optimizer(self, model=None):
        """LoRA at the section's rate, the head at this over the root of its inputs' number, the size of one weight among so many.

        Adam moves every weight by about its rate in a step: at LoRA's the regression would be gone after a few dozen.
        """
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        lower = [part for part in self.model.decoder.parameters() if part.requires_grad]
        head = {"params": [*self.model.head.parameters()], "lr": self.args.learning_rate / len(self.model.head.mean) ** 0.5}
        self.optimizer = kind([{"params": lower}, head], **options)
        return self.optimizer

    def evaluate(self, *args, **kwargs):
        guess = self.model.guesses(self.eval_dataset)
        self.state.log_history.append({"epoch": self.state.epoch, "guess": guess.tolist()})
        return {}


def _trained(
    ridge: FrozenTeacher, rows: list[dict], held: list[dict], score: np.ndarray, *, seed: int, checkpoints: Path
) -> tuple[_Network, list[dict[str, Any]]]:
    """The network after all epochs on `rows`, and its log: training loss and seconds, guesses of `held` after each epoch."""
    set_seed(seed)
    settings, network = ridge.settings, _Network(ridge)
    if not settings.epochs:
        return network, []
    targets = ((score - network.centre) / network.spread).astype(np.float32)
    large = sum(part.numel() for part in network.decoder.parameters()) > memory.LARGE
    longest = max(len(row["ids"]) for row in rows)
    budget, checkpointing = memory.at_once(
        network.decoder.config, network.body.device, network.adapted, longest, large=large, half=network.half
    )
    options = arguments(
        checkpoints,
        seed=seed,
        **lora.schedule(settings, len(rows)),
        weight_decay=0.0,
        activation_checkpointing=checkpointing,
        eval_strategy="epoch" if held else "no",
        save_total_limit=1,
    )
    made = _LeastSquares(
        model=network,
        budget=budget,
        args=options,
        train_dataset=[row | {"target": target} for row, target in zip(rows, targets, strict=True)],
        eval_dataset=held,
        data_collator=_collate,
    )
    made.train(resume_from_checkpoint=checkpoint(checkpoints))
    return network, made.state.log_history


class TunedTeacher(FrozenTeacher):
    """A trained network in the place of the regressions; `scorers` are the calibrations of its cross-fitted guesses."""

    def __init__(
        self, ridge: FrozenTeacher, network: _Network, scorers: dict[str, Calibrated], *, parts: Path, mark: str
    ) -> None:
        super().__init__(ridge.settings, ridge.prompt, scorers, ridge.u)
        self.network, self.parts, self.mark = network, parts, mark

    def guesses(self, essays: pd.DataFrame) -> dict[str, np.ndarray]:
        """Best guesses of essays by trait, (n,) in score units. Finished parts are kept; an interrupted call resumes."""
        rows = _rows(essays, self.settings, self.prompt)
        mark = provenance.fingerprint({"teacher": self.mark}, data=[[*essays["essay_id"]], [row["ids"] for row in rows]])
        found = self.network.guesses(rows, self.parts, mark, show="Teacher scores")
        return {trait: scorer.line.apply(found[:, at]) for at, (trait, scorer) in enumerate(self.scorers.items())}


def fit(train: pd.DataFrame, template: Prompt, settings: Settings, *, seed: int, folder: Path) -> pd.DataFrame:
    """Train on U (columns essay_id, text, assignment, level; for traits `level.<trait>`), save in `folder/adapter`.

    Returns the curve with the columns of `fine_tuning.finetune`, from epoch 0 (the frozen Teacher); its measures are those of the
    cross-fitted guesses of U, its last epoch is the one that is kept, and its seconds are those of all folds. Without epochs they
    are the frozen Teacher's, by leave-one-out. A finished run is not repeated; an interrupted one resumes from its last fold or
    epoch. Raises CyborgError for a U that is too small to leave a fold out, and for nf4.
    """
    if settings.quantization != "none":
        told = "frozen-then-lora reads states as they are; set `quantization: none`, or method lora"
        raise CyborgError(f"finetune_teacher.method: {told}.")
    levels = frozen_teacher.human(train, template)
    said = {"settings": asdict(settings), "rubric": template.rubric, "traits": template.traits, "seed": seed}
    said |= {"recipe": recipes.TUNED.version, "states": recipes.STATES.version, "frozen": recipes.FROZEN.version}
    said |= {"model": weights.identity(settings.model)}
    texts = train[["essay_id", "assignment", "text"]].to_numpy().tolist()
    mark = provenance.fingerprint(said, data=[texts, *(level.tolist() for level in levels.values())])
    if (curve := fine_tuning.begin(folder, mark)) is not None:
        return curve
    found, rows = frozen_teacher.features(train, settings, template), _rows(train, settings, template)
    score = np.stack([template.scale.score(level) for level in levels.values()], axis=1)
    ridge, checkpoints = frozen_teacher.fitted(train, found, template, settings), folder / "checkpoints"
    if settings.epochs:
        left_out, seconds = _cross_fitted(train, found, rows, score, ridge, seed=seed, checkpoints=checkpoints)
    else:
        left_out, seconds = np.stack([scorer.left_out for scorer in ridge.scorers.values()], axis=1)[None], np.zeros(1)
    network, log = _trained(ridge, rows, [], score, seed=seed, checkpoints=checkpoints / "all")
    epochs = [
        {trait: Calibrated.fit_on(guesses[:, at], score[:, at], template.scale) for at, trait in enumerate(levels)}
        for guesses in left_out
    ]
    curve = pd.DataFrame([frozen_teacher.agreement(scorers, levels) for scorers in epochs])
    updates = pd.DataFrame([entry for entry in log if "loss" in entry], columns=["loss", "seconds"], index=curve.index[1:])
    curve.insert(0, "train_loss", updates["loss"])
    curve.insert(0, "epoch", curve.index)
    curve = curve.assign(attempt=1, seconds=seconds, best=curve["epoch"] == settings.epochs)
    curve["seconds"] += updates["seconds"].reindex(curve.index, fill_value=0.0)
    curve = curve[["attempt", *curve.columns.drop("attempt")]]
    with atomic.folder(folder / "adapter") as temporary:
        content = frozen_teacher.write(ridge, temporary) | {"seed": seed, "mark": mark}
        content["tuned"] = {
            trait: {"line": vars(scorer.line), "match": vars(scorer.match), "error": scorer.error}
            for trait, scorer in epochs[-1].items()
        }
        arrays = {f"left_out/{trait}": torch.from_numpy(scorer.left_out) for trait, scorer in epochs[-1].items()}
        arrays |= {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
        save_file(arrays, temporary / "tuned.safetensors")
        curve.to_csv(temporary / "curve.csv", index=False)
        provenance.write_json(temporary / "teacher.json", content)
        (temporary / "README.md").write_text(_card(settings, len(train), curve), encoding="utf-8")
    shutil.rmtree(checkpoints)
    return curve


def _cross_fitted(
    train: pd.DataFrame,
    found: dict[str, np.ndarray],
    rows: list[dict],
    score: np.ndarray,
    ridge: FrozenTeacher,
    *,
    seed: int,
    checkpoints: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Guesses of U by networks trained without their fold, (epochs + 1, n, traits), the first by regressions without it; and the
    seconds of training, (epochs + 1,). Finished folds are kept beside their checkpoints."""
    guesses = np.empty((ridge.settings.epochs + 1, *score.shape))
    seconds, fold = np.zeros(len(guesses)), np.random.default_rng(seed).permutation(len(train)) % FOLDS
    for number in range(FOLDS):
        kept, without, held = checkpoints / f"fold_{number}.json", np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not kept.is_file():
            seen, unseen = ({name: block[places] for name, block in found.items()} for places in (without, held))
            own = frozen_teacher.fitted(train.iloc[without], seen, ridge.prompt, ridge.settings)
            start = np.stack([scorer.guess(unseen) for scorer in own.scorers.values()], axis=1)
            parts = [[rows[at] for at in places] for places in (without, held)]
            _, log = _trained(own, *parts, score[without], seed=seed, checkpoints=checkpoints / f"fold_{number}")
            told = {"guesses": [start.tolist(), *(entry["guess"] for entry in log if "guess" in entry)]}
            atomic.write(kept, json.dumps(told | {"seconds": [entry["seconds"] for entry in log if "loss" in entry]}))
        told = json.loads(kept.read_text(encoding="utf-8"))
        guesses[:, held] = told["guesses"]
        seconds[1:] += told["seconds"]
    return guesses, seconds


def load(folder: Path, template: Prompt, settings: Settings) -> TunedTeacher:
    """A saved Teacher, LoRA added to the weights, with the prompt and settings that `teacher.saved` tells."""
    ridge = frozen_teacher.load(folder, template, settings)
    content, arrays = json.loads((folder / "teacher.json").read_text(encoding="utf-8")), load_file(folder / "tuned.safetensors")
    scorers = {
        trait: Calibrated(
            scale=template.scale,
            **{name: MeanSdMatch(**told[name]) for name in ("line", "match")},
            error=told["error"],
            left_out=arrays.pop(f"left_out/{trait}").numpy(),
        )
        for trait, told in content["tuned"].items()
    }
    network = _Network(ridge)
    if missing := network.load_state_dict(arrays).missing_keys:
        raise CyborgError(f"{folder}: {len(missing)} trained weights are missing. Remove it and train the Teacher again.")
    lora.merge(network.decoder)
    return TunedTeacher(ridge, network, scorers, parts=folder.parent / "parts", mark=content["mark"])


def _card(settings: Settings, essays: int, curve: pd.DataFrame) -> str:
    shown = curve[["epoch", "train_loss", "qwk", "r", "smd", "loss"]].to_markdown(index=False, floatfmt=".3f", missingval="")
    return (
        f"# A Teacher: {settings.model}, ridge regression, then LoRA\n\nIt scores essays of one study, from {essays} human "
        "scores. frozen.safetensors holds the ridge regressions that it began with, tuned.safetensors LoRA "
        f"(rank {settings.lora_rank}) and the head after training, teacher.json the prompt, all settings and the calibration. "
        "Load it with `teachers.score` of cyborg_utils. It is not meant for decisions about writers.\n\nAgreement with people on "
        f"U by cross-fitting in {FOLDS} folds (without training: leave-one-out), from the regression (epoch 0) to what is kept "
        f"(the last):\n\n{shown}\n"
    )
