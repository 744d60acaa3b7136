"""Two thousand damaged inputs, and that the judge of them would notice what it is there for."""

from __future__ import annotations

import pandas as pd
import pytest
from test_benchmarks import script

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora

pytestmark = pytest.mark.slow

fuzz = script("fuzz")
SEED, CASES = 2025, 2_000  # not the seed of the recorded run


def test_no_damaged_input_gets_through_and_none_ends_in_an_error_that_is_not_ours(tmp_path):
    told: list[str] = []
    counts = fuzz.block(0, CASES, SEED, tmp_path, told=told.append)
    assert told == []
    assert counts["cases"].sum() == CASES
    assert set(counts["loader"]) == set(fuzz.LOADERS) and set(counts["outcome"]) == fuzz.GOOD
    kinds = {"bytes", "cells", "columns", "rows", "settings", "several", "yaml"}
    assert set(counts["damage"]) <= kinds | {"none"} and kinds <= set(counts["damage"])
    by = counts.groupby("outcome")["cases"].sum()
    assert by.min() > 0.05 * CASES  # neither is everything refused, nor does everything load


def test_a_case_is_always_the_same():
    for number in range(40):
        one, other = (fuzz.make(number, 7) for _ in range(2))
        assert (one.content, repr(one.settings), one.mutations) == (other.content, repr(other.settings), other.mutations)
    assert [fuzz.make(n, 7).content for n in range(20)] != [fuzz.make(n, 8).content for n in range(20)]


def test_every_mutator_is_used():
    named = {
        one.__name__ for kind in (*fuzz.ON_TABLES.values(), fuzz.ON_BYTES, fuzz.ON_FILES_SETTINGS, fuzz.ON_YAML) for one in kind
    }
    used = {name for number in range(1_500) for name in fuzz.make(number, 5).mutations}
    assert used == named


def whole() -> object:
    """A case with untouched essays."""
    return next(case for case in map(fuzz.make, range(200)) if case.loader == "table, csv" and len(case.whole) > 10)


def lose(prepared: corpora.Prepared) -> corpora.Prepared:
    return corpora.Prepared(prepared.dataset.select(range(1, len(prepared.dataset))), *list(vars(prepared).values())[1:])


def change(prepared: corpora.Prepared) -> corpora.Prepared:
    dataset = prepared.dataset.map(lambda row: {"text": row["text"].replace("Text", "text")}, load_from_cache_file=False)
    return corpora.Prepared(dataset, *list(vars(prepared).values())[1:])


def forget(prepared: corpora.Prepared) -> corpora.Prepared:
    exclusions = pd.DataFrame([("f.csv", 3, "", "why", "e1")], columns=["file", "row", "column", "reason", "essay_id"])
    counts = prepared.counts | {"excluded": 1, "rows_read": prepared.counts["rows_read"] + 1}
    return corpora.Prepared(prepared.dataset, exclusions, prepared.split, counts)


@pytest.mark.parametrize(
    "harm, words",
    [(lose, "counts are not"), (change, "another text"), (forget, "without its place")],
    ids=["lose", "change", "forget"],
)
def test_the_judge_notices_a_loss(tmp_path, monkeypatch, harm, words):
    case, build = whole(), corpora.build
    assert fuzz.judge(case, tmp_path)[0] in fuzz.GOOD
    monkeypatch.setattr(fuzz.corpora, "build", lambda settings: harm(build(settings)))
    outcome, details = fuzz.judge(case, tmp_path)
    assert outcome.startswith("finding") and words in details


@pytest.mark.parametrize(
    "error, words",
    [
        (ValueError("x"), "finding: ValueError"),
        (CyborgError("something is wrong"), "without its place"),
        (CyborgError("given.csv, row 2: bad"), "without a remedy"),
        (CyborgError("given.csv: check it " + "x" * 5_000), "too long"),
    ],
)
def test_the_judge_notices_a_bad_error(tmp_path, monkeypatch, error, words):
    def build(settings):
        raise error

    monkeypatch.setattr(fuzz.corpora, "build", build)
    assert words in "".join(fuzz.judge(whole(), tmp_path))


def test_the_judge_notices_a_quoted_essay(tmp_path, monkeypatch):
    case = whole()
    essay = case.whole["e5"]

    def build(settings):
        raise CyborgError(f"given.csv: check {essay}")

    monkeypatch.setattr(fuzz.corpora, "build", build)
    assert "quotes an essay" in "".join(fuzz.judge(case, tmp_path))


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "BLOCK", 20)
    for name, cases in (("a", [30, 60]), ("b", [60])):
        for count in cases:
            monkeypatch.setattr("sys.argv", ["fuzz.py", "--cases", str(count), "--folder", str(tmp_path / name)])
            fuzz.main()
    parts, once = (pd.read_csv(tmp_path / name / "fuzz.csv") for name in "ab")
    pd.testing.assert_frame_equal(parts, once)
    assert "60 damaged inputs" in (tmp_path / "a" / "fuzz.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["fuzz.csv", "fuzz.json", "fuzz.md"]


def test_the_judge_notices_a_case_that_does_not_end(tmp_path, monkeypatch):
    def build(settings):
        while True:
            pass

    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(fuzz.corpora, "build", build)
    assert fuzz.judge(whole(), tmp_path)[0] == "finding: TimeoutError"
