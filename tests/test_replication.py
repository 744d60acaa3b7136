"""The paper's claims one by one: verdicts follow the intervals of the tables, and what is not there is waiting."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from cyborg_utils.core import paths
from cyborg_utils.study import replication
from cyborg_utils.study.replication import NO, OPEN, WAITING, YES


@pytest.mark.parametrize(
    ("verdict", "wanted"),
    [
        (replication.direction(0.01, 0.2, 1), YES),
        (replication.direction(0.01, 0.2, -1), NO),
        (replication.direction(-0.2, -0.01, -1), YES),
        (replication.direction(-0.1, 0.1, 1), OPEN),
        (replication.direction(float("nan"), float("nan"), 1), OPEN),
        (replication.contains(0.151, 0.1, 0.2), YES),
        (replication.contains(0.151, 0.0, 0.1), NO),
        (replication.contains(0.151, float("nan"), float("nan")), OPEN),
        (replication.not_below(-0.04, 0.0, 0.05), YES),
        (replication.not_below(-0.09, -0.06, 0.05), NO),
        (replication.not_below(-0.06, 0.01, 0.05), OPEN),
    ],
)
def test_rules(verdict, wanted):
    assert verdict == wanted


@pytest.fixture
def study(project, make_study):
    make_study("try", repeat_draws={"draws": 7})
    return "try"


def write(study: str, name: str, rows: list[dict]) -> None:
    file = paths.results(study, "tables", f"{name}.csv")
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(file, index=False)


def draws(study: str, *, gain: tuple[float, float, float], human: float) -> None:
    shares = [(0.01, 60), (0.1, 600), (1.0, 6000)]
    arms = {"human": human, "cyborg": human + gain[0], "length": 0.7, "best": human + 0.02}
    rows = [
        {"fraction": share, "n_human": n, "arm": arm, "qwk": qwk if share == 0.1 else 0.1, "low": qwk - 0.01, "high": qwk + 0.01}
        for share, n in shares
        for arm, qwk in arms.items()
    ]
    write(study, "table_draws_summary", rows)
    given = {"human": gain, "best": tuple(part - 0.02 for part in gain)}
    rows = [
        {"fraction": share, "n_human": n, "baseline": name, "draws": 7} | dict(zip(("gain", "low", "high"), ends, strict=True))
        for share, n in shares[:2]
        for name, ends in given.items()
    ]
    write(study, "table_draws_gain", rows)


def record(study: str, **published: list[float]) -> None:
    file = paths.results(study, "records", "06_analyze_bias.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"measured": {"published": published}}))


def test_before_any_result_every_claim_waits_for_its_notebook(study):
    table = replication.verdicts(study)
    assert (table["verdict"] == WAITING).all() and set(table["notebook"].str[:2]) == {"06", "16", "17"}
    page = replication.page(study)
    assert "Nothing is decided yet" in page and page.count("waiting for notebook 16") == 4
    assert "**Essays.** waiting for notebook 01." in page and "7 draws of the human scores" in page


def test_verdicts_follow_the_tables(study):
    draws(study, gain=(0.03, 0.01, 0.05), human=0.75)
    record(study, shift=[-0.2, -0.3, -0.1], top=[0.01, -0.02, 0.04], learners=[0.3, 0.1, 0.5])
    table = replication.verdicts(study)
    assert table["verdict"].tolist() == [YES, NO, NO, OPEN, WAITING, YES, OPEN, OPEN, NO, OPEN]
    here = table["here"].tolist()
    assert here[0] == "0.750 to 0.780 with 600 human scores, mean of 7 draws; +0.030 [+0.010, +0.050]"
    assert (
        "length alone 0.700" in here[2]
        and "best rival 0.770" in here[3]
        and here[7].startswith("these essays have no such group")
    )
    ends = {"low": -0.03, "high": 0.01, "prompt_low": -0.08, "prompt_high": 0.04}
    write(study, "table_probe_differences", [{"fraction": 0.1, "baseline": "full", "difference": -0.01} | ends])
    table = replication.verdicts(study)
    assert table["verdict"][4] == YES and "for other prompts too [-0.080, +0.040]" in table["here"][4]
    sizes = {"train": 500, "dev": 100, "test": 250}
    write(study, "table_corpus", [{"split": name, "essays": size} for name, size in sizes.items()])
    page = replication.page(study)
    assert "Of 10 claims: **3 replicated, 3 not replicated, 4 undecided**." in page
    assert "600 of 15,594 training and 250 of 10,402 test essays" in page


def test_what_prompts_leave_open_is_said_and_changes_no_verdict(study):
    record(
        study,
        learners=[0.3, 0.1, 0.5, -0.02, 0.6],
        disabled=[0.3, 0.1, 0.5, 0.05, 0.6],
        disadvantaged=[0.3, 0.1, 0.5, None, None],
    )
    table = replication.verdicts(study).set_index("claim")
    learners, disabled, disadvantaged = (
        table.loc[f"The Student is stricter than people with {who}"]
        for who in ("English learners", "students with disabilities", "economically disadvantaged writers")
    )
    assert learners["here"] == "+0.300 [+0.100, +0.500]; for other prompts too [-0.020, +0.600], which leaves it open"
    assert disabled["here"] == "+0.300 [+0.100, +0.500]; for other prompts too [+0.050, +0.600]"
    assert disadvantaged["here"] == "+0.300 [+0.100, +0.500]"
    assert {learners["verdict"], disabled["verdict"], disadvantaged["verdict"]} == {NO}


def test_the_same_numbers_on_the_other_side_give_the_other_verdict(study):
    draws(study, gain=(0.15, 0.14, 0.16), human=0.66)
    assert replication.verdicts(study)["verdict"].tolist()[:4] == [YES, YES, YES, YES]
    draws(study, gain=(-0.05, -0.06, -0.04), human=0.60)
    assert replication.verdicts(study)["verdict"].tolist()[:4] == [NO, NO, NO, NO]


def test_tables_from_before_an_arm_was_there_wait_to_be_run_anew(study):
    draws(study, gain=(0.03, 0.01, 0.05), human=0.75)
    file = paths.results(study, "tables", "table_draws_gain.csv")
    table = pd.read_csv(file)
    table[table["baseline"] != "best"].to_csv(file, index=False)
    row = replication.verdicts(study).iloc[3]
    assert row["verdict"] == WAITING and row["here"] == "waiting for notebook 16 to be run anew (best)"


def test_every_student_is_judged_at_the_share_nearest_the_papers(study):
    place = {"student": "all-minilm-l6-v2", "head": "regression", "n_human": 90, "n_dev": 30}
    arm = {"qwk": 0.64, "low": 0.62, "high": 0.68}
    write(study, "table_qwk", [place | arm | {"fraction": share, "labels": "human"} for share in (0.02, 0.1)])
    pair = place | {
        "system": "cyborg",
        "qwk": 0.79,
        "difference": 0.15,
        "low": 0.12,
        "high": 0.18,
        "prompt_low": None,
        "prompt_high": None,
    }
    full = pair | {"baseline": "full", "difference": -0.02, "low": -0.06, "high": 0.02, "prompt_low": -0.09, "prompt_high": 0.01}
    far = pair | {"fraction": 0.02, "baseline": "human", "low": -0.1, "high": -0.05}
    write(study, "table_comparisons", [far, pair | {"fraction": 0.1, "baseline": "human"}, full | {"fraction": 0.1}])
    table = replication.by_student(study)
    assert table["verdict"].tolist() == [YES, YES, YES, OPEN] and set(table["student"]) == {"all-minilm-l6-v2, regression"}
    assert table["here"][0] == "0.640 to 0.790 with 60 human scores; +0.150 [+0.120, +0.180]"
    assert table["here"][3] == "-0.020 [-0.060, +0.020]; for other prompts too [-0.090, +0.010]"
    assert table["claim"].tolist() == [replication.CLAIMS[at].text for at in (0, 1, 2, 4)]
