"""Essays nested in prompts: intervals over prompts, and attributes that are confounded with them."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import fairness, metrics, prompts

SCALE = Scale(1, 5, 0.5)


def essays(rng: np.random.Generator, count: int = 30, *, spread: float = 0.3) -> pd.DataFrame:
    """Prompts of 5 to 15 essays; the machine is stricter on some than on others, with a SD of `spread` points, and 0 overall."""
    prompt = np.repeat(np.arange(count), rng.integers(5, 16, count))
    human = SCALE.score(SCALE.nearest(3 + 0.7 * rng.normal(size=len(prompt))))
    value = human + rng.normal(0, 0.5, len(prompt)) + spread * rng.normal(size=count)[prompt]
    return pd.DataFrame({"score": human, "value": value, "prompt": prompt.astype(str)})


def judged(frame: pd.DataFrame, **options: object) -> pd.DataFrame:
    return fairness.smd_by_group(frame, groups=[], scale=SCALE, seed=1, resamples=200, prompt="prompt", **options)


def test_the_interval_leaves_out_a_prompt_at_a_time():
    frame = essays(np.random.default_rng(1), 9)
    row = judged(frame).iloc[0]
    others = [frame[frame["prompt"] != one] for one in frame["prompt"].unique()]
    without = np.array([metrics.smd(part["score"], part["value"]) for part in others])
    half = stats.t.ppf(0.975, 8) * np.sqrt(8 / 9 * ((without - row["smd"]) ** 2).sum())
    assert [row["smd_prompt_low"], row["smd_prompt_high"]] == pytest.approx([row["smd"] - half, row["smd"] + half])
    assert row["prompts"] == 9


def test_for_a_mean_it_is_near_the_cluster_robust_covariance_of_statsmodels():
    frame = essays(np.random.default_rng(2), 40)
    gap, everyone = frame["value"] - frame["score"], np.full(len(frame), True)
    parts = metrics.moments(frame["score"].to_numpy(), frame["value"].to_numpy())
    low, high, count = prompts.jackknife(
        lambda group, whole: metrics.from_moments("mean_difference", group), parts, prompts.codes(frame["prompt"]), everyone
    )
    robust = sm.OLS(gap, np.ones(len(gap))).fit(cov_type="cluster", cov_kwds={"groups": prompts.codes(frame["prompt"])})
    assert count == 40 and (high + low) / 2 == pytest.approx(gap.mean())
    assert (high - low) / 2 / stats.t.ppf(0.975, 39) == pytest.approx(robust.bse.iloc[0], rel=0.1)


@pytest.mark.parametrize("denominator", list(metrics.DENOMINATORS))
def test_every_denominator_has_one(denominator):
    row = judged(essays(np.random.default_rng(3)), denominator=denominator).iloc[0]
    assert row["smd_prompt_low"] < row["smd"] < row["smd_prompt_high"]


def test_one_prompt_has_no_interval_and_unknown_prompts_are_one():
    frame = essays(np.random.default_rng(4), 3)
    one = judged(frame.assign(prompt="a")).iloc[0]
    assert one["prompts"] == 1 and np.isnan(one["smd_prompt_low"]) and np.isfinite(one["smd_low"])
    assert judged(frame.assign(prompt=[None] * 9 + ["a"] * (len(frame) - 9))).iloc[0]["prompts"] == 2
    assert "prompts" not in fairness.smd_by_group(frame, groups=[], scale=SCALE, seed=1, resamples=10)
    with pytest.raises(CyborgError, match="no column 'prompt'"):
        judged(frame.drop(columns="prompt"))


def test_nested_essays_are_covered_by_intervals_over_prompts_and_not_by_those_over_essays():
    rng, over_prompts, over_essays = np.random.default_rng(5), 0, 0
    for _ in range(150):
        row = judged(essays(rng)).iloc[0]
        over_prompts += row["smd_prompt_low"] < 0 < row["smd_prompt_high"]
        over_essays += row["smd_low"] < 0 < row["smd_high"]
    assert over_prompts >= 0.91 * 150 and over_essays < 0.85 * 150


def test_cramers_v_by_hand_and_at_its_ends():
    first, second = np.array(list("aaaabbbbcc")), np.array(list("xxxyyyyxxy"))
    table = pd.crosstab(first, second).to_numpy()
    squared = stats.chi2_contingency(table, correction=False).statistic / 10
    expected = max(0, squared - 2 * 1 / 9) / (min(3 - 4 / 9, 2 - 1 / 9) - 1)
    assert prompts.cramers_v(first, second) == pytest.approx(np.sqrt(expected))
    assert prompts.cramers_v(np.repeat([1, 2, 3], 40), np.repeat(list("xyz"), 40)) == pytest.approx(1)
    assert np.isnan(prompts.cramers_v(["a"] * 9, list("xyzxyzxyz")))
    rng = np.random.default_rng(6)
    group, prompt = rng.integers(0, 5, 500), rng.integers(0, 43, 500)  # as many as on ELLIPSE, unrelated
    plain = stats.contingency.association(pd.crosstab(group, prompt).to_numpy(), method="cramer")
    assert plain > 0.25 > 0.1 > prompts.cramers_v(group, prompt)


def test_confounded_attributes_stand_out():
    rng = np.random.default_rng(7)
    frame = essays(rng)
    own = frame["prompt"].astype(int) % 3
    frame = frame.assign(
        **{"groups.grade": np.where(rng.random(len(frame)) < 0.8, own, 3), "groups.sex": rng.integers(0, 2, len(frame))}
    )
    frame.loc[:4, "groups.sex"] = np.nan
    table = prompts.confounding(frame, ["groups.grade", "groups.sex"]).set_index("attribute")
    assert table.loc["grade", "cramers_v"] > 0.6 > 0.2 > table.loc["sex", "cramers_v"]
    assert (
        table.loc["sex", "n"] == len(frame) - 5 and table["prompts"].tolist() == [30, 30] and table["groups"].tolist() == [4, 2]
    )
