"""How much memory and time do many essays take? `.venv/bin/python benchmarks/scale.py`, an hour or so for a million.

Writes essays to a CSV file, prepares them (read, check, find copies, split, save) and scores them with a saved Student, each in a
process of its own, whose memory is read from /proc twice a second. The essays are simulated; after the first 2,000 each is made
of the halves of two of these. Without `--student` a tiny random one scores: its seconds are those of what is around a Student.

Writes results/robustness/scale.csv (every measurement), scale.md and scale.json (the record). What is measured already is not
measured again; the essays stay in build/scale for the next call.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

HOME = Path(__file__).resolve().parent.parent
STEPS = ["prepare", "score", "bookkeeping"]  # the last: all that scoring does but for the Student
SHOWN = {"bookkeeping": "score, but for the Student"}
SIZES = [10_000, 100_000, 1_000_000]
FORECAST = 10_000_000
POOL = 2_000  # essays that are simulated
COLUMNS = ["id", "text", "score", "prompt", "gender"]
MEASURES = ["essays", "megabytes", "seconds", "cpu_seconds", "peak_mib", "peak_own_mib", "load"]
PREPARE = """
import sys
from cyborg_utils.data import corpora
options = {"file": sys.argv[1], "id": "id", "text": "text", "prompt": "prompt", "groups": {"gender": "gender"}}
settings = {"corpus": "table", "scale": [1, 6, 1], "score": "score", "groups": ["gender"], "dev": 0.1, "test": 0.2}
prepared = corpora.build({**settings, "split_seed": 1, "options": options})
corpora.save(prepared.dataset, "scale")
print(prepared.counts, prepared.split["split"].value_counts().to_dict(), prepared.notes)
"""
BOOKKEEPING = """
import sys
from pathlib import Path
from types import SimpleNamespace
import pandas as pd
from cyborg_utils.extensions.scoring import predict
class Nobody:
    width, form, release = 1.0, "torch", SimpleNamespace(mark="nobody")
    def score(self, ids, texts, prompts=()):
        return pd.DataFrame({"id": ids, "score": 3.0, "value": 3.0, "low": 2.0, "high": 4.0, "flags": ""})
print(predict.score_file(Path(sys.argv[1]), Path(sys.argv[2]), Nobody(), predict.Columns()).to_dict())
"""


def essays(count: int) -> Iterator[dict[str, str]]:
    """Rows of `COLUMNS`; essay i is the same for every count."""
    from cyborg_utils.data import simulated

    pool = list(simulated.essays(min(count, POOL), 1))
    for number in range(count):
        row = dict(pool[number % POOL])
        if number >= POOL:
            rng = random.Random(number)
            first, last = (rng.choice(pool)["text"].split() for _ in range(2))
            row["text"] = " ".join(first[: len(first) // 2] + last[len(last) // 2 :])
        found = [f"e{number}", row["text"], f"{row['score']:g}", row["prompt"], row["groups.gender"]]
        yield dict(zip(COLUMNS, found, strict=True))


def write(file: Path, count: int) -> Path:
    """The file of `count` essays, whole or not at all."""
    from tqdm import tqdm

    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        making = file.with_suffix(f".{os.getpid()}")
        with making.open("w", encoding="utf-8", newline="") as handle:
            table = csv.DictWriter(handle, COLUMNS)
            table.writeheader()
            table.writerows(tqdm(essays(count), total=count, desc=f"write {count:,}", unit="essay", mininterval=2))
        os.replace(making, file)
    return file


def memory(process: int) -> dict[str, float]:
    """Most memory of a process until now, MiB, and how much is its own now (the rest are pages of files); empty at its end."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    cells = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmHWM", "RssAnon"))}
    return {name: int(cell) / 1024 for name, cell in cells.items()}


def measured(call: list[str]) -> dict[str, float]:
    """Run a command; `MEASURES` from seconds on. Raises RuntimeError where it fails."""
    started, peak, own = time.monotonic(), 0.0, 0.0
    process = subprocess.Popen(call, env={**os.environ, "PYTHONPATH": str(HOME)})
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        now = memory(process.pid)
        peak, own = max(peak, now.get("VmHWM", 0)), max(own, now.get("RssAnon", 0))
        time.sleep(0.5)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(call[:4])} ...: exit code {process.returncode}")
    used = usage.ru_utime + usage.ru_stime
    return dict(zip(MEASURES[2:], [time.monotonic() - started, used, peak, own, os.getloadavg()[1]], strict=True))


def tiny_student(folder: Path) -> Path:
    """A Student with random weights, made ready like a real one."""
    sys.path.insert(0, str(HOME / "tests"))
    import tiny_models

    from cyborg_utils.core.scale import Scale
    from cyborg_utils.data import simulated
    from cyborg_utils.extensions.scoring import advisory_flags, bundle
    from cyborg_utils.models import cyborg_data, student

    if not (folder / bundle.FILE).is_file():
        scale, some = Scale(1, 6), pd.DataFrame(simulated.essays(60, 1))
        some = some.assign(level=scale.level(some["score"]), split="train")
        model = str(tiny_models.make(folder.parent / "tiny")["electra"])
        settings = student.Settings(model, "regression", 1, 1, 0.003, 8, 32)
        trained, _ = student.train(cyborg_data.training_sets(some, scale, "full"), scale, settings, seed=1, folder=folder)
        dev = some.assign(value=trained.predict(some["text"])[0], matched_value=np.linspace(1, 6, len(some)))
        mark = pd.read_json(folder / "student.json", typ="series")["mark"]
        name = bundle.Name("u10_s1", "tiny", "regression", "full")
        bundle._write(folder, "scale", name, mark, dev, advisory_flags.Corpus.of(some["text"], some["assignment"]))
    return folder


def told(rows: pd.DataFrame) -> str:
    """The table in words, and what ten million essays would take at the rate of the largest number measured."""
    shown = rows.assign(**{"essays/s": rows["essays"] / rows["seconds"], "essays/s of CPU": rows["essays"] / rows["cpu_seconds"]})
    names = {"megabytes": "file, MB", "peak_mib": "peak memory, MiB", "peak_own_mib": "without pages of files, MiB"}
    shown = shown.replace({"step": SHOWN})
    shown = shown.rename(columns=names | {"cpu_seconds": "CPU seconds"}).drop(columns="load").round(0)
    whole = {name: "{:,.0f}".format for name in shown.columns if name not in ("step", "student")}
    lines = [shown.assign(**{name: shown[name].map(form) for name, form in whole.items()}).to_markdown(index=False)]
    for (step, by), part in rows.groupby(["step", "student"], sort=False):
        last = part.loc[part["essays"].idxmax()]
        of = SHOWN.get(step, step) + (f" ({by})" if by else "")
        times, few = FORECAST / last["essays"], part.loc[part["essays"].idxmin()]
        said = (
            f"{times * last['cpu_seconds'] / 3600:.1f} hours of one core and {times * last['megabytes'] / 1000:.0f} GB of essays"
        )
        if last["essays"] >= FORECAST / 10:
            rate = (last["peak_own_mib"] - few["peak_own_mib"]) / (last["essays"] - few["essays"])
            said += f", {(last['peak_own_mib'] + rate * (FORECAST - last['essays'])) / 1024:.1f} GiB of memory of its own"
        lines.append(f"- {of}: {FORECAST:,} essays would take {said}, by {last['essays']:,}.")
    return "\n\n".join([lines[0], "\n".join(lines[1:])])


def keep(rows: pd.DataFrame, folder: Path, note: str) -> None:
    """scale.csv, scale.md, scale.json."""
    from cyborg_utils.core import provenance
    from cyborg_utils.study import artefacts

    table = rows.sort_values(["step", "student", "essays"], key=_ordered, kind="stable")
    artefacts.write(folder / "scale.csv", table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    head = "Preparing and scoring many essays: time and memory, each step in a process of its own (`benchmarks/scale.py`)."
    artefacts.write(folder / "scale.md", "\n\n".join(filter(None, [head, note, told(table)])) + "\n")
    measured = {"rows": table.to_dict("records")}
    provenance.write_json(folder / "scale.json", provenance.record({"pool": POOL, "note": note}, measured=measured))


def _ordered(column: pd.Series) -> pd.Series:
    return column.map(STEPS.index) if column.name == "step" else column


def main() -> None:
    from cyborg_utils.core import paths

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of essays")
    parser.add_argument("--student", help="folder of a saved Student, made ready by notebook 12")
    parser.add_argument("--steps", nargs="+", default=STEPS, choices=STEPS)
    parser.add_argument("--note", default="", help="a sentence for the record, such as what else ran on the machine")
    parser.add_argument("--folder", type=Path, default=paths.results("robustness"))
    options = parser.parse_args()
    build, file = paths.build("scale"), options.folder / "scale.csv"
    rows = pd.read_csv(file, keep_default_na=False).to_dict("records") if file.is_file() else []
    for size, step in itertools.product(options.sizes, options.steps):
        by = "" if step != "score" else Path(options.student).name if options.student else "tiny, random"
        if any((row["step"], row["student"], row["essays"]) == (step, by, size) for row in rows):
            continue
        given = write(build / f"essays_{size}.csv", size)
        if step == "score":
            folder = Path(options.student) if options.student else tiny_student(build / "student")
            call = [
                "-m",
                "cyborg_utils",
                "score",
                str(given),
                "--student",
                str(folder),
                "-o",
                str(build / f"scores_{size}.csv"),
            ]
        else:
            call = ["-c", PREPARE if step == "prepare" else BOOKKEEPING, str(given), str(build / f"nothing_{size}.csv")]
        found = {"step": step, "student": by, "essays": size, "megabytes": given.stat().st_size / 1e6}
        rows.append(found | measured([sys.executable, *call]))
        keep(pd.DataFrame(rows), options.folder, options.note)
    print((options.folder / "scale.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    os.chdir(HOME)
    main()
