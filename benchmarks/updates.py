"""Does a fine-tuned Student get training enough? Agreement by number of updates, on training essays: `benchmarks/updates.py`.

    .venv/bin/python -P benchmarks/updates.py ellipse --fraction 0.1

Students on U's human scores (`human`) and on those of all training essays (`full`) are trained with so many updates, each with a
learning-rate schedule of its own, and score training essays that neither learned from. `qwk`: the nearest level of what comes;
`qwk_matched`: after mean and SD were matched on the study's development essays (a classification head gives levels, which stay).
No test essay is read. Writes results/updates/<study>.csv after every Student, <study>.md and <study>.json. A stopped run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd

from cyborg_utils.core import config, paths, provenance
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.models import cyborg_data, student, trials
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.study import artefacts

HEADS = ("regression", "classification")


def judged(values: np.ndarray, essays: pd.DataFrame, scale: Scale, head: str) -> dict[str, float]:
    """Agreement of values (n,) on the held essays, raw and matched on the development essays."""
    dev = (essays["split"] == "dev").to_numpy()
    held, matched = essays[~dev], match_on_dev(essays[dev].assign(value=values[dev]), head=head).apply(values[~dev])
    given = {"qwk": values[~dev], "qwk_matched": matched}
    found = {name: metrics.qwk(held["level"], scale.nearest(one), levels=scale.size) for name, one in given.items()}
    return found | {"r": metrics.pearson_r(held["score"], values[~dev])}


def rows(
    profile: str, *, fraction: float, held: int, seed: int, updates: dict[str, list[int]], heads: list[str]
) -> Iterator[dict]:
    """One row a Student: labels, head, updates, epochs, training essays, agreement, minutes."""
    study = config.load(profile)
    data, section = study.section("prepare_data"), study.section("train_student")
    dataset, scale, model = corpora.build(data).dataset, study.scale, section["models"][0]
    essays = corpora.frame(dataset, text=True)
    u = set(corpora.draw_human(dataset, fraction, seed))
    train, dev = essays[essays["split"] == "train"], essays[essays["split"] == "dev"]
    apart = train[~train["essay_id"].isin(u)].sample(held, random_state=seed)
    read = pd.concat([dev, apart], ignore_index=True)
    parts = {"human": train[train["essay_id"].isin(u)], "full": train[~train["essay_id"].isin(apart["essay_id"])]}
    folder = paths.build("updates", profile)
    for labels, head in [(labels, head) for labels in updates for head in heads]:
        sets = cyborg_data.training_sets(parts[labels], scale, "full")
        for wanted in updates[labels]:
            steps = -(-len(sets[0]) // section["batch_size"])
            epochs = max(1, round(wanted / steps))
            settings = student.Settings.of(section | {"model": model, "head": head, "epochs": epochs, "min_steps": 1})
            how = {"settings": settings, "folder": folder}
            jobs = [trials.Trial(sets, seed)]
            values = trials.run(jobs, model, read["text"], scale=scale, show=f"{labels}, {head}, {epochs} epochs", **how)[0]
            (seconds,) = trials.seconds(jobs, model, read["text"], **how)
            row = {"labels": labels, "head": head, "updates": steps * epochs, "epochs": epochs, "n_human": len(sets[0])}
            yield row | judged(values, read, scale, head) | {"minutes": seconds / 60}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile")
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held", type=int, default=400, help="training essays that are scored")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--human", type=int, nargs="*", default=[25, 50, 100, 200, 400], help="updates of Students on U")
    parser.add_argument("--full", type=int, nargs="*", default=[100, 200, 400, 800], help="of Students on all human scores")
    options = parser.parse_args()
    folder, found = paths.results("updates"), []
    wanted = {"human": options.human, "full": options.full}
    how = {"fraction": options.fraction, "held": options.held, "seed": options.seed, "heads": options.heads}
    for row in rows(options.profile, updates=wanted, **how):
        found.append(row)
        table = pd.DataFrame(found)
        text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        artefacts.write(folder / f"{options.profile}.csv", text)
        said = (
            f"# Updates of a Student: {options.profile}\n\n{options.held} training essays that no Student learned from; "
            f"one seed; {provenance.machine()}. `benchmarks/updates.py`.\n\n"
        )
        artefacts.write(folder / f"{options.profile}.md", said + table.to_markdown(index=False, floatfmt=".3f") + "\n")
        provenance.write_json(folder / f"{options.profile}.json", provenance.record(how, measured={"students": len(found)}))
        print(row, flush=True)


if __name__ == "__main__":
    main()
