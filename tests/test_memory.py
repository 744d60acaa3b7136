"""A device whose memory is too small for a batch: it is halved, and nothing is lost or done twice."""

import numpy as np
import pytest
import torch

from cyborg_utils.models import trainer


def test_a_batch_that_does_not_fit_is_halved(tmp_path):
    done = []

    def work(batch: np.ndarray) -> np.ndarray:
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        done.extend(batch.tolist())
        return batch * 10.0

    batches = trainer.token_batches([5] * 11, 50)
    found = trainer.in_parts(work, batches, tmp_path, "mark")
    assert found.tolist() == [10.0 * at for at in range(11)] and sorted(done) == list(range(11))


def test_one_essay_that_does_not_fit_is_told():
    def work(batch: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        trainer.in_parts(work, trainer.token_batches([5, 5], 50), None, "")


def test_one_process_uses_one_device(tmp_path, monkeypatch):
    """Trainer would share a batch among all visible GPUs, so that an update has several times as many essays."""
    several = trainer.TrainingArguments.__post_init__

    def with_four(self) -> None:
        several(self)
        self._n_gpu = 4

    monkeypatch.setattr(trainer.TrainingArguments, "__post_init__", with_four)
    monkeypatch.setattr(trainer.TrainingArguments, "_setup_devices", None)
    made = trainer.arguments(tmp_path, seed=1, per_device_train_batch_size=8)
    assert made.n_gpu == 1 and made.train_batch_size == 8
