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
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import MeanSdMatch

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


def test_all_forms_of_a_student_are_compared_with_pytorch(make, tmp_path):
    pupil = _saved(make("electra"), tmp_path)
    forms, files = onnx.forms(pupil, tmp_path)
    first, *others = forms
    assert first.startswith("torch ") and others == ["onnx float32", "onnx int8"] and list(files) == list(forms)
    assert forms[first] is pupil and all(file.is_file() for file in files.values())
    values = {name: student.predict(TEXTS)[0] for name, student in forms.items()}
    clock = pd.DataFrame([(name, at, 2.0 * at, 1.0 + at * (name == first)) for at in (1, 2) for name in forms])
    clock.columns = ["name", "round", "seconds", "cpu_seconds"]
    match = MeanSdMatch(3.5, float(values[first].mean()), 40.0)
    table = onnx.comparison(values, clock, files, match=match, scale=SCALE).set_index("form")
    assert table.loc[first, ["largest_difference", "same_score", "qwk", "speed_up"]].tolist() == [0, 1, 1, 1]
    small, n = table.loc["onnx int8"], len(TEXTS)
    assert small["largest_difference"] == pytest.approx(40 * np.abs(values["onnx int8"] - values[first]).max())
    levels = [SCALE.nearest(match.apply(values[name])) for name in (first, "onnx int8")]
    assert small["same_score"] == (levels[0] == levels[1]).mean() and small["qwk"] == metrics.qwk(*levels, levels=6)
    assert small[["speed_up", "slowest", "fastest"]].tolist() == [2.5, 2, 3]
    assert small["essays_per_second"] == pytest.approx(n / 3) and small["cpu_ms"] == pytest.approx(1000 / n)
    assert small["megabytes"] == files["onnx int8"].stat().st_size / 1e6


@pytest.mark.parametrize(
    "slowest, fastest, told",
    [(0.8, 1.2, "not clearly faster or slower than PyTorch"), (1.1, 1.3, "faster than"), (0.5, 0.6, "slower than")],
)
def test_speeds_that_differ_from_round_to_round_are_not_called_equal(slowest, fastest, told):
    row = {"largest_difference": 0.1, "same_score": 0.9, "qwk": 0.98, "speed_up": 1.0, "slowest": slowest, "fastest": fastest}
    table = pd.DataFrame([row | {"form": f"onnx {form}", "megabytes": 23} for form in onnx.FILES])
    text = onnx.same_scorer(table, rounds=3)
    assert told in text and "as fast as" not in text and "in 3 rounds); 23 MB." in text
