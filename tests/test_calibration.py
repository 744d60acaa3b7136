import dataclasses

import numpy as np
import pytest

from cyborg_utils import metrics
from cyborg_utils.calibration import MeanSdMatch
from cyborg_utils.errors import CyborgError


def test_mean_and_sd_are_matched_on_what_it_was_fitted_on():
    rng = np.random.default_rng(1)
    human = rng.normal(3, 1, 200)
    machine = 2.5 + 0.4 * (human - 3) + rng.normal(0, 0.3, 200)
    matched = MeanSdMatch.fit(target=human, values=machine).apply(machine)
    assert (matched.mean(), matched.std(ddof=1)) == pytest.approx((human.mean(), human.std(ddof=1)))
    assert metrics.smd(human, matched) == pytest.approx(0, abs=1e-12) and metrics.sd_ratio(human, matched) == pytest.approx(1)
    assert metrics.pearson_r(human, matched) == pytest.approx(metrics.pearson_r(human, machine))


def test_by_hand_and_on_other_essays():
    match = MeanSdMatch.fit(target=[1.0, 3.0, 5.0], values=[2.0, 3.0, 4.0])
    assert match == MeanSdMatch(target_mean=3.0, value_mean=3.0, slope=2.0)
    np.testing.assert_allclose(match.apply([[2.5, np.nan], [3.0, 9.0]]), [[2.0, np.nan], [3.0, 15.0]])  # not trimmed
    with pytest.raises(dataclasses.FrozenInstanceError):
        match.slope = 1.0


@pytest.mark.parametrize("target,values", [([2.0, 4.0], [1.1, 1.1]), ([3.0, 3.0], [1.0, 1.2]), ([3.0], [1.1])])
def test_without_variance_only_the_mean_moves(target, values):
    match = MeanSdMatch.fit(target=target, values=values)
    assert match.slope == 1 and match.apply(values).mean() == pytest.approx(3.0)


def test_edges():
    np.testing.assert_array_equal(MeanSdMatch.fit(target=[], values=[]).apply([1.0, 2.0]), [1.0, 2.0])
    for target, values in (([1.0], [1.0, 2.0]), ([1.0, np.nan], [1.0, 2.0])):
        with pytest.raises(CyborgError):
            MeanSdMatch.fit(target=target, values=values)
