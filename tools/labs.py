"""Make the labs of teaching/ for a course, in build/labs: student versions, solutions with their outputs, slides.

    .venv/bin/python tools/labs.py [LAB ...] [--no-npm]

The one source of a lab is teaching/source/LAB/LAB.ipynb, in nbgrader's format. nbgrader takes the solutions out (student/), and
nbconvert runs the source and writes it as a notebook, a page (solutions/) and slides (slides/). With npm, the slides' JavaScript
is put beside them, and they are shown without network; else they take it from public servers when they are shown.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter, SlidesExporter
from nbconvert.preprocessors import ExecutePreprocessor
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from tqdm import tqdm
from traitlets.config import Config

HOME = Path(__file__).resolve().parent.parent
SOURCE, OUT = HOME / "teaching" / "source", HOME / "build" / "labs"
LIMIT = 120  # seconds that one lab may take
LIBRARIES = {"reveal.js": "4.6.1", "requirejs": "2.3.7", "jquery": "3.7.1", "mathjax": "2.7.9"}  # nbconvert's template needs them
GAP = '# YOUR CODE HERE\nraise NotImplementedError("fill this gap, run it, then run its check again")'  # as in the book
NO_ALT = "No description has been provided for this image"
NO_MERMAID = "data:text/javascript,export default {initialize(){}}"  # no lab has such a diagram


def labs() -> list[str]:
    """Names of the labs, in order."""
    return sorted(file.parent.name for file in SOURCE.glob("*/*.ipynb"))


def source(lab: str) -> nbformat.NotebookNode:
    """The notebook of a lab, with solutions and without outputs."""
    return nbformat.read(SOURCE / lab / f"{lab}.ipynb", as_version=4)


def student_version(lab: str, out: Path) -> Path:
    """Writes a lab without its solutions to out/student/LAB/LAB.ipynb (nbgrader, without its database); returns the file."""
    config = Config()
    config.CourseDirectory.root, config.CourseDirectory.release_directory = str(SOURCE.parent), str(out / "student")
    config.CourseDirectory.assignment_id = lab
    config.GenerateAssignment.update({"no_database": True, "force": True})
    config.SaveCells.enabled = False  # they go into the database
    config.ClearSolutions.code_stub = {"python": GAP}
    GenerateAssignment(coursedir=CourseDirectory(config=config), config=config).start()
    return out / "student" / lab / f"{lab}.ipynb"


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its outputs. Raises nbclient's CellExecutionError at the first cell that fails."""
    ExecutePreprocessor(timeout=LIMIT, kernel_name="python3").preprocess(notebook, {"metadata": {"path": str(HOME)}})
    return notebook


def slide_options(folder: Path, *, npm: bool = True) -> dict[str, Any]:
    """Options of nbconvert's slides; `npm` puts their libraries into folder/node_modules, where it can."""
    options = {"reveal_scroll": True, "reveal_width": "1200", "reveal_height": "750", "mermaid_js_url": NO_MERMAID}
    options |= {"exclude_input_prompt": True, "exclude_output_prompt": True}
    options["config"] = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": {"hide-input"}}})
    if not npm or not shutil.which("npm"):
        return options
    wanted = [f"{name}@{version}" for name, version in LIBRARIES.items()]
    call = ["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", str(folder), *wanted]
    if subprocess.run(call).returncode:
        print("npm could not install the slides' libraries: the slides need a network when they are shown.", file=sys.stderr)
        return options
    local = "node_modules"
    options |= {"reveal_url_prefix": f"{local}/reveal.js", "require_js_url": f"{local}/requirejs/require.js"}
    options |= {"jquery_url": f"{local}/jquery/dist/jquery.min.js"}
    return options | {"mathjax_url": f"{local}/mathjax/MathJax.js?config=TeX-AMS_CHTML-full,Safe"}


def write(lab: str, exporter: HTMLExporter, notebook: nbformat.NotebookNode, file: Path) -> None:
    """One page of a lab. Figures get their text alternatives, which nbconvert drops."""
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": lab}})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    words = iter(output.metadata["image/png"]["alt"] for output in outputs)
    file.write_text(re.sub(f'alt="{NO_ALT}"', lambda _: f'alt="{html.escape(next(words))}"', body), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make student versions, solutions and slides of the labs in build/labs.")
    parser.add_argument("labs", nargs="*", metavar="LAB", help=f"all of them, unless named: {', '.join(labs())}")
    parser.add_argument("--no-npm", action="store_true", help="do not install the slides' JavaScript beside them")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.labs) - set(labs())):
        parser.error(f"no lab {', '.join(unknown)}; there are {', '.join(labs())}")
    for folder in ("solutions", "slides"):
        (OUT / folder).mkdir(parents=True, exist_ok=True)
    page, slides = HTMLExporter(), SlidesExporter(**slide_options(OUT / "slides", npm=not asked.no_npm))
    for lab in (bar := tqdm(asked.labs or labs(), unit="lab")):
        bar.set_postfix_str(lab)
        start = time.monotonic()
        student_version(lab, OUT)
        solved = executed(source(lab))
        nbformat.write(solved, OUT / "solutions" / f"{lab}.ipynb")
        write(lab, page, solved, OUT / "solutions" / f"{lab}.html")
        write(lab, slides, solved, OUT / "slides" / f"{lab}.slides.html")
        bar.write(f"{lab}: {time.monotonic() - start:.0f} s")
    print(f"{os.path.relpath(OUT)}: student/ to hand out, solutions/ and slides/ for the teacher")
    return 0


if __name__ == "__main__":
    sys.exit(main())
