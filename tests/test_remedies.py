"""Corrections compared, and what checking by people tells."""

import ast
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT
from ppi_py import ppi_mean_pointestimate

from cyborg_utils.core import config
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import remedies
from cyborg_utils.plots import curves
from cyborg_utils.stats.calibration import METHODS

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
    return fitted, bias, remedies.trade_off(fitted, bias, aim=0.05, **options)


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
    assert (by[list(remedies.BY_AIM)].sum(axis=1) == 2).all() and by.loc["mean and SD", "worst_chance_high"] < 0.15


def test_without_groups_there_is_no_worst_group(found):
    fitted, _, _ = found
    one = fitted[fitted["needs"] == "nothing"]
    options = {"resamples": 100, "confidence": 0.95, "seed": 1}
    bias = remedies.judged(one, groups=[], scale=SCALE, limit=0.1, **options)
    table = remedies.trade_off(one, bias, aim=0.05, **options)
    assert table["worst"].isna().all() and set(table["method"]) == set(METHODS)
    assert table["worst_chance"].isna().all() and not table[list(remedies.BY_AIM)].to_numpy().any()
    assert remedies.aim_reached(table, aim=0.05) == "no group is large enough to be judged"
    assert not remedies.knowing_groups(table, confidence=0.95)


def test_the_aim_is_judged_by_whole_intervals(found):
    """Four groups: one within +-0.05, one beyond it, one near 0 but not sure, one that is not judged."""
    fitted, _, _ = found
    one = fitted[fitted["needs"] == "nothing"]
    ends = [("a", 0.01, -0.03, 0.04), ("b", -0.30, -0.40, -0.20), ("c", 0.0, -0.10, 0.10), ("few", 0.9, 0.5, 1.3)]
    bias = pd.DataFrame(ends, columns=["group", "smd", "smd_low", "smd_high"])
    bias = bias.assign(attribute="kind", n=100, smd_se=0.05, verdict=["not biased", "biased", "undecided", "too few"])
    whole = bias.head(1).assign(attribute="all", group="all")
    bias = pd.concat([whole, bias]).merge(pd.DataFrame({"method": list(METHODS), "needs": "nothing"}), how="cross")
    row = remedies.trade_off(one, bias, aim=0.05, resamples=20, confidence=0.95, seed=1).iloc[0]
    assert row[["within_aim", "beyond_aim", "undecided_aim"]].tolist() == [1, 1, 1]
    assert (row["worst"], row["worst_group"]) == (0.30, "kind: b")
    assert row["worst_chance"] == pytest.approx(remedies.largest_by_chance([0.05] * 3, [100] * 3, 0.5))


def test_the_largest_gap_by_chance_alone():
    """One large group: the half-normal distribution. Many groups: as simulated. The more groups, the larger."""
    assert remedies.largest_by_chance([0.1], [10**6], 0.95) == pytest.approx(0.196, abs=1e-3)
    errors, sizes = np.array([0.04, 0.05, 0.08, 0.12, 0.14, 0.15]), np.array([400, 300, 120, 50, 40, 12])
    rng = np.random.default_rng(1)
    drawn = rng.standard_t(sizes - 1, (200_000, 6)) * errors * np.sqrt(sizes / (sizes - 1))
    for share in (0.5, 0.95):
        expected = np.quantile(np.abs(drawn).max(axis=1), share)
        assert remedies.largest_by_chance(errors, sizes, share) == pytest.approx(expected, rel=0.01)
    assert remedies.largest_by_chance(errors, sizes, 0.5) > remedies.largest_by_chance(errors[:5], sizes[:5], 0.5)
    assert remedies.largest_by_chance([0.1, 0, np.nan], [50, 2, 2], 0.5) == remedies.largest_by_chance([0.1], [50], 0.5)
    assert np.isnan(remedies.largest_by_chance([0, np.nan], [2, 2], 0.5))


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
            r"these essays show that \*by kind\* brings every judged group within",
        ),
        ({"mean_and_SD": (0.02, 4), "by_kind": (0.04, 4)}, r"show that \*mean and SD\*, \*by kind\* bring every judged group"),
    ],
)
def test_the_aim_is_reached_where_intervals_show_it(worst, words):
    assert re.search(words, remedies.aim_reached(table(**worst), aim=0.05))


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
    assert re.search(words, remedies.knowing_groups(given, confidence=0.95))


def test_small_groups_are_named_with_their_sizes():
    dev = pd.DataFrame({"essay_id": ["a", "a", "b", "c"], "groups.kind": ["A", "A", "A", "B"]})
    test = pd.DataFrame({"essay_id": ["d", "e"], "groups.kind": ["C", None]})
    among = pd.concat([dev, test])
    assert remedies.groups_below(2, dev, among=among, groups=["groups.kind"]) == "kind B (1), kind C (0)"
    assert remedies.groups_below(0, dev, among=among, groups=["groups.kind"]) == "none"


def test_every_correction_has_a_row_of_its_own_in_the_figure(found):
    _, _, table = found
    figure = curves.correction_forest(table, reference="mean and SD")
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


def test_the_notebooks_defaults_are_the_demos():
    notebook = nbformat.read(CHECKOUT / "notebooks" / "extensions" / "07_calibrate_student.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    given = {line.target.id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}
    assert {"profile": "demo"} | config.load("demo").section("calibrate_student") == given


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
    error = (checked["synthetic"] - checked["score"]).std() * np.sqrt(1 - 400 / 2000)
    assert (found.high - found.low) / 2 <= 1.1 * 1.96 * error / 20 / pool["score"].std()  # tuning can only help
    assert np.isnan(remedies.bias_interval([3.0, 2.0], [2.0, 2.0], [2.0, 3.0], sd=1.0)).all()


def test_the_estimate_is_that_of_tuned_ppi(pool):
    checked, rest = pool.iloc[:400], pool["synthetic"].to_numpy()[400:]
    people = ppi_mean_pointestimate(checked["score"].to_numpy(), checked["synthetic"].to_numpy(), rest)  # tunes itself
    found = remedies.bias_interval(checked["score"], checked["synthetic"], rest, sd=2.0)
    assert found.value == pytest.approx(float((pool["synthetic"].mean() - people).squeeze()) / 2)


def test_synthetic_scores_that_say_nothing_are_not_used():
    human = np.array([1.0, 2, 3, 4])
    expected = 2.0 - 2.5  # the people's mean of the checked essays
    for synthetic in (np.full(4, 2.0), np.array([2.5, 2, 2, 1.5])):
        assert remedies.bias_interval(human, synthetic, [2.0] * 6, sd=1).value == pytest.approx(expected)


def test_a_pool_that_is_checked_wholly_has_a_known_bias(pool):
    found = remedies.bias_interval(pool["score"], pool["synthetic"], [], sd=1.0)
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
        found = remedies.bias_interval(human[seen], synthetic[seen], synthetic[rest], sd=1.0)
        held += found.low <= truth <= found.high
    assert 0.93 <= held / draws <= 0.97


def test_checks_needed_by_hand():
    endless = (1.959964 * 0.8 / 0.05) ** 2  # 983
    assert remedies.checks_needed(0.8, 1.0, pool=1e12, within=0.05) == pytest.approx(endless, rel=1e-6)
    assert remedies.checks_needed(0.8, 1.0, pool=endless, within=0.05) == pytest.approx(endless / 2, rel=1e-6)
    assert 99 < remedies.checks_needed(8.0, 1.0, pool=100, within=0.05) < 100  # never more than there are


def test_as_many_checks_as_needed_reach_the_aim(pool):
    options = {"draws": 30, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 10}
    needed = round(remedies.checking(pool, groups=[], checks=[100], **options)["needed"].iloc[0])
    assert 400 < needed < 600  # of 2000
    assert remedies.checking(pool, groups=[], checks=[needed], **options)["half_width"].iloc[0] == pytest.approx(0.05, rel=0.03)


def test_checking_finds_the_bias_of_each_group_and_its_intervals_hold_it(pool):
    options = {"draws": 200, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 10}
    table = remedies.checking(pool, groups=["groups.kind"], checks=[100, 400], **options).set_index(["group", "checks"])
    assert table.loc[("B", 400), "bias"] == pytest.approx(-0.3, abs=0.08) and abs(table.loc[("A", 400), "bias"]) < 0.08
    assert table["coverage"].between(0.88, 1).all() and (table.loc[("all", 100), "checked"]) == 100
    assert table.loc[("all", 400), "half_width"] < 0.6 * table.loc[("all", 100), "half_width"]
    assert table.loc[("all", 400), "left"] == pytest.approx(table.loc[("all", 400), "half_width"], rel=0.35)
    assert table.loc[("B", 100), "n"] > table.loc[("B", 100), "needed_alone"] > table.loc[("B", 100), "needed"] > 250
    assert not table["reached"].any()


def test_a_group_that_is_checked_wholly_is_known(pool):
    few = pool[:40].assign(**{"groups.kind": ["B"] * 3 + ["A"] * 37})
    options = {"draws": 20, "within": 0.05, "confidence": 0.95, "seed": 1, "min_group": 3}
    row = remedies.checking(few, groups=["groups.kind"], checks=[39], **options).set_index("group").loc["B"]
    assert row["half_width"] == pytest.approx(0) and row["coverage"] == 1 and row["left"] == pytest.approx(0) and row["reached"]


def test_the_curve_of_checks_leaves_out_what_says_nothing():
    """Widths beyond 1 SD, unknown ones and 0 (all essays checked) are no points of the logarithmic axes."""
    one = pd.DataFrame({"attribute": "all", "group": "all", "checked": [4.0, 10, 20, 40], "half_width": [2.2, 0.4, np.nan, 0.0]})
    drawn = [line for line in curves.checks_curve(one).axes[0].lines if line.get_marker() != "None"]
    assert [list(line.get_xydata().ravel()) for line in drawn] == [[10.0, 0.4], []]  # the curve, and its name in the legend
    assert curves.checks_curve(one.assign(half_width=np.nan)).axes[0].get_ylim()[0] < 0.05
