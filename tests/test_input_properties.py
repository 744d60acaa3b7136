"""Whatever stands in a file or a study: it comes out exactly, or it is listed, or it is refused; at every size of scale."""

from __future__ import annotations

import copy
import json
import math

import corpus_samples as samples
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import CHECKOUT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.stats import metrics

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
KINDS = ["csv", "tsv", "parquet", "jsonl"]
# Any character that a text can hold; a NUL is a fault of its own, and line ends become \n (both are tested below).
sign = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")
tricky = st.sampled_from(
    ['"', '""', "'", ",", ";", "\t", "\n", "\n\n", "\\", "é", "שלום", "مرحبا", "👩‍👩‍👧‍👦", "\u202e", "\u2028", "\ufeff", "=1+1"]
)
essays = st.lists(st.one_of(sign, tricky), min_size=1, max_size=60).map("".join).filter(str.strip)


def rows_of(texts: list[str]) -> list[dict]:
    return [{"no": f"e{i}", "body": text, "score": 1 + i % 6, "sex": "FM"[i % 2]} for i, text in enumerate(texts)]


def write(data, kind: str, rows: list[dict], encoding: str = "utf-8") -> None:
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(data / "own.parquet")
    elif kind == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (data / "own.jsonl").write_text("\n".join(lines) + "\n", encoding=encoding, newline="")
    else:
        samples.write_csv(data / f"own.{kind}", rows, encoding=encoding, delimiter="," if kind == "csv" else "\t")


def build(kind: str = "csv", scale=(1, 6, 1), groups=("gender",), options=None, **changes) -> corpora.Prepared:
    given = {**samples.OWN, "file": f"own.{kind}", **(options or {})}
    return corpora.build(samples.settings("table", scale=list(scale), groups=list(groups), options=given, **changes))


# --- texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@few
@given(texts=st.lists(essays, min_size=6, max_size=12), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_every_text_comes_out_as_it_went_in(data, kind, texts, encoding):
    write(data, kind, rows_of(texts), encoding)
    prepared = build(kind, dev=1, test=1)
    assert prepared.counts == {"rows_read": len(texts), "repeated": 0, "excluded": 0, "essays": len(texts)}
    assert prepared.dataset["text"][:] == [text.strip() for text in texts]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@few
@given(st.data())
def test_so_it_does_in_the_encodings_of_old_files(data, encoding, draw):
    letters = st.characters(min_codepoint=0xA0, max_codepoint=0xFF) | st.characters(min_codepoint=32, max_codepoint=126)
    texts = draw.draw(st.lists(st.text(letters, min_size=1).filter(str.strip), min_size=6, max_size=12))
    write(data, "csv", rows_of(texts), encoding)
    assert build(options={"encoding": encoding}, dev=1, test=1).dataset["text"][:] == [text.strip() for text in texts]


@few
@given(text=st.text(st.sampled_from("ab\r\n"), min_size=1, max_size=30).filter(str.strip))
def test_line_ends_become_one_kind(data, text):
    write(data, "csv", rows_of([text, *"vwxyz"]))
    assert build(dev=1, test=1).dataset[0]["text"] == text.replace("\r\n", "\n").replace("\r", "\n").strip()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("long", ["x" * 200_000, 'He said "no".\n' * 14_286, "👍🏽é" * 70_000, "שלום עולם " * 20_000])
def test_an_essay_of_200_000_characters_comes_out_whole_and_one_of_none_is_listed(data, kind, long):
    rows = samples.own()
    rows[3]["body"], rows[9]["body"] = long, ""
    write(data, kind, rows)
    prepared = build(kind)
    assert len(long) >= 200_000 and prepared.dataset[3]["text"] == long.strip()
    assert prepared.counts == {"rows_read": 30, "repeated": 0, "excluded": 1, "essays": 29}
    listed = prepared.exclusions.iloc[0]
    assert (listed["essay_id"], listed["column"], listed["reason"]) == ("e9", "body", "empty text")


@few
@given(cells=st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.none()))))
def test_any_json_in_any_column_is_listed_or_kept_and_never_lost(data, cells):
    rows = samples.own(30)
    for at, cell in enumerate(cells[:3]):
        rows[at][["no", "body", "score", "sex"][at % 4]] = cell
    (data / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    prepared = build("jsonl")
    counts = prepared.counts
    assert counts["rows_read"] == 30 == counts["essays"] + counts["excluded"] and counts["excluded"] == len(prepared.exclusions)
    assert set(range(3, 30)) == {
        int(name[1:]) for name in prepared.dataset["essay_id"] if name in {f"e{i}" for i in range(3, 30)}
    }
    assert (prepared.exclusions[["file", "column", "reason"]] != "").all(axis=None)


# --- groups and classes ---------------------------------------------------------------------------------------------------


@few
@given(st.sets(st.integers(0, 59), min_size=6, max_size=6), st.sampled_from(["", "NA", "n/a", "None", " ", "null"]))
def test_a_tenth_of_a_group_missing_stays_missing_and_shifts_nothing(data, gone, word):
    rows = samples.own(60)
    for at in gone:
        rows[at]["sex"] = word
    write(data, "csv", rows)
    prepared = build()
    flat = corpora.frame(prepared.dataset)
    assert prepared.counts["excluded"] == 0 and set(np.flatnonzero(flat["groups.gender"].isna())) == gone
    assert [value for at, value in enumerate(flat["groups.gender"]) if at not in gone] == [
        "FM"[at % 2] for at in range(60) if at not in gone
    ]
    assert set(corpora.draw_human(prepared.dataset, 0.5, 1)) <= set(flat.query("split == 'train'")["essay_id"])


def test_a_group_that_nobody_has_is_empty_and_no_error(data):
    write(data, "csv", [row | {"sex": ""} for row in samples.own()])
    assert corpora.frame(build().dataset)["groups.gender"].isna().all()


@few
@given(score=st.integers(1, 6), fraction=st.floats(0.01, 1.0))
def test_one_class_only_is_split_drawn_and_has_no_kappa(data, score, fraction):
    write(data, "csv", [row | {"score": score} for row in samples.own(40)])
    prepared = build()
    flat = corpora.frame(prepared.dataset)
    assert set(flat["level"]) == {score - 1} and set(flat["split"]) == {"train", "dev", "test"}
    train = (flat["split"] == "train").sum()
    assert len(corpora.draw_human(prepared.dataset, fraction, 1)) == max(1, round(fraction * train))
    assert math.isnan(metrics.qwk(flat["level"], flat["level"], levels=6))  # nothing to agree about


# --- scales ---------------------------------------------------------------------------------------------------------------

steps = st.sampled_from([1, 0.5, 0.1, 0.25, 2, 10])
lows = st.sampled_from([0, 1, -3, 0.5, 100])


@pytest.mark.slow
@few
@given(size=st.sampled_from([2, 3, 9, 10, 53, 61]), low=lows, step=steps, seed=st.integers(0, 99))
def test_a_scale_of_2_or_61_levels_goes_from_the_file_to_the_kappa(data, size, low, step, seed):
    scale = Scale(low, low + step * (size - 1), step)
    assert scale.size == size
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, size, 150)
    rows = [row | {"score": f"{scale.score(level):.10g}"} for row, level in zip(samples.own(150), levels, strict=True)]
    write(data, "csv", rows)
    prepared = build(scale=(low, low + step * (size - 1), step), dev=15, test=30)
    flat = corpora.frame(prepared.dataset)
    assert flat["level"].tolist() == levels.tolist()
    np.testing.assert_array_equal(scale.nearest(flat["score"]), levels)
    np.testing.assert_array_equal(scale.level(scale.score(levels)), levels)
    assert flat["split"].value_counts().to_dict() == {"train": 105, "test": 30, "dev": 15}
    parts = [set(corpora.draw_human(prepared.dataset, fraction, seed)) for fraction in (0.1, 0.3, 1.0)]
    assert parts[0] < parts[1] < parts[2] and len(parts[2]) == 105
    assert metrics.qwk(flat["level"], flat["level"], levels=size) == pytest.approx(1)
    other = np.clip(levels + rng.choice([-1, 0, 1], 150), 0, size - 1)
    expected = 1 - np.mean((levels - other) ** 2) / np.mean((levels[:, None] - other[None, :]) ** 2)
    assert metrics.qwk(levels, other, levels=size) == pytest.approx(expected)


@few
@given(st.tuples(*[st.floats() | st.integers()] * 3))
def test_any_three_numbers_are_a_scale_or_refused(three):
    try:
        scale = Scale(*three)
    except CyborgError as error:
        assert "scale" in str(error)
        return
    assert 2 <= scale.size <= 1_000 and np.isfinite(scale.scores).all()


# --- splits ---------------------------------------------------------------------------------------------------------------


@few
@given(dev=st.floats() | st.integers(-5, 60), test=st.floats() | st.integers(-5, 60))
def test_any_two_sizes_give_the_split_they_name_or_are_refused(data, dev, test):
    write(data, "csv", samples.own(40))
    try:
        split = build(dev=dev, test=test).split["split"]
    except CyborgError as error:
        assert "prepare_data" in str(error)
        return
    wanted = round(test * 40) if test < 1 else round(test)
    assert (split == "test").sum() == wanted > 0 and (split == "train").sum() > 0
    assert ((split == "dev").sum() > 0) == (dev > 0)


# --- studies --------------------------------------------------------------------------------------------------------------

STUDY = yaml.safe_load((CHECKOUT / "params" / "smoke.yaml").read_text(encoding="utf-8"))
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(sign, max_size=20) | st.dates()
trees = st.recursive(
    leaves, lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(sign, max_size=9), of, max_size=3), max_leaves=6
)
PLACES = [(section, key) for section, values in STUDY.items() if isinstance(values, dict) for key in values] + [
    (section, None) for section in STUDY
]


@few
@given(place=st.sampled_from(PLACES), value=trees)
def test_any_value_at_any_place_of_a_study_loads_as_it_is_or_is_refused_with_its_place(project, place, value):
    section, key = place
    content = copy.deepcopy(STUDY)
    if key is None:
        content[section] = value
    else:
        content[section][key] = value
    (project / "params" / "try.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    try:
        study = config.load("try")
    except CyborgError as error:
        assert "params/try.yaml" in str(error) and (section in str(error) or "YAML" in str(error))
        return
    if key is not None:
        assert study.section(section)[key] == value
    assert all(math.isfinite(one) for one in study.section("train_student").values() if isinstance(one, float))


@few
@given(
    fraction=st.floats(0.0001, 0.9999),
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=3, unique=True),
    rate=st.floats(1e-9, 1),
    title=st.text(sign, max_size=40),
)
def test_what_a_good_study_says_is_what_is_loaded(project, fraction, seeds, rate, title):
    content = copy.deepcopy(STUDY) | {"title": title, "runs": [{"fraction": fraction, "seeds": seeds}]}
    content["train_student"]["learning_rate"] = float(rate)
    (project / "params" / "try.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    study = config.load("try")
    assert [(run.fraction, run.seed) for run in study.runs] == [(fraction, seed) for seed in seeds]
    assert study.section("train_student")["learning_rate"] == rate
    assert study.title.split() == title.split()
