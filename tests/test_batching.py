"""Batches by length, by tokens, and work that is stopped and taken up again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_utils.models import trainer

LENGTHS = st.lists(st.integers(1, 700), min_size=1, max_size=200)


@given(LENGTHS, st.integers(1, 17), st.integers(0, 5), st.integers(0, 9))
def test_an_epoch_holds_every_item_once(lengths, size, seed, epoch):
    sampler = trainer.LengthBatches(lengths, size, seed=seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(sum(batches, [])) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    assert sum(len(batch) != size for batch in batches) <= 1  # only one may be short


def test_the_order_is_a_function_of_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(10, 500, 100)

    def order(seed, epoch, before=0):
        sampler = trainer.LengthBatches(lengths, 8, seed=seed)
        for earlier in range(before):  # what was drawn before must not matter: a resumed run has drawn nothing
            sampler.set_epoch(earlier)
            list(sampler)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 3) == order(1, 3, before=3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)


def test_batches_hold_similar_lengths_and_epochs_do_not_run_from_long_to_short():
    lengths = np.random.default_rng(0).integers(10, 500, 2000)
    batches = list(trainer.LengthBatches(lengths, 8, seed=1))
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    by_chance = sum(8 * chunk.max() for chunk in lengths.reshape(-1, 8))
    assert padded < 1.1 * lengths.sum() < by_chance
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2


@given(LENGTHS, st.integers(1, 3000))
def test_token_batches_keep_to_the_budget(lengths, budget):
    batches = trainer.token_batches(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


def test_token_batches_of_nothing():
    assert trainer.token_batches([], 100) == []


def test_pad_fills_on_the_right():
    assert trainer.pad([[1, 2, 3], [4]], 9).tolist() == [[1, 2, 3], [4, 9, 9]]


class Killed(BaseException):
    """What no `except Exception` catches."""


class Work:
    """Squares of indices, two columns; counts its calls and dies at one of them."""

    def __init__(self, dies_at: int = -1) -> None:
        self.calls, self.dies_at = 0, dies_at

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self.calls == self.dies_at:
            raise Killed
        self.calls += 1
        return np.stack([batch**2, -batch], axis=1)


WANTED = np.stack([np.arange(20) ** 2, -np.arange(20)], axis=1)
BATCHES = trainer.token_batches([index % 7 + 1 for index in range(20)], 7)


def test_in_parts_gives_rows_in_index_order_and_keeps_nothing_without_a_folder(tmp_path):
    np.testing.assert_array_equal(trainer.in_parts(Work(), BATCHES, None, "", every=3), WANTED)
    assert list(tmp_path.iterdir()) == []


def test_in_parts_goes_on_where_it_was_killed(tmp_path):
    folder = tmp_path / "parts"
    with pytest.raises(Killed):
        trainer.in_parts(Work(dies_at=5), BATCHES, folder, "a", every=2)
    assert len(list(folder.glob("part*.npy"))) == 2  # four batches are safe, the fifth was lost with its part
    again = Work()
    np.testing.assert_array_equal(trainer.in_parts(again, BATCHES, folder, "a", every=2), WANTED)
    assert again.calls == len(BATCHES) - 4
    third = Work(dies_at=0)
    np.testing.assert_array_equal(trainer.in_parts(third, BATCHES, folder, "a", every=2), WANTED)


def test_in_parts_computes_anew_under_another_mark(tmp_path):
    folder = tmp_path / "parts"
    trainer.in_parts(Work(), BATCHES, folder, "a", every=2)
    other = Work()
    trainer.in_parts(other, BATCHES, folder, "b", every=2)
    assert other.calls == len(BATCHES)
    assert json.loads((folder / "mark.json").read_text()) == "b"


def test_in_parts_ignores_a_half_written_part(tmp_path):
    folder = tmp_path / "parts"
    trainer.in_parts(Work(), BATCHES, folder, "a", every=2)
    (folder / "part00000.npy").rename(folder / "part00000.77.tmp.npy")  # as a kill between writing and renaming leaves it
    again = Work()
    np.testing.assert_array_equal(trainer.in_parts(again, BATCHES, folder, "a", every=2), WANTED)
    assert again.calls == 2


def test_the_seconds_of_all_calls_are_kept(tmp_path):
    folder = tmp_path / "parts"
    trainer.in_parts(Work(), BATCHES, folder, "a", every=2)
    first = trainer.seconds(folder)
    assert first >= 0 and trainer.seconds(tmp_path / "none") == 0
    trainer.in_parts(Work(), BATCHES, folder, "a", every=2)
    assert trainer.seconds(folder) == first
    next(folder.glob("*.seconds")).unlink()
    assert np.isnan(trainer.seconds(folder))
