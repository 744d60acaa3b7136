"""Several scores of an essay at once: what Students learn, and the tables by trait."""

import numpy as np
import pandas as pd
import pytest

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
