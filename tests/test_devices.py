"""Several GPUs: each step that runs a model gets one of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile

import pytest

from cyborg_utils.run import devices, workflow

STEP = """
import os, sys, time
from cyborg_utils.run import devices
with devices.own() as name:
    print(name, os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def none_visible(monkeypatch, tmp_path):
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    monkeypatch.delenv(devices.SHARED_OUT, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.mark.parametrize(
    "value, names", [("", []), ("-1", []), ("0", ["0"]), ("2, 3", ["2", "3"]), ("GPU-ab,MIG-cd", ["GPU-ab", "MIG-cd"])]
)
def test_the_environment_says_which_may_be_used(none_visible, monkeypatch, value, names):
    monkeypatch.setenv(devices.VISIBLE, value)
    assert devices.visible() == names
    assert devices.shared_out() == ({devices.SHARED_OUT: ",".join(names)} if len(names) > 1 else {})


def test_else_the_driver_lists_them(none_visible, monkeypatch, tmp_path):
    listed = tmp_path / "nvidia-smi"
    listed.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: GPU-1)'\necho '  MIG 1g.5gb'\necho 'GPU 1: A (UUID: GPU-2)'\n")
    listed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices.subprocess, "run", subprocess.run)
    assert devices.visible() == ["0", "1"]
    listed.write_text("#!/bin/sh\nexit 9\n")
    assert devices.visible() == []
    listed.unlink()
    assert devices.visible() == []


def test_two_steps_have_two_gpus_and_a_third_waits(none_visible, monkeypatch):
    monkeypatch.setenv(devices.SHARED_OUT, "2,5")
    steps = [
        subprocess.Popen([sys.executable, "-c", STEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        names = [step.stdout.readline().split() for step in steps]
        assert sorted(names) == [["2", "2"], ["5", "5"]]
        third = subprocess.Popen([sys.executable, "-c", STEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        steps.append(third)
        assert select.select([third.stdout], [], [], 3)[0] == []
        steps[0].kill()  # a step that is killed gives its GPU back
        assert third.stdout.readline().split() == names[0]
    finally:
        for step in steps:
            step.kill()
            step.wait()


def test_a_step_sees_its_own_and_afterwards_all_again(none_visible, monkeypatch):
    with devices.own() as name:
        assert name == "" and devices.VISIBLE not in os.environ  # one GPU or none: nothing changes
    monkeypatch.setenv(devices.SHARED_OUT, "0,1")
    monkeypatch.setenv(devices.VISIBLE, "0,1")
    with devices.own() as first, devices.own() as second:
        assert {first, second} == {"0", "1"} and os.environ[devices.VISIBLE] == second
    assert os.environ[devices.VISIBLE] == "0,1"


@pytest.mark.parametrize("names, resources", [("", "gpu=1"), ("0", "gpu=1"), ("0,1,2", "gpu=3")])
def test_snakemake_counts_them_and_shares_the_cores(project, make_study, none_visible, monkeypatch, names, resources):
    make_study("try")
    monkeypatch.setenv(devices.VISIBLE, names)
    call = workflow.command("try")
    assert call[call.index("--resources") + 1] == resources
    assert ("gpus=3" in call) == (resources == "gpu=3")
    monkeypatch.chdir(project)
    dry = workflow.command("try", dry_run=True, cores="8")
    dry[dry.index("--quiet") :] = ["--printshellcmds"]
    said = subprocess.run(dry, env=workflow.environment(), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    lines = (said.stdout + said.stderr).splitlines()
    assert sum("--gpu" in line for line in lines) == 4  # 02, 03, and 04 twice
    threads = {line.strip() for line in lines if line.strip().startswith("threads:")}
    assert threads == {"threads: 8"} if resources == "gpu=1" else {"threads: 2"}
