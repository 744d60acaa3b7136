"""A scorer on top of frozen features: ridge regression, fitted in a second on few human scores, and no development essay spent.

Features of an essay come in blocks: the states of a language model (`models.states`), text statistics, counts of words. Each
block has a ridge regression of its own, on standardised features, with its penalty chosen by leave-one-out. The blocks'
leave-one-out predictions are stacked (Breiman 1996: weights that are not negative), so that a block which says nothing on few
essays gets little weight. Everything else is fitted on leave-one-out predictions too: mean and SD matched to people's, and the
spread of the errors, from which come the probabilities of the levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize, sparse, stats

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.calibration import MeanSdMatch

PENALTIES = np.logspace(-1, 6, 29)  # times the mean square of a standardised feature


@dataclass(frozen=True)
class Block:
    """One block's regression: value = intercept + (features - centre) / spread @ weights; float64 (d,) each."""

    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    intercept: float
    penalty: float

    @classmethod
    def fit(cls, features: ArrayLike, value: ArrayLike) -> tuple[Block, np.ndarray]:
        """The regression of scores (n,) on features (n, d), and its leave-one-out predictions (n,).

        Features that do not vary have weight 0. Centre and spread are those of all n essays, also for the prediction of one
        that is left out.
        """
        features, value = np.asarray(features, dtype=float), np.asarray(value, dtype=float)
        centre, spread = features.mean(axis=0), features.std(axis=0)
        spread[spread < 1e-9 * np.maximum(1, np.abs(centre))] = np.inf
        weights, penalty, left_out = ridge((features - centre) / spread, value)
        return cls(centre, spread, weights, float(value.mean()), penalty), left_out

    def value(self, features: ArrayLike | sparse.sparray | sparse.spmatrix) -> np.ndarray:
        scaled = self.weights / self.spread
        features = features if sparse.issparse(features) else np.asarray(features)
        return self.intercept - self.centre @ scaled + features @ scaled


@dataclass(frozen=True)
class Calibrated:
    """How a scorer's predictions become scores. All of it is fitted on predictions of essays whose score it had not seen."""

    scale: Scale
    line: MeanSdMatch  # least squares: from the prediction to the best guess
    match: MeanSdMatch  # mean and SD as people's
    error: float  # SD of the best guesses' errors, in points
    left_out: np.ndarray  # best guesses of the n essays, each without its own score

    @classmethod
    def fit_on(cls, predicted: np.ndarray, score: np.ndarray, scale: Scale, **more: Any) -> Self:
        """From predictions (n,) by models without the essay's own score, and human scores (n,); `more`: fields of a subclass."""
        slope = float(np.clip(np.cov(predicted, score)[0, 1] / max(predicted.var(ddof=1), 1e-12), 0, 3))
        line = MeanSdMatch(float(score.mean()), float(predicted.mean()), slope)
        best = line.apply(predicted)
        error = float(np.sqrt(((score - best) ** 2).sum() / max(1, len(score) - 2)))
        match = MeanSdMatch.fit(target=score, values=best)
        return cls(scale=scale, line=line, match=match, error=error, left_out=best, **more)

    def level(self, guess: ArrayLike) -> np.ndarray:
        """The nearest levels (n,) to best guesses (n,) whose mean and SD were matched to people's."""
        return self.scale.nearest(self.match.apply(guess))

    def probabilities_of(self, guess: ArrayLike) -> np.ndarray:
        """Probability of each level, (n, K): normal errors around best guesses (n,), with the SD `error`."""
        edges = np.r_[-np.inf, self.scale.scores[:-1] + self.scale.step / 2, np.inf]
        return np.diff(stats.norm.cdf((edges - np.asarray(guess)[:, None]) / max(self.error, 1e-9)), axis=1)


@dataclass(frozen=True)
class Frozen(Calibrated):
    """A fitted scorer: each block's regression, and its weight (`shares`)."""

    blocks: Mapping[str, Block]
    shares: Mapping[str, float]

    @classmethod
    def fit(cls, features: Mapping[str, ArrayLike], score: ArrayLike, scale: Scale) -> Frozen:
        """Fit on human scores (n,) of essays whose features are given by block, (n, d) each. Raises CyborgError for n < 5."""
        score = np.asarray(score, dtype=float)
        if len(score) < 5 or np.ptp(score) == 0:
            raise CyborgError(
                f"{len(score)} human score(s), {len(np.unique(score))} of them different: 5 essays and 2 scores are needed."
            )
        blocks, guesses = {}, []
        for name, given in features.items():
            blocks[name], left_out = Block.fit(given, score)
            guesses.append(left_out)
        shares = _stacked(np.column_stack(guesses), score)
        weights = dict(zip(blocks, map(float, shares), strict=True))
        return cls.fit_on(np.column_stack(guesses) @ shares, score, scale, blocks=blocks, shares=weights)

    def guess(self, features: Mapping[str, ArrayLike]) -> np.ndarray:
        """The best guess in the sense of least squares, score units, (n,)."""
        return self.line.apply(sum(share * self.blocks[name].value(features[name]) for name, share in self.shares.items()))

    def value(self, features: Mapping[str, ArrayLike]) -> np.ndarray:
        """Scores with people's mean and SD, (n,), neither rounded nor trimmed; a level is the nearest to them."""
        return self.match.apply(self.guess(features))

    def linear(self) -> Block:
        """All blocks as one: features side by side in the blocks' order, and `guess` as their linear function."""
        parts = [(self.blocks[name], self.line.slope * share) for name, share in self.shares.items()]
        weights = np.concatenate([share * block.weights for block, share in parts])
        spread = np.concatenate([np.where(np.isfinite(block.spread), block.spread, 1.0) for block, _ in parts])
        stacked = sum(share * self.blocks[name].intercept for name, share in self.shares.items())
        return Block(
            np.concatenate([block.centre for block, _ in parts]), spread, weights, float(self.line.apply(stacked)), np.nan
        )

    def probabilities(self, features: Mapping[str, ArrayLike]) -> np.ndarray:
        """Probability of each level, (n, K), with the SD of the leave-one-out errors."""
        return self.probabilities_of(self.guess(features))


def ridge(features: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Ridge regression on centred features (n, d): weights (d,), the penalty of `PENALTIES` with the least leave-one-out error,
    and the leave-one-out predictions (n,).

    It is scikit-learn's `RidgeCV` (a test compares them), with one decomposition for all penalties, of the smaller of the two
    Gram matrices. The intercept is not penalised: it adds 1/n to every leverage.
    """
    n, width = features.shape
    apart = value - value.mean()
    if n <= width:
        size, turn = linalg.eigh(features @ features.T, overwrite_a=True)
        shrunk = 1 / (np.maximum(size, 0)[:, None] + PENALTIES)  # (n, penalties)
        error = turn @ (shrunk * (turn.T @ apart)[:, None]) / ((turn**2) @ shrunk - 1 / (n * PENALTIES))
    else:
        size, turn = linalg.eigh(features.T @ features, overwrite_a=True)
        shrunk, along = 1 / (np.maximum(size, 0)[:, None] + PENALTIES), features @ turn
        fitted = along @ (shrunk * (along.T @ apart)[:, None])
        error = (apart[:, None] - fitted) / (1 - 1 / n - (along**2) @ shrunk)
    best = int((error**2).mean(axis=0).argmin())
    if n <= width:
        weights = features.T @ (turn @ (shrunk[:, best] * (turn.T @ apart)))
    else:
        weights = turn @ (shrunk[:, best] * (along.T @ apart))
    return weights, float(PENALTIES[best]), value - error[:, best]


def _stacked(guesses: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Weights of the columns of `guesses` (n, blocks) that predict the scores best: not negative, drawn towards equal ones.

    The pull to equal weights counts as two essays a block, so that it rules on few essays and vanishes on many.
    """
    count = guesses.shape[1]
    equal = np.full(count, 1 / count)
    centred = guesses - guesses.mean(axis=0)
    pull = np.sqrt(2 * centred.var(axis=0).mean()) * np.eye(count)
    weights, _ = optimize.nnls(np.vstack([centred, pull]), np.r_[score - score.mean(), pull @ equal])
    return weights if weights.any() else equal
