"""A device's memory: what fits into it, and a batch that does not is halved, with nothing lost or done twice."""

import numpy as np
import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from cyborg_utils.core import dtype
from cyborg_utils.models import lora, memory, trainer


def test_a_batch_that_does_not_fit_is_halved(tmp_path):
    done = []

    def work(batch: np.ndarray) -> np.ndarray:
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        done.extend(batch.tolist())
        return batch * 10.0

    batches = trainer.token_batches([5] * 11, 50)
    found = trainer.in_parts(work, batches, tmp_path, "mark")
    assert found.tolist() == [10.0 * at for at in range(11)] and sorted(done) == list(range(11))


def test_one_essay_that_does_not_fit_is_told():
    def work(batch: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        trainer.in_parts(work, trainer.token_batches([5, 5], 50), None, "")


def test_one_process_uses_one_device(tmp_path, monkeypatch):
    """Trainer would share a batch among all visible GPUs, so that an update has several times as many essays."""
    several = trainer.TrainingArguments.__post_init__

    def with_four(self) -> None:
        several(self)
        self._n_gpu = 4

    monkeypatch.setattr(trainer.TrainingArguments, "__post_init__", with_four)
    monkeypatch.setattr(trainer.TrainingArguments, "_setup_devices", None)
    made = trainer.arguments(tmp_path, seed=1, per_device_train_batch_size=8)
    assert made.n_gpu == 1 and made.train_batch_size == 8


# ---------------------------------------------------------------- what fits, counted without a GPU


LLAMA = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    architectures=["LlamaForCausalLM"],
)


@pytest.fixture
def half(monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.bfloat16)


@pytest.mark.parametrize("tokens, gib", [(65_536, 34.5), (16_384, 19.4)])
def test_a_forward_pass_needs_what_was_counted_for_8b(half, tokens, gib):
    weights = 8.03e9 * 2 / 2**30
    assert weights + memory.forward_bytes(LLAMA) * tokens / 2**30 == pytest.approx(gib, rel=0.05)


def test_the_budget_follows_free_memory_on_a_gpu_and_nothing_on_a_cpu(half, monkeypatch):
    budgets = []
    for gib in (1, 8, 60):
        monkeypatch.setattr(memory, "free", lambda _, gib=gib: gib * 2**30)
        budgets.append(memory.token_budget(LLAMA, torch.device("cuda"), cpu=7))
        assert memory.token_budget(LLAMA, torch.device("cpu"), cpu=7) == 7
        assert budgets[-1] * memory.forward_bytes(LLAMA) <= gib * 2**30
    assert budgets == sorted(budgets) and budgets[0] >= memory.LEAST and budgets[-1] > 65_536


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_bytes_counted_without_memory_are_those_of_a_real_pass(name, tiny_models, half):
    """Two layers on the CPU, against the count on the meta device of one and two, carried on to all layers."""
    config = memory.small(AutoConfig.from_pretrained(tiny_models[name]), 2)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=memory.cpu_attention.register())
    own = lora.configuration(model, rank=4, targets="all-linear")
    whole, _ = memory.of_training(config, own, half=True)
    model = get_peft_model(model, own).to(torch.bfloat16).train()
    decoder = model.get_base_model().get_decoder()

    def run(tokens):
        mask = torch.zeros(1, 1, tokens, tokens, dtype=torch.bfloat16)
        return decoder(input_ids=torch.zeros(1, tokens, dtype=torch.long), attention_mask=mask).last_hidden_state.sum()

    real = memory.count(model, run)
    assert whole.bytes(500) == pytest.approx(real.bytes(500), rel=0.05)


def test_flops_are_those_of_the_layers_matrices_forward_and_back(half):
    """Of 8B parameters, 6.98e9 are in the layers: two FLOPs each a pass; LoRA's base needs no gradients of its own."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LLAMA)
    own = lora.configuration(model, rank=16, targets="all-linear")
    whole, again = memory.of_training(LLAMA, own, half=True)
    assert whole.flops_per_token == pytest.approx(4 * 6.98e9, rel=0.06)
    assert again.bytes(900) < 0.15 * whole.bytes(900)
    assert again.flops_per_token == pytest.approx(1.5 * whole.flops_per_token)
    upper = lora.LoraConfig(r=16, target_modules=["q_proj"], layers_to_transform=list(range(16, 32)))
    less, _ = memory.of_training(LLAMA, upper, half=True)
    assert less.flops_per_token == pytest.approx(whole.flops_per_token / 2, rel=0.1)
    assert less.bytes(900) < 0.6 * whole.bytes(900)


def test_activations_are_recomputed_only_where_they_must_be(half):
    whole, again = memory.Saved(5e6, 0, 1), memory.Saved(0.5e6, 0, 1)
    assert memory.micro_batch(whole, again, 60e9, 2400) == (int(0.85 * 60e9 / 5e6), False)
    tokens, checkpointing = memory.micro_batch(whole, again, 6e9, 2400)
    assert checkpointing and tokens >= 2400
    assert memory.micro_batch(whole, again, 1e8, 2400) == (2400, True)
