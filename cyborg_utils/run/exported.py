"""All tables of a study as LaTeX and Markdown, and its figures as SVG: `cyborg exports demo`.

Notebooks rebuild everything that can be computed from the committed scores. Other tables come from their CSV, with three
decimals. Other figures can be drawn only by a notebook that has its model; they are listed.
"""

from __future__ import annotations

import shutil

from cyborg_utils.core import paths
from cyborg_utils.run import rebuild
from cyborg_utils.study import artefacts, exports


def export(profile: str, *, commit: str = "HEAD") -> list[str]:
    """Write `build/<profile>/exports`, keeping what notebooks have written there. Returns the figures that have no SVG."""
    folder = exports.folder(profile)
    folder.mkdir(parents=True, exist_ok=True)
    with rebuild.rebuilt(profile, commit=commit) as (home, _):
        for file in sorted((home / "build" / profile / "exports").glob("*.*")):
            shutil.copyfile(file, folder / file.name)
    for file in sorted(paths.results(profile, "tables").glob("*.csv")):
        if not (folder / f"{file.stem}.md").is_file():
            shown, sides = exports.for_people(artefacts.read_table(profile, file.stem))
            exports.table(profile, file.stem, shown, sides, artefacts.artefact(file.stem)["title"])
    figures = sorted(file.stem for file in paths.results(profile, "figures").glob("*.png"))
    return [name for name in figures if not (folder / f"{name}.svg").is_file()]
