"""The precision in which networks compute: bf16 where the hardware supports it natively, float32 elsewhere.

A processor without native support can emulate bf16, at a third of its speed in float32 (`make bench` measures both).
"""

from __future__ import annotations

import functools
import sys

import torch

CIRCUITS = ("amx_bf16", "avx512_bf16", "bf16")  # names as in `torch.cpu.get_capabilities`; the last is ARM's


@functools.cache
def dtype() -> torch.dtype:
    """torch.bfloat16 or torch.float32, always the same on one machine."""
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = torch.cpu.get_capabilities()
        fast = any(known.get(circuit) for circuit in CIRCUITS)
        fast = fast and sys.platform != "darwin"  # PyTorch has no bf16 kernels for Apple's processors
    return torch.bfloat16 if fast else torch.float32


def name() -> str:
    """The name of `dtype` for messages and records: bf16 or float32."""
    return {torch.bfloat16: "bf16", torch.float32: "float32"}[dtype()]


def autocast(device: torch.device) -> torch.autocast:
    """A context in which matrix products are computed in `dtype`; weights stay as they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype() == torch.bfloat16)
