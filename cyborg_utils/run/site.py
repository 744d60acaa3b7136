"""The book: executed notebooks and docs/ as pages with navigation and search. `cyborg site` lays them out and calls Sphinx.

`book/` holds Sphinx's settings, the book's own pages and the playground. Pages lie as in the repository, so that links among them
hold. No notebook is executed and nothing reaches the network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import vl_convert

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import chapters
from cyborg_utils.study import artefacts, playground, summary

MEASURED = ("bench", "coverage", "robustness")  # folders of results/ that are no study
TEXTS = ("*.md", "docs/*.md", "teaching/**/*.md", "cyborg_utils/data/*.md", *(f"results/{name}/*.md" for name in MEASURED))


def render(*profiles: str, tolerant: bool = False) -> Path:
    """Build the book of these studies, or of all that have executed notebooks; return its front page.

    One named study goes to `build/<profile>/html`, which `make reproduce` fills; else it is `build/book/html`. Studies of real
    essays come first. Raises CyborgError where nothing has been executed, and where Sphinx warns, e.g. of a link to nowhere;
    `tolerant` prints its warnings instead.
    """
    found = [name for name in profiles or config.profiles() if any(paths.results(name, "notebooks").glob("*.ipynb"))]
    if absent := [name for name in profiles if name not in found] or ([] if found else ["<profile>"]):
        raise CyborgError(f"results/{absent[0]}/notebooks: no executed notebook. Run `make reproduce` first.")
    studies = sorted(map(config.load, found), key=lambda study: study.section("prepare_data")["corpus"] == "simulated")
    folder = paths.build(found[0]) if len(profiles) == 1 else paths.home() / "build" / "book"
    shutil.rmtree(folder / "book", ignore_errors=True)
    shutil.rmtree(folder / "html", ignore_errors=True)
    _lay_out(folder / "book", studies)
    call = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-d", folder / "doctrees", folder / "book", folder / "html"]
    made = subprocess.run([*call, *(() if tolerant else ("-W", "--keep-going"))], capture_output=True, text=True, check=False)
    if tolerant and made.stderr.strip():
        print(made.stderr)
    if made.returncode:
        raise CyborgError(f"{paths.shown(folder / 'book')}: Sphinx cannot make the book.\n{made.stderr[-3000:]}")
    return folder / "html" / "index.html"


def _lay_out(source: Path, studies: Sequence[config.Study]) -> None:
    """Write the pages that Sphinx reads."""
    shutil.copytree(paths.CHECKOUT / "book", source, ignore=shutil.ignore_patterns("*.j2", "__pycache__"))
    texts = {file.relative_to(paths.CHECKOUT).as_posix(): file for one in TEXTS for file in sorted(paths.CHECKOUT.glob(one))}
    for study in studies:
        if (card := paths.results(study.profile, "scores", "README.md")).is_file():
            texts[f"results/{study.profile}/scores/README.md"] = card
    labs = {file.relative_to(paths.CHECKOUT).as_posix(): file for file in paths.CHECKOUT.glob("teaching/source/*/*.ipynb")}
    links = chapters.Links(studies, {*texts, *labs})
    for file in source.glob("*.md"):
        artefacts.write(file, links.rewritten(file.read_text(encoding="utf-8"), file.name))
    for name, file in labs.items():
        artefacts.write(source / name, chapters.lab(file, name, links))
    for name, file in texts.items():
        text = file.read_text(encoding="utf-8")
        title = "" if re.search("^# ", text, flags=re.MULTILINE) else f"# Measured: {file.stem}\n\n"
        artefacts.write(source / name, title + links.rewritten(text, name))
    played = {}
    for study in studies:
        folder = f"results/{study.profile}"
        for stem in links.stems[study.profile]:
            artefacts.write(source / folder / "notebooks" / f"{stem}.ipynb", chapters.chapter(study, stem, links))
        opening = links.rewritten(_opening(study), f"{folder}/summary.md")
        artefacts.write(source / folder / "summary.md", f"{opening}\n\n{chapters.contents(study, links)}")
        artefacts.write(source / folder / "gallery.md", chapters.gallery(study, links))
        if (figures := paths.results(study.profile, "figures")).is_dir():
            shutil.copytree(figures, source / folder / "figures")
        try:
            played[study.profile] = playground.data(study.profile)
        except CyborgError as error:
            print(f"{study.profile} is not in the playground: {error}")
    front = jinja2.Environment(keep_trailing_newline=True).from_string((paths.CHECKOUT / "book/index.md.j2").read_text("utf-8"))
    artefacts.write(source / "index.md", front.render(_front(studies, links)))
    shown = json.dumps(played, allow_nan=False, separators=(",", ":"))
    artefacts.write(source / "_static" / "playground-data.js", f"const PLAYGROUND = {shown};\n")
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    artefacts.write(source / "_static" / "vega.js", f"(() => {{{bundle}}})();\n")  # its short names are no other script's


def _opening(study: config.Study) -> str:
    """The study's summary without its list of notebooks; its title and note where tables are missing."""
    try:
        return summary.page(study.profile).split("## Executed notebooks")[0].strip()
    except CyborgError:
        return f"# {study.title}\n\n{study.note}".strip()


def _front(studies: Sequence[config.Study], links: chapters.Links) -> dict[str, Any]:
    """What the front page says of the first study: `result` and `more` are the README's paragraph, or its summary's."""
    chief, stems = studies[0], links.stems[studies[0].profile]
    folder, text = f"results/{chief.profile}", (paths.CHECKOUT / "README.md").read_text(encoding="utf-8")
    sentences = re.split(r"(?<=\.) (?=[A-Z\d])", text.partition("<!-- claim -->")[2].partition("<!-- end -->")[0].strip())
    said, more, shown, number = " ".join(sentences[:2]), " ".join(sentences[2:]), "figure_draws", "16_"
    if chief.profile != "ellipse":
        said = _opening(chief).partition("## What was found\n")[2].partition("\n## ")[0] or chief.note
        more, shown, number = "", "figure_arms", "05_"
    picture, alt = artefacts.files(chief.profile, shown)
    chapter = next((stem for stem in stems if stem.startswith(number)), stems[0])
    return {
        "study": chief,
        "studies": [f"{study.title.partition(':')[0]} <results/{study.profile}/summary>" for study in studies],
        "labs": sorted(page.rpartition(".")[0] for page in links.pages if page.startswith("teaching/")),
        "result": links.rewritten(said.strip(), f"{folder}/summary.md"),
        "more": links.rewritten(more, f"{folder}/summary.md"),
        "figure": f"{folder}/figures/{picture.name}" if picture.is_file() else "",
        "alt": alt.read_text(encoding="utf-8").strip().translate(chapters.UNBRACKETED) if alt.is_file() else "",
        "chapter": f"{folder}/notebooks/{chapter}.ipynb",
        "first": f"{folder}/notebooks/{stems[0]}",
    }
