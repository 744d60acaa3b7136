"""What the training of Teacher and Student has in common: batches of similar length, the time it took, where to go on."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from cyborg_utils import weights, whole
from cyborg_utils.batching import LengthBatches


class LengthTrainer(Trainer):
    """Trainer with batches of similar length (of the data set's `ids`), which logs the seconds that each epoch's updates took.

    The log is part of a checkpoint: the seconds of a run that was stopped and resumed are all there.
    """

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
        whole.sync(Path(self.args.output_dir))


def arguments(checkpoints: Path, *, seed: int, **options: Any) -> TrainingArguments:
    """Trainer's arguments as both are trained: a checkpoint and a line of the log an epoch, nothing reported elsewhere."""
    return TrainingArguments(
        output_dir=str(checkpoints),
        seed=seed,
        save_strategy="epoch",
        logging_strategy="epoch",
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        **options,
    )


def checkpoint(folder: Path) -> str | None:
    """The latest whole checkpoint of a Trainer in `folder`, for `resume_from_checkpoint`; one that a kill left half is removed.

    Trainer writes `trainer_state.json` last and would take up the highest number, whole or not.
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
