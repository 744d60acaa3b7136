"""The scorer through vLLM, with a fake in its place that has the interface which we use (vLLM itself was not run here)."""

from __future__ import annotations

import dataclasses
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

from cyborg_utils.core import dtype
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import fine_tuning, prompt, teacher, vllm_scorer

SCALE = Scale(1, 6)
TEMPLATE = prompt.Prompt("Weigh the reasons.", SCALE)


@pytest.fixture
def made(tiny_models, tmp_path, monkeypatch):
    """Settings, adapter and essays of a Teacher that starts at U's scores."""
    monkeypatch.setattr(dtype, "dtype", lambda: torch.float32)
    essays = pd.DataFrame(simulated.essays(12, 7))
    essays = essays.assign(level=SCALE.level(essays["score"]))
    settings = teacher.Settings(str(tiny_models["llama"]), 1, 0.01, 4, 4, "attention", 0.7, 40, start_at="human")
    fine_tuning.finetune(essays[:8], essays[8:], TEMPLATE, settings, seed=3, folder=tmp_path)
    return settings, tmp_path / "adapter", essays


@pytest.fixture
def fake(made, monkeypatch):
    """vLLM's names, computed by the model itself: log probabilities of the allowed tokens, after the others were ruled out."""
    settings, adapter, _ = made
    asked = {}

    class LLM:
        def __init__(self, **options):
            asked.update(options)

        def generate(self, prompts, sampling, *, lora_request, use_tqdm):
            assert lora_request.path == str(adapter) and sampling.max_tokens == 1 and sampling.temperature == 0
            model = teacher.load(settings, TEMPLATE, adapter=adapter).model
            for given in prompts:
                logits = model(input_ids=torch.tensor([given["prompt_token_ids"]])).logits[0, -1].float()
                allowed = torch.full_like(logits, -torch.inf)
                allowed[sampling.allowed_token_ids] = logits[sampling.allowed_token_ids]
                top = allowed.log_softmax(-1).topk(sampling.logprobs)
                found = {int(token): types.SimpleNamespace(logprob=float(value)) for value, token in zip(*top, strict=True)}
                asked.setdefault("read", []).append(len(given["prompt_token_ids"]))
                yield types.SimpleNamespace(outputs=[types.SimpleNamespace(logprobs=[found])])

    def request(name, number, path):
        return types.SimpleNamespace(path=path)

    names = {
        "vllm": {"LLM": LLM, "SamplingParams": lambda **options: types.SimpleNamespace(**options)},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": request},
    }
    for name, content in names.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(vllm_scorer.importlib.util, "find_spec", lambda _: True)
    return asked


def test_it_scores_as_the_teacher_does(made, fake, tmp_path):
    settings, adapter, essays = made
    wanted = teacher.score(teacher.load(settings, TEMPLATE, adapter=adapter), essays)
    scorer = vllm_scorer.load(settings, TEMPLATE, adapter=adapter)
    found = teacher.score(scorer, essays, folder=tmp_path / "parts", mark="m")
    pd.testing.assert_frame_equal(found, wanted, atol=1e-4)
    assert len(fake["read"]) == 12 and fake["logprobs_mode"] == "processed_logprobs" and fake["max_logprobs"] == 6
    again = teacher.score(scorer, essays, folder=tmp_path / "parts", mark="m")
    pd.testing.assert_frame_equal(again, found)
    assert len(fake["read"]) == 12  # from the parts


def test_an_answer_that_is_left_out_is_no_small_probability(made, fake):
    settings, adapter, _ = made
    scorer = vllm_scorer.load(settings, TEMPLATE, adapter=adapter)
    few = {token: types.SimpleNamespace(logprob=-1.0) for token in scorer.answer_ids[:4]}
    scorer.ask = lambda prompts: [types.SimpleNamespace(outputs=[types.SimpleNamespace(logprobs=[few])]) for _ in prompts]
    with pytest.raises(CyborgError, match="no probability for 2 of 6 answers"):
        scorer.probabilities([[1, 2, 3]])


def test_what_it_cannot_do_is_told_before_anything_is_loaded(made, monkeypatch):
    settings, adapter, _ = made
    monkeypatch.setattr(vllm_scorer.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CyborgError, match="vllm is not installed .*set `engine: transformers`"):
        vllm_scorer.load(settings, TEMPLATE, adapter=adapter)
    monkeypatch.setattr(vllm_scorer.importlib.util, "find_spec", lambda _: True)
    with pytest.raises(CyborgError, match="several traits"):
        vllm_scorer.load(settings, prompt.Prompt("r", SCALE, ("A", "B")), adapter=adapter)
    with pytest.raises(CyborgError, match="quantization nf4"):
        vllm_scorer.load(dataclasses.replace(settings, quantization="nf4"), TEMPLATE, adapter=adapter)


def test_the_bias_moves_the_answers(made, fake):
    settings, adapter, _ = made
    scorer = vllm_scorer.load(settings, TEMPLATE, adapter=adapter)
    own = scorer.probabilities([[1, 2, 3]])
    scorer.bias = None
    assert np.abs(scorer.probabilities([[1, 2, 3]]) - own).max() > 1e-3
