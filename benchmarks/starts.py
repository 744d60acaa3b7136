"""How often does a Teacher's fine-tuning fail, by where it starts? `.venv/bin/python benchmarks/starts.py`

Ten starts on the demo study's essays, each with its own U of 60 human scores, initialisation and order (the study's seeds 1 to
10): `lora` from the model's own first answers, `frozen-then-lora` from the ridge regression, and that regression itself. One
attempt each. A start has failed where its Teacher's QWK on the 100 development essays is at most `teacher.FAILED`. `lora`
chooses its epoch on these essays, `frozen-then-lora` chooses nothing. No test essay is read.

Writes results/starts/starts.csv, README.md and starts.json. A start that is there is not repeated; a stopped one goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

import pandas as pd

WAYS = ("frozen", "lora", "frozen-then-lora")
# The demo's Teacher while it was fine-tuned (params/demo.yaml at commit 680f744): rate and epochs chosen for `lora`
TRAINING = {"epochs": 8, "learning_rate": 5.0e-4, "batch_size": 4, "lora_rank": 16, "lora_targets": "attention", "target_sd": 0.7}


def start(way: str, seed: int, *, profile: str = "demo", changes: dict | None = None) -> dict[str, float]:
    """One Teacher from nothing: its agreement with people on development essays, and the minutes that it took."""
    from cyborg_utils.core import config, paths
    from cyborg_utils.data import corpora
    from cyborg_utils.models import prompt, teacher, teachers
    from cyborg_utils.stats import metrics

    study = config.load(profile)
    data, section = study.section("prepare_data"), study.section("finetune_teacher")
    settings = teacher.Settings.of(section | TRAINING | (changes or {}) | {"method": way})
    template = prompt.Prompt(prompt.rubric(data["corpus"], data["score"], data["options"]), study.scale)
    dataset = corpora.build(data).dataset
    essays = corpora.frame(dataset, text=True)
    u = essays[essays["essay_id"].isin(corpora.draw_human(dataset, study.runs[0].fraction, seed))]
    dev = essays[essays["split"] == "dev"]
    folder, since = paths.build("starts", f"{way}_{seed}"), time.monotonic()
    clock = folder / "seconds"  # of attempts that were stopped
    before = float(clock.read_text()) if clock.is_file() else 0.0
    try:
        curve = teachers.fit(u, dev, template, settings, seed=seed, folder=folder)
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        clock.write_text(f"{before + time.monotonic() - since:.6f}")  # a ridge regression may take a hundredth
    minutes = float(clock.read_text()) / 60
    given = teachers.score(folder, dev, template)
    qwk = metrics.qwk(dev["level"], given["level"], levels=study.scale.size)
    row = {"way": way, "seed": seed, "n_human": len(u), "qwk": qwk, "r": metrics.pearson_r(dev["score"], given["expected"])}
    row |= {"failed": bool(qwk <= teacher.FAILED), "epoch": int(curve.loc[curve["best"], "epoch"].iloc[0]), "minutes": minutes}
    shutil.rmtree(folder)
    return row


def told(table: pd.DataFrame, machine: str, failed: float) -> str:
    """The page: failures with Wilson's interval, agreement and minutes of each way, from the table alone."""
    from statsmodels.stats.proportion import proportion_confint

    rows = []
    for way, part in table.groupby("way", sort=False):
        low, high = proportion_confint(part["failed"].sum(), len(part), method="wilson")
        rows.append(
            {"way": way, "starts": len(part), "failed": int(part["failed"].sum()), "rate, 95 %": f"{low:.0%} to {high:.0%}"}
            | {"QWK": part["qwk"].mean(), "SD": part["qwk"].std(), "lowest": part["qwk"].min(), "r": part["r"].mean()}
            | {"minutes": part["minutes"].median()}
        )
    wide = table.pivot(index="seed", columns="way", values="qwk").dropna()
    pairs = [
        f"{one} minus {other}: QWK {change.mean():+.3f}, higher in {(change > 0).sum()} of {len(change)} starts"
        for one, other in (("frozen-then-lora", "lora"), ("frozen-then-lora", "frozen"), ("frozen", "lora"))
        if {one, other} <= set(wide)
        for change in [wide[one] - wide[other]]
    ]
    said = (
        f"The demo study's simulated essays, {table['n_human'].iloc[0]} human scores, {len(table)} starts of {len(WAYS)} ways "
        f"(ten of each are a whole run). A start is one of the study's seeds: its own U, initialisation and order, one attempt. "
        f"Failed: QWK on the 100 development essays at most {failed}. `lora` keeps the epoch that is best on these essays, which "
        "favours it here; the other two choose nothing on them. Minutes of making a Teacher, median; those of `frozen` and "
        "`frozen-then-lora` depend on which states were in the store already, those of the latter include cross-fitting."
    )
    lines = [
        "# Starts of a Teacher",
        said,
        pd.DataFrame(rows).to_markdown(index=False, floatfmt=("", "", "", "", ".3f", ".3f", ".3f", ".3f", ".1f")),
        f"On the {len(wide)} seeds that all ways have: {'; '.join(pairs)}." if pairs else "",
        f"{machine}. Every start: starts.csv.",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def main() -> None:
    from cyborg_utils.core import paths, provenance
    from cyborg_utils.models import teacher
    from cyborg_utils.study import artefacts

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    folder = paths.results("starts")
    file = folder / "starts.csv"
    rows = pd.read_csv(file).to_dict("records") if file.is_file() else []
    for seed in range(1, options.starts + 1):
        for way in options.ways:
            if any((row["way"], row["seed"]) == (way, seed) for row in rows):
                continue
            rows.append(start(way, seed))
            print(rows[-1], flush=True)
            table = pd.DataFrame(sorted(rows, key=lambda row: (WAYS.index(row["way"]), row["seed"])))
            artefacts.write(file, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
            artefacts.write(folder / "README.md", told(table, provenance.machine(), teacher.FAILED))
            provenance.write_json(folder / "starts.json", provenance.record(TRAINING, measured={"starts": len(table)}))


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    main()
