"""A Teacher trained from its frozen start, on tiny random models: it begins there, learns, tells what that was worth, resumes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cyborg_utils.core import dtype, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import frozen_teacher, memory, states, teacher, teachers, trainer, tuned_teacher
from cyborg_utils.models.prompt import Prompt

SCALE = Scale(1, 6)
TEMPLATE = Prompt("Weigh the reasons.", SCALE)
SIZE = 16  # of U


@pytest.fixture(scope="module", autouse=True)
def exact(tmp_path_factory):
    """float32, so that two ways to the same number can be compared closely; states go to a folder of their own."""
    home = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dtype, "dtype", lambda: torch.float32)
        patch.setattr(paths, "build", home.joinpath)
        yield


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    """Essays whose scores hang on their length, which a regression on so few can find."""
    frame = pd.DataFrame(simulated.essays(24, 5))
    places = frame["text"].str.split().str.len().rank(method="first") - 1
    return frame.assign(level=(places * 6 // 24).astype(int), score=1.0 + places * 6 // 24)


@pytest.fixture(scope="module")
def settings(tiny_models) -> teacher.Settings:
    own = {"method": "frozen-then-lora", "layers": [1, 2], "rubric": False}
    return teacher.Settings(str(tiny_models["qwen2"]), 2, 2e-2, 4, 4, "attention", 0.7, 40, **own)


def made(essays, settings, folder, template=TEMPLATE, seed=1) -> pd.DataFrame:
    return teachers.fit(essays[:SIZE], essays[:0], template, settings, seed=seed, folder=folder)


@pytest.fixture(scope="module")
def trained(essays, settings, tmp_path_factory):
    """An undisturbed run: its folder and its curve."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, made(essays, settings, folder)


def numbers(frame: pd.DataFrame) -> np.ndarray:
    return frame.drop(columns=["essay_id", "trait"], errors="ignore").to_numpy(float)


@pytest.mark.parametrize("rubric", [True, False])
@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_without_an_epoch_it_is_the_frozen_teacher(name, rubric, tiny_models, essays, settings, tmp_path):
    zero = dataclasses.replace(settings, model=str(tiny_models[name]), epochs=0, rubric=rubric)
    curves = [made(essays, dataclasses.replace(zero, method=method), tmp_path / method) for method in ("frozen", zero.method)]
    pd.testing.assert_frame_equal(*(curve.drop(columns="seconds") for curve in curves), check_dtype=False)
    frozen, tuned = (teachers.score(tmp_path / method, essays, TEMPLATE) for method in ("frozen", zero.method))
    assert (frozen["level"] == tuned["level"]).all() and frozen["expected"].std() > 0.3
    np.testing.assert_allclose(numbers(tuned), numbers(frozen), atol=2e-3)  # the store keeps states in float16
    np.testing.assert_allclose(numbers(tuned)[:SIZE], numbers(frozen)[:SIZE], atol=1e-9)  # U: leave-one-out as it was


def test_training_lowers_u_s_loss_and_is_what_is_saved(trained, essays, settings):
    folder, curve = trained
    assert list(curve) == ["attempt", "epoch", "train_loss", "qwk", "r", "smd", "loss", "seconds", "best"]
    assert curve["epoch"].tolist() == [0, 1, 2] and curve["best"].tolist() == [False, False, True]
    loaded = tuned_teacher.load(folder / "adapter", TEMPLATE, settings)
    rows = tuned_teacher._rows(essays, settings, TEMPLATE)
    ridge = frozen_teacher.load(folder / "adapter", TEMPLATE, settings)
    before, after = ridge.guesses(essays)[""], loaded.network.guesses(rows)[:, 0]
    human = essays["score"].to_numpy()
    errors = [((guess - human)[:SIZE] ** 2).mean() for guess in (before, after)]
    assert errors[1] < 0.9 * errors[0]
    beside = tuned_teacher._Network(ridge)  # LoRA not merged
    missing = beside.load_state_dict(load_file(folder / "adapter" / "tuned.safetensors"))
    assert not missing.missing_keys
    np.testing.assert_allclose(beside.guesses(rows)[:, 0], after, atol=1e-4)
    given = [teachers.score(folder, essays, TEMPLATE) for _ in range(2)]
    assert given[0].equals(given[1])
    np.testing.assert_allclose(given[0]["expected"][SIZE:], loaded.scorers[""].line.apply(after)[SIZE:], atol=1e-6)
    assert np.allclose(given[0].filter(regex=r"^p_\d$").sum(axis=1), 1)
    shown = curve.iloc[2][["train_loss", "qwk", "r", "smd", "loss"]].map("{:.3f}".format)
    card = (folder / "adapter" / "README.md").read_text().replace(" ", "").splitlines()
    assert card[-1] == f"|2.000|{'|'.join(shown)}|" and teacher.saved(folder / "adapter")[0] == settings


def test_what_it_says_of_u_comes_from_networks_that_had_not_seen_it(essays, settings, tmp_path, monkeypatch):
    """The spread of its errors is that of the cross-fitted guesses, and not of U, which it knows."""
    seen, training = [], tuned_teacher._trained

    def noted(ridge, rows, held, score, **options):
        network, log = training(ridge, rows, held, score, **options)
        seen.append(({tuple(row["ids"]) for row in rows}, [tuple(row["ids"]) for row in held], log))
        return network, log

    monkeypatch.setattr(tuned_teacher, "_trained", noted)
    curve = made(essays, dataclasses.replace(settings, epochs=1), tmp_path)
    assert [len(held) for _, held, _ in seen] == [4, 4, 4, 4, 0] and not any(known & {*held} for known, held, _ in seen)
    assert len({ids for _, held, _ in seen for ids in held}) == SIZE == len(seen[-1][0])
    guess = {
        ids: entry["guess"][at][0] for _, held, log in seen for entry in log if "guess" in entry for at, ids in enumerate(held)
    }
    rows = tuned_teacher._rows(essays[:SIZE], settings, TEMPLATE)
    human, guess = essays["score"][:SIZE].to_numpy(), np.array([guess[tuple(row["ids"])] for row in rows])
    given = teachers.score(tmp_path, essays[:SIZE], TEMPLATE)
    assert np.corrcoef(given["expected"], guess)[0, 1] == pytest.approx(1) or given["expected"].nunique() == 1
    error = json.loads((tmp_path / "adapter" / "teacher.json").read_text())["tuned"][""]["error"]
    assert error == pytest.approx(np.sqrt(((given["expected"] - human) ** 2).sum() / (SIZE - 2)))
    assert curve["r"].iloc[1] == pytest.approx(np.corrcoef(given["expected"], human)[0, 1], nan_ok=True)


@pytest.mark.parametrize("place", ["a fold", "the whole of U"])
def test_a_stopped_run_ends_like_an_undisturbed_one(place, trained, essays, settings, tmp_path, monkeypatch):
    undisturbed, curve = trained
    monkeypatch.setattr(trainer, "WORTH", 0.0)  # every epoch is saved
    step, steps = tuned_teacher._LeastSquares.training_step, []
    last = 6 + 5 if place == "a fold" else 4 * 6 + 6  # in its second epoch: three updates an epoch, four with all of U

    def dies(self, *args, **options):
        steps.append(1)
        if len(steps) == last:
            raise KeyboardInterrupt
        return step(self, *args, **options)

    monkeypatch.setattr(tuned_teacher._LeastSquares, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        made(essays, settings, tmp_path)
    assert not (tmp_path / "adapter").exists()
    again = made(essays, settings, tmp_path)
    assert len(steps) == 4 * 6 + 8 + 2  # only the one or two updates of the epoch in which it was stopped are done twice
    assert not (tmp_path / "checkpoints").exists()
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), curve.drop(columns="seconds"), rtol=1e-6)
    first, second = ((folder / "adapter" / "tuned.safetensors").read_bytes() for folder in (undisturbed, tmp_path))
    assert first == second


def test_a_finished_run_is_not_repeated_and_another_is(trained, essays, settings, monkeypatch):
    folder, curve = trained
    monkeypatch.setattr(tuned_teacher, "_Network", lambda *_: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(made(essays, settings, folder), curve, rtol=1e-9)
    other = essays.assign(level=essays["level"].replace({2: 3}))
    for call in (
        (other, settings),
        (essays, dataclasses.replace(settings, epochs=3)),
        (essays, dataclasses.replace(settings, rubric=True)),
    ):
        with pytest.raises(pytest.fail.Exception):
            made(*call, folder)


def test_labelling_goes_on_where_it_was_stopped(trained, essays, settings, tmp_path, monkeypatch):
    folder, _ = trained
    wanted = teachers.score(folder, essays, TEMPLATE)
    monkeypatch.setattr(trainer, "token_batches", lambda lengths, budget: np.arange(len(lengths))[:, None])
    (folder / "parts").rename(tmp_path / "parts")
    pooled, calls = states.Body.pooled, []

    def dies(self, *args, **options):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return pooled(self, *args, **options)

    monkeypatch.setattr(states.Body, "pooled", dies)
    with pytest.raises(KeyboardInterrupt):
        teachers.score(folder, essays, TEMPLATE)
    pd.testing.assert_frame_equal(teachers.score(folder, essays, TEMPLATE), wanted, atol=1e-5)
    assert len(calls) == 24 + 4  # parts of 16 essays: the second was begun anew


def test_traits_are_trained_together(essays, settings, tmp_path):
    levels = {"level.Ideas": essays["level"], "level.Mechanics": 5 - essays["level"]}
    asked = Prompt("Weigh each.", SCALE, traits=("Ideas", "Mechanics"))
    curve = made(essays.assign(**levels), dataclasses.replace(settings, epochs=1), tmp_path, asked)
    given = teachers.score(tmp_path, essays, asked)
    assert given["trait"].tolist() == ["Ideas", "Mechanics"] * 24 and curve["train_loss"].notna().tolist() == [False, True]
    wide = given.pivot(index="essay_id", columns="trait", values="expected")
    assert wide.corr().iloc[0, 1] < -0.5


@pytest.mark.parametrize("share, layers", [(0.0, {"0", "1"}), (0.5, {"1"})])
def test_lora_begins_where_it_is_told_and_activations_can_be_recomputed(share, layers, essays, settings, tmp_path, monkeypatch):
    one = dataclasses.replace(settings, lora_from=share, lora_targets="all-linear", epochs=1)
    u = essays[:SIZE]
    ridge = frozen_teacher.fitted(u, frozen_teacher.features(u, one, TEMPLATE), TEMPLATE, one)
    rows, score = tuned_teacher._rows(u, one, TEMPLATE), u[["score"]].to_numpy(float)
    found = {}
    for most in (memory.LARGE, 0):  # with 0 it is large: an essay at a time, recomputed
        monkeypatch.setattr(memory, "LARGE", most)
        network, log = tuned_teacher._trained(ridge, rows, [], score, seed=1, checkpoints=tmp_path / str(most))
        found[most] = network.state_dict()
    assert {name.split(".layers.")[1].split(".")[0] for name in found[0] if "lora_" in name} == layers
    assert all(value.abs().max() > 0 for value in found[0].values())
    for name, value in found[max(found)].items():
        torch.testing.assert_close(value, found[0][name], atol=1e-4, rtol=1e-2)


def test_what_it_cannot_do_is_an_error_with_a_remedy(essays, settings, tmp_path):
    with pytest.raises(CyborgError, match="set `quantization: none`"):
        made(essays, dataclasses.replace(settings, quantization="nf4"), tmp_path)
    with pytest.raises(CyborgError, match="5 essays and 2 scores are needed"):
        teachers.fit(essays[:6], essays[:0], TEMPLATE, settings, seed=1, folder=tmp_path)
