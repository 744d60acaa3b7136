"""What decides the numbers of trained models: each recipe's version, and the code that it covers.

A version is part of a model's fingerprint, beside settings, seed and data (so what makes the data needs no cover): finished or
half-finished work of another version is not taken up again. When covered code changes, raise the version; or, where the change
cannot alter a number (a name, a message), record the new digest: `python tools/recipes.py --write`. Comments and docstrings are
not part of a digest.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Files are relative to `cyborg_utils`; a pattern may stand for several."""

    version: int
    files: tuple[str, ...]
    digest: str  # of these files as of this version


SHARED = ("models/cpu_attention.py", "models/trainer.py", "core/dtype.py", "core/scale.py")
TEACHER = Recipe(
    version=1,
    files=(
        *("models/teacher.py", "models/fine_tuning.py", "models/lora.py", "models/memory.py"),
        *("models/prompt.py", "models/prompts/*", *SHARED),
    ),
    digest="9c51b868f107bd10",
)
STUDENT = Recipe(
    version=2,
    files=("models/student.py", "models/ridge_head.py", *SHARED),
    digest="e77290e15600d672",
)
PENALTY = Recipe(  # on top of STUDENT, for a Student with a mean constraint
    version=2,
    files=("models/mean_penalty.py",),
    digest="30ddeb4b6bb6ac6c",
)
RIDGE = Recipe(
    version=1,
    files=("models/baseline.py",),
    digest="4799593ca7b96e31",
)
STATES = Recipe(
    version=1,
    files=("models/states.py", "models/prompt.py", "models/prompts/*", *SHARED),
    digest="db98d680bbfcc147",
)
FROZEN = Recipe(  # a ridge regression on states; with them for a Teacher, and with STUDENT for its frozen heads
    version=1,
    files=("models/frozen.py", "models/frozen_teacher.py"),
    digest="368ff3857495afa6",
)
TUNED = Recipe(  # on top of STATES and FROZEN, for a Teacher that is trained from there
    version=1,
    files=("models/tuned_teacher.py", "models/ridge_head.py", "models/lora.py", "models/memory.py"),
    digest="6710062e476a0162",
)
UPPER = Recipe(  # on top of TEACHER, where LoRA begins above the lowest layer
    version=1,
    files=("models/lower_layers.py",),
    digest="c21fda54813445dc",
)
RECIPES = {name: recipe for name, recipe in globals().items() if isinstance(recipe, Recipe)}


def digest(recipe: Recipe, package: Path) -> str:
    """16 hex digits of the covered files in a folder `cyborg_utils`."""
    files = [file for pattern in recipe.files for file in sorted(package.glob(pattern)) if file.is_file()]
    return hashlib.sha256("\0".join(map(_content, files)).encode()).hexdigest()[:16]


def _content(file: Path) -> str:
    """A text file as it is, code without comments and docstrings."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return repr(_plain(tree))


def _plain(node: Any) -> Any:
    """A syntax tree as lists. `ast.dump` and `ast.unparse` differ from one Python version to the next."""
    if isinstance(node, ast.AST):
        return [type(node).__name__, *((name, _plain(part)) for name, part in ast.iter_fields(node) if part not in (None, []))]
    return [_plain(part) for part in node] if isinstance(node, list) else node
