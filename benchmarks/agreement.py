"""Agreement by minutes of making a Teacher: `.venv/bin/python benchmarks/agreement.py`

The study's small Teacher (`compare_teachers` of params/ellipse.yaml), made in several ways from the same human scores, each seed
with its own U, initialisation and order. Every epoch is judged on the study's development essays, and the minutes include
loading, the states of lower layers and the evaluations. No test essay is read.

Writes results/bench/agreement.csv (every epoch), agreement.md and agreement.json. A Teacher that is there is not made again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

WAYS = {  # changes of the study's parameters; the rate is a factor
    "frozen": {"method": "frozen"},
    "lora": {},
    "lora_from 0.5, twice the rate": {"lora_from": 0.5, "rate": 2.0},
    "the same, from U's scores": {"lora_from": 0.5, "rate": 2.0, "start_at": "human"},
}
AGREED = 0.60  # r with people's scores


def epochs(way: str, seed: int, *, profile: str, name: str, tokens: int, judged: int) -> list[dict]:
    """One Teacher from nothing: a row an epoch with its agreement on `judged` development essays and the minutes until then."""
    from cyborg_utils.core import config, paths
    from cyborg_utils.data import corpora
    from cyborg_utils.models import prompt, teacher, teachers
    from cyborg_utils.stats import metrics

    study = config.load(profile)
    data, changes = study.section("prepare_data"), dict(WAYS[way])
    (entry,) = [one for one in study.section("compare_teachers")["teachers"] if one["name"] == name]
    section = study.section("finetune_teacher") | entry | changes | {"max_tokens": tokens}
    section["learning_rate"] *= changes.get("rate", 1.0)
    settings = teacher.Settings.of(section)
    template = prompt.Prompt(prompt.rubric(data["corpus"], data["score"], data["options"]), study.scale)
    dataset = corpora.build(data).dataset
    essays = corpora.frame(dataset, text=True)
    u = essays[essays["essay_id"].isin(corpora.draw_human(dataset, study.runs[0].fraction, seed))]
    dev = essays[essays["split"] == "dev"].sample(judged, random_state=seed)
    ends, judge = [], teacher.measures

    def measures(*given):
        ends.append(time.monotonic())
        return judge(*given)

    since = time.monotonic()
    with tempfile.TemporaryDirectory() as place, mock.patch.object(paths, "build", Path(place).joinpath):
        folder = Path(place) / "teacher"
        with mock.patch.object(teacher, "measures", measures):
            curve = teachers.fit(u, dev, template, settings, seed=seed, folder=folder)
        if settings.method == "frozen":  # its curve is leave-one-out on U
            given = teachers.score(folder, dev, template)
            curve = pd.DataFrame({"epoch": [0], "qwk": metrics.qwk(dev["level"], given["level"], levels=study.scale.size)})
            curve["r"], ends = metrics.pearson_r(dev["score"], given["expected"]), [time.monotonic()]
    minutes = [(end - since) / 60 for end in ends]
    rows = curve[["epoch", "qwk", "r"]].assign(minutes=minutes).to_dict("records")
    return [{"way": way, "seed": seed, "n_human": len(u), "n_dev": len(dev), **row} for row in rows]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """By way, over its seeds: Teachers, how many agreed, median minutes to that and of the whole, mean of each Teacher's best.

    table: rows of `epochs`.
    """
    rows = []
    for way, part in table.groupby("way", sort=False):
        teachers = part.groupby("seed")
        first = part[part["r"] >= AGREED].groupby("seed")["minutes"].min()
        rows.append(
            {"way": way, "Teachers": len(teachers), f"r >= {AGREED:.2f}": len(first), "minutes to it": first.median()}
            | {"minutes of all epochs": teachers["minutes"].max().median(), "best r": teachers["r"].max().mean()}
            | {"best QWK": teachers["qwk"].max().mean(), "lowest of these": teachers["qwk"].max().min()}
        )
    return pd.DataFrame(rows)


def told(table: pd.DataFrame, options: argparse.Namespace, machine: str) -> str:
    """The page: what was done, and the summary."""
    first = table.iloc[0]
    return (
        f"Teacher `{options.teacher}` of {options.profile}, {first['n_human']} human scores, {options.tokens} tokens of an "
        f"essay, judged on {first['n_dev']} development essays after every epoch. Minutes from nothing, evaluations included: to "
        f"r = {AGREED:.2f} with people's scores (median of the Teachers that came there) and of the whole training; best r and "
        f"best QWK of a Teacher's epochs, means over the Teachers. {machine}.\n\n"
        + summary(table).to_markdown(index=False, floatfmt=("", "", "", ".1f", ".1f", ".3f", ".3f", ".3f"))
        + "\n"
    )


def main() -> None:
    from cyborg_utils.core import paths, provenance
    from cyborg_utils.study import artefacts

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="ellipse")
    parser.add_argument("--teacher", default="135M", help="its name in the study's compare_teachers")
    parser.add_argument("--tokens", type=int, default=256, help="of an essay; fewer than the study's save time")
    parser.add_argument("--dev", type=int, default=100, help="development essays that judge, drawn for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    folder, how = paths.results("bench"), {"profile": options.profile, "tokens": options.tokens}
    how |= {"name": options.teacher, "judged": options.dev}
    file = folder / "agreement.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["way", "seed"])
    for seed in options.seeds:
        for way in options.ways:
            if ((table["way"] == way) & (table["seed"] == seed)).any():
                continue
            found = pd.DataFrame(epochs(way, seed, **how))
            print(found.to_string(), flush=True)
            table = pd.concat([table, found], ignore_index=True) if len(table) else found
            order = [list(WAYS).index(one) for one in table["way"]]
            table = table.iloc[np.lexsort((table["epoch"], table["seed"], order))].reset_index(drop=True)
            artefacts.write(file, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
            artefacts.write(folder / "agreement.md", told(table, options, provenance.machine()))
            provenance.write_json(folder / "agreement.json", provenance.record(how | {"ways": WAYS}))


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    main()
