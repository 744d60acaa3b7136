"""What checking by people tells: intervals hold the truth of the pool, and needed checks reach the aim."""

import numpy as np
import pandas as pd
import pytest
from ppi_py import ppi_mean_pointestimate

from cyborg_utils.extensions import spot_checks
from cyborg_utils.plots import curves


@pytest.fixture(scope="module")
def pool() -> pd.DataFrame:
    rng = np.random.default_rng(9)
    human = rng.normal(3, 1, 2000)
    kind = np.where(rng.random(2000) < 0.25, "B", "A")
    return pd.DataFrame(
        {"score": human, "synthetic": human + rng.normal(0, 0.7, 2000) - 0.3 * (kind == "B"), "groups.kind": kind}
    )


def test_the_bias_and_its_interval(pool):
    checked = pool.iloc[:400]
    found = spot_checks.bias_interval(checked["score"], checked["synthetic"], pool["synthetic"][400:], sd=pool["score"].std())
    truth = (pool["synthetic"] - pool["score"]).mean() / pool["score"].std()
    assert found.low < truth < found.high and found.value == pytest.approx(truth, abs=0.08)
    error = (checked["synthetic"] - checked["score"]).std() * np.sqrt(1 - 400 / 2000)
    assert (found.high - found.low) / 2 <= 1.1 * 1.96 * error / 20 / pool["score"].std()  # tuning can only help
    assert np.isnan(spot_checks.bias_interval([3.0, 2.0], [2.0, 2.0], [2.0, 3.0], sd=1.0)).all()


def test_the_estimate_is_that_of_tuned_ppi(pool):
    checked, rest = pool.iloc[:400], pool["synthetic"].to_numpy()[400:]
    people = ppi_mean_pointestimate(checked["score"].to_numpy(), checked["synthetic"].to_numpy(), rest)  # tunes itself
    found = spot_checks.bias_interval(checked["score"], checked["synthetic"], rest, sd=2.0)
    assert found.value == pytest.approx(float((pool["synthetic"].mean() - people).squeeze()) / 2)


def test_synthetic_scores_that_say_nothing_are_not_used():
    human = np.array([1.0, 2, 3, 4])
    expected = 2.0 - 2.5  # the people's mean of the checked essays
    for synthetic in (np.full(4, 2.0), np.array([2.5, 2, 2, 1.5])):
        assert spot_checks.bias_interval(human, synthetic, [2.0] * 6, sd=1).value == pytest.approx(expected)


def test_a_pool_that_is_checked_wholly_has_a_known_bias(pool):
    found = spot_checks.bias_interval(pool["score"], pool["synthetic"], [], sd=1.0)
    assert found.low == pytest.approx(found.high) == pytest.approx((pool["synthetic"] - pool["score"]).mean())


@pytest.mark.parametrize("size, checked", [(60, 6), (60, 30), (60, 54), (600, 60), (600, 300), (600, 540)])
def test_intervals_hold_the_truth_of_the_pool_itself(size, checked):
    """Coverage in one finite pool of scores by half points, at several shares that are checked."""
    rng = np.random.default_rng(size + checked)
    quality = rng.normal(3, 0.6, size)
    human = np.round(2 * (quality + rng.normal(0, 0.3, size))) / 2
    synthetic, held, draws = 0.3 + 0.8 * quality + rng.normal(0, 0.3, size), 0, 2000
    truth = (synthetic - human).mean()
    for _ in range(draws):
        seen, rest = np.split(rng.permutation(size), [checked])
        found = spot_checks.bias_interval(human[seen], synthetic[seen], synthetic[rest], sd=1.0)
        held += found.low <= truth <= found.high
    assert 0.93 <= held / draws <= 0.97


def test_checks_needed_by_hand():
    endless = (1.959964 * 0.8 / 0.05) ** 2  # 983
    assert spot_checks.checks_needed(0.8, 1.0, pool=1e12, within=0.05) == pytest.approx(endless, rel=1e-6)
    assert spot_checks.checks_needed(0.8, 1.0, pool=endless, within=0.05) == pytest.approx(endless / 2, rel=1e-6)
    assert 99 < spot_checks.checks_needed(8.0, 1.0, pool=100, within=0.05) < 100  # never more than there are


def test_as_many_checks_as_needed_reach_the_aim(pool):
    options = {"draws": 30, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 10}
    needed = round(spot_checks.checking(pool, groups=[], checks=[100], **options)["needed"].iloc[0])
    assert 400 < needed < 600  # of 2000
    assert spot_checks.checking(pool, groups=[], checks=[needed], **options)["half_width"].iloc[0] == pytest.approx(
        0.05, rel=0.03
    )


def test_checking_finds_the_bias_of_each_group_and_its_intervals_hold_it(pool):
    options = {"draws": 200, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 10}
    table = spot_checks.checking(pool, groups=["groups.kind"], checks=[100, 400], **options).set_index(["group", "checks"])
    assert table.loc[("B", 400), "bias"] == pytest.approx(-0.3, abs=0.08) and abs(table.loc[("A", 400), "bias"]) < 0.08
    assert table["coverage"].between(0.88, 1).all() and (table.loc[("all", 100), "checked"]) == 100
    assert table.loc[("all", 400), "half_width"] < 0.6 * table.loc[("all", 100), "half_width"]
    assert table.loc[("all", 400), "left"] == pytest.approx(table.loc[("all", 400), "half_width"], rel=0.35)
    assert table.loc[("B", 100), "n"] > table.loc[("B", 100), "needed_alone"] > table.loc[("B", 100), "needed"] > 250
    assert not table["reached"].any()


def test_a_group_that_is_checked_wholly_is_known(pool):
    few = pool[:40].assign(**{"groups.kind": ["B"] * 3 + ["A"] * 37})
    options = {"draws": 20, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 3}
    row = spot_checks.checking(few, groups=["groups.kind"], checks=[39], **options).set_index("group").loc["B"]
    assert row["half_width"] == pytest.approx(0) and row["coverage"] == 1 and row["left"] == pytest.approx(0) and row["reached"]


def test_the_curve_of_checks_leaves_out_what_says_nothing():
    """Widths beyond 1 SD, unknown ones and 0 (all essays checked) are no points of the logarithmic axes."""
    one = pd.DataFrame({"attribute": "all", "group": "all", "checked": [4.0, 10, 20, 40], "half_width": [2.2, 0.4, np.nan, 0.0]})
    drawn = [line for line in curves.checks_curve(one)[0].axes[0].lines if line.get_marker() != "None"]
    assert [list(line.get_xydata().ravel()) for line in drawn] == [[10.0, 0.4], []]  # the curve, and its name in the legend
    assert curves.checks_curve(one.assign(half_width=np.nan))[0].axes[0].get_ylim()[0] < 0.05


def test_sentences_name_the_smallest_and_the_largest_group(pool):
    options = {"draws": 20, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 10}
    table = spot_checks.checking(pool, groups=["groups.kind"], checks=[100, 200], **options)
    text = spot_checks.what_it_takes(table, n_human=200, within=0.05)
    assert (
        "(the study has 200 human scores, U and the development split); 200 give ±" in text
        and "the smallest (kind B)" in text
        and "the largest (kind A)" in text
    )
    assert "of its essays." in spot_checks.lesson(table, within=0.05)
    alone = table[table["attribute"] == "all"]
    assert "group" not in spot_checks.lesson(alone, within=0.05) and "Each group" not in spot_checks.what_it_takes(
        alone, n_human=9, within=0.05
    )
