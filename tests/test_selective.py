"""Selective scoring: the curve and its area, bounds, and promises that are broken no oftener than stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import selective
from cyborg_utils.stats.conformal import LeastSquares

SCALE = Scale(1, 6)
LINE = LeastSquares(3.5, 3.0, 1.0, np.array([-1.0, -0.2, 0.2, 2.0]))


# ---- signals


def test_the_expected_loss_is_that_of_the_development_errors_around_the_value():
    found = selective.signals([3.4, 5.2], [2, 5], LINE, SCALE, risk=selective.FAR_OFF)
    # 3.4 with these errors is 2.4, 3.2, 3.6, 5.4: levels 1, 2, 3, 4, of which one is over a level from 2
    # 5.2 is 4.2, 5.0, 5.4, 7.2: levels 3, 4, 4, 5, of which one is over a level from 5
    assert found[selective.EXPECTED].tolist() == [0.25, 0.25]
    assert found["distance from the score given"].tolist() == pytest.approx([0.4, 0.8])
    assert found["distance from the middle"].tolist() == pytest.approx([0.1, 1.7])
    squared = selective.signals([3.4], [2], LINE, SCALE, risk="squared error")
    assert squared[selective.EXPECTED].tolist() == [(1 + 0 + 1 + 4) / 4] and selective.BY_PROBABILITIES not in squared


def test_a_machine_with_probabilities_has_a_signal_of_its_own():
    own = [[0.1, 0.2, 0.3, 0.4, 0, 0]]
    exact = selective.signals([3.0], [2], LINE, SCALE, risk="not exact", own=own)
    assert exact[selective.BY_PROBABILITIES].tolist() == pytest.approx([0.7])
    assert selective.signals([3.0], [2], LINE, SCALE, risk=selective.FAR_OFF, own=own)[
        selective.BY_PROBABILITIES
    ].tolist() == pytest.approx([0.1])


def test_many_essays_are_the_same_as_few_at_a_time():
    values, levels = np.linspace(1, 6, 2500), np.resize(np.arange(6), 2500)
    whole = selective.signals(values, levels, LINE, SCALE, risk="not exact")[selective.EXPECTED]
    parts = [
        selective.signals(values[at : at + 7], levels[at : at + 7], LINE, SCALE, risk="not exact") for at in range(0, 2500, 7)
    ]
    np.testing.assert_array_equal(whole, np.concatenate([part[selective.EXPECTED] for part in parts]))


# ---- the curve


def test_the_curve_and_its_area_by_hand():
    curve = selective.risk_coverage([0.3, 0.1, 0.2, 0.4], [1, 0, 0, 1])
    assert curve["coverage"].tolist() == [0.25, 0.5, 0.75, 1] and curve["risk"].tolist() == pytest.approx([0, 0, 1 / 3, 0.5])
    assert selective.aurc([0.3, 0.1, 0.2, 0.4], [1, 0, 0, 1]) == pytest.approx((1 / 3 + 0.5) / 4)


def test_ties_are_worth_what_a_random_order_is():
    loss = np.array([1.0, 0, 0, 1, 0, 0, 0])
    assert selective.aurc(np.zeros(7), loss) == pytest.approx(2 / 7)  # a signal that tells nothing: random deferral
    signal, rng = np.array([0.0, 0, 0, 1, 1, 2, 2]), np.random.default_rng(1)
    orders = [selective.aurc(signal + rng.uniform(0, 0.1, 7), loss) for _ in range(1500)]
    assert selective.aurc(signal, loss) == pytest.approx(np.mean(orders), abs=0.015)


def test_a_signal_that_knows_gains_and_one_that_does_not_gains_nothing():
    rng = np.random.default_rng(2)
    loss = (rng.random(300) < 0.2).astype(float)
    good = selective.aurc_gain(loss + rng.normal(0, 0.5, 300), loss, seed=1, resamples=300)
    none = selective.aurc_gain(rng.normal(size=300), loss, seed=1, resamples=300)
    assert 0 < good.low < good.value < good.high and none.low < 0 < none.high
    assert math.isnan(selective.aurc_gain([1.0], [1.0], seed=1).low)


# ---- bounds


def test_bounds_of_shares_are_clopper_and_pearson():
    loss = np.array([1.0] * 3 + [0.0] * 57)
    assert selective.upper_bound(loss, 0.95) == pytest.approx(beta.ppf(0.95, 4, 57))
    assert selective.upper_bound([0.0] * 59, 0.95) < 0.05 < selective.upper_bound([0.0] * 58, 0.95)
    assert selective.upper_bound([], 0.95) == 1 == selective.upper_bound([1.0, 1], 0.95)
    assert selective.interval(loss) == pytest.approx((beta.ppf(0.025, 3, 58), beta.ppf(0.975, 4, 57)))
    assert all(math.isnan(end) for end in selective.interval([]))


def test_the_bound_of_a_squared_error_is_seldom_below_it():
    """Losses 0, 1, 4, 25 with mean 0.98; 500 sets of 100 essays. A bound that were 0.98 too low in 5 % of sets is allowed."""
    rng, p = np.random.default_rng(3), [0.4, 0.45, 0.13, 0.02]
    losses = np.array([0.0, 1, 4, 25])
    bounds = [selective.upper_bound(rng.choice(losses, 100, p=p), 0.95, top=25.0) for _ in range(500)]
    truth = losses @ p
    assert np.mean(np.array(bounds) < truth) <= 0.05 + 0.02 and np.median(bounds) < 5 * truth
    assert selective.upper_bound([0.0], 0.95, top=25.0) == 25  # one essay tells nothing


# ---- promises


def test_the_share_stops_before_the_first_that_fails():
    signal, loss = np.arange(1000.0), np.r_[np.zeros(700), np.ones(300)]
    found = selective.promise(signal, loss, target=0.1, confidence=0.95, least=0.5)
    assert found.share == 0.75 and found.threshold == 749 and found.risk == pytest.approx(50 / 750) and found.bound <= 0.1
    stricter = selective.promise(signal, loss, target=0.1, confidence=0.95, least=0.5, tried=50)
    assert stricter.share == 0.75 and stricter.bound > found.bound
    whole = selective.promise(signal, loss, target=0.4, confidence=0.95, least=0.5)
    assert whole.share == 1 and whole.threshold == math.inf  # also essays less sure than any of these


def test_where_nothing_can_be_promised_nothing_is():
    none = selective.promise(np.arange(58.0), np.zeros(58), target=0.05, confidence=0.95, least=1.0)
    assert (none.threshold, none.share) == (-math.inf, 0) and math.isnan(none.risk) and none.bound > 0.05
    assert selective.promise(np.arange(59.0), np.zeros(59), target=0.05, confidence=0.95, least=1.0).share == 1
    assert selective.needed(0.05, 0.95, least=1.0) == 59 and selective.needed(0.05, 0.95, least=0.5) == 117
    late = selective.promise(np.arange(400.0), np.r_[np.ones(30), np.zeros(370)], target=0.1, confidence=0.95, least=0.5)
    assert late.share == 0  # the sequence starts with a failure: a later success would be luck


def test_essays_of_one_signal_are_not_torn_apart():
    signal = np.repeat([0.0, 1.0], [120, 80])
    found = selective.promise(signal, np.zeros(200), target=0.05, confidence=0.95, least=0.5)
    assert found.share == 1
    loss = np.r_[np.zeros(120), np.ones(80)]
    assert selective.promise(signal, loss, target=0.05, confidence=0.95, least=0.5).share == 0.6


@pytest.mark.parametrize("target, broken", [(0.09, 0.10), (0.11, 0.10)])
def test_a_promise_is_broken_no_oftener_than_stated(target, broken):
    """Risk at share c is known: an essay at rank u of uncertainty is wrong with probability 0.04 + 0.16 u, the share c with
    0.04 + 0.08 c. 1,500 sets of 300 essays; 10 % may be broken."""
    rng, made, wrong = np.random.default_rng(4), 0, 0
    for _ in range(1500):
        rank = rng.random(300)
        loss = (rng.random(300) < 0.04 + 0.16 * rank).astype(float)
        found = selective.promise(rank, loss, target=target, confidence=1 - broken, least=0.5)
        truth = 0.04 + 0.08 * min(found.threshold, 1.0)
        made += found.share > 0
        wrong += found.share > 0 and truth > target
    assert made > 150  # promises are made, or the test would show nothing
    assert wrong / 1500 <= broken + 0.015


@pytest.mark.parametrize(
    "call",
    [
        lambda: selective.promise([1.0, np.nan], [0.0, 1], target=0.1, confidence=0.9, least=0.5),
        lambda: selective.aurc([1.0, 2], [np.nan, 1]),
        lambda: selective.aurc([], []),
        lambda: selective.promise([1.0], [0.0], target=0.1, confidence=1.0, least=0.5),
        lambda: selective.promise([1.0], [0.0], target=0.1, confidence=0.9, least=0.0),
        lambda: selective.signals([np.nan], [1], LINE, SCALE, risk="not exact"),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(CyborgError):
        call()
