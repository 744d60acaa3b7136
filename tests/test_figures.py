import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.scoring.advisory_flags import Corpus
from cyborg_utils.plots import curves, distributions, forest_plots, group_plots, style
from cyborg_utils.stats import fairness, metrics

matplotlib.use("Agg")
SCALE = Scale(1, 5)
ARM = {"arm": "cyborg", "n_human": 180, "fraction": 0.1, "qwk": 0.62, "low": 0.57, "high": 0.66}


def texts(figure):
    """Every visible text of a figure, ticks and legends included."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text()]


def lines(ax):
    """Intervals drawn with `hlines`: (y, left, right)."""
    found = [
        path.vertices for c in ax.collections if isinstance(c, matplotlib.collections.LineCollection) for path in c.get_paths()
    ]
    return [(v[0][1], v[0][0], v[-1][0]) for v in found]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(recwarn):
    before = dict(plt.rcParams)
    yield
    assert not plt.get_fignums(), "a figure stays open: Jupyter would show it twice"
    assert dict(plt.rcParams) == before, "the style must not leak into the caller's settings"
    assert not [str(w.message) for w in recwarn if issubclass(w.category, (UserWarning, RuntimeWarning))]


@pytest.fixture(scope="module")
def essays():
    rng = np.random.default_rng(1)
    score = rng.integers(1, 6, 300).astype(float)
    return pd.DataFrame(
        {
            "score": score,
            "value": score + rng.normal(-0.2, 0.6, 300),
            "groups.gender": rng.choice(["Female", "Male"], 300),
            "groups.grade_level": np.r_[np.full(5, 12.0), rng.choice([8.0, 9.0], 290), np.full(5, np.nan)],
        }
    )


@pytest.fixture(scope="module")
def gaps(essays):
    options = {"groups": ["groups.gender", "groups.grade_level"], "scale": SCALE, "seed": 1, "resamples": 200}
    return fairness.smd_by_group(essays, **options)


def test_item_forest_draws_and_names_every_estimate():
    rows = [("Ideas", "human", 0.5, 0.4, 0.6), ("Ideas", "full", 0.7, 0.6, 0.8), ("Words", "human", -0.1, np.nan, np.nan)]
    frame = pd.DataFrame(rows, columns=["trait", "arm", "qwk", "low", "high"])
    figure, alt = forest_plots.item_forest(frame)
    assert alt == (
        "QWK with human scores (test essays), with intervals: Ideas, Human scores only 0.500 [0.400, 0.600]; "
        "Ideas, All human scores 0.700 [0.600, 0.800]; Words, Human scores only -0.100."
    )
    assert {(left, right) for _, left, right in lines(figure.axes[0])} >= {(0.4, 0.6), (0.6, 0.8)}
    assert {"Ideas", "Words", "Human scores only", "All human scores"} <= set(texts(figure))


def test_the_palette_is_told_apart_by_everyone_and_in_grey():
    # Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB; distances in CIELAB
    views = {
        "all colours": np.eye(3),
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(rgb):
        x, y, z = np.cbrt(np.maximum(to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089], 0.0089))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    linear = [
        np.array([c / 12.92 if c < 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(x.color)]) for x in style.LOOKS.values()
    ]
    for name, view in views.items():
        seen = [lab(np.asarray(view) @ rgb) for rgb in linear]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 18, name
    assert np.diff(sorted(lab(rgb)[0] for rgb in linear)).min() > 5
    for part in ("color", "marker", "hatch"):
        every = [getattr(look, part) for look in (*style.LOOKS.values(), *style.SPARE)]
        assert len(set(every)) >= len(every) - (part == "hatch")  # human and full are both plain: one dark grey, one blue
    assert len({str(look.line) for look in style.LOOKS.values()}) >= 6


def test_looks_know_the_arms_and_never_repeat_within_a_figure():
    found = style.looks(["human", "Synthetic (Teacher)", "Cyborg, soft labels", "Teacher on U", "other"])
    assert found["human"] == style.LOOKS["human"] and found["Synthetic (Teacher)"] == style.LOOKS["teacher"]
    assert found["Cyborg, soft labels"] == style.LOOKS["cyborg-soft"] and len(set(found.values())) == 5
    assert style.looks(["Teacher on U", "teacher"])["teacher"] == style.LOOKS["teacher"]
    assert len(style.looks([f"run {at}" for at in range(40)])) == 40


def test_score_distributions():
    frame = pd.DataFrame({"source": ["human"] * 4 + ["teacher"] * 2, "score": [1, 2, 2, 5, 1, 2]})
    figure, alt = distributions.score_distributions(frame, scale=SCALE)
    assert (
        "Human scores: n = 4 mean 2.50; 1 25%, 2 50%, 3 0%, 4 0%, 5 25%. Teacher: n = 2 mean 1.50 (−1.00); 1 50%, 2 50%," in alt
    )
    human, teacher = figure.axes
    assert [bar.get_height() for bar in human.patches] == [0.25, 0.5, 0, 0, 0.25]
    assert [bar.get_height() for bar in teacher.patches[:5]] == [0.5, 0.5, 0, 0, 0]
    np.testing.assert_array_equal(teacher.patches[5].get_data().values, [0.25, 0.5, 0, 0, 0.25])  # the outline of the first
    assert {"Human scores", "Teacher", "n = 4   mean 2.50", "n = 2   mean 1.50 (−1.00)", "5"} <= set(texts(figure))
    assert len(distributions.score_distributions(frame.iloc[:1], scale=SCALE)[0].axes) == 1


def test_confusion_matrix():
    counts = metrics.confusion([0, 0, 0, 1, 4], [0, 0, 1, 1, 3], levels=5)
    figure, alt = distributions.confusion_matrix({"teacher": counts, "full": counts.T}, scale=SCALE)
    assert "of 5 essays. Teacher: 60% exactly right, QWK 0.889; All human scores: 60% exactly right, QWK 0.889." in alt
    np.testing.assert_allclose(figure.axes[0].collections[0].get_array()[0], [2 / 3, 1 / 3, 0, 0, 0])
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array()[2], 0)  # a row without essays
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["67%\n2", "33%\n1", "100%\n1", "100%\n1"]
    assert "Human score" in texts(figure) and figure.axes[1].get_title(loc="left") == "All human scores"
    same, _ = distributions.confusion_matrix({"teacher": counts}, scale=SCALE)
    assert {"1  (3)", "3  (0)", "Human score  (essays)"} <= set(texts(same))
    nine, _ = distributions.confusion_matrix({str(at): np.eye(9, dtype=int) for at in range(4)}, scale=Scale(1, 5, 0.5))
    assert [ax.get_title(loc="left") for ax in nine.axes[:4]] == ["0", "1", "2", "3"] and "1" in [
        text.get_text() for text in nine.axes[0].texts
    ]


def test_learning_curve():
    frame = pd.DataFrame({"epoch": [1, 2, 3], "loss": [2.0, 1.0, 0.5], "dev_qwk": [0.4, 0.61, 0.6], "run": "a"})
    columns = {"loss": "loss", "qwk": "dev_qwk", "run": "run"}
    figure, alt = distributions.learning_curve(frame, **columns)
    assert "QWK: best 0.610 (epoch 2)." in alt
    loss, qwk = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [2, 1, 0.5] and qwk.lines[0].get_xydata().tolist() == [[2, 0.61]]
    assert "best 0.610 (epoch 2)" in texts(figure)
    several, _ = distributions.learning_curve(pd.concat([frame.assign(run=name) for name in "ab"]), **columns)
    assert len(several.axes[0].lines) == 2 and "b: best 0.610 (epoch 2)" in texts(several)
    assert len(distributions.learning_curve(frame.iloc[:1], **columns)[0].axes) == 2


def test_reliability():
    frame = pd.DataFrame(
        {"confidence": np.repeat([0.2, 0.8], 50), "correct": [True] * 10 + [False] * 40 + [True] * 40 + [False] * 10}
    )
    figure, alt = distributions.reliability(frame)
    ax = figure.axes[1]
    assert alt.endswith("mean confidence 50%, exactly right 50%.")
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[0.2, 0.2], [0.8, 0.8]])
    assert {"essays of one bin", "exactly as sure as right"} <= set(texts(figure))
    np.testing.assert_allclose(distributions.reliability(frame.iloc[:1])[0].axes[1].lines[1].get_xydata(), [[0.2, 1]])


def test_qwk_by_fraction():
    full = {"arm": "full", "n_human": 1800, "fraction": 1.0, "qwk": 0.7, "low": 0.66, "high": 0.74}
    rows = [{**ARM, "arm": arm, "n_human": n, "fraction": n / 1800} for arm in ("human", "cyborg") for n in (180, 450)]
    figure = forest_plots.qwk_by_fraction(pd.DataFrame([*rows, full]), seeds=pd.DataFrame(rows))[0]
    ax = figure.axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["180\n10 %", "450\n25 %"]
    band = ax.patches[0]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.66, 0.74)) and band.get_width() == 1
    assert {"All human scores", "Human scores only", "Cyborg"} <= set(texts(figure))
    one = forest_plots.qwk_by_fraction(pd.DataFrame([ARM]))[0].axes[0]
    assert [tick.get_text() for tick in one.get_xticklabels()] == ["180\n10 %"]


def test_arm_forest():
    frame = pd.DataFrame([ARM, {**ARM, "arm": "full", "qwk": 0.7, "low": 0.65, "high": np.nan}])
    figure = forest_plots.arm_forest(frame)[0]
    assert lines(figure.axes[0])[0] == (0, 0.57, 0.66)
    assert {"Cyborg", "All human scores", "0.620  [0.570, 0.660]", "0.700"} <= set(texts(figure))
    panels = forest_plots.arm_forest(pd.concat([frame.assign(at="10 %"), frame.iloc[:1].assign(at="25 %")]), panel="at")[0]
    assert [ax.get_title(loc="left") for ax in panels.axes] == ["10 %", "25 %"] and len(lines(panels.axes[1])) == 1


def test_arm_forest_has_room_for_the_students_of_the_paper():
    """Two encoders with two heads, and ridge: two panels a row, long names on two lines, axes of a readable size."""
    models, heads = ("google/electra-base-discriminator", "answerdotai/ModernBERT-base"), ("regression", "classification")
    names = [f"{model}, {head}" for model in models for head in heads]
    arms = pd.DataFrame([{**ARM, "arm": arm} for arm in style.LOOKS])
    figure = forest_plots.arm_forest(
        pd.concat([arms.assign(panel=name) for name in (*names, "ridge, regression")]), panel="panel"
    )[0]
    assert [ax.get_title(loc="left").replace("\n", " ") for ax in figure.axes] == [*names, "ridge, regression"]
    places = [ax.get_window_extent() for ax in figure.axes]
    assert all(place.width > figure.dpi and place.height > figure.dpi for place in places)  # an inch
    assert len({round(place.y0) for place in places}) == 3 and len({round(place.x0) for place in places}) == 2
    headings = figure.findobj(
        lambda text: isinstance(text, matplotlib.text.Text) and text.get_text().startswith((*models, "ridge"))
    )
    pairs = itertools.combinations([text.get_window_extent() for text in headings], 2)
    assert len(headings) == 5 and not any(one.overlaps(other) for one, other in pairs)
    assert [bool(ax.get_xlabel()) for ax in figure.axes] == [False, False, False, True, True]
    assert figure.get_size_inches()[1] <= 9


def test_difference_forest():
    row = {"system": "cyborg", "baseline": "human", "difference": 0.08, "low": 0.02, "high": 0.13, "p_holm": 0.0004}
    row |= {"tost_low": 0.03, "tost_high": 0.12, "margin": 0.05, "equivalence": "undecided"}
    frame = pd.DataFrame([row, {**row, "baseline": "full", "difference": -0.01, "p_holm": np.nan}])
    figure = forest_plots.difference_forest(frame)[0]
    shown = {
        "Cyborg − Human scores only",
        "Cyborg − All human scores",
        "+0.080",
        "−0.010",
        "< 0.001",
        "undecided",
        "within ±0.05?",
    }
    assert shown <= set(texts(figure))
    assert (0, 0.02, 0.13) in lines(figure.axes[0]) and (0, 0.03, 0.12) in lines(figure.axes[0])
    filled = [line.get_markerfacecolor() for line in figure.axes[0].lines[1:]]
    assert filled == [style.LOOKS["cyborg"].color, "white"]  # significant, and not known
    assert len(forest_plots.difference_forest(frame.iloc[:1])[0]._suptitle.get_text())


def test_smd_forest(gaps):
    figure = group_plots.smd_forest(gaps)[0]
    ax = figure.axes[0]
    shown = texts(figure)
    assert {"All essays  (n = 300)", "Gender", "Grade level", "12  (n = 5)", "not recorded  (n = 5)", "too few"} <= set(shown)
    assert sum(text in set(gaps["verdict"]) for text in shown) == len(gaps) == len(lines(ax))
    heights = [y for y, _, _ in lines(ax)]
    assert heights == sorted(heights) and ax.yaxis_inverted()
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert (
        len([line for line in hollow if line.get_marker() not in "<>"]) == 2 and len(hollow) > 2
    )  # arrows of theirs are hollow too
    band = ax.patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-0.1, 0.1))


def test_smd_forest_of_stages_with_a_missing_group(gaps):
    both = pd.concat([gaps.assign(stage="teacher"), gaps[gaps["group"] != "Male"].assign(stage="cyborg", n=290)])
    figure = group_plots.smd_forest(both, stage="stage", value="dsm")[0]
    assert len(lines(figure.axes[0])) == 2 * len(gaps) - 1
    assert {"Teacher", "Cyborg", "All essays  (n = 290–300)"} <= set(texts(figure)) and "biased" not in texts(figure)
    assert figure.axes[0].get_xlabel().startswith("DSM")
    assert len(lines(group_plots.smd_forest(gaps.iloc[:1])[0].axes[0])) == 1
    undefined = gaps.iloc[:1].assign(smd=np.nan, smd_low=np.nan, smd_high=np.nan)
    assert group_plots.smd_forest(undefined)[0].axes[0].get_xlim()[0] < -0.1
    names = group_plots.smd_forest(gaps.drop(columns="n"))[0].axes[0].get_yticklabels()  # n differs between stages
    assert not any("n =" in name.get_text() for name in names)


def test_lengths():
    frame = pd.DataFrame({"tokens": [100, 200, 300, 600], "split": ["train", "train", "dev", "dev"]})
    names = {"tokens": "tokens", "source": "split", "title": "Essay length", "unit": "tokens"}
    splits, alt = distributions.length_distribution(frame, **names)
    assert alt.endswith("Medians: train 150 tokens, dev 450 tokens.")
    assert len(splits.axes[0].lines) == 2 and {"train", "dev"} <= set(texts(splits))
    assert len(distributions.length_distribution(frame.iloc[:1], **names)[0].axes[0].lines) == 1


def test_conditional_bias_curves(essays):
    table = fairness.conditional_bias(essays, groups=["groups.gender", "groups.grade_level"], seed=1, resamples=100)
    figure = group_plots.conditional_bias_curves(table)[0]
    gender, grade = figure.axes
    assert {"Gender", "Grade level", "Female", "Male", "All essays", "Human score", "12"} <= set(texts(figure))
    assert "not recorded" not in texts(figure)
    cells = table[(table["attribute"] == "gender") & (table["group"] == "Male") & table["score"].notna()]
    assert any(np.array_equal(line.get_ydata(), cells["bias"]) for line in gender.lines)  # enough essays in every cell
    hollow = [line for line in grade.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert len(hollow) == 1  # the five essays of grade 12
    alone = group_plots.conditional_bias_curves(table[table["attribute"] == "all"])[0]
    assert len(alone.axes) == 1 and group_plots.conditional_bias_curves(table[table["attribute"] == "all"].iloc[:1])[0].axes


def test_variance_sources():
    frame = pd.DataFrame({"arm": ["human", "cyborg"], "seeds": [3, 1], "test_sd": [0.02, 0.03], "seed_sd": [0.06, np.nan]})
    figure = forest_plots.variance_sources(frame)[0]
    ax = figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.02, 0.03, 0.06, 0]
    assert {"Human scores only", "Cyborg", "one seed: not known", "3 seeds", "1 seed"} <= set(texts(figure))
    np.testing.assert_allclose(ax.lines[0].get_xdata()[0], np.hypot(0.02, 0.06 / np.sqrt(3)))
    assert ax.patches[2].get_hatch() and not ax.patches[0].get_hatch()
    assert forest_plots.variance_sources(frame.iloc[1:])[0].axes


def test_forest_plots_say_their_numbers_in_words(gaps, essays):
    full = {**ARM, "arm": "full", "qwk": 0.7, "low": 0.65, "high": np.nan}
    _, alt = forest_plots.arm_forest(pd.DataFrame([ARM, full]), xlabel="QWK")
    assert alt == "QWK, with intervals: Cyborg 0.620 [0.570, 0.660]; All human scores 0.700."
    _, alt = forest_plots.arm_forest(pd.DataFrame([ARM]).assign(panel="ridge, regression"), panel="panel", xlabel="QWK")
    assert alt == "QWK, with intervals: ridge, regression, Cyborg 0.620 [0.570, 0.660]."
    assert (
        forest_plots.qwk_by_fraction(pd.DataFrame([ARM]))[1] == "QWK by number of human scores: Cyborg, 180 human scores, 0.620."
    )
    row = {"system": "cyborg", "baseline": "human", "difference": 0.08, "low": 0.02, "high": 0.13}
    _, alt = forest_plots.difference_forest(pd.DataFrame([row]))
    assert alt == (
        "Difference in QWK (same test essays), with intervals: Cyborg minus Human scores only +0.080 [+0.020, +0.130]."
    )
    male = gaps[gaps["group"] == "Male"].assign(smd=-0.2, smd_low=-0.3, smd_high=-0.1)
    assert group_plots.smd_forest(male)[1] == "SMD, with intervals: gender Male -0.20 [-0.30, -0.10]."
    assert "SMD, with intervals: Teacher, gender Male -0.20" in group_plots.smd_forest(male.assign(arm="teacher"), stage="arm")[1]
    curves = fairness.conditional_bias(essays, groups=["groups.gender"], seed=1, resamples=100)
    assert "Gap to the other groups at equal score, in points: gender Female " in group_plots.conditional_bias_curves(curves)[1]
    assert group_plots.conditional_bias_curves(curves[curves["attribute"] == "all"])[1].endswith("a line for each group.")
    frame = pd.DataFrame({"arm": ["human"], "seeds": [1], "test_sd": [0.02], "seed_sd": [np.nan]})
    assert forest_plots.variance_sources(frame)[1] == (
        "SD of QWK from two sources: Human scores only: test essays 0.020, seeds not known."
    )


def test_nothing_is_cut_off_and_sizes_fit_a_page(gaps):
    for figure in (
        group_plots.smd_forest(gaps)[0],
        forest_plots.arm_forest(pd.DataFrame([ARM]))[0],
        forest_plots.qwk_by_fraction(pd.DataFrame([ARM]))[0],
    ):
        width, height = figure.get_size_inches()
        assert width <= style.DOUBLE and height <= 9
        box = figure.get_tightbbox()
        assert box.x0 > -0.15 and box.x1 < width + 0.15 and box.y0 > -0.1 and box.y1 < height + 0.1


def test_unlike_map_draws_every_kind_and_the_limits():
    corpus = Corpus.of(["some words of an essay " * 20, "other words of an essay " * 60])
    frame = pd.DataFrame({"kind": ["test essays", "in German", "cut short"], "words": [200, 180, 9], "unknown": [0.02, 0.9, 0.1]})
    figure, alt = distributions.unlike_map(frame, shortest=corpus.shortest, longest=corpus.longest, unknown=corpus.unknown)
    assert "test essays 200 words, 2% unknown; in German 180 words, 90% unknown" in alt
    assert [text.get_text() for text in figure.legends[0].texts] == ["in German", "cut short", "test essays"]
    (box,) = figure.axes[0].patches
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((corpus.shortest, corpus.longest))
    assert box.get_y() + box.get_height() == pytest.approx(corpus.unknown)


def test_models_are_named_without_their_commits():
    pinned = "google/electra-base-discriminator@622038df5bb2999b99d614f9f604dcc6f08cb3d7"
    assert style.label(pinned) == "google/electra-base-discriminator"
    assert style.unpinned(f"{pinned}, regression; x@y.org") == "google/electra-base-discriminator, regression; x@y.org"
    assert style.label("Hispanic/Latino") == "Hispanic/Latino" and style.label("cyborg") == "Cyborg"
    frame = pd.DataFrame([ARM]).assign(panel=f"{pinned}, regression")
    (ax,) = forest_plots.arm_forest(frame, panel="panel")[0].axes
    assert ax.get_title(loc="left") == "google/electra-base-discriminator,\nregression"


def test_gain_over_draws_is_the_same_every_time():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"n_human": np.repeat([45, 180], 20), "baseline": "human", "gain": rng.normal(0.1, 0.05, 40)})
    drawn = [curves.gain_over_draws(frame) for _ in range(2)]
    first, again = (figure.axes[0].lines[0].get_xydata() for figure, _ in drawn)
    np.testing.assert_array_equal(first, again)
    assert len(first) == 40 and set(first[:, 0].round()) == {0, 1}
    medians = frame.groupby("n_human")["gain"].median()
    assert f"45: {medians[45]:+.3f}" in drawn[0][1] and f"180: {medians[180]:+.3f}" in drawn[0][1]
