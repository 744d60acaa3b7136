"""Executed notebooks as chapters of the book: code folded, figures with label, caption and alt text, links between pages."""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import nbformat

from cyborg_utils.core import config, paths
from cyborg_utils.study import artefacts

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
NOTEBOOK = re.compile(r"(?:notebooks/(?:extensions/)?|results/([^/]+)/notebooks/)(\d\d_\w+)\.ipynb")
TABLE = re.compile(r'<table id="T_(table_[\w-]+)"')  # `artefacts.save_table` names them
NAMED = re.compile(r"(?<![`\[])`((?:table|figure)_\w+)`(?![`\]])")
SHADED = re.compile(r"(background-color: #(\w\w)(\w\w)(\w\w);\s*color: )#\w{6}")  # a cell of a table shaded by its number
FENCE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~) *$)", flags=re.MULTILINE | re.DOTALL)
UNBRACKETED = str.maketrans("[]\n", "() ")  # alt text of an image in Markdown
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION$.*?^ *### END SOLUTION$", flags=re.MULTILINE | re.DOTALL)
GAP = r'\1# YOUR CODE HERE\n\1raise NotImplementedError("fill this gap, run it, then run its check again")'  # as `make labs`
AGAIN = "# a further output of the cell above"  # never shown; myst-nb drops cells without source, outputs and all
NO_ALT = "A figure without a text alternative"


class Links:
    """Where pages and labels are: by study, `stems` (its notebooks) and `labels` (artefact -> the notebook that shows it)."""

    def __init__(self, studies: Sequence[config.Study], pages: set[str]) -> None:
        self.first = studies[0].profile
        self.stems = {study.profile: _stems(study) for study in studies}
        own = {f"results/{name}/notebooks/{stem}.ipynb" for name, stems in self.stems.items() for stem in stems}
        made = {f"results/{name}/{page}.md" for name in self.stems for page in ("summary", "gallery")}
        self.pages = pages | own | made | {"index.md"} | {file.name for file in (paths.CHECKOUT / "book").glob("*.md")}
        self.labels = {study.profile: _shown(study, self.stems[study.profile]) for study in studies}

    def rewritten(self, text: str, page: str) -> str:
        """Markdown of a page (its path in the repository) with links that lead somewhere in the book.

        A notebook's link goes to its executed copy, of the page's own study and run where there is one; a table's to where it
        is shown, as does the name of an artefact. What is no page is linked in the repository (`CYBORG_SOURCE_URL`), or
        not at all.
        """
        profile = match[1] if (match := re.match(r"results/([^/]+)/", page)) and match[1] in self.stems else self.first
        parts = FENCE.split(text)  # text, code, text, ...
        for at in range(0, len(parts), 2):
            parts[at] = LINK.sub(lambda hit: self._link(hit, page, profile), parts[at])
            parts[at] = NAMED.sub(lambda hit: self._named(hit[1], profile) or hit[0], parts[at])
        return "".join(parts)

    def _link(self, hit: re.Match, page: str, profile: str) -> str:
        words, target = hit.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in target or target.startswith("mailto:"):
            return hit[0]
        wanted = os.path.normpath(PurePosixPath(page).parent / path)
        wanted = "index.md" if wanted == "README.md" else wanted
        if notebook := NOTEBOOK.fullmatch(wanted):
            wanted = self._executed(notebook[1] or profile, notebook[2], page) or wanted
        name = PurePosixPath(wanted).stem
        if f"results/{profile}/tables/{name}.csv" == wanted and name in self.labels[profile]:
            return f"[{words}](#{profile}-{name})"
        if wanted in self.pages:
            return f"[{words}]({os.path.relpath(wanted, PurePosixPath(page).parent)}{'#' + anchor if anchor else ''})"
        source = os.environ.get("CYBORG_SOURCE_URL")
        return f"[{words}]({source}/blob/HEAD/{wanted})" if source and (paths.CHECKOUT / wanted).exists() else words

    def _executed(self, profile: str, name: str, page: str) -> str:
        """The executed copy of a notebook, with or without run in its name; of the page's run, else the study's first."""
        run = match[1] if (match := artefacts.RUN_SUFFIX.search(PurePosixPath(page).stem)) else ""
        stems = self.stems.get(profile, [])
        found = [stem for stem in (name, f"{name}_{run}") if stem in stems] + [stem for stem in stems if _base(stem) == name]
        return f"results/{profile}/notebooks/{found[0]}.ipynb" if found else ""

    def _named(self, name: str, profile: str) -> str:
        return f"[`{name}`](#{profile}-{name})" if name in self.labels[profile] else ""


def chapter(study: config.Study, stem: str, links: Links) -> str:
    """One executed notebook as a chapter, as JSON. Its code cells are folded, and each output becomes a cell of its own."""
    notebook = nbformat.read(paths.results(study.profile, "notebooks", f"{stem}.ipynb"), as_version=4)
    page, run = f"results/{study.profile}/notebooks/{stem}.ipynb", stem.removeprefix(_base(stem)).strip("_")
    siblings = [other for other in links.stems[study.profile] if _base(other) == _base(stem)]
    cells = [part for cell in _one_parameters_cell(notebook.cells) for part in _parts(study, stem, cell, links)]
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = links.rewritten(cell.source, page)
    if apart := [study.profile] * (study.profile != links.first) + [run] * (stem != siblings[0]):  # no two titles are the same
        cells[0].source = re.sub(r"^(# .+)$", rf"\1 ({', '.join(apart)})", cells[0].source, count=1, flags=re.MULTILINE)
    if stem == siblings[0] and len(siblings) > 1:
        toctree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *siblings[1:], "```"])
        cells.append(nbformat.v4.new_markdown_cell(f"## Other runs\n\n{toctree}", id="other-runs"))
    notebook.cells = cells
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.writes(notebook)


def lab(file: Path, page: str, links: Links) -> str:
    """A lab of teaching/ as students get it, as JSON: with gaps in place of solutions, and itself to take away."""
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = SOLUTION.sub(GAP, cell.source) if cell.cell_type == "code" else "YOUR ANSWER HERE"
        if cell.cell_type == "markdown":
            cell.source = links.rewritten(cell.source, page)
    teacher = links.rewritten(f"[For the teacher](../../teacher/{file.stem}.md)", page)
    notebook.cells[0].source += f"\n\n{{download}}`Take it away: {file.name} <{file.name}>` · {teacher}"
    return nbformat.writes(notebook)


def contents(study: config.Study, links: Links) -> str:
    """The study's table of contents; further runs of a notebook stand below its first."""
    stems = links.stems[study.profile]
    first = [stem for stem in stems if _base(stem) not in map(_base, stems[: stems.index(stem)])]
    start = ["## Chapters", "", "```{toctree}", ":maxdepth: 1", ""]
    return "\n".join([*start, *(f"notebooks/{stem}" for stem in first), "gallery", "```", ""])


def gallery(study: config.Study, links: Links) -> str:
    """A page that lists every figure and table of the study, with a link to where it is shown."""
    lines = [f"# Figures and tables: {study.title}"]
    for stem in links.stems[study.profile]:
        shown = [name for name, place in links.labels[study.profile].items() if place == stem]
        lines += [f"\n## {stem}\n"] if shown else []
        lines += [f"- {artefacts.artefact(name)['kind'].title()}: [{_title(name)}](#{study.profile}-{name})" for name in shown]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- helpers


def _base(stem: str) -> str:
    return artefacts.RUN_SUFFIX.sub("", stem)


def _title(name: str) -> str:
    run = match[1] if (match := artefacts.RUN_SUFFIX.search(name)) else ""
    return artefacts.artefact(name)["title"] + (f" ({run})" if run else "")


def _stems(study: config.Study) -> list[str]:
    """The executed notebooks by number; of several runs the study's first comes first."""
    chief = study.runs[0].name
    stems = [file.stem for file in paths.results(study.profile, "notebooks").glob("*.ipynb")]
    return sorted(stems, key=lambda stem: (_base(stem), not stem.endswith(f"_{chief}"), stem))


@functools.lru_cache(maxsize=8)
def _figures(profile: str) -> dict[str, str]:
    """Digest of a saved figure's bytes -> its name; an executed notebook holds the same bytes."""
    return {hashlib.sha256(file.read_bytes()).hexdigest(): file.stem for file in paths.results(profile, "figures").glob("*.png")}


def _name(study: config.Study, stem: str, output: nbformat.NotebookNode) -> str:
    """The artefact that an output shows and this notebook writes; "" where it is none."""
    data = output.get("data", {})
    if png := data.get("image/png"):
        name = _figures(study.profile).get(hashlib.sha256(base64.b64decode(png)).hexdigest(), "")
    else:
        name = match[1] if (match := TABLE.search(data.get("text/html", ""))) else ""
        name = next((one for one in (name, name.replace("-", ".")) if _base(one) in artefacts.registry()), "")
    return name if name and artefacts.registry()[_base(name)]["notebook"] == _base(stem) else ""


def _shown(study: config.Study, stems: Sequence[str]) -> dict[str, str]:
    """Artefact -> the notebook that shows it, in the order of the book."""
    found: dict[str, str] = {}
    for stem in stems:
        for cell in nbformat.read(paths.results(study.profile, "notebooks", f"{stem}.ipynb"), as_version=4).cells:
            for output in cell.get("outputs", []):
                if name := _name(study, stem, output):
                    found.setdefault(name, stem)
    return found


def _one_parameters_cell(cells: Sequence[nbformat.NotebookNode]) -> Iterator[nbformat.NotebookNode]:
    """The cells, with the values that this run was given below the parameters and their meaning."""
    injected = [cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
    for cell in cells:
        if "parameters" in cell.metadata.get("tags", []) and injected:
            cell.source += "\n\n# this run\n" + injected[0].source.removeprefix("# Parameters\n").strip()
        if cell not in injected:
            yield cell


def _legible(shade: re.Match) -> str:
    """The style of a shaded cell with black or white letters, whichever has the higher contrast (at least 4.5, as WCAG asks)."""
    levels = [int(shade[at], 16) / 255 for at in (2, 3, 4)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    luminance = sum(weight * level for weight, level in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return shade[1] + ("#000000" if luminance > 0.179 else "#ffffff")


def _parts(study: config.Study, stem: str, cell: nbformat.NotebookNode, links: Links) -> Iterator[nbformat.NotebookNode]:
    """A cell as the book shows it: folded code with its first output, and a cell for each further one."""
    if cell.cell_type != "code":
        yield cell
        return
    page = f"results/{study.profile}/notebooks/{stem}.ipynb"
    for number, output in enumerate(cell.outputs or [None]):
        part = copy.deepcopy(cell) if not number else nbformat.v4.new_code_cell(AGAIN, id=f"{cell.id}-{number}")
        part.metadata["tags"] = ["remove-input" if number else "hide-input"]
        part.outputs = [] if output is None else [output]
        data = {} if output is None else output.get("data", {})
        if "text/markdown" in data:
            data["text/markdown"] = links.rewritten(data["text/markdown"], page)
        if "text/html" in data:
            data["text/html"] = SHADED.sub(_legible, data["text/html"])
        if "image/png" in data:
            told = output.metadata.pop("image/png", {})  # its width too: all figures have one
            part.metadata["mystnb"] = {"image": {"alt": told.get("alt") or NO_ALT}, "figure": {}}
        if name := _name(study, stem, output or {}):
            figure = part.metadata.setdefault("mystnb", {}).setdefault("figure", {})
            if links.labels[study.profile][name] == stem:
                figure["name"] = f"{study.profile}-{name}"
            if "image/png" in data:
                figure["caption"] = f"Figure: {_title(name)}"
        yield part
