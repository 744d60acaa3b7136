"""Attention for training on a CPU: PyTorch's fused kernel in the forward pass, plain matrix products (AMX) in the backward pass.

The fused kernel's own backward pass is slow on a CPU. Attention written as matrix products keeps and re-reads every attention
weight of the batch. Here the backward pass recomputes the weights, one essay at a time, so that they stay in the cache
(`make bench` measures the whole training step).
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask
from transformers.utils import is_flash_attn_2_available

from cyborg_utils.core import dtype

NAME = "cyborg_attention"


class _Attention(torch.autograd.Function):
    """softmax(Q K' scaling + mask) V for query (B, heads, q, d) and key, value (B, key heads, k, d); returns (B, heads, q, d)."""

    @staticmethod
    def forward(ctx, query, key, value, mask, scaling):
        ctx.save_for_backward(query, key, value, mask)
        ctx.scaling = scaling
        return _fused(query, key, value, mask, scaling)

    @staticmethod
    def backward(ctx, grad):
        query, key, value, mask = ctx.saved_tensors
        batch, heads, length, width = query.shape
        shared = heads // key.shape[1]  # query heads per key head: their rows are stacked
        rows = (query * ctx.scaling).reshape(batch, -1, shared * length, width)
        grad, key, value = grad.reshape(rows.shape), key.contiguous(), value.contiguous()
        to_rows, to_key, to_value = torch.empty_like(rows), torch.empty_like(key), torch.empty_like(value)
        weights = rows.new_empty(rows.shape[1], rows.shape[2], key.shape[2])
        to_scores = torch.empty_like(weights)
        for q, k, v, g, m, to_q, to_k, to_v in zip(
            rows, key, value, grad, [None] * batch if mask is None else mask, to_rows, to_key, to_value, strict=True
        ):
            torch.bmm(q, k.transpose(1, 2), out=weights)
            if m is not None:
                weights.view(heads, length, -1).add_(m)
            torch.softmax(weights, -1, out=weights)
            torch.bmm(weights.transpose(1, 2), g, out=to_v)
            torch.bmm(g, v.transpose(1, 2), out=to_scores)
            torch._softmax_backward_data(to_scores, weights, -1, weights.dtype, grad_input=to_scores)
            torch.bmm(to_scores, k, out=to_q)
            torch.bmm(to_scores.transpose(1, 2), q, out=to_k)
        return (to_rows * ctx.scaling).view(query.shape), to_key, to_value, None, None


def _fused(query, key, value, mask, scaling, dropout=0.0):
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling, enable_gqa=query.shape[1] > key.shape[1]
    )


def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **_):
    """The interface of `transformers`: attention of query (B, heads, q, d) to key, value; returns (B, q, heads, d) and None.

    The mask, (B or 1, 1, q or 1, k), is added to the scores. With dropout of attention weights (Students have none, see
    `student`) both passes are PyTorch's own.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if attention_mask is not None:
        # float32's lowest number would be -inf in bf16, and a padding row that sees nothing would be NaN
        lowest = torch.finfo(query.dtype).min
        attention_mask = attention_mask.clamp_min(lowest).to(query.dtype).expand(len(query), -1, -1, -1)
    dropout = dropout if module.training else 0.0
    if torch.is_grad_enabled() and not dropout:
        mixed = _Attention.apply(query, key, value, attention_mask, scaling)
    else:
        mixed = _fused(query, key, value, attention_mask, scaling, dropout)
    return mixed.transpose(1, 2).contiguous(), None


def name(*, flash: bool = False) -> str:
    """The value of `attn_implementation`: PyTorch's own attention on a GPU, ours without one.

    With `flash`, for a model in bf16 that has it, FlashAttention 2 where it is installed (`pip install flash-attn`): unlike
    PyTorch's it needs no mask where the beginning of the prompts is shared.
    """
    if torch.cuda.is_available():
        return "flash_attention_2" if flash and dtype.dtype() == torch.bfloat16 and is_flash_attn_2_available() else "sdpa"
    return register()


def register() -> str:
    """Make our attention known to `transformers`; returns its name there."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)  # additive, with a finite minimum: -inf gives NaN in rows of padding
    return NAME
