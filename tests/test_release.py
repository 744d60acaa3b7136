"""What is put beside saved Students and scores: calibration and errors of the development essays, cards without guesses."""

from __future__ import annotations

import json
import re
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import CHECKOUT

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import PrepareData
from cyborg_utils.data import corpora
from cyborg_utils.extensions.scoring import bundle, cards, evaluation
from cyborg_utils.run import cli
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.stats.conformal import LeastSquares
from cyborg_utils.study import artefacts, scores

CYBORG = bundle.Name("u10_s1", "some/encoder", "regression", "cyborg")
DATA = {"corpus": "simulated", "scale": [1, 6, 1], "score": "score", "groups": ["gender"], "dev": 20, "test": 20, "split_seed": 1}


@pytest.fixture
def finished(make_study):
    """A study after notebook 04, its models reduced to a `student.json`; returns its essays."""
    make_study(
        "try",
        prepare_data=DATA | {"options": {"essays": 90, "seed": 1}},
        train_student={"models": ["some/encoder"], "heads": ["regression", "classification"], "labels": ["cyborg", "full"]},
    )
    corpora.save(corpora.prepare("try").dataset, "try")
    essays = corpora.frame(corpora.load("try"), text=True)
    judged, rng, rows = essays[essays["split"] != "train"], np.random.default_rng(1), []
    for head in ("regression", "classification"):
        value = judged["score"] * 0.5 + 1 + rng.normal(0, 0.4, len(judged))
        dev = (judged["split"] == "dev").to_numpy()
        matched = MeanSdMatch.fit(target=judged["score"][dev], values=value[dev]).apply(value)
        value, matched = (value, matched) if head == "regression" else (value.round(), value.round())
        rows.append(judged[["essay_id"]].assign(part=judged["split"], student="some/encoder", head=head, labels="cyborg"))
        rows[-1] = rows[-1].assign(value=value, level=0, matched_value=matched, matched_level=0)
    scores.write("try", "students_u10_s1", pd.concat(rows))
    train = essays[essays["split"] == "train"]
    teacher = train[["essay_id"]].assign(part=["U"] * 5 + ["pool"] * 45, level=2, expected=3.1)
    scores.write("try", "teacher_u10_s1", teacher.assign(**{f"p_{level}": 1 / 6 for level in range(1, 7)}))
    for name in (CYBORG, bundle.Name("u10_s1", "some/encoder", "classification", "cyborg")):
        settings = {"model": name.model, "head": name.head, "epochs": 2, "min_steps": 1, "learning_rate": 1e-4}
        settings |= {"batch_size": 8, "max_tokens": 64}
        provenance.write_json(name.folder("try") / "student.json", {"settings": settings, "mark": "0123"})
    return essays


def test_a_release_holds_the_calibration_and_errors_of_the_development_essays(finished):
    written = bundle.write("try")
    assert [name.head for name in written] == ["regression", "classification"] and written[0] == CYBORG
    found, dev = bundle.read(CYBORG.folder("try")), scores.students("try").query("part == 'dev' and head == 'regression'")
    np.testing.assert_allclose(found.match.apply(dev["value"]), dev["matched_value"], atol=1e-4)
    line = LeastSquares.fit(target=dev["score"], values=dev["value"])
    np.testing.assert_allclose(found.line.residuals, np.sort(line.residuals), atol=1e-4)
    np.testing.assert_allclose(found.line.apply(dev["value"]), line.apply(dev["value"]), atol=1e-9)
    assert len(found.line.residuals) == 20 and found.corpus.essays == 50 and found.corpus.runs and found.name == CYBORG
    assert bundle.read(written[1].folder("try")).match == MeanSdMatch(0, 0, 1)


def test_no_text_is_kept(finished):
    bundle.write("try")
    cards.write("try")
    for file in [*CYBORG.folder("try").iterdir(), paths.results("try", "scores", "README.md")]:
        words = file.read_text(encoding="utf-8").split()
        found = {" ".join(words[at : at + 4]) for at in range(len(words) - 3)}
        for text in finished["text"]:
            own = text.split()
            assert not found & {" ".join(own[at : at + 4]) for at in range(len(own) - 3)}


def test_what_is_not_there_is_told(finished, tmp_path):
    with pytest.raises(CyborgError, match="no student.json there. Name the folder"):
        bundle.read(tmp_path)
    with pytest.raises(CyborgError, match="no scoring.json there. Run notebook 12"):
        bundle.read(CYBORG.folder("try"))
    with pytest.raises(CyborgError, match="on 'full'; there are: u10_s1 cyborg.*`make reproduce PROFILE=try` trains it"):
        bundle.find("try", "full")
    assert bundle.find("try", "cyborg") == CYBORG == bundle.find("try", "cyborg", "u10_s1")
    bundle.write("try")
    (CYBORG.folder("try") / "student.json").write_text('{"mark": "another"}')
    with pytest.raises(CyborgError, match="of an earlier training"):
        bundle.read(CYBORG.folder("try"))


def test_a_bundle_of_an_earlier_version_is_refused_with_the_remedy(finished):
    """It held |human - matched score|, which says nothing of errors around the least-squares value."""
    bundle.write("try")
    file = CYBORG.folder("try") / bundle.FILE
    content = json.loads(file.read_text())
    del content["line"]
    file.write_text(json.dumps(content | {"residuals": [0.1, 0.5]}))
    with pytest.raises(CyborgError, match="by an earlier version.*`cyborg cards try` makes it anew"):
        bundle.read(CYBORG.folder("try"))
    cli.main(["cards", "try"])
    assert len(bundle.read(CYBORG.folder("try")).line.residuals) == 20


def header(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_says_what_was_not_measured(finished):
    bundle.write("try")
    card = cards.model_card("try", CYBORG)
    assert "model-index" not in header(card) and header(card)["base_model"] == "some/encoder"
    assert "QWK of this Student | not measured yet" in card
    assert "5 human scores and 45 synthetic ones" in card and "50 training, 20 development, 20 test" in card
    data = cards.data_card("try")
    assert "| u10_s1 | 5 | 45 | not measured yet |" in data and "`teacher_u10_s1.csv` | 50 |" in data


def test_a_card_tells_what_was_measured(finished):
    bundle.write("try")
    arm = {"student": "some/encoder", "head": "regression", "labels": "cyborg"}
    own = pd.DataFrame([arm | {"qwk": 0.6123, "qwk_raw": 0.5, "exact": 0.4, "adjacent": 0.9, "rmse": 0.7, "r": 0.65}])
    artefacts.save_table("try", "table_students_u10_s1", own)
    kind = arm | {"fraction": 0.1, "qwk": 0.6, "low": 0.55, "high": 0.66, "seeds": 2, "interval_of": "essays and seeds"}
    artefacts.save_table("try", "table_qwk", pd.DataFrame([kind, kind | {"labels": "full", "qwk": 0.9}]))
    held = arm | {"run": "u10_s1", "attribute": "all", "group": "all", "coverage": 0.91, "confidence": 0.9}
    artefacts.save_table("try", "table_coverage", pd.DataFrame([held | {"coverage_low": 0.88, "coverage_high": 0.94}]))
    told = arm | {"run": "u10_s1", "interval": "always 2 to 5", "levels": 4.0, "coverage": 0.97}
    artefacts.save_table("try", "table_intervals", pd.DataFrame([told, told | {"labels": "full", "interval": "another's"}]))
    kept = arm | {"run": "u10_s1", "risk": "not exact", "signal": "doubt", "n": 20, "confidence": 0.95, "verdict": "kept"}
    kept |= {"target": 0.5, "machine_share": 0.75, "threshold": 0.31, "machine_share_test": 0.7, "risk_test": 0.4}
    none = kept | {"target": 0.05, "machine_share": 0.0, "threshold": np.nan, "verdict": "nothing promised"}
    artefacts.save_table("try", "table_selective", pd.DataFrame([none, kept]))
    parameters = {"profile": "try"}
    record = artefacts.write_record("try", "04_train_student", "u10_s1", parameters=parameters)
    card = cards.model_card("try", CYBORG)
    assert header(card)["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.6123
    assert "0.612 (without matching 0.500)" in card and "0.600 [0.550, 0.660], 2 seeds, over essays and seeds" in card
    own = scores.students("try").query("part == 'test' and head == 'regression'")
    women = own[own["groups.gender"] == "F"]
    smd = metrics.smd(women["score"], women["matched_value"])
    assert f"| gender | F | {len(women)} | {smd:+.2f} | " in card and "this Student" in card.split("alike?")[1].split("\n\n")[1]
    assert "| always 2 to 5 | 4.0 | 97.0% |" in card and "another's" not in card
    assert "By 20 development essays, with 95% confidence each" in card
    assert "| not exact: at most 0.05 | doubt | nothing promised | – |" in card
    assert "| not exact: at most 0.5 | doubt up to 0.31 | 75% | 70% with 0.400, kept |" in card
    assert "91.0% [88.0%, 94.0%] at 90%" in card and record["commit"] in card
    classifier = cards.model_card("try", bundle.Name("u10_s1", "some/encoder", "classification", "cyborg"))
    assert "QWK of this Student | not measured yet" in classifier and "0.91" not in classifier


@pytest.mark.parametrize("profile", sorted(file.parent.name for file in CHECKOUT.glob("results/*/scores")))
def test_a_committed_data_card_has_the_rows_of_the_files_beside_it(profile):
    folder = CHECKOUT / "results" / profile / "scores"
    card = (folder / "README.md").read_text(encoding="utf-8")
    told = {name: int(rows.replace(",", "")) for name, rows in re.findall(r"^\| `(\w[\w.]*\.csv)` \| ([\d,]+) \|$", card, re.M)}
    assert told == {file.name: len(pd.read_csv(file)) for file in folder.glob("*.csv")}
    parts = {
        file.stem.removeprefix("teacher_"): pd.read_csv(file)["part"].value_counts() for file in folder.glob("teacher_*.csv")
    }
    sizes = re.findall(r"^\| (u[\d.]+_s\d+) \| (\d+) \| (\d+) \|", card, re.M)
    assert {run: (int(u), int(pool)) for run, u, pool in sizes} == {run: (n["U"], n["pool"]) for run, n in parts.items()}


def test_a_card_counts_rows_and_not_lines(finished):
    essays = scores.file("try", "essays")
    pd.DataFrame({"essay_id": ["a", "b"], "prompt": ["two\nlines", "one"]}).to_csv(essays, index=False)
    assert "`essays.csv` | 2 |" in cards.data_card("try")


def test_every_corpus_and_registered_model_has_its_source():
    assert set(get_args(PrepareData.model_fields["corpus"].annotation)) == set(cards.SOURCES)
    assert cards._hub_id("all-minilm-l6-v2") == "sentence-transformers/all-MiniLM-L6-v2"
    assert cards._hub_id("smollm2-135m-instruct") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert cards._hub_id("google/electra-base-discriminator@abc") == "google/electra-base-discriminator"
    assert cards._hub_id("build/tiny/electra") == ""


def test_cards_are_written_beside_every_student_and_the_scores(finished, monkeypatch, capsys):
    cli.main(["cards", "try"])
    told = capsys.readouterr().out.split()
    assert told[-1] == "results/try/scores/README.md" and len(told) == 3
    assert json.loads((CYBORG.folder("try") / bundle.FILE).read_text())["profile"] == "try"
    assert all((config.paths.home() / file).is_file() for file in told)


def test_a_card_is_folded_for_a_notebook(finished):
    bundle.write("try")
    cards.write("try")
    text = cards.folded(CYBORG.folder("try"))
    assert text.startswith("<details><summary>The model card</summary>") and "license_name" not in text
    assert "\n### " in text and "\n#### How good it is" in text and "\n## " not in text


def test_new_scores_stand_beside_the_saved_ones(finished):
    test = finished[finished["split"] == "test"]
    scored = pd.DataFrame({"id": test["essay_id"], "score": 3.0, "value": 2.9, "low": 2.0, "high": 4.0})
    both = evaluation.beside_saved("try", CYBORG, test, scored)
    saved = scores.students("try").query("part == 'test' and head == 'regression'").set_index("essay_id")["matched_value"]
    assert len(both) == 20 and both.set_index("essay_id")["matched_value"].to_dict() == saved.to_dict()
    assert both["score"].tolist() == test["score"].tolist() and (both["score_given"] == 3.0).all()  # people's, and the Student's
