"""How good are the scores? The tables of the page, each from the scored essays alone, by machines that did not learn
from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.extensions.labelling import machines, promises
from cyborg_utils.extensions.labelling.essays import Essays, first_to_score
from cyborg_utils.extensions.labelling.machines import HUMAN, STUDENT, TEACHER, WITHOUT, CrossFitted, Features
from cyborg_utils.extensions.labelling.promises import Guarantee, Judged, Wish
from cyborg_utils.stats import comparisons, conformal, fairness, learning_curve, metrics, selective

NAMES = {
    TEACHER: "Teacher",
    STUDENT: "Student on Cyborg Data",
    HUMAN: "the same Student on the human scores alone",
    WITHOUT: "no language model (ridge on words and text statistics)",
}
CONDITION = (TEACHER, HUMAN)  # the method's condition: the Teacher must know more than what it teaches could learn without it
PAIRS = (CONDITION, (TEACHER, WITHOUT), (STUDENT, HUMAN), (STUDENT, WITHOUT), (STUDENT, TEACHER))
MARGIN = 0.05  # of QWK, that counts as comparable
AHEAD = (1, 2, 4)  # multiples of the human scores for which the learning curve is read
CURVES = 200  # resamples of the learning curve


class Settings(NamedTuple):
    """What a person may ask of the report. `promise`: kind and value, see `promises.Wish`."""

    promise: tuple[str, float] = ("adjacent", 0.95)
    sure: float = 0.95
    interval: float = 0.90  # confidence of a single essay's interval
    confidence: float = 0.95  # of all other intervals
    by: str = TEACHER  # whose scores the essays get
    folds: int = machines.FOLDS
    following: int = 20  # essays named to be scored next
    smd_limit: float = 0.10
    min_group: int = 10
    resamples: int = 2000
    draws: int = 3  # of the learning curve
    seed: int = 1


DEFAULT = Settings()


@dataclass(frozen=True)
class Report:
    """Everything that the page says. `agreement`: system, n, qwk, low, high, exact, adjacent, r, rmse; `differences`:
    system, baseline, difference, low, high, equivalence; `groups`: `fairness.smd_by_group`; `forecast`: n, qwk, low, high;
    `following`: places to score next; `read`: whether a language model has read the essays."""

    essays: Essays
    settings: Settings
    cross: CrossFitted
    blank_guess: dict[str, np.ndarray]  # of Teacher and Student, fitted on all scored essays
    judged: dict[str, Judged]
    guarantee: Guarantee
    agreement: pd.DataFrame
    differences: pd.DataFrame
    groups: pd.DataFrame
    means: pd.DataFrame
    suspects: pd.DataFrame
    unlike: pd.DataFrame
    curve: learning_curve.Fitted | None
    forecast: pd.DataFrame
    following: np.ndarray
    read: bool

    @property
    def own(self) -> Judged:
        """The machine whose scores the essays get."""
        return self.judged[self.settings.by]


def make(essays: Essays, features: Features, settings: Settings = DEFAULT) -> Report:
    """Fit, judge and promise. Nothing is chosen by what is found: the machine that scores is `settings.by`."""
    if settings.by not in (TEACHER, STUDENT):
        raise CyborgError(f"by {settings.by!r}: the scores are {TEACHER}'s or {STUDENT}'s.")
    cross = machines.cross_fit(essays, features, folds=settings.folds, seed=settings.seed)
    judged = {name: Judged.of(name, cross, essays) for name in NAMES}
    wish = Wish.of(*settings.promise, essays.scale)
    kept = promises.guarantee(judged[settings.by], cross.guess[settings.by], wish, sure=settings.sure, seed=settings.seed)
    level = essays.scale.level(judged[TEACHER].score)
    how = {"resamples": settings.resamples, "confidence": settings.confidence, "seed": settings.seed}
    given = {name: one.level for name, one in judged.items()}
    differences = pd.DataFrame([_contrast(level, given, *pair, folds=cross.folds, **how) for pair in PAIRS])
    return Report(
        essays,
        settings,
        cross,
        {name: cross.final[name].guess(features, essays.blank) for name in (TEACHER, STUDENT)},
        judged,
        kept,
        _agreement(level, cross, essays, given, **how),
        differences,
        _groups(essays, cross, settings),
        promises.means(essays, cross, confidence=settings.confidence, min_group=settings.min_group, by=settings.by),
        promises.suspects(judged, cross),
        promises.unlike(essays),
        *_curve(essays, features, level, settings),
        first_to_score(essays.frame["text"].tolist(), essays.blank, settings.following, seed=settings.seed),
        features["teacher"] is not features["states"],
    )


def against(report: Report, true: np.ndarray) -> pd.DataFrame:
    """What was promised, beside the removed scores `true` of all essays: promise, low, high, truth, kept.

    Of the guarantee `high` is the loss that was allowed and `truth` the one on the essays left to the machine (NaN: nothing was
    promised); of the interval of an essay `low` is the share of essays stated, and `truth` the share held.
    """
    essays, own, by, scale = report.essays, report.own, report.settings.by, report.essays.scale
    blank, guess, rows = essays.blank, report.blank_guess[by], []
    hidden, value = true[blank], report.cross.final[by].match.apply(guess)
    level = scale.nearest(value)
    agreed = report.agreement.set_index("system").loc[by]
    rows.append(("QWK", agreed["low"], agreed["high"], metrics.qwk(scale.level(hidden), level, levels=scale.size)))
    whole = report.groups.iloc[0]
    rows.append(("SMD", whole["smd_low"], whole["smd_high"], metrics.smd(hidden, value)))
    low, high = conformal.interval(own.line.apply(guess), own.width(report.settings.interval), scale)
    held = float(np.mean((hidden >= low - 1e-9) & (hidden <= high + 1e-9)))
    rows.append(("interval of an essay", report.settings.interval, 1.0, held))
    wish = report.guarantee.wish
    taken = own.doubt(guess, level, wish.risk) <= report.guarantee.made.threshold
    loss = selective.RISKS[wish.risk](scale.level(hidden) - level)
    rows.append(("guarantee", 0.0, wish.target, loss[taken].mean() if taken.any() else np.nan))
    for row in report.means.itertuples():
        inside = np.full(len(true), True)
        if row.attribute != "all":
            inside = (essays.frame[f"groups.{row.attribute}"].astype(str) == row.group).to_numpy()
        rows.append((f"mean, {row.attribute} {row.group}".replace("all all", "all"), row.low, row.high, true[inside].mean()))
    table = pd.DataFrame(rows, columns=["promise", "low", "high", "truth"])
    kept = table["truth"].between(table["low"] - 1e-9, table["high"] + 1e-9)
    return table.assign(kept=kept.where(table["truth"].notna(), None))


def _agreement(level: np.ndarray, cross: CrossFitted, essays: Essays, given: dict[str, np.ndarray], **how) -> pd.DataFrame:
    table = comparisons.intervals(level, given, scale=essays.scale, **how)
    ends = (table["qwk"], table["low"], table["high"])
    table["low"], table["high"] = comparisons.cross_fitted(*ends, folds=cross.folds, bounds=metrics.BOUNDS["qwk"])
    score = essays.frame["score"].to_numpy()[essays.scored]
    rest = [metrics.agreement_metrics(score, cross.value[name], essays.scale) for name in table["system"]]
    return table.assign(**{name: [one[name] for one in rest] for name in ("exact", "adjacent", "r", "rmse", "smd")})


def _contrast(
    level: np.ndarray, given: dict[str, np.ndarray], system: str, baseline: str, *, folds: int, **how
) -> dict[str, Any]:
    """A difference in QWK on the same essays, with its paired interval, and whether it is within `MARGIN`."""
    found = comparisons.contrast(level, {1: given[system]}, {1: given[baseline]}, margin=MARGIN, **how)
    apart = found["difference"]
    low, high = map(float, comparisons.cross_fitted(apart, found["low"], found["high"], folds=folds))
    tost = comparisons.cross_fitted(apart, found["tost_low"], found["tost_high"], folds=folds)
    alike = comparisons.equivalence(*map(float, tost), margin=MARGIN)
    return {"system": system, "baseline": baseline, "difference": apart, "low": low, "high": high, "equivalence": alike}


def _groups(essays: Essays, cross: CrossFitted, settings: Settings) -> pd.DataFrame:
    rows = essays.frame.iloc[essays.scored].assign(value=cross.value[settings.by])
    how = {"resamples": settings.resamples, "confidence": settings.confidence, "seed": settings.seed}
    limits = {"limit": settings.smd_limit, "min_group": settings.min_group}
    return fairness.smd_by_group(rows, groups=essays.groups, scale=essays.scale, **limits, **how)


def _curve(
    essays: Essays, features: Features, level: np.ndarray, settings: Settings
) -> tuple[learning_curve.Fitted | None, pd.DataFrame]:
    """The Teacher's learning curve, and what it says beyond the human scores that there are."""
    none, counts = pd.DataFrame(columns=["n", "qwk", "low", "high"]), machines.sizes(len(essays.scored))
    if not counts or not settings.draws:
        return None, none
    by_size = machines.levels_by_size(essays, features, counts, draws=settings.draws, seed=settings.seed)
    try:
        fitted = learning_curve.fit_resampled(level, by_size, {}, resamples=CURVES, seed=settings.seed)
    except (CyborgError, RuntimeError):  # RuntimeError: the fit does not converge
        return None, none
    total = len(essays.frame)
    numbers = [count for count in (len(level) * times for times in AHEAD) if count <= total or count == len(level)]
    at = fitted.curve.at(numbers)
    low, high = fitted.interval([curve.at(numbers) for curve in fitted.curves], settings.confidence).clip(*metrics.BOUNDS["qwk"])
    return fitted, pd.DataFrame({"n": numbers, "qwk": at, "low": low, "high": high})
