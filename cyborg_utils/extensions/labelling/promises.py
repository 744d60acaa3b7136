"""What can be promised of scores that nobody has checked, from the scored essays: intervals, a guarantee, means, suspects.

All of it rests on cross-fitted guesses (`machines.CrossFitted`), and on one condition: the scored essays are like the others,
best a random sample of them. `unlike` looks for signs against it. benchmarks/promises.py checks every promise against removed
scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions import spot_checks
from cyborg_utils.extensions.labelling.essays import Essays
from cyborg_utils.extensions.labelling.machines import STUDENT, TEACHER, CrossFitted
from cyborg_utils.models import baseline
from cyborg_utils.stats import conformal, selective
from cyborg_utils.stats.comparisons import holm

LEAST_SHARE = 0.5  # of the blank essays; a guarantee for fewer is not worth a machine
FALSE_SUSPECTS = 0.10  # expected share of suspects that are none
MAD_TO_SD = 1.4826  # of normal errors


class Wish(NamedTuple):
    """What must hold for the essays that no person scores: `risk` (of `selective.RISKS`) on average at most `target`."""

    risk: str
    target: float
    words: str

    @classmethod
    def of(cls, kind: str, value: float, scale: Scale) -> Wish:
        """("adjacent", 0.95): at most one level off for 95 %; ("exact", 0.6); ("error", 0.5): a mean error of half a point."""
        kinds = {"adjacent": selective.FAR_OFF, "exact": "not exact", "error": "absolute error"}
        if kind not in kinds or not 0 < value < (math.inf if kind == "error" else 1):
            raise CyborgError(
                f"promise {kind} {value:g}: give adjacent or exact with a share below 1, or error with points above 0."
            )
        if kind == "error":
            return cls(kinds[kind], value / scale.step, f"a mean error of at most {value:.3g} points")
        words = f"{'exact or adjacent' if kind == 'adjacent' else 'exact'} on at least {value:.0%}"
        return cls(kinds[kind], 1 - value, words)


@dataclass(frozen=True)
class Judged:
    """One machine's errors on the scored essays, and what they say of its guesses elsewhere."""

    name: str
    score: np.ndarray
    level: np.ndarray  # that it gives them, cross-fitted
    line: conformal.LeastSquares
    scale: Scale

    @classmethod
    def of(cls, name: str, cross: CrossFitted, essays: Essays) -> Judged:
        score = essays.frame["score"].to_numpy()[essays.scored]
        line = conformal.LeastSquares.fit(target=score, values=cross.guess[name])
        return cls(name, score, essays.scale.nearest(cross.value[name]), line, essays.scale)

    def width(self, confidence: float) -> float:
        """Half-width of the intervals around `line`; infinite where the scored essays are too few."""
        return conformal.half_width(self.line.residuals, confidence)

    def doubt(self, guess: ArrayLike, level: ArrayLike, risk: str) -> np.ndarray:
        """Expected loss of the levels given, by the errors on the scored essays."""
        return selective.signals(self.line.apply(guess), level, self.line, self.scale, risk=risk)[selective.EXPECTED]


@dataclass(frozen=True)
class Guarantee:
    """`made`: the machine scores essays with a doubt up to its threshold. `needed`: scored essays from which it could be made at
    all, with not one error among them."""

    wish: Wish
    sure: float
    made: selective.Promise
    n: int
    needed: int


def guarantee(judged: Judged, guess: ArrayLike, wish: Wish, *, sure: float, seed: int = 1) -> Guarantee:
    """The largest share of essays for which `wish` holds with confidence `sure` (`selective.promise`). `guess`: cross-fitted.

    Shares are tried from the smallest that so many essays can support, but at least `LEAST_SHARE`; both depend on their number
    alone. The essays are taken in a random order, which the bound of a mean error needs.
    """
    n, least, top = len(judged.score), LEAST_SHARE, selective.most(wish.risk, judged.scale)
    needed = selective.needed(wish.target / top, sure, least=1.0) if wish.target < top else 1
    least = float(np.clip(needed / n, LEAST_SHARE, 1.0))
    doubt = judged.doubt(guess, judged.level, wish.risk)
    loss = selective.RISKS[wish.risk](judged.scale.level(judged.score) - judged.level)
    order = np.random.default_rng(seed).permutation(n)
    made = selective.promise(doubt[order], loss[order], target=wish.target, confidence=sure, least=least, top=top)
    return Guarantee(wish, sure, made, n, needed)


def suspects(judged: dict[str, Judged], cross: CrossFitted, *, level: float = FALSE_SUSPECTS) -> pd.DataFrame:
    """Human scores that Teacher and Student, neither of which learned from them, both contradict: place, teacher, student, p.

    Each error is measured in a robust SD (the median absolute deviation, which slips do not widen, but never below that of scores
    rounded to the scale); where both have one sign, p is the tail of the smaller of the two. Listed are those that Benjamini and
    Hochberg's procedure keeps at a false discovery rate `level` (1995), the surest first.
    """
    apart = np.column_stack([judged[name].line.residuals for name in (TEACHER, STUDENT)])
    centred = apart - np.median(apart, axis=0)
    spread = np.maximum(MAD_TO_SD * np.median(np.abs(centred), axis=0), judged[TEACHER].scale.step / math.sqrt(12))
    size = centred / spread
    together = np.where(np.prod(np.sign(size), axis=1) > 0, np.abs(size).min(axis=1), 0.0)
    p = 2 * stats.norm.sf(together)
    kept = multipletests(p, alpha=level, method="fdr_bh")[0]
    score = judged[TEACHER].score
    guess = {name: judged[name].line.apply(cross.guess[name]) for name in (TEACHER, STUDENT)}
    table = pd.DataFrame({"place": np.arange(len(score)), "score": score, **guess, "p": p})
    return table[kept].sort_values("p", kind="stable", ignore_index=True)


def means(essays: Essays, cross: CrossFitted, *, confidence: float, min_group: int, by: str = TEACHER) -> pd.DataFrame:
    """The mean score that people would give the whole collection, and each group of writers: attribute, group, n, scored, alone,
    alone_low, alone_high (from the scored essays alone), mean, low, high (with all machine scores).

    Prediction-powered inference for these very essays (`spot_checks.bias_interval`). The machine's guess of a scored essay is
    cross-fitted, that of a blank one the mean over the folds' machines (Zrnic & Candès 2024, cross-prediction). NaN ends with
    fewer than three scored essays.
    """
    scored, blank = essays.scored, essays.blank
    score, guess = essays.frame["score"].to_numpy(), np.empty(len(essays.frame))
    guess[scored], guess[blank] = cross.guess[by], cross.blank[by]
    rows = []
    for (attribute, group), inside in spot_checks.members_of(essays.frame, essays.groups).items():
        seen, unseen = scored[inside[scored]], blank[inside[blank]]
        if inside.sum() < min_group:
            continue
        row = {"attribute": attribute, "group": group, "n": int(inside.sum()), "scored": len(seen)}
        whole = guess[inside].mean()
        gap = spot_checks.bias_interval(score[seen], guess[seen], guess[unseen], sd=1.0, confidence=confidence)
        flat = spot_checks.bias_interval(score[seen], np.zeros(len(seen)), np.zeros(len(unseen)), sd=1.0, confidence=confidence)
        row |= {"alone": -flat.value, "alone_low": -flat.high, "alone_high": -flat.low}
        rows.append(row | {"mean": whole - gap.value, "low": whole - gap.high, "high": whole - gap.low})
    return pd.DataFrame(rows)


def unlike(essays: Essays) -> pd.DataFrame:
    """Are the scored essays like the blank ones? Kolmogorov-Smirnov's test on each text statistic: statistic, p, p_holm, scored
    and blank (medians). Empty where there is no blank essay."""
    if not len(essays.blank):
        return pd.DataFrame(columns=["statistic", "p", "p_holm", "scored", "blank"])
    found = baseline.statistics(essays.frame["text"])
    mine, theirs = found[essays.scored], found[essays.blank]
    p = [stats.ks_2samp(one, other).pvalue for one, other in zip(mine.T, theirs.T, strict=True)]
    table = pd.DataFrame({"statistic": baseline.STATISTICS, "p": p, "p_holm": holm(p)})
    return table.assign(scored=np.median(mine, axis=0), blank=np.median(theirs, axis=0))
