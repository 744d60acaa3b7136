"""Paths of the project: the same for a notebook in Jupyter, under papermill, and in a test.

Papermill runs in the caller's folder and Jupyter in the notebook's, so nothing may depend on the working folder.
The project folder is the checkout that contains this package; `CYBORG_HOME` overrides it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from cyborg_utils.core.errors import CyborgError

CHECKOUT = Path(__file__).resolve().parents[2]  # the folder from which this package was loaded
NAME = re.compile(r"\w[\w.-]{0,99}")  # of a study, which is also a folder name and a command-line argument


def home() -> Path:
    """The project folder: `CYBORG_HOME`, else the checkout that contains this package."""
    return Path(os.environ.get("CYBORG_HOME") or CHECKOUT)


def notebooks() -> list[Path]:
    """The numbered notebooks in order: those of the paper, and those in `extensions`, which go beyond it."""
    folder = home() / "notebooks"
    return sorted([*folder.glob("*.ipynb"), *folder.glob("extensions/*.ipynb")], key=lambda file: file.name)


def notebook(name: str) -> Path:
    """The file of a notebook such as `02_finetune_teacher`, with or without folder and ending. Raises CyborgError if unknown."""
    files = {file.stem: file for file in notebooks()}
    name = Path(name).name.removesuffix(".ipynb")
    if name not in files:
        raise CyborgError(f"notebooks/{name}.ipynb: no such notebook. There are: {', '.join(files) or 'none'}.")
    return files[name]


def title(file: Path) -> str:
    """The H1 of a notebook's file, or its name where it has none."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    match = re.search(r"^# +(.+)$", text, flags=re.MULTILINE)
    return match.group(1).strip() if match else file.stem


def params_file(profile: str) -> Path:
    """The YAML file of a study."""
    return home() / "params" / f"{_checked(profile)}.yaml"


def build(profile: str, *parts: str) -> Path:
    """A path for what can be rebuilt: prepared data, adapters, checkpoints, HTML (not tracked by git)."""
    return home().joinpath("build", _checked(profile), *map(_inside, parts))


def results(profile: str, *parts: str) -> Path:
    """A path for what is kept: tables, figures, executed notebooks, scores by essay id, records (tracked by git)."""
    return home().joinpath("results", _checked(profile), *map(_inside, parts))


def _checked(profile: str) -> str:
    """A study's name. Raises CyborgError for one that could leave its folder or has a meaning for a shell."""
    if not NAME.fullmatch(profile):
        raise CyborgError(
            f"{profile[:60]!r} cannot be the name of a study. Use letters, digits, `_`, `-` and `.`, such as my_essays."
        )
    return profile


def _inside(part: str) -> str:
    """A part of a path, possibly with folders. Raises CyborgError where it would leave its study's folder."""
    if Path(part).is_absolute() or ".." in Path(part).parts or "\0" in str(part):
        raise CyborgError(f"{str(part)[:60]!r} leaves the folder of its study. Use a name without `..` and without `/` in front.")
    return part


def cache() -> Path:
    """Verified model weights, outside the checkout: `CYBORG_CACHE`, else `~/.cache/cyborg-data`."""
    return Path(os.environ.get("CYBORG_CACHE") or user() / ".cache" / "cyborg-data")


def user() -> Path:
    """The user's home; a folder that is not there for a user without one, as in a container with an unknown user id."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def data_folders() -> list[Path]:
    """Folders searched for a corpus file, in order: `CYBORG_DATA_DIR`, `data/`, `shared/data` in and beside the project."""
    named = os.environ.get("CYBORG_DATA_DIR")
    folders = [Path(named)] if named else []
    return [*folders, home() / "data", home() / "shared" / "data", home().parent / "shared" / "data"]


def run_name(fraction: float, seed: int) -> str:
    """The name of a run in file names: 10 % human scores and seed 1 give `u10_s1`."""
    return f"u{100 * fraction:g}_s{seed}"


def shown(path: str | Path) -> str:
    """A path for messages and records: relative to the project where possible, so that no folder of a machine leaks out."""
    path = Path(path)
    for base, name in ((home(), ""), (home().parent, "../"), (user(), "~/")):
        try:
            return name + str(path.resolve().relative_to(base.resolve()))
        except ValueError:
            continue
    return path.name
