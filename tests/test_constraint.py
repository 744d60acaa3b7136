"""The penalty that keeps a Student's mean scores near people's."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import mean_penalty, student
from cyborg_utils.models.mean_penalty import MeanConstraint

SCALE = Scale(1, 6)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    words = ["one", "school", "day", "writers", "choose", "good", "reason", "because", "people", "like", "clear", "words"]
    rng = np.random.default_rng(4)
    return [" ".join(rng.choice(words, 20)) for _ in range(48)]


@pytest.fixture(scope="module")
def labelled(texts) -> pd.DataFrame:
    """Strict labels: a mean of 2.5, where the development essays have 4.5."""
    rng = np.random.default_rng(5)
    return pd.DataFrame({"essay_id": texts[:32], "text": texts[:32], "source": "teacher", "value": rng.integers(2, 4, 32) * 1.0})


@pytest.fixture(scope="module")
def dev(texts) -> pd.DataFrame:
    return pd.DataFrame({"text": texts[32:], "score": [4.0, 5.0] * 8, "kind": [*"AAAAAAAAAAAA", None, *"BBB"]})


def settings(tiny_models, **changes) -> student.Settings:
    return dataclasses.replace(student.Settings(str(tiny_models["electra"]), "regression", 6, 1, 0.003, 8, 48), **changes)


def test_who_is_constrained(dev):
    found = MeanConstraint.on(dev, weight=1.0, groups=["kind"], min_group=10)
    assert found.members.sum(axis=1).tolist() == [16, 12]  # everybody and A; B is too small
    assert MeanConstraint.on(dev, weight=1.0, groups=["kind"], min_group=3).members.sum(axis=1).tolist() == [16, 12, 3]
    with pytest.raises(CyborgError, match="needs development essays"):
        MeanConstraint.on(dev[:0], weight=1.0)


@pytest.mark.slow
def test_the_mean_moves_to_that_of_the_development_essays(labelled, dev, tiny_models, tmp_path):
    means = {}
    for weight in (0.0, 20.0):
        limit = MeanConstraint.on(dev, weight=weight)
        pupil, curve = student.train(
            [labelled], SCALE, settings(tiny_models), seed=1, folder=tmp_path / str(weight), constraint=limit
        )
        means[weight] = pupil.predict(dev["text"])[0].mean()
        assert len(curve) == 6 and curve["loss"].notna().all()
    assert abs(means[0.0] - labelled["value"].mean()) < 0.5
    assert abs(means[20.0] - 4.5) < abs(means[0.0] - 4.5) - 0.5


def test_a_weight_of_zero_changes_nothing(labelled, dev, tiny_models, tmp_path):
    limit = MeanConstraint.on(dev, weight=0.0)
    values = [
        student.train([labelled], SCALE, settings(tiny_models, epochs=2), seed=1, folder=tmp_path / name, **options)[0].predict(
            labelled["text"]
        )[0]
        for name, options in (("with", {"constraint": limit}), ("without", {}))
    ]
    np.testing.assert_allclose(*values, atol=1e-5)


class Shift(torch.nn.Module):
    """A network that errs by its one weight, plus what is the essay's own."""

    def __init__(self, own: list[float]) -> None:
        super().__init__()
        self.shift, self.own = torch.nn.Parameter(torch.tensor(0.3)), torch.tensor(own)
        self.register_buffer("errors", torch.full((len(own),), torch.nan))

    def forward(self, rows):
        return {"output": (self.shift + self.own[rows])[:, None]}


def penalty_of(net: Shift, members: list[list[float]], step: int) -> float:
    """The penalty of one update with two essays a batch; its gradient is in `net.shift.grad`."""
    trainer = mean_penalty.ConstrainedTrainer.__new__(mean_penalty.ConstrainedTrainer)
    trainer.ids, trainer.members = [[at] for at in range(len(net.own))], torch.tensor(members)
    trainer.targets, trainer.collate = torch.zeros(len(net.own)), lambda ids: {"rows": torch.tensor(ids)[:, 0]}
    trainer.state = type("State", (), {"global_step": step})()
    trainer.dev = mean_penalty.trainer.LengthBatches([1] * len(net.own), 2, seed=1)
    net.shift.grad = None
    value = trainer._penalty(net)
    value.backward()
    return value.item()


def test_the_penalty_is_the_square_of_the_mean_error_whatever_the_batch():
    """Each essay errs by 0.3 and by up to 2 of its own, which is 0 over all, and over the group of the first four -0.5."""
    net, members = Shift([-2.0, 1.0, -1.0, 0.0, 2.0, 0.0, -1.0, 1.0]), [[1.0] * 8, [1.0] * 4 + [0.0] * 4]
    for step in range(9):
        assert penalty_of(net, members, step) == pytest.approx((0.3**2 + 0.2**2) / 2, abs=1e-6)
    means, slopes = (0.3, -0.2), []
    for step in range(4):  # an epoch: over it the gradient of the first mean is 2 e, of the second where its essays were read
        penalty_of(net, members[:1], step)
        slopes.append(net.shift.grad.item())
    assert slopes == pytest.approx([2 * means[0]] * 4)


def test_the_penalty_knows_of_a_change_at_once():
    """After the network has moved, the first batch tells how far, and all essays' errors count as moved."""
    net, members = Shift([-2.0, 1.0, -1.0, 0.0, 2.0, 0.0, -1.0, 1.0]), [[1.0] * 8]
    penalty_of(net, members, 0)
    with torch.no_grad():
        net.shift += 0.5
    assert penalty_of(net, members, 1) == pytest.approx(0.8**2) and net.shift.grad.item() == pytest.approx(2 * 0.8)


@pytest.mark.slow
def test_a_stopped_run_ends_like_an_undisturbed_one(labelled, dev, tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr(student.trainer, "WORTH", 0)
    limit = MeanConstraint.on(dev, weight=5.0, groups=["kind"])
    options = {"seed": 3, "constraint": limit}
    student.train([labelled], SCALE, settings(tiny_models, epochs=3), folder=tmp_path / "whole", **options)
    original, steps = student.LengthTrainer.training_step, []

    def dies(self, *args, **more):
        steps.append(1)
        if len(steps) == 6:  # in the second of three epochs of four updates
            raise KeyboardInterrupt
        return original(self, *args, **more)

    monkeypatch.setattr(student.LengthTrainer, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        student.train([labelled], SCALE, settings(tiny_models, epochs=3), folder=tmp_path / "cut", **options)
    student.train([labelled], SCALE, settings(tiny_models, epochs=3), folder=tmp_path / "cut", **options)
    for file in ("model.safetensors", "top.safetensors"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_constrained_student_is_another_student(labelled, dev, tiny_models, tmp_path, monkeypatch):
    one = settings(tiny_models, epochs=1)
    student.train([labelled], SCALE, one, seed=1, folder=tmp_path, constraint=MeanConstraint.on(dev, weight=1.0))
    monkeypatch.setattr(student, "_stage", None)
    student.train([labelled], SCALE, one, seed=1, folder=tmp_path, constraint=MeanConstraint.on(dev, weight=1.0))
    for other in (None, MeanConstraint.on(dev, weight=2.0)):
        with pytest.raises(TypeError):  # it sets out to train, which is None here
            student.train([labelled], SCALE, one, seed=1, folder=tmp_path, constraint=other)
    with pytest.raises(CyborgError, match="needs head regression"):
        student.train(
            [labelled], SCALE, settings(tiny_models, head="classification"), seed=1, folder=tmp_path,
            constraint=MeanConstraint.on(dev, weight=1.0),
        )  # fmt: skip
