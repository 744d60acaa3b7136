"""The book: built from committed results without a warning, its links lead somewhere, and the playground tells the truth."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import CHECKOUT

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import chapters, site
from cyborg_utils.stats.metrics import agreement_metrics
from cyborg_utils.study import arms, artefacts, playground, scores

pytestmark = pytest.mark.xdist_group("book")  # one build for all of them
STUDY = "ellipse"
LEFT_OUT = ("02_*.ipynb", "03_*.ipynb", "*_s[23].ipynb", "*_u25_s1.ipynb", "0[789]_*.ipynb", "1*.ipynb")  # to build fast


class Page(HTMLParser):
    """What a page links to, its anchors, pictures, and code cells that are not folded."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links, self.anchors, self.loaded, self.pictures, self.unfolded = [], {""}, [], [], 0
        self.folds, self.text = 0, file.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        self.folds += tag == "details"
        self.unfolded += "cell_input" in given.get("class", "").split() and not self.folds
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append(given)
        if tag in ("img", "script", "link") and (source := given.get("src") or given.get("href")) not in (None, "#"):
            self.loaded.append(source)

    def handle_endtag(self, tag: str) -> None:
        self.folds -= tag == "details"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the committed demo study, a part of its notebooks, and its book."""
    home = tmp_path_factory.mktemp("book") / "project"
    shutil.copytree(CHECKOUT / "results" / STUDY, home / "results" / STUDY, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for name in ("params", "notebooks"):
        shutil.copytree(CHECKOUT / name, home / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    before = os.environ.get("CYBORG_HOME")
    os.environ["CYBORG_HOME"] = str(home)
    try:
        site.render(STUDY)
    finally:
        os.environ.pop("CYBORG_HOME") if before is None else os.environ.update(CYBORG_HOME=before)
    return home


@pytest.fixture
def html(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYBORG_HOME", str(home))
    return home / "build" / STUDY / "html"


@pytest.fixture
def pages(html: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in html.rglob("*.html")}


def test_every_link_within_the_book_leads_to_a_page_and_a_place_on_it(pages):
    broken = []
    for file, page in pages.items():
        for link in page.links:
            if re.match(r"https?:|mailto:|javascript:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (file.parent / unquote(path)).resolve() if path else file
            if not target.is_file() or (anchor and target.suffix == ".html" and unquote(anchor) not in pages[target].anchors):
                broken.append(f"{file.name}: {link}")
    assert not broken
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_the_book_loads_nothing_from_elsewhere(pages, html):
    for file, page in pages.items():
        for source in page.loaded:
            assert not re.match(r"(https?:)?//", source), f"{file.name} loads {source}"
            assert (file.parent / unquote(source.partition("?")[0].partition("#")[0])).is_file(), f"{file.name} lacks {source}"
    assert (html / "searchindex.js").is_file()


def test_code_is_folded_and_every_picture_has_words_and_one_width(pages, html):
    chapter = pages[html / "results" / STUDY / "notebooks" / "05_test_significance.html"]
    assert chapter.text.count("cell_input") > 5 and "Show the code" in chapter.text
    assert [file.name for file, page in pages.items() if page.unfolded and "teaching" not in file.parts] == []
    pictures = [(file.name, picture) for file, page in pages.items() for picture in page.pictures]
    assert len(pictures) > 10
    for name, picture in pictures:
        assert picture.get("alt", "").strip() not in ("", chapters.NO_ALT), f"{name}: {picture.get('src')}"
        assert "width" not in picture, f"{name}: {picture.get('src')}"


def test_labs_stand_in_the_book_with_gaps_and_are_linked_from_front_page_and_course(pages, html, tmp_path):
    spec = importlib.util.spec_from_file_location("labs", CHECKOUT / "tools" / "labs.py")
    labs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(labs)
    assert labs.labs()
    for lab in labs.labs():
        place = f"teaching/source/{lab}/{lab}"
        for page in ("index.html", "teach.html"):
            assert f"{place}.html" in pages[html / page].links, page
        (taken,) = [link for link in pages[html / f"{place}.html"].links if link.endswith(f"/{lab}.ipynb")]
        own = nbformat.read((html / place).parent / taken, as_version=4)
        theirs = nbformat.read(labs.student_version(lab, tmp_path), as_version=4)  # by nbgrader
        code = [[cell.source for cell in one.cells if cell.cell_type == "code"] for one in (own, theirs)]
        assert code[0] == code[1] and any("YOUR CODE HERE" in cell for cell in code[0]), lab
        assert not any("SOLUTION" in cell.source or "possible answer" in cell.source for cell in own.cells), lab


def test_the_front_page_shows_the_figure_that_it_speaks_of(pages, html):
    front = pages[html / "index.html"]
    assert any(picture["src"].endswith("figure_draws.png") for picture in front.pictures)
    assert "human scores in all" in front.text and front.text.index("The Teacher itself has") < front.text.index("<details")


def test_figures_and_tables_are_labelled_where_they_are_shown_and_listed(pages, html):
    listed = pages[html / "results" / STUDY / "gallery.html"]
    targets = [link for link in listed.links if "05_test_significance.html#" in link]
    assert any(link.endswith(f"#{STUDY}-figure-arms") for link in targets)
    assert any(link.endswith(f"#{STUDY}-table-qwk") for link in targets)
    chapter = pages[html / "results" / STUDY / "notebooks" / "05_test_significance.html"]
    for name in artefacts.expected("05_test_significance"):
        if any(file.is_file() for file in artefacts.files(STUDY, name)):
            assert f"{STUDY}-{name}".replace("_", "-") in chapter.anchors, name


def test_a_link_to_a_notebook_leads_to_the_executed_copy_of_its_run_and_a_link_to_code_to_the_repository(home, monkeypatch):
    monkeypatch.setenv("CYBORG_HOME", str(home))
    links = chapters.Links([config.load(STUDY)], {"docs/evaluation.md"})
    page = f"results/{STUDY}/notebooks/04_train_student_u100_s1.ipynb"
    assert links.rewritten("[5](05_test_significance.ipynb#gap)", page) == "[5](05_test_significance.ipynb#gap)"
    assert links.rewritten("[4](04_train_student.ipynb)", page) == "[4](04_train_student_u100_s1.ipynb)"
    assert links.rewritten("[14](14_audit_scores.ipynb)", page) == "14"  # not executed here
    first = f"../results/{STUDY}/notebooks/04_train_student_u10_s1.ipynb"
    assert links.rewritten("[4](../notebooks/04_train_student.ipynb)", "docs/results.md") == f"[4]({first})"
    assert links.rewritten("see [x](evaluation.md#a) and `table_qwk`", "docs/results.md") == (
        f"see [x](evaluation.md#a) and [`table_qwk`](#{STUDY}-table_qwk)"
    )
    assert links.rewritten("[lock](../requirements.lock)", "docs/results.md") == "lock"
    monkeypatch.setenv("CYBORG_SOURCE_URL", "https://example.org/o/r")
    assert links.rewritten("[lock](../requirements.lock)", "docs/results.md") == (
        "[lock](https://example.org/o/r/blob/HEAD/requirements.lock)"
    )
    code = "```\n[lock](../requirements.lock) `table_qwk`\n```"
    assert links.rewritten(code, "docs/results.md") == code


def test_a_chapter_keeps_every_output_folds_its_code_and_takes_the_pictures_words(project, make_study):
    make_study("try")
    picture = nbformat.v4.new_output(
        "display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": "Cyborg <0.6>", "width": 9}}
    )
    plain = nbformat.v4.new_output("display_data", {"image/png": "aGk="})
    links = "# The Teacher\n\n[labels](03_label_essays.ipynb), [bias](06_analyze_bias.ipynb#smd), [home](00_overview.ipynb)"
    parameters = [
        nbformat.v4.new_code_cell("profile = 'demo'  # the study", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("# Parameters\nprofile = 'try'", metadata={"tags": ["injected-parameters"]}),
    ]
    cells = [nbformat.v4.new_markdown_cell(links), *parameters, nbformat.v4.new_code_cell("x", outputs=[picture, plain])]
    for stem in ("02_finetune_teacher_u10_s1", "03_label_essays_u10_s1", "03_label_essays_u25_s1", "06_analyze_bias"):
        artefacts.write(
            paths.results("try", "notebooks", f"{stem}.ipynb"), nbformat.writes(nbformat.v4.new_notebook(cells=cells))
        )
    study = config.load("try")
    whole = chapters.Links([study], set())
    opening, settings, first, second = json.loads(chapters.chapter(study, "02_finetune_teacher_u10_s1", whole))["cells"]
    assert (
        "".join(opening["source"]).splitlines()[-1]
        == "[labels](03_label_essays_u10_s1.ipynb), [bias](06_analyze_bias.ipynb#smd), home"
    )
    assert "".join(settings["source"]) == "profile = 'demo'  # the study\n\n# this run\nprofile = 'try'"
    assert [cell["metadata"]["tags"] for cell in (settings, first, second)] == [["hide-input"], ["hide-input"], ["remove-input"]]
    assert first["metadata"]["mystnb"]["image"] == {"alt": "Cyborg <0.6>"} and not first["outputs"][0]["metadata"]
    assert second["metadata"]["mystnb"]["image"] == {"alt": chapters.NO_ALT} and "".join(second["source"]).strip()
    own, *_, other = json.loads(chapters.chapter(study, "03_label_essays_u10_s1", whole))["cells"]
    assert "".join(other["source"]).splitlines()[-2:] == ["03_label_essays_u25_s1", "```"]
    own, *_ = json.loads(chapters.chapter(study, "03_label_essays_u25_s1", whole))["cells"]
    assert "".join(own["source"]).startswith("# The Teacher (u25_s1)\n")


@pytest.mark.parametrize("shade, letters", [("868686", "#000000"), ("08306b", "#ffffff"), ("ffffff", "#000000")])
def test_letters_on_a_shaded_cell_can_be_read(shade, letters):
    css = f"#T_a {{\n  background-color: #{shade};\n  color: #f1f1f1;\n}}"
    assert chapters.SHADED.sub(chapters._legible, css) == css.replace("#f1f1f1", letters)


def test_the_book_of_nothing_says_what_to_do(make_study):
    make_study("try")
    with pytest.raises(CyborgError, match="results/try/notebooks: no executed notebook. Run `make reproduce` first."):
        site.render("try")


def test_a_warning_of_sphinx_is_an_error_but_ends_no_study(project, make_study, monkeypatch, capsys):
    make_study("try")
    monkeypatch.setattr(site, "TEXTS", ())  # faster
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# One\n\n{ref}`nowhere`"}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    artefacts.write(paths.results("try", "notebooks", "00_overview.ipynb"), json.dumps(notebook))
    with pytest.raises(CyborgError, match="(?s)build/try/book: Sphinx cannot make the book.*nowhere"):
        site.render("try")
    assert site.render("try", tolerant=True).is_file() and "nowhere" in capsys.readouterr().out  # as `make reproduce` asks


# ---------------------------------------------------------------- the playground


@pytest.fixture
def played(html: Path) -> dict:
    text = (html / "_static" / "playground-data.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("const PLAYGROUND = ").removesuffix(";\n"))[STUDY]


def test_the_playgrounds_numbers_of_all_essays_are_the_tables(played):
    place = dict(zip(("student", "head"), config.load(STUDY).headline, strict=True))
    table = arms.of_student(artefacts.read_table(STUDY, "table_qwk"), **place).set_index(["fraction", "arm"])
    rows = {(row["fraction"], row["arm"]): row for row in played["qwk"] if row["group"] == "all"}
    assert set(rows) == set(table.index)
    for key, row in rows.items():
        assert [row["value"], row["low"], row["high"]] == pytest.approx(table.loc[key, ["qwk", "low", "high"]].tolist(), abs=1e-5)
    gaps = arms.pick(artefacts.read_table(STUDY, "table_gap_closed"), **place).set_index(["fraction", "labels"])
    closed = {(row["fraction"], row["arm"]): row for row in played["gap"] if row["group"] == "all"}
    assert set(closed) == set(gaps.index)
    for key, row in closed.items():
        assert row["resolved"] == gaps.loc[key, "resolved"]
        assert row["value"] == (pytest.approx(gaps.loc[key, "gap_closed"], abs=1e-5) if row["resolved"] else None)


def test_the_playgrounds_numbers_of_a_group_are_its_essays_own(played, home):
    raters, study = scores.raters(STUDY), config.load(STUDY)
    group = next(key for key in (one["key"] for one in played["groups"]) if key != "all")
    attribute, _, name = group.partition("=")
    part = arms.pick(raters[raters[f"groups.{attribute}"] == name], fraction=0.1, labels="cyborg", student=study.headline[0])
    by_seed = [agreement_metrics(rows["score"], rows["matched_value"], study.scale)["qwk"] for _, rows in part.groupby("seed")]
    row = next(row for row in played["qwk"] if (row["group"], row["arm"], row["fraction"]) == (group, "cyborg", 0.1))
    assert row["value"] == pytest.approx(np.mean(by_seed), abs=1e-5) and row["n"] == part["essay_id"].nunique()
    assert row["low"] < row["value"] < row["high"]
    smd = artefacts.read_table(STUDY, "table_smd").query(
        "scores != 'raw' and labels == 'cyborg' and student == @study.headline[0]"
    )
    told = smd[(smd["attribute"] == attribute) & (smd["group"].astype(str) == name)].iloc[0]
    shown = next(row for row in played["smd"] if (row["group"], row["arm"], row["fraction"]) == (group, "cyborg", 0.1))
    assert [shown["value"], shown["verdict"]] == [pytest.approx(told["smd"], abs=1e-5), told["verdict"]]


def test_the_playground_holds_no_essay(played):
    essays = set(scores.essays(STUDY)["essay_id"])
    texts = list(_strings(played))
    assert texts and not essays & set(texts) and max(map(len, texts)) < 160


def _strings(value: object):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def test_a_budget_gives_what_was_measured_and_nothing_beyond_it(played):
    of, table = played["budget"], artefacts.read_table(STUDY, "table_qwk")
    few = arms.pick(table, student=config.load(STUDY).headline[0], labels="human").iloc[0]
    alone = next(way for way in of["ways"] if way["label"] == "Human scores only")
    assert alone["qwk"][of["n"].index(few["n_human"])] == pytest.approx(few["qwk"], abs=1e-5)
    for way in of["ways"]:
        for n, value in zip(of["n"], way["qwk"], strict=True):
            assert (value is not None) == (way["range"][0] <= n <= way["range"][1])


def test_a_budget_with_the_learning_curve_and_prices_of_notebook_11(home, monkeypatch):
    monkeypatch.setenv("CYBORG_HOME", str(home))
    whole = int(artefacts.read_table(STUDY, "table_qwk")["n_human"].max())
    curve = pd.DataFrame({"n": [60, 120, whole], "qwk": [0.4, 0.5, 0.7], "low": [0.3, 0.4, 0.6], "high": [0.5, 0.6, 0.8]})
    curve = curve.assign(fitted=curve["qwk"] + 0.01, price=200 + 2.5 * curve["n"])
    artefacts.write(artefacts.record_file(STUDY, "11_cost"), json.dumps({"parameters": {"currency": "EUR"}}))
    artefacts.write(paths.results(STUDY, "tables", "table_human_curve.csv"), curve.to_csv(index=False))
    of = playground.data(STUDY)["budget"]
    assert (of["price"], of["setup"], of["currency"]) == (pytest.approx(2.5), pytest.approx(200), "EUR")
    ridge = next(way for way in of["ways"] if way["label"].startswith("Ridge"))
    assert ridge["range"] == [60, whole] and of["n"][0] == 60
    assert (ridge["qwk"][0], ridge["low"][0], ridge["qwk"][-1]) == (pytest.approx(0.41), 0.3, pytest.approx(0.71))
    assert [point["qwk"] for point in ridge["points"]] == [0.4, 0.5, 0.7]
