"""Scores and levels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale

SCALES = st.builds(
    lambda low, step, levels: Scale(low, low + step * (levels - 1), step),
    st.integers(-3, 5),
    st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    st.integers(2, 12),
)


def test_ellipse_has_nine_levels():
    scale = Scale(1, 5, 0.5)
    assert scale.size == 9
    assert scale.scores.tolist() == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]
    assert scale.level([1.0, 3.0, 5.0]).tolist() == [0, 4, 8]
    assert str(scale) == "1-5 by 0.5 (9 levels)"


@given(SCALES)
def test_score_and_level_are_inverse(scale):
    levels = np.arange(scale.size)
    assert scale.level(scale.score(levels)).tolist() == levels.tolist()
    assert scale.contains(scale.scores).all()


@given(SCALES, st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_nearest_is_the_nearest_and_stays_on_the_scale(scale, values):
    values = np.array(values)
    nearest = scale.nearest(values)
    inside = np.clip(values, scale.low, scale.high)
    assert ((nearest >= 0) & (nearest < scale.size)).all()
    assert (np.abs(scale.score(nearest) - inside) <= scale.step / 2 + 1e-6).all()


def test_halves_go_up():
    assert Scale(1, 6).nearest([1.5, 2.5, 3.5]).tolist() == [1, 2, 3]
    assert Scale(1, 5, 0.5).nearest([2.25, 2.2499]).tolist() == [3, 2]


@pytest.mark.parametrize("score", [0.0, 7.0, 2.3, float("nan"), float("inf")])
def test_a_score_off_the_scale_is_an_error(score):
    assert not Scale(1, 6).contains(score)
    with pytest.raises(CyborgError, match="off the scale 1-6 by 1"):
        Scale(1, 6).level([3.0, score])


def test_nan_has_no_nearest_level():
    with pytest.raises(CyborgError, match="1 machine score"):
        Scale(1, 6).nearest([2.0, float("nan")])


@pytest.mark.parametrize("low, high, step", [(1, 6, 0.75), (1, 1, 1), (6, 1, 1), (1, 6, 0), (1, 6, -1), (1, 2, 3)])
def test_an_impossible_scale_is_refused(low, high, step):
    with pytest.raises(CyborgError, match="needs low < high"):
        Scale(low, high, step)


@pytest.mark.parametrize(
    "three", [(math.nan, 6, 1), (1, math.inf, 1), (1, 6, math.nan), (-1e308, 1e308, 1), (10**400, 6, 1), (1, 6, 1e-320)]
)
def test_numbers_that_are_none_are_no_scale(three):
    with pytest.raises(CyborgError, match="scale: .* must be ordinary numbers"):
        Scale(*three)


def test_a_scale_of_a_million_levels_is_refused():
    with pytest.raises(CyborgError, match="over 1000 levels. Use a coarser step"):
        Scale(0, 1, 1e-6)
    assert Scale(0, 999).size == 1_000
