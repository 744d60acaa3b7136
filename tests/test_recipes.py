"""Code that decides the numbers of trained models does not change unnoticed."""

from __future__ import annotations

import shutil

import pytest
from conftest import CHECKOUT

from cyborg_utils.models import recipes
from tools import recipes as tool


def test_covered_code_is_the_recorded_one():
    differ = tool.changed()
    assert not differ, "\n".join(map(tool.message, differ))


@pytest.fixture
def package(tmp_path):
    """A copy of the package that a test may change."""
    return shutil.copytree(CHECKOUT / "cyborg_utils", tmp_path / "cyborg_utils", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize(
    "file, before, after, expected",
    [
        ("models/lora.py", "lora_alpha=2 * rank", "lora_alpha=4 * rank", {"TEACHER", "TUNED"}),
        ("models/tuned_teacher.py", "weight_decay=0.0", "weight_decay=0.1", {"TUNED"}),
        ("models/fine_tuning.py", "weight_decay=0.0", "weight_decay=0.1", {"TEACHER"}),
        ("models/student.py", "weight_decay=0.01", "weight_decay=0.02", {"STUDENT"}),
        ("models/trainer.py", "import ", "import this, ", {"STATES", "STUDENT", "TEACHER"}),
        ("models/mean_penalty.py", "means**2", "means**4", {"PENALTY"}),
        ("models/baseline.py", "return x / 3", "return x / 4", {"RIDGE"}),
        ("models/baseline.py", "    return x / 3", "    # A remark\n\n    return (x / 3)", set()),
        ("models/baseline.py", '"""The classical Student', '"""A classical Student', set()),
    ],
)
def test_a_changed_number_is_noticed_and_a_changed_wording_is_not(package, file, before, after, expected):
    text = (package / file).read_text(encoding="utf-8")
    assert before in text
    (package / file).write_text(text.replace(before, after, 1), encoding="utf-8")
    differ = tool.changed(package)
    assert set(differ) == expected
    assert all("raise its version" in tool.message(name) and "--write" in tool.message(name) for name in differ)


def test_another_prompt_is_noticed(package):
    file = next(file for file in sorted((package / "models" / "prompts").iterdir()) if file.is_file())
    file.write_text(file.read_text(encoding="utf-8") + "Be kind.\n", encoding="utf-8")
    assert set(tool.changed(package)) == {"STATES", "TEACHER"}


def test_every_covered_file_is_there_and_the_versions_only_rise():
    for name, recipe in recipes.RECIPES.items():
        assert all(list((CHECKOUT / "cyborg_utils").glob(pattern)) for pattern in recipe.files), name
    assert [recipe.version for recipe in recipes.RECIPES.values()] >= [1, 2, 2, 1]


def test_the_command_records_the_present_code(package, monkeypatch, capsys):
    monkeypatch.setattr(tool, "PACKAGE", package)
    file = package / "models" / "recipes.py"
    right = file.read_text(encoding="utf-8")
    monkeypatch.setattr(tool, "changed", lambda: {"STUDENT": "0123456789abcdef"})
    assert tool.main([]) == 1 and "STUDENT: its code changed" in capsys.readouterr().err
    assert tool.main(["--write"]) == 0
    assert file.read_text(encoding="utf-8") == right.replace(recipes.STUDENT.digest, "0123456789abcdef")
