"""What the training of Teacher and Student has in common."""

from __future__ import annotations

import pandas as pd
import pytest

from cyborg_utils.core.scale import Scale
from cyborg_utils.models import student, trainer, weights


def test_a_checkpoint_that_was_being_written_is_not_taken_up(tmp_path):
    assert trainer.checkpoint(tmp_path / "none") is None
    for step, whole in ((8, True), (16, True), (104, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert trainer.checkpoint(tmp_path) == str(tmp_path / "checkpoint-16")
    assert not (tmp_path / "checkpoint-104").exists()


@pytest.mark.parametrize("worth, saved", [(0.0, 3), (3600.0, 0)])
def test_a_checkpoint_is_written_only_where_it_saves_work(tiny_models, tmp_path, monkeypatch, worth, saved):
    """598,000 updates of 204 Students would write 1.6 TB of them."""
    monkeypatch.setattr(trainer, "WORTH", worth)
    written, save = [], trainer.LengthTrainer._save_checkpoint
    monkeypatch.setattr(
        trainer.LengthTrainer, "_save_checkpoint", lambda self, *args, **options: written.append(save(self, *args, **options))
    )
    part = pd.DataFrame({"text": ["one two", "three", "four five six"] * 3, "value": [1.0, 2.0, 3.0] * 3, "source": "human"})
    settings = student.Settings(str(tiny_models["bert"]), "regression", 3, 1, 1e-3, 4, 16)
    pupil, curve = student.train([part], Scale(1, 3), settings, seed=1, folder=tmp_path / "s")
    assert len(written) == saved and curve["epoch"].tolist() == [1, 2, 3]
    assert (tmp_path / "s" / "student.json").is_file()


def test_models_that_no_later_notebook_loads_can_go(tmp_path):
    for name in ("minilm-regression-cyborg", "minilm-regression-human", "minilm-classification-cyborg", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("model.safetensors" if name != "notes" else "notes.txt")).touch()
    weights.discard(tmp_path, ["minilm-regression-cyborg", "minilm-regression-absent"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["minilm-regression-cyborg", "notes"]
