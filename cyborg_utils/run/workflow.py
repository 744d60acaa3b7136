"""Run a whole study: `cyborg reproduce demo`. Snakemake decides what is to do; this says what was done."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from cyborg_utils.core import atomic, config, paths, provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.run import devices, freshness
from cyborg_utils.run.lock import locked
from cyborg_utils.study import artefacts, summary


def steps(study: config.Study, *, tables: bool = False) -> list[str]:
    """Every execution of a notebook, by the name of its copy; with `tables` only those without a model.

    The paper's experiment compares with human scores of all essays, so a half-scored study has no notebooks 02 to 06.
    """
    if study.half_scored:
        return ["01_prepare_data", *(() if tables else study.beyond)]
    names = ("02_finetune_teacher", "03_label_essays", "04_train_student")
    models = [f"{name}_{run.name}" for run in study.runs for name in names]
    models += [f"04_train_student_{run.name}" for run in study.full_runs]
    analyses = ["05_test_significance", "06_analyze_bias", "14_audit_scores"]
    return ["01_prepare_data", *([] if tables else models), *analyses, *(() if tables else study.beyond), "00_overview"]


def cluster_options(name: str, profile: str) -> list[str]:
    """Snakemake's options for the profile `profiles/<name>`, or the folder of that name.

    Raises CyborgError where there is none, or where its plugins are not installed.
    """
    own = paths.CHECKOUT / "profiles"
    folder = next((folder for folder in (own / name, Path(name)) if (folder / "config.yaml").is_file()), None)
    if folder is None:
        known = ", ".join(sorted(file.parent.name for file in own.glob("*/config.yaml")))
        raise CyborgError(f"CLUSTER={name}: no such profile. There are {known}; or name a folder that holds a config.yaml.")
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    plugins = {"executor": settings.get("executor"), "storage": settings.get("default-storage-provider")}
    needed = [f"snakemake-{kind}-plugin-{plugin}" for kind, plugin in plugins.items() if plugin]
    if absent := [plugin for plugin in needed if not importlib.util.find_spec(plugin.replace("-", "_"))]:
        raise CyborgError(f"CLUSTER={name}: {', '.join(absent)} is not installed. `make cluster-env` installs it.")
    options, build = ["--profile", str(folder.resolve())], str(paths.build(profile))
    if plugins["storage"]:  # its jobs begin elsewhere, but see the same volume
        options += ["--default-storage-prefix", build, "--precommand", f"cd {shlex.quote(build)}"]
    return options


def command(
    profile: str, *, tables: bool = False, keep: bool = False, dry_run: bool = False, cores: str = "all", cluster: str = ""
) -> list[str]:
    """The Snakemake call. With `keep` it leaves out the steps that are `freshness.kept`, and the notebooks `freshness.left_out`.

    On this machine as many steps with a model run at once as it has GPUs, else one. With `cluster` the profile says how many, and
    where.

    Snakemake takes no lock: `run` holds one of its own, which a killed run cannot leave behind. Every step is a target: otherwise
    a step in the middle that is no longer done would stay so while the last one is done.
    """
    snakefile = paths.CHECKOUT / "Snakefile"
    known = freshness.kept(profile) if keep else []
    known += freshness.left_out(profile, known)
    study = config.load(profile)
    targets = [f"done/{step}.json" for step in steps(study, tables=tables) if step not in known]
    targets += [] if study.half_scored else ["html/index.html"]
    call = [sys.executable, "-m", "snakemake", *targets]
    call += ["--snakefile", str(snakefile), "--directory", str(paths.build(profile))]
    gpus = 1 if cluster else max(1, len(devices.visible()))
    wishes = [*(["tables=1"] if tables else []), *([f"keep={','.join(known)}"] if known else [])]
    wishes += [f"gpus={gpus}"] if gpus > 1 else []
    call += ["--config", f"profile={profile}", *wishes]
    call += cluster_options(cluster, profile) if cluster else ["--cores", cores, "--resources", f"gpu={gpus}"]
    call += ["--rerun-incomplete", "--nolock", "--rerun-triggers", "mtime", "params", "input", "--scheduler", "greedy"]
    if dry_run:
        return [*call, "--dry-run", "--quiet", "host"]
    return [*call, "--quiet", *(("host", "rules") if cluster else ("all",))]  # jobs of a cluster do not speak here


# By default glibc returns the memory of large tensors to the system at once and takes it anew, page by page. On a CPU that cost
# up to two thirds of the time (`make bench`). With these settings it keeps the memory, in huge pages. Other systems ignore them.
ALLOCATOR = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"


def environment() -> dict[str, str]:
    """This process's environment, with this checkout's package first and an allocator that suits tensors."""
    package = str(paths.CHECKOUT)
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {"GLIBC_TUNABLES": ALLOCATOR, **os.environ, "PYTHONPATH": search}


def run(profile: str, *, tables: bool = False, keep: bool = False, cores: str = "all", cluster: str = "") -> bool:
    """Execute what is not up to date; print the time of each step and where the results are. True if anything was done.

    A checkout with uncommitted sources is named at the start and at the end (`provenance.warning`); the run goes on.

    Raises CyborgError if a step failed (its own message is printed before), or if this study is being executed already.
    """
    study = config.load(profile)  # a mistake in it, or in the cluster's name, is reported before anything starts
    _ = cluster and cluster_options(cluster, profile)
    started = time.time()
    with locked(paths.build(profile, "running", "workflow.lock"), f"the study {profile!r}") as handle:
        atomic.sweep(paths.build(profile)), atomic.sweep(paths.results(profile))
        messages = [*freshness.forget_changed_essays(profile), *freshness.forget_changed(profile)]
        for line in [*messages, *(_without(profile) if keep else []), *filter(None, [provenance.warning()])]:
            print(line)
        print(f"{study.title}\n{len(study.runs)} run(s); results in {paths.shown(paths.results(profile))}\n", flush=True)
        before = _stamps(profile)
        call = command(profile, tables=tables, keep=keep, cores=cores, cluster=cluster)
        # Snakemake inherits the lock: if this process is killed, the study counts as running until Snakemake has ended too.
        process = subprocess.Popen(call, env=environment() | ({} if cluster else devices.shared_out()), pass_fds=[handle])
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the terminal has sent it to Snakemake too, which ends its step first
            code = process.wait() or 130
    new = [stamp for stamp, state in _stamps(profile).items() if before.get(stamp) != state]
    if code:
        raise CyborgError(
            f"Stopped after {time.time() - started:.0f} s; {len(new)} step(s) were finished. The same command goes on from here."
        )
    if "00_overview" in new and artefacts.record_file(profile, "00_overview").is_file():
        summary.write(profile)
    _tell(profile, new, time.time() - started)
    return bool(new)


def _without(profile: str) -> list[str]:
    """A message that names the notebooks that `keep` leaves out and whose results are missing; none where there are none."""
    missing = [name for name, there in freshness.left_out(profile, freshness.kept(profile)).items() if not there]
    why = "They train models of their own, or load some that are not on this machine."
    message = f"Left out with KEEP=1: {', '.join(missing)}. {why}"
    return [f"{message} `make reproduce PROFILE={profile}` makes these models and does them too."] if missing else []


def _stamps(profile: str) -> dict[str, int]:
    return {stamp.stem: stamp.stat().st_mtime_ns for stamp in freshness.stamps(profile)}


def _tell(profile: str, new: list[str], seconds: float) -> None:
    """Print what each notebook with new steps took; then, in three lines, what was done, what was found, and where it is."""
    half_scored = config.load(profile).half_scored
    page = ("label", "page.html") if half_scored else ("html", "index.html")
    where = f"Look at {paths.shown(paths.build(profile, *page))}"
    where += f"; `cyborg label {profile}` writes the scores" if half_scored else ""
    done, found = summary.in_short(profile) or ("", "")
    if not new:
        print("\n".join(filter(None, [f"Nothing to do: every notebook of the study {profile!r} is up to date.", found, where])))
        return
    rows = artefacts.records(profile)
    rows["step"] = [f"{row.notebook}_{row.run}" if row.run else row.notebook for row in rows.itertuples()]
    rows = rows[rows["step"].isin(new)]
    if dirty := [row.step for row in rows.itertuples() if str(row.commit).endswith(provenance.DIRTY)]:
        print(f"From uncommitted sources, so no commit repeats them: {', '.join(dirty)}. Do not commit these results.")
    width = rows["notebook"].str.len().max()
    print(f"\n{'notebook':<{width}}  steps  seconds  peak memory")
    for name, own in rows.groupby("notebook"):
        print(f"{name:<{width}}  {len(own):5}  {own['seconds'].sum():7.0f}  {own['peak_memory_gib'].max():7.2f} GiB")
    where += f"; tables, figures and executed notebooks are in {paths.shown(paths.results(profile))}"
    print("\n" + "\n".join(filter(None, [f"Done: {len(rows)} step(s) in {seconds:.0f} s. {done}".strip(), found, where])))
