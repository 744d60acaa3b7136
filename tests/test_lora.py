"""LoRA from a layer on, in bf16, merged; the answers' start; batches in parts: the same numbers, or the stated ones."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file

from cyborg_utils.core import dtype, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import fine_tuning, lora, lower_layers, memory, prompt, recipes, states, teacher
from cyborg_utils.stats.probabilities import offset_to_mean

SCALE = Scale(1, 6)
TEMPLATE = prompt.Prompt("Weigh the reasons.", SCALE)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.float32)


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    frame = pd.DataFrame(simulated.essays(14, 7))
    return frame.assign(level=SCALE.level(frame["score"]))


@pytest.fixture
def settings(tiny_models) -> teacher.Settings:
    return teacher.Settings(str(tiny_models["llama"]), 2, 0.01, 4, 4, "attention", 0.7, 40)


def learnt(essays, settings, folder) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    curve = fine_tuning.finetune(essays[:8], essays[8:], TEMPLATE, settings, seed=3, folder=folder)
    return curve.drop(columns="seconds"), load_file(folder / "adapter" / "adapter_model.safetensors")


def assert_alike(first, second, rtol=1e-3):
    pd.testing.assert_frame_equal(first[0], second[0], rtol=rtol)
    assert first[1].keys() == second[1].keys()
    for name, value in first[1].items():
        torch.testing.assert_close(value, second[1][name], atol=1e-5, rtol=1e-3)


# ---------------------------------------------------------------- LoRA from a layer on


@pytest.mark.parametrize("name, targets", [("llama", "attention"), ("qwen2", "all-linear")])
def test_states_from_disk_give_the_numbers_of_the_whole_model(
    name, targets, tiny_models, essays, settings, tmp_path, monkeypatch
):
    half = dataclasses.replace(settings, model=str(tiny_models[name]), lora_from=0.5, lora_targets=targets)
    reads, given = [], teacher.Teacher._given

    def seen(self, *args):
        reads.append([*given(self, *args)])
        return given(self, *args)

    monkeypatch.setattr(teacher.Teacher, "_given", seen)
    kept = learnt(essays, half, tmp_path / "kept")
    assert reads.count(["inputs_embeds"]) > reads.count(["input_ids"]) > 0
    assert all(".layers.1." in layer for layer in kept[1]) and not (tmp_path / "kept" / "lower").exists()
    monkeypatch.setattr(lower_layers, "enter", lambda *_: None)
    assert_alike(kept, learnt(essays, half, tmp_path / "whole"))
    scores = [
        teacher.score(teacher.load(half, TEMPLATE, adapter=tmp_path / way / "adapter"), essays)["expected"]
        for way in ("kept", "whole")
    ]
    np.testing.assert_allclose(*scores, atol=1e-4)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_states_on_disk_are_the_layer_s_to_the_bit(kind, settings, essays, tmp_path, monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: kind)
    reader = teacher.load(settings, TEMPLATE)
    prompts, _ = reader.encode(essays["text"][:5], essays["assignment"][:5])
    calls, read = [], reader.hidden

    def dies(rows, shared):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(rows))
        return read(reader.decoder, rows, shared)

    monkeypatch.setattr(lower_layers, "EVERY", 1)
    options = {"folder": tmp_path, "mark": "m", "budget": 1, "read": dies, "show": "Lower"}
    with pytest.raises(KeyboardInterrupt):
        lower_layers.states(reader.decoder, 1, prompts, **options)
    assert len(states.blocks(reader.decoder)) == 2  # the upper layers are back
    calls.insert(0, -1)
    found = lower_layers.states(reader.decoder, 1, prompts, **options)
    assert sum(calls) + 1 == 5  # no essay twice
    seen = []
    hook = states.blocks(reader.decoder)[0].register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        for ids in prompts:
            reader.hidden(reader.decoder, [ids], 0)
    hook.remove()
    rows = found.rows(prompts, 0)
    assert rows.dtype == kind
    for ids, row, whole in zip(prompts, rows, seen, strict=True):
        torch.testing.assert_close(row[: len(ids)], whole[0], atol=0.1 if kind == torch.bfloat16 else 1e-5, rtol=1e-2)
        assert not row[len(ids) :].any()
    torch.testing.assert_close(found.rows(prompts, 7, 20), rows[:, 7:20])


def test_a_model_that_cannot_be_entered_in_the_middle_is_refused(settings, essays, tmp_path, monkeypatch):
    rows = lower_layers.LowerStates.rows
    monkeypatch.setattr(lower_layers.LowerStates, "rows", lambda *args: -rows(*args))
    with pytest.raises(CyborgError, match="lora_from: .* cannot be entered in the middle; set `lora_from: 0.0`"):
        learnt(essays, dataclasses.replace(settings, lora_from=0.5), tmp_path)


def test_a_teacher_made_before_these_settings_is_still_the_same(essays, settings, tmp_path):
    learnt(essays, settings, tmp_path)
    told = {key: value for key, value in dataclasses.asdict(settings).items() if key not in fine_tuning.YOUNGER}
    told |= {"rubric": TEMPLATE.rubric, "seed": 3, "recipe": recipes.TEACHER.version}
    read = ["essay_id", "assignment", "text"]
    data = [[*part[read].to_numpy().ravel(), *map(int, part["level"])] for part in (essays[:8], essays[8:])]
    assert teacher.saved(tmp_path / "adapter")[2] == provenance.fingerprint(told, data=data)


# ---------------------------------------------------------------- where the answers start


def test_the_start_has_the_mean_of_the_targets():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(6, 0.3), 40)
    goals = teacher.targets(rng.integers(1, 4, 30), 6, 0.0)
    bias = offset_to_mean(p, goals)
    given = p * np.exp(bias)
    mean = (given / given.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(mean, (goals.sum(0) + 1 / 6) / 31, atol=1e-4)
    traits = offset_to_mean(np.stack([p, p], 1), np.stack([goals, goals[:, ::-1]], 1))
    np.testing.assert_allclose(traits[0], bias, atol=1e-6)


def test_a_teacher_starts_at_u_s_scores_and_keeps_its_start(essays, settings, tmp_path):
    zero = dataclasses.replace(settings, epochs=0, start_at="human")
    learnt(essays, zero, tmp_path)
    given = teacher.score(teacher.load(zero, TEMPLATE, adapter=tmp_path / "adapter"), essays[:8])
    goals = teacher.targets(essays["level"][:8].to_numpy(), 6, 0.7)
    mean = given[[f"p_{level}" for level in range(1, 7)]].mean().to_numpy()
    np.testing.assert_allclose(mean, (goals.sum(0) + 1 / 6) / 9, atol=0.02)
    assert teacher.bias_of(tmp_path / "adapter").shape == (6,)


# ---------------------------------------------------------------- batches in parts


@pytest.fixture
def whole(essays, settings, tmp_path):
    return learnt(essays, settings, tmp_path / "whole")


@pytest.mark.parametrize("budget, checkpointing", [(0, False), (450, False), (0, True)])
def test_an_update_in_parts_is_the_update_of_the_whole_batch(
    budget, checkpointing, whole, essays, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "at_once", lambda *_, **__: (budget, checkpointing))
    sizes, logits = [], teacher.Teacher.logits

    def seen(self, prompts, **options):
        sizes.append(len(prompts) * self.model.training)
        return logits(self, prompts, **options)

    monkeypatch.setattr(teacher.Teacher, "logits", seen)
    assert_alike(whole, learnt(essays, settings, tmp_path / "parts"))
    assert max(sizes) == 1 if not budget else 1 < max(sizes) < 4


@pytest.mark.parametrize("most", [2, 0])
def test_an_update_that_does_not_fit_begins_anew_in_smaller_parts(most, whole, essays, settings, tmp_path, monkeypatch):
    """`most` essays fit at once; with 0 not even one does, until activations are recomputed."""
    logits, failed = teacher.Teacher.logits, []

    def tight(self, prompts, **options):
        saving = self.model.get_base_model().is_activation_checkpointing
        if self.model.training and len(prompts) > most and not saving:
            failed.append(len(prompts))
            raise torch.OutOfMemoryError
        return logits(self, prompts, **options)

    monkeypatch.setattr(teacher.Teacher, "logits", tight)
    assert_alike(whole, learnt(essays, settings, tmp_path / "tight"))
    assert failed[0] == 4 and len(failed) < 5  # once it is known what fits, it is kept to


# ---------------------------------------------------------------- LoRA in bf16, and merged


def adapted(settings, *, rank: int = 4):
    reader = teacher.load(settings, TEMPLATE)
    torch.manual_seed(1)
    reader.model = get_peft_model(reader.model, lora.configuration(reader.model, rank=rank, targets="all-linear"))
    for name, parameter in reader.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return reader


def test_lora_in_bf16_keeps_float32_weights_and_nearly_the_gradients(settings, essays, monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.bfloat16)
    found, kinds = [], []
    for half in (False, True):
        reader = adapted(settings)
        if half:
            lora.compute_in_half(reader.model)
            reader.half = True
        inner = next(part for name, part in reader.model.named_modules() if name.endswith("lora_A.default"))
        inner.register_forward_hook(lambda _, given, output: kinds.append((given[0].dtype, output.dtype)))
        prompts, _ = reader.encode(essays["text"][:4], essays["assignment"][:4])
        logits = reader.logits(prompts)
        assert logits.dtype == torch.float32
        logits.log_softmax(-1)[:, 2].mean().backward()
        own = {name: parameter for name, parameter in reader.model.named_parameters() if parameter.grad is not None}
        assert {parameter.dtype for parameter in own.values()} == {torch.float32} == {p.grad.dtype for p in own.values()}
        found.append(torch.cat([parameter.grad.flatten() for parameter in own.values()]))
    assert kinds[0] == (torch.float32, torch.float32) and kinds[-1] == (torch.bfloat16, torch.bfloat16)
    assert torch.cosine_similarity(*found, dim=0) > 0.98


def test_a_whole_fine_tuning_in_bf16_runs_and_evaluates_merged(settings, essays, tmp_path, monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.bfloat16)
    plain = learnt(essays, settings, tmp_path / "plain")
    monkeypatch.setattr(lora, "is_half", lambda _: True)
    half = learnt(essays, settings, tmp_path / "half")
    np.testing.assert_allclose(half[0]["train_loss"], plain[0]["train_loss"], rtol=0.1)
    assert all(value.dtype == torch.float32 for value in half[1].values())


def test_a_merged_copy_scores_like_the_adapter_and_leaves_no_trace(settings, essays):
    reader = adapted(settings)
    prompts, _ = reader.encode(essays["text"][:4], essays["assignment"][:4])
    before = {name: value.clone() for name, value in reader.model.state_dict().items()}
    beside = reader.probabilities(prompts)
    with lora.merged(reader.model):
        np.testing.assert_allclose(reader.probabilities(prompts), beside, atol=1e-5)
        changed = [name for name, value in reader.model.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) == 2 * 7 and all("base_layer" in name for name in changed)
    assert all(torch.equal(value, before[name]) for name, value in reader.model.state_dict().items())
    np.testing.assert_array_equal(reader.probabilities(prompts), beside)


def test_a_gpu_s_ways_are_taken_only_there(settings, monkeypatch):
    assert not lora.is_half(torch.device("cpu"))
    reader = adapted(settings)
    of = (reader.base.config, reader.model.device, lora.configuration(reader.base, rank=4, targets="attention"), 500)
    assert memory.at_once(*of, large=False, half=False) == (sys.maxsize, False)
    assert memory.at_once(*of, large=True, half=False) == (0, True)
    monkeypatch.setattr(dtype, "dtype", lambda: torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    names = {}
    for there in (True, False):
        monkeypatch.setattr(teacher.cpu_attention, "is_flash_attn_2_available", lambda there=there: there)
        names[there] = (teacher.cpu_attention.name(flash=True), teacher.cpu_attention.name())
    assert names == {True: ("flash_attention_2", "sdpa"), False: ("sdpa", "sdpa")}
    assert lora.is_half(torch.device("cuda"))
