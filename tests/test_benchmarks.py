"""The benchmarks' own machinery on a small scale; what they measure is under results/."""

import importlib.util
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from cyborg_utils.stats import metrics

HOME = Path(__file__).resolve().parent.parent


def script(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", HOME / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_resampling_compares_the_same_work():
    bench = script("resampling")
    given = bench.scores(600)
    assert bench.difference(*given) == pytest.approx(
        metrics.qwk(given[0], given[1], levels=6) - metrics.qwk(given[0], given[2], levels=6)
    )
    mine, theirs = (np.array(way(given, 4_000, 1)) for way in (bench.ours, bench.fast))
    np.testing.assert_allclose(mine, theirs, atol=0.08 * np.ptp(theirs))
    np.testing.assert_allclose(bench.plain(given, 20, 1), bench.fast(given, 20, 1))  # the same draws, the same statistic
    found = bench.timed(bench.ours, given, 100, 1)
    assert found["seconds"] > 0 and found["resamples"] == 100 and found["low"] < found["high"]


def test_coverage_knows_the_truth():
    sim = script("coverage")
    rng = np.random.default_rng(1)
    quality = rng.normal(size=400_000)
    human, good = sim.level(quality, sim.PEOPLE, rng), sim.level(quality, sim.GOOD, rng)
    assert metrics.qwk(human, good, levels=6) == pytest.approx(sim.qwk(sim.GOOD), abs=0.004)
    assert sim.table(sim.GOOD).sum() == pytest.approx(1)
    shifted = sim.value(quality, sim.GOOD, rng, shift=sim.shift_for(-0.2))
    assert metrics.smd(sim.SCALE.score(human), shifted) == pytest.approx(-0.2, abs=0.01)
    assert (shifted - sim.shift_for(-0.2) - sim.SCALE.score(human))[human == 3].mean() == pytest.approx(sim.bias_at(4), abs=0.02)
    assert sim.qwk(sim.GOOD) - sim.qwk(sim.worse_by_margin()) == pytest.approx(sim.MARGIN)
    assert sim.qwk(sim.GOOD, sim.equal_by_shift()) == pytest.approx(sim.qwk(sim.BAD))
    grid, weights, people = sim.population()
    near = np.abs(sim.value(quality, sim.GOOD, np.random.default_rng(2)) - 4.5) < 0.05
    at = (grid["value"] - 4.5).abs() < 0.05
    shares = np.bincount(human[near], minlength=6) / near.sum()
    np.testing.assert_allclose(np.average(people[at], axis=0, weights=weights[at]), shares, atol=0.02)
    assert weights @ people == pytest.approx(np.bincount(human) / len(human), abs=0.003)


def test_coverage_knows_the_agreement_of_a_ridge_regression():
    sim, rng = script("coverage"), np.random.default_rng(0)
    signal = rng.normal(size=20)
    signal /= np.linalg.norm(signal)
    given, new = rng.normal(size=(80, 20)), rng.normal(size=(200_000, 20))
    machine = sim.Frozen.fit({"features": given}, sim.SCALE.score(sim.level(given @ signal, sim.PEOPLE, rng)), sim.SCALE)
    level = sim.SCALE.nearest(machine.value({"features": new}))
    true = metrics.qwk(sim.level(new @ signal, sim.PEOPLE, rng), level, levels=6)
    assert sim.qwk_of(machine, signal) == pytest.approx(true, abs=0.005)


def test_intervals_of_cross_fitted_scores_hold_and_those_over_essays_alone_do_not(monkeypatch):
    sim = script("coverage")
    monkeypatch.setattr(sim, "WIDTHS", {(60, 100): 10})
    found = sim.block("QWK, cross-fitted", 0, 80).set_index("case")["hits"] / 80
    for name in ("QWK", "difference"):
        alone = found[f"true {name} missed, n = 60, 100 features, 10 folds, essays alone"]
        assert found[f"true {name} missed, n = 60, 100 features, 10 folds"] <= min(0.12, alone - 0.03)


def test_a_guarantee_is_false_no_more_often_than_stated():
    """Promises that are false for every half of the essays are seldom made; those that are true of all are, and hold."""
    bench = script("promises")
    rows = pd.DataFrame([{"corpus": "", "draw": draw} | row for draw in range(1, 201) for row in bench.without_model(draw)])
    rows["kept"] = rows["kept"].astype(object).map({True: 1.0, False: 0.0})
    table = bench.summary(rows)
    false = table["case"].str.contains("just out of reach")
    assert len(table) == 12 and (table["promised"][false] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)).all()
    assert (table["kept"][~false] >= 0.97).all() and (table["promised"][~false] > 0.2).all()
    assert table["promised"][false & table["case"].str.contains("adjacent|exact on")].max() > 0


def test_coverage_judges_with_its_own_error():
    rows = [("covers", 0.95, 95), ("covers", 0.95, 92), ("at most", 0.05, 8), ("at most", 0.05, 12), ("at most", 0.05, 0)]
    counts = pd.DataFrame(rows, columns=["claim", "stated", "hits"]).assign(counted=100)
    assert script("coverage").judge(counts)["holds"].tolist() == [True, False, True, False, True]


def test_coverage_goes_on_where_it_was(tmp_path, monkeypatch):
    sim = script("coverage")
    for trials in ("3", "5"):
        call = ["coverage.py", "--only", "gap closed", "--folder", str(tmp_path), "--trials", trials]
        monkeypatch.setattr("sys.argv", call)
        sim.main()
    found = pd.read_csv(tmp_path / "coverage.csv")
    assert found["trials"].tolist() == [5, 5] and (found["counted"] <= 5).all()
    whole = sim.block("gap closed, where resolved", 0, 5)  # each trial has a seed of its own
    assert found["hits"].tolist() == whole["hits"].tolist()
    assert "gap closed" in (tmp_path / "coverage.md").read_text(encoding="utf-8") and (tmp_path / "coverage.json").is_file()


def test_scale_makes_the_same_essays_for_every_number_of_them(tmp_path, monkeypatch):
    bench = script("scale")
    monkeypatch.setattr(bench, "POOL", 5)
    few, more = list(bench.essays(8)), list(bench.essays(12))
    assert few == more[:8] and len({row["id"] for row in more}) == 12
    assert len({row["text"] for row in more}) > 9 and all(list(row) == bench.COLUMNS for row in more)
    file = bench.write(tmp_path / "essays.csv", 8)
    assert pd.read_csv(file)["text"].tolist() == [row["text"] for row in few]
    assert [path.name for path in tmp_path.iterdir()] == ["essays.csv"]


def test_scale_measures_a_process_and_tells_what_more_essays_would_take():
    bench = script("scale")
    found = bench.measured([sys.executable, "-c", "import time; big = bytes(range(256)) * 400_000; time.sleep(2)"])
    assert found["peak_mib"] > 100 and found["peak_own_mib"] > 95 and found["seconds"] >= 2 > found["cpu_seconds"]
    with pytest.raises(RuntimeError, match="exit code 3"):
        bench.measured([sys.executable, "-c", "raise SystemExit(3)"])
    rows = [["prepare", "", n, n / 1000, 1, n / 1000, 300, 100 + n / 1000, 1] for n in (10_000, 1_000_000)]
    said = bench.told(pd.DataFrame(rows, columns=["step", "student", *bench.MEASURES]))
    assert "10,000,000 essays would take 2.8 hours of one core and 10 GB of essays, 9.9 GiB of memory of its own" in said
    assert "GiB" not in bench.told(pd.DataFrame(rows[:1], columns=["step", "student", *bench.MEASURES]))  # too few to tell


def test_how_far_another_machine_moves_the_numbers_is_counted():
    machines = script("machines")
    old = pd.DataFrame({"arm": ["human", "full"], "qwk": [0.5, 0.7], "r": [0.5, float("nan")], "p": [0.1, 0.2]})
    new = old.assign(qwk=[0.53, 0.71], r=[0.5, 0.4], p=[0.1, 0.21])
    rows = machines.differences("t", old, new)
    assert rows == [
        ("t", "arm", 2, 0, 0.0),
        ("t", "qwk", 2, 2, pytest.approx(0.03)),
        ("t", "r", 2, 1, float("inf")),
        ("t", "p", 2, 1, pytest.approx(0.01)),
    ]
    assert machines.most_moved(pd.DataFrame(rows, columns=machines.COLUMNS))["column"].tolist() == ["qwk"]
    assert machines.differences("t", old, new.iloc[:1])[0][-1] == float("inf")


def test_noise_is_pooled_by_rater_over_what_training_reaches():
    machines = script("machines")
    values = pd.DataFrame(
        {"student": ["minilm", "minilm", "ridge", "ridge", "teacher"], "head": [*["regression"] * 4, "expected"]}
    )
    values = values.assign(variance=[0.01, 0.04, 0.0, 0.09, 0.25], degrees=[2, 1, 2, 2, 2])
    rows = {row[1]: row[3:] for row in machines.pooled(values, "qwk", "seeds")}
    assert rows["student"] == (pytest.approx(0.02**0.5), 3) and rows["ridge"] == (pytest.approx(0.3), 2)
    assert rows["teacher-expected"] == (pytest.approx(0.5), 2)


def test_corpus_measures_who_knows_more_on_the_same_test_essays(monkeypatch, tmp_path, capsys):
    bench = script("corpus")

    def features(essays):
        truth, rng = essays["true_score"].to_numpy()[:, None], np.random.default_rng(1)
        noise = {"Teacher": 0.3, "Student": 3.0, "words": 50.0}
        return {name: truth + rng.normal(0, sd, (len(essays), 30)) for name, sd in noise.items()} | {
            "statistics": np.zeros((len(essays), 2))
        }

    monkeypatch.setattr(bench, "features", features)
    monkeypatch.setattr(bench.paths, "results", tmp_path.joinpath)
    monkeypatch.setattr(
        "sys.argv", ["corpus.py", "--seeds", "5", "6", "--draws", "2", "--train", "120", "--test", "400", "--size", "40"]
    )
    bench.main()
    table = pd.read_csv(tmp_path / "simulated" / "design.csv")
    assert len(table) == 2 * (2 * 5 + 4 + 1) and not table["qwk"].isna().any() and "corpus seed 6" in capsys.readouterr().out
    qwk = table.groupby(["scorer", "labels"], dropna=False)["qwk"].mean()
    assert qwk["Teacher", "human"] > qwk["Student", "cyborg"] > qwk["Student", "human"]
    assert qwk["Student", "full"] > qwk["Student", "human"] > qwk["words", "human"] and qwk["statistics", "human"] == 0


def test_starts_go_on_where_they_were_stopped_and_the_page_counts_them(monkeypatch, tmp_path, capsys):
    bench, calls = script("starts"), []

    def start(way, seed):
        calls.append((way, seed))
        if len(calls) == 5:
            raise KeyboardInterrupt
        qwk = {"lora": [0.1, 0.55, 0.2], "frozen": [0.5] * 3, "frozen-then-lora": [0.6] * 3}[way][seed - 1]
        row = {"way": way, "seed": seed, "n_human": 60, "qwk": qwk, "r": 0.5, "failed": qwk <= 0.2}
        return row | {"epoch": 8, "minutes": 2.0}

    from cyborg_utils.core import paths

    monkeypatch.setattr(bench, "start", start)
    monkeypatch.setattr(paths, "results", tmp_path.joinpath)
    monkeypatch.setattr("sys.argv", ["starts.py", "--starts", "3"])
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    page = (tmp_path / "starts" / "README.md").read_text(encoding="utf-8")
    assert "60 human scores, 4 starts of 3 ways" in page and "On the 1 seeds that all ways have" in page
    bench.main()
    assert len(calls) == 10 and len(set(calls)) == 9
    page = (tmp_path / "starts" / "README.md").read_text(encoding="utf-8")
    cells = next(line for line in page.splitlines() if line.startswith("| lora ")).replace(" ", "").split("|")
    assert cells[2:4] == ["3", "2"] and cells[5] == "0.283" and cells[7] == "0.100"
    assert "frozen-then-lora minus lora: QWK +0.317, higher in 3 of 3 starts" in page
    assert len(pd.read_csv(tmp_path / "starts" / "starts.csv")) == 9 and "3" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("way", ["frozen", "lora", "frozen-then-lora"])
def test_a_start_is_a_teacher_from_nothing_judged_on_development_essays(way, make_study, tiny_models):
    from cyborg_utils.core import paths

    data = {"corpus": "simulated", "scale": [1, 6, 1], "score": "score", "groups": [], "dev": 12, "test": 16}
    data |= {"stratify": "nothing", "options": {"essays": 108, "seed": 1}}
    own = {"model": str(tiny_models["qwen2"]), "layers": [2], "rubric": False, "max_tokens": 64}
    make_study("try", prepare_data=data, finetune_teacher=own, runs=[{"fraction": 0.25, "seeds": [1]}])
    bench = script("starts")
    row = bench.start(way, 3, profile="try", changes={"epochs": 1})
    assert list(row) == ["way", "seed", "n_human", "qwk", "r", "failed", "epoch", "minutes"]
    assert (row["way"], row["n_human"], row["epoch"]) == (way, 20, 0 if way == "frozen" else 1)
    assert row["failed"] == (row["qwk"] <= 0.2) and 0 < row["minutes"] < 10 and not any(paths.build("starts").iterdir())


def test_minutes_to_an_agreement_are_those_of_the_first_epoch_that_has_it():
    bench = script("agreement")
    rows = [("lora", seed, epoch, r, r + 0.01, 2.0 * epoch) for seed in (1, 2) for epoch, r in ((1, 0.3), (2, 0.5 + seed / 10))]
    rows += [("frozen", 1, 0, 0.59, 0.6, 0.5)]
    table = pd.DataFrame(rows, columns=["way", "seed", "epoch", "r", "qwk", "minutes"]).assign(n_human=180, n_dev=271)
    lora, frozen = bench.summary(table).to_dict("records")
    assert (lora["Teachers"], lora["r >= 0.60"], lora["minutes to it"], lora["best r"]) == (2, 2, 4.0, pytest.approx(0.65))
    assert lora["lowest of these"] == pytest.approx(0.61) and frozen["r >= 0.60"] == 0 and np.isnan(frozen["minutes to it"])
    page = bench.told(table, Namespace(profile="try", teacher="small", tokens=256), "P, 2 cores")
    assert "180 human scores, 256 tokens of an essay, judged on 271 development essays" in page and "P, 2 cores" in page


@pytest.mark.slow
@pytest.mark.parametrize("way", ["frozen", "lora", "lora_from 0.5, twice the rate", "the same, from U's scores"])
def test_every_epoch_is_judged_on_development_essays_with_the_minutes_until_then(way, make_study, tiny_models):
    from cyborg_utils.core import paths

    data = {"corpus": "simulated", "scale": [1, 6, 1], "score": "score", "groups": [], "dev": 12, "test": 16}
    own = {"model": str(tiny_models["qwen2"]), "layers": [2], "max_tokens": 64, "epochs": 2}
    make_study(
        "try",
        prepare_data=data | {"options": {"essays": 108, "seed": 1}},
        finetune_teacher=own,
        compare_teachers={"teachers": [{"name": "small", "learning_rate": 1e-3}, {"name": "other", "epochs": 0}]},
        runs=[{"fraction": 0.25, "seeds": [1]}],
    )
    rows = script("agreement").epochs(way, 3, profile="try", name="small", tokens=60, judged=10)
    assert [row["epoch"] for row in rows] == ([0] if way == "frozen" else [1, 2])
    minutes = [row["minutes"] for row in rows]
    assert minutes[0] > 0 and minutes == sorted(minutes) and {row["n_dev"] for row in rows} == {10}
    assert not paths.build("_states").exists()  # made from nothing


@pytest.mark.slow
def test_updates_are_those_of_the_schedule_and_no_test_essay_is_read(make_study, tiny_models, monkeypatch, capsys):
    from cyborg_utils.core import paths
    from cyborg_utils.models import trials

    data = {"corpus": "simulated", "scale": [1, 6, 1], "score": "score", "groups": [], "dev": 12, "test": 16}
    data |= {"stratify": "nothing", "options": {"essays": 108, "seed": 1}}
    make_study("try", prepare_data=data, train_student={"models": [str(tiny_models["bert"])], "batch_size": 8, "max_tokens": 32})
    bench, read = script("updates"), []
    run = trials.run
    monkeypatch.setattr(
        trials, "run", lambda jobs, kind, texts, **rest: read.append(len(texts)) or run(jobs, kind, texts, **rest)
    )
    words = "updates.py try --fraction 0.25 --held 20 --heads regression classification --human 3 6 --full 8"
    monkeypatch.setattr("sys.argv", words.split())
    bench.main()
    table = pd.read_csv(paths.results("updates", "try.csv"))
    assert table["labels"].tolist() == ["human", "human", "human", "human", "full", "full"] and set(read) == {12 + 20}
    # 20 of 80 training essays are U: 3 updates a pass; 60 remain beside those that are held: 8 updates
    assert table["n_human"].tolist() == [20] * 4 + [60] * 2 and table["updates"].tolist() == [3, 6, 3, 6, 8, 8]
    levels = table[table["head"] == "classification"]
    assert (levels["qwk"] == levels["qwk_matched"]).all() and (table["minutes"] > 0).all()
    assert "20 training essays that no Student learned from" in paths.results("updates", "try.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- speed, on tiny models


@pytest.fixture
def bench(monkeypatch):
    """benchmarks/speed.py with short texts."""
    found = script("speed")
    monkeypatch.setitem(found.SETTINGS, "teacher_tokens", 60)
    monkeypatch.setitem(found.SETTINGS, "student_tokens", 60)
    return found


@pytest.mark.parametrize(
    "task, kind",
    [
        ("teacher training", "llama"),
        ("teacher training, lora_from 0.5", "llama"),
        ("teacher scoring", "llama"),
        ("frozen states", "llama"),
        ("student training", "bert"),
    ],
)
def test_the_first_update_is_not_timed(task, kind, tiny_models, bench):
    size = 4 if kind == "llama" else 16
    found = bench.one(task, "ours", str(tiny_models[kind]), 3 * size)
    assert found["seconds"] > 0 and found["tokens"] >= found["computed"] > 0
    frame = bench.essays(3 * size)
    if kind == "llama":
        tokenizer = AutoTokenizer.from_pretrained(tiny_models[kind])
        prompts, _ = bench._prompts(tokenizer, frame)
        assert found["tokens"] < sum(map(len, prompts)) and found["computed"] < 0.8 * found["tokens"]  # the rubric is read once
    if task == "teacher training, lora_from 0.5":
        whole = bench.one("teacher training", "ours", str(tiny_models[kind]), 3 * size)
        assert 0 < found["flops"] < 0.8 * whole["flops"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "task, kind", [("teacher training", "llama"), ("teacher scoring", "llama"), ("student training", "bert")]
)
def test_the_plain_way_counts_the_same_tokens(task, kind, tiny_models, bench):
    size = 4 if kind == "llama" else 16
    found = bench.one(task, "plain", str(tiny_models[kind]), 5 * size)
    assert found["seconds"] > 0 and found["computed"] == found["tokens"] > 0


def test_the_table_of_speeds_compares_within_a_round():
    bench = script("speed")
    rows = []
    for number, plain, ours in ((1, 100, 300), (2, 120, 240), (3, 110, 275)):
        for task, way, speed in (("teacher training", "plain", plain), ("teacher training", "ours", ours)):
            rows.append({"task": task, "round": number, "way": way, "tokens_per_second": speed, "flops": 4e9, "seconds": 1.0})
        rows.append(rows[-1] | {"task": "teacher training, lora_from 0.5", "tokens_per_second": 2 * ours})
    table = bench.summary(pd.DataFrame(rows), peak=10.0).set_index("task")
    first, second = table.loc["teacher training"], table.loc["teacher training, lora_from 0.5"]
    assert (first["plain"], first["ours"], first["lowest"], first["highest"]) == (110, 275, 2.0, 3.0)
    assert second["plain"] == 110 and second["highest"] == 6.0 and first["share"] == pytest.approx(0.4)


def test_promises_are_counted_draw_by_draw():
    made = script("promises")
    rows = [("c", 1, "mean", "groups", 0.95, kept, 1.0, 0.2) for kept in (True, True, False, None)]
    rows += [("c", draw, "mean", "groups", 0.95, True, 1.0, 0.2) for draw in range(2, 12)]
    rows += [("c", draw, "guarantee", "exact", 0.95, None, np.nan, 0.0) for draw in range(1, 12)]
    frame = pd.DataFrame(rows, columns=made.COLUMNS).astype({"kept": float})
    means, guarantee = made.summary(frame).to_dict("records")
    assert means["kept"] == pytest.approx((2 / 3 + 10) / 11) and means["promised"] == pytest.approx(13 / 14) and means["holds"]
    assert guarantee["promised"] == 0 and guarantee["holds"] is None
    planted = pd.DataFrame({"corpus": "c", "draw": [1, 2], "hits": [1, 2], "listed": [2, 2], "planted": [4, 2]})
    found = made.slip_summary(planted).iloc[0]
    assert found["precision"] == 0.75 and found["recall"] == 0.5
