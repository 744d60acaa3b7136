"""The experiment over many draws, on made-up features whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import repeat_draws
from cyborg_utils.extensions.repeat_draws import Cell, Corpus

SCALE = Scale(1, 6)
OPTIONS = {"resamples": 200, "confidence": 0.95, "seed": 1}


def corpus(*, teacher: float = 0.5, n: int = 700, seed: int = 1) -> Corpus:
    """Quality is in 40 directions of the Student's features, faintly, and in few of the Teacher's, with this much noise."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(n, 40))
    quality = parts.mean(axis=1) * np.sqrt(40)
    score = np.clip(np.round(3.5 + 1.1 * quality), 1, 6)
    split = np.repeat(["train", "dev", "test"], [n - 250, 50, 200])
    essays = pd.DataFrame({"essay_id": [f"e{at}" for at in range(n)], "text": "word", "split": split, "score": score})
    essays = essays.assign(
        level=SCALE.level(score), **{"traits.Ideas": 7 - score, "groups.g": np.where(np.arange(n) % 2, "a", "b")}
    )
    essays = essays.assign(second_score=np.nan, true_score=np.nan, prompt="p", assignment="")
    told = quality[:, None] + rng.normal(0, teacher, (n, 5))
    noise = rng.normal(size=(n, 3))
    blocks = {
        "teacher": told,
        "student": parts,
        "statistics": noise,
        "length": noise[:, :1],
        "count": noise[:, :1],
        "words": noise,
    }
    return Corpus(essays, blocks, SCALE)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "build", lambda *parts: tmp_path.joinpath(*parts))
    return tmp_path


@pytest.fixture(scope="module")
def several() -> list[Cell]:
    with pytest.MonkeyPatch.context() as patch:
        import tempfile
        from pathlib import Path

        folder = Path(tempfile.mkdtemp())
        patch.setattr(paths, "build", lambda *parts: folder.joinpath(*parts))
        return repeat_draws.grid("try", corpus(), [0.05, 0.2], 12, seed=1)


def test_a_good_teacher_helps_from_few_scores_and_less_from_more(several):
    table = repeat_draws.summary(repeat_draws.agreement(several, SCALE))
    qwk = table.set_index(["fraction", "arm"])["qwk"]
    assert min(qwk[0.05, "teacher"], qwk[0.05, "cyborg"]) > qwk[0.05, "human"] + 0.1
    assert qwk[1.0, "full"] > qwk[0.2, "human"] > qwk[0.05, "human"]
    gain = repeat_draws.gains(several, SCALE, **OPTIONS).set_index(["fraction", "baseline"])
    assert gain.loc[(0.05, "human"), "low"] > 0 and gain.loc[(0.05, "human"), "positive"] == 1
    assert gain.loc[(0.05, "human"), "gain"] > gain.loc[(0.2, "human"), "gain"]
    assert ((gain["luck"] >= 0) & (gain["luck"] <= 1)).all()
    wanted = qwk[0.05, "cyborg"] - qwk[0.05, "human"]
    assert gain.loc[(0.05, "human"), "gain"] == pytest.approx(wanted)
    worth = repeat_draws.worth(table).set_index("fraction")
    assert worth.loc[0.05, "human"] > 60 and worth.loc[0.05, "ridge"] == np.inf


def test_a_bad_teacher_hurts():
    cells = repeat_draws.grid("try", corpus(teacher=20.0), [0.2], 6, seed=1)
    gain = repeat_draws.gains(cells, SCALE, **OPTIONS).set_index("baseline")
    assert gain.loc["human", "gain"] < -0.1 and gain.loc["human", "positive"] == 0
    table = repeat_draws.summary(repeat_draws.agreement(cells, SCALE))
    assert "at none of these numbers" in repeat_draws.crossing(repeat_draws.worth(table), every=450)


def test_the_best_rival_is_chosen_on_u_and_length_stands_alone(several):
    few = several[0].values
    assert {"length", "average", "best"} <= set(few) and "average" not in set(repeat_draws.shown(several_summary(several))["arm"])
    told = repeat_draws.choices(several)
    assert told.count("human scores:") == 2 and "`ridge`" not in told  # noise is not chosen
    qwk = several_summary(several).set_index(["fraction", "arm"])["qwk"]
    assert qwk[0.05, "best"] > qwk[0.05, "human"] and qwk[0.05, "length"] < 0.2  # here length says nothing
    mean = np.mean([few[arm][0] for arm in repeat_draws.RIVALS], axis=0)
    assert np.corrcoef(mean, few["average"][0])[0, 1] > 0.9
    gain = repeat_draws.gains(several, SCALE, **OPTIONS)
    assert list(dict.fromkeys(gain["baseline"])) == ["human", "ridge", "best"]


def several_summary(cells):
    return repeat_draws.summary(repeat_draws.agreement(cells, SCALE))


def test_no_score_outside_u_is_used(place):
    here = corpus()
    places = repeat_draws.split(here, 0, 1)
    score = here.essays["score"].to_numpy(dtype=float)
    first = repeat_draws.one_draw(here, places, score, 30, np.random.default_rng(4))
    u = np.random.default_rng(4).permutation(places["train"])[:30]
    hidden = score.copy()
    hidden[np.setdiff1d(np.arange(len(score)), u)] = np.nan  # development, pool and test essays
    again = repeat_draws.one_draw(here, places, hidden, 30, np.random.default_rng(4))
    for arm in ("ridge", "human", "teacher", "cyborg", "length", "average", "best"):
        np.testing.assert_array_equal(first[arm], again[arm])


def test_finished_cells_are_read_again_and_other_splits_are_others(place, monkeypatch):
    here = corpus(n=400)
    first = repeat_draws.grid("try", here, [0.2], 2, splits=2, seed=1)
    assert [(cell.split, cell.fraction) for cell in first] == [(0, 0.2), (0, 1.0), (1, 0.2), (1, 1.0)]
    assert not np.array_equal(first[0].human, first[2].human)
    monkeypatch.setattr(repeat_draws, "one_draw", lambda *_: pytest.fail("computed again"))
    again = repeat_draws.grid("try", here, [0.2], 2, splits=2, seed=1)
    np.testing.assert_array_equal(first[2].values["cyborg"], again[2].values["cyborg"])


def test_traits_and_groups_come_from_the_same_features(several):
    here = corpus()
    table = repeat_draws.by_trait([repeat_draws.grid("try", here, [0.1], 3, trait="Ideas", seed=1)], SCALE, **OPTIONS)
    assert table["trait"].tolist() == ["Ideas"] and table["qwk_teacher"].item() > 0.6
    assert "1 of 1 traits" in repeat_draws.traits_in_words(table)
    raters = repeat_draws.raters(here, several, 0.05)
    assert raters.groupby("labels")["seed"].nunique().to_dict() == {"human": 12, "teacher": 12, "cyborg": 12, "full": 1}
    assert len(raters) == 37 * 200
    from cyborg_utils.study import bias, sentences

    how = {"groups": ["groups.g"], "scale": SCALE, "limit": 0.1, "min_group": 10, **OPTIONS}
    told = sentences.treated(bias.smd_table(raters, **how), "labels")
    assert told.count("of 2 groups") == 4


def test_the_headline_has_the_numbers_of_its_tables(several):
    table, gain = repeat_draws.summary(repeat_draws.agreement(several, SCALE)), repeat_draws.gains(several, SCALE, **OPTIONS)
    text = repeat_draws.headline(gain, table, fraction=0.05)
    own = table[(table["fraction"] == 0.05)].set_index("arm")["qwk"]
    assert f"**{own['human']:.3f}**" in text and f"**{own['cyborg']:.3f}**" in text and "over 12 draws" in text
    row, short = gain.query("fraction == 0.05 and baseline == 'human'").iloc[0], repeat_draws.in_short(gain, fraction=0.05)
    assert f"With {row['n_human']:,} human scores synthetic ones bring {row['gain']:+.3f} QWK" in short
    assert f"the mean over 12 draws, and something in {row['positive']:.0%} of them." in short
