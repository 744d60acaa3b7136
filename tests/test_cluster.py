"""A study as jobs of a cluster: on a Slurm of this machine's own, for real; on Kubernetes what it would do."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import one_machine_slurm
import pandas as pd
import pytest
import yaml
from conftest import CHECKOUT

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import workflow

PLUGINS = {
    name: importlib.util.find_spec(name) for name in ("snakemake_executor_plugin_slurm", "snakemake_executor_plugin_kubernetes")
}
WITHOUT = "Snakemake's plugin is not installed here: make cluster-env"


# ---- the profile


def test_an_unknown_cluster_or_one_without_its_plugin_is_told_before_anything_starts(make_study, tmp_path):
    make_study("try")
    with pytest.raises(CyborgError, match="CLUSTER=nowhere: no such profile. There are kubernetes, slurm; or name a folder"):
        workflow.run("try", cluster="nowhere")
    (tmp_path / "config.yaml").write_text("executor: of-nobody\n")
    with pytest.raises(CyborgError, match="snakemake-executor-plugin-of-nobody is not installed. `make cluster-env` installs it"):
        workflow.run("try", cluster=str(tmp_path))
    assert not paths.build("try").exists()


def test_make_hands_the_cluster_on():
    call = ["make", "--dry-run", "reproduce", "PROFILE=ellipse", "CLUSTER=slurm"]
    said = subprocess.run(call, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"cyborg_utils reproduce ellipse .*--cluster slurm", said)


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_names_the_steps_with_a_model_and_says_what_each_key_means(name):
    file = CHECKOUT / "profiles" / name / "config.yaml"
    text = file.read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    snakefile = (CHECKOUT / "Snakefile").read_text(encoding="utf-8")
    rules = set(re.findall(r"^rule (\w+):", snakefile, flags=re.MULTILINE))
    rules |= set(re.findall(r'^    "\d\d_(\w+)": [\[(A]', snakefile, flags=re.MULTILINE))  # those made in a loop
    with_model = {"finetune_teacher", "label_essays", "train_student", "beyond"}
    assert with_model < rules and set(settings["set-threads"]) == set(settings["set-resources"]) == with_model
    assert all(asked["gpu"] == 1 for asked in settings["set-resources"].values())
    assert settings["executor"] == name and settings["retries"] > 0 and settings["latency-wait"] >= 30
    lines = text.splitlines()
    for key in settings:  # a comment stands above each
        (at,) = [number for number, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert lines[at - 1].startswith("#") or lines[at - 2].startswith("#"), key


@pytest.mark.skipif(not PLUGINS["snakemake_executor_plugin_kubernetes"], reason=WITHOUT)
def test_a_study_is_planned_for_kubernetes(project, make_study, capfd):
    make_study("try")
    call = workflow.command("try", dry_run=True, cluster="kubernetes")
    done = subprocess.run(call, env=workflow.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, flags=re.MULTILINE)}
    assert found["finetune_teacher"] == 1 and found["train_student"] == 2 and found["total"] == 10


# ---- Slurm, for real

SLURM = one_machine_slurm.missing() or ("" if PLUGINS["snakemake_executor_plugin_slurm"] else WITHOUT)


@pytest.fixture
def small_study(project: Path, make_study, tiny_models) -> Path:
    """A project with the study `small`: every rule of the paper's own notebooks once, on tiny models."""
    smoke = yaml.safe_load((CHECKOUT / "params" / "smoke.yaml").read_text(encoding="utf-8"))
    for name in ("llama", "electra"):
        shutil.copytree(tiny_models[name], project / "build" / "tiny" / name)
    sections = ("prepare_data", "finetune_teacher", "train_student", "test_significance", "analyze_bias")
    changes = {name: smoke[name] for name in sections}
    changes["train_student"] |= {"heads": ["regression"], "labels": ["human", "cyborg"]}
    make_study("small", runs=smoke["runs"], **changes)
    return project


def profile_for_one_machine(folder: Path) -> Path:
    """The committed Slurm profile with what a site sets: no accounts, one core and little memory, and a test's patience.

    One core, since the number of cores changes the last digits of what a network computes.
    """
    settings = yaml.safe_load((CHECKOUT / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    settings |= {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 5, "latency-wait": 10}
    settings["default-resources"]["mem_mb"] = 500
    settings["set-threads"] = dict.fromkeys(settings["set-threads"], 1)
    for asked in settings["set-resources"].values():
        asked["mem_mb"] = 1000
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


def start(home: Path, *options: str, environment: dict[str, str]) -> subprocess.Popen:
    call = [sys.executable, "-m", "cyborg_utils", "reproduce", "small", *options]
    said = (home / "said.txt").open("wb")
    environment = {**environment, "CYBORG_HOME": str(home)}
    return subprocess.Popen(call, cwd=home, env=environment, stdout=said, stderr=said, start_new_session=True)


def jobs(environment: dict[str, str]) -> list[dict[str, str]]:
    """All jobs that Slurm remembers: id, rule, state, asked (for a GPU, or not)."""
    columns = {"id": "JobID:20", "rule": "Comment:120", "state": "State:20", "asked": "tres-per-job:120"}
    call = ["squeue", "--noheader", "--states=all", "--Format", ",".join(columns.values())]
    lines = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=30).stdout.splitlines()
    cells = [(line[:20], line[20:140], line[140:160], line[160:]) for line in lines]
    return [dict(zip(columns, map(str.strip, row), strict=True)) for row in cells]


def until(ready, study: subprocess.Popen, home: Path, seconds: float = 600):
    """Wait for something of a study at work; what it is."""
    stop = time.monotonic() + seconds
    while not (found := ready()):
        if study.poll() is not None or time.monotonic() > stop:
            pytest.fail(f"it did not come to that:\n{(home / 'said.txt').read_text()[-3000:]}")
        time.sleep(0.3)
    return found


def executing(home: Path, step: str) -> int:
    """The process that executes a step; 0 before there is one."""
    lock = home / "build" / "small" / "running" / f"{step}.lock"
    return int(lock.read_text().partition(" ")[0] or 0) if lock.is_file() else 0


@pytest.mark.slow
@pytest.mark.xdist_group("slurm")
@pytest.mark.skipif(bool(SLURM), reason=SLURM)
def test_a_study_on_slurm_outlives_killed_jobs_and_gives_the_tables_of_a_local_run(small_study, tmp_path):
    local = tmp_path / "local"
    shutil.copytree(small_study, local)
    profile = profile_for_one_machine(tmp_path / "site")
    with one_machine_slurm.running() as environment:
        study = start(small_study, "--cluster", str(profile), environment=environment)
        try:
            process = until(lambda: executing(small_study, "02_finetune_teacher_u25_s1"), study, small_study)
            os.kill(process, signal.SIGKILL)  # as when memory runs out
            training = until(
                lambda: [job for job in jobs(environment) if "train_student" in job["rule"] and job["state"] == "RUNNING"],
                study,
                small_study,
            )
            subprocess.run(["scancel", training[0]["id"]], env=environment, check=True, timeout=30)
            beside = start(local, "--cores", "1", environment=dict(os.environ))
            assert study.wait(900) == 0, (small_study / "said.txt").read_text()[-5000:]
            seen = jobs(environment)
            again = start(small_study, "--cluster", str(profile), environment=environment)
            assert again.wait(200) == 0 and "Nothing to do" in (small_study / "said.txt").read_text()
        finally:
            study.poll() is None and os.killpg(study.pid, signal.SIGTERM)
            study.wait(60)
    assert beside.wait(900) == 0, (local / "said.txt").read_text()[-5000:]

    states = {}
    for job in seen:
        states.setdefault(re.match(r"rule_([a-z_]+?)(_wildcards.*)?$", job["rule"]).group(1), []).append(job["state"])
    assert {rule: sorted(found) for rule, found in states.items()} == {
        "prepare_data": ["COMPLETED"],
        "finetune_teacher": ["COMPLETED", "FAILED"],
        "label_essays": ["COMPLETED"],
        "train_student": ["CANCELLED", "COMPLETED"],
        **dict.fromkeys(("test_significance", "analyze_bias", "audit_scores", "overview"), ["COMPLETED"]),
    }
    for job in seen:
        with_model = any(rule in job["rule"] for rule in ("finetune_teacher", "label_essays", "train_student"))
        assert ("gpu:1" in job["asked"]) == with_model, job

    here, there = (numbers(home / "results" / "small") for home in (small_study, local))
    assert len(here) > 10 and set(here) == set(there)
    for name in here:
        pd.testing.assert_frame_equal(here[name], there[name], check_exact=True, obj=name)


def numbers(results: Path) -> dict[str, pd.DataFrame]:
    """All tables and scores of a study by their file's name, without the time that they took."""
    files = [*results.glob("tables/*.csv"), *results.glob("scores/*.csv")]
    return {file.name: pd.read_csv(file).drop(columns="seconds", errors="ignore") for file in files}
