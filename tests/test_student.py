"""Students on tiny random encoders: both heads, stages, saving, stopping, and what a text can and cannot do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

from cyborg_utils.core import dtype, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import cyborg_data, states, student, weights
from cyborg_utils.models.frozen import Frozen

SCALE = Scale(1, 6)
ENCODERS = ["electra", "bert", "mpnet", "modernbert"]
LIMITS = {"electra": 128, "bert": 128, "mpnet": 128, "modernbert": 512}  # mpnet has 130 positions, two of them for padding
REAL = [
    name
    for name, entry in weights.registry().items()
    if entry["role"].startswith("Student") and (paths.cache() / "weights" / name / "tokenizer.json").is_file()
]


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    frame = pd.DataFrame(simulated.essays(20, 5))
    return frame.assign(level=SCALE.level(frame["score"]), split="train")


@pytest.fixture(scope="module")
def human(essays) -> pd.DataFrame:
    return cyborg_data.training_sets(essays, SCALE, "full")[0]


@pytest.fixture(scope="module")
def settings(tiny_models):
    """A function that makes settings for a tiny encoder; two epochs on short texts."""

    def make(model: str = "electra", head: str = "regression", **changes) -> student.Settings:
        base = student.Settings(str(tiny_models[model]), head, 2, 1, 0.003, 8, 48)
        return dataclasses.replace(base, **changes)

    return make


@pytest.fixture(scope="module")
def trained(human, settings, tmp_path_factory):
    """A regression Student with ELECTRA, an undisturbed run of two stages: its folder, itself, its curve."""
    folder = tmp_path_factory.mktemp("student")
    return folder, *student.train([human[:16], human[:8]], SCALE, settings(), seed=3, folder=folder)


@pytest.mark.parametrize("head", ["regression", "classification"])
@pytest.mark.parametrize("model", ENCODERS)
def test_every_encoder_learns_with_both_heads(essays, human, settings, tmp_path, model, head):
    pupil, curve = student.train([human[:16]], SCALE, settings(model, head, epochs=6), seed=1, folder=tmp_path)
    assert curve[["stage", "epoch"]].to_numpy().tolist() == [[1, epoch] for epoch in range(1, 7)]
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]
    value, level = pupil.predict(essays["text"])
    assert value.shape == level.shape == (20,) and set(level) <= set(range(6))
    expected = SCALE.nearest(value) if head == "regression" else SCALE.level(value)  # a classifier's values are on the scale
    assert (level == expected).all()
    loaded_value, loaded_level = student.load(tmp_path).predict(essays["text"])
    np.testing.assert_array_equal(loaded_value, value)
    np.testing.assert_array_equal(loaded_level, level)
    assert not (tmp_path / "checkpoints").exists()


def test_regression_values_are_in_score_units(trained, human):
    _, pupil, _ = trained
    both = np.concatenate([human["value"][:16], human["value"][:8]])
    assert (*pupil.centre, *pupil.spread) == pytest.approx((both.mean(), both.std()))
    value, _ = pupil.predict(human["text"])
    assert abs(value.mean() - pupil.centre) < 1.5


def test_scores_that_are_all_alike_can_be_learnt(human, settings, tmp_path):
    alike = human[:8].assign(value=4.0)
    pupil, _ = student.train([alike], SCALE, settings(epochs=1), seed=1, folder=tmp_path)
    assert (*pupil.centre, *pupil.spread) == (4, 1) and np.isfinite(pupil.predict(human["text"][:3])[0]).all()


def test_several_scores_at_once(essays, human, settings, tmp_path):
    """A score that depends on the essay and one that does not: each comes out in its own units, as from a Student of its own."""
    both = human[:16].assign(**{"value.good": human["value"], "value.flat": 2.0}).drop(columns="value")
    pupil, _ = student.train([both], SCALE, settings(epochs=6), seed=1, folder=tmp_path)
    value, level = pupil.predict(essays["text"])
    assert value.shape == level.shape == (20, 2) and np.abs(value[:, 1] - 2).max() < 1.5
    assert (*pupil.centre, *pupil.spread) == pytest.approx((human["value"][:16].mean(), 2, human["value"][:16].std(ddof=0), 1))
    np.testing.assert_array_equal(student.load(tmp_path).predict(essays["text"])[0], value)


def test_soft_labels_reach_the_classifier(human, settings, tmp_path):
    columns = [f"p_{level}" for level in range(1, 7)]
    losses = []
    for soft in (0.0, 1.0):
        part = human[:8].copy()
        part[columns] = (1 - soft) * part[columns] + soft / 6  # at 1 every level is as likely
        _, curve = student.train([part], SCALE, settings(head="classification", epochs=1), seed=1, folder=tmp_path / str(soft))
        losses.append(curve["loss"].iloc[0])
    assert losses[1] != pytest.approx(losses[0], abs=1e-3) and losses[1] >= np.log(6) - 1e-3


def test_predictions_do_not_depend_on_company(trained, essays):
    _, pupil, _ = trained
    together, _ = pupil.predict(essays["text"])
    alone = np.concatenate([pupil.predict([text])[0] for text in essays["text"][:5]])
    np.testing.assert_allclose(together[:5], alone, atol=0.02)  # bf16
    np.testing.assert_allclose(pupil.predict(essays["text"][::-1])[0][::-1], together, atol=0.02)


def test_the_curve_tells_the_stages(trained):
    _, _, curve = trained
    assert curve[["stage", "epoch"]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_small_sets_get_their_least_number_of_updates(human, settings, tmp_path):
    _, curve = student.train([human[:8]], SCALE, settings(epochs=1, min_steps=5, max_tokens=16), seed=1, folder=tmp_path)
    assert curve["epoch"].tolist() == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- stopped and finished runs


def test_a_finished_student_is_not_trained_again(trained, human, settings, monkeypatch):
    folder, pupil, curve = trained
    monkeypatch.setattr(student, "_stage", None)
    again, same = student.train([human[:16], human[:8]], SCALE, settings(), seed=3, folder=folder)
    pd.testing.assert_frame_equal(same, curve)
    np.testing.assert_array_equal(again.predict(human["text"])[0], pupil.predict(human["text"])[0])
    for sets, seed, changes in (
        ([human[:16]], 3, {}),
        ([human[:16], human[:8]], 4, {}),
        ([human[:16], human[:8]], 3, {"epochs": 3}),
        ([human[:16].assign(value=2.0), human[:8]], 3, {}),
    ):
        with pytest.raises(TypeError):  # it sets out to train, which is None here
            student.train(sets, SCALE, settings(**changes), seed=seed, folder=folder)


def test_other_soft_labels_are_other_labels(human, settings, tmp_path, monkeypatch):
    """A classifier learns from p_1 .. p_K: where they differ and the values do not, it is another Student."""
    student.train([human[:8]], SCALE, settings(head="classification", epochs=1), seed=1, folder=tmp_path)
    monkeypatch.setattr(student, "_stage", None)
    other = human[:8].copy()
    other[[f"p_{level}" for level in range(1, 7)]] = 1 / 6
    with pytest.raises(TypeError):
        student.train([other], SCALE, settings(head="classification", epochs=1), seed=1, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", [3, 6], ids=["stage 1, epoch 2", "stage 2, epoch 2"])
def test_a_stopped_run_ends_like_an_undisturbed_one(trained, human, settings, tmp_path, monkeypatch, dies_at):
    undisturbed, _, curve = trained
    monkeypatch.setattr(student.trainer, "WORTH", 0)
    original, steps = student.LengthTrainer.training_step, []

    def dies(self, *args, **options):
        steps.append(self.state.global_step)
        if len(steps) == dies_at:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    monkeypatch.setattr(student.LengthTrainer, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        student.train([human[:16], human[:8]], SCALE, settings(), seed=3, folder=tmp_path)
    assert not (tmp_path / "student.json").exists()
    _, again = student.train([human[:16], human[:8]], SCALE, settings(), seed=3, folder=tmp_path)
    assert len(steps) == 2 * 2 + 2 * 1 + 1  # two steps an epoch, then one; only the one that was killed is taken twice
    assert again["seconds"].gt(0).all()
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), curve.drop(columns="seconds"), rtol=1e-6)
    for file in ("model.safetensors", "top.safetensors"):
        assert (tmp_path / file).read_bytes() == (undisturbed / file).read_bytes()


# ---------------------------------------------------------------- texts


def test_cut_tokens_are_counted_and_the_ends_kept(essays, settings):
    texts = ["short", essays["text"][0] * 3]
    wide = student.untrained(settings("modernbert", max_tokens=4000), SCALE)
    narrow = student.untrained(settings("modernbert", max_tokens=20), SCALE)
    whole = len(wide.tokenizer(texts[1])["input_ids"])
    rows, cut = narrow.encode(texts)
    assert cut.tolist() == [0, whole - 20] and len(rows[1]) == 20 > len(rows[0])
    assert {row[0] for row in rows} == {narrow.tokenizer.cls_token_id}
    assert {row[-1] for row in rows} == {narrow.tokenizer.sep_token_id}


@pytest.mark.parametrize("model", ENCODERS)
def test_an_encoder_is_never_given_more_than_it_can_take(essays, settings, model):
    pupil = student.untrained(settings(model, max_tokens=2048), SCALE)
    rows, cut = pupil.encode([essays["text"][0] * 20, "short"])
    assert pupil.max_tokens == len(rows[0]) == LIMITS[model] and cut[0] > 0 == cut[1]
    assert np.isfinite(pupil.predict([essays["text"][0] * 20])[0]).all()
    assert student.untrained(settings(model, max_tokens=32), SCALE).max_tokens == 32


@pytest.mark.parametrize("model", [*ENCODERS, *REAL])
def test_a_text_cannot_contain_special_tokens(tiny_models, settings, model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.get(model) or weights.resolve(model))
    pupil = student.Student(student._Network(_Nothing(), 1, regression=True), tokenizer, SCALE, settings(max_tokens=100))
    special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    special.pop("[UNK]", None)  # what a text may well hold: a sign that the vocabulary lacks
    texts = ["plain", "".join(special), " ".join(special), " x ".join(f"{token}{token}" for token in special)]
    rows, _ = pupil.encode(texts)
    for row in rows:
        assert [number for number in row if number in special.values()] == [tokenizer.cls_token_id, tokenizer.sep_token_id]


class _Nothing(torch.nn.Module):
    """An encoder that is only asked for its sizes."""

    config = type("Config", (), {"hidden_size": 4, "max_position_embeddings": 512})


def test_an_empty_text_has_a_score(trained):
    _, pupil, _ = trained
    value, level = pupil.predict(["", " \n"])
    assert np.isfinite(value).all() and len(level) == 2


# ---------------------------------------------------------------- ridge on the untouched encoder, and from there


@pytest.mark.parametrize("model", ENCODERS)
def test_a_frozen_student_is_ridge_on_middle_states(model, essays, human, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.float32)
    monkeypatch.setattr(paths, "build", lambda *parts: tmp_path.joinpath(*parts))
    one = settings(model, "frozen", layers=[1, 2], max_tokens=40)
    pupil, curve = student.train([human], SCALE, one, seed=1, folder=tmp_path / "s")
    assert curve["epoch"].tolist() == [0] and 0 < curve["loss"].item() < 2
    means = states.of_essays(human.assign(assignment=""), states.Reading(one.model, (1, 2), 40))
    lengths = np.log([[len(row)] for row in pupil.encode(human["text"])[0]])
    ridge = Frozen.fit({"states": means.astype(float).mean(1), "length": lengths}, human["value"], SCALE)
    wanted = ridge.guess({"states": means.astype(float).mean(1), "length": lengths})
    value, level = pupil.predict(human["text"])
    np.testing.assert_allclose(value, wanted, atol=0.02)
    again = student.load(tmp_path / "s")
    np.testing.assert_array_equal(again.predict(human["text"])[0], value)
    first = next(iter(pupil.network.encoder.state_dict().values()))
    torch.testing.assert_close(first, next(iter(student.untrained(one, SCALE).network.encoder.state_dict().values())))


def test_the_layers_above_the_highest_one_are_cut_off(settings):
    whole, cut = (
        student.untrained(settings("bert", head, layers=[1]), SCALE).network.encoder for head in ("regression", "frozen")
    )
    assert len(whole.encoder.layer) == 2 and len(cut.encoder.layer) == cut.config.num_hidden_layers == 1


def test_tuning_begins_at_the_ridge_solution(human, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "build", lambda *parts: tmp_path.joinpath(*parts))
    frozen, _ = student.train([human], SCALE, settings("bert", "frozen"), seed=1, folder=tmp_path / "a")
    still = settings("bert", "frozen-then-tuned", learning_rate=1e-12)
    tuned, curve = student.train([human], SCALE, still, seed=1, folder=tmp_path / "b")
    assert curve["stage"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(tuned.predict(human["text"])[0], frozen.predict(human["text"])[0], atol=0.02)
    moved, curve = student.train([human], SCALE, settings("bert", "frozen-then-tuned", epochs=6), seed=1, folder=tmp_path / "c")
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[1]
    assert np.abs(moved.predict(human["text"])[0] - frozen.predict(human["text"])[0]).max() > 0.02


def test_several_scores_and_what_a_frozen_student_cannot_do(human, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "build", lambda *parts: tmp_path.joinpath(*parts))
    two = human.rename(columns={"value": "value.a"}).assign(**{"value.b": 7 - human["value"]})
    pupil, _ = student.train([two], SCALE, settings("bert", "frozen"), seed=1, folder=tmp_path / "two")
    value, level = pupil.predict(human["text"])
    assert value.shape == level.shape == (20, 2) and np.corrcoef(value.T)[0, 1] < -0.9
    with pytest.raises(CyborgError, match="stages"):
        student.train([human, human], SCALE, settings("bert", "frozen"), seed=1, folder=tmp_path / "no")
    with pytest.raises(CyborgError, match="has layers 1 to 2"):
        student.untrained(settings("bert", "frozen", layers=[3]), SCALE)


def test_stored_states_give_the_same_scores_and_are_read_once(human, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.float32)
    monkeypatch.setattr(paths, "build", lambda *parts: tmp_path.joinpath(*parts))
    pupil, _ = student.train([human], SCALE, settings("mpnet", "frozen"), seed=1, folder=tmp_path / "s")
    texts = [*human["text"][:5], "Something new.", ""]
    stored = pupil.predict(texts, stored=True)
    np.testing.assert_allclose(stored[0], pupil.predict(texts)[0], atol=0.02)
    monkeypatch.setattr(states.Body, "means", lambda *_: pytest.fail("read again"))
    np.testing.assert_array_equal(pupil.predict(texts, stored=True)[0], stored[0])
    two = human.rename(columns={"value": "value.a"}).assign(**{"value.b": 7 - human["value"]})
    pair, _ = student.train([two], SCALE, settings("mpnet", "frozen"), seed=1, folder=tmp_path / "two")
    assert pair.predict(human["text"], stored=True)[0].shape == (20, 2)
