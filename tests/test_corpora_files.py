"""Bad rows, odd bytes and wrong files: an error, or a listed exclusion; every row accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import corpus_samples as samples
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora, encodings


def prepare(*, changes: dict | None = None, **options) -> corpora.Prepared:
    settings = samples.settings("table", groups=["gender"], options={**samples.OWN, **options})
    return corpora.build(settings | (changes or {}))


def name_of(data: Path, file: str = "own.csv") -> str:
    """A file's name as messages have it."""
    return paths.shown(data / file)


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


@pytest.mark.parametrize("delimiter, words", [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_delimiter_is_found_and_said_unless_it_is_given(data: Path, delimiter: str, words: str):
    samples.write_csv(data / "own.csv", samples.own(), delimiter=delimiter)
    prepared = prepare()
    assert prepared.counts["essays"] == 30
    assert prepared.notes == [f"{name_of(data)} was read with cells separated by {words}. Set `delimiter` if that is wrong."]
    assert prepare(delimiter=delimiter).notes == []


def test_a_wrong_delimiter_is_suspected(data: Path):
    samples.write_csv(data / "own.csv", samples.own(), delimiter="~")
    with pytest.raises(CyborgError, match="Is the delimiter another"):
        prepare()
    assert prepare(delimiter="~").counts["essays"] == 30


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no rows"),
        (b"no,body,score,sex\n", "no rows"),
        (b'no,body,score,sex\ne1,"open text,3,F\ne2,text,3,F\n', "quotation mark"),
        (b"no,body,body,sex\ne1,a,b,F\n", r"no column body, score. It has: no, body \(1\), body \(2\), sex"),
    ],
)
def test_a_broken_csv_is_an_error(data: Path, content: bytes, message: str):
    (data / "own.csv").write_bytes(content)
    with pytest.raises(CyborgError, match=message):
        prepare()


def test_missing_file_and_unknown_kind(data: Path):
    with pytest.raises(CyborgError, match="own.csv: no such file. Looked in"):
        prepare()
    (data / "own.odt").write_bytes(b"PK")
    with pytest.raises(CyborgError, match=r"unknown file type. Use \.csv"):
        prepare(file="own.odt")


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
    assert encodings.encoding_of(path) == "utf-8"


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


# --- what the fuzzer found (benchmarks/fuzz.py) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"delimiter": "ab"}, r"own\.csv: 'ab' cannot be its delimiter. Give one character"),
        ({"delimiter": "\n"}, "cannot be its delimiter"),
        ({"encoding": "a\0b"}, "own.csv: .*Save it as UTF-8, or set `encoding`"),
        ({"encoding": "rot13"}, "own.csv: .*Save it as UTF-8"),
        ({"file": 3}, "options.file: must be a str"),
        ({"file": ""}, r"options: give file \(the name of a file\)"),
        ({"file": "~nobody-at-all/own.csv"}, "~nobody-at-all/own.csv: no such file"),
        ({"file": "x" * 5_000}, r"x{20}\.\.\. \(5000 characters\): no such file"),
        ({"groups": {"gender": None}}, "options.groups: .*must give the name of a column"),
        ({"groups": {1: "sex"}}, "options.groups: .*must give the name of a column"),
        ({"text": ""}, "options.text: .*must give the name of a column"),
        ({"id": None}, "options.id: must be a str, not None"),
        ({1: "x"}, "unknown 1. A table needs file"),
    ],
)
def test_a_wrong_option_is_an_error_of_ours(data: Path, options: dict, message: str):
    samples.write_csv(data / "own.csv", samples.own())
    with pytest.raises(CyborgError, match=message):
        corpora.build(samples.settings("table", groups=["gender"], options={**samples.OWN, **options}))


@pytest.mark.parametrize("corpus", ["table", "persuade"])
@pytest.mark.parametrize(
    "named", [{"files": []}, {"files": "own.csv"}, {"files": [3]}, {"files": ["own.csv"], "file": "own.csv"}]
)
def test_files_are_a_list_of_names(data: Path, corpus: str, named: dict):
    samples.write_csv(data / "own.csv", samples.own())
    options = named | ({"id": "no", "text": "body"} if corpus == "table" else {})
    with pytest.raises(CyborgError, match="prepare_data.options"):
        corpora.build(samples.settings(corpus, options=options))


def test_a_file_named_twice_is_refused(data: Path):
    samples.write_csv(data / "own.csv", samples.own())
    with pytest.raises(CyborgError, match="own.csv: a file stands twice. Name each once"):
        corpora.build(samples.settings("table", options={"files": ["own.csv", "own.csv"], "id": "no", "text": "body"}))


def test_a_rubric_is_an_option_of_every_corpus(data: Path):
    """It was documented for all and accepted by none. It is one of the files that the essays are prepared from."""
    samples.write_csv(data.parent / "home" / "mine.txt", [{"Weigh": "the reasons."}])
    samples.write_csv(data / "own.csv", samples.own())
    assert prepare(rubric="mine.txt").counts["essays"] == 30
    samples.write_csv(data / "essays.csv", samples.persuade())
    settings = samples.settings("persuade", score="holistic_essay_score", options={"file": "essays.csv", "rubric": "mine.txt"})
    assert corpora.build(settings).counts["essays"] == 40
    simulated = corpora.build(samples.settings("simulated", options={"essays": 30, "rubric": "mine.txt"}))
    assert simulated.counts["essays"] == 30
    assert [file.name for file in simulated.sources] == ["mine.txt"] and corpora.sources(settings)[0].name == "essays.csv"
    with pytest.raises(CyborgError, match="no.txt: the rubric file named in prepare_data.options.rubric is not there"):
        prepare(rubric="no.txt")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_recognised(data: Path, encoding: str):
    rows = samples.own()
    rows[4]["body"] += " café 👍"
    samples.write_csv(data / "own.csv", rows, encoding=encoding)
    prepared = prepare()
    assert prepared.counts["essays"] == 30 and prepared.dataset[4]["text"].endswith("café 👍")
    assert any(encoding in note for note in prepared.notes)


JSON_FAULTS = {
    '{"no": "e1", "body": "a", "score": 3, "score": 4}': "the line is not JSON: the key score stands twice",
    '{"no": "e1", "body": "a", "score": ' + "9" * 5_000 + "}": "the line is not JSON: Exceeds the limit",
    "[" * 100_000: "the line is not JSON: maximum recursion depth",
    '{"no": "e1", "body": "half \\ud83d of a sign", "score": 3}': "unreadable bytes",
    '{"no": "e\\udcff1", "body": "a text", "score": 3}': "unreadable bytes",
    '{"no": "e1", "body": "a text", "score": 1' + "0" * 400 + "}": "is not a number",
    '{"no": ["e1"], "body": "a text", "score": 3}': "neither text nor number but list",
    '{"no": "' + "long " * 100 + '", "body": "a text", "score": 3}': "an id of 499 characters, more than 200",
    '{"no": "e1", "body": "a text", "score": "1_0"}': "score '1_0' is not a number",
}


@pytest.mark.parametrize("line", JSON_FAULTS, ids=lambda line: JSON_FAULTS[line][:40])
def test_a_line_that_json_or_we_cannot_use_is_listed(data: Path, line: str):
    lines = [json.dumps(row) for row in samples.own()]
    lines[12] = line
    (data / "own.jsonl").write_text("\n".join(lines))
    prepared = prepare(file="own.jsonl", changes={"scale": [1, 61, 1]})
    assert accounted(prepared) and prepared.counts["essays"] == 29
    listed = prepared.exclusions.iloc[0]
    assert listed["row"] == 13 and listed["reason"].startswith(JSON_FAULTS[line]) or JSON_FAULTS[line] in listed["reason"]
    assert listed["column"] != "" and prepared.exclusions.to_csv().encode()


def test_a_parquet_file_is_refused_for_what_no_row_can_answer_for(data: Path):
    table = pyarrow.table(pd.DataFrame(samples.own()))
    pyarrow.parquet.write_table(table.append_column("body", table["sex"]), data / "own.parquet")
    with pytest.raises(CyborgError, match=r"own\.parquet: column names stand twice: body. Rename one"):
        prepare(file="own.parquet")
    far = pyarrow.array([10**9] * 30, pyarrow.date32())  # in the year 2,700,000
    pyarrow.parquet.write_table(table.append_column("when", far), data / "own.parquet")
    with pytest.raises(CyborgError, match=r"own\.parquet: not readable as Parquet: .*Download it, or write it, again"):
        prepare(file="own.parquet")
    bad = pyarrow.array([b"\xff\xfe"] * 30, pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(table.append_column("remark", bad), data / "own.parquet")
    with pytest.raises(CyborgError, match=r"own\.parquet: not readable as Parquet"):
        prepare(file="own.parquet")


def test_text_as_bytes_is_no_text(data: Path):
    frame = pd.DataFrame(samples.own())
    frame["no"] = frame["no"].str.encode("utf-8")
    frame.to_parquet(data / "own.parquet")
    with pytest.raises(CyborgError, match="row 1, column no: neither text nor number but bytes"):
        prepare(file="own.parquet")


def test_an_unreadable_id_can_be_listed_in_a_file(data: Path):
    rows = samples.own()
    rows[3]["body"] += " é è ê"
    samples.write_csv(data / "own.csv", rows)
    (data / "own.csv").write_bytes((data / "own.csv").read_bytes().replace(b"e9,", b"e\xff9,"))
    listed = prepare().exclusions
    assert listed["essay_id"].tolist() == ["e\\udcff9"] and listed.to_csv().encode("utf-8")


def test_a_message_never_quotes_an_essay_in_place_of_a_column(data: Path):
    samples.write_csv(data / "own.csv", samples.own())
    lines = (data / "own.csv").read_text().splitlines()
    (data / "own.csv").write_text("\n".join(lines[1:]) + "\n")  # the header is gone: an essay stands in its place
    with pytest.raises(
        CyborgError, match=r"own\.csv, row 1: no column .*It has: e0, Text 0: .{1,20}\.\.\. \(\d+ characters\)"
    ) as error:
        prepare()
    assert samples.text(0)[30:] not in str(error.value)


def test_further_rows_of_an_essay_that_say_something_else_are_told(data: Path):
    rows = samples.discourse(samples.persuade(), 3)
    rows[4]["gender"], rows[7]["competition_set"] = "?", "train"
    samples.write_csv(data / "elements.csv", rows)
    settings = samples.settings("persuade", score="holistic_essay_score", groups=["gender"], options={"file": "elements.csv"})
    prepared = corpora.build(settings | {"test": 0})
    assert prepared.counts == {"rows_read": 120, "repeated": 80, "excluded": 0, "essays": 40}
    told = [note for note in prepared.notes if "further row" in note]
    assert told == [
        f"1 further row(s) of an essay give another {name}; the first counts." for name in ("gender", "competition_set")
    ]


@pytest.mark.parametrize("size", [float("nan"), float("inf"), -1, 0.001, 1e300])
@pytest.mark.parametrize("part", ["dev", "test"])
def test_a_size_that_is_none_or_gives_no_essay_is_refused(data: Path, part: str, size: float):
    samples.write_csv(data / "own.csv", samples.own())
    with pytest.raises(CyborgError, match="prepare_data") as error:
        prepare(changes={part: size})
    assert "Give" in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    "options",
    [{"essays": 0}, {"essays": -3}, {"essays": 10**400}, {"essays": "many"}, {"essays": True}, {"seed": 1.5}, {"seed": None}],
)
def test_simulated_essays_need_a_number_and_a_seed(options: dict):
    with pytest.raises(CyborgError, match=rf"prepare_data\.options\.{next(iter(options))}: .* must be a whole number"):
        corpora.build(samples.settings("simulated", options=options))


def test_an_unknown_option_of_the_simulated_corpus_need_not_be_text():
    with pytest.raises(CyborgError, match="unknown 1; the simulated corpus has essays and seed"):
        corpora.build(samples.settings("simulated", options={1: 2}))


def test_an_unreadable_file_is_an_error_of_ours(data: Path, monkeypatch: pytest.MonkeyPatch):
    samples.write_csv(data / "own.csv", samples.own())

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, who may read everything
    with pytest.raises(CyborgError, match=r"own\.csv: this user has no permission for it. Grant it"):
        prepare()
