"""Corrections compared, and what checking by people tells."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils import remedies
from cyborg_utils.calibration import METHODS
from cyborg_utils.scale import Scale

SCALE = Scale(1, 6)


def rows(rng: np.random.Generator, name: str, size: int, seeds=(1, 2)) -> pd.DataFrame:
    """Essays scored by a Student that shrinks, is strict, and is stricter with group B."""
    quality = rng.normal(0, 1, size)
    score = SCALE.score(SCALE.nearest(3.5 + quality + rng.normal(0, 0.3, size)))
    essays = pd.DataFrame({"essay_id": [f"{name}{i:04d}" for i in range(size)], "score": score})
    essays = essays.assign(
        human_level=SCALE.level(score), fraction=0.1, **{"groups.kind": np.where(np.arange(size) % 3, "A", "B")}
    )
    given = [3 + 0.5 * quality + rng.normal(0, 0.2, size) - 0.3 * (essays["groups.kind"] == "B") for _ in seeds]
    return pd.concat([essays.assign(seed=seed, value=value) for seed, value in zip(seeds, given, strict=True)])


@pytest.fixture(scope="module")
def found() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(6)
    dev, test = rows(rng, "d", 300), rows(rng, "t", 400)
    fitted = remedies.corrected(dev, test, scale=SCALE, groups=["groups.kind"], min_group=10)
    options = {"resamples": 300, "confidence": 0.95, "seed": 1}
    bias = remedies.judged(fitted, groups=["groups.kind"], scale=SCALE, limit=0.1, **options)
    return fitted, bias, remedies.trade_off(fitted, bias, **options)


def test_every_correction_is_there_for_every_seed_and_essay(found):
    fitted, _, table = found
    assert set(table["method"]) == {*METHODS, "mean and SD by kind", "mean and SD, shifts of all groups"}
    assert fitted.groupby(["method", "seed"]).size().eq(400).all() and fitted["value"].notna().all()
    assert table.set_index("method")["needs"].to_dict()["mean and SD by kind"] == "kind"


def test_a_correction_is_fitted_on_the_development_essays_alone():
    rng = np.random.default_rng(6)
    dev, test = rows(rng, "d", 300), rows(rng, "t", 40)
    options = {"scale": SCALE, "groups": ["groups.kind"], "min_group": 10}
    other = test.assign(score=1.0, human_level=0)
    pd.testing.assert_series_equal(
        remedies.corrected(dev, test, **options)["value"], remedies.corrected(dev, other, **options)["value"]
    )


def test_the_trade_off_shows_what_each_correction_does(found):
    _, bias, table = found
    by = table.set_index("method")
    assert by.loc["mean and SD", "change"] == 0 and by.loc["uncorrected", "change_high"] < 0
    assert by.loc["uncorrected", "smd"] < -0.4 and abs(by.loc["mean and SD", "smd"]) < 0.1
    assert by.loc["mean and SD", "worst"] > 0.15 > by.loc["mean and SD by kind", "worst"]  # a gap between groups needs the group
    worst = bias.query("method == 'mean and SD' and attribute == 'kind'")["smd"].abs()
    assert by.loc["mean and SD", "worst"] == pytest.approx(worst.max()) and by.loc["mean and SD", "worst_group"] == "kind: B"
    assert (by[["biased", "not_biased", "undecided"]].sum(axis=1) == 2).all()
    assert not by.loc["uncorrected", "frontier"] and by["frontier"].any()


def test_without_groups_there_is_no_worst_group(found):
    fitted, _, _ = found
    one = fitted[fitted["needs"] == "nothing"]
    options = {"resamples": 100, "confidence": 0.95, "seed": 1}
    bias = remedies.judged(one, groups=[], scale=SCALE, limit=0.1, **options)
    table = remedies.trade_off(one, bias, **options)
    assert table["worst"].isna().all() and set(table["method"]) == set(METHODS)


# ---------------------------------------------------------------- checking by people


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
    found = remedies.bias_interval(checked["score"], checked["synthetic"], pool["synthetic"][400:], sd=pool["score"].std())
    truth = (pool["synthetic"] - pool["score"]).mean() / pool["score"].std()
    assert found.low < truth < found.high and found.value == pytest.approx(truth, abs=0.08)
    error = (checked["synthetic"] - checked["score"]).std()
    assert (found.high - found.low) / 2 <= 1.1 * 1.96 * error / 20 / pool["score"].std()  # tuning can only help
    assert np.isnan(remedies.bias_interval([3.0], [2.0], [2.0, 3.0], sd=1.0)).all()


def test_checks_needed_by_hand():
    assert remedies.checks_needed(0.8, 1.0, within=0.05) == pytest.approx((1.959964 * 0.8 / 0.05) ** 2, rel=1e-6)


def test_checking_finds_the_bias_of_each_group_and_its_intervals_hold_it(pool):
    options = {"draws": 200, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 10}
    table = remedies.checking(pool, groups=["groups.kind"], checks=[100, 400], **options).set_index(["group", "checks"])
    assert table.loc[("B", 400), "bias"] == pytest.approx(-0.3, abs=0.08) and abs(table.loc[("A", 400), "bias"]) < 0.08
    assert table["coverage"].between(0.88, 1).all() and (table.loc[("all", 100), "checked"]) == 100
    assert table.loc[("all", 400), "half_width"] < 0.6 * table.loc[("all", 100), "half_width"]
    assert table.loc[("all", 400), "left"] == pytest.approx(table.loc[("all", 400), "half_width"], rel=0.35)
    assert table.loc[("B", 100), "needed_alone"] > table.loc[("B", 100), "needed"] > 500 and not table["reached"].any()
