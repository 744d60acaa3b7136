"""The README keeps its word: its example is a study, its list of files is complete and in order, its tables name their runs."""

from __future__ import annotations

import re
from pathlib import Path

import corpus_samples
from conftest import CHECKOUT

from cyborg_utils.core import config
from cyborg_utils.data import corpora, download
from cyborg_utils.run import workflow
from tools import readme

TEXT = (CHECKOUT / "README.md").read_text(encoding="utf-8")


def test_the_example_of_a_study_of_ones_own_prepares_essays(project: Path, monkeypatch):
    (example,) = re.findall(r"^```yaml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
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
        assert f".venv/bin/cyborg download {name} " in TEXT
    assert not re.findall(r"(?<!\.venv/bin/)python -m cyborg_utils", TEXT)


def test_a_finding_names_the_run_it_is_about():
    record = {"inputs": {"results/x/scores/teacher_u25_s1.csv": "0", "results/x/scores/students_u25_s1.csv": "0"}}
    assert readme._whose(record) == " (Teacher and Student of run `u25_s1`.)" and readme._whose({"inputs": {}}) == ""
