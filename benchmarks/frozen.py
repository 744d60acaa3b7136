"""How far do frozen states go? Teacher, Student and Cyborg Data without fine-tuning, over many draws of U: `frozen.py`.

    .venv/bin/python benchmarks/frozen.py ellipse --draws 20

Teacher: ridge on states of a language model that reads rubric and essay. Student: ridge on states of a small encoder that reads
the essay alone, on U's human scores, or on these and the Teacher's guesses for all other training essays. No development essay is
used: penalties, stacking and the match of mean and SD come from leave-one-out on U. Development essays count as training essays.
Writes results/frozen/<study>.csv, one row a size, draw and scorer, and prints means and SDs over draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from cyborg_utils.core import config, paths
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import corpora
from cyborg_utils.models import baseline, prompt, states
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.stats import metrics

TEACHER = states.Reading("qwen2.5-coder-0.5b-instruct", (12, 16, 18), 448, rubric=True)
STUDENT = states.Reading("all-minilm-l6-v2", (3, 4), 512)
SIZES = (45, 90, 180, 450)


def features(profile: str, essays: pd.DataFrame) -> dict[str, np.ndarray]:
    """Feature blocks of all essays by name: states of Teacher and Student, text statistics, words."""
    study = config.load(profile)
    data, folder = study.section("prepare_data"), paths.build(profile, "states")
    template = prompt.Prompt(prompt.rubric(data["corpus"], data["score"], data.get("options")), study.scale)
    found = {"teacher": states.of_essays(essays, TEACHER, template=template, folder=folder, show="Teacher's states")}
    found["student"] = states.of_essays(essays, STUDENT, folder=folder, show="Student's states")
    found = {name: block.reshape(len(block), -1).astype(np.float32) for name, block in found.items()}
    found["statistics"] = baseline.statistics(essays["text"])
    words = TfidfVectorizer(
        sublinear_tf=True, ngram_range=(1, 2), min_df=5, max_features=20000
    )  # of all essays: no score is used
    found["words"] = words.fit_transform(essays["text"]).toarray().astype(np.float32)
    return found


def scorers(
    blocks: dict[str, np.ndarray], score: np.ndarray, u: np.ndarray, pool: np.ndarray, test: np.ndarray, scale: Scale
) -> Iterator:
    """(name, values of the test essays) of every scorer that one U gives."""

    def fitted(names: tuple[str, ...], places: np.ndarray, target: np.ndarray) -> Frozen:
        return Frozen.fit({name: blocks[name][places] for name in names}, target, scale)

    def of(names: tuple[str, ...], places: np.ndarray) -> dict[str, np.ndarray]:
        return {name: blocks[name][places] for name in names}

    for names in (
        ("statistics",),
        ("words",),
        ("student",),
        ("teacher",),
        ("words", "statistics"),
        ("student", "statistics"),
        ("teacher", "statistics"),
        ("teacher", "words", "statistics"),
    ):
        yield " + ".join(names), fitted(names, u, score[u]).value(of(names, test))
    for teacher in (("teacher",), ("teacher", "words", "statistics")):
        guess = fitted(teacher, u, score[u]).guess(of(teacher, pool))
        for student in (("student",), ("student", "statistics")):
            own = fitted(student, np.r_[u, pool], np.r_[score[u], guess])
            match = states_match(own, of(student, u), score[u])
            yield f"{' + '.join(student)} on Cyborg Data of {' + '.join(teacher)}", match.apply(own.guess(of(student, test)))


def states_match(own: Frozen, features_of_u: dict[str, np.ndarray], human: np.ndarray):
    """Mean and SD as people's on U: the Student has seen these essays, as one among many."""
    from cyborg_utils.stats.calibration import MeanSdMatch

    return MeanSdMatch.fit(target=human, values=own.guess(features_of_u))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="ellipse")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options = parser.parse_args()
    study = config.load(options.profile)
    essays = corpora.frame(corpora.build(study.section("prepare_data")).dataset, text=True)
    blocks, score = features(options.profile, essays), essays["score"].to_numpy()
    train, test = (np.flatnonzero(essays["split"].eq("test") == held) for held in (False, True))
    rows = []
    for size in [*options.sizes, len(train)]:
        for draw in range(1, options.draws + 1 if size < len(train) else 2):
            order = np.random.default_rng(draw).permutation(train)
            for name, value in scorers(blocks, score, order[:size], order[size:], test, study.scale):
                level = study.scale.nearest(value)
                qwk = metrics.qwk(study.scale.level(score[test]), level, levels=study.scale.size)
                rows.append((size, draw, name, qwk, metrics.pearson_r(score[test], value)))
        table = pd.DataFrame(rows, columns=["n_human", "draw", "scorer", "qwk", "r"])
        target = paths.results("frozen", f"{options.profile}.csv")
        target.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(target, index=False, float_format="%.6g")
        shown = table[table["n_human"] == size].groupby("scorer", sort=False)["qwk"].agg(["mean", "std"])
        print(f"\n{size} human scores\n{shown.round(3).to_string()}", flush=True)


if __name__ == "__main__":
    main()
