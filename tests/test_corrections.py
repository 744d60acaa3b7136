"""Corrections compared: fitted on the development essays, judged on the test essays."""

import re

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import corrections
from cyborg_utils.plots import curves
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import METHODS, matching_noise

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
    fitted = corrections.corrected(dev, test, scale=SCALE, groups=["groups.kind"], min_group=10)
    options = {"resamples": 300, "confidence": 0.95, "seed": 1}
    bias = corrections.judged(fitted, groups=["groups.kind"], scale=SCALE, limit=0.1, **options)
    return fitted, bias, corrections.trade_off(fitted, bias, aim=0.05, **options)


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
        corrections.corrected(dev, test, **options)["value"], corrections.corrected(dev, other, **options)["value"]
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
    assert (by[list(corrections.BY_AIM)].sum(axis=1) == 2).all() and by.loc["mean and SD", "worst_chance_high"] < 0.15


def test_a_correction_is_shown_with_what_it_did_to_the_worst_group(found):
    fitted, _, table = found
    row = table.set_index("method").loc["mean and SD"]
    part = {name: fitted[(fitted["method"] == name) & (fitted["groups.kind"] == "B")] for name in ("uncorrected", "mean and SD")}
    before, after = (
        abs(np.mean([metrics.smd(seed["score"], seed["value"]) for _, seed in rows.groupby("seed")])) for rows in part.values()
    )
    assert (row["worst_before"], row["worst"]) == pytest.approx((before, after))
    assert row["worst_change"] == pytest.approx(after - before) and row["effect"] == "better"
    assert row["worst_change_low"] < row["worst_change"] < row["worst_change_high"] < 0
    none = table.set_index("method").loc["uncorrected", ["worst_change", "worst_change_low", "worst_change_high"]]
    assert none.tolist() == [0, 0, 0]
    text = corrections.worst_groups(table)
    assert (
        f"mean and SD takes kind: B from {before:.2f} to {after:.2f}" in text
        and "worse off beyond chance: none; better: mean" in text
    )
    assert "no group is large" in corrections.worst_groups(table.assign(worst_change=np.nan)).lower()


def test_the_noise_of_fitting_is_that_of_matching_and_counts_in_the_intervals(found):
    fitted, bias, _ = found
    rng = np.random.default_rng(6)
    dev, test = rows(rng, "d", 300), rows(rng, "t", 400)
    how = {"scale": SCALE, "groups": ["groups.kind"], "min_group": 10, "seed": 1}
    noise = corrections.fitting_noise(dev, test, draws=150, **how)
    assert set(noise["method"]) == set(bias["method"]) and (noise["essays"] == 300).all()
    own = noise[noise["method"] == "mean and SD"].set_index("group")["noise"]
    means = [
        [part["value"].mean() for part in (seed, *(seed[seed["groups.kind"] == name] for name in "AB"))]
        for _, seed in fitted[fitted["method"] == "mean and SD"].groupby("seed")
    ]
    raw = [seed["value"].to_numpy() for _, seed in dev.groupby("seed")]
    exact = matching_noise(dev[dev["seed"] == 1]["score"], raw, means, resamples=4_000, seed=1)
    assert own[["all", "A", "B"]].tolist() == pytest.approx(exact.tolist(), rel=0.2)
    assert noise[noise["method"] == "uncorrected"]["noise"].max() < 1e-9
    options = {"resamples": 300, "confidence": 0.95, "seed": 1, "groups": ["groups.kind"], "scale": SCALE, "limit": 0.1}
    wider = corrections.judged(fitted, noise=noise, **options)
    longer = (wider["smd_high"] - wider["smd_low"]) - (bias["smd_high"] - bias["smd_low"])
    assert (longer[wider["method"] != "uncorrected"] >= 0).all() and longer[wider["method"] == "mean and SD"].min() > 0.005
    one = corrections.fitting_noise(dev[dev["seed"] == 1], test[test["seed"] == 1], draws=2, **how)
    alone = corrections.judged(fitted[fitted["seed"] == 1], noise=one, **options)
    assert one.empty and set(alone["interval_of"]) == {"essays"}


def test_the_scope_says_what_one_seed_cannot():
    rng = np.random.default_rng(1)
    dev, test = rows(rng, "d", 30), rows(rng, "t", 40).assign(n_human=451)
    text = corrections.scope(dev, test, model="net", labels="cyborg")
    assert "451 human scores (U, 10%, and the development split), seeds 1, 2; 30 development" in text and "One seed" not in text
    alone = corrections.scope(dev, test[test["seed"] == 1], model="net", labels="cyborg")
    assert alone.endswith(
        "One seed: every verdict is on that trained model; a claim about the method cannot be said from one seed."
    )


def test_without_groups_there_is_no_worst_group(found):
    fitted, _, _ = found
    one = fitted[fitted["needs"] == "nothing"]
    options = {"resamples": 100, "confidence": 0.95, "seed": 1}
    bias = corrections.judged(one, groups=[], scale=SCALE, limit=0.1, **options)
    table = corrections.trade_off(one, bias, aim=0.05, **options)
    assert table["worst"].isna().all() and set(table["method"]) == set(METHODS)
    assert table["worst_chance"].isna().all() and not table[list(corrections.BY_AIM)].to_numpy().any()
    assert corrections.aim_reached(table, aim=0.05) == "no group is large enough to be judged"
    assert not corrections.knowing_groups(table, confidence=0.95)


def test_the_aim_is_judged_by_whole_intervals(found):
    """Four groups: one within +-0.05, one beyond it, one near 0 but not sure, one that is not judged."""
    fitted, _, _ = found
    one = fitted[fitted["needs"] == "nothing"]
    ends = [("a", 0.01, -0.03, 0.04), ("b", -0.30, -0.40, -0.20), ("c", 0.0, -0.10, 0.10), ("few", 0.9, 0.5, 1.3)]
    bias = pd.DataFrame(ends, columns=["group", "smd", "smd_low", "smd_high"])
    bias = bias.assign(attribute="kind", n=100, smd_se=0.05, verdict=["not biased", "biased", "undecided", "too few"])
    whole = bias.head(1).assign(attribute="all", group="all")
    bias = pd.concat([whole, bias]).merge(pd.DataFrame({"method": list(METHODS), "needs": "nothing"}), how="cross")
    row = corrections.trade_off(one, bias, aim=0.05, resamples=20, confidence=0.95, seed=1).iloc[0]
    assert row[["within_aim", "beyond_aim", "undecided_aim"]].tolist() == [1, 1, 1]
    assert (row["worst"], row["worst_group"]) == (0.30, "kind: b")
    assert row["worst_chance"] == pytest.approx(corrections.largest_by_chance([0.05] * 3, [100] * 3, 0.5))


def test_the_largest_gap_by_chance_alone():
    """One large group: the half-normal distribution. Many groups: as simulated. The more groups, the larger."""
    assert corrections.largest_by_chance([0.1], [10**6], 0.95) == pytest.approx(0.196, abs=1e-3)
    errors, sizes = np.array([0.04, 0.05, 0.08, 0.12, 0.14, 0.15]), np.array([400, 300, 120, 50, 40, 12])
    rng = np.random.default_rng(1)
    drawn = rng.standard_t(sizes - 1, (200_000, 6)) * errors * np.sqrt(sizes / (sizes - 1))
    for share in (0.5, 0.95):
        expected = np.quantile(np.abs(drawn).max(axis=1), share)
        assert corrections.largest_by_chance(errors, sizes, share) == pytest.approx(expected, rel=0.01)
    assert corrections.largest_by_chance(errors, sizes, 0.5) > corrections.largest_by_chance(errors[:5], sizes[:5], 0.5)
    assert corrections.largest_by_chance([0.1, 0, np.nan], [50, 2, 2], 0.5) == corrections.largest_by_chance([0.1], [50], 0.5)
    assert np.isnan(corrections.largest_by_chance([0, np.nan], [2, 2], 0.5))


# ---------------------------------------------------------------- what is said of it


def table(**worst: tuple[float, int]) -> pd.DataFrame:
    """A trade-off of "mean and SD" and others that know the group: the largest |SMD| and the groups within the aim, of 4."""
    rows = [
        {"method": name.replace("_", " "), "needs": "nothing" if name == "mean_and_SD" else "kind", "worst": size}
        | {"within_aim": sure, "beyond_aim": 0, "undecided_aim": 4 - sure}
        for name, (size, sure) in worst.items()
    ]
    return pd.DataFrame(rows).assign(worst_group="kind: B", worst_chance=0.17, worst_chance_high=0.3)


@pytest.mark.parametrize(
    "worst, words",
    [
        ({"mean_and_SD": (0.20, 0), "by_kind": (0.04, 3)}, "cannot show for any .* within ±0.05; none of 2 leaves more in some"),
        (
            {"mean_and_SD": (0.31, 0), "by_kind": (0.04, 0)},
            "cannot show for any .*; 1 of 2 leaves more in some group than chance",
        ),
        ({"mean_and_SD": (0.31, 0), "by_kind": (0.50, 0)}, "cannot show for any .*; 2 of 2 leave more in some group than chance"),
        (
            {"mean_and_SD": (0.16, 0), "by_kind": (0.04, 4)},
            r"these essays show that \*by kind\*, as fitted here, brings every judged group within",
        ),
        (
            {"mean_and_SD": (0.02, 4), "by_kind": (0.04, 4)},
            r"show that \*mean and SD\*, \*by kind\*, as fitted here, bring every judged group",
        ),
    ],
)
def test_the_aim_is_reached_where_intervals_show_it(worst, words):
    assert re.search(words, corrections.aim_reached(table(**worst), aim=0.05))


@pytest.mark.parametrize(
    "worst, words",
    [
        (
            (0.16, 0.20, 0.15),
            "0.16 .kind: B., no more than chance .*median 0.17, 95% .* at most 0.30.*cannot show.*; none of them more",
        ),
        ((0.16, 0.20, 0.40), "no more than chance .*cannot show.* leave 0.20 to 0.40; 1 of them more than chance"),
        ((0.303, 0.20, 0.40), r"0\.303 .kind: B., (no )?more than chance .* at most 0\.\d{3}\)"),
        ((0.50, 0.20, 0.40), "0.50 .kind: B., more than chance .*0.30.. The 2 .* leave 0.20 to 0.40; 1 of them more than chance"),
    ],
)
def test_knowing_the_group_helps_only_beyond_chance(worst, words):
    names = ("mean_and_SD", "by_kind", "by_all")
    given = table(**{name: (size, 0) for name, size in zip(names, worst, strict=True)})
    assert re.search(words, corrections.knowing_groups(given, confidence=0.95))


def test_small_groups_are_named_with_their_sizes():
    dev = pd.DataFrame({"essay_id": ["a", "a", "b", "c"], "groups.kind": ["A", "A", "A", "B"]})
    test = pd.DataFrame({"essay_id": ["d", "e"], "groups.kind": ["C", None]})
    among = pd.concat([dev, test])
    assert corrections.groups_below(2, dev, among=among, groups=["groups.kind"]) == "kind B (1), kind C (0)"
    assert corrections.groups_below(0, dev, among=among, groups=["groups.kind"]) == "none"


def test_every_correction_has_a_row_of_its_own_in_the_figure(found):
    _, _, table = found
    figure, alt = curves.correction_forest(table, reference="mean and SD")
    assert all(name in alt for name in table["method"])
    left, right = figure.axes
    heights, names = left.get_yticks(), [label.get_text() for label in left.get_yticklabels()]
    assert len(set(heights)) == len(table) and np.diff(heights).min() == 1
    assert "mean and SD (reference)" in names and names.index("mean and SD by kind") > names.index("uncorrected")
    fills = {line.get_ydata()[0]: line.get_mfc() for line in right.lines if len(line.get_xdata()) == 1}
    by = table.set_index("method")
    for height, name in zip(heights, names, strict=True):
        row = by.loc[name.removesuffix(" (reference)")]
        assert (fills[height] == "white") == (row["worst"] <= row["worst_chance_high"])
    assert {"white"} < set(fills.values())


def test_penalised_students_stand_below_the_study_s_own_and_matched_ones_too(found):
    rng = np.random.default_rng(3)
    dev, test = rows(rng, "d", 60, seeds=(1,)), rows(rng, "t", 60, seeds=(1,))
    options = {"scale": SCALE, "groups": [], "min_group": 10}
    own = corrections.corrected(dev, test, **options)
    both = pd.concat([dev.assign(split="dev"), test.assign(split="test")])[["essay_id", "split", "score", "seed", "value"]]
    penalised = both.assign(method="penalty", value=both["value"] + 1)
    table = corrections.with_penalised(own, penalised, dev, test, scale=SCALE, min_fit=10)
    assert list(dict.fromkeys(table["method"]))[-2:] == ["penalty", "penalty, then mean and SD"]
    added = table.query("method == 'penalty'").sort_values("essay_id")["value"].to_numpy()
    np.testing.assert_allclose(added, test.sort_values("essay_id")["value"] + 1)
    on_dev = corrections.smd_on_dev(penalised)
    assert on_dev == {"penalty": pytest.approx((dev["value"].mean() + 1 - dev["score"].mean()) / dev["score"].std())}
    assert corrections.smd_on_dev(penalised[:0]) == {}
    nothing = corrections.with_penalised(own, penalised[:0], dev, test, scale=SCALE, min_fit=10)
    pd.testing.assert_frame_equal(nothing, own.reset_index(drop=True))


def test_without_seeds_no_student_is_trained(project, make_study):
    make_study("try")
    options = {"labels": "cyborg", "weight": 3.0, "groups": [], "by_group": True, "fraction": 0.1, "min_fit": 30}
    penalised, seconds = corrections.train_penalised("try", [], **options)
    assert penalised.empty and seconds == {} and "split" in penalised


def test_sentences_of_a_trade_off(found):
    _, _, table = found
    text = corrections.compared(table)
    assert "Without a correction QWK" in text and "worse: uncorrected" in text
    assert "gives agreement back" in corrections.finding(table, aim=0.05, confidence=0.95)
    turned = table.assign(change_low=0.01, change_high=0.02)
    assert "costs agreement" in corrections.finding(turned, aim=0.05, confidence=0.95)
    unsure = table.assign(change_low=-0.01, change_high=0.02)
    assert "no more than chance explains" in corrections.finding(unsure, aim=0.05, confidence=0.95)
    row = table[table["method"] == "mean"].assign(method="penalty", seeds=1)
    lines = corrections.lessons(
        pd.concat([table, row, row.assign(method="penalty, then mean and SD")]), on_dev={"penalty": 0.03}, confidence=0.95
    )
    assert lines[0].startswith("**Agreement**") and lines[1].startswith("**Knowing the group**")
    assert "**Penalty** (1 seed)" in lines[2] and "which it has read, +0.03)" in lines[2]
    assert "The paper's aim is an SMD within ±0.05" in corrections.within_aim(table, aim=0.05, confidence=0.95)
