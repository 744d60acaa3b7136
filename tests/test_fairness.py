import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import fairness, metrics

SCALE = Scale(1, 5, 0.5)


def essays(seed=1, n=900, *, bias=0.0, gap=0.8):
    """Group B writes worse by `gap` points; the machine takes another `bias` points off its essays."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["A", "B", "C"], n, p=[0.5, 0.3, 0.2])
    truth = 3 + rng.normal(0, 0.8, n) - gap * (group == "B")
    human = SCALE.score(SCALE.nearest(truth + rng.normal(0, 0.3, n)))
    return pd.DataFrame({"score": human, "value": truth + rng.normal(0, 0.4, n) - bias * (group == "B"), "groups.kind": group})


def judge(frame, **options):
    return fairness.smd_by_group(frame, **{"groups": ["groups.kind"], "scale": SCALE, "seed": 1, "resamples": 800, **options})


@pytest.mark.parametrize(
    "value,low,high,wanted",
    [
        (-0.3, -0.4, -0.2, "biased"),
        (0.3, 0.1, 0.5, "biased"),
        (0.3, 0.05, 0.5, "undecided"),
        (0.05, -0.02, 0.09, "not biased"),
        (0.0, -0.1, 0.1, "not biased"),
        (0.0, -0.3, 0.3, "undecided"),
        (-0.15, -0.3, 0.0, "undecided"),
        (np.nan, np.nan, np.nan, "undecided"),
    ],
)
def test_verdict(value, low, high, wanted):
    assert fairness.verdict(value, low, high, limit=0.1) == wanted


def test_a_planted_bias_is_found_at_its_size_and_no_other():
    covered, alarms = 0, 0
    for seed in range(60):
        table = judge(essays(seed, bias=0.4, gap=0.0), resamples=400).set_index("group")  # no gap: trimming shifts no mean
        row = table.loc["B"]
        assert row["verdict"] == "biased"
        covered += row["smd_low"] < -0.4 / row["human_sd"] < row["smd_high"]
        alarms += (table.loc[["A", "C"], "verdict"] == "biased").sum()
    assert covered >= 53 and alarms == 0
    assert judge(essays(n=6_000, gap=0.0))["verdict"].tolist() == ["not biased"] * 4


def test_columns_and_values():
    frame = essays()
    table = judge(frame)
    assert list(table["attribute"]) == ["all", "kind", "kind", "kind"] and list(table["group"]) == ["all", "A", "B", "C"]
    assert table["n"].iloc[0] == 900 == table["n"].iloc[1:].sum() and table["limit"].tolist() == [0.15, 0.1, 0.1, 0.1]
    z = [(frame[x] - frame[x].mean()) / frame[x].std() for x in ("value", "score")]
    for _, row in table.iterrows():
        part = frame if row["group"] == "all" else frame[frame["groups.kind"] == row["group"]]
        assert row["smd"] == pytest.approx((part["value"].mean() - part["score"].mean()) / part["score"].std())
        assert row["dsm"] == pytest.approx((z[0] - z[1])[part.index].mean(), abs=1e-12)
        assert row["qwk"] == pytest.approx(metrics.agreement_metrics(part["score"], part["value"], SCALE)["qwk"])
        assert row["smd_low"] < row["smd"] < row["smd_high"] and row["dsm_low"] <= row["dsm"] <= row["dsm_high"]
    whole = table.iloc[0]
    assert whole["dsm"] == whole["dsm_low"] == whole["dsm_high"] == 0 and (table["denominator"] == "human").all()


@pytest.mark.slow
def test_intervals_are_those_of_a_plain_bootstrap():
    frame = essays(n=300)
    row = judge(frame, resamples=4_000).iloc[2]
    rng, smds, dsms = np.random.default_rng(5), [], []
    for _ in range(800):  # every group's essays, its size kept
        drawn = frame.groupby("groups.kind").sample(frac=1, replace=True, random_state=rng)
        z = [(drawn[x] - drawn[x].mean()) / drawn[x].std() for x in ("value", "score")]
        mine = (drawn["groups.kind"] == row["group"]).to_numpy()
        smds.append((drawn["value"][mine].mean() - drawn["score"][mine].mean()) / drawn["score"][mine].std())
        dsms.append((z[0] - z[1])[mine].mean())
    for name, values in (("smd", smds), ("dsm", dsms)):
        wanted = np.quantile(values, [0.025, 0.975])
        assert [row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(wanted, abs=0.15 * np.ptp(wanted))


def test_too_strict_for_everyone_fails_smd_and_not_dsm():
    frame = essays(n=4_000, gap=0.0).assign(value=lambda f: f["value"] - 0.2)
    table = judge(frame)
    assert (table["verdict"] == "biased").all() and (table["dsm"].abs() < 0.1).all()


@pytest.mark.parametrize("denominator", list(metrics.DENOMINATORS))
def test_denominators(denominator):
    frame = essays()
    row = judge(frame, denominator=denominator).set_index("group").loc["B"]
    part = frame[frame["groups.kind"] == "B"]
    whole = frame["score"], frame["value"]
    assert row["smd"] == pytest.approx(metrics.smd(part["score"], part["value"], denominator=denominator, whole=whole))
    assert row["smd_low"] < row["smd"] < row["smd_high"] and row["denominator"] == denominator


def test_small_unknown_and_constant_groups_are_shown_not_judged():
    frame = essays(n=400)
    frame["groups.grade"] = [10.0] * 200 + [8.0] * 180 + [9.0] * 9 + [11.0] + [np.nan] * 10
    frame.loc[:199, "score"] = 3.0  # no human variance in grade 10
    table = judge(frame, groups=["groups.grade"]).set_index("group")
    assert table.index.tolist() == ["all", "8", "9", "10", "11", "not recorded"]
    assert table.loc[["9", "11"], "verdict"].tolist() == ["too few"] * 2 and np.isfinite(table.loc["9", "smd"])
    assert np.isnan(table.loc["10", "smd"]) and table.loc["10", "verdict"] == "undecided"
    assert np.isnan(table.loc["11", "smd"]) and table.loc["11", "n"] == 1
    assert table.loc["not recorded", "verdict"] == "not a group" and table.loc["not recorded", "n"] == 10


def test_wrong_columns_and_scores_are_named():
    with pytest.raises(CyborgError, match="groups.sex"):
        judge(essays(), groups=["groups.sex"])
    with pytest.raises(CyborgError, match="machine score"):
        judge(essays().assign(value=np.nan))
    with pytest.raises(CyborgError, match="off the scale"):
        judge(essays().assign(score=2.2))


def test_osa_osd_csd_are_ordinary_least_squares():
    frame = essays(bias=0.3)
    table = fairness.osa_osd_csd(frame, groups=["groups.kind"]).set_index("measure")
    error, group = frame["value"] - frame["score"], pd.get_dummies(frame["groups.kind"], dtype=float)
    score = pd.get_dummies(frame["score"], dtype=float).iloc[:, 1:]
    for measure, outcome in (("OSA", error**2), ("OSD", error)):
        fit = sm.OLS(outcome, sm.add_constant(group.iloc[:, 1:])).fit()
        assert table.loc[measure, ["r2_adjusted", "f", "p"]].tolist() == pytest.approx(
            [fit.rsquared_adj, fit.fvalue, fit.f_pvalue]
        )
    f, p = stats.f_oneway(*[error[frame["groups.kind"] == g] for g in "ABC"])
    assert table.loc["OSD", ["f", "p"]].tolist() == pytest.approx([f, p])
    base, both = sm.OLS(error, sm.add_constant(score)).fit(), sm.OLS(error, sm.add_constant(score.join(group.iloc[:, 1:]))).fit()
    f, p, _ = both.compare_f_test(base)
    assert table.loc["CSD", ["f", "p"]].tolist() == pytest.approx([f, p])
    assert table.loc["CSD", "r2_adjusted"] == pytest.approx(both.rsquared_adj - base.rsquared_adj)
    assert (table["p_holm"] >= table["p"]).all() and (table["n"] == 900).all() and (table["groups"] == 3).all()


def test_csd_forgives_what_true_score_explains():
    # A machine that shrinks everything to the middle is too kind to a weak group, but alike to all writers of one score.
    rng = np.random.default_rng(4)
    frame = essays(n=3_000, gap=1.2)
    frame["value"] = 3 + 0.4 * (frame["score"] - 3) + rng.normal(0, 0.3, len(frame))
    table = fairness.osa_osd_csd(frame, groups=["groups.kind"]).set_index("measure")
    assert table.loc["OSD", "r2_adjusted"] > 0.1 and table.loc["CSD", "p"] > 0.01 and abs(table.loc["CSD", "r2_adjusted"]) < 0.01


def test_osa_osd_csd_at_the_edges():
    frame = essays(n=60).assign(rare=["x"] * 5 + ["y"] * 52 + [None] * 3, one="z", each=[str(i) for i in range(60)])
    table = fairness.osa_osd_csd(frame, groups=["rare", "one", "each"])
    assert table[["r2_adjusted", "f", "p", "p_holm"]].isna().all(axis=None)
    assert table.loc[table["attribute"] == "rare", ["n", "groups", "left_out"]].to_numpy().tolist() == [[52, 1, 8]] * 3
    perfect = essays(n=60).assign(value=lambda f: f["score"] + 0.1)
    assert fairness.osa_osd_csd(perfect, groups=["groups.kind"])["p"].isna().all()
    level = essays(n=60).assign(score=3.0)
    both = fairness.osa_osd_csd(level, groups=["groups.kind"]).set_index("measure")
    assert both.loc["CSD", "p"] == pytest.approx(both.loc["OSD", "p"])  # with one human score there is nothing to condition on


def test_csd_where_groups_share_few_scores_says_nothing_false_and_warns_of_nothing():
    frame = essays(n=300, bias=0.3)
    frame.loc[frame["groups.kind"] == "C", "score"] = 5.0  # and nobody else has a 5: C cannot be told from its score
    frame.loc[(frame["groups.kind"] != "C") & (frame["score"] == 5.0), "score"] = 4.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = fairness.osa_osd_csd(frame, groups=["groups.kind"]).set_index("measure")
        apart = frame.assign(score=frame["groups.kind"].map({"A": 2.0, "B": 3.0, "C": 4.0}))
        nothing = fairness.osa_osd_csd(apart, groups=["groups.kind"]).set_index("measure")
    error = frame["value"] - frame["score"]
    base = sm.add_constant(pd.get_dummies(frame["score"], dtype=float).iloc[:, 1:])
    both = sm.OLS(error, base.assign(b=(frame["groups.kind"] == "B").astype(float))).fit()  # of full rank
    f, p, _ = both.compare_f_test(sm.OLS(error, base).fit())
    assert table.loc["CSD", ["f", "p"]].tolist() == pytest.approx([f, p])
    assert nothing.loc["CSD", ["r2_adjusted", "f", "p"]].isna().all() and np.isfinite(nothing.loc["OSD", "f"])


def test_score_distribution_by_hand():
    table = fairness.score_distribution({"human": [0, 1, 2, 3], "synthetic": [0, 0, 1, 2], "none": []}, Scale(1, 4))
    assert list(table) == ["source", "n", "mean", "sd", "mean_shift", "1", "2", "3", "4", "top_share", "top_ratio"]
    human, synthetic, none = (table.iloc[at] for at in range(3))
    assert human[["n", "mean", "mean_shift", "top_share", "top_ratio"]].tolist() == [4, 2.5, 0, 0.5, 1]
    assert synthetic[["1", "2", "3", "4"]].tolist() == [0.5, 0.25, 0.25, 0] and synthetic["mean_shift"] == -0.75
    assert synthetic["top_ratio"] == 0.5 and synthetic["sd"] == pytest.approx(np.std([1, 1, 2, 3], ddof=1))
    assert none["n"] == 0 and none[["mean", "1", "top_share", "top_ratio"]].isna().all()
    assert fairness.score_distribution({"human": [0, 1]}, Scale(1, 4))["top_ratio"].isna().all()
    assert "3.5" in fairness.score_distribution({"human": [0]}, SCALE)
    with pytest.raises(CyborgError, match="levels"):
        fairness.score_distribution({"human": [4]}, Scale(1, 4))


def test_groups_under_a_second_attribute_do_not_change_the_first():
    frame = essays(n=200).assign(other=["x", "y"] * 100)
    both = judge(frame, groups=["groups.kind", "other"])
    pd.testing.assert_frame_equal(both.iloc[:4], judge(frame))


def test_crossed_groups():
    frame = essays(n=600).assign(**{"groups.sex": ["F", "M", None] * 200, "groups.grade": [8.0, np.nan, 10.0] * 200})
    found, name = fairness.crossed(frame, "groups.kind", "groups.sex")
    assert name == "groups.kind x sex" and "groups.kind x sex" not in frame
    assert found[name].isna().sum() == 200 and set(found[name].dropna()) == {f"{a} x {b}" for a in "ABC" for b in "FM"}
    table = judge(found, groups=["groups.kind", name])
    part = table[table["attribute"] == "kind x sex"]
    assert len(part) == 7 and part["n"].sum() == 600 and part["verdict"].iloc[-1] == "not a group"
    numbers, name = fairness.crossed(frame, "groups.grade", "groups.kind")
    assert "8 x A" in set(numbers[name]) and numbers[name].isna().sum() == 200
    with pytest.raises(CyborgError, match="no column"):
        fairness.crossed(frame, "groups.kind", "groups.age")


def curves(frame, **options):
    return fairness.conditional_bias(frame, **{"groups": ["groups.kind"], "seed": 1, "resamples": 800, **options})


def test_conditional_bias_by_hand():
    frame = pd.DataFrame({"score": [1, 1, 1, 2, 2, 3], "value": [1.5, 2.5, 1.0, 2.0, 3.0, 3.0], "kind": list("AABABB")})
    table = curves(frame, groups=["kind"], min_group=2)
    a, b = (table[table["group"] == group].reset_index(drop=True) for group in "AB")
    assert a["score"].tolist()[:2] == [1, 2] and np.isnan(a["score"][2]) and a["n"].tolist() == [2, 1, 3]
    assert a["bias"].tolist() == pytest.approx([1, 0, 2 / 3]) and a["gap"].tolist() == pytest.approx([1, -1, 1 / 3])
    assert b["bias"].tolist() == pytest.approx([0, 1, 0, 1 / 3]) and b["gap"].tolist()[:2] == pytest.approx([-1, 1])
    assert np.isnan(b["gap"][2]) and b["gap"][3] == pytest.approx(0)  # nobody else has a 3: it is left out of the mean
    assert a["verdict"].tolist()[1] == "too few" and np.isnan(a["low"][1]) and np.isfinite(a["low"][0])
    everyone = table[table["attribute"] == "all"]
    assert everyone["gap"].isna().all() and everyone["verdict"].tolist() == ["", "", "too few", ""]
    assert everyone["bias"].tolist() == pytest.approx([2 / 3, 0.5, 0, 0.5])
    assert table["limit"].tolist() == pytest.approx([0.1 * frame["score"].std()] * len(table))


def test_conditional_bias_finds_a_planted_one_and_forgives_shrinking():
    rng = np.random.default_rng(4)
    frame = essays(n=4_000, gap=1.2)
    frame["value"] = 3 + 0.4 * (frame["score"] - 3) + rng.normal(0, 0.3, len(frame))  # shrinks alike for all
    table = curves(frame)
    whole = table[table["score"].isna() & (table["attribute"] != "all")]
    assert (whole["verdict"] == "not biased").all()
    low, high = (table[(table["group"] == "B") & (table["score"] == score)]["bias"].iloc[0] for score in (2, 4))
    assert low > 0.4 and high < -0.4
    strict = curves(frame.assign(value=frame["value"] - 0.3 * (frame["groups.kind"] == "B")))
    row = strict[(strict["group"] == "B") & strict["score"].isna()].iloc[0]
    assert row["verdict"] == "biased" and row["gap_low"] < -0.3 < row["gap_high"]


def test_conditional_bias_at_the_edges():
    one = curves(essays(n=1))
    assert one[["low", "high", "gap"]].isna().all(axis=None) and one["n"].eq(1).all()
    level = curves(essays(n=40).assign(score=3.0))
    assert set(level["score"].dropna()) == {3.0} and (level["limit"] == 0).all() and "not biased" not in set(level["verdict"])
    alone = curves(essays(n=40).assign(**{"groups.kind": "A"}))
    assert alone["gap"].isna().all() and np.isfinite(alone["bias"]).all()
    with pytest.raises(CyborgError, match="machine score"):
        curves(essays(n=9).assign(value=np.nan))


def test_suppression_of_a_machine_that_never_gives_high_scores():
    """0 of 40 is not proof of never: the exact upper end, 1 - (alpha / 2) ** (1 / n) (Clopper & Pearson)."""
    human = np.array([0, 1, 2, 3] * 10)
    found = fairness.suppression(human, np.minimum(human, 1), scale=Scale(1, 4), seed=1, resamples=400)
    most = 1 - 0.025 ** (1 / 40)
    assert found["machine_top"] == found["ratio"] == 0 and found["human_top"] == 0.5
    assert found["ratio_high"] == pytest.approx(most / 0.5) and found["change_high"] >= most - 0.5


def test_suppression_by_hand_and_over_seeds():
    human, machine = np.array([0, 1, 2, 3, 3, 3]), np.array([0, 1, 2, 2, 3, 1])
    found = fairness.suppression(human, machine, scale=Scale(1, 4), top=1, seed=1, resamples=400)
    assert found["n"] == 6 and found["human_top"] == 0.5 and found["machine_top"] == pytest.approx(1 / 6)
    assert found["ratio"] == pytest.approx(1 / 3) and found["change"] == pytest.approx(-1 / 3)
    assert found["shift"] == pytest.approx(-3 / 6)
    two = {"essay": [*"abcdef", *"fedcba"], "scale": Scale(1, 4), "top": 1, "seed": 1, "resamples": 400}
    seeds = fairness.suppression([*human, *human[::-1]], [*machine, *human[::-1]], **two)
    assert seeds["n"] == 6 and seeds["ratio"] == pytest.approx(2 / 3) and seeds["shift"] == pytest.approx(-0.25)
    half = fairness.suppression(human, machine, scale=Scale(1, 2.5, 0.5), seed=1, resamples=100)
    assert half["shift"] == pytest.approx(-0.25) and half["human_top"] == pytest.approx(4 / 6)


def test_suppression_is_a_plain_paired_bootstrap():
    rng = np.random.default_rng(8)
    human = rng.integers(0, 5, 400)
    machine = np.clip(human - (rng.random(400) < 0.3), 0, 4)
    found = fairness.suppression(human, machine, scale=Scale(1, 5), seed=1, resamples=4_000)
    drawn = rng.integers(0, 400, (4_000, 400))
    ratios = (machine[drawn] >= 3).mean(axis=1) / (human[drawn] >= 3).mean(axis=1)
    wanted = np.quantile(ratios, [0.025, 0.975])
    assert [found["ratio_low"], found["ratio_high"]] == pytest.approx(wanted, abs=0.12 * np.ptp(wanted))
    assert found["ratio_high"] < 1 and found["shift_high"] < 0


def test_suppression_at_the_edges():
    none = fairness.suppression([0, 1, 1], [0, 1, 2], scale=Scale(1, 5), seed=1, resamples=100)
    assert np.isnan([none["ratio"], none["ratio_low"]]).all() and none["change"] == 0
    one = fairness.suppression([4], [3], scale=Scale(1, 5), seed=1, resamples=100)
    assert one["ratio"] == 1 and one["shift"] == -1 and np.isnan([one["ratio_low"], one["shift_low"]]).all()
    same = fairness.suppression([2, 3, 4], [2, 3, 4], scale=Scale(1, 5), seed=1, resamples=100)
    assert same["ratio"] == same["ratio_low"] == same["ratio_high"] == 1 and same["shift"] == 0
    with pytest.raises(CyborgError, match="levels"):
        fairness.suppression([5], [3], scale=Scale(1, 5), seed=1)
    with pytest.raises(CyborgError, match="nothing to resample"):
        fairness.suppression([], [], scale=Scale(1, 5), seed=1)
