"""A Slurm cluster of one node, on loopback and in one folder, for as long as a test needs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "srun")
DEVICES = ("/dev/null", "/dev/zero")
CONFIGURATION = """\
ClusterName=here
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=5
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
MinJobAge=600
KillWait=2
ReturnToService=2
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """What a cluster lacks here; nothing where it can be started."""
    absent = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    if absent:
        return f"no {', '.join(absent)} here (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "its daemons start jobs, so they are started by root"


@contextmanager
def running(*, cpus: int = 2, gpus: int = 2) -> Iterator[dict[str, str]]:
    """Start a cluster, in a folder with a short name: a path of its sockets has at most 108 letters, which pytest's can exceed.

    Yield the environment in which Slurm's commands reach it. The GPUs are only counted: no device is behind.

    Raises RuntimeError with the logs where it is not ready within half a minute. Processes and files are gone after the block.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o700)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, node = _free_ports(2)
    # Slurm wants a file for each: these are there everywhere and harm nobody
    (folder / "gres.conf").write_text("".join(f"NodeName=localhost Name=gpu File={file}\n" for file in DEVICES[:gpus]))
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, controller=controller, node=node, cpus=cpus, gpus=gpus)
    )
    # Snakemake's plugin takes SLURM_CONF from its srun, which then looks into /etc, where a real cluster has it
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=_path())} "$@"\n')
    srun.chmod(0o755)
    path = os.pathsep.join([str(srun.parent), _path()])
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    names = {
        "socket": "munge.socket",
        "key-file": "munge.key",
        "log-file": "munged.log",
        "pid-file": "munged.pid",
        "seed-file": "seed",
    }
    munge = ["munged", "--foreground", "--force", *(f"--{name}={folder / file}" for name, file in names.items())]
    started: list[subprocess.Popen] = []
    try:
        for call in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]):
            log = (folder / f"{call[0]}.out").open("wb")
            started.append(subprocess.Popen(call, env=environment, stdout=log, stderr=log, start_new_session=True))
            if call is munge:
                _wait(lambda: (folder / "munge.socket").exists(), folder, started)
        _wait(lambda: "idle" in _said(["sinfo", "-h", "-o", "%T"], environment), folder, started)
        yield environment
    finally:
        if len(started) == 3:
            _said(["scancel", "--user=root"], environment)
            with suppress(RuntimeError):
                _wait(lambda: not _said(["squeue", "-h"], environment).strip(), folder, [], seconds=15)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _said(call: list[str], environment: dict[str, str]) -> str:
    with suppress(subprocess.TimeoutExpired):
        return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=15).stdout
    return ""


def _wait(ready, folder: Path, started: list[subprocess.Popen], *, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not ready():
        ended = [process.args[0] for process in started if process.poll() is not None]
        if ended or time.monotonic() > until:
            logs = [file for file in sorted(folder.iterdir()) if file.suffix in (".log", ".out") and file.stat().st_size]
            told = "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in logs)
            raise RuntimeError(f"Slurm did not start ({', '.join(ended) or 'too slow'}):\n{told}")
        time.sleep(0.2)
