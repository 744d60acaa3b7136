"""Which essays people should score, and Students on many training sets."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora, simulated
from cyborg_utils.extensions import query_strategies
from cyborg_utils.models import student, trainer, trials
from cyborg_utils.stats import comparisons
from cyborg_utils.study import scores

SCALE = Scale(1, 6)


@pytest.fixture(scope="module")
def pool() -> dict:
    """60 essays in three clusters of 40, 15 and 5; lengths 0 to 59; Teacher and Student disagree on essays 7 and 31."""
    rng = np.random.default_rng(1)
    centres = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], [40, 15, 5], axis=0)
    teacher = rng.normal(3, 1, 60)
    student_ = 2 + 0.3 * teacher  # another scale, the same order
    student_[7] += 3
    student_[31] -= 2
    embeddings = centres + rng.normal(0, 0.1, (60, 2))
    return {"lengths": rng.permutation(60), "embeddings": embeddings, "teacher": teacher, "student": student_}


@pytest.mark.parametrize("strategy", query_strategies.STRATEGIES)
@pytest.mark.parametrize("count", [1, 13, 60])
def test_every_rule_gives_as_many_as_asked_and_the_same_again(pool, strategy, count):
    first, again = (query_strategies.choose(strategy, count, seed=4, **pool) for _ in range(2))
    assert len(set(first)) == count and first.min() >= 0 and first.max() < 60
    assert (first == again).all() and (np.diff(first) > 0).all()


@pytest.mark.parametrize("strategy", query_strategies.STRATEGIES)
@pytest.mark.parametrize("count", [0, 61])
def test_what_cannot_be_chosen_is_refused(pool, strategy, count):
    with pytest.raises(CyborgError, match=f"{count} of 60 essays"):
        query_strategies.choose(strategy, count, seed=4, **pool)
    with pytest.raises(CyborgError, match="choose from random, length"):
        query_strategies.choose("longest", 5, seed=4, **pool)


def test_strata_of_length_each_give_one(pool):
    chosen = query_strategies.by_length(pool["lengths"], 12, seed=2)
    assert sorted(pool["lengths"][chosen] // 5) == list(range(12))
    assert not (chosen == query_strategies.by_length(pool["lengths"], 12, seed=3)).all()


def test_the_small_clusters_are_there_and_typical_essays_are_taken(pool):
    chosen = query_strategies.by_cluster(pool["embeddings"], 3, seed=1)
    assert [int(place >= 40) + int(place >= 55) for place in chosen] == [0, 1, 2]
    far = np.linalg.norm(pool["embeddings"][:40] - pool["embeddings"][:40].mean(axis=0), axis=1)
    assert chosen[0] == far.argmin()
    same = np.ones((10, 2))
    assert len(set(query_strategies.by_cluster(same, 4, seed=1))) == 4  # one cluster only: the rest is drawn


def test_disagreement_is_of_order_not_of_scale(pool):
    assert query_strategies.by_disagreement(pool["teacher"], pool["student"], 2).tolist() == [7, 31]
    assert query_strategies.by_disagreement(pool["teacher"], np.ones(60), 60).tolist() == list(range(60))


def test_rules_are_compared_with_chance_run_by_run():
    rng = np.random.default_rng(3)
    human = rng.integers(0, 6, 300)
    keys = [(run, draw) for run in (1, 2, 3, 4) for draw in (1, 2, 3)]
    noisy = {key: np.clip(np.round(human + rng.normal(0, 1.5, 300)), 0, 5).astype(int) for key in keys}
    better = {key: np.clip(np.round(human + rng.normal(0, 0.8 if key[0] == 1 else 1.0, 300)), 0, 5).astype(int) for key in keys}
    levels = {"random": noisy, "good": better, "same": dict(noisy)}
    options = {"baseline": "random", "margin": 0.02, "resamples": 200, "confidence": 0.95, "seed": 1}
    found = query_strategies.compare(human, levels, **options).set_index("system")
    good, same = found.loc["good"], found.loc["same"]
    assert good["low"] > 0 and good["test"].draw(200).p == pytest.approx(1 / 201) and good["p_beyond"] < 0.01
    assert good["lowest_run"] < good["difference"] < good["highest_run"] and (good["runs"], good["draws"]) == (4, 3)
    assert same["difference"] == 0 and same["p_tost"] < 0.01 and same["test"].draw(200).p == 1


def test_draws_within_a_run_do_not_make_an_interval_narrow():
    rng = np.random.default_rng(4)
    human = rng.integers(0, 6, 200)

    def model(noise):
        return np.clip(np.round(human + rng.normal(0, noise, 200)), 0, 5).astype(int)

    plain, ours = ({run: model(noise) for run, noise in enumerate(noises)} for noises in ((1.5, 1.5, 1.5), (0.8, 1.2, 1.6)))
    options = {"resamples": 200, "confidence": 0.95, "seed": 1}
    levels = {
        rule: {(run, draw): level for run, level in runs.items() for draw in (1, 2, 3)}  # as `disagreement`: alike in each draw
        for rule, runs in (("random", plain), ("rule", ours))
    }
    (found,) = query_strategies.compare(human, levels, baseline="random", margin=0.02, **options).to_dict("records")
    wanted = comparisons.across_seeds(human, ours, plain, **options)
    assert (found["low"], found["high"]) == pytest.approx((wanted["low"], wanted["high"]))
    assert (found["runs"], found["draws"]) == (3, 3)


# ---- the second round


@pytest.fixture(scope="module")
def second() -> tuple[pd.DataFrame, np.ndarray]:
    """Two runs with two draws of every rule; `length` is clearly better than chance, `clusters` the same."""
    rng = np.random.default_rng(8)
    human, rows = rng.integers(0, 6, 300), []
    for run, draw, rule in itertools.product((1, 2), (1, 2), ["none", "random", "length", "clusters"]):
        noise = {"none": 2.0, "length": 0.6}.get(rule, 1.5)
        same = np.random.default_rng([run, draw])
        level = np.clip(np.round(human + same.normal(0, noise, 300)), 0, 5).astype(int)
        place = {"fraction": 0.1, "student": "ridge", "labels": "human", "rule": rule, "key": (run, draw), "level": level}
        chosen = rule != "none"
        rows.append(place | {"n_human": 25 + 20 * chosen, "mean_words": 100.0 if chosen else np.nan, "sd_score": 1.0})
    return pd.DataFrame(rows), human


def test_tables_of_the_second_round(second):
    rows, human = second
    options = {"resamples": 100, "confidence": 0.95, "seed": 1}
    table = query_strategies.selection_table(rows, human, people=lambda n: 2.0 * n, **options).set_index("rule")
    assert table["n_human"].tolist() == [25, 45, 45, 45] and table["people"].tolist() == [50, 90, 90, 90]
    assert (table["runs"] == 2).all() and (table["draws"] == 2).all() and np.isnan(table.loc["none", "mean_words"])
    assert table["qwk"].idxmax() == "length"
    found = query_strategies.differences(rows, human, margin=0.02, **options).set_index("system", drop=False)
    assert list(found.index) == ["length", "clusters"] and set(query_strategies.DIFFERENCES) <= set(found)
    assert found["p_holm"].tolist() == comparisons.holm(found["p"]).tolist()
    assert found["verdict"].tolist() == ["better", "equivalent"]
    mixed = rows.assign(
        level=[row.level if row.key[0] == 1 or row.rule != "length" else 5 - row.level for row in rows.itertuples()]
    )
    assert query_strategies.differences(mixed, human, margin=0.02, **options)["verdict"][0] not in ("better", "worse")


def test_sentences_of_the_rules(second):
    rows, human = second
    table = query_strategies.differences(rows, human, margin=0.02, resamples=100, confidence=0.95, seed=1)
    lines = query_strategies.verdicts(table).splitlines()
    assert (
        lines[0].startswith("- **better than chance**: length (Human scores only, ridge, 45 human scores): +") and len(lines) == 2
    )
    assert lines[1] == "- **equal to chance within 0.02**: clusters (Human scores only, ridge, 45 human scores): +0.000"
    assert query_strategies.finding(table, 0.1) == (
        "of 2 comparisons with essays drawn at random (2 rules, 45 human scores each) 1 came out better, 0 worse, 1 equal within "
        "0.02, and 0 undecided"
    )
    assert query_strategies.named(table, 0.1)["system"].tolist() == ["Human scores only: length", "Human scores only: clusters"]
    both = pd.concat([table, table.assign(student="net")])
    assert query_strategies.named(both, 0.1)["system"].iloc[-1] == "Human scores only (net): clusters"
    assert query_strategies.named(both, 0.25).empty


def test_a_second_round_of_every_rule(make_study, tmp_path):
    make_study("try")
    essays = pd.DataFrame(simulated.essays(40, 3)).assign(split=["train"] * 24 + ["dev"] * 8 + ["test"] * 8)
    essays["level"] = SCALE.level(essays["score"])
    train, judged = essays[:24].reset_index(drop=True), essays[24:].reset_index(drop=True)
    given = train[["essay_id"]].assign(part=["U"] * 6 + ["pool"] * 18, level=train["level"], expected=train["score"])
    scores.write("try", "teacher_u25_s1", given.assign(**{f"p_{level}": 1 / 6 for level in range(1, 7)}))
    settings = student.Settings("none", "regression", 1, 1, 1e-3, 8, 32)
    options = {
        "embeddings": np.random.default_rng(1).normal(size=(24, 3)),
        "labels": ["human", "cyborg"],
        "added": 0.5,
        "draws": 2,
    }
    options |= {"scale": SCALE, "settings": settings, "folder": tmp_path / "trials"}
    found = query_strategies.second_round("try", config.Run(0.25, 1), "ridge", train, judged, **options)
    assert (
        len(found) == 5 * 2 * 2 and found["key"].isin([(1, 1), (1, 2)]).all() and all(len(level) == 8 for level in found["level"])
    )
    assert found.groupby("rule")["added"].first().to_dict() == {"none": 0} | dict.fromkeys(query_strategies.STRATEGIES, 3)
    assert found.groupby("rule")["n_human"].first().to_dict() == {"none": 6 + 8} | dict.fromkeys(
        query_strategies.STRATEGIES, 9 + 8
    )
    assert found.loc[found["rule"] == "none", ["mean_words", "sd_score"]].isna().all(axis=None)
    assert found.loc[found["rule"] != "none", "mean_words"].gt(0).all()


# ---- Students on many training sets


@pytest.fixture
def sets() -> list[pd.DataFrame]:
    """Two training sets of 24 essays, whose score is their number of words."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(2):
        value = rng.integers(1, 7, 24)
        texts = [" ".join(rng.choice(["green", "tree", "house", "river", "stone"], 20 * score)) for score in value]
        shares = pd.DataFrame(np.eye(6)[value - 1], columns=[f"p_{level}" for level in range(1, 7)])
        part = pd.DataFrame({"essay_id": [f"e{i}" for i in range(24)], "text": texts, "source": "human", "value": value * 1.0})
        found.append(pd.concat([part, shares], axis=1))
    return found


def test_trials_are_kept_and_equal_ones_run_once(sets, tmp_path, monkeypatch):
    settings = student.Settings("none", "regression", 1, 1, 1e-3, 8, 32)
    three = [trials.Trial([sets[0]]), trials.Trial([sets[1]]), trials.Trial([sets[0]], 7)]
    options = {"scale": SCALE, "settings": settings, "folder": tmp_path, "show": ""}
    values = trials.run(three, "ridge", sets[1]["text"], **options)
    assert values.shape == (3, 24) and (values[0] == values[2]).all() and not (values[0] == values[1]).all()
    assert np.corrcoef(values[0], sets[1]["value"])[0, 1] > 0.9
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(trials.baseline, "train", lambda part: pytest.fail("trained again"))
    assert (trials.run(three, "ridge", sets[1]["text"], **options) == values).all()


def test_a_network_leaves_its_scores_only(sets, tiny_models, tmp_path):
    settings = student.Settings("none", "regression", 1, 2, 1e-3, 8, 32)
    two = [trials.Trial([sets[0]], 1), trials.Trial([sets[0]], 2)]
    options = {"scale": SCALE, "settings": settings, "folder": tmp_path, "show": ""}
    values = trials.run(two, str(tiny_models["electra"]), sets[1]["text"], **options)
    assert values.shape == (2, 24) and not (values[0] == values[1]).all()  # a seed of its own
    assert {file.suffix for file in tmp_path.iterdir()} == {".npz"} and len(list(tmp_path.iterdir())) == 2


def test_levels_are_matched_on_the_development_essays():
    judged = pd.DataFrame({"split": ["dev", "test", "dev", "test"], "score": [1.0, 2.0, 5.0, 6.0]})
    values = np.array([[2.9, 3.0, 3.1, 3.1]])  # shrunken to the middle
    assert trials.levels(values, judged, SCALE).tolist() == [[2, 4]]


def test_embeddings_are_those_of_the_essay_alone_and_kept(tiny_models, tmp_path):
    settings = student.Settings(str(tiny_models["electra"]), "regression", 1, 1, 1e-3, 8, 32)
    pupil = student.untrained(settings, SCALE)
    texts = ["one short essay", "another essay " * 8, "a third"]
    both, took = trials.embeddings(pupil, texts, tmp_path / "all", show="")
    alone, _ = trials.embeddings(pupil, texts[:1], tmp_path / "one", show="")
    np.testing.assert_allclose(both[0], alone[0], atol=0.02)  # bf16; padding changes nothing
    assert took > 0 and trainer.seconds(tmp_path / "all") == took
    again, same = trials.embeddings(pupil, texts, tmp_path / "all", show="")
    assert (again == both).all() and same == took


def test_students_on_human_scores_alone_are_nested_draws(make_study, tmp_path):
    data = {"corpus": "simulated", "scale": [1, 6, 1], "score": "score", "groups": [], "dev": 8, "test": 8, "split_seed": 1}
    make_study("try", prepare_data=data | {"options": {"essays": 56, "seed": 1}})
    dataset = corpora.prepare("try").dataset
    essays = corpora.frame(dataset, text=True).sort_values("essay_id", ignore_index=True)
    train, judged = (essays[part].reset_index(drop=True) for part in (essays["split"] == "train", essays["split"] != "train"))
    settings = student.Settings("none", "regression", 1, 1, 1e-3, 8, 32)
    options = {"scale": SCALE, "settings": settings, "folder": tmp_path / "trials"}
    found = trials.on_human_scores(dataset, train, judged, [10, 40], 2, **options)
    assert list(found) == [10, 40] and list(found[10]) == [1, 2] and found[10][1].shape == (8,)
    assert (found[40][1] == found[40][2]).all() and len(
        list((tmp_path / "trials").iterdir())
    ) == 3  # all of X is the same in each draw
