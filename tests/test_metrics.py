import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix, r2_score

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import metrics, true_score

HUMAN, MACHINE = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])


def raters(seed, n, levels):
    rng = np.random.default_rng(seed)
    human = rng.integers(0, levels, n)
    return human, np.clip(human + rng.integers(-1, 2, n), 0, levels - 1)


def test_qwk_by_hand():
    # sum(w O) = 1 + 1; marginals 1, 1, 2 on both sides: sum(w E) = (1 + 8 + 1 + 2 + 8 + 2) / 4 = 5.5
    assert metrics.qwk(HUMAN, MACHINE, levels=3) == pytest.approx(1 - 2 / 5.5, abs=1e-15)
    assert metrics.qwk(HUMAN, MACHINE, levels=6) == pytest.approx(1 - 2 / 5.5, abs=1e-15)
    assert metrics.qwk([0, 1, 2], [2, 1, 0], levels=3) == -1
    assert metrics.qwk([0, 1, 2], [0, 1, 2], levels=3) == 1


@pytest.mark.parametrize("seed,n,levels", [(seed, n, levels) for seed in range(5) for n in (2, 7, 300) for levels in (2, 6, 9)])
def test_qwk_is_sklearn_with_labels(seed, n, levels):
    human, machine = raters(seed, n, levels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = cohen_kappa_score(human, machine, weights="quadratic", labels=range(levels))
    assert metrics.qwk(human, machine, levels=levels) == pytest.approx(wanted, abs=1e-12, nan_ok=True)
    counts = metrics.confusion(human, machine, levels=levels)
    assert (counts == confusion_matrix(human, machine, labels=range(levels))).all()
    assert metrics.qwk_from_confusion(counts) == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_a_missing_middle_level_keeps_its_place():
    human, machine = np.array([0, 0, 1, 1, 3, 3, 4, 4, 0, 4]), np.array([0, 1, 1, 0, 3, 4, 4, 3, 1, 1])
    trap = cohen_kappa_score(human, machine, weights="quadratic")  # squeezes levels 3 and 4 together with 0 and 1
    right = cohen_kappa_score(human, machine, weights="quadratic", labels=range(5))
    assert abs(trap - right) > 0.01
    assert metrics.qwk(human, machine, levels=5) == pytest.approx(right, abs=1e-12)


def test_qwk_of_many_tables_at_once():
    tables = np.random.default_rng(1).integers(0, 9, (4, 3, 5, 5))
    together = metrics.qwk_from_confusion(tables)
    assert together.shape == (4, 3)
    human, machine = np.indices((5, 5)).reshape(2, -1)
    for at in np.ndindex(4, 3):
        each = np.repeat(human, tables[at].ravel()), np.repeat(machine, tables[at].ravel())
        assert together[at] == pytest.approx(metrics.qwk(*each, levels=5), abs=1e-12)
    with pytest.raises(CyborgError, match="square"):
        metrics.qwk_from_confusion(np.ones((2, 3)))


def test_shares_errors_and_correlation():
    assert metrics.exact_agreement(HUMAN, MACHINE) == 0.5
    assert metrics.adjacent_agreement([0, 1, 2, 2], [0, 3, 2, 1]) == 0.75
    assert metrics.rmse([1.0, 2.0], [1.5, 4.0]) == pytest.approx(np.sqrt((0.25 + 4) / 2))
    assert metrics.rmse([1.1, 2.3, 3.7], [1.1, 2.3, 3.7]) == 0
    rng = np.random.default_rng(0)
    human, machine = rng.normal(3, 1, 50), rng.normal(3000, 2, 50)
    assert metrics.pearson_r(human, machine) == pytest.approx(stats.pearsonr(human, machine).statistic, abs=1e-7)
    assert metrics.sd_ratio(human, machine) == pytest.approx(human.std(ddof=1) / machine.std(ddof=1), rel=1e-8)


def test_the_four_smds():
    human, machine = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 5.0])
    whole = np.array([1.0, 2.0, 3.0, 6.0]), np.array([2.0, 3.0, 5.0, 5.0])
    gap, ours, all_h, all_m = 4 / 3, np.array([1, 7 / 3]), np.var(whole[0], ddof=1), np.var(whole[1], ddof=1)
    assert metrics.smd(human, machine) == pytest.approx(gap / 1)
    assert metrics.smd(human, machine, denominator="pooled") == pytest.approx(gap / np.sqrt(ours.mean()))
    assert metrics.smd(human, machine, denominator="johnson", whole=whole) == pytest.approx(gap / np.sqrt(all_h))
    assert metrics.smd(human, machine, denominator="williamson", whole=whole) == pytest.approx(gap / np.sqrt((all_h + all_m) / 2))
    assert metrics.smd(human, machine, denominator="johnson") == pytest.approx(gap)
    assert metrics.smd(machine, human) < 0 < metrics.smd(human, machine)  # a stricter machine is negative
    with pytest.raises(CyborgError, match="denominator"):
        metrics.smd(human, machine, denominator="Human")


def test_the_registry_and_the_functions_are_one():
    rng = np.random.default_rng(3)
    human, machine = rng.normal(3, 1, 40), rng.normal(3.3, 0.8, 40)
    sums = metrics.moments(human, machine).sum(axis=0)
    assert metrics.from_moments("smd", sums) == pytest.approx(metrics.smd(human, machine))
    assert metrics.from_moments("smd_pooled", sums) == pytest.approx(metrics.smd(human, machine, denominator="pooled"))
    with pytest.raises(CyborgError, match="no metric"):
        metrics.from_moments("kappa", sums)


@pytest.mark.parametrize("value", [0.1, 3.3, 1e6 / 3])
def test_zero_variance_is_undefined_and_not_a_rounding_error(value):
    same, spread = np.full(7, value), value + np.arange(7.0)
    for human, machine in ((same, spread), (spread, same), (same, same)):
        assert np.isnan(metrics.pearson_r(human, machine))
        assert np.isnan(metrics.sd_ratio(human, machine))
    for denominator in metrics.DENOMINATORS:
        assert np.isnan(metrics.smd(same, same, denominator=denominator))
    assert np.isnan(metrics.smd(same, spread))
    assert metrics.smd(spread, same) == pytest.approx(-3 / np.std(spread, ddof=1))


def test_edges_one_level_one_essay_none():
    assert np.isnan(metrics.qwk([2, 2], [2, 2], levels=5))
    assert metrics.qwk([2, 2], [1, 3], levels=5) == 0  # as scikit-learn: no better than chance
    assert np.isnan(metrics.qwk([2], [2], levels=5)) and metrics.qwk([2], [3], levels=5) == 0
    assert metrics.exact_agreement([2], [2]) == 1 and metrics.rmse([2.0], [2.5]) == 0.5
    assert np.isnan(metrics.smd([2.0], [3.0])) and np.isnan(metrics.pearson_r([2.0], [3.0]))
    assert np.isnan(metrics.qwk([], [], levels=5)) and np.isnan(metrics.exact_agreement([], []))
    assert np.isnan(metrics.rmse([], [])) and np.isnan(metrics.smd([], [], denominator="williamson"))
    assert metrics.confusion([], [], levels=3).sum() == 0


@pytest.mark.parametrize(
    "human,machine,message",
    [
        ([1, 2], [1], "one length"),
        ([[1, 2]], [[1, 2]], "one length"),
        ([1, np.nan], [1, 2], "1 human score"),
        ([1, 2], [np.inf, 2], "1 machine score"),
        ([1, 5], [1, 2], "human levels"),
        ([1, 2], [1, 2.5], "machine levels"),
        ([1, 2], [-1, 2], "machine levels"),
    ],
)
def test_wrong_input_is_an_error(human, machine, message):
    with pytest.raises(CyborgError, match=message):
        metrics.qwk(human, machine, levels=5)
    with pytest.raises(CyborgError):
        metrics.agreement_metrics(human, machine, Scale(10, 14))


def test_per_level_by_hand():
    frame = metrics.per_level([0, 0, 1, 3], [0, 1, 1, 1], levels=4).set_index("level")
    assert frame["human_n"].tolist() == [2, 1, 0, 1] and frame["machine_n"].tolist() == [1, 3, 0, 0]
    np.testing.assert_allclose(frame["precision"], [1, 1 / 3, np.nan, np.nan])
    np.testing.assert_allclose(frame["recall"], [1 / 2, 1, np.nan, 0])
    np.testing.assert_allclose(frame["f1"], [2 / 3, 1 / 2, np.nan, 0])
    assert metrics.per_level([], [], levels=2)[["precision", "recall", "f1"]].isna().all(axis=None)


def test_agreement_rounds_for_categories_only():
    scale = Scale(1, 5, 0.5)
    human, machine = np.array([1.0, 3.0, 4.5, 5.0]), np.array([1.24, 3.25, 4.0, 5.9])
    found = metrics.agreement_metrics(human, machine, scale)
    levels = scale.level(human), np.array([0, 5, 6, 8])  # 3.25 goes up, 5.9 is trimmed
    assert found["n"] == 4 and found["exact"] == 0.5 and found["adjacent"] == 1
    assert found["qwk"] == pytest.approx(cohen_kappa_score(*levels, weights="quadratic", labels=range(9)))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((machine - human) ** 2)))
    assert found["smd"] == pytest.approx((machine.mean() - human.mean()) / human.std(ddof=1))
    assert found["machine_sd"] == pytest.approx(machine.std(ddof=1)) and found["human_mean"] == pytest.approx(3.375)
    with pytest.raises(CyborgError, match="off the scale"):
        metrics.agreement_metrics([1.2], [1.0], scale)


def test_agreement_of_one_and_of_no_essay():
    one = metrics.agreement_metrics([3.0], [3.2], Scale(1, 5))
    assert one["exact"] == 1 and one["rmse"] == pytest.approx(0.2)
    assert all(np.isnan(one[name]) for name in ("qwk", "r", "sd_ratio", "smd", "human_sd"))
    none = metrics.agreement_metrics([], [], Scale(1, 5))
    assert none["n"] == 0 and all(np.isnan(value) for name, value in none.items() if name != "n")


def test_prmse_by_hand():
    ratings, machine = np.array([[1, 2], [3, 3], [5, 4], [4, np.nan]]), np.array([1.5, 3.0, 4.5, 4.0])
    assert metrics.rater_error_variance(ratings) == pytest.approx((0.5 + 0 + 0.5) / 3)
    # mean of all ratings 22/7; sum c (mean - 22/7)^2 over essays, less 3 V; C = 7, sum c^2 = 13
    between = 2 * (1.5 - 22 / 7) ** 2 + 2 * (3 - 22 / 7) ** 2 + 2 * (4.5 - 22 / 7) ** 2 + (4 - 22 / 7) ** 2
    true = (between - 3 / 3) / (7 - 13 / 7)
    assert metrics.true_score_variance(ratings) == pytest.approx(true)
    assert metrics.prmse(ratings, machine) == pytest.approx(1 - (0 - 4 / 3) / 7 / true)  # may pass 1: errors are estimated
    assert metrics.prmse(ratings, machine, error_variance=0.0) == pytest.approx(1)


def test_prmse_does_not_mind_careless_raters():
    rng = np.random.default_rng(5)
    true = rng.normal(3, 1, 40_000)
    machine = true + rng.normal(0, 0.5, true.size)
    for noise in (0.3, 1.0):
        ratings = true[:, None] + rng.normal(0, noise, (true.size, 2))
        ratings[rng.random(true.size) < 0.7, 1] = np.nan
        assert metrics.prmse(ratings, machine) == pytest.approx(0.75, abs=0.03)  # 1 - 0.25 / 1


def test_prmse_at_the_edges():
    single = np.array([[1.0, np.nan], [3.0, np.nan]])
    assert np.isnan(metrics.rater_error_variance(single)) and np.isnan(metrics.prmse(single, [1, 3]))
    assert np.isnan(metrics.prmse([[2.0, 3.0]], [2.0]))  # one essay
    assert np.isnan(metrics.prmse(np.full((5, 2), 3.0), np.full(5, 3.0)))  # one level: no true variance
    assert np.isnan(metrics.prmse([[1, 5], [5, 1], [1, 5]], [3, 3, 3]))  # raters who do not agree at all
    assert np.isnan(metrics.prmse(np.empty((0, 2)), [])) and np.isnan(metrics.true_score_variance(np.empty((0, 2))))
    for wrong in ([1.0, 2.0], [[np.nan, np.nan], [1, 2]], [[np.inf, 1]]):
        with pytest.raises(CyborgError, match="rating"):
            metrics.prmse(wrong, [1.0] * len(wrong))
    with pytest.raises(CyborgError, match="1 machine score"):
        metrics.prmse([[1, 2], [2, 3]], [1, np.nan])
    with pytest.raises(CyborgError, match="one length"):
        metrics.prmse([[1, 2], [2, 3]], [1.0])


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_prmse_is_free_of_unit_and_order(seed, unit, zero):
    rng = np.random.default_rng(seed)
    ratings = rng.normal(0, 2, (30, 1)) + rng.normal(0, 0.5, (30, 3))
    ratings[10:20, 2] = ratings[20:, 1:] = np.nan
    machine, order = ratings[:, 0] + rng.normal(0, 0.5, 30), rng.permutation(30)
    wanted = metrics.prmse(ratings, machine)
    assert metrics.prmse(ratings * unit + zero, machine * unit + zero) == pytest.approx(wanted, rel=1e-6)
    assert metrics.prmse(ratings[order][:, ::-1], machine[order]) == pytest.approx(wanted, rel=1e-9)


def test_r2_is_sklearns_and_not_r_squared():
    human, machine = np.array([1.0, 2.0, 4.0, 4.0]), np.array([2.0, 2.5, 3.0, 5.0])
    assert metrics.r2(human, machine) == pytest.approx(r2_score(human, machine))
    assert metrics.r2(human, np.full(4, human.mean())) == pytest.approx(0)
    assert np.isnan(metrics.r2([3.0], [3.0])) and np.isnan(metrics.r2([3.0, 3.0], [1.0, 2.0]))


def test_human_agreement_of_each_pair_on_its_own_essays():
    ratings = np.array([[1, 2, np.nan], [3, 3, np.nan], [5, 4, np.nan], [2, np.nan, np.nan]])
    table = metrics.human_agreement(ratings, Scale(1, 5))
    assert table[["first", "second", "n"]].to_numpy().tolist() == [[1, 2, 3], [1, 3, 0], [2, 3, 0]]
    assert table.loc[0, "qwk"] == pytest.approx(cohen_kappa_score([1, 3, 5], [2, 3, 4], weights="quadratic", labels=range(1, 6)))
    assert table.loc[0, "smd"] == 0 and table.loc[1, ["qwk", "r", "smd"]].isna().all()


def test_means_and_sds_add_up_over_groups():
    rng = np.random.default_rng(2)
    human, machine = rng.normal(3, 1, 30), rng.normal(3, 1, 30)
    parts = metrics.moments(human, machine, centre=3)
    means, sds = metrics.means_and_sds(parts[:10].sum(axis=0) + parts[10:].sum(axis=0))
    np.testing.assert_allclose(means + 3, [human.mean(), machine.mean()])
    np.testing.assert_allclose(sds, [human.std(ddof=1), machine.std(ddof=1)])
    assert np.isnan(metrics.means_and_sds(parts[:1].sum(axis=0))[1]).all()


def test_the_interval_of_prmse_covers():
    """Truth: T ~ N(0, 1), ratings T + e (SD 0.6), machine 0.8 T + 0.3 noise; a third of the essays have one rating."""
    rng, hits, times = np.random.default_rng(5), 0, 200
    truth = 1 - (0.2**2 + 0.3**2)
    for seed in range(times):
        true = rng.normal(size=200)
        ratings = true[:, None] + rng.normal(0, 0.6, (200, 2))
        ratings[:66, 1] = np.nan
        found = true_score.prmse_interval(ratings, 0.8 * true + rng.normal(0, 0.3, 200), seed=seed, resamples=400)
        assert found.low < found.value < found.high
        hits += found.low <= truth <= found.high
    assert 0.90 <= hits / times <= 0.99


def test_the_interval_of_prmse_is_not_known_from_one_pair_or_from_noise():
    rng = np.random.default_rng(1)
    ratings = rng.normal(size=(50, 2))
    one = np.where([[True, True]] + [[True, False]] * 49, ratings, np.nan)
    assert np.isnan(true_score.prmse_interval(one, ratings[:, 0], seed=1, resamples=200)[1:]).all()
    assert np.isnan(true_score.prmse_interval(ratings, ratings[:, 0], seed=1, resamples=200)[1:]).all()
    assert np.isnan(true_score.prmse_interval(np.empty((0, 2)), [], seed=1, resamples=200)).all()


def test_the_interval_of_prmse_counts_the_double_scored_essays(monkeypatch):
    ratings = np.random.default_rng(1).normal(size=(50, 2))
    ratings[12:, 1] = np.nan
    monkeypatch.setattr(true_score, "percentile_interval", lambda value, resampled, *, confidence, n: n)
    assert true_score.prmse_interval(ratings, ratings[:, 0], seed=1, resamples=100) == 12
