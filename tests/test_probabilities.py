"""Ranked probability score and expected calibration error."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.probabilities import ece, rps
from cyborg_utils.study import agreement_checks, agreement_in_words


def test_rps_by_hand():
    assert rps([[1, 0, 0], [0, 0, 1]], [0, 2]).value == 0
    assert rps([[0, 0, 1]], [0]).value == 1  # as wrong as can be
    assert rps([[0.5, 0.5, 0]], [2]).value == pytest.approx((0.5**2 + 1) / 2)
    assert rps([[0, 1, 0]], [0]).value < rps([[0, 0, 1]], [0]).value  # further off is worse
    assert np.isnan(rps(np.empty((0, 3)), np.empty(0, int)).value) and np.isnan(rps([[0, 1]], [1]).low)


def test_true_probabilities_have_the_lowest_rps_and_an_ece_near_zero():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 4000)
    level = (p.cumsum(axis=1) < rng.random(4000)[:, None]).sum(axis=1)
    sharper = p**3 / (p**3).sum(axis=1, keepdims=True)
    own, other = rps(p, level), rps(sharper, level)
    assert own.high < other.low and own.low < own.value < own.high
    assert ece(p, level) < 0.03 < 0.1 < ece(sharper, level)
    order = rng.permutation(4000)
    assert ece(p[order], level[order]) == pytest.approx(ece(p, level))


@pytest.mark.parametrize("p, level", [([[0.5, 0.2]], [0]), ([[0.5, 0.5]], [2]), ([0.5, 0.5], [0]), ([[0.5, 0.5]], [0, 1])])
def test_what_is_no_distribution_is_refused(p, level):
    with pytest.raises(CyborgError):
        rps(p, level)


def test_the_teachers_and_classifiers_probabilities_are_told():
    rng, names = np.random.default_rng(2), ["p_1", "p_2", "p_3"]
    essays = pd.DataFrame({"essay_id": [f"e{at}" for at in range(60)], "human_level": rng.integers(0, 3, 60)})
    good = np.eye(3)[essays["human_level"]] * 0.7 + 0.1
    teacher = essays.assign(part="test", fraction=0.1, seed=1, **dict(zip(names, good.T, strict=True)))
    arm = {"fraction": 0.1, "seed": 1, "student": "net", "labels": "human"}
    even = essays.assign(head="classification", **arm, **dict.fromkeys(names, 1 / 3))
    table = agreement_checks.probabilities(even, teacher, Scale(1, 3), confidence=0.95).set_index("rater")
    assert table.loc["teacher", "rps"] < table.loc["teacher", "rps_shares"] <= table.loc["net", "rps"]
    told = agreement_in_words.probabilities(table.reset_index())
    assert "Teacher: RPS" in told and ", better than" in told and "net on human: RPS" in told and "not shown to be better" in told
    plain = even.drop(columns=names).assign(head="regression")
    assert agreement_checks.probabilities(plain, teacher, Scale(1, 3), confidence=0.95)["rater"].tolist() == ["teacher"]
