"""Attention for training on a CPU: plain matrix products, which use its matrix unit (AMX) in both directions.

PyTorch's fused CPU kernel is fast forwards, but its backward pass took 3-4 times as long as the matrix products below
(bf16, 430 x 672 tokens, 14 heads; `make bench` measures the whole step). Without gradients, the fused kernel is used.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "cyborg_matmul"


def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **_):
    """softmax(Q K' scale + mask) V for query (B, heads, q, d) and key, value (B, key heads, k, d); returns (B, q, heads, d).

    The softmax accumulates in float32 and returns the input's type. Several query heads may share a key head (GQA).
    """
    batch, heads, length, width = query.shape
    shared = heads // key.shape[1]
    scaling = width**-0.5 if scaling is None else scaling
    if not torch.is_grad_enabled():
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=shared > 1
        )
        return mixed.transpose(1, 2).contiguous(), None
    rows = (query * scaling).reshape(batch * key.shape[1], shared * length, width)
    keys, values = (part.reshape(batch * part.shape[1], -1, width) for part in (key, value))
    scores = torch.bmm(rows, keys.transpose(1, 2)).view(batch, heads, length, -1)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = functional.dropout(scores.softmax(-1), dropout, module.training).view(rows.shape[0], rows.shape[1], -1)
    return torch.bmm(weights, values).view(batch, heads, length, width).transpose(1, 2).contiguous(), None


def name() -> str:
    """What to pass as `attn_implementation`: ours where there is no GPU, PyTorch's own there."""
    if torch.cuda.is_available():
        return "sdpa"
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, eager_mask)  # additive, with a finite minimum: -inf gives NaN in rows of padding
    return NAME
