"""Executed notebooks as HTML pages with an index: `cyborg site demo` writes `build/demo/html`."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import jinja2
import nbformat
from nbconvert import HTMLExporter

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.study import artefacts

LINK = re.compile(r'href="(?:\./)?(\d\d_\w+)\.ipynb(#[^"]*)?"')
NO_ALT = "No description has been provided for this image"
BAR = '<nav style="font-family:sans-serif;padding:.6em 1.2em;border-bottom:1px solid #ddd;background:#fff">{}</nav>'


def render(profile: str) -> Path:
    """Write one page for each executed notebook of a study, and the index; return the index.

    Links between notebooks lead to the page of the same run where there is one, otherwise to the index. Pages of removed
    notebooks are deleted. Raises CyborgError where nothing has been executed.
    """
    study = config.load(profile)
    copies = sorted(paths.results(profile, "notebooks").glob("*.ipynb"))
    if not copies:
        raise CyborgError(
            f"{paths.shown(paths.results(profile, 'notebooks'))}: no executed notebook. Run `make reproduce` first."
        )
    folder = paths.build(profile, "html")
    shutil.rmtree(folder, ignore_errors=True)
    titles = {copy.stem: paths.title(copy) for copy in copies}
    for place, copy in enumerate(copies):
        around = [copies[place - 1].stem if place else "", copies[place + 1].stem if place + 1 < len(copies) else ""]
        artefacts.write(folder / f"{copy.stem}.html", _page(copy, titles, before=around[0], after=around[1]))
    page = folder / "index.html"
    artefacts.write(page, _index(study, titles, folder))
    return page


def _page(copy: Path, titles: dict[str, str], *, before: str, after: str) -> str:
    notebook = nbformat.read(copy, as_version=4)
    exporter = HTMLExporter(template_name="lab", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": titles[copy.stem]}})
    run = match.group(1) if (match := artefacts.RUN_SUFFIX.search(copy.stem)) else ""

    def target(link: re.Match) -> str:
        wanted = next((stem for stem in (link[1], f"{link[1]}_{run}") if stem in titles), None)
        return f'href="{wanted}.html{link[2] or ""}"' if wanted else f'href="index.html#{link[1]}"'

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    words = iter(output.metadata.get("image/png", {}).get("alt", "") or NO_ALT for output in outputs)  # nbconvert drops them
    body = re.sub(f'alt="{NO_ALT}"', lambda _: f'alt="{html.escape(next(words, NO_ALT))}"', body)
    links = ['<a href="index.html">All notebooks</a>']
    links += [f'{arrow} <a href="{stem}.html">{stem}</a>' for arrow, stem in (("&larr;", before), ("&rarr;", after)) if stem]
    body = re.sub(r"(<body[^>]*>)", lambda match: match[1] + BAR.format(" &nbsp; ".join(links)), body, count=1)
    return LINK.sub(target, body)


def _index(study: config.Study, titles: dict[str, str], folder: Path) -> str:
    """The index: notebooks with their runs and times, and the study's figures."""
    times = {(row.notebook, row.run or ""): row.seconds for row in artefacts.records(study.profile).itertuples()}
    notebooks: dict[str, dict] = {}
    for stem, title in titles.items():
        run = match.group(1) if (match := artefacts.RUN_SUFFIX.search(stem)) else ""
        name = stem.removesuffix(f"_{run}") if run else stem
        entry = notebooks.setdefault(name, {"title": title, "runs": []})
        entry["runs"].append({"page": f"{stem}.html", "run": run, "seconds": times.get((name, run))})
    figures = []
    for name, entry in artefacts.registry().items():
        picture = paths.results(study.profile, "figures", f"{name}.png")
        if entry["kind"] == "figure" and picture.is_file():
            shutil.copyfile(picture, folder / picture.name)
            alt = picture.with_name(f"{name}.alt.txt")
            words = alt.read_text(encoding="utf-8").strip() if alt.is_file() else entry["alt"]
            figures.append({"file": picture.name, "alt": words, "title": entry["title"], "page": f"{entry['notebook']}.html"})
    template = Path(__file__).with_suffix(".html.j2").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True).from_string(template).render(study=study, notebooks=notebooks, figures=figures)
