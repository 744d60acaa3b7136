"""An executed notebook as a reader wants it: no progress bars, no widgets, no path or process number of this machine."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import nbformat

from cyborg_utils.core import paths

PROGRESS = re.compile(r"\d+%\|.*\|.*\[|\d+(it|ex|examples) \[|\[\d\d:\d\d<")  # a tqdm bar

FOLDER_OF_LINK = re.compile(r"\]\((?:\.\./|extensions/)(?=\d\d_\w+\.ipynb)")
OUT_OF_NOTEBOOKS = re.compile(r"\]\((?:\.\./)+(?=[a-z]\w*/)")  # a link to another folder of the repository


def clean(notebook: nbformat.NotebookNode, source: Path, copy: Path) -> nbformat.NotebookNode:
    """Tidy the notebook in place and return it. Of papermill's metadata only the parameters and relative paths stay."""
    values = notebook.metadata.get("papermill", {}).get("parameters", {})
    notebook.metadata["papermill"] = {"input_path": paths.shown(source), "output_path": paths.shown(copy), "parameters": values}
    notebook.metadata.pop("widgets", None)
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "markdown":  # executed copies of both folders lie side by side
            cell.source = OUT_OF_NOTEBOOKS.sub("](../../../", FOLDER_OF_LINK.sub("](", cell.source))
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = f"injected-{number}"
        if cell.cell_type == "code":
            cell.outputs = [_anonymous(output) for output in _settled(cell.outputs)]
    return notebook


def _settled(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with neighbouring streams joined, lines as a terminal shows them, and neither progress bars nor widgets."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            continue
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in output.text.split("\n")]
            output.text = "\n".join(line for line in lines if not PROGRESS.search(line))
    return [output for output in joined if output.output_type != "stream" or output.text.strip()]


def _anonymous(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if "text" in output:
        output.text = without_machine(output.text)
    for kind in output.get("data", {}):
        if kind.startswith("text/"):
            output.data[kind] = re.sub(r" at 0x[0-9a-f]+>", ">", without_machine(output.data[kind]))
    return output


def without_machine(text: str) -> str:
    """A text with this machine's folders written relative to the project, and a cell's temporary file as `<cell>`."""
    home = paths.home().resolve()
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py", "<cell>", text)
    for folder, name in {home: "", Path(sys.prefix): ".venv/", home.parent: "../", Path.home(): "~/"}.items():
        if len(folder.parts) > 1:  # not the root, where a container may have its home
            bare = name.rstrip("/") or "."
            place = re.escape(str(folder)) + r"(/|(?![\w.-]))"
            text = re.sub(place, lambda match, name=name, bare=bare: name if match[1] else bare, text)
    return text
