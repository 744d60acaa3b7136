"""The record that closes every notebook (versions, hardware, time), and fingerprints that decide what must be redone."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from cyborg_utils.core import atomic, paths

STARTED = time.time()  # of this process, which is one notebook
DIRTY = "-dirty"  # ends the commit of a record whose code was not committed
SHOWN_FILES = 3  # in a warning; the rest are counted
SHOWN_PACKAGES = ("torch", "transformers", "peft", "datasets", "scikit-learn", "scipy", "statsmodels", "numpy", "pandas")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their relative names; hex."""
    path = Path(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            if path.is_dir():
                digest.update(str(file.relative_to(path)).encode())
            with file.open("rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def fingerprint(settings: dict[str, Any], *, data: Any = None) -> str:
    """16 hex digits that change when settings or data (JSON values) change; see `models/recipes.py` for code.

    A checkpoint or a finished part is reused only if its fingerprint equals the present one.
    """
    content = json.dumps([settings, data], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect the numbers."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in SHOWN_PACKAGES}}


def hardware() -> dict[str, Any]:
    """Processor, cores, threads and precision (which affect the last digits), memory (GiB) and GPU of this machine."""
    import torch

    from cyborg_utils.core import dtype

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
        flags = next((line for line in lines if line.startswith("flags")), "")
        model += " with AMX bf16" if "amx_bf16" in flags else ""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else float("nan")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "processor": model,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "precision": dtype.name(),
        "memory_gib": round(memory, 1),
        "gpu": gpu,
        "system": platform.system(),
    }


def machine() -> str:
    """Processor, cores that this process may use, and GPU, as in `AMD EPYC, 1 core, no GPU`."""
    here = hardware()
    cores = f"{here['cores']} core{'' if here['cores'] == 1 else 's'}"
    return f"{here['processor']}, {cores}, {'no GPU' if here['gpu'] == 'none' else here['gpu']}"


def summary() -> str:
    """Versions and hardware in two lines, which every notebook prints first."""
    packages = ", ".join(f"{name} {value}" for name, value in versions().items())
    return packages + "\n" + ", ".join(f"{name}: {value}" for name, value in hardware().items())


def commit() -> str:
    """The checkout's commit, with `DIRTY` after it where `uncommitted` names a source; `unknown` outside a checkout."""
    try:
        return _git("rev-parse", "--short=12", "HEAD").strip() + (DIRTY if uncommitted() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def uncommitted() -> list[str]:
    """Sources that differ from the commit: changed files of code, notebooks and studies, and new files of code.

    A new study or notebook of one's own is none, since it changes no other result. Raises OSError or CalledProcessError outside a
    checkout.
    """
    changed = _git("status", "--porcelain", "-uno", "--", "cyborg_utils", "notebooks", "params").splitlines()
    new = _git("ls-files", "--others", "--exclude-standard", "--", "cyborg_utils/*.py").splitlines()
    return sorted({line[3:] for line in changed} | set(new))


def warning() -> str:
    """A line that says that results made now cannot be repeated from a commit; "" where they can, and outside a checkout."""
    if not (now := commit()).endswith(DIRTY):
        return ""
    files = uncommitted()
    more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
    return f"Uncommitted sources ({', '.join(files[:SHOWN_FILES])}{more}): records will say {now}. Do not commit such results."


def _git(*arguments: str) -> str:
    """The output of a git command in the project folder. Raises OSError or CalledProcessError."""
    call = ["git", "-C", str(paths.home()), *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout


def peak_memory() -> float:
    """Peak memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes: macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def record(
    parameters: dict[str, Any], *, inputs: list[str | Path] = (), measured: dict[str, Any] | None = None
) -> dict[str, Any]:
    """All that a reader needs to trust or repeat this notebook run: parameters, commit, versions, input hashes, hardware, time.

    `measured` contains what the notebook measured itself (JSON values). Peak memory is that of this process, in GiB.
    """
    return {
        "parameters": parameters,
        "commit": commit(),
        "versions": versions(),
        "inputs": {paths.shown(path): sha256(path)[:16] for path in inputs},
        "hardware": hardware(),
        "seconds": round(time.time() - STARTED, 1),
        "peak_memory_gib": round(peak_memory(), 2),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "measured": _plain(measured or {}),
    }


def write_json(path: str | Path, content: Any) -> Path:
    """Write JSON atomically."""
    return atomic.write(path, json.dumps(_plain(content), indent=1, sort_keys=False) + "\n")


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, tuples and paths as JSON values; NaN as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
