"""How much a device's memory holds: tokens a batch when a model is run, and essays at once when a Teacher is trained.

On a CPU batches are the same on every machine, so that a study's numbers do not depend on what else is running. On a GPU they
follow from the memory that is free. What training needs is counted, not guessed: one pass of the model on PyTorch's meta device,
which allocates nothing, tells the bytes that are saved for the backward pass.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from cyborg_utils.core import dtype
from cyborg_utils.models import cpu_attention

USED = 0.85  # share of the free memory that is planned for; the rest is for fragments and the products' work space
LEAST, MOST = 1024, 262_144  # tokens a batch on a GPU
LARGE = 2e9  # parameters from which activations are recomputed in the backward pass on a CPU (gradient checkpointing)
WORDS = 64  # vocabulary of a model that is only counted or timed
COUNTED = (192, 384)  # tokens of the two passes from which a pass of any length follows


def free(device: torch.device) -> int:
    """Bytes that a new tensor on this GPU can have, PyTorch's own reserve included."""
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserve


def token_budget(config: Any, device: torch.device, *, cpu: int) -> int:
    """Tokens a batch when a model of this config is run: `cpu` without a GPU, else as many as its free memory takes."""
    if device.type != "cuda":
        return cpu
    return int(min(MOST, max(LEAST, USED * free(device) / forward_bytes(config))))


def forward_bytes(config: Any) -> int:
    """Bytes for one more token in a forward pass: keys and values of all layers (causal models), and one layer's activations.

    The measure at hand: 330 kB for Llama 3.1 8B in bf16 (34.5 GiB for 65,536 tokens, 19.4 for 16,384).
    """
    size = dtype.dtype().itemsize
    width, inner = config.hidden_size, config.intermediate_size
    cached = 2 * config.num_hidden_layers * keys_width(config) if is_causal(config) else 0
    return size * (cached + 4 * inner + 10 * width)


def keys_width(config: Any) -> int:
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return width * (getattr(config, "num_key_value_heads", None) or heads)


def is_causal(config: Any) -> bool:
    return any("CausalLM" in name for name in config.architectures or ())


# ---------------------------------------------------------------- training


@dataclass(frozen=True)
class Saved:
    """What one essay's backward pass needs: bytes kept by the forward pass, as a function of its tokens; FLOPs of both passes."""

    per_token: float
    fixed: float
    flops_per_token: float

    def bytes(self, tokens: int) -> float:
        return self.fixed + self.per_token * tokens


def count(network: nn.Module, run: Callable[[int], torch.Tensor]) -> Saved:
    """Bytes and FLOPs of one training pass of a network on the meta device; `run(tokens)` returns its loss.

    Each tensor is counted once, parameters never. Attention grows with the square of the length, so the two passes are about as
    long as essays are.
    """
    from torch.utils.flop_counter import FlopCounterMode

    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    points = []
    for tokens in COUNTED:
        kept: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor, kept=kept) -> torch.Tensor:
            storage = tensor.untyped_storage()._cdata
            if storage not in own:
                kept[storage] = tensor  # held, so that no later storage takes its place
            return tensor

        with FlopCounterMode(display=False) as counter:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = run(tokens)
            loss.backward()
        held = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        points.append((tokens, held, counter.get_total_flops()))
    (short, few, quick), (long, many, slow) = points
    per_token = (many - few) / (long - short)
    return Saved(per_token, max(0.0, few - per_token * short), (slow - quick) / (long - short))


def of_training(config: Any, adapted: LoraConfig, *, half: bool) -> tuple[Saved, Saved]:
    """What one prompt's training needs of a causal model of this config with this LoRA: all activations kept, or recomputed.

    With `half` LoRA is computed in the precision of the rest (see `lora.is_half`). One and two layers are counted; all others
    with LoRA are as the second. Where they are recomputed, each layer's input is kept, and all of one layer at a time.
    """
    one, two = (_counted(small(config, layers), adapted, half=half) for layers in (1, 2))
    further = len(adapted.layers_to_transform or range(config.num_hidden_layers)) - 1
    whole = Saved(*(first + further * (second - first) for first, second in zip(astuple(one), astuple(two), strict=True)))
    width = config.hidden_size * dtype.dtype().itemsize
    forward = whole.flops_per_token / 2
    again = Saved(two.per_token + width * (1 + further), two.fixed, whole.flops_per_token + forward)
    return whole, again


def _counted(config: Any, adapted: LoraConfig, *, half: bool) -> Saved:
    own = copy.deepcopy(adapted)
    own.layers_to_transform = None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype.dtype(), attn_implementation=cpu_attention.register())
        model = get_peft_model(model, own)
    if half:
        model.to(dtype.dtype())
    decoder = model.get_base_model().get_decoder().train()

    def run(tokens: int) -> torch.Tensor:
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        mask = torch.zeros(1, 1, tokens, tokens, dtype=dtype.dtype(), device="meta")  # none is made from values
        return decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, -1].float().sum()

    return count(model, run)


def up_to(config: Any, layers: int) -> Any:
    """The same model without what is above `layers` of its layers."""
    made = copy.deepcopy(config)
    made.num_hidden_layers = layers
    if getattr(made, "layer_types", None):
        made.layer_types = made.layer_types[:layers]
    return made


def small(config: Any, layers: int) -> Any:
    """The same model with `layers` of its layers, a small vocabulary, and no dropout."""
    made = up_to(config, layers)
    made.vocab_size = WORDS
    for name, value in made.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(made, name, min(value, WORDS - 1))
        if "dropout" in name and isinstance(value, float):
            setattr(made, name, 0.0)
    return made


def micro_batch(saved: Saved, checkpointed: Saved, available: float, longest: int) -> tuple[int, bool]:
    """Tokens of a micro-batch in the available bytes, and whether activations must be recomputed in the backward pass.

    They are recomputed only where not even the longest essay fits otherwise. Where it does not fit then either, it is tried all
    the same, and the message of the device tells how much was missing.
    """
    room = USED * available
    if saved.bytes(longest) <= room:
        return int((room - saved.fixed) / saved.per_token), False
    return max(longest, int((room - checkpointed.fixed) / checkpointed.per_token)), True


def at_once(config: Any, device: torch.device, adapted: LoraConfig, longest: int, *, large: bool, half: bool) -> tuple[int, bool]:
    """Tokens of a micro-batch, and whether activations are recomputed in the backward pass (gradient checkpointing).

    Without a GPU a model of up to `LARGE` parameters takes the whole batch, and a larger one an essay at a time, recomputed.
    """
    if device.type != "cuda":
        return (0, True) if large else (sys.maxsize, False)
    return micro_batch(*of_training(config, adapted, half=half), free(device), longest)
