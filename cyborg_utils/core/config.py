"""A YAML file in `params/` is one study: this module reads it, checks it, and gives each notebook its section.

Sections are named after notebooks (`finetune_teacher` belongs to `02_finetune_teacher.ipynb`), and their keys are that
notebook's parameters. `parameters.py` declares them.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any

import pydantic
import yaml

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import SECTIONS, Section, StudyFile
from cyborg_utils.core.scale import Scale

MOST = 20_000  # values in a study file, counting every repetition by an alias (`*name`); ours have a few hundred
SHOWN = 10  # mistakes reported in full
MOST_LEVELS = 52  # of a study's scale: a Teacher answers with one letter
# Plain words for pydantic's kinds of mistakes, filled in from its context; other kinds keep pydantic's message.
WORDS = {
    "missing": "{name!r} is a required property",
    "extra_forbidden": "{name!r} was unexpected; remove it, or check its spelling",
    "invalid_key": "{name!r} was unexpected: the names of parameters are text",
    "literal_error": "{value} is not one of {expected}",
    "greater_than": "{value} is not more than {gt:g}; give a larger number",
    "greater_than_equal": "{value} is less than the minimum of {ge:g}",
    "less_than": "{value} is not less than {lt:g}; give a smaller number",
    "less_than_equal": "{value} is greater than the maximum of {le}",
    "too_short": "{value} is too short: give at least {min_length}",
    "too_long": "{value} is too long: give at most {max_length}",
    "string_pattern_mismatch": "{value} must match {pattern}",
    "value_error": "{value} {error}",
} | {
    f"{kind}_type": "{value} is not of type " + repr(name)
    for kind, name in {
        "int": "integer",
        "float": "number",
        "bool": "boolean",
        "string": "text",
        "list": "list",
        "dict": "mapping",
        "model": "mapping",
    }.items()
}


@dataclass(frozen=True)
class Run:
    """One run of the grid: the fraction of human scores, and the seed for drawing U, initialisation and shuffling."""

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
    extras: frozenset[str] = frozenset()  # optional sections that this study has
    epochs: Mapping[Run, int] = field(default_factory=dict)  # of the Teacher, for runs with their own number

    @property
    def scale(self) -> Scale:
        return Scale(*self.sections["prepare_data"]["scale"])

    @property
    def headline(self) -> tuple[str, str]:
        """The Student (model, head) shown where only one is: the first model and the first head."""
        section = self.sections["train_student"]
        return section["models"][0], section["heads"][0]

    @property
    def beyond(self) -> tuple[str, ...]:
        """The notebooks beyond the paper that this study runs because it has their section, in order."""
        return tuple(file.stem for file in paths.notebooks() if file.stem[3:] in self.extras)

    @property
    def half_scored(self) -> bool:
        """Does the study keep essays without a score? Then it has only notebook 01 and those beyond the paper."""
        return self.sections["prepare_data"]["options"].get("unscored", "exclude") != "exclude"

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds of the grid, ascending; the `full` Student is trained once for each."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def full_runs(self) -> tuple[Run, ...]:
        """The runs on all human scores, one per seed, without a Teacher; none where the study lacks the label `full`."""
        return tuple(Run(1.0, seed) for seed in self.seeds) if "full" in self.sections["train_student"]["labels"] else ()

    @property
    def fractions(self) -> tuple[float, ...]:
        return tuple(sorted({run.fraction for run in self.runs}))

    def section(self, notebook: str, run: Run | None = None) -> dict[str, Any]:
        """Parameters of a notebook, by its name with or without number: `02_finetune_teacher` or `finetune_teacher`.

        With a `run`, its own number of the Teacher's epochs replaces the study's.
        """
        name = notebook.lstrip("0123456789_")
        own = {"epochs": self.epochs[run]} if name == "finetune_teacher" and run in self.epochs else {}
        return self.sections.get(name, {}) | own


def profiles() -> list[str]:
    """The studies in `params/`, by name."""
    return sorted(file.stem for file in paths.params_file("x").parent.glob("*.yaml") if file.stem != "artefacts")


def load(profile: str) -> Study:
    """Read and check `params/<profile>.yaml` (or a path to a YAML file).

    Parameters that a section leaves out get their defaults, so that every notebook has all its parameters.
    Raises CyborgError naming file, key and remedy for a missing file, broken YAML, a duplicate or unknown key, a wrong type, and
    a number that is not finite or too large.
    """
    path = Path(profile) if profile.endswith((".yaml", ".yml")) else paths.params_file(profile)
    if not path.is_file():
        known = ", ".join(profiles())
        if (other := path.with_suffix(".yml")) != path and other.is_file():
            raise CyborgError(f"{paths.shown(path)}: no such study, but {other.name} is there. Rename it to {path.name}.")
        raise CyborgError(f"{paths.shown(path)}: no such study. Known profiles: {known}. Copy one of them to start your own.")
    try:
        content = StudyFile.model_validate(_read(path))
    except pydantic.ValidationError as error:
        mistakes = sorted(error.errors(include_url=False), key=lambda mistake: [*map(str, mistake["loc"])])
        messages = [f"{paths.shown(path)}: {_explain(mistake)}" for mistake in mistakes[:SHOWN]]
        messages += [f"and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        raise CyborgError("\n".join([*messages, "What a study may say stands in params/schema.json."])) from None
    runs = tuple(Run(row.fraction, seed) for row in content.runs for seed in row.seeds)
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # 0.1234567 and 0.1234568 would share a name, and so their files
        raise CyborgError(f"{paths.shown(path)}: runs: a fraction and seed stand twice. Give each pair once.")
    if odd := [name for name in names if not re.fullmatch(r"u[\d.]+_s\d+", name)]:
        raise CyborgError(f"{paths.shown(path)}: runs: {odd[0]}: this fraction is too small. Give one of at least 0.000001.")
    extras = frozenset(name for name in content.model_fields_set & set(SECTIONS) if SECTIONS[name].beyond_paper)
    there = [name for name, kind in SECTIONS.items() if name in extras or not kind.beyond_paper]
    sections = {name: getattr(content, name).model_dump() for name in there}
    epochs = {Run(row.fraction, seed): row.epochs for row in content.runs if row.epochs is not None for seed in row.seeds}
    study = Study(path.stem, content.title, content.note, runs, sections, extras, epochs)
    try:
        levels = study.scale.size  # an impossible scale is reported now, not in notebook 01
        if levels > MOST_LEVELS:
            told = f"{levels} levels, and a Teacher can answer {MOST_LEVELS}. Give a coarser step, or a scale of few levels"
            raise CyborgError(f"{told} such as [1, 6, 1] with options.own_scale: [{study.scale.low:g}, {study.scale.high:g}].")
    except CyborgError as error:
        raise CyborgError(f"{paths.shown(path)}: prepare_data.scale: {error}") from error
    return study


def parameters(path: Path) -> dict[str, Any]:
    """Names and values of the cell tagged `parameters`, in order. Raises CyborgError where it has anything but literals.

    The cell is read with `ast`, since `papermill.inspect_notebook` guesses by regular expression and gives values as text.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))  # nbformat would cost every kernel a second
    cells = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise CyborgError(f"{paths.shown(path)}: {len(cells)} cells are tagged `parameters`; exactly one must be.")
    found = {}
    for node in ast.parse("".join(cells[0]["source"])).body:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
        try:
            found[target.id] = ast.literal_eval(node.value)
        except (AttributeError, ValueError, TypeError) as error:
            line = ast.unparse(node).splitlines()[0]
            raise CyborgError(f"{paths.shown(path)}: the parameters cell may hold literals only, not `{line}`.") from error
    return found


class Settings:
    """Base of the frozen dataclasses that hold some of a section's parameters; see `settings`."""

    @classmethod
    def of(cls, section: Mapping[str, Any], **own: Any):
        """The settings from a study's section, whose other parameters are ignored, and the fields `own`."""
        return cls(**{one.name: section[one.name] for one in fields(cls) if one.name in section} | own)


def settings(section: type[Section], names: Iterable[str], **own: type) -> type[Settings]:
    """A dataclass with the fields `own` and the parameters `names` of a section, with the section's defaults.

    A default is kept only if all later parameters have one too.
    """
    chosen, rows, required = [section.model_fields[name] for name in names], [], False
    for name, one in reversed([*zip(names, chosen, strict=True)]):
        required |= one.is_required()
        listed = isinstance(one.default, list)  # a list of its own for everyone
        default = field(default_factory=functools.partial(list, one.default)) if listed else field(default=one.default)
        rows.append((name, one.annotation) if required else (name, one.annotation, default))
    return make_dataclass("Settings", [*own.items(), *reversed(rows)], bases=(Settings,), frozen=True)


def compose(notebook: str, profile: str, run: Run | None = None) -> dict[str, Any]:
    """The parameters of a notebook: the study's section, its profile, and fraction and seed for a notebook of one run.

    Raises CyborgError for a parameter that the notebook does not have, and for one that the study does not give. `load` refuses
    wrong types.
    """
    path = paths.notebook(notebook)
    known = parameters(path)
    file = paths.shown(paths.params_file(profile))
    if ("fraction" in known) != (run is not None):
        advice = "needs --fraction and --seed" if run is None else "is executed once a study, without --fraction and --seed"
        raise CyborgError(f"{path.stem}: this notebook {advice}.")
    given = {"profile": profile, **({"fraction": run.fraction, "seed": run.seed} if run else {})}
    section = load(profile).section(path.stem, run)
    if clash := sorted(set(given) & set(section)):
        raise CyborgError(f"{file}: {', '.join(clash)}: these come from the profile and the list of runs, not from a section.")
    given |= section
    if unknown := sorted(set(given) - set(known)):
        raise CyborgError(f"{file}: {path.stem} has no parameter {', '.join(unknown)}; it has {', '.join(known)}.")
    if missing := [name for name in known if name not in given]:
        raise CyborgError(f"{file}: {path.stem} needs {', '.join(missing)}, which the study does not give.")
    return {name: given[name] for name in known}


def _read(path: Path) -> Any:
    """The content of a YAML file. Raises CyborgError for duplicate keys, too many values, and numbers that are not ordinary."""
    try:
        text = path.read_text(encoding="utf-8")
        twice = list(_twice(yaml.compose(text, Loader=yaml.SafeLoader)))
        content = yaml.safe_load(text)
    # Besides YAMLError: dates such as 2024-13-45, numbers of 5,000 digits, `!!bool perhaps`, `!!timestamp soon`, 10,000 `[`.
    except (yaml.YAMLError, OSError, ValueError, OverflowError, KeyError, AttributeError, RecursionError) as error:
        colon = " Put words with a colon into quotation marks." if "mapping values are not allowed" in str(error) else ""
        raise CyborgError(
            f"{paths.shown(path)}: not readable as YAML: {str(error)[:500]}. Mend it, or save it as UTF-8.{colon}"
        ) from error
    if twice:
        raise CyborgError("\n".join(f"{paths.shown(path)}: {place}. Keep one of them." for place in twice[:SHOWN]))
    for number, (place, value) in enumerate(_values(content)):
        if number == MOST or len(place) > 50:
            raise CyborgError(f"{paths.shown(path)}: too many values, or too deep. Write out what aliases (`*name`) stand for.")
        if isinstance(value, (int, float)) and not abs(value) < 2**63:
            raise CyborgError(f"{paths.shown(path)}: {'.'.join(place)[:200]}: needs an ordinary number, smaller than 2^63.")
    return content


def _twice(node: yaml.Node | None, seen: set[int] | None = None) -> Iterator[str]:
    """A message for every duplicate key of a mapping, of which YAML would silently take the last."""
    seen = set() if seen is None else seen
    if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    first: dict[str, int] = {}
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _twice(part, seen)
        if isinstance(child, tuple) and isinstance(child[0], yaml.ScalarNode):
            name, line = child[0].value[:60], child[0].start_mark.line + 1
            if name in first:
                yield f"line {line}: {name} stands in line {first[name]} already"
            first.setdefault(name, line)


def _values(content: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with its path of keys, down to a depth that no study reaches."""
    yield place, content
    if len(place) <= 50:
        parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
        for key, value in parts:
            yield from _values(value, (*place, str(key)[:60]))


def _explain(mistake: Mapping[str, Any]) -> str:
    """A message in plain words: place, mistake and remedy."""
    kind, place, value = mistake["type"], [str(key)[:60] for key in mistake["loc"]], mistake["input"]
    name = place.pop() if kind in ("missing", "extra_forbidden", "invalid_key") else ""
    told = {"name": name, "value": _short(repr(value)), **mistake.get("ctx", {})}
    hint = ""
    if kind in ("int_type", "float_type") and isinstance(value, str):
        try:
            float(value)
            hint = ' YAML reads a number such as 2e-5 as text: write "2.0e-05".'
        except ValueError:
            if value.endswith("%") and value[:-1].strip().replace(".", "", 1).isdigit():
                hint = f" Write {float(value[:-1]) / 100:g}."
            elif "scale" in place:
                hint = " A scale has numbers: what letters stand for is said in options.labels, such as {A: 6, B: 5}."
    message = WORDS[kind].format(**told) if kind in WORDS else f"{told['value']}: {mistake['msg']}"
    return f"{'.'.join(place) or 'top level'}: {message}.{hint}"


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:120]} ... {text[-120:]}"
