"""One Student or the method? A verdict on a trained model, a claim about the method, and what matching does to groups."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import calibration, fairness, metrics
from cyborg_utils.study import arms, bias

SCALE = Scale(1, 6)
ARM = {"fraction": 0.1, "student": "net", "head": "regression", "labels": "cyborg"}
HOW = {"groups": ["groups.kind"], "scale": SCALE, "seed": 1, "resamples": 300}


def trained(
    rng: np.random.Generator, seeds: int, *, luck: float = 0.25, gap: float = 0.0, n: int = 300, dev: int = 80
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test and development essays scored by Students matched on the latter.

    Group B is treated differently by every training: by `gap` SDs in the mean over trainings, with a SD of `luck`.
    """
    found = {}
    for part, size in (("test", n), ("dev", dev)):
        quality, kind = rng.normal(size=size), np.where(np.arange(size) % 3, "A", "B")
        seen = quality + 0.5 * rng.normal(size=size)  # what all trainings see of it
        score = SCALE.score(SCALE.nearest(3.5 + quality + 0.4 * rng.normal(size=size)))
        found[part] = (seen, pd.DataFrame({"essay_id": [f"{part}{i:04d}" for i in range(size)], "score": score}))
        found[part][1]["groups.kind"] = kind
    test, fitted = [], []
    for seed in range(1, seeds + 1):
        apart, given = rng.normal(gap, luck), {}
        for part, (seen, frame) in found.items():
            value = 3 + 0.6 * (seen + 0.2 * rng.normal(size=len(seen)))
            given[part] = frame.assign(
                value=value + 0.6 * apart * (frame["groups.kind"] == "B") * (part == "test"), seed=seed, **ARM
            )
        match = calibration.match_on_dev(given["dev"])
        for part, rows in ((test, given["test"]), (fitted, given["dev"])):
            part.append(rows.assign(matched_value=match.apply(rows["value"])))
    return pd.concat(test, ignore_index=True), pd.concat(fitted, ignore_index=True)


@pytest.fixture(scope="module")
def three() -> tuple[pd.DataFrame, pd.DataFrame]:
    return trained(np.random.default_rng(2), 3)


def test_the_noise_of_matching_is_that_of_plain_refits(three):
    test, dev = three
    target = dev[dev["seed"] == 1]["score"].to_numpy()
    values = [dev[dev["seed"] == seed]["value"].to_numpy() for seed in (1, 2, 3)]
    groups = test.groupby(["seed", "groups.kind"])[["value", "matched_value"]].mean()
    means = groups["matched_value"].unstack().to_numpy()
    found = calibration.matching_noise(target, values, means, resamples=4_000, seed=1)
    rng, raw, drawn = np.random.default_rng(9), groups["value"].unstack().to_numpy(), []
    for _ in range(1_500):
        at = rng.integers(0, len(target), len(target))
        fits = [calibration.MeanSdMatch.fit(target=target[at], values=run[at]) for run in values]
        drawn.append([fit.apply(row) for fit, row in zip(fits, raw, strict=True)])
    drawn = np.array(drawn)
    for group in (0, 1):
        covariance = np.cov(drawn[:, :, group], rowvar=False)
        shared = covariance[np.triu_indices(3, 1)].mean() * 80 / 79
        assert found[group] == pytest.approx(np.sqrt(shared), rel=0.1)
    one = calibration.matching_noise(target, values[:1], means[:1], resamples=4_000, seed=1)
    assert one[0] == pytest.approx(drawn[:, 0, 0].std(ddof=1), rel=0.1) and one[0] > found[0]


def test_more_development_essays_leave_less_noise_and_none_where_nothing_varies():
    rng = np.random.default_rng(3)
    few, many = (rng.normal(3, 1, n) for n in (40, 1_000))
    noise = [
        calibration.matching_noise(target, [target + rng.normal(0, 0.5, len(target))], [[3.0]], resamples=500, seed=1)[0]
        for target in (few, many)
    ]
    assert noise[0] > 3 * noise[1] > 0
    assert calibration.matching_noise([3.0, 3.0], [[2.0, 2.0]], [[3.0]], resamples=50, seed=1).tolist() == [0]
    assert np.isnan(calibration.matching_noise([3.0], [[2.0]], [[3.0]], resamples=50, seed=1)).all()


def test_intervals_of_the_method_count_matching_and_those_of_raw_scores_do_not(three):
    test, dev = three
    without, found = (bias.smd_of_runs(test, "matched_value", dev=given, **HOW) for given in (None, dev))
    assert (found["smd_low"] < without["smd_low"]).all() and (found["smd_high"] > without["smd_high"]).all()
    assert found["smd"].tolist() == without["smd"].tolist() and found["dsm_low"].tolist() == without["dsm_low"].tolist()
    assert without["smd_match_sd"].isna().all() and (found["smd_match_sd"] > 0.02).all()
    assert set(found["interval_of"]) == {"essays, seeds and matching"} and set(without["interval_of"]) == {"essays and seeds"}
    assert (found["smd_se"] > without["smd_se"]).all()
    table = bias.smd_of_all(test.assign(prompt="p"), dev, **HOW)
    raw = table[table["scores"] == "raw"]
    assert raw["smd_match_sd"].isna().all() and table[table["scores"] == "matched"]["smd_match_sd"].notna().all()
    levels = test.assign(value=test["matched_value"], head="classification")
    assert bias.matched_on(dev, levels) is None and len(bias.matched_on(dev, test)) == len(dev)


def test_one_seed_says_nothing_of_the_method(three):
    test, dev = (arms.pick(part, seed=1) for part in three)
    found = bias.smd_of_runs(test, "matched_value", dev=dev, **HOW)
    plain = fairness.smd_by_group(arms.averaged(test, "matched_value"), **HOW)
    assert found["verdict"].tolist() == plain["verdict"].tolist() and found["smd_low"].tolist() == plain["smd_low"].tolist()
    assert set(found["verdict_method"]) == {bias.ONE_SEED} and set(found["interval_of"]) == {"essays"}
    few = bias.smd_of_runs(test, "matched_value", **HOW | {"min_group": 150}).set_index("group")
    assert few.loc["B", "verdict_method"] == few.loc["B", "verdict"] == "too few"


@pytest.mark.slow
def test_a_claim_about_the_method_is_rarely_false_where_one_model_would_often_make_it():
    """The method is fair to B (SMD 0), its trainings are not: with one seed, every third verdict would be false of the method."""
    rng, alone, claimed, covered, trials = np.random.default_rng(4), 0, 0, 0, 100
    for _ in range(trials):
        test, dev = trained(rng, 3)
        rows = bias.smd_of_runs(test, "matched_value", dev=dev, **HOW | {"resamples": 100}).set_index("group")
        one = bias.smd_of_runs(arms.pick(test, seed=1), "matched_value", **HOW | {"resamples": 100}).set_index("group")
        alone += one.loc["B", "verdict"] == "biased"
        claimed += rows.loc["B", "verdict_method"] == "biased"
        covered += rows.loc["B", "smd_low"] < 0 < rows.loc["B", "smd_high"]
        assert one.loc["B", "verdict_method"] == bias.ONE_SEED
    assert alone > 0.2 * trials and claimed <= 0.05 * trials and covered >= 0.91 * trials


@pytest.mark.slow
def test_the_noise_that_seeds_share_is_what_the_shorter_interval_misses():
    """Trainings hardly differ, the development essays are few: without them the interval misses far too often."""
    rng, covered, trials = np.random.default_rng(5), {True: 0, False: 0}, 60
    for _ in range(trials):
        test, dev = trained(rng, 3, luck=0.0, dev=40)
        for counted in covered:
            how = HOW | {"dev": dev if counted else None, "groups": [], "resamples": 100}
            row = bias.smd_of_runs(test, "matched_value", **how).iloc[0]
            covered[counted] += row["smd_low"] < 0 < row["smd_high"]
    assert covered[True] >= 0.9 * trials and covered[False] < 0.8 * trials


def test_the_method_stands_beside_each_of_its_models():
    test, dev = trained(np.random.default_rng(6), 3, luck=0.0, n=900)
    test.loc[(test["seed"] == 2) & (test["groups.kind"] == "B"), "matched_value"] -= 0.6
    table = bias.smd_table(test, dev=dev, **HOW)
    found = bias.model_or_method(test, table, **HOW).set_index("speaks_of")
    assert found.index.tolist() == [bias.METHOD, "seed 1", "seed 2", "seed 3"] and set(found["judged"]) == {2}
    assert found["biased"].tolist() == [0, 0, 1, 0] and "kind = B (-0." in found.loc["seed 2", "biased_groups"]
    assert (found[["biased", "not_biased", "undecided"]].sum(axis=1) == 2).all()
    one = arms.pick(test, seed=2)
    alone = bias.model_or_method(one, bias.smd_table(one, dev=dev, **HOW), **HOW).set_index("speaks_of")
    assert (
        alone.loc[bias.METHOD, "biased_groups"] == bias.ONE_SEED and alone.loc[bias.METHOD, ["biased", "undecided"]].isna().all()
    )
    assert alone.loc["seed 2", "biased"] == 1


def test_what_matching_did_to_a_group_is_paired_over_its_essays(three):
    test, _ = three
    found = bias.matching_table(test, groups=HOW["groups"], seed=1, resamples=2_000).set_index("group")
    for group, part in test.groupby("groups.kind"):
        smds = {
            name: np.mean([metrics.smd(rows["score"], rows[name]) for _, rows in part.groupby("seed")])
            for name in ("value", "matched_value")
        }
        row = found.loc[group]
        assert (row["smd_before"], row["smd"]) == pytest.approx((smds["value"], smds["matched_value"]))
        assert row["change"] == pytest.approx(abs(smds["matched_value"]) - abs(smds["value"]))
        assert row["change_low"] < row["change"] < row["change_high"] and row["effect"] == "better"
    assert bias.matching_table(test.assign(value=test["matched_value"]), groups=[], seed=1).empty


def test_a_group_made_worse_is_called_so_and_a_small_one_is_left_out():
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"score": rng.integers(1, 6, 200).astype(float), "kind": ["A"] * 120 + ["B"] * 75 + ["C"] * 5})
    frame["before"] = frame["score"] + rng.normal(0, 0.4, 200)
    frame["after"] = frame["before"] - 0.5 * (frame["kind"] == "B")
    table = fairness.change_by_group(frame, groups=["kind"], before="before", after="after", seed=1, resamples=500)
    assert table["group"].tolist() == ["all", "A", "B"] and table["effect"].tolist() == ["worse", "not shown", "worse"]
    same = table.set_index("group").loc["A"]
    assert same["change"] == same["change_low"] == same["change_high"] == 0
