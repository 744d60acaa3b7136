"""Kill a study at random moments, in all its steps, and compare what comes out with a run that nobody disturbed.

    .venv/bin/python benchmarks/kill.py --kills 4        # of each step; writes results/robustness/kills.csv, .md, .json

The study is that of `params/smoke.yaml` without what goes beyond the paper: simulated essays, tiny random models, all arms. It
runs in two project folders of its own. In the second every process (workflow, Snakemake, notebook runner, kernel) is killed with
SIGKILL again and again, and the same command given again. Then tables, scores, figures, essays and weights must be the same, byte
for byte; only measured seconds, a column of two tables, are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml

HOME = Path(__file__).resolve().parent.parent
PROFILE = "kill"
MARK = "CYBORG_KILL"  # in the environment of every process of a run, also of kernels, which leave the session
START = "start-up"  # before the first step of a call
ONLY = """import subprocess, sys
from cyborg_utils.run import workflow
call = workflow.command(sys.argv[1], cores="1")
call = [word for word in call if not word.startswith("done/") and word != "html/index.html"]
call[3:3] = sys.argv[2:]
sys.exit(subprocess.run(call, env=workflow.environment()).returncode)"""
SEPARATORS = {".csv": ",", ".md": "|", ".tex": "&"}


# ---------------------------------------------------------------- a study


def project(folder: Path) -> Path:
    """A project folder with the study and its tiny models; one that is there stays."""
    if (folder / "log.txt").is_file():
        return folder
    for name in ("params", "notebooks"):
        shutil.copytree(HOME / name, folder / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    study = yaml.safe_load((HOME / "params" / "smoke.yaml").read_text(encoding="utf-8"))
    from cyborg_utils.core.parameters import SECTIONS

    beyond = {name for name, section in SECTIONS.items() if section.beyond_paper}
    study = {name: value for name, value in study.items() if name not in beyond}
    (folder / "params" / f"{PROFILE}.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    tiny = [sys.executable, str(HOME / "tests" / "tiny_models.py"), str(folder / "build" / "tiny")]
    subprocess.run(tiny, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(HOME)})
    return folder


@dataclass
class Run:
    """One call of a study in a project folder, with all the processes that it starts. `targets`: stamps, else the whole study."""

    folder: Path
    targets: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.log = (self.folder / "log.txt").open("ab")
        own = {"CYBORG_HOME": str(self.folder), "PYTHONPATH": str(HOME), MARK: self.token, "OMP_NUM_THREADS": "1"}
        call = [sys.executable, "-m", "cyborg_utils", "reproduce", PROFILE, "--cores", "1"]
        if self.targets:
            call = [sys.executable, "-c", ONLY, PROFILE, *self.targets]
        self.process = subprocess.Popen(
            call, env={**os.environ, **own}, stdout=self.log, stderr=self.log, start_new_session=True, cwd=self.folder
        )

    def members(self) -> list[int]:
        """All living processes of this run."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.token}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # gone, or not ours
                continue
        return found

    def step(self) -> str:
        """The step at work, by the name of its stamp; "" between two steps."""
        for pid in self.members():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[2:4] == ["cyborg_utils", "run"] and "--done" in words:
                return Path(words[words.index("--done") + 1]).stem
            if words[2:4] == ["cyborg_utils", "site"]:
                return "pages"
        return ""

    def kill(self) -> None:
        """SIGKILL for every process, until there is none."""
        while pids := self.members():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.poll()  # or it stays as a zombie
            time.sleep(0.02)
        self.process.wait()

    def ended(self) -> bool:
        return self.process.poll() is not None


# ---------------------------------------------------------------- to its end, and killed


def watch(run: Run, until=lambda step, seconds: False) -> tuple[dict[str, float], tuple[str, float]]:
    """Seconds that each step took, as seen from outside, till the run ends or `until(step, seconds in it)` says so."""
    took: dict[str, float] = {}
    step, since = START, time.monotonic()
    while not run.ended():
        now = run.step()
        if now and now != step:
            took[step] = time.monotonic() - since
            step, since = now, time.monotonic()
        if until(step, time.monotonic() - since):
            break
        time.sleep(0.05)
    took[step] = time.monotonic() - since
    return took, (step, took[step])


def undisturbed(folder: Path, targets: tuple[str, ...] = ()) -> dict[str, float]:
    """Run the study, once: the seconds of each step."""
    file = folder / "steps.json"
    if not file.is_file():
        run = Run(folder, targets)
        took, _ = watch(run)
        if run.process.returncode:
            raise SystemExit(f"the undisturbed run failed: {folder / 'log.txt'}")
        file.write_text(json.dumps(took), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def killed(folder: Path, took: dict[str, float], kills: int, *, seed: int, targets: tuple[str, ...] = ()) -> pd.DataFrame:
    """Run the study, `kills` times killed in each step of `took`; the kills: step, seconds into it, commit of the code.

    A step's moments are spread over the time it takes: the first falls into the first part of it, and so on. A step that ended
    before its moment (the machine had become faster) is done again. The kills so far are in `kills.csv`: this too goes on.
    """
    from cyborg_utils.core import provenance

    file, commit, expected = folder / "kills.csv", provenance.commit(), dict(took)
    made = pd.read_csv(file).to_dict("records") if file.is_file() else []
    rng, counts, short = random.Random(f"{seed} {len(made)}"), Counter(row["step"] for row in made), list(took)
    while short:
        run, moments = Run(folder, targets), {}

        def due(step: str, seconds: float) -> bool:
            place = counts[step]
            if place >= kills or step not in took:
                return False
            share = moments.setdefault(step, 0.95 * (place + rng.random()) / kills)  # noqa: B023
            return seconds >= share * expected[step]

        seen, (step, seconds) = watch(run, due)
        whole = seen.items() if run.ended() else list(seen.items())[:-1]
        expected.update({name: min(expected.get(name, now), now) for name, now in whole})
        if not run.ended():
            run.kill()
            counts[step] += 1
            made.append({"step": step, "seconds": seconds, "commit": commit})
            file.write_text(pd.DataFrame(made).to_csv(index=False), encoding="utf-8")
            print(f"{len(made)} kills; the last after {seconds:.1f} s of {step}", flush=True)
            continue
        if run.process.returncode:
            raise SystemExit(f"the run that went on after {len(made)} kills failed: {folder / 'log.txt'}")
        short = [step for step in took if counts[step] < kills]
        for step in short:
            stamp = "html/index.html" if step == "pages" else f"done/{step}.json"
            (folder / "build" / PROFILE / stamp).unlink(missing_ok=True)
    return pd.DataFrame(made)


# ---------------------------------------------------------------- what came out


def files(folder: Path) -> dict[str, Path]:
    """Tables, scores and figures, the essays, and the weights of Teachers and Students, by name."""
    found = [file for kind in ("tables", "scores", "figures") for file in (folder / "results" / PROFILE / kind).glob("*")]
    build = folder / "build" / PROFILE
    found += [*build.glob("essays/*.arrow"), *build.glob("teacher/*/adapter/*.safetensors")]
    found += build.glob("students/*/*/*.safetensors")
    return {str(file.relative_to(folder)): file for file in sorted(found)}


def content(file: Path) -> bytes:
    """The bytes of a file; of a table without its column `seconds`."""
    separator, whole = SEPARATORS.get(file.suffix), file.read_bytes()
    if separator is None or b"seconds" not in whole:
        return whole
    rows = [[re.sub("-+", "-", cell.strip()) for cell in line.split(separator)] for line in whole.decode("utf-8").splitlines()]
    place = next((row.index("seconds") for row in rows if "seconds" in row), None)
    if place is None:
        return whole
    return "\n".join(separator.join(row[:place] + row[place + 1 :]) for row in rows).encode("utf-8")


def differing(first: Path, second: Path) -> tuple[int, list[str]]:
    """How many files there are, and the names of those that are missing on one side or differ."""
    one, other = files(first), files(second)
    names = sorted({*one, *other})
    return len(names), [n for n in names if n not in one or n not in other or content(one[n]) != content(other[n])]


def left_behind(folder: Path) -> list[str]:
    """Half-written files, checkpoints, and copies of notebooks at work, of which nothing may be left at the end."""
    build = folder / "build" / PROFILE
    left = [*folder.rglob(".making@*"), *build.rglob("checkpoints"), *build.glob("running/*.ipynb"), *build.glob("failed/*")]
    return [str(path.relative_to(folder)) for path in left]


def trial(folder: Path, kills: int, *, seed: int, targets: tuple[str, ...] = ()) -> tuple[pd.DataFrame, dict]:
    """Both runs and their comparison: the kills, and what was found."""
    first, second = project(folder / "undisturbed"), project(folder / "killed")
    took = undisturbed(first, targets)
    print(f"undisturbed: {sum(took.values()):.0f} s", flush=True)
    made = killed(second, took, kills, seed=seed, targets=targets)
    number, unlike = differing(first, second)
    found = {"kills": len(made), "steps": made["step"].nunique(), "files": number, "differing": unlike}
    found |= {"left_behind": left_behind(second), "seconds_undisturbed": sum(took.values())}
    return made.assign(step_seconds=made["step"].map(took)), found


def write(folder: Path, made: pd.DataFrame, found: dict, settings: dict) -> None:
    """kills.csv (every kill), kills.md (by step), kills.json (the record)."""
    from cyborg_utils.core import provenance
    from cyborg_utils.study import artefacts

    artefacts.write(folder / "kills.csv", made.round(3).to_csv(index=False, lineterminator="\n"))
    by = made.groupby("step", sort=False)
    table = pd.DataFrame(
        {"kills": by.size(), "seconds into the step": by["seconds"].agg(lambda at: f"{at.min():.1f}-{at.max():.1f}")}
    )
    table["the step undisturbed, seconds"] = by["step_seconds"].first().round(1)
    unlike = ", ".join(found["differing"]) or "none"
    text = (
        f"{found['kills']} kills (SIGKILL to every process) in {found['steps']} places of a study of tiny models, each followed "
        f"by the same command. Of {found['files']} files (tables, scores, figures, essays, weights) {len(found['differing'])} "
        f"differ from the undisturbed run's ({unlike}); half-written files left behind: {len(found['left_behind'])}. "
        f"Undisturbed the study took {found['seconds_undisturbed']:.0f} s.\n\n"
    )
    artefacts.write(folder / "kills.md", text + table.reset_index().to_markdown(index=False) + "\n")
    provenance.write_json(folder / "kills.json", provenance.record(settings, measured=found))


def main() -> None:
    from cyborg_utils.core import paths

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=4, help="of each step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder to work in, kept; else a temporary one")
    parser.add_argument("--folder", type=Path, default=paths.results("robustness"))
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="cyborg-kill-"))
    made, found = trial(work, options.kills, seed=options.seed)
    write(options.folder, made, found, {"kills_a_step": options.kills, "seed": options.seed})
    print((options.folder / "kills.md").read_text(encoding="utf-8"))
    if found["differing"] or found["left_behind"]:
        sys.exit(f"not the same: {found['differing']}, left behind: {found['left_behind']}; look in {work}")
    if not options.work:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
