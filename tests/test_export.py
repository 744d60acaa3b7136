"""ONNX files of tiny Students: the same numbers, any length and batch, and clear words where a package is missing."""

from __future__ import annotations

import os
import sys

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.extensions.scoring import onnx
from cyborg_utils.models import student

SCALE = Scale(1, 6)
TEXTS = [essay["text"] for essay in simulated.essays(9, 5)] + ["Short.", ""]


@pytest.fixture(scope="module")
def make(tiny_models):
    """A function that gives an untrained Student of a tiny encoder: its numbers are noise, but they are its own."""

    def pupil(model: str, head: str = "regression") -> student.Student:
        return student.untrained(student.Settings(str(tiny_models[model]), head, 1, 1, 0.003, 8, 48), SCALE)

    return pupil


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bert", "mpnet", "modernbert"])
def test_every_encoder_gives_the_same_numbers(make, tmp_path, model):
    pupil = make(model)
    other = onnx.attached(pupil, onnx.export(pupil, tmp_path / "a.onnx"))
    value, level = pupil.predict(TEXTS)
    given, given_level = other.predict(TEXTS)
    np.testing.assert_allclose(given, value, atol=0.03)  # bf16 against float32
    assert np.ptp(value) > 0.05 and np.corrcoef(given, value)[0, 1] > 0.99
    assert (given_level == level)[np.abs(value - np.round(value * 2) / 2) > 0.05].all()
    alone = np.concatenate([other.predict([text])[0] for text in TEXTS])  # other batch sizes and lengths
    np.testing.assert_allclose(alone, given, atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.slow
def test_a_classifier_keeps_its_levels(make, tmp_path):
    pupil = make("electra", "classification")
    given, level = onnx.attached(pupil, onnx.export(pupil, tmp_path / "a.onnx")).predict(TEXTS)
    assert set(given) <= set(SCALE.scores) and (level == pupil.predict(TEXTS)[1]).mean() > 0.8


@pytest.mark.slow
def test_int8_is_smaller_and_close(make, tmp_path):
    pupil = make("electra")
    whole = onnx.exported(_saved(pupil, tmp_path), tmp_path)
    value, _ = onnx.attached(pupil, whole).predict(TEXTS)
    np.testing.assert_allclose(value, pupil.predict(TEXTS)[0], atol=0.03)
    small = onnx.exported(pupil, tmp_path, int8=True)
    assert small.stat().st_size < whole.stat().st_size and whole != small
    given, _ = onnx.attached(pupil, small).predict(TEXTS)
    assert 0 < np.abs(given - pupil.predict(TEXTS)[0]).max() < 0.5


def _saved(pupil: student.Student, folder) -> student.Student:
    pupil.save(folder)
    return pupil


def test_a_file_is_made_once_and_again_for_a_new_student(make, tmp_path, monkeypatch):
    pupil, made = _saved(make("electra"), tmp_path), []
    monkeypatch.setattr(onnx, "export", lambda pupil, file: made.append(file) or file.write_text("x"))
    onnx.exported(pupil, tmp_path)
    onnx.exported(pupil, tmp_path)
    assert len(made) == 1
    newer = (tmp_path / "student.onnx").stat().st_mtime + 5
    os.utime(tmp_path / "student.json", (newer, newer))
    onnx.exported(pupil, tmp_path)
    assert len(made) == 2


def test_the_race_takes_turns_and_keeps_values(make):
    first, second = make("electra"), make("bert")
    values, clock = onnx.race({"a": first, "b": second}, TEXTS, rounds=2)
    np.testing.assert_array_equal(values["a"], first.predict(TEXTS)[0])
    assert clock["name"].tolist() == ["a", "b"] * 2 and clock["round"].tolist() == [1, 1, 2, 2]
    assert isinstance(clock, pd.DataFrame) and (clock[["seconds", "cpu_seconds"]] > 0).all(axis=None)


@pytest.mark.parametrize("package", onnx.PACKAGES)
def test_a_missing_package_is_told_with_its_remedy(make, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    pupil = make("electra")
    with pytest.raises(CyborgError, match=f"{package}.*pip install onnx onnxscript onnxruntime"):
        file = tmp_path / "a.onnx"
        onnx.attached(pupil, onnx.export(pupil, file) if package != "onnxruntime" else file)
