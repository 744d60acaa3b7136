"""The plan of a study: its steps are the study's, its numbers those of counted and timed models."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cyborg_utils.core import config, dtype, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.models import measure, student
from cyborg_utils.run import cli
from cyborg_utils.study import artefacts, plan


@pytest.fixture(params=[False])
def timed(request, monkeypatch):
    """Whether layers are timed; else a Teacher takes two seconds an essay and a Student one an update."""
    monkeypatch.setattr(measure, "REPEATS", 1)
    monkeypatch.setattr(measure, "matrix_rate", lambda kind: 1e12)
    if not request.param:
        monkeypatch.setattr(plan.needs, "teacher_speed", lambda _, settings, *__: (2.0 - settings.lora_from, 0.1))
        monkeypatch.setattr(plan.needs, "student_speed", lambda *_: (1.0, 0.1))


@pytest.fixture
def smoke(make_study, timed, tiny_models):
    def made(**changes):
        data = {"corpus": "simulated", "scale": [1, 6, 1], "score": "score", "groups": [], "dev": 12, "test": 16}
        study = {
            "prepare_data": data | {"stratify": "nothing", "options": {"essays": 60, "seed": 1}},
            "finetune_teacher": {"model": str(tiny_models["llama"]), "max_tokens": 64},
            "train_student": {"models": [str(tiny_models["bert"])], "max_tokens": 48},
        }
        for name, section in changes.items():
            study[name] = study.get(name, {}) | section
        make_study("try", **study)
        return plan.of("try")

    return made


@pytest.mark.parametrize("timed", [True], indirect=True)
def test_every_step_of_a_study_is_planned_with_its_updates(smoke):
    machine, table, advice = smoke()
    study = config.load("try")
    section, teach = study.section("train_student"), study.section("finetune_teacher")
    corpus = plan._corpus(study)
    human = max(1, round(study.fractions[0] * corpus.train))
    kinds = [step.split()[0] for step in table["step"]]
    assert kinds == ["Teacher", "labelling", "Students", *(["Students"] if study.full_runs else []), "statistics"]
    assert f"{-(-human // teach['batch_size']) * teach['epochs']:,} updates" in table["work"][0]
    assert f"{corpus.train + corpus.dev + corpus.test:,} essays" == table["work"][1]
    assert (
        provenance.hardware()["processor"] in machine.name
        and (table["minutes"] > 0).all()
        and (table["memory"] > 0).all()
        and machine.flops is None
    )
    assert table["total"].sum() == pytest.approx((table["minutes"] * table["runs"]).sum())
    settings = student.Settings.of(section, model="m", head="regression")
    steps, epochs = student.schedule(corpus.train, settings)
    if study.full_runs:
        assert f"{steps * epochs * len(section['heads']):,} updates" in table["work"][len(table) - 2]


def test_more_epochs_take_longer_and_lora_from_less(smoke):
    minutes = [
        smoke(finetune_teacher=change)[1]["minutes"][0]
        for change in ({"epochs": 2}, {"epochs": 4}, {"epochs": 4, "lora_from": 0.5})
    ]
    assert minutes[1] == pytest.approx(2 * minutes[0]) and minutes[2] < minutes[1]


def test_what_is_frozen_is_read_once(smoke):
    table = smoke(finetune_teacher={"method": "frozen"}, train_student={"heads": ["frozen"]})[1]
    assert table["step"][0] == "Teacher's states" and "0 updates" in table["work"][1]
    assert table["minutes"][0] < smoke()[1]["minutes"][0]


def test_training_from_a_frozen_start_is_counted_with_its_folds_and_only_the_layers_that_it_reads(smoke, monkeypatch):
    monkeypatch.setattr(
        plan.needs, "teacher_speed", lambda shape, *_: (2.0 * shape.num_hidden_layers, 0.1 * shape.num_hidden_layers)
    )
    tables = {
        (method, layer): smoke(finetune_teacher={"method": method, "layers": [layer], "epochs": 3, "batch_size": 4})[1]
        for method, layer in (("lora", 2), ("frozen-then-lora", 1), ("frozen-then-lora", 2))
    }
    seconds = {key: 60 * table["minutes"][0] for key, table in tables.items()}
    human = round(config.load("try").fractions[0] * 32)
    train, read = 2 * 2.0, 2 * 0.1
    assert seconds["frozen-then-lora", 2] == pytest.approx(4 * train * human * 3 + read * plan.UNMERGED * human * 4)
    assert seconds["lora", 2] == pytest.approx(train * human * 3 + read * plan.UNMERGED * 12 * 3)
    assert seconds["frozen-then-lora", 1] == pytest.approx(seconds["frozen-then-lora", 2] / 2)
    updates = 3 * -(-human // 4)
    assert (
        f"{updates} updates" in tables["lora", 2]["work"][0]
        and f"{4 * updates} updates" in tables["frozen-then-lora", 2]["work"][0]
    )


def test_the_paper_s_study_on_a_card(monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.bfloat16)
    hours, needed = {}, {}
    for gpu in ("h100", "a100", "l4"):
        machine, table, advice = plan.of("persuade", gpu=gpu)
        hours[gpu], needed[gpu] = table["total"].sum() / 60, table["memory"].max()
        assert machine.memory == plan.CARDS[gpu][0] * plan.GIB and not any("does not fit" in line for line in advice)
    assert 5 < hours["h100"] < 15 < hours["l4"]  # by hand: 7-8 hours after the changes, 13-15 before
    assert 15 < needed["h100"] < 24


def test_what_does_not_fit_is_told_with_a_remedy(monkeypatch):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.bfloat16)
    monkeypatch.setitem(plan.CARDS, "small", (12, 100))
    advice = plan.of("persuade", gpu="small")[2]
    assert any("does not fit into 12 GiB. With `finetune_teacher.quantization: nf4` it needs" in line for line in advice)
    assert any("train_student.batch_size" in line for line in advice)
    monkeypatch.setitem(plan.CARDS, "tiny", (4, 100))
    assert any("Take a smaller model" in line for line in plan.of("persuade", gpu="tiny")[2])
    with pytest.raises(CyborgError, match="--gpu h1000: not known; choose from h200, h100"):
        plan.of("persuade", gpu="h1000")


def test_a_record_of_this_machine_stands_beside(smoke):
    _, table, _ = smoke()
    assert table["recorded"].isna().all()
    run = config.load("try").runs[0]
    for kind, seconds in (
        ("02_finetune_teacher", {"seconds_finetune": 120.0}),
        ("04_train_student", {"seconds": {"a": 60.0, "b": 30.0}}),
    ):
        artefacts.write_record("try", kind, run.name, parameters={}, measured=seconds)
    found = plan.of("try")[1].set_index("step")["recorded"]
    assert found.iloc[0] == 2.0 and found.iloc[2] == 1.5 and np.isnan(found.iloc[1])
    file = artefacts.record_file("try", "02_finetune_teacher", run.name)
    other = json.loads(file.read_text())
    other["hardware"]["processor"] = "another"
    file.write_text(json.dumps(other))
    assert np.isnan(plan.of("try")[1]["recorded"].iloc[0])


def test_the_command_prints_it(monkeypatch, capsys):
    monkeypatch.setattr(dtype, "dtype", lambda: torch.bfloat16)
    cli.main(["plan", "persuade", "--gpu", "h100"])
    said = capsys.readouterr().out
    assert "One H100, 80 GiB; by its data sheet, not measured" in said and "hours in all" in said
    assert "Teacher 10%" in said and "Not in this plan: 12_score_essays" in said


def test_a_whole_model_is_as_long_as_its_layers():
    class Shape:
        num_hidden_layers = 12

    times = iter([0.0, 0.0])

    def build(small):
        return small

    original = measure.seconds
    measure.seconds = lambda layers: {1: 3.0, 2: 5.0}[layers] + next(times)
    small, measure.memory.small = measure.memory.small, lambda _, layers: layers
    try:
        assert measure.of_layers(Shape, build) == 1.0 + 12 * 2.0
    finally:
        measure.seconds, measure.memory.small = original, small
