"""The one place that writes tables, figures and records. `params/artefacts.yaml` lists what may be written.

A name ends in `_<run>` (`table_students_u10_s1`) where the registry says `per_run`. Every write is atomic.
"""

from __future__ import annotations

import functools
import html
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from IPython.display import HTML, Image
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler
from PIL import Image as Picture

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.atomic import write
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.plots.style import mark, unpinned
from cyborg_utils.study import exports

RUN_SUFFIX = re.compile(r"_(u[\d.]+_s\d+)$")
PNG_LIMIT = 300_000  # bytes; git tracks results, and executed notebooks contain each figure a second time
LONG = 15  # rows; a longer table is displayed folded
DIGITS = "%.12g"  # format of a table's real numbers; `make verify` compares to 1e-9
FOLDERS = {"table": "tables", "figure": "figures", "text": "figures"}
SIMULATED = "simulated essays"  # stands on every figure of such a study
ENDINGS = {"table": (".csv",), "figure": (".png", ".alt.txt"), "text": (".txt",)}


# ---------------------------------------------------------------- the registry


def registry() -> dict[str, dict[str, Any]]:
    """All artefacts by name, as in `params/artefacts.yaml`."""
    return _parsed((paths.home() / "params" / "artefacts.yaml").read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1)
def _parsed(text: str) -> dict[str, dict[str, Any]]:  # cached: parsing takes a third of a second
    return yaml.safe_load(text)


def artefact(name: str, kind: str | None = None) -> dict[str, Any]:
    """The registry entry of a name. Raises CyborgError for an unknown name, a run missing or not wanted, or another kind."""
    base = RUN_SUFFIX.sub("", name)
    entry = registry().get(base)
    if entry is None:
        raise CyborgError(f"params/artefacts.yaml: no artefact {base!r}. Add it there: map and `make verify` read it.")
    if bool(entry.get("per_run")) != (base != name):
        wanted = "needs its run at the end, e.g. " + base + "_u10_s1" if entry.get("per_run") else "is not one of a run"
        raise CyborgError(f"params/artefacts.yaml: {name}: this artefact {wanted}.")
    if kind and entry["kind"] != kind:
        raise CyborgError(f"params/artefacts.yaml: {base} is a {entry['kind']}, not a {kind}.")
    return {"name": base, **entry}


def expected(notebook: str, run: str = "") -> list[str]:
    """Artefact names, in registry order, that an execution of a notebook must write; `optional` ones are left out."""
    own = {name: entry for name, entry in registry().items() if entry["notebook"] == notebook and not entry.get("optional")}
    return [f"{name}_{run}" if entry.get("per_run") else name for name, entry in own.items()]


def needs(notebook: str, study: config.Study) -> str:
    """What is needed to rebuild a notebook's artefacts in a study: "scores", "essays" or "model" (`needs` in the registry)."""
    told = next((entry["needs"] for entry in registry().values() if entry["notebook"] == notebook and "needs" in entry), "scores")
    need, _, setting = told.partition(" if ")
    return "scores" if setting and not study.section(notebook).get(setting) else need


def files(profile: str, name: str) -> list[Path]:
    """The files that an artefact consists of."""
    kind = artefact(name)["kind"]
    return [paths.results(profile, FOLDERS[kind], name + ending) for ending in ENDINGS[kind]]


# ---------------------------------------------------------------- writing


def save_table(
    profile: str,
    name: str,
    frame: pd.DataFrame,
    *,
    caption: str = "",
    digits: int | Mapping[str, int] = 3,
    formats: Mapping[str, Callable[[Any], str]] | None = None,
) -> Styler | HTML:
    """Write a table as CSV (12 significant digits); return it for display. Its Markdown and LaTeX go to the study's exports.

    A table of more than `LONG` rows is displayed folded under its caption, so that the text around it can be read.

    A named index becomes columns; an unnamed one is dropped. `digits` and `formats` control how real numbers are displayed (see
    `exports.for_people`). Undefined values are displayed as an en dash and are empty in the CSV. The commits that pin models are
    in the CSV only. The default caption is the registry's title. Raises CyborgError for a name that is not in the registry.
    """
    caption = caption or artefact(name, "table")["title"]
    artefact(name, "table")
    flat = frame.reset_index() if any(frame.index.names) else frame.reset_index(drop=True)
    flat.columns = [str(column) for column in flat.columns]
    write(paths.results(profile, "tables", f"{name}.csv"), flat.to_csv(index=False, float_format=DIGITS, lineterminator="\n"))
    shown, sides = exports.for_people(flat, digits=digits, formats=formats)
    exports.table(profile, name, shown, sides, caption)
    edges = [{"selector": f".col{i}", "props": f"text-align: {side}"} for i, side in enumerate(sides)]
    top = {"selector": "caption", "props": "caption-side: top; text-align: left; font-weight: 600; padding: 0.4em 0"}
    display = Styler(shown, uuid=name.replace(".", "-"), cell_ids=False)  # a fixed uuid gives the same HTML
    display = display.hide(axis="index").format(escape="html").set_table_styles([*edges, top])
    return display.set_caption(caption) if len(shown) <= LONG else _under(f"{caption} ({len(shown)} rows)", display.to_html())


def save_figure(profile: str, name: str, drawn: tuple[Figure, str]) -> Image:
    """Write a figure as PNG (200 dpi, fewer where it would pass 300 kB) and its text alternative; close it, return the PNG.

    Its SVG goes to the study's exports. `drawn` is what a function of `plots` gives: the figure, and what it shows in words,
    with this run's numbers. Picture and words say so where the essays are simulated. The same figure gives the same bytes (no
    date, fixed ids). Raises CyborgError for a name that is not in the registry.
    """
    artefact(name, "figure")
    figure, alt = drawn[0], unpinned(drawn[1]).strip()
    if _simulated(profile):
        mark(figure, SIMULATED)
        alt = f"{alt} ({SIMULATED})"
    folder = paths.results(profile, "figures")
    png = _png(figure)
    exports.figure(profile, name, figure)
    width = round(96 * figure.get_size_inches()[0])
    plt.close(figure)  # otherwise Jupyter shows it a second time
    write(folder / f"{name}.png", png)
    write(folder / f"{name}.alt.txt", alt + "\n")
    return Image(data=png, format="png", width=width, alt=alt)


def save_text(profile: str, name: str, text: str) -> None:
    """Write a text artefact, such as the prompt in the paper's Figure 1. Never use it for an essay of a real corpus."""
    artefact(name, "text")
    write(paths.results(profile, "figures", f"{name}.txt"), text.rstrip() + "\n")


def save_record(
    notebook: str, names: Mapping[str, Any], *, inputs: Iterable[str | Path] = (), measured: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the record that closes a notebook (see `provenance.record`), print its closing line, and return it.

    `names` are the notebook's `globals()`. The parameters are read from them, by the names in its parameters cell, so that the
    record contains the values that were used. `inputs` are files, recorded with their fingerprints. `measured` holds results for
    other notebooks to read.
    """
    parameters = {name: names[name] for name in config.parameters(paths.notebook(notebook))}
    profile = parameters["profile"]
    run = paths.run_name(parameters["fraction"], parameters["seed"]) if "fraction" in parameters else ""
    content = write_record(profile, notebook, run, parameters=parameters, inputs=inputs, measured=measured)
    print(f"{content['seconds']:.0f} s, at most {content['peak_memory_gib']:.2f} GiB, commit {content['commit']}")
    return content


def write_record(
    profile: str,
    notebook: str,
    run: str = "",
    *,
    parameters: dict[str, Any],
    inputs: Iterable[str | Path] = (),
    measured: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a record like `save_record`, with explicit parameters, and return it; `run` is empty for a whole study."""
    content = {"notebook": notebook, "run": run, "profile": profile}
    content |= provenance.record(parameters, inputs=list(inputs), measured=measured)
    provenance.write_json(record_file(profile, notebook, run), content)
    return content


def record_file(profile: str, notebook: str, run: str = "") -> Path:
    """The file of the record of a notebook's execution."""
    return paths.results(profile, "records", f"{notebook}_{run}.json" if run else f"{notebook}.json")


# ---------------------------------------------------------------- reading


def read_table(profile: str, name: str) -> pd.DataFrame:
    """A saved table. Raises CyborgError naming the notebook to run where it is missing."""
    path = paths.results(profile, "tables", f"{name}.csv")
    if not path.is_file():
        raise CyborgError(f"{paths.shown(path)}: not there yet. Notebook {artefact(name)['notebook']} writes it.")
    return pd.read_csv(path)


def read_figure(profile: str, name: str) -> Image | None:
    """A saved figure with its alt text, for display; None where the study does not have it."""
    picture, alt = files(profile, name)
    return Image(filename=picture, width=650, alt=alt.read_text(encoding="utf-8").strip()) if picture.is_file() else None


def read_record(profile: str, notebook: str, run: str = "") -> dict[str, Any]:
    """A saved record. Raises CyborgError naming the notebook to run where it is missing."""
    if found := record_if_any(profile, notebook, run):
        return found
    shown = paths.shown(record_file(profile, notebook, run))
    raise CyborgError(f"{shown}: not there yet. Run notebook {notebook}{f' for run {run}' if run else ''} first.")


def record_if_any(profile: str, notebook: str, run: str = "") -> dict[str, Any]:
    """A saved record; {} where the notebook has not run."""
    path = record_file(profile, notebook, run)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def records(profile: str) -> pd.DataFrame:
    """What each execution in a study took: notebook, run, seconds, peak_memory_gib, commit, finished, hardware."""
    columns = ["notebook", "run", "seconds", "peak_memory_gib", "commit", "finished", "hardware"]
    found = [pd.read_json(file, typ="series") for file in sorted(paths.results(profile, "records").glob("*.json"))]
    return pd.DataFrame([{column: content.get(column) for column in columns} for content in found], columns=columns)


def artefact_map(profile: str) -> pd.DataFrame:
    """Every artefact: artefact, title, paper (what it reproduces), notebook, file, needs (for a rebuild by `make verify`)."""
    rows = []
    for name, entry in registry().items():
        ending = ENDINGS[entry["kind"]][0]
        file = paths.results(profile, FOLDERS[entry["kind"]], f"{name}{'_<run>' if entry.get('per_run') else ''}{ending}")
        row = {"artefact": name, "title": entry["title"], "paper": entry["paper"], "notebook": entry["notebook"]}
        rows.append({**row, "file": paths.shown(file), "needs": entry.get("needs", "scores")})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- helpers


def folded(frame: pd.DataFrame, summary: str, *, digits: int = 3) -> HTML:
    """A long table for display, folded under one line; plain HTML keeps an executed notebook small."""
    shown = frame.rename(columns=lambda column: str(column).replace("_", " "))
    body = shown.to_html(index=False, float_format=f"{{:.{digits}f}}".format, na_rep="–", border=0)
    return _under(summary, body)


def _under(summary: str, body: str) -> HTML:
    return HTML(f"<details><summary>{html.escape(summary, quote=False)}</summary>{body}</details>")


def p_value(value: float) -> str:
    """A p-value as it is usually written; for `formats` of `save_table`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def significant(value: float, digits: int = 2) -> str:
    """A number to `digits` significant digits, never as a power of ten (0.0041, 41, 4100); for `formats` of `save_table`."""
    return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-")


def _simulated(profile: str) -> bool:
    """Whether a study's corpus is simulated; an audit of a file has no study."""
    there = paths.params_file(profile).is_file()
    return there and config.load(profile).section("prepare_data")["corpus"] == "simulated"


def _png(figure: Figure) -> bytes:
    for dpi in (200, 150, 100):
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
        if stream.tell() <= PNG_LIMIT:
            break
        few, stream = Picture.open(stream).convert("RGB").quantize(256), io.BytesIO()
        few.save(stream, format="png", optimize=True)
        if stream.tell() <= PNG_LIMIT:
            break
    return stream.getvalue()
