"""Essays without a score: refused with a remedy, or kept as the pool where the caller says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus_samples import OWN, own, settings, write_csv

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora, own_table

KEEP = {**OWN, "unscored": "keep"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def tenth_scored(count: int = 200) -> list[dict]:
    """Rows of which one in ten has a score, and the words for "none" are many."""
    return [row | ({} if i % 10 == 0 else {"score": ["", "NA", " "][i % 3]}) for i, row in enumerate(own(count))]


def test_essays_without_a_score_are_the_pool_where_the_caller_says_so(data: Path):
    write_csv(data / "own.csv", tenth_scored())
    made = corpora.build(settings("table", options=KEEP, dev=4, test=4, groups=["gender"]))
    assert made.counts == {"rows_read": 200, "repeated": 0, "excluded": 0, "essays": 200}
    rows = corpora.frame(made.dataset, text=True)
    pool = rows["split"] == corpora.POOL
    assert rows["split"].value_counts().to_dict() == {"pool": 180, "train": 12, "test": 4, "dev": 4}
    assert rows.loc[pool, "score"].isna().all() and rows.loc[pool, "level"].isna().all()
    assert (rows.loc[~pool, "level"] == rows.loc[~pool, "score"] - 1).all() and rows.loc[~pool, "score"].between(1, 6).all()
    assert (rows["text"].str.len() > 0).all() and rows["groups.gender"].notna().all()
    assert len(made.clusters) == len(np.unique(made.clusters)) == 200
    drawn = corpora.draw_human(made.dataset, 1.0, seed=1)
    assert set(drawn) == set(rows.loc[rows["split"] == "train", "essay_id"])


def test_the_scored_ones_are_split_as_they_would_be_alone(data: Path):
    rows = tenth_scored()
    write_csv(data / "own.csv", rows)
    among = corpora.build(settings("table", options=KEEP, dev=4, test=4)).split.query("split != 'pool'")
    write_csv(data / "own.csv", [row for row in rows if str(row["score"]).strip().isdigit()])
    alone = corpora.build(settings("table", options=OWN, dev=4, test=4)).split
    assert among.to_dict("list") == alone.to_dict("list")


def test_copies_of_a_text_are_one_cluster_scored_or_not(data: Path):
    rows = tenth_scored(40)
    rows[1]["body"] = rows[0]["body"].upper()
    write_csv(data / "own.csv", rows)
    made = corpora.build(settings("table", options=KEEP, dev=1, test=1))
    assert made.clusters[0] == made.clusters[1] and len(np.unique(made.clusters)) == 39


def test_a_wrong_score_is_no_missing_one(data: Path):
    rows = tenth_scored()
    rows[0]["score"], rows[10]["score"] = "BL", 7
    write_csv(data / "own.csv", rows)
    raw = own_table.read(settings("table", options=KEEP))
    assert raw.exclusions["reason"].tolist() == ["score 'BL' is not a number", "score '7' is off the scale 1-6 by 1 (6 levels)"]
    assert raw.frame["score"].notna().sum() == 18 and len(raw.frame) == 198


def test_a_study_refuses_them_and_says_what_takes_them(data: Path):
    write_csv(data / "own.csv", tenth_scored())
    with pytest.raises(CyborgError, match="180 of 200 rows cannot be used.*180 rows have no score.*`cyborg label`"):
        corpora.build(settings("table", options=OWN))


def test_scores_are_needed_for_some(data: Path):
    write_csv(data / "own.csv", [row | {"score": ""} for row in own(30)])
    with pytest.raises(CyborgError, match="column score: no essay has a score"):
        corpora.build(settings("table", options=KEEP))


def test_a_misspelt_wish_is_refused(data: Path):
    write_csv(data / "own.csv", own(30))
    with pytest.raises(CyborgError, match="options.unscored: 'yes': must be exclude or keep"):
        corpora.build(settings("table", options={**OWN, "unscored": "yes"}))
