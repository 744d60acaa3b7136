"""The labs of teaching/: solutions pass every check, gaps and plausible wrong answers fail theirs, and each lab is quick.

The cells run in this process, one lab once; an answer is then tried in a copy of the names as they stood at its exercise.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from conftest import CHECKOUT
from lab_answers import WRONG

pytest.importorskip("nbgrader", reason="nbgrader is not installed")
spec = importlib.util.spec_from_file_location("labs", CHECKOUT / "tools" / "labs.py")
labs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(labs)

LABS = labs.labs()
WRONG_ANSWERS = [(lab, name, at) for lab, by in WRONG.items() for name, given in by.items() for at in range(len(given))]


class Solved(NamedTuple):
    """A lab that has run: names before each exercise, source of each check, processor seconds."""

    before: dict[str, dict[str, Any]]
    checks: dict[str, str]
    seconds: float


def cells(notebook: nbformat.NotebookNode, kind: str) -> dict[str, nbformat.NotebookNode]:
    """nbgrader's cells by grade_id: kind "solve" (an exercise in code), "check", or "answer" (in words)."""
    found = {}
    for cell in notebook.cells:
        if mark := cell.metadata.get("nbgrader"):
            own = "answer" if cell.cell_type == "markdown" else "solve" if mark["solution"] else "check"
            found |= {mark["grade_id"].removeprefix("check_"): cell} if own == kind else {}
    return found


def run(source: str, names: dict[str, Any]) -> None:
    exec(compile(source, "lab", "exec"), names)


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """A function that runs a lab's solutions, once, where no data can be read and no network reached."""
    done: dict[str, Solved] = {}

    def no_network(*_: object, **__: object) -> None:
        raise OSError("a lab asked for the network")

    def of(lab: str) -> Solved:
        if lab not in done:
            names, before, checks, start = {"__name__": "lab"}, {}, {}, time.process_time()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CYBORG_DATA_DIR", str(tmp_path_factory.mktemp("no_data")))
                patch.setattr(socket.socket, "connect", no_network)
                for cell in labs.source(lab).cells:
                    if cell.cell_type != "code":
                        continue
                    name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
                    if name.startswith("check_"):
                        checks[name.removeprefix("check_")] = cell.source
                    elif name:
                        before[name] = dict(names)
                    run(cell.source, names)
            done[lab] = Solved(before, checks, time.process_time() - start)
        return done[lab]

    return of


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A function that gives a lab's student version, made by nbgrader."""
    out = tmp_path_factory.mktemp("labs")
    return lambda lab: nbformat.read(labs.student_version(lab, out), as_version=4)


@pytest.mark.parametrize("lab", LABS)
def test_the_solutions_pass_every_check_in_time(lab, solved):
    found = solved(lab)
    assert found.before.keys() == found.checks.keys() and len(found.checks) >= 4
    assert found.seconds < labs.LIMIT


@pytest.mark.parametrize("lab", LABS)
def test_an_exercise_that_is_not_done_fails_its_check(lab, solved, student):
    gaps, done = cells(student(lab), "solve"), solved(lab)
    assert gaps.keys() == done.checks.keys()
    for name, gap in gaps.items():
        names = dict(done.before[name])
        with pytest.raises((NotImplementedError, AssertionError)):  # the gap itself, where it is no function, or the check
            run(gap.source, names)
            run(done.checks[name], names)


@pytest.mark.parametrize("lab, name, at", WRONG_ANSWERS)
def test_a_wrong_answer_fails_the_check(lab, name, at, solved):
    names = dict(solved(lab).before[name])
    run(WRONG[lab][name][at], names)
    with pytest.raises((AssertionError, IndexError, ValueError)):
        run(solved(lab).checks[name], names)


@pytest.mark.parametrize("lab", LABS)
def test_every_exercise_has_wrong_answers_and_stands_in_the_teachers_page(lab):
    source = labs.source(lab)
    assert WRONG[lab].keys() == cells(source, "solve").keys()
    page = (CHECKOUT / "teaching" / "teacher" / f"{lab}.md").read_text(encoding="utf-8")
    assert [name for name in [*cells(source, "solve"), *cells(source, "answer")] if f"`{name}`" not in page] == []
    for heading in ("## Goals", "## Time", "## Common mistakes", "## To discuss"):
        assert heading in page


@pytest.mark.parametrize("lab", LABS)
def test_the_student_version_has_no_solution_and_the_source_no_output(lab, student):
    source, given = labs.source(lab), student(lab)
    text = "\n".join(cell.source for cell in given.cells)
    for cell in [*cells(source, "solve").values(), *cells(source, "answer").values()]:
        inside = cell.source.split("### BEGIN SOLUTION")[-1].split("### END SOLUTION")[0]
        assert max((line.strip() for line in inside.splitlines()), key=len) not in text
    assert "SOLUTION" not in text and labs.GAP.splitlines()[1] in text and "YOUR ANSWER HERE" in text
    assert {name: cell.source for name, cell in cells(given, "check").items()} == {
        name: cell.source for name, cell in cells(source, "check").items()
    }
    assert all(cell.metadata["slideshow"]["slide_type"] for cell in source.cells)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in source.cells)


@pytest.mark.slow
def test_one_command_makes_everything_and_nbgrader_validates(tmp_path, monkeypatch):
    lab = LABS[0]
    monkeypatch.setattr(labs, "OUT", tmp_path / "build")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    assert labs.main([lab, "--no-npm"]) == 0
    page = (tmp_path / "build" / "slides" / f"{lab}.slides.html").read_text(encoding="utf-8")
    assert page.count("<section") > 15 and 'alt="Two curves of QWK' in page and labs.NO_ALT not in page
    solved_cells = nbformat.read(tmp_path / "build" / "solutions" / f"{lab}.ipynb", as_version=4).cells
    assert any(cell.get("outputs") for cell in solved_cells) and "NotImplementedError" not in str(solved_cells)

    def validated(file: Path) -> str:
        call = [sys.executable, "-m", "nbgrader", "validate", str(file)]
        return subprocess.run(call, capture_output=True, text=True, cwd=tmp_path).stdout

    assert "Success" in validated(labs.SOURCE / lab / f"{lab}.ipynb")
    assert "VALIDATION FAILED ON" in validated(tmp_path / f"build/student/{lab}/{lab}.ipynb")
