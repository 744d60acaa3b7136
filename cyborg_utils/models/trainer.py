"""Running and training networks on texts of many lengths: batches by length, loops, checkpoints."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments

from cyborg_utils.core import atomic
from cyborg_utils.models import weights

WORTH = 120.0  # seconds of training that a checkpoint must save to be written


class _Worth(TrainerCallback):
    """Leaves out the checkpoint of an epoch where less than `WORTH` seconds of work would be lost without it.

    A study of hundreds of short trainings would write terabytes of them.
    """

    def on_train_begin(self, args, state, control, **_):
        self.since = time.monotonic()

    def on_epoch_end(self, args, state, control, **_):
        if control.should_save and time.monotonic() - self.since < WORTH:
            control.should_save = False
        elif control.should_save:
            self.since = time.monotonic()


class LengthTrainer(Trainer):
    """Trainer with batches of similar length (of the data set's `ids`). It logs the seconds of each epoch's updates.

    The log is part of a checkpoint, so it holds all seconds of a run that was stopped and resumed. An epoch is saved where that
    is worth it (`_Worth`), and always where the best one is loaded at the end.
    """

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        if not self.args.load_best_model_at_end:
            self.add_callback(_Worth())

    def get_train_dataloader(self):
        lengths = [len(row["ids"]) for row in self.train_dataset]
        batches = LengthBatches(lengths, self.args.train_batch_size, seed=self.args.seed)
        loader = DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)
        loader.set_epoch = self._start_epoch  # Trainer calls it at the start of every epoch
        self._batches = batches
        return loader

    def _start_epoch(self, epoch: int) -> None:
        self._batches.set_epoch(epoch)
        self._since = time.monotonic()

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs:  # written at the end of an epoch, before its evaluation
            logs = logs | {"seconds": time.monotonic() - self._since}
        super().log(logs, *args, **kwargs)

    def _save_checkpoint(self, *args, **kwargs) -> None:
        super()._save_checkpoint(*args, **kwargs)
        atomic.sync(Path(self.args.output_dir))


class MicroBatches:
    """Trainer whose batch goes through the model in parts that fit into memory; the update is that of the whole batch.

    `budget` is how many tokens a part may have, padding included and the beginning that all prompts share counted once. Where the
    device's memory is too small all the same, the update begins anew with half of it, and at last with activations recomputed.
    """

    def __init__(self, *args, budget: int, **options) -> None:
        super().__init__(*args, **options)
        self.budget = budget

    def training_step(self, model, inputs, num_items_in_batch=None):
        while True:
            parts = self._parts(inputs)
            try:
                if len(parts) == 1:
                    return super().training_step(model, inputs, num_items_in_batch)
                return sum(self._part(model, part, len(part["prompts"]) / len(inputs["prompts"])) for part in parts)
            except torch.OutOfMemoryError:
                if len(parts) == len(inputs["prompts"]) and self.args.activation_checkpointing:
                    raise
            model.zero_grad()
            torch.cuda.empty_cache()
            if len(parts) == len(inputs["prompts"]):
                self.args.activation_checkpointing = True
                model.activation_checkpointing_enable()
            self.budget = min(self.budget, self._tokens(inputs)) // 2

    def _part(self, model, inputs: dict[str, Any], share: float) -> torch.Tensor:
        model.train()
        loss = self.compute_loss(model, inputs) * share
        self.accelerator.backward(loss)
        return loss.detach()

    def _parts(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        shared = self._shared(inputs)
        batches = token_batches([len(ids) - shared for ids in inputs["prompts"]], max(0, self.budget - shared))
        if len(batches) == 1:
            return [inputs]
        return [
            {
                name: value[torch.from_numpy(part)] if torch.is_tensor(value) else [value[at] for at in part]
                for name, value in inputs.items()
            }
            for part in batches
        ]

    def _shared(self, inputs: dict[str, Any]) -> int:
        return 0 if self.args.activation_checkpointing else len(commonprefix(inputs["prompts"]))

    def _tokens(self, inputs: dict[str, Any]) -> int:
        shared = self._shared(inputs)
        return shared + len(inputs["prompts"]) * (max(map(len, inputs["prompts"])) - shared)


def arguments(checkpoints: Path, *, seed: int, **options: Any) -> TrainingArguments:
    """Trainer's arguments for Teachers and Students: a checkpoint and a log entry an epoch, and no other reporting."""
    cuda = torch.cuda.is_available()
    made = TrainingArguments(
        output_dir=str(checkpoints),
        seed=seed,
        save_strategy="epoch",
        logging_strategy="epoch",
        report_to="none",
        use_cpu=not cuda,
        tf32=True if cuda and torch.cuda.get_device_capability()[0] >= 8 else None,  # of what is computed in float32
        remove_unused_columns=False,
        **options,
    )
    made._n_gpu = min(1, made.n_gpu)  # one device a process: Trainer would multiply the batch by the number of visible GPUs
    return made


def checkpoint(folder: Path) -> str | None:
    """The latest complete checkpoint of a Trainer in `folder`, for `resume_from_checkpoint`. Incomplete ones are removed.

    Trainer writes `trainer_state.json` last, and would resume from the highest number, complete or not.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in [path for path in found if not _is_whole(path)]:
        shutil.rmtree(path)
        found.remove(path)
    return str(found[-1]) if found else None


def _is_whole(path: Path) -> bool:
    try:
        json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        return not weights.cut_short(path)
    except (OSError, ValueError):
        return False


class LengthBatches(torch.utils.data.Sampler[list[int]]):
    """Batches of items of similar length, in an order drawn for each epoch from (seed, epoch).

    Items are shuffled, sorted by length within pools of `pool` batches, cut into batches, and the batches are shuffled. This
    needs little padding, and no epoch runs from long essays to short ones (length and score are correlated). Trainer's own
    `group_by_length` would sort a small training set as a whole, every epoch.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int, pool: int = 16) -> None:
        self.lengths, self.batch_size, self.seed, self.pool, self.epoch = np.asarray(lengths), batch_size, seed, pool, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        step = self.pool * self.batch_size
        pools = [order[start : start + step] for start in range(0, len(order), step)]
        order = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in pools])
        batches = [order[start : start + self.batch_size].tolist() for start in range(0, len(order), self.batch_size)]
        return iter([batches[index] for index in rng.permutation(len(batches))])


def token_batches(lengths: Sequence[int], budget: int) -> list[np.ndarray]:
    """Indices in batches, longest first. A batch has at most `budget` tokens with padding, and at least one item."""
    lengths, batches, start = np.asarray(lengths), [], 0
    order = np.argsort(-lengths, kind="stable")
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Rows of token ids as one tensor (rows, longest), padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([list(row) + [value] * (longest - len(row)) for row in rows])


def in_parts(
    work: Callable[[np.ndarray], np.ndarray],
    batches: list[np.ndarray],
    folder: Path | None,
    mark: str,
    *,
    every: int = 16,
    show: str = "",
) -> np.ndarray:
    """Run `work` on batches of indices and return all rows in index order.

    Parts of `every` batches are saved in `folder`, so that a second call resumes where the first was stopped. `mark` is a
    fingerprint of everything that decides the result; parts with another mark are removed. `folder=None` saves nothing.
    """
    if folder is not None:
        marker = folder / "mark.json"
        if not (marker.is_file() and json.loads(marker.read_text()) == mark):
            shutil.rmtree(folder, ignore_errors=True)
            atomic.write(marker, json.dumps(mark))
    rows: dict[int, np.ndarray] = {}
    groups = [batches[start : start + every] for start in range(0, len(batches), every)]
    bar = tqdm(total=sum(map(len, batches)), desc=show, unit="essay", disable=not show, mininterval=2)
    for number, group in enumerate(groups):
        file = None if folder is None else folder / f"part{number:05d}.npy"
        if file is not None and file.is_file():
            part = np.load(file, allow_pickle=False)
            bar.update(sum(map(len, group)))
        else:
            done, started = [], time.monotonic()
            for batch in group:
                done.append(fitting(work, batch))
                bar.update(len(batch))
            part = np.concatenate(done)
            if file is not None:
                atomic.write(file.with_suffix(".seconds"), f"{time.monotonic() - started:.3f}\n")
                with atomic.file(file) as temporary:
                    np.save(temporary, part, allow_pickle=False)
        rows.update(zip(np.concatenate(group).tolist(), part, strict=True))
    bar.close()
    return np.stack([rows[index] for index in range(len(rows))])


def fitting(work: Callable[[np.ndarray], np.ndarray], batch: np.ndarray) -> np.ndarray:
    """`work` on a batch, in halves where the device's memory is too small for the whole."""
    try:
        return work(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    torch.cuda.empty_cache()
    return np.concatenate([fitting(work, part) for part in np.array_split(batch, 2)])


def seconds(folder: Path) -> float:
    """Seconds that all parts in `folder` took, over all calls; NaN where one part has no time."""
    said = [part.with_suffix(".seconds") for part in sorted(folder.glob("part?????.npy"))]
    return sum(float(file.read_text()) if file.is_file() else float("nan") for file in said)
