"""Frozen states on tiny random models: they are the model's own, cost no more than is asked for, and survive a kill."""

from __future__ import annotations

import json
import types

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from cyborg_utils.core import dtype
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import prompt, states
from cyborg_utils.models.frozen import Block, Frozen

TEMPLATE = prompt.Prompt("Weigh the reasons.", Scale(1, 6))
EVERY = ["llama", "qwen2", "bert", "electra", "mpnet", "modernbert"]


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    return pd.DataFrame(simulated.essays(12, 7))


@pytest.fixture(autouse=True)
def whole_numbers(monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.float32)  # so that two ways to the same number can be compared closely


@pytest.mark.parametrize("name", EVERY)
def test_states_are_those_of_the_model(name, tiny_models, essays, tmp_path):
    found = states.of_essays(essays, states.Reading(str(tiny_models[name]), (1, 2), 40), folder=tmp_path)
    assert found.shape == (12, 2, 32) and found.dtype == np.float16
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_models[name]), AutoModel.from_pretrained(tiny_models[name])
    seen = {}
    for at, layer in enumerate(model.encoder.layer if hasattr(model, "encoder") else model.layers, 1):
        layer.register_forward_hook(lambda _, __, output, at=at: seen.update({at: output}))
    for row, text in zip(found, essays["text"], strict=True):
        causal = name in ("llama", "qwen2")
        ids = tokenizer(text, truncation=not causal, max_length=40, add_special_tokens=not causal)["input_ids"][:40]
        ids = [tokenizer.bos_token_id, *ids] if causal else ids
        with torch.no_grad():
            model.eval()(input_ids=torch.tensor([ids]))
        own = [seen[at][0] if isinstance(seen[at], tuple) else seen[at] for at in (1, 2)]
        wanted = torch.stack([(one if one.dim() == 2 else one[0])[causal:].mean(0) for one in own])
        np.testing.assert_allclose(row.astype(float), wanted.numpy(), atol=0.02)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_a_rubric_before_the_essay_is_read_once_and_not_averaged(name, tiny_models, essays, tmp_path, monkeypatch):
    reading = states.Reading(str(tiny_models[name]), (2,), 40, rubric=True)
    shared = states.of_essays(essays, reading, template=TEMPLATE, folder=tmp_path / "a")
    monkeypatch.setattr(states, "commonprefix", lambda rows: [])
    alone = states.of_essays(essays, reading, template=TEMPLATE, folder=tmp_path / "b")
    np.testing.assert_allclose(shared.astype(float), alone.astype(float), atol=0.02)
    bare = states.of_essays(essays, states.Reading(str(tiny_models[name]), (2,), 40), folder=tmp_path / "c")
    assert np.abs(shared.astype(float) - bare).max() > 0.05  # the essay's own tokens have read the rubric


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_essays_of_an_assignment_share_it_and_the_numbers_are_the_same(name, tiny_models, essays, tmp_path, monkeypatch):
    tasks = essays.assign(assignment=[f"Write about number {at % 3}, with reasons and with care." for at in range(12)])
    reading, heads, means = states.Reading(str(tiny_models[name]), (2,), 40, rubric=True), [], states.Body.means
    rows, spans = states.encoded(*states.opened(reading), tasks, reading, TEMPLATE)
    monkeypatch.setitem(states.BUDGET, "cpu", 2 * max(map(len, rows)))

    def watched(self, rows, spans):
        heads.append({tuple(row[:start]) for row, (start, _) in zip(rows, spans, strict=True)})
        return means(self, rows, spans)

    monkeypatch.setattr(states.Body, "means", watched)
    grouped = states.of_essays(tasks, reading, template=TEMPLATE, folder=tmp_path / "a")
    assert all(len(head) == 1 for head in heads) and len(set.union(*heads)) == 3
    computed = states.tokens(tasks, reading, template=TEMPLATE)
    assert computed == sum(end - start for start, end in spans) + sum(map(len, set.union(*heads)))
    monkeypatch.setattr(states, "commonprefix", lambda rows: [])
    alone = np.concatenate(
        [states.of_essays(tasks[at : at + 1], reading, template=TEMPLATE, folder=tmp_path / "b") for at in range(12)]
    )
    np.testing.assert_allclose(grouped.astype(float), alone.astype(float), atol=0.02)
    mixed = states.of_essays(tasks[::-1], reading, template=TEMPLATE, folder=tmp_path / "c")
    np.testing.assert_allclose(grouped.astype(float), mixed[::-1].astype(float), atol=0.02)


def test_nothing_after_the_last_layer_asked_for_is_computed(tiny_models, essays, tmp_path):
    both = states.of_essays(essays, states.Reading(str(tiny_models["bert"]), (1, 2), 40), folder=tmp_path)
    from transformers import AutoConfig

    body = states.Body(tiny_models["bert"], AutoConfig.from_pretrained(tiny_models["bert"]), (1,))
    assert len(body.model.encoder.layer) == 1
    first = states.of_essays(essays, states.Reading(str(tiny_models["bert"]), (1,), 40), folder=tmp_path)
    np.testing.assert_array_equal(first[:, 0], both[:, 0])


def test_a_killed_pass_goes_on_where_it_was_and_a_finished_one_is_not_repeated(tiny_models, essays, tmp_path, monkeypatch):
    reading, calls = states.Reading(str(tiny_models["llama"]), (1,), 40), []
    means, made = states.Body.means, states.Body.__init__
    monkeypatch.setitem(states.BUDGET, "cpu", 100)
    monkeypatch.setattr(states, "EVERY", 0)

    def some(self, rows, spans):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(rows))
        return means(self, rows, spans)

    monkeypatch.setattr(states.Body, "means", some)
    with pytest.raises(KeyboardInterrupt):
        states.of_essays(essays, reading, folder=tmp_path)
    calls.insert(0, -1)  # from here on it may go on
    stopped = states.of_essays(essays, reading, folder=tmp_path)
    assert sum(calls) + 1 == 12  # no essay twice
    monkeypatch.setattr(states.Body, "__init__", lambda *_: pytest.fail("loaded again"))
    np.testing.assert_array_equal(states.of_essays(essays, reading, folder=tmp_path), stopped)
    (record,) = tmp_path.glob("*/record.json")
    assert json.loads(record.read_text())["essays"] == 12 and len(states.seconds(tmp_path)) == 1
    monkeypatch.setattr(states.Body, "__init__", made)
    np.testing.assert_array_equal(stopped, states.of_essays(essays, reading, folder=tmp_path / "anew"))


def test_an_essay_is_read_once_and_another_reading_is_another_store(tiny_models, essays, tmp_path, monkeypatch):
    reading, read = states.Reading(str(tiny_models["bert"]), (1,), 40), []
    means = states.Body.means
    monkeypatch.setattr(states.Body, "means", lambda self, rows, spans: (read.append(len(rows)), means(self, rows, spans))[1])
    some = states.of_essays(essays[3:7], reading, folder=tmp_path)
    every = states.of_essays(essays, reading, folder=tmp_path)
    twice = states.of_essays(pd.concat([essays[5:], essays[:5], essays[:2]]), reading, folder=tmp_path)
    np.testing.assert_allclose(every[3:7].astype(float), some.astype(float), atol=0.01)  # batches differ
    np.testing.assert_array_equal(twice, np.concatenate([every[5:], every[:5], every[:2]]))
    assert sum(read) == 12 and len(states.of_essays(essays[:0], reading, folder=tmp_path)) == 0
    states.of_essays(essays.assign(text="More. " + essays["text"]), states.Reading(reading.model, (1,), 20), folder=tmp_path)
    assert sum(read) == 24 and len([*tmp_path.glob("*/states")]) == 2


def test_states_without_a_key_are_cut_off(tiny_models, essays, tmp_path):
    reading = states.Reading(str(tiny_models["bert"]), (1,), 40)
    whole = states.of_essays(essays, reading, folder=tmp_path)
    (file,) = tmp_path.glob("*/states")
    with file.open("ab") as sink:  # as a kill between the two writes leaves it, in the middle of a row
        sink.write(b"x" * 100)
    more = pd.concat([essays, essays[:1].assign(text="Another one.")])
    np.testing.assert_array_equal(states.of_essays(more, reading, folder=tmp_path)[:12], whole)
    assert file.stat().st_size == 13 * 64


def test_middle_layers():
    def model(depth):
        return types.SimpleNamespace(num_hidden_layers=depth)

    assert states.middle(model(24), count=3) == (12, 16, 18) and states.middle(model(30), count=3) == (15, 20, 22)
    assert states.middle(model(6)) == (3, 4) and states.middle(model(12)) == (6, 8) and states.middle(model(1)) == (1,)
    assert states.middle(model(6), [2, 5]) == (2, 5)


@pytest.mark.parametrize("layers", [(0,), (3,), (2, 1), (1, 1)])
def test_layers_that_a_model_has_not_are_refused(layers, tiny_models, essays, tmp_path):
    with pytest.raises(CyborgError, match="has layers 1 to 2"):
        states.of_essays(essays, states.Reading(str(tiny_models["bert"]), layers, 40), folder=tmp_path)


# ---------------------------------------------------------------- ridge on them


def sample(n: int, *, seed: int = 1, width: int = 60) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two blocks: the first tells the quality, in some of its columns; the second is noise."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    told = rng.normal(size=(n, width)) + np.outer(quality, np.r_[np.ones(20), np.zeros(width - 20)])
    score = np.clip(np.round(3.5 + quality + rng.normal(0, 0.4, n)), 1, 6)
    return {"told": told * 10 ** np.random.default_rng(9).normal(0, 1, width), "noise": rng.normal(size=(n, width))}, score


def test_leave_one_out_predictions_are_those_of_fits_without_the_essay():
    features, score = sample(40)
    block, left_out = Block.fit(features["told"], score)
    standard = (features["told"] - block.centre) / block.spread
    for at in (0, 7, 39):
        rest = np.delete(np.arange(40), at)
        x, y = standard[rest], score[rest]
        centred = x - x.mean(axis=0)
        weights = np.linalg.solve(centred.T @ centred + block.penalty * np.eye(60), centred.T @ (y - y.mean()))
        assert left_out[at] == pytest.approx(y.mean() + (standard[at] - x.mean(axis=0)) @ weights)


def test_a_block_that_says_nothing_hurts_little_and_scores_have_peoples_mean_and_sd():
    features, score = sample(80)
    new, truth = sample(2000, seed=2)
    both, alone = (Frozen.fit({name: features[name] for name in names}, score, Scale(1, 6)) for names in (features, ["told"]))
    r = [np.corrcoef(one.value(new), truth)[0, 1] for one in (both, alone)]
    assert r[0] > r[1] - 0.02 and r[1] > 0.7 and both.shares["told"] > both.shares["noise"]
    value = both.match.apply(both.left_out)
    assert value.mean() == pytest.approx(score.mean()) and value.std() == pytest.approx(score.std())
    guess = both.guess(new)
    assert np.abs(guess - truth).mean() < np.abs(both.value(new) - truth).mean() + 0.05 and guess.std() < both.value(new).std()


def test_probabilities_are_calibrated():
    features, score = sample(200)
    new, truth = sample(4000, seed=3)
    scorer = Frozen.fit(features, score, Scale(1, 6))
    p = scorer.probabilities(new)
    assert p.shape == (4000, 6) and np.allclose(p.sum(axis=1), 1)
    shares = np.array([(truth == level).mean() for level in range(1, 7)])
    assert np.abs(p.mean(axis=0) - shares).max() < 0.05


def test_too_few_scores_and_features_that_do_not_vary():
    features, score = sample(30)
    with pytest.raises(CyborgError, match="5 essays"):
        Frozen.fit({"told": features["told"][:4]}, score[:4], Scale(1, 6))
    with pytest.raises(CyborgError, match="1 of them different"):
        Frozen.fit(features, np.full(30, 3.0), Scale(1, 6))
    flat = np.column_stack([features["told"], np.full(30, 7.0)])
    block, _ = Block.fit(flat, score)
    assert block.weights[-1] == 0 and np.isfinite(block.value(flat)).all()
