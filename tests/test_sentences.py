"""The study's sentences, on numbers made for them: they must not claim more than these show, nor compare unlike things."""

from __future__ import annotations

import types

import nbformat
import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import config, paths
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats import fairness
from cyborg_utils.study import sentences

NOTEBOOKS = {file.stem: file for file in paths.notebooks()}


@pytest.mark.parametrize(
    "name", ["08_score_traits", "09_compare_teachers", "10_transfer_corpora", "12_score_essays", "13_attack_scorer"]
)
def test_a_notebook_leads_to_the_one_with_the_next_number(name):
    cells = nbformat.read(NOTEBOOKS[name], as_version=4).cells
    following = [*NOTEBOOKS][[*NOTEBOOKS].index(name) + 1]
    table = next(line for line in cells[0].source.splitlines() if line.startswith("| Next |"))
    assert f"({following}.ipynb)" in table and f"({following}.ipynb)" in cells[-1].source


def pool(shift: list[int]) -> pd.DataFrame:
    """100 essays in the middle of the scale; the Teacher's level is off by these numbers, again and again."""
    human = np.tile([2, 3], 50)
    return pd.DataFrame({"level_human": human, "level": human + np.resize(shift, 100)})


@pytest.mark.parametrize(
    "shift, told, seen",
    [
        ([-1], "**stricter than people**", "**strictness**"),
        ([1, 0], "**more lenient than people**", "**neither**"),
        ([1, -1, 0, 0, -1, 1, 0, 0, 0, -1], "**not shown to differ from people**", "**neither**"),  # -0.1, by chance
    ],
)
def test_03_calls_a_teacher_strict_only_beyond_chance(shift, told, seen):
    essays = pool(shift)
    found = fairness.suppression(essays["level_human"], essays["level"], scale=Scale(1, 6), seed=1)
    text = sentences.strictness(found)
    assert told in text and f"the essays here show {seen}" in text


def test_00_names_the_difference_between_teacher_and_student():
    columns = ["fraction", "n_human", "n_dev", "student", "head", "system", "baseline", "seeds", "qwk", "qwk_baseline"]
    columns += ["difference", "low", "high"]
    rows = [(0.1, 160, 100, "s", "h", "cyborg", "human", 1, 0.70, 0.65, 0.05, 0.01, 0.09)]
    rows.append((0.1, 160, 100, "s", "h", "cyborg", "human+dev", 1, 0.70, 0.69, 0.01, -0.02, 0.04))
    rows.append((0.1, 160, 100, "s", "h", "teacher", "human", 1, 0.52, 0.65, -0.129, -0.2, -0.06))
    rows.append((0.1, 160, 100, "other", "h", "cyborg", "human", 2, 0.10, 0.20, -0.1, -0.2, -0.1))
    text = sentences.headline(pd.DataFrame(rows, columns=columns), student="s", head="h")
    assert "QWK is 0.129 lower than that of the Student on human scores alone (-0.129 [-0.200, -0.060])" in text
    assert "With **160 human scores (60 + 100 for development)**, QWK 0.650 alone, 0.700 on Cyborg Data: +0.050" in text
    assert "0.200 alone" not in text and "from the development essays too has 0.690: +0.010 [-0.020, +0.040]" in text


def test_00_says_where_there_is_no_gap_to_close():
    columns = ["fraction", "n_human", "n_dev", "student", "head", "labels", "gap_closed", "low", "high", "resolved"]
    rows = [(0.1, 60, 0, "s", "h", "cyborg", 0.9, 0.7, 1.1, True), (0.25, 150, 0, "s", "h", "cyborg", 3, np.nan, np.nan, False)]
    table = pd.DataFrame(rows)
    text = sentences.headline_gaps(table.set_axis(columns, axis=1), student="s", head="h")
    assert (
        "60 human scores, cyborg: **90%** [70%, 110%]" in text
        and "150 human scores, cyborg: no gap that these essays could show" in text
    )
    assert "no Student on all human scores" in sentences.headline_gaps(pd.DataFrame(columns=columns), student="s", head="h")


def test_00_describes_a_study_by_its_file():
    sizes = pd.DataFrame({"split": ["train", "dev", "test", "all"], "essays": [1800, 271, 500, 2571]})
    text = sentences.study_facts(config.load("ellipse"), sizes)
    assert "| Human scores kept | 10% (seeds 1, 2, 3); 25% (seed 1) |" in text and "1,800 training (X), 271 development" in text


def test_00_takes_titles_from_the_notebooks_and_links_the_copies():
    copies = [
        "02_finetune_teacher_u25_s1.ipynb",
        "02_finetune_teacher_u10_s1.ipynb",
        "00_overview.ipynb",
        "01_prepare_data.ipynb",
    ]
    text = sentences.notebook_map(["01_prepare_data", "02_finetune_teacher", "11_cost"], copies).splitlines()
    assert text[2] == "| 1 · The essays, and which of them keep a human score | [open](01_prepare_data.ipynb) |"
    assert "[u10_s1](02_finetune_teacher_u10_s1.ipynb), [u25_s1](02_finetune_teacher_u25_s1.ipynb) |" in text[3]
    assert text[4].startswith("| 11 · ") and text[4].endswith("| not run |")


def test_00_names_machines_once_and_what_was_not_run():
    made = {"processor": "P", "cores": 2, "memory_gib": 8, "gpu": "none"}
    records = pd.DataFrame({"seconds": [60.0, 120.0, 30.0], "hardware": [made, made, made | {"cores": 4}]})
    text = sentences.machines(records)
    assert text == "In all 4 minutes, on: P, 2 cores, 8 GiB, GPU: none; P, 4 cores, 8 GiB, GPU: none."
    text = sentences.not_run(["u10_s2"], [], comparable=False)
    assert "without scores: u10_s2." in text and "without a file: none." in text and "`persuade`" in text
    assert "`persuade`" not in sentences.not_run([], ["table_groups"], comparable=True)


@pytest.mark.parametrize(
    "test, told", [(3.02, "0.02 SD in their mean score: the parts are alike."), (2.5, "**the parts are not alike**")]
)
def test_01_compares_the_splits(test, told):
    table = pd.DataFrame({"split": ["train", "test", "all"], "mean_score": [3.0, test, 3.0], "sd": 1.0})
    assert told in sentences.splits_alike(table)


def test_01_describes_scores_groups_and_rows():
    text = sentences.score_shape(pd.Series([1, 2, 2, 2, 3, 5.0]), Scale(1, 6))
    assert "**2**, with 50% of the essays; the two highest scores together have 16.7%. No essay has 4, 6." in text
    assert sentences.score_shape(pd.Series([1.0, 2.0]), Scale(1, 2)).endswith("Every score of the scale occurs.")
    groups = pd.DataFrame({"attribute": "grade", "group": ["8", "12", "not recorded"], "test": [10, 9, 1]})
    assert sentences.small_groups(groups).endswith("never judged: grade 12 (9).")
    assert sentences.small_groups(groups[:1]) == "Every group has at least 10 test essays."
    assert "names no writer groups" in sentences.small_groups(groups[:0])
    counts = {"rows_read": 1200, "essays": 1100, "excluded": 99, "repeated": 1}
    split = pd.DataFrame({"split": ["train"] * 1000 + ["test"] * 100})
    text = sentences.rows_read(types.SimpleNamespace(counts=counts, notes=["a note"], split=split))
    assert "**1,200** rows read = **1,100** essays + 99 left out + 1 further rows" in text and text.endswith("- a note")
    text = sentences.rows_read(types.SimpleNamespace(counts=counts, notes=[], split=split.replace("train", "pool")))
    assert "**100 essays have a human score, 1,000 have none.** Notebook 15" in text


def test_01_shows_a_simulated_essay_of_the_training_split():
    row = {"prompt": "P", "assignment": "A", "second_score": 3.0, "true_score": 3.21}
    essays = pd.DataFrame(
        [row | {"split": "train", "score": 4.0, "text": "one\ntwo"}, row | {"split": "test", "score": 1.0, "text": "x"}]
    )
    assert sentences.one_essay(essays).endswith("Human score **4**, second rater 3, true quality 3.21\n\n> one\n> two")


def test_01_names_scores_with_too_few_examples():
    table = pd.DataFrame({"run": ["a", "b"], "fraction": 0.1, "seed": 1, "human_scores": 9, "pool": 81, "1": [2, 3], "2": [7, 6]})
    text = sentences.subsets(table, nested=1)
    assert "on 1 pair(s) of runs" in text and "score(s) 1 have fewer than three examples" in text
    assert sentences.subsets(table.assign(**{"1": 3}), nested=0) == "One share a seed: nothing to compare."


def test_02_says_what_a_limit_cuts_off():
    text = sentences.prompt_lengths([[1] * 100, [1] * 120, [1] * 180], [0, 0, 100], max_tokens=80)
    assert "median prompt has 120 tokens, the longest 180. **33%** of the essays are longer than 80 tokens" in text
    assert "20.0% of all tokens" in text


def test_02_tells_failed_attempts_and_the_epoch_that_was_kept():
    columns = ["attempt", "epoch", "qwk", "r", "smd", "best"]
    rows = [(1, 1, 0.0, 0.1, 0.2, False), (2, 1, 0.61, 0.7, -0.12, True), (2, 2, 0.6, 0.7, -0.1, False)]
    curve = pd.DataFrame(rows, columns=columns)
    text = sentences.teacher_curve(curve, failed=0.2)
    assert "Attempt 1 **failed**: its best QWK on the development split was 0.000." in text and "This Teacher failed" not in text
    assert "Kept: epoch **1**, QWK = 0.610, r = 0.700" in text and "Later epochs were worse." in text
    assert "0.12 SD stricter than people's" in text
    text = sentences.teacher_curve(curve.assign(qwk=np.nan, best=[False, False, True], smd=0.1), failed=0.2)
    assert "**This Teacher failed** in all of 2 attempt(s)" in text and "more epochs might still help" in text
    assert "0.10 SD more lenient" in text


@pytest.mark.parametrize(
    "qwk, r, told",
    [
        (0.6, 0.7, "Both rose"),
        (0.4, 0.5, "**Both fell: here the frozen Teacher is the better one**"),
        (0.6, 0.5, "Which is better they do not tell"),
    ],
)
def test_02_says_what_training_from_the_frozen_start_changed(qwk, r, told):
    curve = pd.DataFrame({"epoch": [0, 1, 2], "qwk": [0.5, 0.9, qwk], "r": [0.6, 0.9, r]})
    text = sentences.teacher_left_out(curve, essays=60)
    assert told in text and f"QWK = 0.500, r = 0.600 of the frozen Teacher, and QWK = {qwk:.3f}, r = {r:.3f} after 2" in text
    alone = sentences.teacher_left_out(curve[:1], essays=60)
    assert alone == "The frozen Teacher on the 60 essays of U, by leave-one-out: QWK = 0.500, r = 0.600."


def test_02_states_the_condition_of_the_method():
    assert "**so far the condition is met.**" in sentences.condition(0.7, 0.6, essays=180)
    text = sentences.condition(0.6, 0.6, essays=180)
    assert "Ridge on the same 180 essays: r = 0.600; the Teacher: r = 0.600." in text and "is not met here" in text
    assert "is not met here" in sentences.condition(float("nan"), 0.6, essays=180)  # everyone got the same score


@pytest.mark.parametrize(
    "sure, told", [(0.9, "**too sure of itself**"), (0.2, "**less sure than it could be**"), (0.52, "as sure as it is right")]
)
def test_03_compares_confidence_and_accuracy(sure, told):
    text = sentences.confidence(pd.DataFrame({"confidence": sure, "correct": [True, False]}), smoothed=True)
    assert told in text and "exactly right 50%" in text and text.endswith("Smoothed targets ask for modest confidence.")


def test_every_notebook_ends_with_a_recap_of_three_lines_before_its_record():
    for stem, file in NOTEBOOKS.items():
        cells = nbformat.read(file, as_version=4).cells
        heading, code, record = (cells[at] for at in (-5, -4, -3))
        assert (heading.source, record.source) == ("## Recap", "## Record of this run"), stem
        assert f'recap("{stem}", ' in code.source and code.source.splitlines()[-1].startswith("display(Markdown("), stem
        names = {line.split(" = ")[0] for line in code.source.splitlines()[:-1]}
        assert names <= {"said", "gist", "finding"}, stem  # a record may use any other name
        asked, found, doubt = sentences.recap(stem, "QWK rose.").splitlines()
        assert (asked[:12], found, doubt[:12]) == ("- **Asked.**", "- **Found.** QWK rose.", "- **Doubt.**"), stem
        assert asked.endswith("?") and doubt.endswith(".") and not any(map(str.isdigit, asked)), stem


def test_01_counts_what_is_paid_for_by_share():
    sizes = pd.DataFrame({"split": ["train", "dev", "test", "all"], "essays": [1800, 271, 500, 2571]})
    subsets = pd.DataFrame({"run": ["u10_s1", "u10_s2", "u25_s1"], "human_scores": [180, 180, 450]})
    assert sentences.essays_paid_for(sizes, subsets) == (
        "Of 2,571 essays 1,800 are to train on and 500 to test on. Paid for: 451 human scores (180 + 271 for development) in "
        "2 runs, 721 human scores (450 + 271 for development) in 1 run."
    )


@pytest.mark.parametrize("smd, told", [(-0.2, "0.20 SD below"), (0.1, "0.10 SD above")])
def test_03_sums_up_the_teacher_as_a_rater(smd, told):
    rows = [("pool", "most likely", 0.5, smd), ("test", "most likely", 0.6, 0.3), ("test", "expected, matched", 0.7, 0.3)]
    text = sentences.teacher_as_rater(pd.DataFrame(rows, columns=["part", "reading", "qwk", "smd"]))
    assert "most likely score has QWK 0.600, its expected score, matched, 0.700." in text and f"{told} people's." in text


def test_04_names_the_first_student_by_its_labels():
    rows = [("m", "frozen", "human", 0.4), ("m", "frozen", "cyborg", 0.6), ("m", "regression", "cyborg", 0.9)]
    table = pd.DataFrame([*rows, ("ridge", "regression", "human", 0.3)], columns=["student", "head", "labels", "qwk"])
    assert sentences.by_labels(table) == "QWK of m, frozen head, on the test essays: 0.400 on `human`, 0.600 on `cyborg`."


def test_04_compares_the_students_of_a_run():
    rows = [("m", "regression", "human", 0.6), ("m", "regression", "cyborg", 0.7), ("m", "regression", "cyborg-staged", 0.65)]
    rows += [("ridge", "regression", "human", 0.61), ("ridge", "regression", "cyborg", 0.62)]
    table = pd.DataFrame(rows, columns=["student", "head", "labels", "qwk"])
    text = sentences.students(table, failure=0.2)
    assert "0 of 3 networks failed (QWK not above 0.2)." in text
    assert "1 of 3 networks failed (QWK not above 0.6): human (m, regression). A" in sentences.students(table, failure=0.6)
    assert "**cyborg**, regression, QWK 0.700" in text and "cyborg 0.700, +0.100 against human scores alone" in text
    assert "1 of 2 networks beat the classical Student" in text  # nobody is beside the staged one
    assert "against human scores" not in sentences.students(table.iloc[[0, 3]].assign(labels="full"), failure=0.2)
