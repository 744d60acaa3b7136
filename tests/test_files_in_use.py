"""Files as spreadsheets, survey tools and corpora write them: no row is lost in silence, and what was found is said."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import corpus_samples as samples
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import advice, corpora, files

many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
PROSE = [
    "However, we went there. It was late, and cold.",
    "We agree.",
    "Also, phones help.",
    "First, a call; then, a text, or two.",
]


def prepare(file: str, changes: dict | None = None, **options) -> corpora.Prepared:
    given = {**samples.OWN, "file": file, **options}
    return corpora.build(samples.settings("table", groups=["gender"], options=given) | (changes or {}))


def write(path: Path, rows: list[list[str]], delimiter: str = ",", end: str = "\n", encoding: str = "utf-8") -> Path:
    """Without any quoting, as a plain TSV is."""
    path.write_bytes("".join(delimiter.join(row) + end for row in rows).encode(encoding))
    return path


def table(rows: list[dict]) -> list[list[str]]:
    return [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]


# --- quotation marks --------------------------------------------------------------------------------------------------------


def plain_rows(count: int = 40, opens: int = 11, closes: int = 26) -> list[list[str]]:
    rows = samples.own(count)
    for row in rows:
        row["body"] = row["body"].replace(",", "")
    rows[opens]["body"] = '"' + rows[opens]["body"]
    rows[closes]["body"] += '"'
    return table(rows)


def test_a_quotation_mark_in_a_plain_tsv_swallows_no_row(data: Path):
    rows = plain_rows()
    write(data / "own.tsv", rows, "\t")
    prepared = prepare("own.tsv")
    assert prepared.counts["essays"] == 40 and prepared.dataset["text"][:] == [row[1] for row in rows[1:]]
    assert any("quotation marks as ordinary characters" in note for note in prepared.notes)


def test_a_quotation_mark_in_a_plain_csv_is_an_error_with_its_line_and_two_ways_out(data: Path):
    write(data / "own.csv", plain_rows())
    with pytest.raises(CyborgError, match=r"own\.csv, line 13: a quotation mark opens a cell that ends in line 28"):
        prepare("own.csv")
    assert prepare("own.csv", quoting="none").counts["essays"] == 40
    assert prepare("own.csv", quoting="csv").counts["essays"] == 25  # as the user says


def test_in_a_tsv_with_a_ragged_line_too_it_is_an_error(data: Path):
    rows = plain_rows()
    rows[30].append("more")
    write(data / "own.tsv", rows, "\t")
    with pytest.raises(CyborgError, match=r"own\.tsv, line 13: a quotation mark"):
        prepare("own.tsv")


def test_a_blank_or_ragged_line_among_swallowed_rows_hides_nothing(data: Path):
    rows = plain_rows()
    rows[15] = rows[15][:2]
    rows.insert(20, [""])
    write(data / "own.csv", rows)
    with pytest.raises(CyborgError, match=r"own\.csv, line 13: a quotation mark"):
        prepare("own.csv")


def test_a_swallowed_row_among_properly_quoted_essays_is_found(data: Path):
    text = io.StringIO()
    quoted = [["no", "body", "score", "sex"], *([f"e{i}", "One, two.\nThree, four.", "3", "F"] for i in range(30))]
    csv.writer(text, lineterminator="\n").writerows(quoted)
    (data / "own.csv").write_text(text.getvalue() + 'e30,"Plain,2,M\ne31,words,4,F\ne32,more,3,F\ne33,end",2,M\n')
    with pytest.raises(CyborgError, match=r"own\.csv, line 62: a quotation mark opens a cell that ends in line 65"):
        prepare("own.csv")


@pytest.mark.parametrize("ids", ["e{}", "{}", "Smith"])
@pytest.mark.parametrize("count", [3, 6, 40])
@pytest.mark.parametrize(
    "names", [["id", "text"], ["text", "id"], ["id", "text", "score"], ["id", "score", "text", "sex", "task"]]
)
def test_essays_of_many_lines_with_commas_are_no_rows(tmp_path: Path, ids: str, count: int, names: list[str]):
    """A paragraph with as many commas as the header is not taken for a row."""
    texts = ["\n\n".join(PROSE[(i + k * k) % 4] for k in range(1 + i % 5)) for i in range(count)]
    values = {"score": "3", "sex": "F", "task": "Write, please."}
    rows = [{"id": ids.format(i), "text": text, **values} for i, text in enumerate(texts)]
    pd.DataFrame(rows)[names].to_csv(tmp_path / "a.csv", index=False)
    assert [row.cells["text"] for row in files.rows(tmp_path / "a.csv")] == texts
    assert files.layout(tmp_path / "a.csv").notes == ()


line_of_text = st.lists(
    st.sampled_from(['"', '"', '""', "a", "B", " ", "7", "'", ".", "é", "word ", "say "]), min_size=1, max_size=8
).map("".join)
idents = st.sampled_from(["e{}", "{}", "id {}", "S-{}"])


def reads(path: Path) -> list[str] | None:
    """The ids of a file's rows ("" of one that is listed as faulty), or None where the file is refused with the line."""
    try:
        return ["" if row.fault else row.cells["id"] for row in files.rows(path)]
    except CyborgError as error:
        assert re.search(r"line \d+", str(error)) and "quotation mark" in str(error)
        return None


@pytest.mark.parametrize("ending, delimiter", [("tsv", "\t"), ("csv", ","), ("csv", ";")])
@many
@given(
    texts=st.lists(line_of_text, min_size=1, max_size=25),
    ids=idents,
    order=st.permutations(["id", "text", "score", "task"]),
    wide=st.integers(0, 2),
)
@example(texts=['"a', 'b"'], ids="{}", order=["id", "text", "score", "task"], wide=0)
@example(texts=["x"] * 9 + ['"a', "b", 'c"'], ids="e{}", order=["text", "id", "score", "task"], wide=0)
def test_no_row_of_an_unquoted_table_is_lost_in_silence(tmp_path, ending, delimiter, texts, ids, order, wide):
    names = [name for name in order if name in ["id", "text", "score", "task"][: 2 + wide]]
    cells = [{"id": ids.format(i), "text": text, "score": str(1 + i % 6), "task": texts[-1 - i]} for i, text in enumerate(texts)]
    path = write(tmp_path / f"a.{ending}", [names, *([row[name] for name in names] for row in cells)], delimiter)
    found = reads(path)
    assert found is None or [name or row["id"] for name, row in zip(found, cells, strict=True)] == [row["id"] for row in cells]


@pytest.mark.parametrize("ending, delimiter", [("tsv", "\t"), ("csv", ",")])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@many
@given(
    texts=st.lists(
        st.lists(st.one_of(line_of_text, st.sampled_from(["\n", "\n\n", ",", "\t", "\n,", ",,"])), min_size=1).map("".join),
        min_size=1,
        max_size=15,
    ),
    order=st.permutations(["id", "text", "score", "task"]),
    ids=idents,
)
def test_every_cell_of_a_quoted_table_comes_back_or_it_is_refused_with_the_line(
    tmp_path, ending, delimiter, quoting, texts, order, ids
):
    rows = [{"id": ids.format(i), "text": text, "score": 1 + i % 6, "task": texts[-1 - i]} for i, text in enumerate(texts)]
    path = tmp_path / f"a.{ending}"
    pd.DataFrame(rows)[order].to_csv(path, index=False, sep=delimiter, quoting=quoting)
    if (found := reads(path)) is not None:
        assert found == [row["id"] for row in rows]
        assert [row.cells["text"] for row in files.rows(path)] == texts


# --- spreadsheets -----------------------------------------------------------------------------------------------------------


def test_decimal_commas_are_found_in_columns_of_numbers_alone(data: Path):
    rows = [
        row | {"score": str(1 + i % 11 / 2).replace(".", ","), "body": f"{row['body']} 3,5"}
        for i, row in enumerate(samples.own())
    ]
    samples.write_csv(data / "own.csv", rows, delimiter=";")
    prepared = prepare("own.csv", {"scale": [1, 6, 0.5]})
    assert prepared.counts["essays"] == 30 and prepared.dataset["score"][:] == [1 + i % 11 / 2 for i in range(30)]
    assert prepared.dataset[0]["text"].endswith(" 3,5")
    assert "with decimal commas" in prepared.notes[0] and "`decimal`" in prepared.notes[0]
    with pytest.raises(CyborgError, match="score '1,5' is not a number"):
        prepare("own.csv", {"scale": [1, 6, 0.5]}, decimal=".")


@pytest.mark.parametrize(
    "cells, decimal, read", [(["1,234", "2,345"], "", "1,234"), (["1,234", "2,345"], ",", "1.234"), (["1,5", "2.5"], "", "1,5")]
)
def test_a_comma_that_may_separate_thousands_is_left(tmp_path: Path, cells: list[str], decimal: str, read: str):
    samples.write_csv(tmp_path / "a.csv", [{"id": f"e{i}", "value": cell} for i, cell in enumerate(cells)])
    how = files.layout(tmp_path / "a.csv", decimal=decimal)
    assert next(files.rows(tmp_path / "a.csv", how)).cells["value"] == read


@pytest.mark.parametrize("first, kind", [("sep=;", "own.csv"), ("SEP=;\r", "own.csv"), ('"sep=;"', "own.tsv")])
def test_excels_hint_in_the_first_line_is_obeyed_and_the_header_is_row_1(data: Path, first: str, kind: str):
    rows = samples.own()
    rows[3]["score"] = 9
    samples.write_csv(data / kind, rows, delimiter=";")
    (data / kind).write_text(f"{first}\n" + (data / kind).read_text())
    prepared = prepare(kind)
    assert prepared.counts["essays"] == 29 and prepared.exclusions["row"].tolist() == [5]
    assert "a hint for Excel, with cells separated by semicolons" in prepared.notes[0]


def test_unicode_text_of_excel(data: Path):
    write(data / "own.txt", table(samples.own()), "\t", "\r\n", "utf-16")
    (data / "own.csv").write_bytes((data / "own.txt").read_bytes())
    for name in ("own.txt", "own.csv"):
        prepared = prepare(name)
        assert prepared.counts["essays"] == 30 and "was read as utf-16" in prepared.notes[0]


def test_blank_rows_are_counted_and_no_essays(data: Path):
    rows = table(samples.own())
    write(data / "own.csv", [*rows[:9], ["", "", "", ""], *rows[9:], *[["", " ", "", ""]] * 30])
    prepared = prepare("own.csv")
    assert prepared.counts["rows_read"] == prepared.counts["essays"] == 30
    assert prepared.notes == [f"{paths.shown(data / 'own.csv')} was read without 31 blank row(s)."]


@pytest.mark.parametrize("end", ["\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_of_other_systems(data: Path, end: str, encoding: str):
    write(data / "own.csv", table(samples.own()), end=end, encoding=encoding)
    assert prepare("own.csv").counts["essays"] == 30


def test_a_column_name_that_stands_twice_is_taken_for_neither(data: Path):
    rows = table(samples.own())
    rows = [[*row, row[2] if at else "score", "", ""] for at, row in enumerate(rows)]
    write(data / "own.csv", rows)
    with pytest.raises(CyborgError, match=r"no column score. It has: no, body, score \(1\), sex, score \(2\), \(1\), \(2\)"):
        prepare("own.csv")
    prepared = prepare("own.csv", {"score": "score (1)"}, second_score="score (2)")
    assert prepared.counts["essays"] == 30 and "'score'), as in 'score (2)'" in prepared.notes[0]


def test_a_json_array_is_rows(data: Path):
    rows = samples.own()
    rows[3]["score"] = 9
    (data / "own.json").write_text("\ufeff" + json.dumps(rows, indent=1), encoding="utf-8")
    prepared = prepare("own.json")
    assert prepared.counts["essays"] == 29 and prepared.exclusions["row"].tolist() == [4]
    (data / "own.json").write_text("[{", encoding="utf-8")
    with pytest.raises(CyborgError, match=r"own\.json: not JSON: .* Mend it, or save the table as CSV"):
        prepare("own.json")


# --- encodings --------------------------------------------------------------------------------------------------------------

ENCODED = {
    "cp1251": "потому что телефоны мешают учиться",
    "koi8_r": "потому что телефоны мешают учиться",
    "cp1253": "Τα παιδιά πηγαίνουν στο σχολείο κάθε μέρα και μαθαίνουν πολλά.",
    "cp932": "学校で電話を使うことは禁止されています",
    "cp1252": "déjà vu à l’école, où le garçon naïf étudiait",
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_the_encoding_of_another_script_is_found_and_said(data: Path, encoding: str):
    rows = samples.own()
    for row in rows[::3]:
        row["body"] += " " + ENCODED[encoding]
    samples.write_csv(data / "own.csv", rows, encoding=encoding)
    prepared = prepare("own.csv")
    assert prepared.dataset[0]["text"].endswith(ENCODED[encoding]) and f"was read as {encoding}" in prepared.notes[0]


@pytest.mark.parametrize(
    "words, encoding", [("zażółć gęślą jaźń, było już późno", "cp1250"), ("ışık güneşten geliyor, öğrenmek", "cp1254")]
)
def test_an_encoding_that_cannot_be_told_is_asked_for(data: Path, words: str, encoding: str):
    samples.write_csv(data / "own.csv", [row | {"body": f"{row['body']} {words}"} for row in samples.own()], encoding=encoding)
    with pytest.raises(CyborgError, match=r"own\.csv: its encoding is not UTF-8, and cannot be told.*set `encoding`"):
        prepare("own.csv")
    assert prepare("own.csv", encoding=encoding).dataset[0]["text"].endswith(words)


# --- workbooks --------------------------------------------------------------------------------------------------------------


def workbook(path: Path, **sheets: list[list]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


@pytest.mark.parametrize("name", ["own.xlsx", "own.csv"])
def test_a_workbook_is_read_whatever_its_name(data: Path, name: str):
    rows = [[*row.values(), None] for row in samples.own()]
    rows[3][2] = 9
    path = workbook(
        data / "own.xlsx", Empty=[], Essays=[["no", "body", "score", "sex", None], *rows, [None] * 5], Key=[["a"], [1]]
    )
    path.rename(data / name)
    prepared = prepare(name)
    assert prepared.counts["essays"] == 29 and prepared.exclusions["row"].tolist() == [5]
    assert "from sheet Essays of 2" in prepared.notes[0] and "`sheet`" in prepared.notes[0]
    with pytest.raises(CyborgError, match="no column"):
        prepare(name, sheet="Key")
    with pytest.raises(CyborgError, match="no sheet Other with rows; it has Essays, Key"):
        prepare(name, sheet="Other")


def test_what_is_no_workbook_is_refused_with_a_remedy(data: Path):
    pytest.importorskip("openpyxl")
    (data / "own.xlsx").write_bytes(b"PK\3\4 no zip")
    with pytest.raises(CyborgError, match=r"own\.xlsx: not readable as a workbook .*Save the sheet as CSV"):
        prepare("own.xlsx")
    (data / "own.csv").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old")
    with pytest.raises(CyborgError, match=r"own\.csv: not readable as a workbook .*Save the sheet as CSV"):
        prepare("own.csv")


# --- further header rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "further",
    [
        [["Response ID", "Please write", "Final score", "Gender"], ['{"ImportId":"_recordId"}', '{"ImportId":"QID1"}', "", ""]],
        [["    Points Possible", "", "6", ""]],
    ],
    ids=["Qualtrics", "Canvas"],
)
def test_further_header_rows_are_no_essays_and_it_is_said(data: Path, further: list[list[str]]):
    rows = table(samples.own())
    rows[4][2] = "9"
    with (data / "own.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([rows[0], *further, *rows[1:]])
    prepared = prepare("own.csv")
    assert prepared.counts["rows_read"] == 30 and prepared.exclusions["row"].tolist() == [5 + len(further)]
    assert f"without {len(further)} further header row(s)" in prepared.notes[0]
    assert [row.cells["no"] for row in files.rows(data / "own.csv")] == [f"e{i}" for i in range(30)]


# --- groups -----------------------------------------------------------------------------------------------------------------


def test_groups_read_as_unknown_are_counted_by_word_and_can_be_groups(data: Path):
    rows = [row | {"sex": ["None", "NA", "F", "", "null"][i % 5]} for i, row in enumerate(samples.own())]
    samples.write_csv(data / "own.csv", rows)
    prepared = prepare("own.csv")
    assert corpora.frame(prepared.dataset)["groups.gender"].notna().sum() == 6
    told = [re.match(r"(\d+) cell\(s\) of sex say '(\w+)' and were read as unknown", note).groups() for note in prepared.notes]
    assert told == [("6", "NA"), ("6", "None"), ("6", "null")]
    own = prepare("own.csv", missing=["", "NA"])
    assert corpora.frame(own.dataset)["groups.gender"].value_counts().to_dict() == {"None": 6, "F": 6, "null": 6}
    assert len(own.notes) == 1
    every = prepare("own.csv", missing=[])
    assert corpora.frame(every.dataset)["groups.gender"].value_counts().to_dict() == {"None": 6, "NA": 6, "F": 6, "null": 6}
    assert every.notes == [] and corpora.frame(every.dataset)["groups.gender"].isna().sum() == 6


@pytest.mark.parametrize("words", ["NA", [None], {"NA": 1}])
def test_missing_is_a_list_of_words(data: Path, words: object):
    samples.write_csv(data / "own.csv", samples.own())
    with pytest.raises(CyborgError, match="options.missing: .*must be a list"):
        prepare("own.csv", missing=words)


# --- scores -----------------------------------------------------------------------------------------------------------------


def test_labels_stand_for_scores(data: Path):
    samples.write_csv(data / "own.csv", [row | {"score": "FEDCBA"[i % 6]} for i, row in enumerate(samples.own())])
    labels = dict(zip("FEDCBA", range(1, 7), strict=True))
    assert prepare("own.csv", labels=labels).dataset["score"][:6] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(CyborgError, match=r"options.labels: A: must give a score on the scale 1-6"):
        prepare("own.csv", labels=labels | {"A": 7})


@pytest.mark.parametrize(
    "scores, line",
    [
        ("FEDCBA", r"The words A, B, C, D, E, F stand for scores: write prepare_data.options.labels: {A: ..., B: ..., C"),
        (["3-Apr", "4-May", "3"], r"Scores such as 3-Apr, 4-May are dates: a spreadsheet has made them of scores such as 3-4."),
        (["2026-04-03 00:00:00", "3"], r"Scores such as 2026-04-03 00:00:00 are dates"),
        (
            ["40", "92.5", "77"],
            r"more levels than the 52 that a Teacher can answer: write prepare_data.options.own_scale: [0, 100]",
        ),
        (["0", "7.5", "3"], r"The scores go from 0 to 7.5: write prepare_data.scale: [0, 7.5, 0.5]"),
        (["BL", "3", "OT"], r"The words BL, OT stand for scores"),
    ],
)
def test_scores_that_are_none_are_refused_with_the_line_to_write(data: Path, scores: list[str], line: str):
    samples.write_csv(data / "own.csv", [row | {"score": scores[i % len(scores)]} for i, row in enumerate(samples.own())])
    with pytest.raises(CyborgError, match=re.escape(line)):
        prepare("own.csv")


def test_an_essay_in_the_score_column_is_not_shown(data: Path):
    samples.write_csv(data / "own.csv", samples.own())
    with pytest.raises(CyborgError) as error:
        prepare("own.csv", {"score": "body"})
    assert "Text 1" not in str(error.value)


def test_groups_that_look_alike_are_pointed_out():
    assert advice.look_alikes("sex", ["Female", "FEMALE", "F", "Male", "M", "X"]) == [
        f"{names} of sex look alike, but are different groups. Write them one way." for names in ("F, FEMALE, Female", "M, Male")
    ]
    assert advice.look_alikes("grade", ["1.0", "10", "A+", "A", "Asian", "African", "A1", "a 1"]) == []
    assert len(advice.look_alikes("g", ["African American", "African  american"])) == 1


def test_look_alikes_float_ids_and_html_are_said_by_a_study(data: Path):
    rows = [
        row | {"no": f"{i}.0", "sex": ["F", "f"][i % 2], "body": f"<p>{row['body']}</p><br/>Tom&nbsp;&amp; I <3"}
        for i, row in enumerate(samples.own())
    ]
    samples.write_csv(data / "own.csv", rows)
    prepared = prepare("own.csv")
    told = " ".join(prepared.notes)
    assert "30 essay(s) hold HTML" in told and "F, f of sex look alike" in told and "All ids look like 0.0" in told
    assert prepared.dataset[0]["text"].startswith("<p>")
    strip = prepare("own.csv", markup="strip")
    assert strip.dataset["text"][:] == [f"{row['body']}\nTom & I <3" for row in samples.own()]
    assert "30 essay(s) hold HTML (tags or entities), which was taken out." in strip.notes
    assert not advice.marked_up("if a < b and b > c & d; R&D") and advice.marked_up("a <em>b</em>")
