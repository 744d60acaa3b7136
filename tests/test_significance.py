import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import bootstrap, comparisons, metrics


def permutation_p(human, first, second, *, resamples=10_000, **how):
    return bootstrap.Swaps(human, first, second, **how).draw(resamples).p


def essays(seed, n, *, levels=6, noise=(0.6, 0.8)):
    """Human levels and machine levels with the given noise; one latent quality."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    given = [quality + rng.normal(size=n) * sd for sd in (0.5, *noise)]
    return [np.clip(np.round(value * 1.1 + (levels - 1) / 2), 0, levels - 1).astype(int) for value in given]


def sums_qwk(human, machine, axis=-1):
    """QWK over the last axis, for scipy's vectorised functions."""
    gap, mean = machine - human, machine.mean(axis=axis) - human.mean(axis=axis)
    return 1 - (gap**2).mean(axis=axis) / (human.var(axis=axis) + machine.var(axis=axis) + mean**2)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_is_scipys(method):
    human, first, second = essays(1, 150)
    wanted = stats.bootstrap(
        (human, first, second),
        lambda h, a, b, axis: sums_qwk(h, a, axis) - sums_qwk(h, b, axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method=method,
        rng=np.random.default_rng(2),
        batch=2_000,
    )
    found = bootstrap.paired_bootstrap(human, first, second, resamples=20_000, method=method, seed=3)
    ends = wanted.confidence_interval
    assert found.value == pytest.approx(sums_qwk(human, first) - sums_qwk(human, second))
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.06 * (ends.high - ends.low))
    one = bootstrap.bootstrap_interval(human, first, resamples=20_000, method=method, seed=3)
    assert one.value == pytest.approx(metrics.qwk(human, first, levels=6)) and one.low < one.value < one.high


def test_intervals_are_expanded_everywhere():
    """The same resamples, a little wider than scipy's percentiles: with 50 essays by some 3 %."""
    human, first, second = essays(2, 50)
    plain = bootstrap.paired_bootstrap(human, first, second, resamples=20_000, method="percentile", seed=3)
    found = bootstrap.paired_bootstrap(human, first, second, resamples=20_000, seed=3)
    assert 1.02 < (found.high - found.low) / (plain.high - plain.low) < 1.06
    table = comparisons.compare(human, {"a": second, "b": first}, scale=Scale(1, 6), margin=0.05, seed=3, resamples=20_000).iloc[
        0
    ]
    alone = comparisons.across_seeds(human, {1: first}, {1: second}, seed=3, resamples=20_000)
    assert (table["low"], table["high"]) == pytest.approx((found.low, found.high)) == (alone["low"], alone["high"])
    gap = comparisons.gap_closed(human, second, first, first, seed=3, resamples=20_000)
    assert (gap["gap_low"], gap["gap_high"]) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("metric", ["qwk", "smd", "exact"])
def test_permutation_is_scipys_exact_one(metric):
    human, first, second = essays(5, 9, noise=(0.4, 1.2))

    def difference(a, b):
        return np.subtract(*[metrics.from_moments(metric, metrics.moments(human, x).sum(axis=0)) for x in (a, b)])

    exact = stats.permutation_test((first, second), difference, permutation_type="samples", n_resamples=np.inf).pvalue
    found = permutation_p(human, first, second, metric=metric, resamples=20_000, seed=1)
    assert found == pytest.approx(exact, abs=0.015)


def test_cells_and_single_essays_are_the_same_distribution():
    human, first, second = essays(2, 3_000, levels=4)
    tilt = np.random.default_rng(0).normal(size=3_000) * 1e-9  # makes every row distinct: essays are drawn one by one
    by_cell = bootstrap.paired_bootstrap(human, first, second, metric="r", seed=1, resamples=4_000)
    by_essay = bootstrap.paired_bootstrap(human, first + tilt, second, metric="r", seed=1, resamples=4_000)
    np.testing.assert_allclose(by_cell, by_essay, atol=0.06 * (by_cell.high - by_cell.low))
    p = [permutation_p(human, a, second, metric="smd", seed=1, resamples=4_000) for a in (first, first + tilt)]
    assert p[0] == pytest.approx(p[1], abs=0.04)


@pytest.mark.parametrize("metric", list(metrics.METRICS))
def test_every_metric_resamples_around_its_value(metric):
    human, first, second = essays(3, 400)
    one = bootstrap.bootstrap_interval(human, first, metric=metric, resamples=500, seed=1)
    two = bootstrap.paired_bootstrap(human, first, second, metric=metric, resamples=500, seed=1)
    assert one.low < one.value < one.high and two.low < two.value < two.high
    assert two.value == pytest.approx(one.value - bootstrap.bootstrap_interval(human, second, metric=metric, seed=1).value)


def test_arms_share_draws_and_a_generator_goes_on_as_if_they_did_not():
    h, first, second = np.random.default_rng(3).normal(size=(3, 300))
    options = {"resamples": 500, "centre": 0.0}
    bootstrap._drawn.cache_clear()
    alone = bootstrap.resampled_sums(h, [second], seed=np.random.default_rng(7), **options)
    bootstrap._drawn.cache_clear()
    rng, other = np.random.default_rng(7), np.random.default_rng(7)
    bootstrap.resampled_sums(h, [first], seed=rng, **options)
    again = bootstrap.resampled_sums(h, [second], seed=other, **options)
    assert bootstrap._drawn.cache_info().hits == 1 and np.array_equal(again, alone)
    assert rng.integers(1 << 40) == other.integers(1 << 40)  # both stand behind the draws
    assert not np.array_equal(bootstrap.resampled_sums(h, [second], seed=rng, **options), alone)


def test_spread_is_the_asymptotic_standard_error():
    human, machine, _ = essays(4, 2_000)
    wanted = cohens_kappa(metrics.confusion(human, machine, levels=6), wt="quadratic")
    values, resampled = bootstrap.resampled_metric(human, [machine], metric="qwk", resamples=4_000, seed=1)
    assert values[0] == pytest.approx(wanted.kappa)
    assert resampled.std() == pytest.approx(wanted.std_kappa, rel=0.06)


def test_coverage_and_false_alarms():
    # Two equally good systems: the truth of the difference is 0, that of QWK is taken from a large sample.
    human, first, _ = essays(6, 400_000, noise=(0.7, 0.7))
    truth, caught, alarms, p = metrics.qwk(human, first, levels=6), 0, 0, []
    for trial in range(250):
        human, first, second = essays(100 + trial, 200, noise=(0.7, 0.7))
        one = bootstrap.bootstrap_interval(human, first, resamples=600, seed=trial)
        two = bootstrap.paired_bootstrap(human, first, second, resamples=600, seed=trial)
        caught += one.low <= truth <= one.high
        alarms += not two.low <= 0 <= two.high
        p.append(permutation_p(human, first, second, resamples=400, seed=trial))
    assert 0.91 <= caught / 250 <= 0.985
    assert alarms / 250 <= 0.09
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_full_size_speed():
    human, first, second = essays(7, 10_402)
    began = time.process_time()
    bootstrap.paired_bootstrap(human, first, second, resamples=10_000, seed=1)
    assert time.process_time() - began < 2


def test_a_seed_repeats_and_another_differs():
    human, first, second = essays(8, 100)
    same = [bootstrap.paired_bootstrap(human, first, second, resamples=300, seed=5) for _ in range(2)]
    assert same[0] == same[1] != bootstrap.paired_bootstrap(human, first, second, resamples=300, seed=6)


def test_undefined_is_nan_and_wrong_input_an_error():
    constant = np.full(20, 2)
    assert np.isnan(bootstrap.bootstrap_interval(constant, constant, seed=1, resamples=100)).all()
    value, low, high = bootstrap.bootstrap_interval([1, 2], [1, 2], seed=1, resamples=400)  # half of the resamples undefined
    assert value == 1 and np.isnan([low, high]).all()
    assert np.isnan(permutation_p(constant, constant, constant, seed=1))
    human, first, _ = essays(9, 30)
    assert permutation_p(human, first, first, seed=1, resamples=99) == 1
    assert permutation_p(human, human, 5 - human, seed=1, resamples=99) == 0.01  # never 0
    for call in (
        lambda: bootstrap.bootstrap_interval([], [], seed=1),
        lambda: bootstrap.bootstrap_interval(human, first + 0.5, seed=1),
        lambda: bootstrap.bootstrap_interval(human, first, seed=1, method="basic"),
        lambda: bootstrap.paired_bootstrap(human, first, first[:-1], seed=1),
    ):
        with pytest.raises(CyborgError):
            call()


def test_expanded_intervals_are_those_of_t():
    rng = np.random.default_rng(1)
    drawn = rng.normal(0, np.sqrt(9 / 10), 400_000)  # means of resamples of 10 essays, in true standard errors
    _, low, high = bootstrap.percentile_interval(0.0, drawn, n=10)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 9), abs=0.03)
    plain, many = bootstrap.percentile_interval(0.0, drawn), bootstrap.percentile_interval(0.0, drawn, n=100_000)
    assert many == pytest.approx(plain, abs=1e-3)
    assert np.isnan(bootstrap.percentile_interval(0.0, drawn, n=1)[1:]).all()


def test_holm_by_hand():
    np.testing.assert_allclose(comparisons.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(comparisons.holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert comparisons.holm([]).shape == (0,)


@pytest.mark.parametrize(
    "low,high,verdict",
    [
        (-0.04, 0.04, "equivalent"),
        (-0.05, 0.04, "undecided"),
        (0.01, 0.09, "undecided"),
        (0.05, 0.09, "not equivalent"),
        (-0.2, -0.06, "not equivalent"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_equivalence(low, high, verdict):
    assert comparisons.equivalence(low, high, margin=0.05) == verdict


def test_compare_shows_all_that_a_claim_needs():
    human, good, bad = essays(10, 600, noise=(0.5, 1.5))
    systems = {"human": bad, "cyborg": good, "full": good}
    frame = comparisons.compare(human, systems, scale=Scale(1, 6), margin=0.05, seed=1, resamples=1_000)
    assert frame[["system", "baseline"]].to_numpy().tolist() == [["cyborg", "human"], ["full", "human"]]
    row = frame.iloc[0]
    assert row["n"] == 600 and row["margin"] == 0.05 and row["equivalence"] == "not equivalent"
    assert row["difference"] == pytest.approx(metrics.qwk(human, good, levels=6) - metrics.qwk(human, bad, levels=6))
    assert row["difference"] == pytest.approx(row["qwk"] - row["qwk_baseline"])
    assert 0 < row["low"] < row["tost_low"] < row["tost_high"] < row["high"]
    assert row["p"] == pytest.approx(1 / 1001) and row["p_holm"] == pytest.approx(2 / 1001)
    pairs = comparisons.compare(human, systems, pairs=[("cyborg", "full")], scale=Scale(1, 6), margin=0.05, seed=1, resamples=500)
    assert pairs.loc[0, ["difference", "p", "equivalence"]].tolist() == [0, 1, "equivalent"]
    with pytest.raises(CyborgError, match="no scores for teacher"):
        comparisons.compare(human, systems, pairs=[("teacher", "full")], scale=Scale(1, 6), margin=0.05, seed=1)
    with pytest.raises(CyborgError, match="levels"):
        comparisons.compare(human, {"a": good, "b": bad + 3}, scale=Scale(1, 6), margin=0.05, seed=1)


def test_intervals_of_several_systems():
    human, first, second = essays(11, 300)
    frame = comparisons.intervals(human, {"a": first, "b": second}, scale=Scale(1, 6), resamples=500, seed=1)
    assert list(frame) == ["system", "n", "qwk", "low", "high"] and frame["system"].tolist() == ["a", "b"]
    assert (frame["low"] < frame["qwk"]).all() and (frame["qwk"] < frame["high"]).all()


def test_seed_and_test_set_variance_are_told_apart():
    human, first, second = essays(12, 500)
    alike = comparisons.across_seeds(human, {1: first, 2: first, 3: first}, resamples=2_000, seed=1)
    alone = comparisons.across_seeds(human, {1: first}, resamples=2_000, seed=1)
    assert alike["seed_sd"] == 0 and alike["test_sd"] == pytest.approx(alone["test_sd"], rel=0.01)
    assert np.isnan(alone["seed_sd"]) and alone["interval_of"] == "essays" and alike["interval_of"] == "essays and seeds"
    assert (alone["low"], alone["high"]) == (alone["test_low"], alone["test_high"])
    mixed = comparisons.across_seeds(human, {1: first, 2: second}, resamples=2_000, seed=1)
    values = [metrics.qwk(human, x, levels=6) for x in (first, second)]
    assert mixed["mean"] == pytest.approx(np.mean(values)) and mixed["seed_sd"] == pytest.approx(np.std(values, ddof=1))
    assert mixed["low"] < mixed["test_low"] and mixed["test_high"] < mixed["high"]  # new seeds add to the uncertainty
    gain = comparisons.across_seeds(human, {1: first, 2: first}, {2: second, 1: second}, resamples=2_000, seed=1)
    assert gain["mean"] == pytest.approx(values[0] - values[1]) and gain["seed_sd"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(CyborgError, match="must be the same"):
        comparisons.across_seeds(human, {1: first}, {2: first}, seed=1)


def test_draws_of_a_run_are_no_seeds_of_their_own():
    human, first, second = essays(12, 300)
    options = {"resamples": 500, "seed": 1}
    once = comparisons.across_seeds(human, {1: first, 2: second}, **options)
    copied = comparisons.across_seeds(human, {1: [first] * 3, 2: np.array([second] * 3)}, **options)
    assert copied == pytest.approx(once)  # three copies of a model say no more than the model
    both = comparisons.across_seeds(human, {1: [first, second]}, **options)
    assert both["mean"] == pytest.approx(once["mean"]) and both["seeds"] == 1 and both["interval_of"] == "essays"
    assert (both["low"], both["high"]) == pytest.approx((once["test_low"], once["test_high"]))
    alone = comparisons.contrast(human, {1: first}, {1: second}, margin=0.05, confidence=0.95, **options)
    twice = comparisons.contrast(human, {1: [first] * 2}, {1: [second] * 2}, margin=0.05, confidence=0.95, **options)
    assert twice == pytest.approx(alone)


def test_across_seeds_covers_new_seeds_and_new_essays():
    # Each trial: new essays, and three runs whose quality differs by luck of training; the truth is the mean over both.
    rng, trials = np.random.default_rng(13), 120

    def run(quality, sd):
        return np.clip(np.round((quality + rng.normal(size=quality.shape) * sd) * 1.1 + 2.5), 0, 5)

    def noise(size):
        return rng.uniform(0.5, 1.1, size)

    quality = rng.normal(size=400_000)
    truth = sums_qwk(run(quality, 0.5).reshape(1_000, 400), run(quality.reshape(1_000, 400), noise((1_000, 1)))).mean()
    caught = 0
    for _ in range(trials):
        quality = rng.normal(size=400)
        human, runs = run(quality, 0.5), {at: run(quality, noise(1)) for at in range(3)}
        found = comparisons.across_seeds(human, runs, resamples=300, seed=1)
        caught += found["low"] <= truth <= found["high"]
    assert caught / trials > 0.91


def test_gap_closed():
    human, best, worst = essays(14, 800, noise=(0.4, 1.5))
    half = np.where(np.arange(800) % 2, best, worst)
    found = comparisons.gap_closed(human, worst, half, best, resamples=2_000, seed=1)
    q = {name: metrics.qwk(human, x, levels=6) for name, x in (("few", worst), ("ours", half), ("all", best))}
    assert found["gap_closed"] == pytest.approx((q["ours"] - q["few"]) / (q["all"] - q["few"]))
    assert found["resolved"] and 0 < found["low"] < found["gap_closed"] < found["high"] < 1
    assert found["gap"] == pytest.approx(q["all"] - q["few"]) and found["gap_low"] > 0
    by_seed = comparisons.gap_closed(human, {1: worst, 2: worst}, {1: worst, 2: best}, {1: best}, resamples=500, seed=1)
    assert by_seed["gap_closed"] == pytest.approx(0.5) and by_seed["low"] == pytest.approx(0.5)


def test_no_share_of_a_gap_that_points_the_other_way():
    """`full` is clearly worse than `human`: nothing is closed, however the signs divide. Errors are better the lower they are."""
    human, best, worst = essays(14, 800, noise=(0.4, 1.5))
    half = np.where(np.arange(800) % 2, best, worst)
    options = {"resamples": 500, "seed": 1}
    turned = comparisons.gap_closed(human, best, half, worst, **options)
    assert turned["gap_high"] < 0 and not turned["resolved"] and np.isnan(turned["gap_closed"])
    errors = comparisons.gap_closed(human, worst, half, best, metric="mae", **options)
    assert errors["resolved"] and errors["gap_high"] < 0 < errors["low"] < errors["gap_closed"] < errors["high"] < 1
    assert not comparisons.gap_closed(human, best, half, worst, metric="mae", **options)["resolved"]


def test_swaps_go_on_until_their_own_chance_cannot_change_a_verdict():
    human, first, second = essays(16, 250, noise=(0.7, 0.8))
    mixed = (np.where(np.arange(250) < count, first, second) for count in range(250))  # ever nearer to the first machine
    options = {"seed": 1, "resamples": 2_000}
    other = next(one for one in mixed if 0.035 < permutation_p(human, first, one, **options) < 0.06)
    test = bootstrap.Swaps(human, first, other, seed=2)
    table = comparisons.decided([test], resamples=200, most=400_000)
    low, high = test.range()
    assert table.loc[0, "swaps"] > 200 and table.loc[0, "p_settled"] and not low < 0.05 < high
    assert table.loc[0, "p_error"] == pytest.approx(np.sqrt(test.p * (1 - test.p) / (1 + test.resamples)))
    exact = permutation_p(human, first, other, seed=3, resamples=100_000)
    assert abs(exact - test.p) < 5 * table.loc[0, "p_error"] and (exact < 0.05) == (test.p < 0.05)
    capped = comparisons.decided([bootstrap.Swaps(human, first, other, seed=2)], resamples=200, most=200)
    assert capped.loc[0, "swaps"] == 200 and not capped.loc[0, "p_settled"]


def test_a_family_of_p_values_is_settled_together():
    human, first, second = essays(16, 250, noise=(0.7, 0.9))
    clear, nothing = bootstrap.Swaps(human, human, second, seed=1), bootstrap.Swaps(human, first, first, seed=1)
    table = comparisons.decided([clear, nothing], resamples=500)
    assert table["p_holm"].tolist() == comparisons.holm(table["p"]).tolist() and table["p_settled"].all()
    assert table.loc[1, "p"] == 1 and len(comparisons.decided([])) == 0


def test_equivalence_counts_its_family_and_its_side():
    table = pd.DataFrame({"low": [-0.04, -0.02, 0.01, 0.08], "high": [-0.01, 0.02, 0.03, 0.2]})
    table = table.assign(p_tost=[0.010, 0.011, 0.012, 1.0], p_beyond=[1, 1, 1, 0.001])
    found = comparisons.equivalences(table, alpha=0.05)
    assert found["equivalence"].tolist() == ["equivalent, and worse", "equivalent", "equivalent, and better", "not equivalent"]
    assert found["p_tost_holm"].tolist() == pytest.approx([0.04, 0.04, 0.04, 1.0])
    more = pd.concat([table] + [table.assign(p_tost=1.0, p_beyond=1.0)] * 3)
    assert set(comparisons.equivalences(more, alpha=0.05)["equivalence"]) == {"undecided", "not equivalent"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_p_of_equivalence_is_where_its_interval_touches_the_margin(seeds):
    human, *machines = essays(18, 400, noise=(0.5, 0.6, 0.55, 0.5, 0.6, 0.55))
    ours, theirs = ({key: machines[key + at] for key in range(seeds)} for at in (0, 3))
    options = {"resamples": 20_000, "seed": 1}
    p = comparisons.across_seeds(human, ours, theirs, margin=0.05, **options)
    touching = comparisons.across_seeds(human, ours, theirs, confidence=1 - 2 * p["p_tost"], **options)
    assert max(-touching["low"], touching["high"]) == pytest.approx(0.05, abs=1e-3) and 0 < p["p_tost"] < 0.5 < p["p_beyond"]
    wider = comparisons.across_seeds(human, ours, theirs, confidence=0.90, **options)
    assert (p["tost_low"], p["tost_high"]) == pytest.approx((wider["low"], wider["high"])) and p["low"] < p["tost_low"]
    far = comparisons.across_seeds(human, ours, theirs, margin=1e-4, **options)
    assert far["p_tost"] > 0.4


def test_ends_stay_within_what_a_metric_can_be():
    human = np.tile([0, 5], 20)
    runs = {1: human, 2: np.where(np.arange(40) < 2, 5 - human, human), 3: human}
    found = comparisons.across_seeds(human, runs, resamples=300, seed=1)
    assert found["mean"] < found["high"] == 1 and found["low"] > -1
    step = comparisons.across_seeds(human, runs, {key: 5 - run for key, run in runs.items()}, resamples=300, seed=1)
    assert step["high"] == 2


def test_whole_prompts_are_drawn():
    """Essays of one prompt share their luck, so an interval over essays is too short, and one over prompts holds."""
    rng, prompts = np.random.default_rng(21), 20
    caught = {"essays": 0, "prompts": 0}
    for _ in range(100):
        prompt = np.repeat(np.arange(prompts), 20)
        human = rng.normal(size=400)
        machine = human + rng.normal(0, 0.5, 400) + rng.normal(0, 0.3, prompts)[prompt]  # on average no difference
        for name, clusters in (("essays", None), ("prompts", prompt)):
            _, low, high = bootstrap.bootstrap_interval(
                human, machine, metric="mean_difference", resamples=300, seed=rng, clusters=clusters
            )
            caught[name] += low <= 0 <= high
    assert caught["prompts"] >= 89 and caught["essays"] < 75
    with pytest.raises(CyborgError, match="clusters are known"):
        bootstrap.bootstrap_interval(human, machine, metric="r", resamples=10, seed=1, clusters=[*prompt[:-1], None])
    one = bootstrap.bootstrap_interval(human, machine, metric="r", resamples=50, seed=1, clusters=["p"] * 400)
    assert np.isnan(one.low) and np.isfinite(one.value)


def test_no_gap_no_interval():
    human, first, second = essays(15, 200, noise=(0.7, 0.7))
    found = comparisons.gap_closed(human, first, human, second, resamples=1_000, seed=1)
    assert not found["resolved"] and found["gap_low"] < 0 < found["gap_high"]
    assert np.isnan([found["low"], found["high"], found["gap_closed"]]).all()
    assert np.isnan(comparisons.gap_closed(human, first, second, first, resamples=100, seed=1)["gap_closed"])
