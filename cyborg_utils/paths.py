"""Where things are: one answer for a notebook in Jupyter, under papermill, and in a test.

Papermill runs in the caller's folder and Jupyter in the notebook's, so nothing may depend on the working folder.
The project folder is the nearest one upwards that holds `cyborg_utils/`; `CYBORG_HOME` overrides it.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Project folder: `CYBORG_HOME`, else the checkout that holds this package."""
    return Path(os.environ.get("CYBORG_HOME") or Path(__file__).resolve().parent.parent)


def params_file(profile: str) -> Path:
    """The YAML file of a study."""
    return home() / "params" / f"{profile}.yaml"


def build(profile: str, *parts: str) -> Path:
    """A path for what can be made again: prepared data, adapters, checkpoints, HTML (not tracked by git)."""
    return home().joinpath("build", profile, *parts)


def results(profile: str, *parts: str) -> Path:
    """A path for what is kept: tables, figures, executed notebooks, scores by essay id, records (tracked by git)."""
    return home().joinpath("results", profile, *parts)


def cache() -> Path:
    """Verified model weights, outside the checkout: `CYBORG_CACHE`, else `~/.cache/cyborg-data`."""
    return Path(os.environ.get("CYBORG_CACHE") or Path.home() / ".cache" / "cyborg-data")


def data_folders() -> list[Path]:
    """Where a corpus file is looked for, first to last: `CYBORG_DATA_DIR`, `data/`, and `shared/data` beside the checkout."""
    named = os.environ.get("CYBORG_DATA_DIR")
    folders = [Path(named)] if named else []
    return [*folders, home() / "data", home() / "shared" / "data", home().parent / "shared" / "data"]


def run_name(fraction: float, seed: int) -> str:
    """Name of one cell of the grid in file names: 10 % human scores and seed 1 is `u10_s1`."""
    return f"u{100 * fraction:g}_s{seed}"


def shown(path: str | Path) -> str:
    """A path as people and records see it: relative to the project where possible, so no machine's folder leaks out."""
    path = Path(path)
    for base, name in ((home(), ""), (home().parent, "../"), (Path.home(), "~/")):
        try:
            return name + str(path.resolve().relative_to(base.resolve()))
        except ValueError:
            continue
    return path.name
