"""Does knowing language pay on the simulated corpus? Its design numbers over seeds of the corpus and draws of U: `corpus.py`.

    .venv/bin/python benchmarks/corpus.py --seeds 1 2 3 4 --draws 10      # the generator was tuned on seed 1 alone

Teacher and Student are ridge regressions on frozen states of the bare essay, as in `benchmarks/frozen.py`. The Student learns
from U's human scores, from these and the Teacher's guesses for the other training essays (Cyborg Data), or from all scores. Text
statistics and TF-IDF (words and pairs) show what counting brings, and a second rater what people reach. Writes
results/simulated/design.csv, one row a corpus seed, draw and scorer, and prints means and SDs over draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from cyborg_utils.core import paths
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import simulated
from cyborg_utils.models import baseline, states
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.stats import metrics
from cyborg_utils.stats.calibration import MeanSdMatch

TEACHER = states.Reading("smollm2-135m-instruct", (12,), 224)
STUDENT = states.Reading("all-minilm-l6-v2", (3, 4), 224)
SCALE = Scale(1, 6)


def features(essays: pd.DataFrame) -> dict[str, np.ndarray]:
    """Feature blocks of all essays, float (n, d), by scorer's name."""
    folder = paths.build("simulated", "states")
    found = {
        name: np.asarray(states.of_essays(essays, reading, folder=folder, show=f"{name}'s states"), dtype=np.float32)
        for name, reading in (("Teacher", TEACHER), ("Student", STUDENT))
    }
    found = {name: block.reshape(len(block), -1) for name, block in found.items()}
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=5, max_features=20000)  # no score is used
    found["words"] = words.fit_transform(essays["text"]).toarray().astype(np.float32)
    return found | {"statistics": baseline.statistics(essays["text"])}


def scorers(blocks: dict[str, np.ndarray], score: np.ndarray, u: np.ndarray, rest: np.ndarray, test: np.ndarray) -> Iterator:
    """(scorer, labels, values of the test essays) of what one U gives; `rest`: the other training essays."""
    for name, block in blocks.items():
        fitted = Frozen.fit({name: block[u]}, score[u], SCALE)
        yield name, "human", fitted.value({name: block[test]})
        if name == "Teacher":
            guess, student = fitted.guess({name: block[rest]}), blocks["Student"]
            own = Frozen.fit({"Student": student[np.r_[u, rest]]}, np.r_[score[u], guess], SCALE)
            match = MeanSdMatch.fit(target=score[u], values=own.guess({"Student": student[u]}))
            yield "Student", "cyborg", match.apply(own.guess({"Student": student[test]}))


def design(seed: int, *, train: int, test: int, size: int, draws: int) -> pd.DataFrame:
    """Agreement with the first rater (QWK, r) and correlation with the truth of every scorer; test essays are the last ones."""
    essays = pd.DataFrame(simulated.essays(train + test, seed))
    score, held = essays["score"].to_numpy(), np.arange(train, train + test)
    blocks, rows = features(essays), []

    def add(draw: int, n_human: int, scorer: str, labels: str, value: np.ndarray) -> None:
        qwk = metrics.qwk(SCALE.level(score[held]), SCALE.nearest(value), levels=SCALE.size)
        truth = essays["true_score"].to_numpy()[held]
        measured = (qwk, *(metrics.pearson_r(gold, value) if np.ptp(value) else 0.0 for gold in (score[held], truth)))
        rows.append((seed, draw, n_human, scorer, labels, *measured))

    for draw in range(1, draws + 1):
        order = np.random.default_rng(draw).permutation(train)
        for scorer, labels, value in scorers(blocks, score, order[:size], order[size:], held):
            add(draw, size, scorer, labels, value)
    for name, block in blocks.items():
        add(0, train, name, "full", Frozen.fit({name: block[:train]}, score[:train], SCALE).value({name: block[held]}))
    add(0, 0, "second rater", "", essays["second_score"].to_numpy()[held])
    return pd.DataFrame(rows, columns=["seed", "draw", "n_human", "scorer", "labels", "qwk", "r", "r_true"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--size", type=int, default=60, help="human scores of U")
    options = vars(parser.parse_args())
    tables, target = [], paths.results("simulated", "design.csv")
    for seed in options.pop("seeds"):
        tables.append(design(seed, **options))
        target.parent.mkdir(parents=True, exist_ok=True)
        pd.concat(tables).to_csv(target, index=False, float_format="%.6g")
        shown = tables[-1].groupby(["scorer", "labels", "n_human"], sort=False)[["qwk", "r_true"]].agg(["mean", "std"])
        print(f"\ncorpus seed {seed}\n{shown.round(3).to_string(na_rep='')}", flush=True)


if __name__ == "__main__":
    main()
