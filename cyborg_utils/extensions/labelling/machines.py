"""Teacher, Student and their rivals on frozen features, each fitted in a second, and judged on scored essays by cross-fitting.

    teacher                states of a language model that reads rubric and essay, text statistics, words; learns from people
    student                states of a small encoder, length; learns from people and from the Teacher: Cyborg Data
    student, human scores  the same Student on the human scores alone
    without                text statistics and words: what the same human scores buy without any language model

Cross-fitting: the scored essays are cut into folds, and all four are fitted anew without each fold (the Teacher's labels too), so
that no machine has learned from an essay that judges it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.labelling import plan as plans
from cyborg_utils.extensions.labelling.essays import Essays
from cyborg_utils.models import baseline, states, student
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.stats.calibration import MeanSdMatch

TEACHER, STUDENT, HUMAN, WITHOUT = "teacher", "student", "student, human scores", "without"
BLOCKS = ("states", "length")  # of the Student (`student.features`)
RIVALS = {TEACHER: ("teacher", "statistics", "words"), HUMAN: BLOCKS, WITHOUT: ("statistics", "words")}  # those of human scores
FOLDS = 10
ALONE = 20  # scored essays up to which each is a fold of its own
PART = 4096  # essays that are scored at a time
Features = Mapping[str, Any]  # block -> (essays, width), an array or a sparse matrix


def features(essays: Essays, plan: plans.Plan, *, rubric: str = "") -> Features:
    """Feature blocks of all essays. Each is read once by a model, whoever asks, and an interrupted call resumes
    (`models.states`).

    Words are counted on all essays, scored or not; those that are in no scored essay have no weight and are left out.
    """
    template, texts = plans.template_of(essays.scale, rubric), essays.frame["text"]
    found: dict[str, Any] = student.features(student.untrained(plan.student, essays.scale), essays.frame["text"])
    found["teacher"] = found["states"]  # without a language model the encoder is all that there is
    if plan.teacher is not None:
        given = states.of_essays(essays.frame, plan.teacher, template=template, show="Teacher reads")
        found["teacher"] = given.reshape(len(given), -1).astype(np.float32)
    found["statistics"] = baseline.statistics(texts)
    often = 5 if len(texts) >= 500 else 2 if len(texts) >= 20 else 1
    counter = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=often, max_features=20000, dtype=np.float32)
    words = counter.fit_transform(texts)
    return found | {"words": words[:, np.flatnonzero(words[essays.scored].getnnz(axis=0))].tocsr()}


class Machine(NamedTuple):
    """A fitted scorer on some feature blocks. `match`: from its guess to people's mean and SD."""

    scorer: Frozen
    match: MeanSdMatch

    @classmethod
    def on_people(cls, blocks: Sequence[str], features: Features, places: np.ndarray, score: np.ndarray, scale: Scale) -> Machine:
        scorer = Frozen.fit({name: _taken(features[name], places) for name in blocks}, score, scale)
        return cls(scorer, scorer.match)

    @classmethod
    def on_both(
        cls, features: Features, places: np.ndarray, score: np.ndarray, pool: np.ndarray, synthetic: np.ndarray, scale: Scale
    ) -> Machine:
        """The Student on Cyborg Data. Its match is fitted on people's essays, each predicted without itself."""
        every = np.r_[places, pool]
        scorer = Frozen.fit({name: _taken(features[name], every) for name in BLOCKS}, np.r_[score, synthetic], scale)
        return cls(scorer, MeanSdMatch.fit(target=score, values=scorer.left_out[: len(places)]))

    def guess(self, features: Features, places: np.ndarray) -> np.ndarray:
        """The best guesses in the sense of least squares, (places,), in score units."""
        parts = np.array_split(places, max(1, -(-len(places) // PART)))
        return np.concatenate([self.scorer.guess({name: features[name][at] for name in self.scorer.blocks}) for at in parts])


@dataclass(frozen=True)
class CrossFitted:
    """Guesses of the n scored essays, each by machines that did not learn from it, and the machines fitted on all of them.

    `value`: guesses with people's mean and SD. `blank`: guesses of the blank essays, the mean over the folds' machines, which is
    what a mean of the collection needs. `final`: each machine on all scored essays; `labels`: the Teacher's guesses of the blank
    essays, which the Student learned from.
    """

    fold: np.ndarray
    guess: dict[str, np.ndarray]
    value: dict[str, np.ndarray]
    blank: dict[str, np.ndarray]
    final: dict[str, Machine]
    labels: np.ndarray

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1


def cut(essays: Essays, *, folds: int = FOLDS, seed: int = 1, alone: int = ALONE) -> np.ndarray:
    """The fold of each scored essay, (n,): at random within the order of scores; copies of a text stay together, and up to
    `alone` texts are a fold each."""
    rows = essays.frame.iloc[essays.scored]
    by_text = rows.groupby("copy")["score"].mean()
    order = np.lexsort((np.random.default_rng(seed).random(len(by_text)), by_text.to_numpy()))
    count = len(by_text) if len(by_text) <= alone else min(folds, len(by_text))
    number = np.empty(len(by_text), dtype=int)
    number[order] = np.arange(len(by_text)) % count
    return number[by_text.index.get_indexer(rows["copy"])]


def cross_fit(
    essays: Essays, features: Features, *, folds: int = FOLDS, seed: int = 1, show: str = "Cross-fitting"
) -> CrossFitted:
    """Fit all machines without each fold, then on all scored essays."""
    scored, score, fold = essays.scored, essays.frame["score"].to_numpy()[essays.scored], cut(essays, folds=folds, seed=seed)
    names = (TEACHER, STUDENT, HUMAN, WITHOUT)
    guess, value = ({name: np.empty(len(scored)) for name in names} for _ in range(2))
    blank, count = {name: np.zeros(len(essays.blank)) for name in (TEACHER, STUDENT)}, fold.max() + 1
    for number in tqdm(range(count), desc=show, unit="fold", mininterval=2):
        held = fold == number
        made, labels = fit(essays, features, scored[~held], score[~held])
        for name, machine in made.items():
            guess[name][held] = machine.guess(features, scored[held])
            value[name][held] = machine.match.apply(guess[name][held])
        blank[TEACHER] += labels / count
        blank[STUDENT] += made[STUDENT].guess(features, essays.blank) / count if len(essays.blank) else 0
    return CrossFitted(fold, guess, value, blank, *fit(essays, features, scored, score))


def fit(essays: Essays, features: Features, places: np.ndarray, score: np.ndarray) -> tuple[dict[str, Machine], np.ndarray]:
    """All machines from the human scores of the essays at `places`, and the Teacher's guesses of the blank essays."""
    scale, pool = essays.scale, essays.blank
    made = {name: Machine.on_people(blocks, features, places, score, scale) for name, blocks in RIVALS.items()}
    if not len(pool):
        return made | {STUDENT: made[HUMAN]}, np.empty(0)
    labels = made[TEACHER].guess(features, pool)
    return made | {STUDENT: Machine.on_both(features, places, score, pool, labels, scale)}, labels


def sizes(n: int, *, folds: int = 5) -> list[int]:
    """Numbers of human scores for the Teacher's learning curve, up to what `folds` leave; [] where there are too few for four."""
    most = n - -(-n // folds)
    found = sorted({round(size) for size in np.geomspace(max(8, most / 8), most, 5)}) if most > 16 else []
    return found if len(found) >= 4 else []


def levels_by_size(
    essays: Essays, features: Features, counts: Sequence[int], *, draws: int = 3, folds: int = 5, seed: int = 1
) -> dict[int, dict[int, np.ndarray]]:
    """Human scores -> draw -> the Teacher's levels of the scored essays, (n,), each by one that learned from so many others."""
    scored, score = essays.scored, essays.frame["score"].to_numpy()[essays.scored]
    found: dict[int, dict[int, np.ndarray]] = {}
    bar = tqdm(total=len(counts) * draws * folds, desc="Learning curve", unit="fit", mininterval=2)
    for draw in range(1, draws + 1):
        rng, fold = np.random.default_rng([seed, draw]), cut(essays, folds=folds, seed=seed + draw)
        levels = {size: np.empty(len(scored), dtype=int) for size in counts}
        for number in range(fold.max() + 1):
            held = np.flatnonzero(fold == number)
            order = rng.permutation(np.flatnonzero(fold != number))
            for size in counts:
                chosen = _different(order, score, size)
                made = Machine.on_people(RIVALS[TEACHER], features, scored[chosen], score[chosen], essays.scale)
                levels[size][held] = essays.scale.nearest(made.match.apply(made.guess(features, scored[held])))
                bar.update()
        for size in counts:
            found.setdefault(size, {})[draw] = levels[size]
    bar.close()
    return found


def _different(order: np.ndarray, score: np.ndarray, size: int) -> np.ndarray:
    """The first `size` of an order, with the first other score in the last place where they are all alike."""
    chosen = order[:size]
    if np.ptp(score[chosen]) == 0:
        other = order[np.flatnonzero(score[order] != score[chosen[0]])[:1]]
        chosen = np.r_[chosen[:-1], other]
    return chosen


def _taken(block: Any, places: np.ndarray) -> np.ndarray:
    rows = block[places]
    return rows.toarray() if sparse.issparse(rows) else rows
