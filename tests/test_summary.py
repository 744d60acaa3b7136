"""The page that tells a study's findings, and the exports of its tables."""

import re
import shutil
from contextlib import contextmanager

import pandas as pd
import pytest
from conftest import CHECKOUT

from cyborg_utils.core import paths
from cyborg_utils.run import exported, rebuild
from cyborg_utils.study import artefacts, exports, summary

STUDIES = sorted(file.parent.name for file in CHECKOUT.glob("results/*/scores"))


@pytest.mark.parametrize("profile", STUDIES)
def test_every_link_of_a_summary_leads_somewhere(profile):
    page = summary.page(profile)
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(links) > 10 and all((CHECKOUT / "results" / profile / link).exists() for link in links)
    qwk = artefacts.read_table(profile, "table_qwk").query("student == 'teacher'")["qwk"].iloc[0]
    assert f"| {qwk:.3f} |" in page and "## Beyond the paper" in page


@pytest.mark.parametrize("profile", STUDIES)
def test_the_summary_of_a_study_is_that_of_its_tables(profile):
    file = CHECKOUT / "results" / profile / "summary.md"
    assert file.read_text(encoding="utf-8") == summary.page(profile), f"make summary PROFILE={profile}"


def test_a_study_without_groups_and_gap_says_what_it_can(project):
    """The demo's results without table_smd, its gap not shown, a notebook beyond the paper not run."""
    shutil.copytree(CHECKOUT / "results" / "demo", paths.results("demo"), ignore=shutil.ignore_patterns("*.ipynb", "*.png"))
    paths.results("demo", "tables", "table_model_or_method.csv").unlink()
    artefacts.record_file("demo", "07_calibrate_student").unlink()
    gaps = paths.results("demo", "tables", "table_gap_closed.csv")
    pd.read_csv(gaps).assign(resolved=False).to_csv(gaps, index=False)
    page = summary.page("demo")
    assert "Groups of writers" not in page and "of the gap to all human scores" not in page
    assert "- 07_calibrate_student" in page.split("## Not run")[1]


def test_exports_come_from_a_rebuild_and_from_the_tables(project, monkeypatch):
    artefacts.save_table("try", "table_students_u10_s1", pd.DataFrame({"student": ["ridge"], "qwk": [0.61234]}))
    shutil.rmtree(exports.folder("try"))
    paths.results("try", "figures").mkdir()
    paths.results("try", "figures", "figure_teacher_curve_u10_s1.png").touch()

    @contextmanager
    def rebuilt(profile, *, commit):
        made = project / "elsewhere" / "build" / profile / "exports"
        made.mkdir(parents=True)
        (made / "figure_arms.svg").write_text("<svg/>", encoding="utf-8")
        yield project / "elsewhere", []

    monkeypatch.setattr(rebuild, "rebuilt", rebuilt)
    assert exported.export("try") == ["figure_teacher_curve_u10_s1"]
    assert sorted(file.name for file in exports.folder("try").iterdir()) == [
        "figure_arms.svg",
        "table_students_u10_s1.md",
        "table_students_u10_s1.tex",
    ]
    assert "0.612 |" in (exports.folder("try") / "table_students_u10_s1.md").read_text(encoding="utf-8")
