import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import isotonic_regression

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import METHODS, ByGroup, GroupShifts, MeanSdMatch


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


# ---------------------------------------------------------------- every method


SCALE = Scale(1, 5, 0.5)


@pytest.fixture(scope="module")
def essays():
    """Human scores, and a machine that is strict, shrinks, and is stricter still with group B."""
    rng = np.random.default_rng(5)
    quality = rng.normal(0, 1, 1200)
    human = SCALE.score(SCALE.nearest(3 + 0.7 * quality + rng.normal(0, 0.3, 1200)))
    group = np.where(rng.random(1200) < 0.3, "B", "A")
    value = 2.6 + 0.35 * quality + rng.normal(0, 0.15, 1200) - 0.2 * (group == "B")
    return human[:600], value[:600], group[:600], human[600:], value[600:], group[600:]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_order_and_works_on_other_essays(essays, method):
    human, value, _, other, given, _ = essays
    fitted = METHODS[method](human, value, SCALE)
    corrected = fitted.apply(given)
    assert corrected.shape == given.shape and np.isfinite(corrected).all()
    assert (np.diff(corrected[np.argsort(given)]) >= -1e-9).all()
    assert np.isfinite(fitted.apply([-9.0, 99.0])).all()
    if method != "uncorrected":
        assert abs(metrics.smd(other, corrected)) < 0.15 < abs(metrics.smd(other, given))


def test_what_each_method_promises_on_its_own_essays(essays):
    human, value, *_ = essays
    fitted = {name: fit(human, value, SCALE).apply(value) for name, fit in METHODS.items()}
    np.testing.assert_array_equal(fitted["uncorrected"], value)
    assert fitted["mean"].mean() == pytest.approx(human.mean()) and np.ptp(fitted["mean"] - value) == pytest.approx(0)
    assert metrics.sd_ratio(human, fitted["mean and SD"]) == pytest.approx(1)
    isotonic = isotonic_regression(human[np.argsort(value, kind="stable")]).x
    np.testing.assert_allclose(fitted["isotonic"][np.argsort(value, kind="stable")], isotonic)
    given, level = np.bincount(SCALE.nearest(fitted["distribution"]), minlength=9), SCALE.level(human)
    assert np.abs(given - np.bincount(level, minlength=9)).max() <= 1  # each level as often as people give it
    reached = {name: metrics.qwk(level, SCALE.nearest(each), levels=9) for name, each in fitted.items()}
    assert reached["QWK cut points"] >= max(reached.values()) - 1e-12 and set(fitted["QWK cut points"]) <= set(SCALE.scores)


def test_cut_points_are_the_best_that_there_are():
    rng = np.random.default_rng(2)
    human, scale = rng.integers(1, 4, 14).astype(float), Scale(1, 3)
    value = human + rng.normal(0, 0.9, 14)
    places = (np.sort(value)[1:] + np.sort(value)[:-1]) / 2
    every = [np.searchsorted([low, high], value) for low in places for high in places if low <= high]
    best = max(metrics.qwk(scale.level(human), level, levels=3) for level in every)
    found = METHODS["QWK cut points"](human, value, scale).apply(value)
    assert metrics.qwk(scale.level(human), scale.level(found), levels=3) == pytest.approx(best)


def test_levels_that_nobody_gives_are_not_reached():
    human, value = np.array([2.0, 2, 3, 3, 3, 4]), np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    for method in ("distribution", "QWK cut points", "isotonic"):
        assert set(SCALE.nearest(METHODS[method](human, value, SCALE).apply([0.0, *value, 9.0]))) <= {2, 3, 4, 5, 6}
    given = METHODS["distribution"](human, value, SCALE).apply(value)
    np.testing.assert_array_equal(SCALE.nearest(given), SCALE.level(human))


def test_a_gap_between_groups_needs_the_group(essays):
    human, value, group, other, given, others = essays
    gap = {"mean and SD": METHODS["mean and SD"](human, value, SCALE).apply(given)}
    gap["by group"] = ByGroup.fit(human, value, SCALE, group=group, method="mean and SD").apply(given, others)
    shifts = GroupShifts.fit(human, value, SCALE, groups=pd.DataFrame({"kind": group}))
    gap["shifts"] = shifts.apply(given, pd.DataFrame({"kind": others}))
    left = {name: metrics.smd(other[others == "B"], corrected[others == "B"]) for name, corrected in gap.items()}
    assert left["mean and SD"] < -0.25 and abs(left["by group"]) < 0.12 and abs(left["shifts"]) < 0.15


def test_small_and_unknown_groups_are_treated_like_everybody(essays):
    human, value, _, _, given, _ = essays
    group = ["few"] * 9 + [None] * 91 + ["many"] * 500
    fitted = ByGroup.fit(human, value, SCALE, group=group, method="mean")
    assert set(fitted.parts) == {"many"}
    whole = METHODS["mean"](human, value, SCALE).apply(given)
    for name in ("few", None, "new"):
        np.testing.assert_array_equal(fitted.apply(given, [name] * 600), whole)
    assert fitted.apply(given, ["many"] * 600) == pytest.approx(given + np.mean(human[100:] - value[100:]))
    shifts = GroupShifts.fit(human, value, SCALE, groups=pd.DataFrame({"kind": group}))
    new, none = (shifts.apply(given, pd.DataFrame({"kind": [name] * 600})) for name in ("new", "newer"))
    np.testing.assert_array_equal(new, none)


# ---------------------------------------------------------------- tied scores


PEOPLE = np.repeat(SCALE.scores, [2, 3, 9, 20, 30, 22, 9, 4, 1])


def test_a_discrete_scorer_with_peoples_distribution_keeps_its_scores():
    """The top rank of the tied would raise every score: 3.00 became 3.23 here."""
    machine = np.random.default_rng(1).permutation(PEOPLE)
    given = METHODS["distribution"](PEOPLE, machine, SCALE).apply(machine)
    np.testing.assert_allclose(given, machine)
    assert given.mean() == pytest.approx(PEOPLE.mean())


def test_a_strict_discrete_scorer_gets_peoples_mean():
    machine = np.clip(PEOPLE - 1, 1, 4)  # also ties: everyone up to 2 has a 1
    fitted = METHODS["distribution"](PEOPLE, machine, SCALE)
    assert fitted.apply(machine).mean() == pytest.approx(PEOPLE.mean(), abs=0.02)
    by_hand = [(PEOPLE <= 2).mean() / 2, (PEOPLE < 2.5).mean() + (PEOPLE == 2.5).mean() / 2]  # mid-ranks of 1 and 1.5
    np.testing.assert_allclose(fitted.ranks[:2], by_hand)
    assert fitted.apply(1.5) == pytest.approx(2.5)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_score_gets_the_middle_of_the_human_scores(method):
    fitted = METHODS[method](PEOPLE, np.full(len(PEOPLE), 2.2), SCALE)
    given = fitted.apply([2.2, 2.2])
    wanted = {"uncorrected": 2.2, "QWK cut points": 3.0}.get(method, PEOPLE.mean())
    assert given == pytest.approx([wanted] * 2, abs=0.1)
    lone = ByGroup.fit(PEOPLE, np.full(len(PEOPLE), 2.2), SCALE, group=["a"] * len(PEOPLE), method=method)
    np.testing.assert_array_equal(lone.apply([2.2, 2.2], ["a", "b"]), given)


def test_a_rank_between_levels_that_nobody_gave_gets_their_middle():
    human = np.array([2.0, 2, 4, 4])
    assert METHODS["distribution"](human, np.full(4, 7.0), SCALE).apply(7.0) == pytest.approx(3.0)
    two = METHODS["distribution"](human, np.array([1.0, 1, 5, 5]), SCALE).apply([1.0, 5])
    np.testing.assert_allclose(two, [2, 4])


@pytest.mark.parametrize("method", [name for name in METHODS if name != "uncorrected"])
def test_coarse_scores_are_corrected_like_fine_ones(method, essays):
    """Rounding a machine's scores to the scale makes ties; the mean after correction must not move with it."""
    human, value, *_ = essays
    coarse = SCALE.score(SCALE.nearest(value))
    means = [METHODS[method](human, given, SCALE).apply(given).mean() for given in (value, coarse)]
    assert means == pytest.approx([human.mean()] * 2, abs=0.15 if method == "QWK cut points" else 0.03)
