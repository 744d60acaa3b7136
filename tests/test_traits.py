"""Several scores of an essay at once: what Students learn, and the tables by trait."""

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import traits
from cyborg_utils.study import arms

SCALE = Scale(1, 6)
NAMES = ["Ideas", "Words"]


@pytest.fixture(scope="module")
def essays() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"essay_id": [f"e{at:03d}" for at in range(200)], "text": "a text"})
    frame["split"] = ["train"] * 60 + ["dev"] * 60 + ["test"] * 80
    scores = rng.integers(1, 7, (200, 2)).astype(float)
    frame = frame.assign(**{f"traits.{name}": scores[:, at] for at, name in enumerate(NAMES)}, score=scores.mean(axis=1).round())
    return traits.levels(frame.assign(**{"groups.kind": np.where(np.arange(200) % 2, "A", "B")}), NAMES, SCALE)


@pytest.fixture(scope="module")
def teacher(essays) -> pd.DataFrame:
    """Right about Ideas, always level 2 for Words; the first ten essays are U."""
    tables = []
    for name in NAMES:
        level = essays["level.Ideas"] if name == "Ideas" else 2
        given = pd.DataFrame({"essay_id": essays["essay_id"], "trait": name, "level": level})
        p = np.eye(6)[given["level"]]
        given = given.assign(expected=SCALE.score(given["level"]), **{f"p_{at + 1}": p[:, at] for at in range(6)})
        part = essays["split"].mask(essays["split"] == "train", "pool")
        tables.append(given.assign(part=part.mask(np.arange(200) < 10, "U")))
    return pd.concat(tables, ignore_index=True)


def test_essays_without_a_trait_are_left_out_and_unknown_traits_told(essays):
    holes = essays.assign(**{"traits.Words": essays["traits.Words"].where(np.arange(200) > 4)})
    assert len(traits.levels(holes, NAMES, SCALE)) == 195 and len(traits.levels(holes, ["Ideas"], SCALE)) == 200
    with pytest.raises(CyborgError, match="Grammar: not in this corpus, which has Ideas, Words"):
        traits.levels(essays, ["Ideas", "Grammar"], SCALE)
    with pytest.raises(CyborgError, match="no essay has all of"):
        traits.levels(essays.assign(**{"traits.Ideas": np.nan}), NAMES, SCALE)


@pytest.mark.parametrize("labels, sizes", [("human", [10]), ("cyborg", [60]), ("cyborg-staged", [50, 10]), ("full", [60])])
def test_training_sets_hold_each_trait_by_its_own_source(essays, teacher, labels, sizes):
    sets = traits.training_sets(essays, NAMES, SCALE, labels, teacher)
    assert [len(part) for part in sets] == sizes
    assert list(sets[0]) == ["essay_id", "text", "source", "value.Ideas", "value.Words"]
    for part in sets:
        known = essays.set_index("essay_id").loc[part["essay_id"]]
        machine = (part["source"] == "teacher").to_numpy()
        np.testing.assert_array_equal(part["value.Ideas"], known["traits.Ideas"])  # the Teacher is right about them
        np.testing.assert_array_equal(part["value.Words"], np.where(machine, 3, known["traits.Words"]))


def test_tables_by_trait(essays):
    rng = np.random.default_rng(4)
    rows = []
    for seed in (1, 2):
        for labels, noise in (("human", 2.0), ("cyborg", 0.6), ("full", 0.3)):
            values = pd.DataFrame(
                {name: essays[f"traits.{name}"] + rng.normal(0, noise, 200) - (name == "Words") for name in NAMES}
            )
            who = {"student": "all", "head": "regression", "labels": labels, "seed": seed, "n_human": 10}
            rows.append(traits.scored(essays, NAMES, values, SCALE, fraction=1.0 if labels == "full" else 0.1, **who))
    raters = pd.concat(rows)
    dev = arms.pick(raters, split="dev", trait="Words", seed=1, labels="cyborg")
    assert dev["matched_value"].mean() == pytest.approx(dev["score"].mean()) != dev["value"].mean()
    raters, options = raters.query("split == 'test'"), {"resamples": 100, "confidence": 0.95, "seed": 1}
    table = traits.agreement_by_trait(raters, scale=SCALE, **options).set_index(["trait", "labels"])
    assert len(table) == 6 and table.loc[("Words", "full"), "qwk"] > table.loc[("Words", "human"), "qwk"] + 0.2
    gap = traits.gaps(raters, **options)
    assert gap["trait"].tolist() == NAMES and gap["gap_closed"].between(0.5, 1.1).all()
    bias = traits.bias_by_trait(raters, groups=["groups.kind"], scale=SCALE, **options).set_index(["trait", "labels", "group"])
    assert len(bias) == 2 * 3 * 3 and abs(bias.loc[("Words", "full", "all"), "smd"]) < 0.15  # matched
    gain = traits.gains(raters, "cyborg", student="all", **options).set_index("trait")
    both = table["qwk"].unstack()
    assert gain["change"].to_dict() == pytest.approx((both["cyborg"] - both["human"]).to_dict())
    assert (gain["low"] < gain["change"]).all() and (gain["change"] < gain["high"]).all()
    assert (traits.gains(raters.query("seed == 1"), "cyborg", student="all", **options)["low"] > 0).all()
    assert traits.gains(raters.query("labels != 'human'"), "cyborg", student="all", **options).empty


GAP = ["trait", "student", "labels", "gap", "gap_closed", "low", "high", "resolved"]
GAINED = pd.DataFrame([("Ideas", 0.1, 0.02, 0.2), ("Words", 0.01, -0.1, 0.1)], columns=["trait", "change", "low", "high"])
CLOSED = pd.DataFrame([("Ideas", "all traits", "cyborg", 0.125, 0.8, 0.5, 1.1, True)], columns=GAP)


def told(gained: pd.DataFrame, table_gap: pd.DataFrame) -> str:
    """What the notebook says at its end."""
    rows = [("Ideas", "human", 0.5), ("Words", "human", 0.5), ("Ideas", "cyborg", 0.6), ("Words", "cyborg", 0.5)]
    rows.append(("holistic", "cyborg", 0.9))
    table = pd.DataFrame(rows, columns=["trait", "labels", "qwk"]).assign(student="all traits")
    groups = pd.DataFrame(columns=["trait", "student", "labels", "attribute", "verdict", "smd", "smd_low"])
    text = traits.learned(table, gained, table_gap, groups, labels="cyborg")
    return text + "\n" + traits.finding(gained, table_gap, labels="cyborg")


def test_traits_are_counted_by_their_intervals_and_what_cannot_be_told_is_said():
    text = told(GAINED, CLOSED)
    assert "raise QWK beyond chance for 1 of 2 traits, by +0.055" in text and "close 80% [50%, 110%] (Ideas)." in text
    assert "2. **The gap**, where it is beyond chance (1 of 2 traits), closes by 80% on average." in text
    assert "3. **Not all traits are alike** (Cyborg): QWK goes from 0.500 (Words) to 0.600 (Ideas)." in text
    assert "no gap to all human scores is beyond chance." in told(GAINED, CLOSED.assign(resolved=False))
    none = told(GAINED[:0], pd.DataFrame(columns=GAP))  # as `agreement.gaps` gives it without a pair
    assert "nan" not in none and "cannot be told without Students on `human`" in none and "no gap" not in none


def test_the_largest_smd_of_the_judged_groups_is_named():
    table = pd.DataFrame([("Ideas", "all traits", "human", 0.5)], columns=["trait", "student", "labels", "qwk"])
    rows = [("all", "all", 0.9, "biased"), ("grade", "12", -2.0, "too few"), ("gender", "Female", -0.3, "biased")]
    rows.append(("gender", "Male", 0.1, "undecided"))
    groups = pd.DataFrame(rows, columns=["attribute", "group", "smd", "verdict"])
    groups = groups.assign(trait="Ideas", student="all traits", labels="human", smd_low=-0.4, smd_high=-0.2)
    text = traits.learned(table, GAINED[:0], CLOSED, groups, labels="human")
    assert "**Biased**: 1 of 2 judged pairs of trait and group; the largest SMD is -0.30 [-0.40, -0.20] (Ideas, gender" in text


def test_a_gap_that_is_not_beyond_chance_gets_no_share():
    both = pd.concat([CLOSED, CLOSED.assign(trait="Words", resolved=False)])
    lines = traits.gap_closed(both).splitlines()
    assert lines[0] == "- Ideas, Cyborg (all traits): **80%** [50%, 110%]"
    assert lines[1] == "- Words, Cyborg (all traits): a gap of +0.125, not beyond chance"
    assert "there is no gap to measure" in traits.gap_closed(CLOSED[:0])


def test_a_student_of_one_trait_stands_beside_that_of_all():
    rows = [("Ideas", "all traits", 0.6), ("Ideas", "Ideas alone", 0.5), ("Words", "all traits", 0.4)]
    table = pd.DataFrame(rows, columns=["trait", "student", "qwk"]).assign(labels="full", low=0.3, high=0.7)
    text = traits.alone_or_together(table, ["Ideas"], ["full"])
    assert text == "- Ideas, All human scores: alone 0.500 [0.300, 0.700], with the others 0.600 [0.300, 0.700]"
    assert "trains no Student for one trait" in traits.alone_or_together(table, [], ["full"])


def test_the_labels_that_are_spoken_of():
    assert traits.mixed_labels(["human", "cyborg-soft", "full"]) == "cyborg-soft" and traits.mixed_labels(["full"]) == "full"


def test_holistic_scores_of_the_same_kind_stand_beside_the_traits(essays):
    values = pd.DataFrame({name: essays[f"traits.{name}"] for name in NAMES})
    who = {"student": "all traits", "head": "regression", "labels": "human", "seed": 1, "fraction": 0.1, "n_human": 10}
    raters = traits.scored(essays, NAMES, values, SCALE, **who)
    known = raters[raters["trait"] == "Ideas"].drop(columns="trait").assign(student="small", run="u10_s1")
    others = [known.assign(**{name: value}) for name, value in (("seed", 2), ("labels", "full"), ("student", "large"))]
    both = traits.with_holistic(raters, pd.concat([known, *others]), model="small")
    assert both["trait"].value_counts().to_dict() == {"Ideas": 200, "Words": 200, "holistic": 200}
    assert set(both["student"]) == {"all traits"} and list(both) == list(raters)
    assert len(traits.with_holistic(raters, others[0], model="small")) == 400


def test_what_is_filed_of_the_students(essays):
    values = pd.DataFrame({name: essays[f"traits.{name}"] for name in NAMES})
    filed = traits.filed(traits.scored(essays, NAMES, values, SCALE, student="all traits", labels="human"))
    assert list(filed) == traits.FILED and set(filed["part"]) == {"dev", "test"} and len(filed) == 2 * 140


def test_correlations_name_the_traits(essays):
    table = traits.correlations(essays, NAMES)
    assert list(table) == [*NAMES, "holistic"] and table.loc["Ideas", "Ideas"] == 1 and table.loc["Ideas", "holistic"] > 0.4


def test_development_scores_are_counted_with_those_to_train_on(essays, teacher, make_study, monkeypatch):
    make_study("try")
    monkeypatch.setattr(traits, "_given", lambda profile, run: teacher)
    rated = traits.teacher_as_rater("try", essays, NAMES, config.Run(0.1, 1))
    assert rated["n_human"].unique().tolist() == [10 + 60]  # U and the development essays
