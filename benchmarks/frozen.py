"""What do frozen states know of a score? Readings and combinations of features, on training essays only.

    .venv/bin/python benchmarks/frozen.py ellipse                  # both tables
    .venv/bin/python benchmarks/frozen.py ellipse --only blocks    # without new forward passes

No test essay is read or scored. For each draw, U is taken from the training essays and the rest of them is guessed; means and
SDs over draws. `readings`: which model, layers, prompt and number of tokens, on a random part of the training essays. `blocks`:
states, text statistics and words, alone and together, by number of human scores. Writes results/frozen/<study>_<table>.csv and
a page of both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

from cyborg_utils.core import atomic, config, paths
from cyborg_utils.data import corpora
from cyborg_utils.models import baseline, states
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.models.prompt import Prompt, rubric
from cyborg_utils.stats import metrics

SIZES, DRAWS, HELD = (60, 120, 300, 600, 1200), 20, 500
QWEN, SMOL, MINI, MPNET = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct", "all-minilm-l6-v2", "all-mpnet-base-v2"
MIDDLE = {QWEN: (12, 16, 18), SMOL: (15, 20, 22), MINI: (3, 4), MPNET: (6, 8, 9)}
USUAL = states.Reading(QWEN, (4, 8, 12, 16, 18, 20, 24), 448, rubric=True)
READINGS = [
    USUAL,
    replace(USUAL, layers=(12, 16, 18), rubric=False),
    replace(USUAL, layers=(12, 16, 18), max_tokens=256),
    replace(USUAL, layers=(12, 16, 18), max_tokens=128),
    states.Reading(SMOL, (15, 20, 22), 448, rubric=True),
    states.Reading(MINI, (1, 2, 3, 4, 5, 6), 512),
    states.Reading(MPNET, (2, 4, 6, 8, 9, 10, 12), 512),
]
LAST = replace(USUAL, layers=(12, 16, 18), max_tokens=128)  # the state of the last token instead of the mean over them
BLOCKS = [
    ("statistics",),
    ("words",),
    ("words", "statistics"),
    ("student",),
    ("student", "length"),
    ("student", "statistics"),
    ("teacher",),
    ("teacher", "statistics"),
    ("teacher", "words", "statistics"),
]


def judged(blocks: dict[str, np.ndarray], essays: pd.DataFrame, scale, size: int, draws: int, held: int) -> dict[str, float]:
    """QWK and r on training essays outside U, mean and SD over draws; matched by leave-one-out on U."""
    score, found = essays["score"].to_numpy(), []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(essays))
        u, rest = order[:size], order[size:][:held]
        scorer = Frozen.fit({name: block[u] for name, block in blocks.items()}, score[u], scale)
        value = scorer.value({name: block[rest] for name, block in blocks.items()})
        level = scale.level(score[rest])
        found.append((metrics.qwk(level, scale.nearest(value), levels=scale.size), metrics.pearson_r(score[rest], value)))
    (qwk, r), (sd, _) = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
    return {"n_human": size, "draws": draws, "qwk": qwk, "qwk_sd": sd, "r": r}


def readings(essays: pd.DataFrame, template: Prompt, scale, part: int) -> Iterator[dict]:
    """One row a reading and layer, and for layers side by side, at 180 human scores."""
    some = essays.sample(min(part, len(essays)), random_state=1).reset_index(drop=True)
    for one, pooling in [*((one, "mean") for one in READINGS), (LAST, "last token")]:
        if pooling == "mean":
            found = np.asarray(states.of_essays(some, one, template=template, show=one.model), dtype=np.float32)
        else:
            found = last_tokens(some, one, template)
        middle = [at for at, layer in enumerate(one.layers) if layer in MIDDLE[one.model]]
        for name, places in [*((str(layer), [at]) for at, layer in enumerate(one.layers)), ("middle together", middle)]:
            row = {"model": one.model, "rubric": one.rubric, "tokens": one.max_tokens, "pooling": pooling, "layer": name}
            blocks = {"states": found[:, places].reshape(len(some), -1)}
            yield row | judged(blocks, some, scale, 180, DRAWS, HELD)


def last_tokens(essays: pd.DataFrame, reading: states.Reading, template: Prompt) -> np.ndarray:
    """States of each essay's last token, float32 (n, layers, hidden); not kept."""
    source, shape = states.opened(reading)
    rows, _ = states.encoded(source, shape, essays, reading, template)
    body = states.Body(source, shape, reading.layers)
    found = [body.means([row], [(len(row) - 1, len(row))])[0] for row in tqdm(rows, desc="last token", mininterval=5)]
    return np.stack(found).astype(np.float32)


def combinations(essays: pd.DataFrame, template: Prompt, scale, teacher: states.Reading, part: int) -> Iterator[dict]:
    """One row a combination of blocks and number of human scores; the Teacher reads as it does in the study."""
    essays = essays.sample(min(part, len(essays)), random_state=1).reset_index(drop=True)
    blocks = {"statistics": baseline.statistics(essays["text"])}
    blocks["length"] = blocks["statistics"][:, :1]
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=3, max_features=20000).fit_transform(essays["text"])
    blocks["words"] = TruncatedSVD(300, random_state=0).fit_transform(words)
    for name, one in {"teacher": teacher, "student": states.Reading(MINI, (3, 4), 512)}.items():
        found = np.asarray(states.of_essays(essays, one, template=template, show=name), dtype=np.float32)
        blocks[name] = found.reshape(len(essays), -1) if name == "teacher" else found.mean(axis=1)
    for size in [size for size in SIZES if size + HELD <= len(essays)]:
        for names in BLOCKS:
            chosen = {name: blocks[name] for name in names}
            yield {"features": " + ".join(names)} | judged(chosen, essays, scale, size, DRAWS, HELD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="ellipse")
    parser.add_argument("--only", choices=["readings", "blocks"])
    parser.add_argument("--readings", type=int, default=500, help="training essays of the table of readings, drawn at random")
    parser.add_argument("--blocks", type=int, default=1700, help="training essays of the table of blocks, drawn at random")
    options = parser.parse_args()
    study = config.load(options.profile)
    data = study.section("prepare_data")
    essays = corpora.frame(corpora.build(data).dataset, text=True)
    essays = essays[essays["split"] != "test"].reset_index(drop=True)
    template = Prompt(rubric(data["corpus"], data["score"], data.get("options")), study.scale)
    own = study.section("finetune_teacher")
    teacher = states.Reading(own["model"], tuple(own["layers"]), own["max_tokens"], rubric=own["rubric"])
    made = {
        "blocks": lambda: combinations(essays, template, study.scale, teacher, options.blocks),
        "readings": lambda: readings(essays, template, study.scale, options.readings),
    }
    for name in [name for name in made if options.only in (None, name)]:
        table = pd.DataFrame(made[name]())
        target = paths.results("frozen", f"{options.profile}_{name}.csv")
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, table.to_csv(index=False, float_format="%.4g"))
        text = table.to_markdown(index=False, floatfmt=".3f")
        atomic.write(
            target.with_suffix(".md"),
            f"# {options.profile}: {name}\n\nTraining essays only; `{__file__.split('/')[-1]}`.\n\n{text}\n",
        )
        print(text, flush=True)


if __name__ == "__main__":
    main()
