import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import normal_power
from test_fairness import SCALE
from test_fairness import essays as writers
from test_significance import essays

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.stats import bootstrap, fairness, metrics, power


@given(
    st.sampled_from([power.DETECT, power.EQUIVALENT, power.CLEARED]),
    st.floats(0.01, 1),
    st.floats(0.001, 1),
    st.floats(0.5, 0.99),
    st.sampled_from([{}, {"seeds": 3, "seed_se": 0.0005}]),
)
@settings(max_examples=60, deadline=None)
def test_the_number_needed_gives_the_power_asked_for(question, size, se, wanted, how):
    n = power.needed(question, size, 1000, se, power=wanted, **how)
    assert power.chance(question, size, se * np.sqrt(1000 / n), **how) >= wanted - 1e-6
    if n > 2:
        assert power.chance(question, size, se * np.sqrt(1000 / (n - 1)), **how) < wanted + 1e-6
    assert power.chance(question, power.smallest(question, se, power=wanted, **how), se, **how) == pytest.approx(wanted)


def test_power_is_statsmodels():
    for size in (0.01, 0.03, 0.1):
        wanted = normal_power(size / 0.02, 1, alpha=0.05)  # effect in standard errors
        assert power.chance(power.DETECT, size, 0.02) == pytest.approx(wanted, abs=1e-9)
    assert power.smallest(power.DETECT, 1.0) == pytest.approx(2.8016, abs=1e-4)
    assert power.smallest(power.EQUIVALENT, 1.0) == pytest.approx(1.6449 + 1.2816, abs=1e-3)


def test_edges():
    assert np.isnan(power.chance(power.DETECT, 0.1, np.nan)) and np.isnan(power.needed(power.DETECT, 0.1, 5, np.nan))
    assert power.chance(power.DETECT, 0.1, 0.0) == 1 and power.needed(power.DETECT, 0.1, 500, 0.0) == 2
    assert power.needed(power.DETECT, 0.0, 500, 0.1) == np.inf
    assert power.smallest(power.DETECT, 0.0) == 0 and np.isnan(power.smallest(power.DETECT, np.nan))
    training = {"seed_se": 0.01, "seeds": 3}
    assert power.needed(power.DETECT, 0.02, 500, 0.01, **training) == np.inf  # training noise alone is too much
    assert power.chance(power.EQUIVALENT, 0.01, 0.02) == 0  # the interval is wider than the margin
    with pytest.raises(CyborgError, match="no question"):
        power.chance("why", 0.1, 0.1)
    with pytest.raises(CyborgError, match="alpha"):
        power.chance(power.DETECT, 0.1, 0.1, alpha=1.0)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("question, truth, size", [(power.DETECT, 0.05, 0.05), (power.EQUIVALENT, 0.0, 0.05)])
def test_power_with_seeds_is_that_of_the_interval_over_seeds(seeds, question, truth, size):
    """Drawn from normal distributions, with the interval as `across_seeds` defines it: Student's t for what the seeds add."""
    rng, se, seed_sd, trials = np.random.default_rng(seeds), 0.010, 0.012, 40_000
    runs = truth + rng.normal(0, se, (trials, 1)) + rng.normal(0, seed_sd, (trials, seeds))
    z, t = (law.ppf(0.975 if question == power.DETECT else 0.95) for law in (stats.norm, stats.t(seeds - 1)))
    half = np.sqrt((z * se) ** 2 + t**2 * runs.var(axis=1, ddof=1) / seeds)
    low, high = runs.mean(axis=1) - half, runs.mean(axis=1) + half
    answered = (low > 0) | (high < 0) if question == power.DETECT else (low > -size) & (high < size)
    foretold = power.chance(question, size, se, seed_se=seed_sd / np.sqrt(seeds), seeds=seeds)
    assert foretold == pytest.approx(answered.mean(), abs=0.012)


def test_qwk_power_is_what_a_simulation_finds():
    # Power as foretold from single test sets of 400; then many such sets: how often is the difference seen?
    truth = np.subtract(*[metrics.qwk(*pair, levels=6) for pair in _pairs(essays(2, 300_000, noise=(0.6, 0.8)))])
    foretold, seen = [], []
    for trial in range(6):
        human, first, second = essays(300 + trial, 400, noise=(0.6, 0.8))
        options = {"sizes": (truth,), "margins": (0.05,), "resamples": 400, "seed": 1}
        table = power.qwk_power(human, {"a - b": (first, second)}, **options)
        foretold.append(table.loc[0, "power"])
    for trial in range(120):
        low, high = bootstrap.paired_bootstrap(*essays(500 + trial, 400, noise=(0.6, 0.8)), resamples=300, seed=1)[1:]
        seen.append(not low <= 0 <= high)
    assert np.mean(foretold) == pytest.approx(np.mean(seen), abs=0.13)
    assert table["n"].eq(400).all() and table["seeds"].eq(1).all() and table["seed_se"].isna().all()


def _pairs(scores):
    human, first, second = scores
    return (human, first), (human, second)


def test_qwk_power_with_seeds_counts_the_noise_of_training():
    human, first, second = essays(3, 600, noise=(0.6, 0.8))
    third = essays(3, 600, noise=(0.9, 0.8))[1]
    alone = power.qwk_power(human, {"x": (first, second)}, seed=1).iloc[0]
    several = power.qwk_power(human, {"x": ({1: first, 2: third}, {1: second, 2: second})}, seed=1, sizes=(0.01,)).iloc[0]
    assert several["seed_se"] > 0 and several["smallest"] > alone["smallest"] and several["n_needed"] == np.inf
    assert not several["answerable"] and alone["n_needed"] > 600 and not alone["answerable"]
    same = power.qwk_power(human, {"x": (first, first)}, seed=1)
    assert same["answerable"].all() and (same["n_needed"] == 2).all()


def test_smd_power_says_what_a_group_can_answer():
    table = fairness.smd_by_group(writers(n=600), groups=["groups.kind"], scale=SCALE, seed=1, resamples=500)
    found = power.smd_power(table)
    assert set(found["question"]) == {power.SEEN, power.CLEARED, power.BIASED}
    big, small = (found[(found["group"] == group) & (found["question"] == power.SEEN)] for group in ("A", "C"))
    assert (big["power"].to_numpy() >= small["power"].to_numpy()).all()
    row = small.iloc[0]
    assert row["smallest"] == pytest.approx(power.smallest(power.SEEN, 1.0) * row["se"])
    assert row["n_needed"] == pytest.approx(row["n"] * (row["smallest"] / row["size"]) ** 2, abs=1)
    assert (found["answerable"] == (found["n_needed"] <= found["n"])).all()
    assert set(power.hardest(found, min_group=2)["group"]) == {"all", "C"}
    above = int(found.loc[found["group"] == "C", "n"].iloc[0]) + 1
    assert "C" not in set(power.hardest(found, min_group=above)["group"])
    one = table.assign(smd_se=np.nan)
    assert not power.smd_power(one)["answerable"].any() and power.smd_power(one)["n_needed"].isna().all()


def test_a_biased_group_is_called_so_as_often_as_stated():
    frame = writers(n=500, gap=0.0, bias=0.25)
    table = fairness.smd_by_group(frame, groups=["groups.kind"], scale=SCALE, seed=1, resamples=400).set_index("group")
    size = 0.25 / table.loc["B", "human_sd"]
    answer = power.smd_power(table.reset_index(), sizes=(size,)).query("group == 'B' and question == @power.BIASED")
    verdicts = []
    for seed in range(60):
        part = writers(1000 + seed, n=500, gap=0.0, bias=0.25)
        part = part[part["groups.kind"] == "B"]
        one = fairness.smd_by_group(part, groups=[], scale=SCALE, seed=1, resamples=250, overall_limit=0.10)
        verdicts.append(one["verdict"].iloc[0] == "biased")
    assert answer["power"].iloc[0] == pytest.approx(np.mean(verdicts), abs=0.18)
