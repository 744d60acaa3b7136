"""Prices, the frontier, the learning curve, and what a study's records know of its seconds."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from scipy import stats

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.extensions import compute_time, cost
from cyborg_utils.plots import curves
from cyborg_utils.stats import bootstrap, comparisons, learning_curve, metrics
from cyborg_utils.study import artefacts

PRICES = cost.Prices(3.0, 20.0, 0.5, 60.0, 0.1, 2.0)
CPU, GPU = {"cores": 4, "gpu": "none", "processor": "p"}, {"cores": 4, "gpu": "H100", "processor": "p"}


def test_money_by_hand():
    assert PRICES.score == pytest.approx(3 * 1.5 / 60 * 20)
    np.testing.assert_allclose(PRICES.people([0, 10]), [0, 20 + 15.0])
    assert PRICES.hour(CPU) == pytest.approx(0.4) and PRICES.hour(GPU) == 2.0
    with pytest.raises(CyborgError, match="wage_per_hour is -1"):
        cost.Prices(3.0, -1, 0.5, 60.0, 0.1, 2.0)


def test_a_price_that_is_not_its_sources_is_the_studys():
    table = PRICES.table().set_index("input")
    assert table.loc["minutes_per_score", "source"] == cost.SOURCES["minutes_per_score"][1]
    assert table.loc["wage_per_hour", "source"] == "set by the study"
    assert set(table.index) == set(cost.SOURCES)


def test_the_frontier_is_what_none_beats():
    price, qwk = [1, 2, 3, 4, 2, np.nan], [0.5, 0.6, 0.6, 0.7, 0.4, 0.9]
    assert cost.frontier(price, qwk).tolist() == [True, True, False, True, False, False]
    assert cost.frontier([1, 1], [0.5, 0.5]).all()  # equals do not beat each other


@pytest.fixture
def ledger() -> pd.DataFrame:
    """10 hours of fine-tuning in one of two runs, 4 of scoring, 1 and 2 of the Students; 0.4 money an hour."""
    teacher = {"fraction": 0.1, "student": "teacher", "head": "", "labels": "teacher", "hour_of": CPU, "source": "record"}
    rows = [teacher | {"seed": 1, "step": "fine-tune", "seconds": 36000.0}, teacher | {"seed": 2, "step": "fine-tune"}]
    rows += [teacher | {"seed": seed, "step": "score", "seconds": 14400.0} for seed in (1, 2)]
    own = {"student": "net", "head": "regression", "step": "train", "seed": 1, "hour_of": CPU, "source": "record"}
    rows.append(own | {"fraction": 0.1, "labels": "cyborg", "seconds": 7200.0})
    rows.append(own | {"fraction": 1.0, "labels": "full", "seconds": 3600.0})
    return pd.DataFrame(rows)


@pytest.fixture
def arms() -> pd.DataFrame:
    rows = [(0.1, "cyborg", "net", "regression", 30, 0.6), (1.0, "full", "net", "regression", 120, 0.65)]  # 20 of them dev
    rows.append((0.1, "teacher", "teacher", "expected", 30, 0.55))
    return pd.DataFrame(rows, columns=["fraction", "labels", "student", "head", "n_human", "qwk"]).assign(low=0.5, high=0.7)


def test_what_an_arm_costs_and_from_when_it_pays(arms, ledger):
    sizes, each = {"train": 100, "dev": 20, "all": 180}, {"net": 0.001, "teacher": 0.01}
    table = cost.arm_costs(arms, ledger, PRICES, essays=sizes, future=1000, each=each).set_index("labels")
    cyborg, full, teacher = (table.loc[name] for name in ("cyborg", "full", "teacher"))
    assert cyborg["n_human"] == 30 and cyborg["people"] == pytest.approx(20 + 30 * 1.5)
    assert cyborg["teacher"] == pytest.approx(0.4 * (10 + 4 * 90 / 180))  # the pool's share of the scoring
    assert teacher["teacher"] == pytest.approx(4.0) and teacher["training"] == 0 and teacher["scoring"] == pytest.approx(10)
    assert full["teacher"] == 0 and full["total"] == pytest.approx(20 + 120 * 1.5 + 0.4 + 1)
    assert cyborg["per_1000"] == pytest.approx(cyborg["total"])
    assert table["frontier"].tolist() == [True, True, False]
    pairs = pd.DataFrame([{"fraction": 0.1, "student": "net", "head": "regression", "system": "cyborg", "baseline": "full"}])
    pairs = pairs.assign(difference=-0.05, low=-0.1, high=0.0, equivalence="undecided")
    (row,) = cost.break_even(table.reset_index(), pairs, PRICES, every=120).to_dict("records")
    extra = 4.8 + 0.8 - 0.4
    assert row["scores_saved"] == 90 and row["extra_compute"] == pytest.approx(extra)
    assert row["saved"] == pytest.approx(90 * 1.5 - extra) and row["change"] == -0.05
    dearer = PRICES.__class__(row["break_even_minutes"], 20.0, 0.5, 60.0, 0.1, 2.0)
    assert 90 * dearer.score == pytest.approx(extra)  # at that many minutes nothing is won or lost


def test_steps_of_the_frontier_have_the_interval_of_their_difference(arms, ledger):
    rng = np.random.default_rng(6)
    human = rng.integers(0, 6, 300)
    noise = {"cyborg": (1.0, 1.1), "full": (0.7, 0.8), "teacher": (1.3,)}
    rows = []
    for arm in arms.to_dict("records"):
        for seed, sd in enumerate(noise[arm["labels"]]):
            level = np.clip(np.round(human + rng.normal(0, sd, 300)), 0, 5).astype(int)
            place = {name: arm[name] for name in ("fraction", "student", "head", "labels")} | {"seed": seed}
            essays = {"essay_id": [f"e{i:03}" for i in range(300)], "human_level": human, "matched_level": level}
            rows.append(pd.DataFrame(essays).assign(**place))
    raters = pd.concat(rows, ignore_index=True)
    table = cost.arm_costs(arms, ledger, PRICES, essays={"train": 100, "dev": 20, "all": 180}, future=1000, each={"net": 0})
    options = {"resamples": 200, "confidence": 0.95, "seed": 1}
    found = cost.frontier_steps(table, raters, **options).set_index("labels")
    runs = {name: {seed: part["matched_level"] for seed, part in rows.groupby("seed")} for name, rows in raters.groupby("labels")}
    wanted = comparisons.across_seeds(human, runs["full"], runs["cyborg"], **options)
    assert found.loc["full", ["step", "step_low", "step_high"]].tolist() == [wanted[name] for name in ("mean", "low", "high")]
    assert found.loc[["cyborg", "teacher"], "step"].isna().all()  # the cheapest arm, and one off the frontier
    apart = raters[(raters["labels"] != "full") | (raters["seed"] == 9)]
    assert cost.frontier_steps(table, apart, **options)["step"].isna().all()  # no seed in common


def test_what_is_not_known_is_not_given_a_price(arms, ledger):
    sizes, unknown = {"train": 100, "dev": 20, "all": 180}, ledger[ledger["step"] != "score"]
    table = cost.arm_costs(arms, unknown, PRICES, essays=sizes, future=1000, each={"net": 0}).set_index("labels")
    assert np.isnan(table.loc["cyborg", "total"]) and not table.loc["cyborg", "frontier"]
    assert np.isfinite(table.loc["full", "total"])


@pytest.fixture
def recorded(make_study, monkeypatch):
    """A study with one Teacher run whose records say these seconds; returns a function that writes and reads them."""
    make_study("try")
    tokens = 100_000

    def ledger(*, score, dev=(None, 5.0), bench=None):
        place = paths.results("try", "scores")
        place.mkdir(parents=True, exist_ok=True)
        (place / "teacher_u10_s1.csv").touch()
        monkeypatch.setattr(provenance, "hardware", lambda: CPU)
        curve = pd.DataFrame({"epoch": [1, 2], "seconds": dev})
        artefacts.save_table("try", "table_teacher_dev_u10_s1", curve)
        artefacts.write_record("try", "02_finetune_teacher", "u10_s1", parameters={})
        measured = {"seconds_score": score, "prompt_tokens": tokens}
        artefacts.write_record("try", "03_label_essays", "u10_s1", parameters={}, measured=measured)
        if bench:
            content = {"parameters": {"models": {"teacher scoring": "qwen2.5-coder-0.5b-instruct"}}, "hardware": CPU}
            content["measured"] = {"summary": [{"task": "teacher scoring", "ours": bench}]}
            paths.results("bench").mkdir(parents=True, exist_ok=True)
            paths.results("bench", "speed.json").write_text(json.dumps(content))
        return compute_time.seconds("try").set_index("step")

    return ledger


def test_seconds_of_a_resumed_step_are_not_believed(recorded):
    assert np.isnan(recorded(score=90.0).loc["fine-tune", "seconds"])  # an epoch does not know its time
    assert recorded(score=90.0, dev=(4.0, 5.0)).loc["fine-tune", "seconds"] == 9.0
    assert recorded(score=90.0).loc["score", "seconds"] == 90.0
    assert np.isnan(recorded(score=None).loc["score", "seconds"])
    found = recorded(score=2.0, bench=1000.0).loc["score"]  # fifty times as fast as the same machine can be
    assert found["seconds"] == pytest.approx(100.0) and "benchmark" in found["source"]
    found = recorded(score=90.0, bench=1000.0).loc["score"]
    assert found["seconds"] == 90.0 and found["source"] == "record"
    assert recorded(score=None, bench=1000.0).loc["score", "seconds"] == pytest.approx(100.0)


# ---- does the Student add anything


def table_of(name: str, content: dict) -> None:
    artefacts.save_table("try", name, pd.DataFrame(content))


def test_the_teachers_seconds_are_those_of_runs_that_timed_themselves(ledger):
    assert compute_time.teacher_seconds(ledger, 180)[:2] == (14400 / 180, CPU)
    ledger.loc[3, ["seconds", "source"]] = 7200.0, "tokens of the record, at the benchmark's speed"
    seconds, _, source = compute_time.teacher_seconds(ledger, 180)
    assert seconds == 14400 / 180 and source == "03, record, 1 run(s)"  # another processor's speed is not mixed in
    guessed = ledger.drop(index=2)
    assert compute_time.teacher_seconds(guessed, 180)[0] == 40 and "benchmark" in compute_time.teacher_seconds(guessed, 180)[2]
    assert np.isnan(compute_time.teacher_seconds(ledger[ledger["step"] == "train"], 180)[0])


def test_throughput_is_that_of_the_race_where_it_was_run(make_study, ledger):
    make_study("try")
    each = {"net": 0.05, "ridge": 0.001}
    options = {"essays": 180, "model": "net"}
    alone = compute_time.throughput("try", ledger, each, CPU, **options)
    assert alone["seconds"].to_dict() == pytest.approx(
        {"teacher": 80, "student": 0.05, "onnx float32": np.nan, "onnx int8": np.nan, "ridge": 0.001}, nan_ok=True
    )
    forms = ["torch float32", "onnx float32", "onnx int8"]
    table_of("table_onnx", {"form": forms, "n": 24, "same_score": [1, 1, 0.75], "essays_per_second": [10.0, 20.0, 40.0]})
    artefacts.write_record("try", "12_score_essays", parameters={}, measured={"student": {"model": "net"}})
    raced = compute_time.throughput("try", ledger, each, CPU, **options)
    assert raced["seconds"].tolist() == pytest.approx([80, 0.1, 0.05, 0.025, 0.001])
    assert raced.loc["onnx int8", "same_score"] == 0.75 and "24 essays" in raced.loc["student", "source"]
    other = compute_time.throughput("try", ledger, each, CPU, essays=180, model="another")  # a race of another model
    assert np.isnan(other.loc["student", "seconds"]) and np.isnan(other.loc["onnx float32", "seconds"])


@pytest.fixture
def raced() -> pd.DataFrame:
    """An hour of CPU costs 0.4: the Teacher takes 9 s, the Student 0.9 s; int8 gives other scores; ridge was not timed."""
    rows = [(9.0, np.nan), (0.9, np.nan), (1.8, 1.0), (0.45, 0.75), (np.nan, np.nan)]
    names = pd.Index(["teacher", "student", "onnx float32", "onnx int8", "ridge"], name="form")
    return pd.DataFrame(rows, columns=["seconds", "same_score"], index=names).assign(hour_of=[CPU] * 5, source="measured")


def test_scorers_by_agreement_and_price(arms, raced):
    human = arms[arms["student"] == "net"].head(1).assign(labels="human", student="ridge", qwk=0.5)
    table = pd.concat([arms, human]).assign(seeds=3, interval_of="essays and seeds")
    found = cost.scorers(table, raced, PRICES, fraction=0.1, network="net", head="regression").set_index("scorer")
    assert found["per_million"].tolist()[:4] == pytest.approx([1000, 100, 200, 50])
    assert found["qwk"].tolist()[:3] == [0.55, 0.6, 0.6] and found.loc["Student", "n_human"] == 30
    assert np.isnan(found.loc["Student, ONNX int8", "qwk"]) and "score for 75% of" in found.loc["Student, ONNX int8", "left_out"]
    assert found.loc["Ridge, human scores only", "qwk"] == 0.5  # it is told, but has no place on the axis
    assert found.loc[["Ridge", "Ridge, human scores only"], "left_out"].tolist() == ["throughput not measured"] * 2
    timed = raced.assign(seconds=raced["seconds"].fillna(0.1))
    left = cost.scorers(table, timed, PRICES, fraction=0.1, network="net", head="regression").set_index("scorer")["left_out"]
    assert left["Ridge"] == "no such arm in this study" and left["Ridge, human scores only"] == ""


def test_the_student_is_compared_with_its_teacher_on_the_runs_of_both():
    rng = np.random.default_rng(4)
    human = rng.integers(0, 6, 200)
    rows, levels = [], {}
    for student, seeds, sd in (("net", (1, 2, 3), 0.8), ("teacher", (1, 2), 1.2)):
        for seed in seeds:
            level = np.clip(np.round(human + rng.normal(0, sd, 200)), 0, 5).astype(int)
            levels.setdefault(student, {})[seed] = level
            essays = {"essay_id": [f"e{i:03}" for i in range(200)], "human_level": human, "matched_level": level, "seed": seed}
            place = {"labels": "cyborg", "head": "regression"} if student == "net" else {"labels": "teacher", "head": "expected"}
            rows.append(pd.DataFrame(essays).assign(student=student, fraction=0.1, **place))
    options, arm = {"resamples": 200, "confidence": 0.95, "seed": 1}, {"fraction": 0.1, "network": "net", "head": "regression"}
    found = cost.student_minus_teacher(pd.concat(rows), **arm, **options)
    both = {seed: levels["net"][seed] for seed in (1, 2)}
    assert found == comparisons.across_seeds(human, both, levels["teacher"], **options) and found["mean"] > 0
    assert cost.student_minus_teacher(pd.concat(rows[:3]), **arm, **options) == {}


def test_what_the_student_adds_in_words(arms, ledger, raced):
    table = arms.assign(seeds=3, interval_of="essays and seeds")
    table = cost.scorers(table, raced, PRICES, fraction=0.1, network="net", head="regression")
    sizes = {"train": 100, "dev": 20, "all": 180}
    costs = cost.arm_costs(arms, ledger, PRICES, essays=sizes, future=1000, each={"net": 0.001, "teacher": 0.01})
    change = {"mean": -0.004, "low": -0.028, "high": 0.02, "interval_of": "essays and seeds"}
    how = {"fraction": 0.1, "network": "net", "head": "regression", "currency": "EUR"}
    text = cost.what_the_student_adds(table, change, costs, margin=0.05, **how)
    assert "score: **-0.004** [-0.028, +0.020] (over essays and seeds): not shown to differ, and within 0.05" in text
    assert "1,000.00 EUR of computing with the Teacher and 100.00 with the Student, which is **10.0 times cheaper**." in text
    extra = 0.4 * 4 * 90 / 180 + 0.8  # scoring the pool, and training
    assert f"pays for its own training from {1e6 * extra / 900:,.0f} essays on." in text
    assert text.endswith("What the Student adds here is a lower price for a score, not agreement.")
    text = cost.what_the_student_adds(table, change | {"low": 0.001, "high": 0.09}, costs, margin=0.05, **how)
    assert "seeds): better. A" in text and "not agreement" not in text
    assert "seeds): worse. A" in cost.what_the_student_adds(
        table, change | {"high": -0.1, "low": -0.2}, costs, margin=0.05, **how
    )
    gist = cost.student_and_teacher(table, change)
    assert gist.endswith("by -0.004 QWK [-0.028, +0.020], and computing a score costs 0.1 of the Teacher's price")
    assert cost.student_and_teacher(table, {}) == "" == cost.student_and_teacher(table.assign(per_million=np.nan), change)
    slow = table.assign(per_million=table["per_million"].where(table["scorer"] != "Student", 2000), processor=list("abcdef"))
    text = cost.what_the_student_adds(slow, {}, costs, margin=0.05, **how)
    assert (
        "no run in common" in text
        and "2.0 times the Teacher's price, so dearer** (measured on different processors: a; b)" in text
    )
    untimed = table.assign(per_million=np.nan)
    assert "was not measured here" in cost.what_the_student_adds(untimed, change, costs, margin=0.05, **how)


def test_scorers_are_drawn_at_their_price_and_others_named(arms, raced):
    table = arms.assign(seeds=3, interval_of="essays and seeds")
    table = cost.scorers(table, raced, PRICES, fraction=0.1, network="net", head="regression")
    figure, alt = curves.agreement_and_price(table, currency="EUR")
    ax = figure.axes[0]
    assert ax.get_xscale() == "log" and [line.get_xdata()[0] for line in ax.lines] == pytest.approx([100, 200, 1000])
    assert alt.startswith("QWK against the price of computing a million scores (not shown: Student, ONNX int8, agreement not")
    assert "Ridge, throughput not measured" in alt and "Teacher, expected score 1,000.00 EUR, QWK 0.550 (0.500, 0.700)" in alt
    alike = table.assign(per_million=100.0, left_out="", qwk=0.5, n_human=30)
    places = [line.get_xdata()[0] for line in curves.agreement_and_price(alike)[0].axes[0].lines]
    assert len(set(places)) == 6 and np.exp(np.mean(np.log(places))) == pytest.approx(100)  # side by side around their price


# ---- the learning curve


def test_a_curve_is_found_again_and_inverted():
    sizes = np.array([50, 100, 200, 400, 800, 1600])
    true = learning_curve.Curve(0.7, 0.05, 0.6, 50.0, 1600.0)
    curve = learning_curve.fit(sizes, true.at(sizes))
    assert curve == pytest.approx(true, rel=1e-4)
    n = curve.enough(0.02)
    assert 50 < n < 1600 and float(curve.at(1600) - curve.at(n)) == pytest.approx(0.02)
    assert curve.needed(float(curve.at(300))) == pytest.approx(300)
    assert curve.needed(0.9) == 1600 and curve.needed(-1) == 50  # nothing is told outside the sizes
    step = 1e-3
    assert float(curve.gain(300)) == pytest.approx(float(curve.at(300 + step) - curve.at(300)) / step, rel=1e-3)


def test_a_flat_curve_asks_for_the_fewest():
    curve = learning_curve.fit([10, 20, 40, 80], [0.5, 0.5, 0.5, 0.5])
    assert curve.enough(0.02) == 10
    with pytest.raises(CyborgError, match="four sizes, not 3"):
        learning_curve.fit([10, 20, 40], [0.1, 0.2, 0.3])


def students(rng, human, noise):
    """A Student's levels for two seeds."""
    return {seed: np.clip(np.round(human + rng.normal(0, noise, len(human))), 0, 5).astype(int) for seed in (1, 2)}


def test_the_recommended_number_has_an_interval_from_essays_and_seeds():
    rng = np.random.default_rng(5)
    human = rng.integers(0, 6, 400)
    sizes = {n: students(rng, human, noise) for n, noise in {50: 2.0, 100: 1.6, 200: 1.35, 400: 1.2, 800: 1.12}.items()}
    others = {"good": students(rng, human, 0.5), "like 100": sizes[100]}
    fitted = learning_curve.fit_resampled(human, sizes, others, resamples=150, seed=1)
    table = fitted.enough([0.02, 0.1], confidence=0.9)
    assert (table["low"] <= table["n"]).all() and (table["n"] <= table["high"]).all() and table["n"].is_monotonic_decreasing
    assert 50 < table["n"][1] < table["n"][0] < 800
    worth = fitted.worth(confidence=0.9).set_index("system")
    assert worth.loc["good", "n"] == 800 and worth.loc["good", "capped"]
    assert worth.loc["like 100", "low"] <= 100 <= worth.loc["like 100", "high"] and not worth.loc["like 100", "capped"]


def test_resampled_seeds_are_shared_by_systems_that_have_them():
    rng = np.random.default_rng(2)
    human = rng.integers(0, 6, 200)
    runs = students(rng, human, 1.0)
    values, resampled = learning_curve.resampled_means(human, {"a": runs, "b": dict(runs)}, resamples=100, seed=1)
    assert values[0] == values[1] and (resampled[:, 0] == resampled[:, 1]).all() and resampled[:, 0].std() > 0


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_few_seeds_are_drawn_from_students_t(seeds):
    weights = learning_curve._seed_weights(seeds, 100_000, np.random.default_rng(1))
    values = np.array([0.50, 0.56, 0.57, 0.61, 0.64])[:seeds]
    drawn = weights @ values / (values.std(ddof=1) / np.sqrt(seeds))
    assert np.quantile(drawn, [0.025, 0.25, 0.75, 0.975]) == pytest.approx(
        stats.t.ppf([0.025, 0.25, 0.75, 0.975], seeds - 1), rel=0.05
    )
    assert weights.sum(axis=1) == pytest.approx(0, abs=1e-9)


def test_one_seed_tells_of_essays_only():
    human = np.random.default_rng(2).integers(0, 6, 200)
    runs = {1: students(np.random.default_rng(3), human, 1.0)[1]}
    _, resampled = learning_curve.resampled_means(human, {"a": runs}, resamples=100, seed=1)
    wanted = bootstrap.resampled_metric(human, list(runs.values()), metric="qwk", resamples=100, seed=1)[1]
    assert (resampled == wanted).all()


def test_the_mean_over_few_seeds_is_covered():
    # Each trial: new essays, and three Students whose quality differs by luck; drawing seeds with replacement covers 88 %.
    rng, count = np.random.default_rng(13), 200

    def rate(quality, sd):
        return np.clip(np.round((quality + rng.normal(size=quality.shape) * sd) * 1.1 + 2.5), 0, 5).astype(int)

    caught, ends = 0, []
    truth = np.mean([metrics.qwk(rate(q, 0.5), rate(q, rng.uniform(0.5, 1.1)), levels=6) for q in rng.normal(size=(2_000, 400))])
    for _ in range(count):
        quality = rng.normal(size=400)
        human, runs = rate(quality, 0.5), {seed: rate(quality, rng.uniform(0.5, 1.1)) for seed in range(3)}
        _, resampled = learning_curve.resampled_means(human, {"a": runs}, resamples=400, seed=1)
        low, high = np.quantile(resampled[:, 0], [0.025, 0.975])
        caught += low <= truth <= high
        ends.append(high - low)
    assert caught / count > 0.91
    assert np.mean(ends) < 0.35  # and is not bought with an interval that says nothing


# ---- tables and sentences


@pytest.fixture(scope="module")
def fitted() -> learning_curve.Fitted:
    rng = np.random.default_rng(5)
    human = rng.integers(0, 6, 200)
    sizes = {n: students(rng, human, noise) for n, noise in {50: 2.0, 100: 1.6, 200: 1.35, 400: 1.2}.items()}
    others = {(0.1, "cyborg"): students(rng, human, 0.5), (0.1, "cyborg-soft"): {1: sizes[100][1]}}
    return learning_curve.fit_resampled(human, sizes, others, resamples=50, seed=1)


def test_tables_of_the_curve_and_their_prices(fitted):
    curve = cost.curve_table(fitted, PRICES, dev=20, confidence=0.9)
    assert curve["n"].tolist() == [70, 120, 220, 420] and (curve["low"] <= curve["qwk"]).all()
    assert curve["price"].tolist() == PRICES.people(np.array([70, 120, 220, 420])).tolist()
    assert curve["next_0.01"].iloc[0] == pytest.approx(0.01 / fitted.curve.gain(50) * PRICES.score)
    flat = fitted._replace(curve=fitted.curve._replace(gap=0.0))
    assert np.isinf(cost.curve_table(flat, PRICES, dev=20, confidence=0.9)["next_0.01"]).all()
    enough = cost.enough_table(fitted, {0.1, 0.02}, PRICES, dev=20, confidence=0.9)
    assert enough["margin"].tolist() == [0.02, 0.1]
    assert (enough["price_high"] == PRICES.people(enough["high"])).all()
    alone = fitted.enough([0.02, 0.1], confidence=0.9)
    assert (enough[["n", "low", "high"]] == alone[["n", "low", "high"]] + 20).all(axis=None)
    band = fitted.band(0.9, points=7)
    assert len(band) == 7 and band["n"].iloc[[0, -1]].tolist() == pytest.approx([50, 400])
    assert (band["low"] <= band["high"]).all() and band["qwk"].tolist() == pytest.approx(fitted.curve.at(band["n"]).tolist())
    line = cost.priced_line(cost.paid(band, 20, "n"), PRICES, future=1000, each=0.5)
    assert line["per_1000"].iloc[0] == pytest.approx(float(PRICES.people(70)) + 500)


def test_what_the_teacher_is_worth_in_human_scores(fitted):
    systems = {(0.1, "cyborg"): {1: None, 2: None}, (0.1, "cyborg-soft"): {1: None}}
    table = cost.worth_table(fitted, systems, PRICES, train=400, dev=20, confidence=0.9)
    columns = ["fraction", "labels", "n_human", "runs", "qwk", "n", "low", "high", "capped", "saved"]
    assert list(table) == columns and table["runs"].tolist() == [2, 1] and table["n_human"].tolist() == [60, 60]
    assert table["n"].max() == 420  # all there are
    assert table["saved"].tolist() == ((table["n"] - 60) * PRICES.score).tolist() and table["capped"].tolist()[0]


def test_the_price_of_one_more_score_is_that_of_the_machine_it_ran_on(ledger):
    seconds = {"net": 3.6, "teacher": 36.0}
    assert cost.price_of_one(seconds, GPU, ledger, PRICES) == pytest.approx({"net": 0.002, "teacher": 36 / 3600 * 0.4})
    untold = ledger[ledger["step"] != "score"]
    assert cost.price_of_one(seconds, GPU, untold, PRICES)["teacher"] == pytest.approx(0.02)


def test_a_step_that_no_run_knows_has_no_seconds(ledger):
    ledger.loc[1, ["seconds", "source"]] = np.nan, "record"
    ledger.loc[3, "source"] = "tokens of the record, at the benchmark's speed"
    table = compute_time.step_table(ledger, {"net": 0.5, "ridge": 0.001, "teacher": 2.0})
    told = table.set_index(["step", "student"])
    assert told.loc[("fine-tune", "teacher"), ["seconds", "runs_known", "runs"]].tolist() == [36000, 1, 2]
    assert (
        told.loc[("score", "teacher"), "runs_known"] == 1 and "; tokens of the record" in told.loc[("score", "teacher"), "source"]
    )
    one = told.loc["one more essay"]
    assert (
        one["source"].tolist() == ["this notebook", "this notebook", "runs of `score` with a time of their own, if any"]
        and one["runs"].isna().all()
    )


def test_seconds_of_one_essay_are_measured(tiny_models, make_study, tmp_path):
    make_study("try", train_student={"models": [str(tiny_models["electra"])], "heads": ["regression"], "max_tokens": 32})
    texts = [f"a short essay of {n} words" for n in range(6)]
    embeddings, each = compute_time.embed(config.load("try"), texts, tmp_path)
    assert embeddings[str(tiny_models["electra"])].shape[0] == 6 and list(each) == [str(tiny_models["electra"])]
    assert all(seconds > 0 for seconds in each.values())
    judged = pd.DataFrame({"split": ["dev", "test"] * 3, "text": texts, "score": range(6)})
    assert compute_time.ridge_seconds(judged) > 0


def test_sentences_of_prices_and_arms(arms, ledger):
    sizes = {"train": 100, "dev": 20, "all": 180}
    table = cost.arm_costs(arms, ledger, PRICES, essays=sizes, future=1000, each={"net": 0.001, "teacher": 0.01})
    assert cost.one_score(PRICES, CPU, "EUR").startswith(
        "One more human score costs **1.50 EUR**; for that, this machine computes 3.8"
    )
    text = cost.who_is_paid(table, PRICES, dev=20, future=1000, currency="EUR")
    share = table["people"] / table["total"]
    assert cost.compute_share(table) == pytest.approx(1 - share[0]) and "**1,520 EUR** per 1,000" in text
    assert (
        "**at least 90.7%** goes to people" in text
        and "The 20 development essays are 67% of the 30 human scores of the cheapest arms." in text
    )
    unknown = table.assign(total=np.nan)
    assert np.isnan(cost.compute_share(unknown)) and "goes to people" not in cost.who_is_paid(
        unknown, PRICES, dev=20, future=1000, currency="EUR"
    )
    steps = table.assign(step=[np.nan, 0.05, 0.1], step_low=[np.nan, -0.01, 0.02])
    assert cost.steps_beyond_chance(steps).startswith("Of 2 steps along the frontier, **1** are beyond chance")


def test_what_is_enough_and_from_when_it_pays_in_words(arms, ledger, fitted):
    sizes = {"train": 400, "dev": 20, "all": 480}
    table = cost.arm_costs(arms, ledger, PRICES, essays=sizes, future=1000, each={"net": 0.001, "teacher": 0.01})
    every = cost.enough_table(fitted, {0.01, 0.02, 0.04}, PRICES, dev=20, confidence=0.9)
    enough = every.set_index("margin", drop=False).loc[0.02]
    interval = f"{enough['n']:,.0f} [{enough['low']:,.0f}, {enough['high']:,.0f}]"
    text = cost.recommended(enough, PRICES, every=420, dev=20, currency="EUR")
    assert f"**Recommended: {interval} human scores** of 420, the 20 development essays among them, lose at most" in text
    assert "instead of 650." in text
    assert "than **1.5 seconds**; 180 are assumed here, 120 times as many" in cost.pays_from(0.025, 3.0)
    assert "than **0 seconds**; 180 are assumed here, inf times" in cost.pays_from(0.0, 3.0)
    assert cost.pays_from(float("nan"), 3.0).startswith("Not known")
    curve = cost.curve_table(fitted, PRICES, dev=20, confidence=0.9)
    worth = pd.DataFrame([{"labels": "cyborg", "n_human": 60, "n": 420, "low": 140, "high": 420}])
    text = cost.learned(table, 0.025, curve, enough, worth, currency="EUR", choice="of 3 none")
    assert (
        text.startswith("Here compute is at most ")
        and "pays from 1.5 seconds a score on: **the price of a score is people's" in text
    )
    assert f"**{interval} of 420**, development essays included, were enough" in text and text.endswith(
        "Which essays people score: of 3 none."
    )
    assert "60 human scores were worth **420 [140, 420] (Cyborg)** without" in text
    text = cost.learned(table, float("nan"), curve, enough, worth[:0], currency="EUR", choice="of 3 none")
    assert text.startswith("The price of the Teacher's compute is not known here.") and "nan" not in text and "worth" not in text
    text = cost.finding(table, enough, every=420, dev=20, adds="", choice="of 3 none")
    assert text.startswith(
        f"Within 0.02 QWK of all 420 human scores (20 of them on development essays) a classical Student comes with {interval} of"
    )
    assert "; x; which" in cost.finding(table, enough, every=420, dev=20, adds="x", choice="of 3 none")
    assert "compute" not in cost.finding(table.assign(total=np.nan), enough, every=420, dev=20, adds="", choice="of 3 none")
    text = cost.what_would_change(every, 0.02, 0.025, 3.0, runs=4, students=["ridge"])
    assert "0.01 would ask for" in text and "0.04 would ask for" in text and "0.02 would" not in text
    assert "**People who score in 1.5 seconds**" in text and "than the 4 here" in text and "other Students than ridge" in text
    assert "nan" not in cost.what_would_change(every, 0.02, float("nan"), 3.0, runs=4, students=["ridge"])


# ---- figures


def test_the_recommended_number_is_drawn_with_its_interval():
    measured = pd.DataFrame({"n": [50, 100], "qwk": [0.5, 0.55], "low": [0.4, 0.5], "high": [0.6, 0.6], "price": [75.0, 150.0]})
    own = pd.DataFrame({"student": "net", "arm": ["human", "cyborg", "human", "full"], "n": [60, 60, 80, 100]})
    own = own.assign(qwk=[0.51, 0.6, 0.56, 0.65], low=0.4, high=0.7)
    enough = pd.Series({"margin": 0.02, "n": 80, "low": 60, "high": 95})
    figure, alt = curves.enough_scores(measured, measured, enough, arms=own)
    assert alt == "QWK of the classical Student on human scores alone: 50 0.500, 100 0.550. Within 0.02 of all: 80 [60, 95]."
    words = [text.get_text() for text in figure.findobj(Text)]
    assert "80 [60, 95]\nwithin 0.02 of all" in words and {"50\n75", "100\n150"} <= set(words)
    names = ["net: Human scores only", "net: Cyborg", "net: All human scores"]
    assert [word for word in words if "net" in word] == names and "Ridge, human scores only (fitted)" in words
    points = [zip(line.get_ydata(), line.get_xdata(), strict=True) for line in figure.axes[0].lines]
    places = {qwk: n for each in points for qwk, n in each}
    assert [places[qwk] for qwk in own["qwk"]] == pytest.approx([60, 60, 80, 100], rel=0.05)
    assert places[0.51] < 60 < places[0.6]  # side by side
    band = figure.axes[0].patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((60, 95))
    assert curves.enough_scores(measured, measured, enough, arms=own[:0])[0].axes  # without other Students
    close = pd.concat([measured.assign(n=[321, 371]), measured.assign(n=[671, 2071])])
    ticks = curves.enough_scores(close, close, enough, arms=own[:0])[0].axes[0].get_xticklabels()
    assert [text.get_text().split()[0] for text in ticks] == ["371", "671", "2,071"]  # 321 would stand on 371


def test_the_frontier_is_ringed_and_unknown_prices_are_left_out(arms, ledger):
    sizes = {"train": 100, "dev": 20, "all": 180}
    table = cost.arm_costs(arms, ledger, PRICES, essays=sizes, future=1000, each={"net": 0.001, "teacher": 0.01})
    table = table.assign(arm=table["labels"])
    figure, alt = curves.cost_frontier(table)
    assert "net, cyborg, 30 human scores: 71.60, QWK 0.600; net, full, 120 human scores: 201.40, QWK 0.650." in alt
    rings = [line for line in figure.axes[0].lines if line.get_markersize() == 10]
    assert sorted(line.get_ydata()[0] for line in rings) == [0.6, 0.65]
    (steps,) = (line for line in rings[0].axes.lines if line.get_label() == "frontier")
    assert sorted(line.get_xdata()[0] for line in rings) == list(steps.get_xdata())  # the steps go through what is ringed
    unknown = table.assign(per_1000=table["per_1000"].where(table["labels"] != "cyborg"))
    figure, alt = curves.cost_frontier(unknown.assign(step=0.05, step_low=0.01, step_high=0.09), currency="EUR")
    assert "201.40 EUR, QWK 0.650, step +0.050 [+0.010, +0.090]." in alt and "cyborg" not in alt
    names = [text.get_text() for text in figure.findobj(Text)]
    assert (
        "Cyborg" not in names and "Cost per 1,000 scored essays (EUR)\narms of nearly equal cost are drawn side by side" in names
    )
