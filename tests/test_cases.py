"""Tables as people have them: titles above the header, other scales, several raters, one writer's essays, near-duplicates."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import zipfile
from importlib import metadata
from pathlib import Path
from xml.sax.saxutils import escape

import corpus_samples as samples
import nbformat
import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora, files, headers, human_scores, near_duplicates
from cyborg_utils.extensions.scoring import predict
from cyborg_utils.stats import metrics
from cyborg_utils.study import corpus_tables


def prepare(file: str = "own.csv", changes: dict | None = None, **options) -> corpora.Prepared:
    given = {name: value for name, value in {**samples.OWN, "file": file, **options}.items() if value is not None}
    return corpora.build(samples.settings("table", groups=["gender"], options=given) | (changes or {}))


def table(rows: list[dict]) -> list[list]:
    return [list(rows[0]), *([*row.values()] for row in rows)]


def write(path: Path, rows: list[list], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, delimiter=delimiter).writerows(rows)
    return path


def workbook(path: Path, rows: list[list]) -> Path:
    """A sheet as .xlsx, or as the little of .ods that makes one."""
    if path.suffix == ".xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
        return path

    def cell(value: object) -> str:
        if isinstance(value, (int, float)):
            return (
                f'<table:table-cell office:value-type="float" office:value="{value}"><text:p>{value}</text:p></table:table-cell>'
            )
        return f'<table:table-cell office:value-type="string"><text:p>{escape(str(value))}</text:p></table:table-cell>'

    body = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text"))
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    content = f'<table:table table:name="Essays">{body}</table:table>'
    entry = f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
    manifest = (
        f'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">{entry}</manifest:manifest>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("META-INF/manifest.xml", manifest)
        archive.writestr(
            "content.xml",
            f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {spaces}><office:body><office:spreadsheet>'
            f"{content}</office:spreadsheet></office:body></office:document-content>",
        )
    return path


# --- header and sheet -------------------------------------------------------------------------------------------------------

TITLES = [["Grades of class 7b"], [], ["Course:", "English"]]


@pytest.mark.parametrize("kind", ["own.csv", "padded.csv", "semicolons.csv", "own.xlsx", "own.ods"])
def test_titles_above_the_header_are_no_header_and_rows_keep_their_numbers(data: Path, kind: str):
    rows = table(samples.own())
    rows[5][2] = 9
    above = [[*title, *[""] * (4 - len(title))] for title in TITLES] if kind == "padded.csv" else TITLES
    if kind.endswith("csv"):
        path = write(data / kind, [*above, *rows], ";" if kind == "semicolons.csv" else ",")
    else:
        path = workbook(data / kind, [*above, *rows])
    made = prepare(path.name)
    assert made.counts["essays"] == 29 and made.exclusions["row"].tolist() == [9]
    assert "with its header in row 4" in made.notes[0] and "`header`" in made.notes[0]
    assert prepare(path.name, header=4).split.equals(made.split) and not prepare(path.name, header="4").notes[0].count(
        "header in"
    )
    assert predict.count(path, predict.Columns(id="no", text="body")) == 30
    with pytest.raises(CyborgError, match=r"row 3: no column no, body, score, sex"):
        prepare(path.name, header=3)


@pytest.mark.parametrize(
    "first, row",
    [
        ([["id", "text", "score"], ["1", "a", "3"]], 1),
        ([["id", "text"], ["1", "a"], ["2", "b"]], 1),
        ([["Title"], ["id", "text"], ["1", "a"]], 1),  # two columns: a title cannot be told from a name
        ([["Title"], ["1", "some text", "3"], ["2", "other text", "4"]], 1),  # no row of names
        ([[], ["id", "text", "score"], ["1", "a", "3"]], 2),
        ([["Title"], ["id", "text", "score", ""], ["1", "a", "", ""], ["2", "b", "", ""]], 2),
        ([["id", "text"], ["a", "b", "c"]], 1),  # a ragged row
        ([["id", "text"], ["1", "no quotes", " so", " so"], ["2", "or", " so"], ["3", "x"]], 1),
    ],
)
def test_where_a_header_is(first: list[list[str]], row: int):
    assert headers.find(first).row == row


@pytest.mark.parametrize("header", [0, -1, "x", True])
def test_a_header_that_is_no_row_is_refused(data: Path, header: object):
    write(data / "own.csv", table(samples.own()))
    if header == 0 and header is not False:
        assert prepare(header=header).counts["essays"] == 30
    else:
        with pytest.raises(CyborgError, match="header"):
            prepare(header=header)


def test_a_header_below_the_end_is_refused(data: Path):
    write(data / "own.csv", table(samples.own()))
    with pytest.raises(CyborgError, match="its header cannot be row 99: it has 31 rows"):
        prepare(header=99)


def test_numbers_of_a_workbook_are_ids_and_scores_without_decimals(data: Path):
    rows = [[100 + i, row["body"], row["score"], row["sex"]] for i, row in enumerate(samples.own())]
    for name in ("own.xlsx", "own.ods"):
        made = prepare(workbook(data / name, [["no", "body", "score", "sex"], *rows]).name)
        assert made.dataset["essay_id"][:2] == ["100", "101"] and made.dataset["score"][:3] == [1, 2, 3]


def test_what_stands_in_an_object_of_json_is_a_column(data: Path):
    lines = [json.dumps({"no": row["no"], "x": row}) for row in samples.own()]
    (data / "own.jsonl").write_text("\n".join(lines))
    with pytest.raises(CyborgError, match="no column body, score.* Is it 'x.body'"):
        prepare("own.jsonl")
    made = prepare("own.jsonl", {"score": "x.score"}, text="x.body", groups={"gender": "x.sex"})
    assert made.counts["essays"] == 30 and made.dataset["groups"][0] == {"gender": "F"}


# --- scores -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, cell, prompt, score",
    [
        ({}, "4", "", 4),
        ({}, "4.0", "", 4),
        ({}, "4 / 6", "", 4),  # Google Forms
        ({}, "4.00/6", "", 4),
        ({}, "4 / 10", "", "score '4 / 10' is out of 10, but the scale ends at 6"),
        ({}, "80 %", "", "score '80 %' is a percentage, but the scale ends at 6"),
        ({}, "-", "", human_scores.UNSCORED),  # Moodle
        ({}, "NA", "", human_scores.UNSCORED),
        ({}, "7", "", "score '7' is off the scale 1-6 by 1 (6 levels)"),
        ({"labels": {"B+": 5}}, "B+", "", 5),
        ({"labels": {0: 1}}, 0.0, "", 1),
        ({"condition_codes": ["BL"]}, "BL", "", "condition code BL"),
        ({"own_scale": [0, 100]}, "0", "", 1),
        ({"own_scale": [0, 100]}, "100", "", 6),
        ({"own_scale": [0, 100]}, "49.9", "", 3),
        ({"own_scale": [0, 100]}, "50", "", 4),
        ({"own_scale": [0, 100]}, "85 %", "", 5),
        ({"own_scale": [0, 100]}, "101", "", "score '101' is off its own scale 0 to 100"),
        ({"own_scale": {1: [2, 12], 3: [0, 3]}}, "12", "1", 6),
        ({"own_scale": {1: [2, 12], 3: [0, 3]}}, "3", "3", 6),
        ({"own_scale": {1: [2, 12], 3: [0, 3]}}, "1", "3", 3),
        ({"own_scale": {1: [2, 12], 3: [0, 3]}}, "3", "8", "own_scale has no prompt '8'"),
        ({"cuts": [50, 60, 70, 80, 90]}, "49.9", "", 1),
        ({"cuts": [50, 60, 70, 80, 90]}, "50", "", 2),
        ({"cuts": [50, 60, 70, 80, 90]}, "95", "", 6),
    ],
)
def test_a_score_as_people_write_it(options: dict, cell: object, prompt: str, score: float | str):
    found, reason = human_scores.reader(options, Scale(1, 6, 1)).read(cell, prompt)
    assert reason == score if isinstance(score, str) else (found, reason) == (score, "")
    assert math.isnan(found) == isinstance(score, str)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"labels": {"A": 7}}, "labels: A: must give a score on the scale"),
        ({"own_scale": [100, 0]}, "own_scale: .100, 0.: must be the lowest and the highest score"),
        ({"own_scale": {"1": 12}}, "own_scale"),
        ({"cuts": [50, 60]}, "cuts: .50, 60.: must be 5 ascending numbers"),
        ({"cuts": [50, 60, 70, 80, 80]}, "cuts"),
        ({"cuts": [50, 60, 70, 80, 90], "own_scale": [0, 100]}, "say two things about the same scores"),
    ],
)
def test_a_wrong_declaration_of_scores_is_refused(options: dict, told: str):
    with pytest.raises(CyborgError, match=told):
        human_scores.reader(options, Scale(1, 6, 1))


def test_condition_codes_are_left_out_even_if_many(data: Path):
    write(data / "own.csv", table([row | ({"score": "BL"} if i % 3 == 0 else {}) for i, row in enumerate(samples.own())]))
    with pytest.raises(CyborgError, match=r"The word.* BL stand for scores.*or condition_codes: \[BL\]"):
        prepare()
    made = prepare(condition_codes=["BL"])
    assert made.counts["essays"] == 20 and "10 essay(s) with a condition code are left out." in made.notes
    assert made.exclusions["reason"].eq("condition code BL").all()


def test_few_scores_off_the_scale_are_said_with_the_line_to_write(data: Path):
    write(data / "own.csv", table([row | ({"score": 0} if i < 2 else {}) for i, row in enumerate(samples.own())]))
    note = next(note for note in prepare().notes if "left out" in note)
    assert note.startswith(
        "2 essay(s) are left out for their score. The scores go from 0 to 6: write prepare_data.scale: [0, 6, 1]"
    )


def test_prompts_with_scales_of_their_own_are_suggested_and_mapped(data: Path):
    ends = {"1": (2, 12), "3": (0, 3), "8": (10, 60)}
    rows = []
    for i, row in enumerate(samples.own(60)):
        prompt = list(ends)[i % 3]
        low, high = ends[prompt]
        rows.append(row | {"set": prompt, "score": [low, high][i // 3 % 2]})
    write(data / "own.csv", table(rows))
    with pytest.raises(CyborgError, match=r"own_scale: \{1: \[2, 12\], 3: \[0, 3\], 8: \[10, 60\]\}"):
        prepare(prompt="set")
    made = prepare(prompt="set", own_scale={int(prompt): [*span] for prompt, span in ends.items()})
    assert set(made.dataset["score"]) == {1, 6} and "are mapped linearly onto 1-6" in made.notes[0]


def test_a_scale_that_no_teacher_can_answer_is_refused_before_anything_is_trained(project: Path):
    study = project / "params" / "wide.yaml"
    text = paths.params_file("smoke").read_text(encoding="utf-8")
    scale = config.load("smoke").section("prepare_data")["scale"]
    study.write_text(text.replace(f"scale: {scale}", "scale: [0, 100, 1]"), encoding="utf-8")
    with pytest.raises(CyborgError, match=r"wide.yaml: prepare_data.scale: 101 levels.* options.own_scale: \[0, 100\]"):
        config.load("wide")


# --- several raters ---------------------------------------------------------------------------------------------------------


def rated(count: int = 60) -> list[dict]:
    """Essays with two people's scores, of every fourth but one, and an adjudicated one where they are far apart."""
    rows = []
    for i, row in enumerate(samples.own(count)):
        first, second = row.pop("score"), 1 + (i // 2) % 6
        one = i % 4 == 3
        far = not one and abs(first - second) > 1
        rows.append(row | {"r1": first, "r2": "" if one else second, "final": max(first, second) if far else ""})
    return rows


HALVES = {"scale": [1, 6, 0.5]}


def test_two_raters_in_columns_are_a_mean_and_their_agreement_is_that_of_people(data: Path):
    rows = rated()
    write(data / "own.csv", table(rows))
    made = prepare(changes=HALVES, raters=["r1", "r2"])
    essays = corpora.frame(made.dataset).set_index("essay_id")
    for row in rows:
        given = [score for score in (row["r1"], row["r2"]) if score != ""]
        assert essays.loc[row["no"], "score"] == np.mean(given)
        assert essays.loc[row["no"], "first_score"] == row["r1"]
    assert essays["second_score"].isna().sum() == 15
    double = [(row["r1"], row["r2"]) for row in rows if row["r2"] != ""]
    qwk = metrics.qwk(*(Scale(1, 6, 0.5).level(np.array(scores, dtype=float)) for scores in zip(*double, strict=True)), levels=11)
    people = corpus_tables.human_agreement(essays.reset_index(), Scale(1, 6, 0.5)).set_index("essays")
    assert people.loc["all", "n"] == 45 and people.loc["all", "qwk"] == pytest.approx(qwk)
    assert metrics.qwk_of_people(essays, Scale(1, 6, 0.5)) == pytest.approx(qwk)


def test_the_first_rater_counts_unless_the_score_was_adjudicated(data: Path):
    rows = rated()
    write(data / "own.csv", table(rows))
    made = prepare(raters=["r1", "r2"], combine="first", adjudication="final")
    score = dict(zip(made.dataset["essay_id"], made.dataset["score"], strict=True))
    assert score == {row["no"]: row["final"] or row["r1"] for row in rows}
    assert any(row["final"] and row["final"] != row["r1"] for row in rows)


def test_a_mean_between_two_levels_is_refused_with_the_line_to_write(data: Path):
    write(data / "own.csv", table(rated()))
    with pytest.raises(CyborgError, match=r"the mean .* is off the scale 1-6 by 1.*write prepare_data.scale: \[1, 6, 0.5\]"):
        prepare(raters=["r1", "r2"])


@pytest.mark.parametrize("adjudicated", [False, True])
def test_one_row_a_rating_gives_what_columns_give(data: Path, adjudicated: bool):
    rows, options = rated(), {"combine": "first", "adjudication": "final"} if adjudicated else {}
    write(data / "wide.csv", table(rows))
    tall = [
        {"no": row["no"], "body": row["body"], "sex": row["sex"], "person": name, "mark": row[name], "final": row["final"]}
        for name in ("r1", "r2")
        for row in rows
        if row[name] != ""
    ]
    write(data / "tall.csv", table(tall))
    wide = prepare("wide.csv", HALVES, raters=["r1", "r2"], **options)
    made = prepare("tall.csv", HALVES | {"score": "mark"}, rater="person", **options)
    names = ["essay_id", "score", "first_score", "second_score", "split", "level"]
    pd.testing.assert_frame_equal(corpora.frame(made.dataset)[names], corpora.frame(wide.dataset)[names])
    assert made.counts == {"rows_read": 105, "repeated": 45, "excluded": 0, "essays": 60}


def test_ratings_of_one_essay_with_two_texts_are_faults(data: Path):
    rows = [{"no": f"e{i // 2}", "body": samples.text(i // 2), "score": 3, "sex": "F", "person": i % 2} for i in range(60)]
    rows[1]["body"] = "another text"
    write(data / "own.csv", table(rows))
    assert prepare(rater="person").exclusions["reason"].tolist() == [
        "id stands already in ../data/own.csv, row 2, with another text or score"
    ]


def test_raters_exclude_a_second_score(data: Path):
    write(data / "own.csv", table(rated()))
    with pytest.raises(CyborgError, match="raters: says the same as second_score"):
        prepare(raters=["r1", "r2"], second_score="r2")
    with pytest.raises(CyborgError, match="options.raters: must be a list"):
        prepare(raters="r1")


def test_a_name_that_stands_twice_can_be_two_raters(data: Path):
    rows = table(rated())
    rows[0][2:4] = ["body", "score", "score"][1:]
    rows[0] = ["no", "body", "sex", "score", "score", "final"]
    write(data / "own.csv", rows)
    with pytest.raises(CyborgError, match=r"raters: \[score \(1\), score \(2\)\]"):
        prepare()
    assert prepare(raters=["score (1)", "score (2)"], combine="first").counts["essays"] == 60


def test_an_optional_score_that_is_blank_is_no_note(data: Path):
    write(data / "own.csv", table([row | {"second": "" if i else 3} for i, row in enumerate(samples.own())]))
    assert prepare(second_score="second").notes == []


# --- essays that belong together --------------------------------------------------------------------------------------------


def changed(text: str, at: int) -> str:
    words = text.split()
    words[at], words[-at - 1] = "other", "word"
    return " ".join(words)


def test_near_duplicates_share_a_split_and_their_scores_are_compared(data: Path):
    rows = [row | {"body": samples.text(i, 150)} for i, row in enumerate(samples.own(60))]
    twins = [
        row | {"no": f"k{i}", "body": changed(row["body"], 20), "score": 1 + (row["score"] % 6)} for i, row in enumerate(rows)
    ]
    write(data / "own.csv", table([*rows, *twins]))
    made = prepare()
    split = made.split["split"].to_numpy()
    assert (split[:60] == split[60:]).all() and set(split) == {"train", "dev", "test"}
    assert (made.clusters[:60] == made.clusters[60:]).all() and len(np.unique(made.clusters)) == 60
    assert "60 essay(s) share 70% or more of their word triples with another, such as e0, k0" in made.notes[0]
    assert "60 pair(s) of copies or near-duplicates have different scores, such as e0, k0" in made.notes[1]
    apart = prepare(near_duplicates=0).split["split"].to_numpy()
    assert (apart[:60] != apart[60:]).any()
    with pytest.raises(CyborgError, match="near_duplicates: 2: must be a share"):
        prepare(near_duplicates=2)


def test_a_declared_split_is_kept_and_what_straddles_it_is_said(data: Path):
    rows = [
        row | {"body": samples.text(i, 150), "part": ["train", "test"][i % 2], "student": f"S{i // 2}" if i < 6 else f"T{i}"}
        for i, row in enumerate(samples.own(60))
    ]
    rows[1]["body"] = changed(rows[0]["body"], 20)
    write(data / "own.csv", table(rows))
    made = prepare(changes={"test": 0}, split="part", writer="student")
    assert (made.split["split"] == "test").tolist() == [row["part"] == "test" for row in rows]
    assert "1 pair(s) of near-duplicates stand on both sides of the split that the table brings." in made.notes
    assert "3 writer(s) stand on both sides of the split that the table brings." in made.notes


def test_similarity_is_that_of_word_triples():
    one = " ".join(f"w{i}" for i in range(100))
    other = " ".join(f"w{i}" for i in range(10, 110))  # 88 of 108 triples in common
    assert list(near_duplicates.pairs([one, other, "short"], 88 / 108)) == [(0, 1)]
    assert list(near_duplicates.pairs([one, other], 89 / 108)) == []
    assert list(near_duplicates.pairs(["", "", "a b", "a b"])) == [(0, 1), (2, 3)]


def test_what_is_linked_has_one_key_and_the_rest_keep_theirs():
    keys = np.array([4, 2, 2, 9, 7, 0])
    assert near_duplicates.together(keys).tolist() == keys.tolist()
    assert near_duplicates.together(keys, [(0, 3)], [(3, 4)]).tolist() == [4, 2, 2, 4, 4, 0]
    assert near_duplicates.together(keys, near_duplicates.same(["a", "", "b", "a", "", "b"])).tolist() == [4, 0, 0, 4, 7, 0]


def test_a_writer_is_in_one_split_and_can_name_the_essays(data: Path):
    rows = [row | {"student": f"S{i // 3}" if i < 90 else ""} for i, row in enumerate(samples.own(96))]
    write(data / "own.csv", table(rows))
    made = prepare(writer="student")
    joined = made.split.assign(writer=[row["student"] for row in rows])
    assert joined[joined["writer"] != ""].groupby("writer")["split"].nunique().max() == 1
    assert "30 writers wrote 96 essays; the essays of a writer share a split." in made.notes
    plain = prepare().split.assign(writer=[row["student"] for row in rows])
    assert plain[plain["writer"] != ""].groupby("writer")["split"].nunique().max() > 1
    write(data / "own.csv", table([{"sid": f"S{i // 3}", **row} for i, row in enumerate(samples.own(90))]))
    with pytest.raises(CyborgError, match="If the ids are those of writers, write writer: in place of id:"):
        prepare(id="sid")
    named = prepare(id=None, writer="sid")
    assert named.split["essay_id"].tolist()[:4] == ["S0-1", "S0-2", "S0-3", "S1-1"] and named.counts["essays"] == 90


def test_without_such_relations_nothing_changes(data: Path):
    write(data / "own.csv", table([row | {"student": f"S{i}"} for i, row in enumerate(samples.own(80))]))
    plain = prepare(near_duplicates=0)
    assert prepare().split.equals(plain.split) and prepare(writer="student").split.equals(plain.split)


@pytest.mark.parametrize("profile", ["demo", "ellipse"])
def test_the_splits_of_committed_studies_are_as_they_were(profile: str):
    try:
        made = corpora.prepare(profile).split
    except CyborgError as error:
        pytest.skip(str(error)[:80])
    committed = pd.read_csv(paths.results(profile, "scores", "essays.csv"), dtype=str, keep_default_na=False)
    assert made.reset_index(drop=True).equals(committed[["essay_id", "split"]])


# --- circumstances ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "old, new, encoding, words",
    [
        ("", "", "utf-8-sig", ""),
        ("\n", "\r\n", "utf-8", ""),
        ("  corpus: table", "\tcorpus: table", "utf-8", r"found character '\\t'.*line 11"),
        ("My essays", "Prüfung", "latin-1", "save it as UTF-8"),
        ("", "", "utf-16", "save it as UTF-8"),
        ("My essays", "My essays: class 7b", "utf-8", "line 4.*Put words with a colon into quotation marks"),
        ("4.0e-04", "4e-4", "utf-8", r'learning_rate: .*write "2\.0e-05"'),
        ("fraction: 0.10", "fraction: 10", "utf-8", r"runs\.0\.fraction: 10 is not less than 1"),
        ("fraction: 0.10", "fraction: 10%", "utf-8", r"runs\.0\.fraction: .*Write 0\.1\."),
        ("scale: [1, 6, 1]", "scale: [F, A, 1]", "utf-8", r"prepare_data\.scale\.0: 'F' .*options\.labels"),
        ("scale: [1, 6, 1]", "scale: [0, 100, 1]", "utf-8", r"101 levels.*own_scale: \[0, 100\]"),
    ],
)
def test_a_study_file_as_people_save_it(project: Path, old: str, new: str, encoding: str, words: str):
    text = (project / "params" / "mine.yaml").read_text(encoding="utf-8")
    (project / "params" / "Müller_7b.yaml").write_bytes((text.replace(old, new) if old else text).encode(encoding))
    if words:
        with pytest.raises(CyborgError, match=f"(?s)params/Müller_7b.yaml: .*{words}"):
            config.load("Müller_7b")
    else:
        assert config.load("Müller_7b").section("prepare_data") == config.load("mine").section("prepare_data")


def test_a_study_file_with_another_ending_or_an_odd_name_is_told(project: Path):
    (project / "params" / "mine.yaml").rename(project / "params" / "mine.yml")
    with pytest.raises(CyborgError, match=r"mine.yml is there. Rename it to mine.yaml"):
        config.load("mine")
    with pytest.raises(CyborgError, match="'Klasse 7 b' cannot be the name of a study"):
        config.load("Klasse 7 b")


def test_a_checkout_has_unix_line_ends_whatever_git_is_set_to(tmp_path: Path):
    """As Git for Windows is set up, which WSL and Docker then see."""
    made = tmp_path / "repository"
    made.mkdir()
    for name in (".gitattributes", "Makefile", "pyproject.toml", "tools/set_up.py"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_bytes((paths.CHECKOUT / name).read_bytes())
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true"]
    for call in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run(["git", *who, *call], cwd=made, check=True)
    subprocess.run(["git", *who, "clone", "-q", made, tmp_path / "clone"], check=True)
    for name in ("Makefile", "pyproject.toml", "tools/set_up.py"):
        assert b"\r" not in (tmp_path / "clone" / name).read_bytes(), name


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.12.0", "3.13.0"])
def test_every_locked_package_accepts_every_python_that_is_promised(python: str):
    """By the metadata of what is installed here; `make check-lock` asks the index, for other machines too."""
    for line in (paths.CHECKOUT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        pin = None if line.startswith("#") else Requirement(line)
        if pin is None or pin.marker is not None:  # a marker may exclude this Python
            continue
        told = metadata.metadata(pin.name)
        if str(pin.specifier) == f"=={told['Version']}" and told["Requires-Python"]:
            assert python in SpecifierSet(told["Requires-Python"]), f"{line} needs Python {told['Requires-Python']}"


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/extensions"])
@pytest.mark.parametrize("name", ["01_prepare_data", "15_label_your_essays"])
def test_a_notebook_that_is_opened_directly_finds_its_study(monkeypatch, folder: str, name: str):
    """Jupyter starts a kernel in the notebook's folder, papermill in the caller's; the first cells are executed as they are."""
    monkeypatch.delenv("CYBORG_HOME", raising=False)
    monkeypatch.chdir(paths.CHECKOUT / folder)
    cells = [cell for cell in nbformat.read(paths.notebook(name), 4).cells if cell.cell_type == "code"]
    assert "parameters" in cells[0].metadata["tags"]
    space: dict = {}
    for cell in cells[:2]:
        exec(cell.source, space)
    assert space["study"].profile == "demo" and paths.results("demo") == paths.CHECKOUT / "results" / "demo"


def test_one_list_of_what_is_found_out():
    from cyborg_utils.run import cli

    assert set(cli.READING) == set(files.READING) <= set(predict.Columns.__dataclass_fields__)
