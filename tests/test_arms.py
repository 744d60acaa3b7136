"""Scores by essay id, and the tables over all arms of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.stats import bootstrap, fairness, metrics
from cyborg_utils.study import agreement, agreement_checks, agreement_in_words, arms, bias, paper, scores

SCALE = Scale(1, 6)


def permutation_p(human, first, second, *, resamples=10_000, **how):
    return bootstrap.Swaps(human, first, second, **how).draw(resamples).p


@pytest.fixture(scope="module")
def raters() -> pd.DataFrame:
    """120 test essays; two seeds of 10 %, one of 25 %, two of `full`; the Teacher is strict with group B."""
    rng = np.random.default_rng(7)
    essays = pd.DataFrame({"essay_id": [f"e{i:03d}" for i in range(120)], "human_level": rng.integers(0, 6, 120)})
    essays = essays.assign(score=essays["human_level"] + 1.0, **{"groups.kind": np.where(np.arange(120) < 60, "A", "B")})
    essays = essays.assign(prompt=[f"prompt {at % 12}" for at in range(120)], second_score=np.nan)
    rows = []
    for fraction, seeds in ((0.1, (1, 2)), (0.25, (1,)), (1.0, (1, 2))):
        for seed in seeds:
            for labels, noise in {"teacher": 0.5, "human": 1.6, "cyborg": 0.8, "full": 0.7}.items():
                if (labels == "full") != (fraction == 1):
                    continue
                value = essays["score"] + rng.normal(0, noise, 120) - 0.8 * (labels == "teacher") * (essays["groups.kind"] == "B")
                of = ("teacher", "most likely") if labels == "teacher" else ("net", "regression")
                level = SCALE.nearest(value)
                paid = {"n_human": int(100 * fraction) + 20, "n_dev": 20}
                run = {"fraction": fraction, "seed": seed, "student": of[0], "head": of[1]} | paid
                scored = {"labels": labels, "value": value, "level": level, "matched_value": value, "matched_level": level}
                rows.append(essays.assign(**run, **scored))
    return pd.concat(rows, ignore_index=True)


def test_agreement_is_the_mean_over_seeds(raters):
    table = agreement.agreement_table(raters, scale=SCALE, resamples=200, confidence=0.95, seed=1)
    row = table.set_index(["fraction", "labels"]).loc[(0.1, "cyborg")]
    alone = agreement.single_runs(raters, scale=SCALE).query("fraction == 0.1 and labels == 'cyborg'")["qwk"]
    assert row["seeds"] == 2 and row["qwk"] == pytest.approx(alone.mean()) and row["seed_sd"] == pytest.approx(alone.std())
    assert row["low"] < row["qwk"] < row["high"] and row["interval_of"] == "essays and seeds"
    assert arms.headline_fraction(raters) == 0.1


def test_comparisons_pair_seeds_and_correct_over_all_rows(raters):
    table = agreement.comparisons(raters, margin=0.05, resamples=200, confidence=0.95, seed=1)
    found = table.set_index(["fraction", "system", "baseline"])
    assert found.loc[(0.1, "cyborg", "full"), "seeds"] == 2 and found.loc[(0.25, "cyborg", "full"), "seeds"] == 1
    assert len(table) == 8 and (table["p_holm"] >= table["p"]).all() and table["p_settled"].all()
    asked = table["baseline"] == "full"
    assert set(table.loc[~asked, "equivalence"]) == {"not asked"} and table["p_tost_holm"].notna().equals(asked)
    assert (found["prompt_low"] < found["difference"]).all() and (found["difference"] < found["prompt_high"]).all()
    two, one = found.loc[(0.1, "cyborg", "human")], found.loc[(0.25, "cyborg", "human")]
    assert two["difference"] == pytest.approx(two["qwk"] - two["qwk_baseline"]) and two["p"] == pytest.approx(
        1 / (two["swaps"] + 1)
    )
    assert two["low"] < 0 < one["low"] < one["tost_low"] < one["difference"]  # two seeds say little of further ones
    nothing = agreement.comparisons(raters.query("labels == 'cyborg'"), margin=0.05, resamples=100, confidence=0.95, seed=1)
    assert nothing.empty and list(nothing) == list(table)


@pytest.fixture(scope="module")
def teachers(raters) -> pd.DataFrame:
    """60 training essays, 12 of them in U, the same in every run; the Teacher is right on U and a level low on the pool."""
    rng = np.random.default_rng(3)
    essays = pd.DataFrame({"essay_id": [f"x{i:03d}" for i in range(60)], "human_level": rng.integers(1, 6, 60)})
    essays = essays.assign(
        part=np.where(np.arange(60) < 12, "U", "pool"), **{"groups.kind": np.where(np.arange(60) % 2, "A", "B")}
    )
    essays = essays.assign(level=essays["human_level"] - (essays["part"] == "pool"), score=essays["human_level"] + 1.0)
    trained = [essays.assign(fraction=fraction, seed=seed) for fraction, seed in ((0.1, 1), (0.1, 2), (0.1, 3), (0.25, 1))]
    return pd.concat([*trained, raters.query("labels == 'teacher'").assign(part="test")], ignore_index=True)


def test_where_bias_enters(raters, teachers):
    options = {"student": "net", "head": "regression", "groups": ["groups.kind"], "scale": SCALE, "seed": 1, "resamples": 100}
    table = bias.stage_table(teachers, raters.assign(second_score=np.nan), **options)
    found = table.set_index(["fraction", "stage", "group"])
    assert found.loc[(0.1, "Teacher on U", "all"), "smd"] == 0 and found.loc[(0.1, "Teacher on U", "all"), "n"] == 12
    pool = teachers.query("part == 'pool' and seed == 1 and fraction == 0.1")["score"]
    assert found.loc[(0.1, "Teacher on the pool", "all"), "smd"] == pytest.approx(-1 / pool.std())
    mixed = found.loc[(0.1, "Cyborg Data", "all")]
    assert mixed["machine_mean"] - mixed["human_mean"] == pytest.approx(-48 / 60) and mixed["n"] == 60
    assert found.loc[(0.1, "Teacher on Y", "B"), "smd"] < -0.3 < found.loc[(0.1, "Teacher on Y", "A"), "smd"]
    assert list(dict.fromkeys(table["stage"]))[-4:] == ["human", "cyborg", "Cyborg, matched", "full"]
    assert set(table["fraction"]) == {0.1, 0.25} and "second rater" not in set(table["stage"])
    second = bias.stage_table(teachers, raters.assign(second_score=raters["score"]), **options)
    assert second.set_index(["fraction", "stage", "group"]).loc[(0.25, "second rater", "A"), "smd"] == 0


def test_smd_side_by_side_keeps_the_order():
    rows = [("g", "B", 5, "two", -0.2, "biased"), ("g", "A", 9, "two", 0.0, "not biased"), ("g", "B", 5, "one", 0.1, "too few")]
    table = pd.DataFrame(rows, columns=["attribute", "group", "n", "arm", "smd", "verdict"])
    wide = bias.smd_wide(table, "arm")
    assert list(wide.columns) == ["two", "one"] and wide.index.tolist() == [("g", "B", 5), ("g", "A", 9)]
    assert wide.loc[("g", "B", 5)].tolist() == ["-0.20 ✗", "+0.10"] and wide.loc[("g", "A", 9), "two"] == "+0.00 ✓"
    late = [("h", "A", 1, "two", np.nan, "too few"), ("g", "C", 2, "one", 0.3, "too few")]
    wide = bias.smd_wide(pd.concat([table, pd.DataFrame(late, columns=table.columns)]), "arm")
    assert [row[:2] for row in wide.index] == [("g", "B"), ("g", "A"), ("g", "C"), ("h", "A")]
    assert wide.loc[("h", "A", 1), "two"] == "–"


def test_suppression_of_every_rater(raters, teachers):
    table = bias.suppression_table(teachers, raters, student="net", head="regression", scale=SCALE, seed=1, resamples=100)
    found = table.set_index(["fraction", "arm", "essays"])
    pool, level = found.loc[(0.1, "teacher", "pool")], teachers.query("part == 'pool' and seed == 1 and fraction == 0.1")["level"]
    assert pool["shift"] == -1 and pool["n"] == 48 and pool["seeds"] == 3  # an essay counts once, whatever the number of seeds
    assert pool["human_top"] == pytest.approx((level + 1 >= 4).mean()) and pool["machine_top"] == pytest.approx(
        (level >= 4).mean()
    )
    assert {"human", "cyborg", "teacher"} == {arm for fraction, arm, essays in found.index if essays == "Y" and fraction == 0.1}
    assert found.loc[(1.0, "full", "Y"), "n"] == 120


def test_permutation_of_several_seeds(raters):
    human = arms.human(raters)
    both = {
        name: arms.by_seed(arms.pick(raters, fraction=0.1, labels=name), "matched_level")
        for name in ("cyborg", "human", "teacher")
    }
    one = {name: {1: runs[1]} for name, runs in both.items()}
    options = {"resamples": 300, "seed": 3}
    alone = permutation_p(human, one["cyborg"][1], one["teacher"][1], **options)
    assert permutation_p(human, one["cyborg"], one["teacher"], **options) == alone
    assert permutation_p(human, both["cyborg"], both["cyborg"], **options) == 1
    assert permutation_p(human, both["cyborg"], both["human"], **options) == pytest.approx(1 / 301)
    with pytest.raises(CyborgError, match="must be the same"):
        permutation_p(human, both["cyborg"], one["human"], **options)


def test_gaps(raters):
    table = agreement.gaps(raters, resamples=200, confidence=0.95, seed=1).set_index("fraction")
    assert table.loc[0.1, "resolved"] and 0.5 < table.loc[0.1, "gap_closed"] < 1.2
    assert agreement.gaps(raters.query("labels != 'full'"), resamples=100, confidence=0.95, seed=1).empty
    several = agreement.gaps(raters, measures=list(agreement.MEASURES), resamples=200, confidence=0.95, seed=1)
    ten = several[several["fraction"] == 0.1].set_index("measure")
    assert ten.loc["MAE, raw", "gap"] < 0 and ten["resolved"].all() and (ten["gap_closed"] > 0.5).all()
    assert ten.loc["QWK, matched", "gap_closed"] == table.loc[0.1, "gap_closed"]


def test_the_best_rival_is_chosen_on_development_essays(raters):
    """Two rivals: the one that is best on the development essays is the baseline, though it is worse on the test essays."""
    student = raters[raters["student"] == "net"]
    other = student.query("labels == 'human'").assign(student="ridge", matched_level=lambda rows: rows["human_level"])
    test = pd.concat([student, other])
    dev = test.assign(matched_level=test["matched_level"].where(test["student"] == "net", 2), essay_id="d" + test["essay_id"])
    options = {"student": "net", "head": "regression", "resamples": 200, "confidence": 0.95, "seed": 1}
    table = agreement_checks.rivals(test, dev, **options)
    ten = table[table["fraction"] == 0.1].set_index("rival")
    assert ten["chosen"].to_dict() == {"net, regression": True, "ridge, regression": False}
    assert ten.loc["ridge, regression", "dev_qwk"] == 0 and ten.loc["ridge, regression", "qwk_baseline"] == 1
    assert ten["n_human"].eq(30).all() and ten.loc["ridge, regression", "difference"] < 0
    assert not ten.loc["ridge, regression", "resolved"] and np.isnan(ten.loc["ridge, regression", "gap_closed"])
    drawn = agreement_checks.for_forest(table, fraction=0.1).set_index("baseline")
    assert drawn["equivalence"].to_dict() == {"net on human": "best rival", "Ridge on human": ""}
    told = agreement_in_words.against_rivals(table)
    assert "30 human scores (10 + 20 for development), `cyborg`" in told and "Ridge" not in told


def test_fewer_development_essays_match_worse(raters):
    """The human scores have their mean in every draw, so the SD over draws falls with the number of essays drawn."""
    arm = arms.pick(raters, labels="human", fraction=0.1)
    dev = arm.assign(essay_id="d" + arm["essay_id"])
    table = agreement_checks.development_sizes(arm, dev, scale=SCALE, sizes=(10, 60), draws=60, seed=1).set_index("development")
    assert table.loc[10, "smd_sd"] > 1.5 * table.loc[60, "smd_sd"] and table.loc[10, "qwk_sd"] > table.loc[60, "qwk_sd"] > 0
    assert table.index.tolist() == [10, 60, 120] and np.isnan(table.loc[120, "qwk_sd"]) and table.loc[120, "draws"] == 1


def test_people_set_a_ceiling_only_where_enough_essays_have_two_scores(raters):
    options = {"scale": SCALE, "resamples": 100, "confidence": 0.95, "seed": 1}
    table = agreement.agreement_table(raters, **options)
    assert table["prmse"].isna().all() and "no essay has a second" in agreement_in_words.ceiling(raters, table, SCALE)
    second = (raters["score"] - 1 + raters["essay_id"].str[-1].astype(int).isin([1, 2])).clip(0, 5) + 1
    both = raters.assign(second_score=second)
    table = agreement.agreement_table(both, **options)
    assert table["prmse"].between(0, 1.05).all() and table.loc[table["labels"] == "full", "prmse"].gt(0.6).all()
    assert "Two people agree with QWK **" in agreement_in_words.ceiling(both, table, SCALE)
    few = both.assign(second_score=both["second_score"].where(both["essay_id"] == "e001"))
    table = agreement.agreement_table(few, **options)
    assert table["prmse"].isna().all() and "only 1 test essays" in agreement_in_words.ceiling(few, table, SCALE)


def test_smd_over_seeds_and_without_groups(raters):
    options = {"scale": SCALE, "seed": 1, "resamples": 100}
    table = bias.smd_table(raters, groups=["groups.kind"], **options).set_index(["fraction", "labels", "group"])
    teacher = arms.pick(raters, fraction=0.1, labels="teacher")
    part = teacher[teacher["groups.kind"] == "B"]
    each = [metrics.smd(rows["score"], rows["value"]) for _, rows in part.groupby("seed")]
    assert table.loc[(0.1, "teacher", "B"), "smd"] == pytest.approx(np.mean(each))
    assert table.loc[(0.1, "teacher", "B"), "smd_seed_sd"] == pytest.approx(np.std(each, ddof=1))
    assert table.loc[(0.1, "teacher", "B"), "verdict"] == "biased" and np.isnan(table.loc[(0.25, "teacher", "B"), "smd_seed_sd"])
    qwks = [metrics.qwk(rows["human_level"], rows["level"], levels=6) for _, rows in part.groupby("seed")]
    assert table.loc[(0.1, "teacher", "B"), "qwk"] == pytest.approx(np.mean(qwks))
    assert set(bias.smd_table(raters, groups=[], **options)["group"]) == {"all"}
    explained = bias.osa_table(teacher, groups=["groups.kind"], min_group=10).set_index("measure")
    assert explained.loc["CSD", "p_holm"] < 0.001 < explained.loc["CSD", "r2_adjusted"]


def test_intervals_of_bias_hold_for_other_seeds_too(raters):
    """One seed is a point more lenient than the other: essays alone would call their mean biased, though seeds differ so much."""
    two = arms.pick(raters, fraction=0.1, labels="cyborg")
    for column in ("value", "matched_value"):
        two = two.assign(**{column: two[column] + np.where(two["seed"] == 2, 1.0, 0.0)})
    how = {"groups": ["groups.kind"], "seed": 1, "resamples": 200}
    essays_only = fairness.smd_by_group(arms.averaged(two, "value"), scale=SCALE, **how)
    found = bias.smd_of_runs(two, "value", scale=SCALE, **how)
    assert found["smd"].tolist() == pytest.approx(essays_only["smd"].tolist())
    least = stats.t.ppf(0.975, 1) * found["smd_seed_sd"] / np.sqrt(2)  # what the seeds alone bring
    assert ((found["smd_high"] - found["smd"]) >= least).all() and (found["smd_seed_sd"] > 0.3).all()
    assert set(essays_only["verdict"]) == {"biased"} and set(found["verdict"]) == {"undecided"}
    curves, alone = bias.conditional_of_runs(two, "value", **how), fairness.conditional_bias(arms.averaged(two, "value"), **how)
    assert curves["bias"].tolist() == pytest.approx(alone["bias"].tolist(), nan_ok=True)
    assert ((curves["high"] - curves["low"]) > (alone["high"] - alone["low"])).all()
    one = arms.pick(two, seed=1)
    assert bias.smd_of_runs(one, "value", scale=SCALE, **how)["smd_high"].tolist() == pytest.approx(
        fairness.smd_by_group(arms.averaged(one, "value"), scale=SCALE, **how)["smd_high"].tolist()
    )


def test_accuracy_by_group_is_that_of_one_model_not_of_their_average(raters):
    two = arms.pick(raters, fraction=0.1, labels="cyborg")
    how = {"groups": ["groups.kind"], "essay": "essay_id"}
    squares = two.assign(squared=(two["value"] - two["score"]) ** 2).groupby("essay_id", sort=True)["squared"].mean()
    kind = two.drop_duplicates("essay_id").sort_values("essay_id")["groups.kind"].to_numpy()
    expected = stats.f_oneway(squares[kind == "A"], squares[kind == "B"])
    found = fairness.osa_osd_csd(two, **how).set_index("measure")
    assert found.loc["OSA", ["n", "f", "p"]].tolist() == pytest.approx([120, expected.statistic, expected.pvalue])
    averaged = fairness.osa_osd_csd(arms.averaged(two, "value"), groups=["groups.kind"]).set_index("measure")
    assert found.loc["OSD", "f"] == pytest.approx(averaged.loc["OSD", "f"]) and found.loc["CSD", "p"] == pytest.approx(
        averaged.loc["CSD", "p"]
    )
    assert found.loc["OSA", "f"] != pytest.approx(averaged.loc["OSA", "f"])


def test_power_for_the_smallest_group_that_is_judged(raters):
    how = {"fraction": 0.1, "student": "net", "head": "regression", "margin": 0.05, "seed": 1}
    some = raters.assign(**{"groups.rare": np.where(raters["essay_id"] < "e005", "few", "many")})
    found = agreement.power_table(some, groups=["groups.kind", "groups.rare"], min_group=10, **how)
    assert found["essays"].unique().tolist() == ["all", "kind: A"] and found.groupby("essays")["n"].first().tolist() == [120, 60]
    assert agreement.power_table(raters, **how)["essays"].unique().tolist() == ["all"]


@pytest.fixture
def study(project):
    """A study `mini` of 60 simulated essays with one run: prepared, and scored by a Teacher and a Student."""
    content = yaml.safe_load((project / "params/demo.yaml").read_text(encoding="utf-8"))
    content["prepare_data"] |= {"options": {"essays": 60, "seed": 1}, "dev": 10, "test": 20}
    content["runs"] = [{"fraction": 0.1, "seeds": [1, 2]}]
    (project / "params/mini.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    prepared = corpora.build(config.load("mini").section("prepare_data"))
    corpora.save(prepared.dataset, "mini")
    frame = scores.essays("mini")
    in_u = frame["essay_id"].isin(corpora.draw_human(prepared.dataset, 0.1, 1))
    part = frame["split"].where(frame["split"] != "train", np.where(in_u, "U", "pool"))
    p = {f"p_{level}": 1 / 6 for level in range(1, 7)}
    teacher = pd.DataFrame({"essay_id": frame["essay_id"], "part": part, "level": 2, "expected": 3.6, **p})
    given = {"student": "net", "head": "classification", "value": 4.0, "level": 3, "matched_value": 4.0, "matched_level": 3}
    held = frame[frame["split"] != "train"]
    arm = pd.DataFrame({"essay_id": held["essay_id"], "part": held["split"], **given})
    scores.write("mini", "teacher_u10_s1", teacher)
    scores.write("mini", "students_u10_s1", pd.concat([arm.assign(labels=labels) for labels in ("cyborg", "human")]))
    return teacher


def test_raters_in_the_order_of_the_tables(study):
    found = scores.raters("mini")
    assert found.groupby(scores.ARM, sort=False).ngroups == 4 and len(found) == 4 * 20 and not found["score"].isna().any()
    assert list(dict.fromkeys(found["head"])) == ["most likely", "expected", "classification"]
    assert list(dict.fromkeys(found["labels"])) == ["teacher", "human", "cyborg"]
    assert found["n_human"].unique().tolist() == [(study["part"] == "U").sum() + 10] == [13] and found["n_dev"].eq(10).all()
    expected = found[found["head"] == "expected"]
    assert expected["value"].eq(3.6).all() and expected["level"].eq(3).all() and "groups.gender" in found
    assert [run.name for run in scores.runs("mini", "students")[1]] == ["u10_s2", "u100_s1", "u100_s2"]


def test_scores_that_do_not_fit_are_refused(study):
    with pytest.raises(CyborgError, match="03_label_essays writes it"):
        scores.read("mini", "teacher", config.Run(0.1, 2))
    scores.write("mini", "teacher_u10_s1", study.assign(part=study["part"].replace({"test": "pool"})))
    with pytest.raises(CyborgError, match="prepared anew"):
        scores.teachers("mini")
    scores.write("mini", "teacher_u10_s1", study.assign(expected=np.nan))
    with pytest.raises(CyborgError, match="no score in 60 row"):
        scores.teachers("mini")
    scores.write("mini", "teacher_u10_s1", study.drop(index=study.index[study["part"] == "test"][0]))
    with pytest.raises(CyborgError, match="scores of 19 essays"):
        scores.raters("mini")


def test_published_beside():
    """Numbers are compared for the paper's corpus only, directions anywhere, and what is unknown stays so."""
    here = {"human": (0.6,), "gain": (0.1, 0.05, 0.15), "shift": (-0.1, -0.2, 0.05), "full": (0.8,)}
    found = paper.beside("demo", here).set_index("quantity")
    verdicts = {fact.name: found.loc[fact.text, "verdict"] for fact in paper.FACTS}
    assert verdicts["human"] == "another study" and verdicts["gain"] == "same direction" and verdicts["shift"] == "undecided"
    assert verdicts["full"] == "not published" and verdicts["cyborg"] == "not run" and found["difference"].isna().all()


def test_a_clone_without_essays_has_them_from_their_scores(project):
    """`scores.essays` is the same to the last digit, from the prepared essays and from `essays.csv`."""
    settings = config.load("demo").section("prepare_data") | {"options": {"essays": 60, "seed": 1}, "dev": 10, "test": 20}
    prepared = corpora.build(settings)
    essays = corpora.frame(prepared.dataset, text=True)
    essays.loc[0, "groups.gender"] = None
    scores.write_essays("try", essays)
    listed = scores.essays("try")
    wanted = essays.drop(columns=["text", "assignment"]).rename(columns={"level": "human_level"})
    pd.testing.assert_frame_equal(listed, wanted, check_exact=True)
    assert "text" not in scores.file("try", "essays").read_text(encoding="utf-8").splitlines()[0]
