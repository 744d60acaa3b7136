"""The Teacher on tiny random models: its shortcuts change no number, and a stopped run ends like an undisturbed one."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cyborg_utils.core import dtype
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import fine_tuning, memory, prompt, teacher

SCALE = Scale(1, 6)
TEMPLATE = prompt.Prompt("Weigh the reasons.", SCALE)
BOTH = ["llama", "qwen2"]


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    frame = pd.DataFrame(simulated.essays(24, 7))
    return frame.assign(level=SCALE.level(frame["score"]))


@pytest.fixture(scope="module")
def settings(tiny_models) -> teacher.Settings:
    return teacher.Settings(str(tiny_models["llama"]), 2, 0.01, 8, 4, "attention", 0.7, 60)


def plain(folder) -> teacher.Teacher:
    """A Teacher in float32, so that two ways to the same number can be compared closely."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=teacher.cpu_attention.name())
    return teacher.Teacher(model, AutoTokenizer.from_pretrained(folder), TEMPLATE, max_tokens=60)


@pytest.fixture(scope="module", params=BOTH)
def reader(request, tiny_models) -> teacher.Teacher:
    return plain(tiny_models[request.param])


# ---------------------------------------------------------------- one forward pass


def test_a_shared_beginning_changes_neither_logits_nor_gradients(reader, essays):
    prompts, _ = reader.encode(essays["text"][:5], essays["assignment"][:5])
    prompts[1] = prompts[1][:-20]  # of several lengths
    found = []
    for share in (True, False):
        reader.model.zero_grad()
        logits = reader.logits(prompts, share_prefix=share)
        logits.log_softmax(-1)[:, 2].mean().backward()
        found.append((logits.detach(), {n: p.grad.clone() for n, p in reader.model.named_parameters() if p.grad is not None}))
    (shared, shared_gradients), (alone, alone_gradients) = found
    assert shared.shape == (5, 6) and shared.dtype == torch.float32
    torch.testing.assert_close(shared, alone, atol=1e-5, rtol=1e-5)
    assert len(shared_gradients) > 15 and shared_gradients.keys() == alone_gradients.keys()
    for name, gradient in shared_gradients.items():
        torch.testing.assert_close(gradient, alone_gradients[name], atol=1e-6, rtol=1e-3)


@torch.no_grad()
def test_padding_and_company_do_not_matter(reader, essays):
    prompts, _ = reader.encode(essays["text"][:4], essays["assignment"][:4])
    prompts = [ids[: len(ids) - 9 * place] for place, ids in enumerate(prompts)]
    together = reader.logits(prompts)
    alone = torch.cat([reader.logits([ids]) for ids in prompts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reader.logits([prompts[0], prompts[0]])[1], alone[0], atol=1e-5, rtol=1e-5)
    assert alone.std(0).min() > 1e-3  # the tiny model's answers do depend on the essay


@torch.no_grad()
def test_probabilities_are_the_whole_vocabulary_softmax_restricted_to_the_answers(reader, essays):
    prompts, _ = reader.encode(essays["text"][:5], essays["assignment"][:5])
    found = reader.probabilities(prompts)
    assert found.shape == (5, 6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    for ids, p in zip(prompts, found, strict=True):
        whole = reader.model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)[TEMPLATE.answer_ids(reader.tokenizer)]
        np.testing.assert_allclose(p, whole / whole.sum(), atol=1e-6)


def test_scores_name_the_most_likely_level_and_the_expected_score(reader, essays):
    found = teacher.score(reader, essays[:6])
    assert list(found) == ["essay_id", "level", "expected", *(f"p_{level}" for level in range(1, 7))]
    p = found[[f"p_{level}" for level in range(1, 7)]].to_numpy()
    assert found["essay_id"].tolist() == essays["essay_id"][:6].tolist()
    assert found["level"].tolist() == p.argmax(1).tolist()
    np.testing.assert_allclose(found["expected"], (p * np.arange(1, 7)).sum(1))


def test_scoring_goes_on_where_it_was_stopped(reader, essays, tmp_path, monkeypatch):
    frame = pd.concat([essays[:6]] * 4, ignore_index=True)
    wanted = teacher.score(reader, frame)
    monkeypatch.setattr(teacher.trainer, "token_batches", lambda lengths, budget: np.arange(len(lengths))[:, None])
    logits, calls = teacher.Teacher.logits, []

    def counted(self, prompts, **options):
        calls.append(len(prompts))
        if len(calls) == 20:
            raise KeyboardInterrupt
        return logits(self, prompts, **options)

    monkeypatch.setattr(teacher.Teacher, "logits", counted)
    with pytest.raises(KeyboardInterrupt):
        teacher.score(reader, frame, folder=tmp_path / "parts", mark="m")
    again = teacher.score(reader, frame, folder=tmp_path / "parts", mark="m")
    assert len(calls) == 20 + 24 - 16  # one part of 16 batches was kept
    pd.testing.assert_frame_equal(again, wanted, rtol=1e-4)
    before = len(calls)
    corrected = frame.assign(text=[" ".join(text.split()[::-1]) for text in frame["text"]])
    lengths = [[*map(len, reader.encode(some["text"], some["assignment"])[0])] for some in (frame, corrected)]
    assert lengths[0] == lengths[1]  # the same ids, of the same length, with other texts
    teacher.score(reader, corrected, folder=tmp_path / "parts", mark="m")
    assert len(calls) == before + 24
    fewer = teacher.score(reader, frame[1:], folder=tmp_path / "parts", mark="m")  # other essays: nothing of the first is used
    pd.testing.assert_frame_equal(fewer, wanted[1:].reset_index(drop=True), rtol=1e-4)


# ---------------------------------------------------------------- targets and measures


def test_smoothed_targets():
    levels = np.array([0, 2, 5])
    assert (teacher.targets(levels, 6, 0) == np.eye(6)[levels]).all()
    soft = teacher.targets(levels, 6, 0.7)
    np.testing.assert_allclose(soft.sum(1), 1)
    assert (soft.argmax(1) == levels).all() and (soft > 0).all()
    assert soft[1, 1] == soft[1, 3] and soft[1, 3] / soft[1, 2] == pytest.approx(math.exp(-0.5 / 0.49))
    np.testing.assert_allclose(soft[0], soft[2][::-1])


def test_measures_of_a_perfect_and_of_a_strict_teacher():
    levels = np.array([0, 1, 2, 3, 4, 5, 2, 3])
    perfect = teacher.measures(teacher.targets(levels, 6, 0), levels, SCALE)
    assert perfect == pytest.approx({"qwk": 1, "r": 1, "smd": 0, "loss": 0}, abs=1e-9)
    strict = teacher.measures(teacher.targets(np.maximum(levels - 1, 0), 6, 0.5), levels, SCALE)
    assert strict["smd"] < -0.3 and 0 < strict["qwk"] < 1 and strict["loss"] > 1


# ---------------------------------------------------------------- several traits in one reading


ASKED = prompt.Prompt("Weigh each.", SCALE, ("Ideas", "Order", "Words"))


@pytest.fixture(params=BOTH)
def trait_reader(request, tiny_models) -> teacher.Teacher:
    model = AutoModelForCausalLM.from_pretrained(tiny_models[request.param], dtype=torch.float32)
    return teacher.Teacher(model, AutoTokenizer.from_pretrained(tiny_models[request.param]), ASKED, max_tokens=60)


@torch.no_grad()
def test_each_trait_is_read_where_its_answer_would_stand(trait_reader, essays):
    """One reading gives what three prompts would that end at the trait's own line."""
    prompts, _ = trait_reader.encode(essays["text"][:4], essays["assignment"][:4])
    found = trait_reader.logits(prompts)
    assert found.shape == (4, 3, 6)
    tokenizer, single = (
        trait_reader.tokenizer,
        teacher.Teacher(trait_reader.model, trait_reader.tokenizer, TEMPLATE, max_tokens=60),
    )
    for at, (name, behind) in enumerate(zip(ASKED.traits, ASKED.reads(tokenizer), strict=True)):
        cut = [ids[: len(ids) - behind] for ids in prompts]
        assert all(tokenizer.decode(ids).endswith(f"{name}: ") for ids in cut)
        torch.testing.assert_close(single.logits(cut), found[:, at], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(trait_reader.logits([prompts[0]] * 2)[1], found[0], atol=1e-5, rtol=1e-5)  # all is shared


@pytest.mark.slow
def test_a_teacher_of_traits_learns_and_scores_each(essays, settings, tmp_path):
    frame = essays.assign(**{"level.Ideas": essays["level"], "level.Order": 5 - essays["level"], "level.Words": 2})
    one = dataclasses.replace(settings, epochs=6, target_sd=0.0)
    curve = fine_tuning.finetune(frame[:16], frame[16:], ASKED, one, seed=3, folder=tmp_path)
    assert curve["train_loss"].iloc[-1] < curve["train_loss"].iloc[0]
    given = teacher.score(teacher.load(one, ASKED, adapter=tmp_path / "adapter"), frame)
    assert len(given) == 24 * 3 and given["trait"].tolist()[:4] == ["Ideas", "Order", "Words", "Ideas"]
    assert given[[f"p_{level}" for level in range(1, 7)]].sum(axis=1).to_numpy() == pytest.approx(1)
    before = teacher.score(teacher.load(one, ASKED), frame)
    sure = [rows.query("trait == 'Words'")["p_3"].mean() for rows in (before, given)]
    assert sure[1] > 1.5 * sure[0]  # what is always the same is learnt first


def test_measures_of_traits_are_their_means():
    rng = np.random.default_rng(1)
    p, levels = rng.dirichlet(np.ones(6), (30, 2)), rng.integers(0, 6, (30, 2))
    found, each = teacher.measures(p, levels, SCALE), [teacher.measures(p[:, at], levels[:, at], SCALE) for at in (0, 1)]
    assert found == pytest.approx({name: (each[0][name] + each[1][name]) / 2 for name in each[0]})
    np.testing.assert_array_equal(teacher.targets(levels, 6, 0.7)[:, 1], teacher.targets(levels[:, 1], 6, 0.7))


# ---------------------------------------------------------------- fine-tuning


@pytest.fixture(scope="module")
def trained(essays, settings, tmp_path_factory):
    """An undisturbed run: its folder and its curve."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, fine_tuning.finetune(essays[:16], essays[16:], TEMPLATE, settings, seed=3, folder=folder)


def test_finetuning_lowers_the_loss_and_keeps_a_small_adapter(trained, settings):
    folder, curve = trained
    assert list(curve) == ["attempt", "epoch", "train_loss", "qwk", "r", "smd", "loss", "seconds", "best"]
    assert curve["epoch"].tolist() == [1, 2] and curve["best"].sum() >= 1
    assert curve["train_loss"].iloc[1] < curve["train_loss"].iloc[0]
    assert not (folder / "checkpoints").exists()
    assert {"adapter_model.safetensors", "adapter_config.json", "curve.csv", "teacher.json"} <= {
        file.name for file in (folder / "adapter").iterdir()
    }
    assert teacher.saved(folder / "adapter")[:2] == (settings, "Weigh the reasons.")


def test_a_finished_run_is_not_repeated(trained, essays, settings, monkeypatch):
    folder, curve = trained
    monkeypatch.setattr(teacher, "load", None)
    again = fine_tuning.finetune(essays[:16], essays[16:], TEMPLATE, settings, seed=3, folder=folder)
    pd.testing.assert_frame_equal(again, curve, rtol=1e-9)
    other_level = essays[:16].assign(level=essays["level"][:16].replace({2: 3}))
    corrected = essays[:16].assign(text=essays["text"][:16].str.replace("e", "a", n=1))
    for changed in (
        {"settings": dataclasses.replace(settings, epochs=3)},
        {"seed": 4},
        {"train": other_level},
        {"train": corrected},
        {"template": prompt.Prompt("Another rubric.", SCALE)},
    ):
        call = {"train": essays[:16], "dev": essays[16:], "template": TEMPLATE, "settings": settings, "seed": 3} | changed
        with pytest.raises(TypeError):  # it sets out to load the model, which is None here
            fine_tuning.finetune(**call, folder=folder)
    assert (folder / "adapter" / "teacher.json").is_file()  # the finished one stays until another has been made


@pytest.mark.slow
@pytest.mark.parametrize("when", ["in epoch 2", "while writing the second checkpoint"])
def test_a_stopped_run_ends_like_an_undisturbed_one(trained, essays, settings, tmp_path, monkeypatch, when):
    undisturbed, curve = trained
    name, place = ("evaluate", 2) if when == "in epoch 2" else ("_save_optimizer_and_scheduler", 2)
    original, calls = getattr(fine_tuning._ScoreTrainer, name), []

    def dies(self, *args, **options):
        calls.append(name)
        if len(calls) == place:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    monkeypatch.setattr(fine_tuning._ScoreTrainer, name, dies)
    with pytest.raises(KeyboardInterrupt):
        fine_tuning.finetune(essays[:16], essays[16:], TEMPLATE, settings, seed=3, folder=tmp_path)
    assert not (tmp_path / "adapter").exists() and (tmp_path / "checkpoints" / "checkpoint-2").is_dir()
    again = fine_tuning.finetune(essays[:16], essays[16:], TEMPLATE, settings, seed=3, folder=tmp_path)
    assert len(calls) == 3  # epoch 1 was not done again
    assert again["seconds"].gt(0).all()
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), curve.drop(columns="seconds"), rtol=1e-6)
    adapters = [(folder / "adapter" / "adapter_model.safetensors").read_bytes() for folder in (tmp_path, undisturbed)]
    assert adapters[0] == adapters[1]


@pytest.mark.slow
def test_a_fine_tuning_that_fails_is_done_again(trained, essays, settings, tmp_path, monkeypatch):
    """Here all fail, since nothing is above a QWK of 1: the last one is kept, none is repeated, and a further one may follow."""
    _, first = trained
    call = {"train": essays[:16], "dev": essays[16:], "template": TEMPLATE, "settings": settings, "seed": 3, "folder": tmp_path}
    assert fine_tuning.finetune(**call, attempts=2)["attempt"].max() == 1 or first["qwk"].max() <= teacher.FAILED
    monkeypatch.setattr(fine_tuning, "FAILED", 1.0)
    seeds, attempt = [], fine_tuning._attempt

    def counted(*args, **options):
        seeds.append(options["seed"])
        return attempt(*args, **options)

    monkeypatch.setattr(fine_tuning, "_attempt", counted)
    curve = fine_tuning.finetune(**call, attempts=2)
    assert curve["attempt"].tolist() == [1, 1, 2, 2] and not curve.loc[curve["attempt"] == 1, "best"].any()
    pd.testing.assert_frame_equal(curve.iloc[:2].drop(columns=["seconds", "best"]), first.drop(columns=["seconds", "best"]))
    assert not np.allclose(curve["train_loss"][2:], curve["train_loss"][:2])  # another initialisation and order
    assert teacher.saved(tmp_path / "adapter")[2] and seeds[-1] == 1003
    pd.testing.assert_frame_equal(fine_tuning.finetune(**call, attempts=2), curve, check_dtype=False)
    with monkeypatch.context() as patch:
        patch.setattr(teacher, "load", None)
        with pytest.raises(TypeError):  # it sets out to load the model for the third
            fine_tuning.finetune(**call, attempts=3)
    assert seeds[-1] == 2003


@pytest.mark.slow
def test_the_curve_is_that_of_the_adapter_when_fewer_attempts_are_allowed(essays, settings, tmp_path, monkeypatch):
    call = {"train": essays[:16], "dev": essays[16:], "template": TEMPLATE, "settings": settings, "seed": 3, "folder": tmp_path}
    monkeypatch.setattr(fine_tuning, "FAILED", 1.0)
    for attempts in (2, 1):
        fine_tuning.finetune(**call, attempts=attempts)
        said = json.loads((tmp_path / "adapter" / "teacher.json").read_text())
        assert said["seed"] == 3 + 1000 * (attempts - 1)
    zero = dataclasses.replace(settings, epochs=0)
    fine_tuning.finetune(**call | {"settings": zero, "folder": tmp_path / "zero"}, attempts=3)
    assert [file.name for file in (tmp_path / "zero").iterdir()] == ["adapter"]  # its one attempt is the last, not a failed one


def test_the_merged_adapter_scores_as_the_one_beside_the_model(trained, essays, settings):
    folder, _ = trained
    merged = teacher.load(settings, TEMPLATE, adapter=folder / "adapter")
    assert type(merged.model).__name__ == "LlamaForCausalLM" and merged.model.dtype == dtype.dtype()
    base = teacher.load(settings, TEMPLATE)
    untouched = teacher.score(base, essays)
    beside = teacher.Teacher(
        teacher.PeftModel.from_pretrained(base.model, folder / "adapter"), base.tokenizer, TEMPLATE, max_tokens=60
    )
    ours, theirs = (teacher.score(reader, essays)["expected"] for reader in (merged, beside))
    assert np.abs(ours - theirs).max() < 0.05 < np.abs(ours - untouched["expected"]).max()  # bf16 rounds at other places
    assert np.abs(ours - theirs).mean() < 0.02


def test_merging_in_bf16_is_merging_in_float32_rounded_once(trained, settings, tmp_path, monkeypatch):
    """To the last bit, for a model published in bf16: float32 weights need not be in memory, 30 GiB for a model of 8B."""
    adapter, published = trained[0] / "adapter", tmp_path / "published"
    AutoModelForCausalLM.from_pretrained(settings.model, dtype=torch.bfloat16).save_pretrained(published)
    AutoTokenizer.from_pretrained(settings.model).save_pretrained(published)
    found = {}
    for kind in (torch.bfloat16, torch.float32):
        monkeypatch.setattr(dtype, "dtype", lambda kind=kind: kind)
        one = dataclasses.replace(settings, model=str(published))
        found[kind] = teacher.load(one, TEMPLATE, adapter=adapter).model.state_dict()
    ours, whole = found.values()
    assert all(torch.equal(given, whole[name].to(torch.bfloat16)) for name, given in ours.items())
    assert any(not torch.equal(given.float(), whole[name]) for name, given in ours.items())


def test_4_bits_are_refused_before_anything_is_fetched(settings, monkeypatch):
    monkeypatch.setattr(teacher.weights, "resolve", lambda _: pytest.fail("fetched"))
    four = dataclasses.replace(settings, quantization="nf4")
    with pytest.raises(CyborgError, match="needs a CUDA GPU and bitsandbytes; or set"):
        teacher.load(four, TEMPLATE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(teacher.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CyborgError, match="bitsandbytes, which is not installed"):
        teacher.load(four, TEMPLATE)


@pytest.mark.parametrize("targets", ["attention", "all-linear"])
def test_zero_epochs_is_the_model_as_it_came(essays, settings, tmp_path, targets):
    zero = dataclasses.replace(settings, epochs=0, lora_targets=targets)
    curve = fine_tuning.finetune(essays[:16], essays[16:], TEMPLATE, zero, seed=3, folder=tmp_path)
    assert curve["epoch"].tolist() == [0] and curve["train_loss"].isna().all() and curve["loss"].notna().all()
    pd.testing.assert_frame_equal(
        teacher.score(teacher.load(zero, TEMPLATE, adapter=tmp_path / "adapter"), essays),
        teacher.score(teacher.load(zero, TEMPLATE), essays),  # to the last bit: merging must not touch anything else
        rtol=0,
        atol=0,
    )


def test_a_qwen_teacher_learns_too(essays, settings, tiny_models, tmp_path):
    qwen = dataclasses.replace(settings, model=str(tiny_models["qwen2"]), lora_targets="all-linear", target_sd=0.0)
    curve = fine_tuning.finetune(essays[:16], essays[16:], TEMPLATE, qwen, seed=1, folder=tmp_path)
    assert curve["train_loss"].iloc[1] < curve["train_loss"].iloc[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_without_a_gpu_is_an_error_with_a_remedy(settings):
    with pytest.raises(CyborgError, match="needs a CUDA GPU and bitsandbytes.*quantization: none"):
        teacher.load(dataclasses.replace(settings, quantization="nf4"), TEMPLATE)


def test_a_large_model_takes_one_essay_at_a_time_and_learns_the_same(trained, essays, settings, tmp_path, monkeypatch):
    _, curve = trained
    monkeypatch.setattr(memory, "LARGE", 0)
    rows = []
    logits = teacher.Teacher.logits

    def seen(self, prompts, **options):
        saving = self.model.get_base_model().is_activation_checkpointing
        rows.append((len(prompts), options.get("share_prefix", True), saving, self.model.training))
        return logits(self, prompts, **options)

    monkeypatch.setattr(teacher.Teacher, "logits", seen)
    large = fine_tuning.finetune(essays[:16], essays[16:], TEMPLATE, settings, seed=3, folder=tmp_path)
    assert {row[:3] for row in rows if row[3]} == {(1, False, True)}
    assert sum(row[3] for row in rows) == 32
    np.testing.assert_allclose(large["train_loss"], curve["train_loss"], rtol=0.02)  # the same updates, rounded otherwise
    learnt = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(learnt) == 2 * 2 * 4 and all(value.abs().max() > 0 for value in learnt.values())
