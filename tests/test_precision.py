"""bf16 only where it is fast, and everywhere the same choice."""

import numpy as np
import pytest
import torch

from cyborg_utils.core import dtype, provenance
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import student


@pytest.fixture
def machine(monkeypatch):
    """A function that makes this machine another one: its CPU's circuits, system, and GPU (None, or whether it has bf16)."""

    def make(*circuits: str, system: str = "linux", gpu: bool | None = None) -> None:
        dtype.dtype.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(circuits, True) | {"avx512_f": True})
        monkeypatch.setattr(dtype.sys, "platform", system)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bool(gpu or including_emulation))

    yield make
    dtype.dtype.cache_clear()


@pytest.mark.parametrize(
    "circuits, elsewhere, name",
    [
        (["amx_bf16", "avx512_bf16"], {}, "bf16"),
        (["avx512_bf16"], {}, "bf16"),
        (["bf16"], {}, "bf16"),  # ARM
        ([], {}, "float32"),
        (["bf16"], {"system": "darwin"}, "float32"),
        ([], {"gpu": True}, "bf16"),
        (["amx_bf16"], {"gpu": False}, "float32"),  # an old GPU
    ],
)
def test_which_machines_compute_in_bf16(machine, circuits, elsewhere, name):
    machine(*circuits, **elsewhere)
    assert dtype.name() == name and dtype.dtype() == {"bf16": torch.bfloat16, "float32": torch.float32}[name]
    with dtype.autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype.dtype()


def test_a_student_is_the_same_scorer_in_both(machine, tiny_models):
    settings = student.Settings(str(tiny_models["bert"]), "regression", 1, 1, 1e-3, 8, 64)
    pupil, values = student.untrained(settings, Scale(1, 5)), []
    texts = [f"Text {at}: the bridge, the river and the market." * (at + 1) for at in range(12)]
    for circuits in (["amx_bf16"], []):
        machine(*circuits)
        values.append(pupil.predict(texts)[0])
    np.testing.assert_allclose(*values, atol=0.02)
    assert not np.array_equal(*values)  # two precisions indeed


def test_records_name_it(machine):
    machine()
    assert provenance.hardware()["precision"] == "float32"
