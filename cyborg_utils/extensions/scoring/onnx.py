"""A Student as an ONNX file, float32 or with int8 weights, run by onnxruntime without PyTorch's kernels.

The file holds the network only: input_ids and attention_mask (batch, length), int64, to `output` (batch, 1 or K). Tokens, units
and calibration stay with the saved Student, so an ONNX file is used together with its folder.
"""

from __future__ import annotations

import copy
import importlib
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from cyborg_utils.core import atomic, dtype
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.models.student import Student
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import MeanSdMatch

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOKENS = 2048  # in one call: attention is computed explicitly here, and its weights for a large batch take gigabytes
FILES = {"float32": "student.onnx", "int8": "student.int8.onnx"}


class _Plain(nn.Module):
    """A Student's network with a tensor as its output, which the exporter needs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.network(input_ids, attention_mask)["output"]


class Session(nn.Module):
    """An ONNX file in place of a Student's network: the same call, the same output, on the CPU, by onnxruntime.

    `threads`: 0 means as many as PyTorch uses.
    """

    def __init__(self, file: Path, *, threads: int = 0) -> None:
        super().__init__()
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle thread leaves its core to others
        self.session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        step = max(1, TOKENS // input_ids.shape[1])
        parts = [
            self.session.run(["output"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
            for ids, mask in zip(input_ids.cpu().split(step), attention_mask.cpu().split(step), strict=True)
        ]
        return {"output": torch.from_numpy(np.concatenate(parts))}


def export(student: Student, file: Path) -> Path:
    """Write the network as ONNX, float32, with free batch size and length.

    An atomic write. Raises CyborgError where a package is missing or the encoder cannot be exported.
    """
    _package("onnx"), _package("onnxscript")
    network = copy.deepcopy(student.network).float().cpu().eval()
    if network.encoder._can_set_attn_implementation():
        network.encoder.set_attn_implementation("eager")  # ours is an autograd function, which has no ONNX form
    ids = torch.ones(2, 8, dtype=torch.int64)
    free = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=2, max=student.max_tokens)}
    try:
        with atomic.file(file) as temporary, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            torch.onnx.export(
                _Plain(network),
                (ids, ids.clone()),
                temporary,
                input_names=["input_ids", "attention_mask"],
                output_names=["output"],
                dynamic_shapes=(free, free),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except CyborgError:
        raise
    except Exception as error:  # the exporter raises whatever its stages raise: one remedy serves
        first = (str(error).strip().splitlines() or ["no reason given"])[0][:300]
        raise CyborgError(
            f"{student.settings.model}: cannot be exported to ONNX ({type(error).__name__}: {first}). Score without --onnx."
        ) from error
    return file


def quantised(file: Path, target: Path) -> Path:
    """Write an ONNX file with the weights of matrix products as 8-bit numbers; activations are quantised as they come."""
    quantization = _package("onnxruntime.quantization")
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preparation that does not help here
    try:
        with atomic.file(target) as temporary:
            quantization.quantize_dynamic(str(file), str(temporary), weight_type=quantization.QuantType.QInt8, per_channel=True)
    finally:
        logging.getLogger().setLevel(level)
    return target


def attached(student: Student, file: Path) -> Student:
    """The Student with its network run from an ONNX file; tokens, units and levels are as before."""
    other = copy.copy(student)
    other.network, other.device = Session(file), torch.device("cpu")
    return other


def exported(student: Student, folder: Path, *, int8: bool = False) -> Path:
    """The ONNX file of a saved Student, in its folder; made if it is missing or older than the Student."""
    file = folder / FILES["int8" if int8 else "float32"]
    if file.is_file() and file.stat().st_mtime_ns >= (folder / "student.json").stat().st_mtime_ns:
        return file
    return quantised(exported(student, folder), file) if int8 else export(student, file)


def race(students: Mapping[str, Student], essays: Sequence[str], *, rounds: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The same essays scored by each Student in turn, `rounds` times after a first round that does not count.

    Returns values by name, and one row a round and name: name, round, seconds, cpu_seconds (of all threads). Because they take
    turns, a busy machine slows all of them alike; the processor's own time is not affected by it.
    """
    values, rows = {}, []
    for number in range(rounds + 1):
        for name, student in students.items():
            wall, cpu = time.perf_counter(), time.process_time()
            values[name], _ = student.predict(essays)
            rows.append((name, number, time.perf_counter() - wall, time.process_time() - cpu))
    clock = pd.DataFrame(rows, columns=["name", "round", "seconds", "cpu_seconds"])
    return values, clock[clock["round"] > 0].reset_index(drop=True)


def forms(student: Student, folder: Path) -> tuple[dict[str, Student], dict[str, Path]]:
    """A saved Student by PyTorch (first; named with its compute dtype), ONNX and int8 ONNX, and the file of weights of each."""
    pytorch = f"torch {dtype.name()}"
    files = {f"onnx {form}": exported(student, folder, int8=form == "int8") for form in FILES}
    students = {pytorch: student} | {form: attached(student, file) for form, file in files.items()}
    return students, {pytorch: folder / "model.safetensors"} | files


def comparison(
    values: Mapping[str, np.ndarray], clock: pd.DataFrame, files: Mapping[str, Path], *, match: MeanSdMatch, scale: Scale
) -> pd.DataFrame:
    """What `race` found of each of `forms`, against the first: the scores after calibration (`match`) and the speed.

    Columns: form, n, megabytes, largest_difference (points), same_score (share), qwk, essays_per_second, cpu_ms (of an essay),
    speed_up (ratio of processor times, median over rounds), slowest, fastest (its range).
    """
    times = clock.pivot(index="round", columns="name", values=["seconds", "cpu_seconds"])
    calibrated = {form: match.apply(value) for form, value in values.items()}
    level = {form: scale.nearest(value) for form, value in calibrated.items()}
    first, rows = next(iter(values)), []
    for form, value in calibrated.items():
        n, ratio = len(value), times["cpu_seconds"][first] / times["cpu_seconds"][form]
        row = {"form": form, "n": n, "megabytes": files[form].stat().st_size / 1e6}
        row |= {"largest_difference": np.abs(value - calibrated[first]).max(), "same_score": (level[form] == level[first]).mean()}
        row |= {"qwk": metrics.qwk(level[first], level[form], levels=scale.size)}
        row |= {"essays_per_second": n / times["seconds"][form].median()}
        row |= {"cpu_ms": 1000 * times["cpu_seconds"][form].median() / n}
        rows.append(row | {"speed_up": ratio.median(), "slowest": ratio.min(), "fastest": ratio.max()})
    return pd.DataFrame(rows)


def same_scorer(table: pd.DataFrame, rounds: int) -> str:
    """Whether each ONNX form in `comparison` is still the same scorer, and whether it is faster."""
    rows = table.set_index("form")
    plain, small = (_against_pytorch(rows.loc[f"onnx {form}"], rounds) for form in FILES)
    return f"- ONNX, float32: {plain}.\n- ONNX, int8: {small}; {rows.loc['onnx int8', 'megabytes']:.0f} MB."


def _against_pytorch(row: pd.Series, rounds: int) -> str:
    pace = "faster than" if row["slowest"] > 1 else "slower than" if row["fastest"] < 1 else "not clearly faster or slower than"
    return (
        f"differs from PyTorch by at most {row['largest_difference']:.3f} points, gives {row['same_score']:.0%} of the essays "
        f"the same score (QWK between both {row['qwk']:.3f}) and is {pace} PyTorch here ({row['speed_up']:.2f} times its speed, "
        f"{row['slowest']:.2f} to {row['fastest']:.2f} in {rounds} rounds)"
    )


def _package(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CyborgError(f"ONNX: {error}. Install what it needs: pip install {' '.join(PACKAGES)}") from error
