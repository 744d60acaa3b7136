"""What the training of Teacher and Student has in common."""

from __future__ import annotations

from cyborg_utils.models import trainer


def test_a_checkpoint_that_was_being_written_is_not_taken_up(tmp_path):
    assert trainer.checkpoint(tmp_path / "none") is None
    for step, whole in ((8, True), (16, True), (104, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert trainer.checkpoint(tmp_path) == str(tmp_path / "checkpoint-16")
    assert not (tmp_path / "checkpoint-104").exists()
