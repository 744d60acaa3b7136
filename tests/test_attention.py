"""Our attention against PyTorch's own: the same numbers forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, AutoModelForCausalLM

from cyborg_utils.models import cpu_attention


class Module(torch.nn.Module):
    """What a model passes as the calling layer; only `training` is looked at."""


def tensors(heads: int, key_heads: int, *, length: int = 7, keys: int = 9):
    generator = torch.Generator().manual_seed(heads * 10 + key_heads)
    shapes = [(2, heads, length, 4), (2, key_heads, keys, 4), (2, key_heads, keys, 4)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def causal_mask(length: int = 7, keys: int = 9) -> torch.Tensor:
    """Each row sees what is not behind it; the second example has two keys of padding in front."""
    seen = torch.ones(2, 1, length, keys).tril(keys - length).bool()
    seen[1, :, :, :2] = False
    return torch.zeros(2, 1, length, keys).masked_fill(~seen, torch.finfo(torch.float32).min)


@pytest.mark.parametrize("heads, key_heads", [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_equals_pytorch_forwards_and_backwards(heads, key_heads, masked, scaling):
    inputs, mask = tensors(heads, key_heads), causal_mask() if masked else None
    ours, weights = cpu_attention.attention(Module(), *inputs, mask, scaling=scaling)
    theirs = functional.scaled_dot_product_attention(*inputs, attn_mask=mask, scale=scaling, enable_gqa=True).transpose(1, 2)
    assert ours.shape == (2, 7, heads, 4) and weights is None and ours.is_contiguous()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    toward = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for one, other in zip(torch.autograd.grad(ours, inputs, toward), torch.autograd.grad(theirs, inputs, toward), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_without_gradients_the_numbers_are_the_same(masked):
    inputs, mask = tensors(4, 2), causal_mask() if masked else None
    with_gradients, _ = cpu_attention.attention(Module(), *inputs, mask)
    with torch.no_grad():
        without, _ = cpu_attention.attention(Module(), *inputs, mask)
    assert not without.requires_grad and without.is_contiguous()
    torch.testing.assert_close(without, with_gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_row_that_may_see_nothing_stays_finite(kind):
    """As rows of padding behind a local window (ModernBERT), in bf16 under a mask of float32."""
    inputs, mask = [part.detach().to(kind).requires_grad_() for part in tensors(4, 4)], causal_mask()
    mask[0, :, 0] = torch.finfo(torch.float32).min
    mixed, _ = cpu_attention.attention(Module(), *inputs, mask)
    mixed.sum().backward()
    assert mixed.isfinite().all() and all(part.grad.isfinite().all() for part in inputs)


def test_dropout_only_in_training():
    inputs = tensors(4, 4)
    trained, evaluated = Module().train(), Module().eval()
    plain, _ = cpu_attention.attention(evaluated, *inputs, None, dropout=0.5)
    torch.testing.assert_close(plain, cpu_attention.attention(evaluated, *inputs, None)[0])
    assert not torch.allclose(plain, cpu_attention.attention(trained, *inputs, None, dropout=0.5)[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU PyTorch's own attention is used")
@pytest.mark.parametrize("name", ["llama", "qwen2", "electra", "bert", "modernbert"])
def test_whole_models_give_what_they_give_with_their_own_attention(tiny_models, name):
    kind = AutoModelForCausalLM if name in ("llama", "qwen2") else AutoModel
    ids = torch.randint(5, 200, (2, 40), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, 25:] = 0
    found = []
    for implementation in (cpu_attention.name(), "sdpa"):
        model = kind.from_pretrained(tiny_models[name], dtype=torch.float32, attn_implementation=implementation).eval()
        output = model(input_ids=ids, attention_mask=mask)[0]
        output[mask.bool()].square().mean().backward()
        found.append((output.detach()[mask.bool()], [p.grad for p in model.parameters() if p.grad is not None]))
    (ours, our_gradients), (theirs, their_gradients) = found
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)
    assert len(our_gradients) == len(their_gradients) > 10
    for one, other in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-4)
