"""A YAML file in `params/` is one study: read it, check it, and hand each notebook its section.

Sections are named after notebooks (`finetune_teacher` belongs to `02_finetune_teacher.ipynb`), their keys are that
notebook's parameters. The rules stand in `params/schema.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from cyborg_utils import paths
from cyborg_utils.errors import CyborgError
from cyborg_utils.scale import Scale


@dataclass(frozen=True)
class Run:
    """One cell of the grid: the share of human scores and the seed that draws U, initialises and shuffles."""

    fraction: float
    seed: int

    @property
    def name(self) -> str:
        return paths.run_name(self.fraction, self.seed)


@dataclass(frozen=True)
class Study:
    """A checked study file."""

    profile: str
    title: str
    note: str
    runs: tuple[Run, ...]
    sections: dict[str, dict[str, Any]]
    extras: frozenset[str] = frozenset()  # sections that a study may leave out, and that this one has
    epochs: Mapping[Run, int] = field(default_factory=dict)  # of the Teacher, for runs that say so themselves

    @property
    def scale(self) -> Scale:
        return Scale(*self.sections["prepare_data"]["scale"])

    @property
    def headline(self) -> tuple[str, str]:
        """The Student (model, head) that is shown where only one is: the first of each."""
        section = self.sections["train_student"]
        return section["models"][0], section["heads"][0]

    @property
    def beyond(self) -> tuple[str, ...]:
        """The notebooks beyond the paper's own that this study asks for, by giving their section; in their order."""
        there = sorted(file.stem for file in (paths.home() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        return tuple(name for name in there if name[3:] in self.extras)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of the grid, ascending; the `full` Student is trained once for each."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def full_runs(self) -> tuple[Run, ...]:
        """The runs on all human scores, one a seed, where the study has the label `full`: no Teacher, one Student run each."""
        return tuple(Run(1.0, seed) for seed in self.seeds) if "full" in self.sections["train_student"]["labels"] else ()

    @property
    def fractions(self) -> tuple[float, ...]:
        return tuple(sorted({run.fraction for run in self.runs}))

    def section(self, notebook: str, run: Run | None = None) -> dict[str, Any]:
        """Parameters of a notebook, by its name with or without number: `02_finetune_teacher` or `finetune_teacher`.

        For a `run` with what it says otherwise than its study: the Teacher's epochs.
        """
        name = notebook.lstrip("0123456789_")
        own = {"epochs": self.epochs[run]} if name == "finetune_teacher" and run in self.epochs else {}
        return self.sections.get(name, {}) | own


def profiles() -> list[str]:
    """The studies in `params/`, by name."""
    return sorted(file.stem for file in paths.params_file("x").parent.glob("*.yaml") if file.stem not in ("schema", "artefacts"))


def load(profile: str) -> Study:
    """Read and check `params/<profile>.yaml` (or a path to a YAML file).

    What a section leaves out and the schema gives a `default` for is filled in, so that every notebook gets all its parameters.
    Raises CyborgError naming file, key and remedy for a missing file, broken YAML, an unknown key or a wrong type.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else paths.params_file(profile)
    if not path.is_file():
        known = ", ".join(profiles())
        raise CyborgError(f"{paths.shown(path)}: no such study. Known profiles: {known}. Copy one of them to start your own.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CyborgError(f"{paths.shown(path)}: not readable as YAML: {error}") from error
    schema = yaml.safe_load((paths.params_file("schema")).read_text(encoding="utf-8"))
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(content), key=lambda e: list(map(str, e.path)))
    if errors:
        raise CyborgError("\n".join(f"{paths.shown(path)}: {_explain(error)}" for error in errors))
    runs = tuple(Run(float(row["fraction"]), seed) for row in content["runs"] for seed in row["seeds"])
    if len(set(runs)) < len(runs):
        raise CyborgError(f"{paths.shown(path)}: runs: a fraction and seed stand twice. Give each pair once.")
    rules = {name: rule for name, rule in schema["properties"].items() if rule["type"] == "object"}
    extras = frozenset(name for name, rule in rules.items() if rule.get("extra") and name in content)
    sections = {
        name: {key: one["default"] for key, one in rule["properties"].items() if "default" in one} | content.get(name, {})
        for name, rule in rules.items()
        if name in extras or not rule.get("extra")
    }
    own = [row for row in content["runs"] if "epochs" in row]
    epochs = {Run(float(row["fraction"]), seed): row["epochs"] for row in own for seed in row["seeds"]}
    study = Study(path.stem, content["title"], content.get("note", ""), runs, sections, extras, epochs)
    _ = study.scale  # an impossible scale is reported now, not in notebook 01
    return study


def _explain(error: jsonschema.ValidationError) -> str:
    place = ".".join(map(str, error.path)) or "top level"
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str):
        try:
            float(error.instance)
            hint = ' YAML reads a number such as 2e-5 as text: write "2.0e-05".'
        except ValueError:
            pass
    return f"{place}: {error.message}.{hint}"
