"""README and docs keep their word: the example is a study, commands are there, every link leads somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import corpus_samples
import pytest
from conftest import CHECKOUT

from cyborg_utils.core import config, paths
from cyborg_utils.data import corpora, download
from cyborg_utils.run import workflow
from tools import readme

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
PAGES = [
    CHECKOUT / "README.md",
    CHECKOUT / "CONTRIBUTING.md",
    CHECKOUT / "CHANGELOG.md",
    *sorted((CHECKOUT / "docs").glob("*.md")),
]
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_the_example_of_a_study_of_ones_own_prepares_essays(project: Path, monkeypatch):
    (example,) = re.findall(r"^```yaml\n(.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL)
    (project / "params" / "mine.yaml").write_text(example, encoding="utf-8")
    kinds = {"score": [1, 2, 3, 4, 5, 6], "task": ["a", "b"], "gender": ["F", "M", ""]}
    rows = [
        {"id": f"e{at}", "text": corpus_samples.text(at)} | {name: values[at % len(values)] for name, values in kinds.items()}
        for at in range(60)
    ]
    corpus_samples.write_csv(project / "data" / "my_essays.csv", rows)
    prepared = corpora.prepare("mine")
    assert prepared.counts == {"rows_read": 60, "repeated": 0, "excluded": 0, "essays": 60}
    assert prepared.dataset[1]["groups"] == {"gender": "M"} and prepared.dataset[1]["prompt"] == "b"
    study = config.load("mine")
    assert study.beyond == ("12_score_essays",)
    for step in workflow.steps(study):
        notebook, _, run = step.partition("_u")
        named = next((one for one in (*study.runs, *study.full_runs) if one.name == f"u{run}"), None)
        assert config.compose(notebook, "mine", named)["profile"] == "mine"


def test_every_corpus_that_must_be_fetched_has_its_command():
    for name in download.CORPORA:
        assert f".venv/bin/cyborg download {name} " in DOCS
    assert "python -m cyborg_utils" not in DOCS  # one form of a command: the console script


def test_the_readme_is_short_and_names_every_room():
    assert len(README.splitlines()) <= 90
    rooms = {folder.name for folder in (CHECKOUT / "cyborg_utils").iterdir() if (folder / "__init__.py").is_file()}
    assert rooms == set(re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE))


def words(page: Path) -> str:
    """A page's Markdown without code; a notebook's Markdown cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def test_no_number_of_the_results_page_is_typed_by_hand():
    text = (CHECKOUT / "docs" / "results.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- (\w+)", text)
    assert set(blocks) - {"end"} == set(readme.BLOCKS) - {"claim"} and blocks.count("end") == len(blocks) / 2
    typed = re.sub(r"<!-- \w+.*?<!-- end -->|`[^`\n]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
    typed = re.sub(r"\b[01]\d\b|\b[01] is (perfect|what)|below 0", "", typed)  # notebooks, and the ends of measures
    assert re.findall(r".*\d.*", typed) == []


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them from its headings."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", [*PAGES, *paths.notebooks()], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", words(page)):
        target, _, anchor = link.partition("#")
        if target.startswith(("http:", "https:", "mailto:", "attachment:")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists() and file.is_relative_to(CHECKOUT), link
        assert not anchor or file.suffix != ".md" or anchor in headings(file), link


def test_a_finding_names_the_run_it_is_about():
    record = {"inputs": {"results/x/scores/teacher_u25_s1.csv": "0", "results/x/scores/students_u25_s1.csv": "0"}}
    assert readme._whose(record) == " (Teacher and Student of run `u25_s1`.)" and readme._whose({"inputs": {}}) == ""
