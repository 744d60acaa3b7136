"""Bad rows, odd bytes and wrong files: an error, or a listed exclusion; every row accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import corpus_samples as samples
import pandas as pd
import pytest

from cyborg_utils import corpora
from cyborg_utils.corpora import files
from cyborg_utils.errors import CyborgError


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYBORG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def prepare(*, changes: dict | None = None, **options) -> corpora.Prepared:
    settings = samples.settings("table", groups=["gender"], options={**samples.OWN, **options})
    return corpora.build(settings | (changes or {}))


def accounted(prepared: corpora.Prepared) -> bool:
    counts = prepared.counts
    return (
        counts["rows_read"] == counts["essays"] + counts["excluded"] + counts["repeated"]
        and counts["excluded"] == len(prepared.exclusions)
        and counts["essays"] == len(prepared.dataset)
    )


BAD = {
    "empty text": ("body", "   ", "body", "empty text"),
    "off the scale": ("score", "7", "score", "'7' is off the scale 1-6"),
    "between two scores": ("score", "2.5", "score", "'2.5' is off the scale"),
    "no number": ("score", "good", "score", "'good' is not a number"),
    "infinite": ("score", "inf", "score", "'inf' is not a number"),
    "no score": ("score", "", "score", "no score"),
    "no id": ("no", " ", "no", "no id"),
    "same id": ("no", "e1", "no", "id stands already in .*own.csv, row 3"),
    "NUL": ("body", "abc\0def", "body", "NUL bytes"),
    "text in the score column": ("score", samples.text(99), "score", r"score \(\d+ characters\) is not a number"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_listed_with_file_row_and_column(data: Path, name: str):
    column, value, listed_column, reason = BAD[name]
    rows = samples.own()
    rows[12][column] = value
    samples.write_csv(data / "own.csv", rows)
    prepared = prepare()
    assert accounted(prepared) and prepared.counts["essays"] == 29
    listed = prepared.exclusions.iloc[0]
    assert listed["file"].endswith("own.csv") and listed["row"] == 14 and listed["column"] == listed_column  # header is row 1
    assert pd.Series([listed["reason"]]).str.contains(reason).all(), listed["reason"]


def test_rows_with_too_few_or_too_many_cells_are_listed_and_shift_nothing(data: Path):
    samples.write_csv(data / "own.csv", samples.own())
    lines = (data / "own.csv").read_text().splitlines()
    lines[5] = lines[5].rsplit(",", 1)[0]
    lines[8] += ",extra"
    (data / "own.csv").write_text("\n".join([*lines, "", ""]) + "\n")  # blank lines are no rows
    prepared = prepare()
    assert accounted(prepared)
    assert prepared.exclusions["reason"].tolist() == ["3 cells where the header has 4", "5 cells where the header has 4"]
    assert prepared.exclusions["row"].tolist() == [6, 9]


def test_a_short_first_row_is_a_bad_row_and_no_missing_column(data: Path):
    samples.write_csv(data / "own.csv", samples.own())
    lines = (data / "own.csv").read_text().splitlines()
    lines[1] = "e0,only"
    (data / "own.csv").write_text("\n".join(lines) + "\n")
    assert prepare().exclusions["row"].tolist() == [2]


def test_more_than_a_tenth_excluded_stops_with_the_first_rows_named(data: Path):
    rows = samples.own()
    for row in rows[:3]:
        row["score"] = "9"
    samples.write_csv(data / "own.csv", rows)
    assert prepare().counts["excluded"] == 3  # exactly a tenth is still allowed
    rows[3]["body"] = ""
    samples.write_csv(data / "own.csv", rows)
    with pytest.raises(CyborgError, match=r"4 of 30 rows.*own\.csv, row 2, column score: score '9' is off the scale"):
        prepare()


def test_missing_column_names_file_column_and_what_is_there(data: Path):
    samples.write_csv(data / "own.csv", samples.own())
    with pytest.raises(CyborgError, match=r"own\.csv, row 1: no column essay\. It has: no, body, score, sex"):
        prepare(text="essay")


def test_wrong_delimiter_is_suspected(data: Path):
    samples.write_csv(data / "own.csv", samples.own(), delimiter=";")
    with pytest.raises(CyborgError, match="delimiter"):
        prepare()
    assert prepare(delimiter=";").counts["essays"] == 30


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no rows"),
        (b"no,body,score,sex\n", "no rows"),
        (b'no,body,score,sex\ne1,"open text,3,F\ne2,text,3,F\n', "quotation mark"),
        (b"no,body,body,sex\ne1,a,b,F\n", "column names stand twice: body"),
    ],
)
def test_a_broken_csv_is_an_error(data: Path, content: bytes, message: str):
    (data / "own.csv").write_bytes(content)
    with pytest.raises(CyborgError, match=message):
        prepare()


def test_missing_file_and_unknown_kind(data: Path):
    with pytest.raises(CyborgError, match="own.csv: no such file. Looked in"):
        prepare()
    (data / "own.xlsx").write_bytes(b"PK")
    with pytest.raises(CyborgError, match=r"unknown file type. Use \.csv"):
        prepare(file="own.xlsx")


@pytest.mark.parametrize("options, message", [({"colour": "x"}, "unknown colour"), ({"groups": "sex"}, "must be a mapping")])
def test_wrong_options_are_refused(data: Path, options: dict, message: str):
    samples.write_csv(data / "own.csv", samples.own())
    with pytest.raises(CyborgError, match=message):
        prepare(**options)


# --- bytes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_encodings_are_told_apart_and_accents_kept(data: Path, encoding: str):
    rows = samples.own()
    rows[4]["body"] += " café naïve déjà"
    samples.write_csv(data / "own.csv", rows, encoding=encoding)
    prepared = prepare()
    assert prepared.counts == {"rows_read": 30, "repeated": 0, "excluded": 0, "essays": 30}
    assert prepared.dataset[4]["text"].endswith(" café naïve déjà") and prepared.dataset[0]["essay_id"] == "e0"
    said = any("read as" in note for note in prepared.notes)
    assert said == (not encoding.startswith("utf-8"))


def test_one_broken_byte_in_utf8_costs_one_row_and_no_accent(data: Path):
    rows = samples.own()
    rows[4]["body"] += " café naïve"
    samples.write_csv(data / "own.csv", rows)
    content = (data / "own.csv").read_bytes().replace(b"Text 9:", b"Text \xff9:")
    (data / "own.csv").write_bytes(content)
    prepared = prepare()
    assert prepared.exclusions[["row", "column", "reason"]].values.tolist() == [[11, "body", "unreadable bytes"]]
    assert prepared.dataset[4]["text"].endswith("café naïve")


def test_encoding_detection_counts_characters_cut_by_a_block_edge(tmp_path: Path):
    path = tmp_path / "long.csv"
    path.write_bytes(b"x" * ((1 << 20) - 1) + "é".encode() + b"y")
    assert files.encoding_of(path) == "utf-8"


# --- other formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["own.tsv", "own.parquet", "own.jsonl"])
def test_all_formats_give_the_same_essays(data: Path, kind: str):
    rows = samples.own()
    samples.write_csv(data / "own.csv", rows)
    if kind.endswith("tsv"):
        samples.write_csv(data / kind, rows, delimiter="\t")
    elif kind.endswith("parquet"):
        pd.DataFrame(rows).to_parquet(data / kind)
    else:
        (data / kind).write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    assert prepare(file=kind).dataset[:] == prepare().dataset[:]


def test_json_lines_faults_are_listed_by_line(data: Path):
    lines = [json.dumps(row) for row in samples.own()]
    lines[3] = "{broken"
    lines[7] = json.dumps({"no": "e7", "body": 12, "score": 3, "sex": "F"})
    lines[9] = json.dumps({"no": "e9", "body": samples.text(9), "score": True, "sex": "F"})
    (data / "own.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    prepared = prepare(file="own.jsonl")
    assert accounted(prepared)
    assert prepared.exclusions["row"].tolist() == [4, 8, 10]
    reasons = prepared.exclusions["reason"].tolist()
    assert "not JSON" in reasons[0] and reasons[1:] == ["not a text but int", "score True is not a number"]


def test_unreadable_parquet_is_an_error(data: Path):
    (data / "own.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(CyborgError, match="not readable as Parquet"):
        prepare(file="own.parquet")


def test_two_files_are_one_corpus_and_ids_must_differ_across_them(data: Path):
    rows = samples.own()
    samples.write_csv(data / "a.csv", rows[:20])
    samples.write_csv(data / "b.csv", [*rows[20:], {**rows[0], "body": "Another text."}])
    options = {key: value for key, value in samples.OWN.items() if key != "file"}
    prepared = corpora.build(samples.settings("table", options={**options, "files": ["a.csv", "b.csv"]}))
    assert accounted(prepared) and prepared.counts["essays"] == 30
    assert "a.csv, row 2, with another text or score" in prepared.exclusions.loc[0, "reason"]


def test_optional_scores_that_cannot_be_used_are_left_empty_and_counted(data: Path):
    rows = [{**row, "second": row["score"], "gram": row["score"]} for row in samples.own()]
    rows[2]["second"], rows[3]["second"], rows[4]["gram"] = "?", "", 9
    samples.write_csv(data / "own.csv", rows)
    prepared = prepare(second_score="second", traits={"grammar": "gram"})
    flat = corpora.frame(prepared.dataset)
    assert flat["second_score"].isna().sum() == 2 and flat["traits.grammar"].isna().sum() == 1
    assert [note for note in prepared.notes if "second" in note] == ["1 value(s) of second could not be used and are left empty."]


def test_declared_split_is_kept_with_test_0_and_ignored_else(data: Path):
    rows = [{**row, "part": ["Training", "validation", "TEST"][min(i // 18, 2)]} for i, row in enumerate(samples.own(40))]
    samples.write_csv(data / "own.csv", rows)
    kept = prepare(split="part", changes={"test": 0, "dev": 0}).split["split"]
    assert kept.value_counts().to_dict() == {"train": 18, "dev": 18, "test": 4}
    assert prepare(split="part", changes={"test": 10, "dev": 5}).split["split"].value_counts()["test"] == 10
    rows[0]["part"] = "holdout"
    samples.write_csv(data / "own.csv", rows)
    listed = prepare(split="part", changes={"test": 0, "dev": 0}).exclusions.iloc[0]
    assert listed["column"] == "part" and "'holdout' is none of train" in listed["reason"]
