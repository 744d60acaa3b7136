"""Which score each training essay carries, for every kind of labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.models import cyborg_data

SCALE = Scale(1, 3, 0.5)  # five levels; level 2 is score 2.0
P = [f"p_{level}" for level in range(1, 6)]


@pytest.fixture
def essays() -> pd.DataFrame:
    split = ["train"] * 6 + ["dev"] * 2 + ["test"] * 2
    ids = [f"e{number}" for number in range(10)]
    return pd.DataFrame(
        {"essay_id": ids, "text": [f"Text {i}" for i in ids], "level": [0, 1, 2, 3, 4, 2, 1, 2, 0, 4], "split": split}
    )


@pytest.fixture
def given(essays) -> pd.DataFrame:
    """The Teacher's scores, in another order than the essays: e0 and e1 are U; it is unsure between the two lowest levels."""
    part = essays["split"].mask(essays["split"] == "train", "pool")
    part[:2] = "U"
    p = np.tile([0.6, 0.4, 0.0, 0.0, 0.0], (10, 1))
    p[3] = [0, 0, 0, 0.1, 0.9]
    frame = pd.DataFrame({"essay_id": essays["essay_id"], "part": part, "level": p.argmax(1), "expected": p @ SCALE.scores})
    return pd.concat([frame, pd.DataFrame(p, columns=P)], axis=1)[::-1]


def values(part: pd.DataFrame) -> dict[str, float]:
    return dict(zip(part["essay_id"], part["value"].round(6), strict=True))


def sources(part: pd.DataFrame) -> dict[str, str]:
    return dict(zip(part["essay_id"], part["source"], strict=True))


def test_human_is_u_alone_with_its_human_scores(essays, given):
    (part,) = cyborg_data.training_sets(essays, SCALE, "human", given)
    assert values(part) == {"e0": 1.0, "e1": 1.5} and set(part["source"]) == {"human"}
    assert part[P].to_numpy().tolist() == np.eye(5)[[0, 1]].tolist()


def test_cyborg_adds_the_pool_with_the_teachers_most_likely_level(essays, given):
    (part,) = cyborg_data.training_sets(essays, SCALE, "cyborg", given)
    assert values(part) == {"e0": 1.0, "e1": 1.5, "e2": 1.0, "e3": 3.0, "e4": 1.0, "e5": 1.0}
    assert sources(part) == {"e0": "human", "e1": "human"} | dict.fromkeys(["e2", "e3", "e4", "e5"], "teacher")
    assert (part[P].max(axis=1) == 1).all()
    assert part["text"].tolist() == [f"Text {i}" for i in part["essay_id"]]


def test_cyborg_soft_adds_expected_scores_and_whole_distributions(essays, given):
    (part,) = cyborg_data.training_sets(essays, SCALE, "cyborg-soft", given)
    assert values(part) == {"e0": 1.0, "e1": 1.5, "e2": 1.2, "e3": 2.95, "e4": 1.2, "e5": 1.2}
    p = part.set_index("essay_id")[P]
    assert p.loc["e1"].tolist() == [0, 1, 0, 0, 0]  # a human score stays a whole one
    assert p.loc["e3"].tolist() == [0, 0, 0, 0.1, 0.9] and p.loc["e5"].tolist() == [0.6, 0.4, 0, 0, 0]


def test_cyborg_staged_ends_with_human_scores(essays, given):
    first, last = cyborg_data.training_sets(essays, SCALE, "cyborg-staged", given)
    assert values(first) == {"e2": 1.2, "e3": 2.95, "e4": 1.2, "e5": 1.2} and set(first["source"]) == {"teacher"}
    assert values(last) == {"e0": 1.0, "e1": 1.5} and set(last["source"]) == {"human"}


def test_full_is_all_of_x_and_needs_no_teacher(essays):
    (part,) = cyborg_data.training_sets(essays, SCALE, "full")
    assert values(part) == {"e0": 1.0, "e1": 1.5, "e2": 2.0, "e3": 2.5, "e4": 3.0, "e5": 2.0} and set(part["source"]) == {"human"}


def test_human_and_dev_is_all_that_was_paid_for(essays, given):
    (part,) = cyborg_data.training_sets(essays, SCALE, "human+dev", given)
    assert values(part) == {"e0": 1.0, "e1": 1.5, "e6": 1.5, "e7": 2.0} and set(part["source"]) == {"human"}


@pytest.mark.parametrize("labels", cyborg_data.LABELS)
def test_every_set_has_the_same_shape_and_no_essay_of_test(essays, given, labels):
    for part in cyborg_data.training_sets(essays, SCALE, labels, given):
        assert list(part) == ["essay_id", "text", "source", "value", *P]
        learnt = 8 if labels == "human+dev" else 6
        assert part["essay_id"].is_unique and set(part["essay_id"]) <= {f"e{number}" for number in range(learnt)}
        np.testing.assert_allclose(part[P].sum(axis=1), 1)
        assert not part.isna().any().any() and part.index.tolist() == list(range(len(part)))


def test_a_teacher_cannot_change_a_human_score(essays, given):
    """Neither what it says of U, nor the human scores of the pool, reach a Cyborg set."""
    said = given.assign(level=4, expected=3.0)
    said[P] = np.eye(5)[4]
    (part,) = cyborg_data.training_sets(essays.assign(level=[0, 1, *[0] * 8]), SCALE, "cyborg", said)
    assert values(part) == {"e0": 1.0, "e1": 1.5} | dict.fromkeys(["e2", "e3", "e4", "e5"], 3.0)


def test_unknown_labels(essays, given):
    with pytest.raises(CyborgError, match="labels 'soft': choose from human"):
        cyborg_data.training_sets(essays, SCALE, "soft", given)


@pytest.mark.parametrize("labels", ["human", "human+dev", "cyborg", "cyborg-soft", "cyborg-staged"])
def test_without_a_teacher_only_full_can_be_had(essays, given, labels):
    with pytest.raises(CyborgError, match="notebook 03"):
        cyborg_data.training_sets(essays, SCALE, labels)
    with pytest.raises(CyborgError, match="1 training essay.*first: e4"):
        cyborg_data.training_sets(essays, SCALE, labels, given[given["essay_id"] != "e4"])
