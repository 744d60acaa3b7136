"""A parameter is declared once; the schema, the notebooks' cells and the settings of models follow from that."""

from __future__ import annotations

import dataclasses
import json

import jsonschema
import pytest
import yaml
from conftest import CHECKOUT, PROFILES

from cyborg_utils.core import config, paths
from cyborg_utils.core.parameters import SECTIONS, StudyFile
from cyborg_utils.extensions import cost
from cyborg_utils.models import student, teacher
from tools import parameters as tool


def test_schema_and_parameters_cells_are_what_is_declared(capsys):
    assert tool.main(["--check"]) == 0, capsys.readouterr().err


def test_what_differs_is_named_and_written(project, capsys):
    notebook = project / "notebooks" / "06_analyze_bias.ipynb"
    right = notebook.read_text(encoding="utf-8")
    notebook.write_text(right.replace("min_group: int = 10", "min_group: int = 11"), encoding="utf-8")
    (project / "params" / "schema.json").unlink()
    assert tool.main(["--check"]) == 1
    assert "06_analyze_bias.ipynb is not what" in (told := capsys.readouterr().err) and "schema.json is not what" in told
    assert tool.main([]) == 0 == tool.main(["--check"])
    assert notebook.read_text(encoding="utf-8") == right


@pytest.mark.parametrize("file", paths.notebooks(), ids=lambda file: file.stem)
def test_a_notebook_shows_the_demo_s_value_or_the_default(file):
    cell, section = config.parameters(file), SECTIONS.get(file.stem[3:])
    fields = section.model_fields if section else {}
    given = config.load("demo").section(file.stem)
    assert [name for name in cell if name not in tool.NOT_OF_A_SECTION] == [*fields]
    for name, field in fields.items():
        assert cell[name] == (given[name] if given else (field.examples or [field.default])[0]), name
        assert field.description, name


@pytest.mark.parametrize("name", [name for name, section in SECTIONS.items() if section.beyond_paper])
def test_an_empty_section_has_the_declared_defaults(project, make_study, name):
    make_study("try", **{name: {}})
    assert config.load("try").section(name) == {key: field.default for key, field in SECTIONS[name].model_fields.items()}


def test_sections_are_those_of_the_notebooks():
    assert set(SECTIONS) == {file.stem[3:] for file in paths.notebooks()} - {"overview"}


@pytest.mark.parametrize("profile", PROFILES)
def test_an_editor_finds_the_schema_and_agrees_with_it(profile):
    text = paths.params_file(profile).read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    schema = json.loads((CHECKOUT / "params" / "schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(text), schema)
    assert set(schema["properties"]) == set(StudyFile.model_fields)


def test_settings_of_models_have_the_names_of_their_sections():
    names = {made: [field.name for field in dataclasses.fields(made)] for made in (teacher.Settings, student.Settings)}
    expected = ["model", "epochs", "learning_rate", "batch_size", "lora_rank", "lora_targets", "target_sd", "max_tokens"]
    assert names[teacher.Settings] == [*expected, "quantization", "method", "layers", "rubric", "lora_from", "start_at"]
    expected = ["model", "head", "epochs", "min_steps", "learning_rate", "batch_size", "max_tokens", "layers"]
    assert names[student.Settings] == expected
    assert [field.name for field in dataclasses.fields(cost.Prices)] == [*cost.SOURCES]


def test_settings_have_their_section_s_defaults():
    assert teacher.Settings("m", 1, 1e-3, 4, 4, "attention", 0.0, 64).quantization == "none"
    assert cost.Prices().table()["source"].tolist() == [source for _, source in cost.SOURCES.values()]
    assert cost.Prices(wage_per_hour=26.0).table().set_index("input").loc["wage_per_hour", "source"] == "set by the study"
