"""A Teacher left as it is, on tiny random models: fitted by leave-one-out, saved, and scoring as any Teacher does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import frozen_teacher, states, teacher, teachers
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.models.prompt import Prompt

SCALE = Scale(1, 6)
TEMPLATE = Prompt("Weigh the reasons.", SCALE)


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    frame = pd.DataFrame(simulated.essays(40, 5))
    return frame.assign(level=SCALE.level(frame["score"]))


@pytest.fixture
def settings(tiny_models, tmp_path, monkeypatch) -> teacher.Settings:
    monkeypatch.setattr(paths, "build", lambda *parts: tmp_path.joinpath(*parts))
    return teacher.Settings(str(tiny_models["qwen2"]), 5, 1e-3, 4, 4, "attention", 0.7, 64, method="frozen", layers=[1, 2])


def test_it_scores_as_fitted_and_u_by_leave_one_out(essays, settings, tmp_path):
    curve = teachers.fit(essays[:30], essays[:0], TEMPLATE, settings, seed=1, folder=tmp_path)
    assert curve[["attempt", "epoch", "best"]].to_numpy().tolist() == [[1, 0, True]] and curve["train_loss"].isna().all()
    given = teachers.score(tmp_path, essays.sample(frac=1, random_state=1), TEMPLATE)
    given = given.set_index("essay_id").loc[essays["essay_id"]].reset_index()
    blocks = frozen_teacher.features(essays, settings, TEMPLATE)
    scorer = Frozen.fit({name: block[:30] for name, block in blocks.items()}, essays["score"][:30], SCALE)
    np.testing.assert_allclose(given["expected"][:30], scorer.left_out, atol=1e-6)
    rest = {name: block[30:] for name, block in blocks.items()}
    np.testing.assert_allclose(given["expected"][30:], scorer.guess(rest), atol=1e-6)
    assert (given["level"][30:].to_numpy() == SCALE.nearest(scorer.value(rest))).all()
    p = given.filter(regex=r"^p_\d$").to_numpy()
    assert p.shape == (40, 6) and np.allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(p[30:], scorer.probabilities(rest), atol=1e-9)


def test_its_essays_are_read_once_and_with_the_prompt_before_them(essays, settings, tmp_path, monkeypatch):
    teachers.fit(essays[:30], essays[:0], TEMPLATE, settings, seed=1, folder=tmp_path)
    read = []
    means = states.Body.means
    monkeypatch.setattr(states.Body, "means", lambda self, rows, spans: (read.append(len(rows)), means(self, rows, spans))[1])
    first = teachers.score(tmp_path, essays, TEMPLATE)
    assert sum(read) == 10
    teachers.fit(essays[:30], essays[:0], Prompt("Count the commas.", SCALE), settings, seed=1, folder=tmp_path / "b")
    assert sum(read) == 40  # another rubric is another reading
    assert teachers.score(tmp_path, essays, TEMPLATE).equals(first) and sum(read) == 40


def test_traits_each_have_a_regression(essays, settings, tmp_path):
    levels = {"level.Ideas": essays["level"], "level.Mechanics": 5 - essays["level"]}
    asked = Prompt("Weigh each.", SCALE, traits=("Ideas", "Mechanics"))
    teachers.fit(essays.assign(**levels)[:30], essays[:0], asked, settings, seed=1, folder=tmp_path)
    given = teachers.score(tmp_path, essays, asked)
    assert given["trait"].tolist() == ["Ideas", "Mechanics"] * 40
    assert given["essay_id"].tolist() == [name for name in essays["essay_id"] for _ in range(2)]
    wide = given.pivot(index="essay_id", columns="trait", values="expected")
    assert wide.corr().iloc[0, 1] < -0.9


@pytest.mark.parametrize("method", ["frozen", "frozen-then-lora"])
def test_a_study_says_what_a_frozen_teacher_needs_and_no_more(method):
    from cyborg_utils.core.parameters import FinetuneTeacher

    made = FinetuneTeacher(model="m", max_tokens=64, method=method)
    assert made.layers == [] and made.epochs == 5
