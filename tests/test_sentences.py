"""Single cells of notebooks, on numbers made for them: they must not claim more than these show, nor compare unlike things."""

from __future__ import annotations

import types

import nbformat
import numpy as np
import pandas as pd
import pytest

from cyborg_utils.core import paths
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import attacks, teacher_quality
from cyborg_utils.plots.style import label
from cyborg_utils.stats import calibration, fairness

NOTEBOOKS = {file.stem: file for file in paths.notebooks()}


def run(notebook: str, cells: list[str], **names: object) -> dict[str, object]:
    """The namespace of these names after these cells of a notebook; what they display is the list `shown`."""
    sources = {cell.id: cell.source for cell in nbformat.read(NOTEBOOKS[notebook], as_version=4).cells}
    shown: list[str] = []
    names |= {"shown": shown, "display": shown.append, "Markdown": str, "pd": pd}
    for cell in cells:
        exec(sources[cell], names)
    return names


def said(notebook: str, cells: list[str], **names: object) -> str:
    """What these cells display."""
    return "\n".join(run(notebook, cells, **names)["shown"])


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
    text = said("03_label_essays", ["cell-09"], fairness=fairness, pool=pool(shift), scale=Scale(1, 6), seed=1)
    assert told in text and f"the essays here show {seen}" in text


def test_00_names_the_difference_between_teacher_and_student():
    columns = ["fraction", "student", "head", "system", "baseline", "seeds", "qwk", "qwk_baseline", "difference", "low", "high"]
    rows = [(0.1, "s", "h", "cyborg", "human", 1, 0.70, 0.65, 0.05, 0.01, 0.09)]
    rows.append((0.1, "s", "h", "teacher", "human", 1, 0.52, 0.65, -0.129, -0.2, -0.06))
    report = types.SimpleNamespace(read_table=lambda *_: pd.DataFrame(rows, columns=columns))
    text = said("00_overview", ["words"], report=report, profile="demo", student="s", head="h", label=label)
    assert "QWK is 0.129 lower than that of the Student on human scores alone (-0.129 [-0.200, -0.060])" in text


def traits_of(gained: pd.DataFrame, table_gap: pd.DataFrame, mixed: str) -> str:
    rows = [("Ideas", "human", 0.5), ("Words", "human", 0.5), ("Ideas", mixed, 0.6), ("Words", mixed, 0.5)]
    shared = pd.DataFrame(rows[2:] if gained.empty else rows, columns=["trait", "labels", "qwk"])
    short = pd.DataFrame(columns=["attribute", "verdict", "smd_low"])
    names = {"trait": types.SimpleNamespace(gains=lambda *_, **__: gained), "raters": None, "options": {}, "label": str}
    names |= {"shared": shared, "table_gap": table_gap, "mixed": mixed, "short": short, "fairness": fairness}
    return said("08_score_traits", ["learned", "finding"], **names)


def test_08_counts_traits_by_their_intervals_and_says_what_cannot_be_told():
    gap = ["trait", "student", "labels", "gap_closed", "low", "high", "resolved"]
    gained = pd.DataFrame([("Ideas", 0.1, 0.02, 0.2), ("Words", 0.01, -0.1, 0.1)], columns=["trait", "change", "low", "high"])
    closed = pd.DataFrame([("Ideas", "all traits", "cyborg", 0.8, 0.5, 1.1, True)], columns=gap)
    text = traits_of(gained, closed, "cyborg")
    assert "raise QWK beyond chance for 1 of 2 traits, by +0.055" in text and "close 80% [50%, 110%] (Ideas)." in text
    assert "no gap to all human scores is beyond chance." in traits_of(gained, closed.assign(resolved=False), "cyborg")
    alone = traits_of(gained[:0], pd.DataFrame(columns=gap), "cyborg")  # as `agreement.gaps` gives it without a pair
    assert "nan" not in alone and "cannot be told without Students on `human`" in alone and "no gap" not in alone


def teachers_of(high: float) -> str:
    readings = ["probability", "most likely", "expected", "expected, matched"]
    top = pd.DataFrame({"teacher": "T", "share": 0.1, "reading": readings, "ratio": 1.1, "low": 0.2, "high": high})
    names = {"table_top": top, "best": ("T", 0.1), "reached": "0.6", "compared": "the highest of the 2 compared"}
    return said("09_compare_teachers", ["top-say", "finding"], teacher_quality=teacher_quality, **names)


def test_09_a_wide_interval_proves_no_equality():
    text = teachers_of(high=4.0)
    assert "not shown to be rarer" in text and "as often as" not in text
    assert "over people: 1.10 [0.20, 4.00] by its probabilities" in text and "the highest of the 2 compared" in text
    text = teachers_of(high=float("nan"))  # few high scores: a ratio, but no interval
    assert "too few high scores here for a comparison" in text and "nan" not in text


def test_13_names_the_run_and_that_the_attack_is_the_best_of_many():
    bare = pd.DataFrame(
        [("S", "a", 0.1, 0.05, 0.15), ("S", "b", 0.2, 0.1, 0.3)], columns=["scorer", "attack", "rise", "low", "high"]
    )
    names = {"bare": bare, "attacks": attacks, "sample": range(100), "name": types.SimpleNamespace(run="u25_s1")}
    text = said("13_attack_scorer", ["finding"], labels="cyborg", **names)
    assert f"Of {len(attacks.ATTACKS)} attacks on 100 test essays (run u25_s1, cyborg labels)" in text
    assert "S +0.20 [+0.10, +0.30] (b)" in text


def test_13_reads_the_teacher_as_it_reads_the_students(tmp_path):
    ids = [f"e{at}" for at in range(10)]
    dev = pd.DataFrame({"essay_id": ids, "score": [1.0, 5.0] * 5})
    given = pd.DataFrame({"essay_id": ids, "expected": [2.5, 3.5] * 5})  # drawn to the middle
    texts, sample = {"": ["t"] * 2, "chat markers": ["u"] * 2}, pd.DataFrame({"essay_id": ["x", "y"], "assignment": ""})
    tokenizer = types.SimpleNamespace(all_special_ids=[])
    reader = types.SimpleNamespace(model=None, tokenizer=tokenizer, max_tokens=9, encode=lambda *_: ([[1]] * 2, None))
    teacher = types.SimpleNamespace(
        saved=lambda _: (None, "", "m"), load=lambda *_, **__: reader, Teacher=lambda *_, **__: reader
    )
    teacher.score = lambda _, long, **__: long[["essay_id"]].assign(expected=np.where(long["attack"] == "", 3.0, 3.25))
    names = {"teacher": teacher, "prompt": types.SimpleNamespace(Prompt=lambda *_, **__: None), "attacks": attacks}
    names |= {"paths": types.SimpleNamespace(build=lambda *_: tmp_path), "name": types.SimpleNamespace(run="u10_s1")}
    names |= {"dev": dev, "given": given, "texts": texts, "sample": sample, "scale": Scale(1, 5), "calibration": calibration}
    found = pd.concat(run("13_attack_scorer", ["teacher"], profile="demo", found=[], **names)["found"])
    assert found.groupby("attack")["value"].unique().map(list).to_dict() == {"": [3.0], "chat markers": [4.0]}
    assert found.loc[found["attack"] == "chat markers", "level"].eq(3).all() and len(found) == 12
