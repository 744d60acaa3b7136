"""Where the libraries keep their caches: all below `CYBORG_CACHE` where it is set, else where they do by themselves (in HOME)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cyborg_utils.core import atomic, paths
from cyborg_utils.core.errors import CyborgError

# Variables of Hugging Face, PyTorch, Matplotlib, Jupyter, and of all that follow the XDG rules (Snakemake, fontconfig, pip)
MOVED = {
    "HF_HOME": "huggingface",
    "TORCH_HOME": "torch",
    "MPLCONFIGDIR": "matplotlib",
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    "XDG_CACHE_HOME": "xdg/cache",
    "XDG_CONFIG_HOME": "xdg/config",
    "XDG_DATA_HOME": "xdg/data",
}


def settle() -> None:
    """Point the libraries' caches below `CYBORG_CACHE`, if that is set; a variable that is set already stays.

    It must run before these libraries are imported. Started processes, kernels among them, inherit it.
    """
    if os.environ.get("CYBORG_CACHE"):
        for name, folder in MOVED.items():
            os.environ.setdefault(name, str(paths.cache().resolve() / folder))


def check() -> None:
    """Raises CyborgError with cause and remedy where caches cannot be written, as in a container with a home of somebody else."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or paths.user() / ".cache")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        where = "CYBORG_CACHE" if os.environ.get("CYBORG_CACHE") else "HOME"
        why = (atomic.remedy(error) or error.strerror or str(error)).split(".")[0]
        raise CyborgError(
            f"{where} ({os.environ.get(where, 'not set')}) cannot be written to: {folder}: {why}. Caches are kept there. "
            "Set CYBORG_CACHE to a folder of yours, such as `export CYBORG_CACHE=/tmp/cyborg-cache`; all caches then lie in it."
        ) from error
