"""Do 95 % intervals contain the truth 95 % of the time, and are false alarms as rare as stated? `benchmarks/coverage.py`.

Essays have a quality, normally distributed; people and machines see it with normal noise, and levels are rounded and trimmed to a
scale of six. So every chance table, and with it the truth of each quantity, is known from the normal distribution (an integral,
`table`), not from another sample. Each trial draws new essays and asks the package's own functions.

Writes results/coverage/coverage.csv (counts, after every block of trials), coverage.md and coverage.json (the record). A stopped
run goes on where it was, `--fresh` begins anew. One core, about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.scoring import deferral
from cyborg_utils.models.frozen import Frozen
from cyborg_utils.stats import bootstrap, calibration, comparisons, conformal, fairness, metrics, selective
from cyborg_utils.study import bias

SCALE = Scale(1, 6)
SPREAD, PEOPLE = 1.1, 0.5  # levels to one SD of quality; noise of human scores, in SDs of quality
GOOD, BAD = 0.6, 0.8  # noise of two machines
LIMIT, MARGIN = 0.10, 0.05
RESAMPLES, BLOCK = 1_000, 100

Trial = Callable[[np.random.Generator], dict[str, bool | None]]


class Experiment(NamedTuple):
    """What one trial tells by case: contained or not (stated: at least), or a false alarm or not (stated: at most)."""

    trial: Trial
    stated: float
    claim: str  # "covers" or "at most"


# ---------------------------------------------------------------- the population, exactly


def value(quality: np.ndarray, noise: float, rng: np.random.Generator, *, shift: float = 0.0) -> np.ndarray:
    """A rater's real-valued score of essays of this quality; `shift` in points."""
    return 3.5 + SPREAD * (quality + noise * rng.normal(size=np.shape(quality))) + shift


def level(quality: np.ndarray, noise: float, rng: np.random.Generator, *, shift: float = 0.0) -> np.ndarray:
    return SCALE.nearest(value(quality, noise, rng, shift=shift))


def given(quality: np.ndarray, noise: float, shift: float) -> np.ndarray:
    """Probability of each level at each quality, (qualities, K)."""
    edges = np.concatenate([[-np.inf], SCALE.scores[:-1] + 0.5, [np.inf]])
    return np.diff(stats.norm.cdf((edges - 3.5 - shift - SPREAD * quality[:, None]) / (SPREAD * noise)), axis=1)


def table(noise: float, *, shift: float = 0.0, mean: float = 0.0) -> np.ndarray:
    """Chance of each pair (human level, machine level), (K, K), by Gauss-Hermite quadrature over quality ~ N(mean, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    quality, weights = nodes + mean, weights / weights.sum()
    return given(quality, PEOPLE, 0.0).T @ (weights[:, None] * given(quality, noise, shift))


@cache
def qwk(noise: float, shift: float = 0.0) -> float:
    return float(metrics.qwk_from_confusion(table(noise, shift=shift)))


def human_moments(mean: float = 0.0) -> tuple[float, float]:
    """Mean and SD of the human scores of essays with quality ~ N(mean, 1)."""
    shares = table(GOOD, mean=mean).sum(axis=1)
    centre = shares @ SCALE.scores
    return centre, np.sqrt(shares @ (SCALE.scores - centre) ** 2)


def shift_for(smd: float, mean: float = 0.0) -> float:
    """The shift of a real-valued machine that makes its SMD exactly this."""
    centre, sd = human_moments(mean)
    return smd * sd + centre - 3.5 - SPREAD * mean


# ---------------------------------------------------------------- coverage


def holds(interval: tuple, truth: float) -> bool:
    return bool(interval[-2] <= truth <= interval[-1])


def one_qwk(rng) -> dict[str, bool | None]:
    found = {}
    for n in (50, 100, 400, 1600):
        quality = rng.normal(size=n)
        pair = level(quality, PEOPLE, rng), level(quality, GOOD, rng)
        for method in bootstrap.METHODS:
            interval = bootstrap.bootstrap_interval(*pair, resamples=RESAMPLES, method=method, seed=rng)
            found[f"{method}, n = {n}"] = holds(interval, qwk(GOOD))
    return found


def difference(rng) -> dict[str, bool | None]:
    found = {}
    for n in (50, 100, 400):
        quality = rng.normal(size=n)
        scores = level(quality, PEOPLE, rng), level(quality, GOOD, rng), level(quality, BAD, rng)
        for method in bootstrap.METHODS:
            interval = bootstrap.paired_bootstrap(*scores, resamples=RESAMPLES, method=method, seed=rng)
            found[f"{method}, n = {n}"] = holds(interval, qwk(GOOD) - qwk(BAD))
    return found


GROUPS = {10: 0.0, 30: -0.5, 100: 0.5, 400: -0.8}  # essays of a group and its mean quality


def frame_of(rng, sizes: dict[int, float], smd: float | dict[int, float]) -> pd.DataFrame:
    """Essays of groups with a machine whose SMD in each group is as wanted."""
    parts = []
    for n, mean in sizes.items():
        quality, wanted = rng.normal(mean, 1, n), smd[n] if isinstance(smd, dict) else smd
        machine = value(quality, GOOD, rng, shift=shift_for(wanted, mean))
        parts.append(pd.DataFrame({"score": SCALE.score(level(quality, PEOPLE, rng)), "value": machine, "group": str(n)}))
    return pd.concat(parts, ignore_index=True)


def judged(rng, frame: pd.DataFrame) -> pd.DataFrame:
    options = {"scale": SCALE, "seed": rng, "resamples": RESAMPLES, "limit": LIMIT}
    return fairness.smd_by_group(frame, groups=["group"], **options).set_index("group").drop("all")


@cache
def dsm_truth() -> dict[str, float]:
    """DSM of each of `GROUPS` when SMD is -0.2 in all: population means and SDs of the mixture."""
    shares = np.array([*GROUPS]) / sum(GROUPS)
    human = np.array([human_moments(mean) for mean in GROUPS.values()])
    machine = human[:, 0] - 0.2 * human[:, 1]
    within = np.column_stack([human[:, 1] ** 2, np.full(len(GROUPS), SPREAD**2 * (1 + GOOD**2))])
    means = np.column_stack([human[:, 0], machine])
    centre = shares @ means
    sd = np.sqrt(shares @ (within + (means - centre) ** 2))
    z = (means - centre) / sd
    return dict(zip(map(str, GROUPS), z[:, 1] - z[:, 0], strict=True))


def groups(rng) -> dict[str, bool | None]:
    found = judged(rng, frame_of(rng, GROUPS, -0.2))
    smd = {f"SMD, n = {name}": holds((row["smd_low"], row["smd_high"]), -0.2) for name, row in found.iterrows()}
    dsm = {f"DSM, n = {name}": holds((row["dsm_low"], row["dsm_high"]), dsm_truth()[name]) for name, row in found.iterrows()}
    return smd | dsm


SHIFTS = 0.15  # SD over the seeds of a machine's shift, in SDs of the human scores


def groups_over_seeds(rng) -> dict[str, bool | None]:
    """Each training shifts a machine's scores by another amount; the SMD of the machines to come is -0.2."""
    found = {}
    for seeds in (2, 3, 5):
        quality, wanted = rng.normal(size=100), rng.normal(-0.2, SHIFTS, seeds)
        human = SCALE.score(level(quality, PEOPLE, rng))
        runs = [
            pd.DataFrame(
                {"essay_id": range(100), "score": human, "value": value(quality, GOOD, rng, shift=shift_for(smd)), "seed": at}
            )
            for at, smd in enumerate(wanted)
        ]
        how = {"groups": [], "scale": SCALE, "seed": rng, "resamples": RESAMPLES}
        row = bias.smd_of_runs(pd.concat(runs), "value", **how).iloc[0]
        found[f"SMD, n = 100, {seeds} seeds"] = holds((row["smd_low"], row["smd_high"]), -0.2)
    return found


def trained(rng, seeds: int, smd: float, *, n: int = 100, dev: int = 100) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A method's trainings, matched on the same few development essays: scores of a group's n test essays, and of these.

    Each training treats the group differently, by `SHIFTS`; matching cannot see it. The SMD of the method in the group, over
    other trainings and other development essays, is as wanted.
    """
    machine_sd, parts = SPREAD * np.sqrt(1 + GOOD**2), {"test": [], "dev": []}
    sizes = {"test": n, "dev": dev}
    quality = {part: rng.normal(size=size) for part, size in sizes.items()}
    human = {part: SCALE.score(level(of, PEOPLE, rng)) for part, of in quality.items()}
    for seed in range(seeds):
        shift = {"test": machine_sd * rng.normal(smd, SHIFTS), "dev": 0.0}
        given = {part: value(of, GOOD, rng, shift=shift[part]) for part, of in quality.items()}
        match = calibration.MeanSdMatch.fit(target=human["dev"], values=given["dev"])
        for part, values in given.items():
            rows = {"essay_id": range(sizes[part]), "score": human[part], "value": values, "matched_value": match.apply(values)}
            parts[part].append(pd.DataFrame(rows).assign(seed=seed))
    return pd.concat(parts["test"]), pd.concat(parts["dev"])


def of_method(rng, seeds: int, smd: float, **sizes: int) -> pd.Series:
    test, dev = trained(rng, seeds, smd, **sizes)
    how = {"groups": [], "scale": SCALE, "overall_limit": LIMIT, "resamples": RESAMPLES, "seed": int(rng.integers(2**31))}
    return bias.smd_of_runs(test, "matched_value", dev=dev, **how).iloc[0]


def holds_for_method(rng, seeds: int, dev: int) -> bool:
    """Does the interval hold the method's SMD, with test essays, trainings and development essays all drawn anew?"""
    row = of_method(rng, seeds, -0.2, dev=dev)
    return holds((row["smd_low"], row["smd_high"]), -0.2)


def groups_of_method(rng) -> dict[str, bool | None]:
    return {f"SMD, n = 100, 5 seeds, {dev} development essays": holds_for_method(rng, 5, dev) for dev in (50, 100, 400)}


def groups_of_few_trainings(rng) -> dict[str, bool | None]:
    """Each source has a quantile of its own, so with 2 or 3 seeds the interval is rather too long than too short."""
    name = "true SMD missed, n = 100, {} seeds, 100 development essays"
    return {name.format(seeds): not holds_for_method(rng, seeds, 100) for seeds in (2, 3)}


PROMPTS = {8: 12, 20: 12, 40: 12}  # prompts of a sample, and essays on each in the mean


def groups_in_prompts(rng) -> dict[str, bool | None]:
    """A machine is stricter on some prompts than on others, by `SHIFTS`; over prompts its SMD is -0.2."""
    found, (_, sd) = {}, human_moments()
    for count, size in PROMPTS.items():
        prompt = np.repeat(np.arange(count), rng.integers(size // 2, size * 3 // 2 + 1, count))
        quality, shift = rng.normal(size=len(prompt)), shift_for(-0.2) + sd * SHIFTS * rng.normal(size=count)[prompt]
        machine = value(quality, GOOD, rng) + shift
        frame = pd.DataFrame({"score": SCALE.score(level(quality, PEOPLE, rng)), "value": machine, "prompt": prompt})
        options = {"groups": [], "scale": SCALE, "seed": rng, "resamples": 100, "prompt": "prompt"}
        row = fairness.smd_by_group(frame, **options).iloc[0]
        found[f"SMD, {count} prompts of about {size} essays"] = holds((row["smd_prompt_low"], row["smd_prompt_high"]), -0.2)
    return found


STRICT = {"some": 0.5, "hardly any": 1.9}  # shift down, in points


def top_ratio(rng, name: str) -> bool:
    """Does the interval hold the true ratio of high scores?"""
    quality, shift = rng.normal(size=400), -STRICT[name]
    human, machine = level(quality, PEOPLE, rng), level(quality, GOOD, rng, shift=shift)
    shares = table(GOOD, shift=shift)
    truth = shares[:, -2:].sum() / shares[-2:].sum()
    found = fairness.suppression(human, machine, scale=SCALE, resamples=RESAMPLES, seed=rng)
    return holds((found["ratio_low"], found["ratio_high"]), truth)


def high_scores(rng) -> dict[str, bool | None]:
    return {"ratio of high scores, n = 400": top_ratio(rng, "some")}


def hardly_any(rng) -> dict[str, bool | None]:
    """Often no essay gets a high score; counts so small make intervals that hold too often rather than too rarely."""
    return {"true ratio missed, hardly any given, n = 400": not top_ratio(rng, "hardly any")}


CELLS = {100: 0.0, 400: 0.0}


@cache
def bias_at(score: float) -> float:
    """Mean of (M - H) at one human score, of a machine without a shift: E(quality | H) by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    at = weights * given(nodes, PEOPLE, 0.0)[:, int(score) - 1]
    return 3.5 + SPREAD * (at @ nodes) / at.sum() - score


def curves(rng) -> dict[str, bool | None]:
    """One group of two is 0.2 points stricter at every human score."""
    frame, found = frame_of(rng, CELLS, 0.0), {}
    frame["value"] -= 0.2 * (frame["group"] == "100") + shift_for(0.0)
    table = fairness.conditional_bias(frame, groups=["group"], seed=rng, resamples=RESAMPLES)
    table = table[table["group"] == "100"].set_index("score")
    for score in (2.0, 4.0):
        if score in table.index:
            row = table.loc[score]
            found[f"bias at score {score:g}, n = 100"] = holds((row["low"], row["high"]), bias_at(score) - 0.2)
    row = table[table.index.isna()].iloc[0]
    found["gap at equal score, n = 100"] = holds((row["gap_low"], row["gap_high"]), -0.2)
    return found


LUCK = (0.5, 1.1)  # training leaves a machine with a noise somewhere here, all equally likely


@cache
def mean_qwk(added: float = 0.0) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(40)
    noises = np.mean(LUCK) + np.ptp(LUCK) / 2 * nodes + added
    return float(weights @ [qwk(noise) for noise in noises] / 2)


def difference_in_prompts(rng) -> dict[str, bool | None]:
    """Two machines err by prompt, each in its own way, so that on other prompts they agree with people equally well."""
    found = {}
    for prompts in (15, 40):
        prompt = np.repeat(np.arange(prompts), 25)
        quality = rng.normal(size=len(prompt))
        human = level(quality, PEOPLE, rng)
        ours, theirs = ({1: level(quality, GOOD, rng, shift=rng.normal(0, 0.4, prompts)[prompt])} for _ in range(2))
        whole = comparisons.across_seeds(human, ours, theirs, resamples=RESAMPLES, seed=rng, clusters=prompt)
        found[f"prompts drawn, {prompts} prompts of 25 essays"] = holds((whole["low"], whole["high"]), 0.0)
    return found


WIDTHS = {(100, 30): 10, (100, 300): 10, (400, 300): 10, (15, 30): 15}  # scored essays and features -> folds


def qwk_of(machine: Frozen, signal: np.ndarray) -> float:
    """The QWK of a fitted machine, exactly: features are standard normal, and the quality of an essay is features @ signal."""
    line, match = machine.linear(), machine.match
    weights = match.slope * line.weights / line.spread
    at_zero = match.apply(line.intercept - line.centre @ (line.weights / line.spread))
    nodes, chances = np.polynomial.hermite_e.hermegauss(200)
    mean, spread = at_zero + nodes * (weights @ signal), np.sqrt(max(1e-12, weights @ weights - (weights @ signal) ** 2))
    edges = np.concatenate([[-np.inf], SCALE.scores[:-1] + 0.5, [np.inf]])
    levels = np.diff(stats.norm.cdf((edges - mean[:, None]) / spread), axis=1)
    chances = chances / chances.sum()
    return float(metrics.qwk_from_confusion(given(nodes, PEOPLE, 0.0).T @ (chances[:, None] * levels)))


def cross_fitting(rng) -> dict[str, bool | None]:
    """Ridge regression judged by cross-fitting: its QWK when fitted on all essays, and the gain over one with half the signal."""
    found = {}
    for (n, width), folds in WIDTHS.items():
        signal = rng.normal(size=width) / np.arange(1, width + 1)
        signal /= np.linalg.norm(signal)
        features = rng.normal(size=(n, width))
        human = level(features @ signal, PEOPLE, rng)
        poorer = np.where(np.arange(width) % 2, rng.normal(size=(n, width)), features)  # every second feature says nothing
        fold = rng.permutation(n) % folds
        levels, truths = [], []
        for view, known in ((features, signal), (poorer, np.where(np.arange(width) % 2, 0.0, signal))):
            levels.append(np.empty(n, dtype=int))
            for number in range(folds):
                held = fold == number
                machine = Frozen.fit({"features": view[~held]}, SCALE.score(human[~held]), SCALE)
                levels[-1][held] = SCALE.nearest(machine.value({"features": view[held]}))
            truths.append(qwk_of(Frozen.fit({"features": view}, SCALE.score(human), SCALE), known))
        how = {"resamples": RESAMPLES, "seed": rng}
        one = bootstrap.bootstrap_interval(human, levels[0], **how)
        two = bootstrap.paired_bootstrap(human, *levels, **how)
        for name, interval, truth in (("QWK", one, truths[0]), ("difference", two, truths[0] - truths[1])):
            wider = comparisons.cross_fitted(*interval, folds=folds)
            found[f"true {name} missed, n = {n}, {width} features, {folds} folds"] = not holds(wider, truth)
            found[f"true {name} missed, n = {n}, {width} features, {folds} folds, essays alone"] = not holds(interval, truth)
    return found


def over_seeds(rng) -> dict[str, bool | None]:
    found = {}
    for seeds in (2, 3, 5):
        quality = rng.normal(size=400)
        human = level(quality, PEOPLE, rng)
        runs = {at: level(quality, rng.uniform(*LUCK), rng) for at in range(seeds)}
        others = {at: level(quality, rng.uniform(*LUCK) + 0.2, rng) for at in range(seeds)}
        one = comparisons.across_seeds(human, runs, resamples=RESAMPLES, seed=rng)
        two = comparisons.across_seeds(human, runs, others, resamples=RESAMPLES, seed=rng)
        found[f"QWK, {seeds} seeds"] = holds((one["low"], one["high"]), mean_qwk())
        found[f"difference, {seeds} seeds"] = holds((two["low"], two["high"]), mean_qwk() - mean_qwk(0.2))
    return found


ARMS = {"wide gap": (1.4, 0.9, 0.6), "narrow gap": (0.9, 0.75, 0.65)}  # noise of few human scores, Cyborg Data, all of them


def share_of_gap(rng) -> dict[str, bool | None]:
    """Only where the gap is resolved: elsewhere there is no interval."""
    found = {}
    for name, noises in ARMS.items():
        few, ours, full = (qwk(noise) for noise in noises)
        quality = rng.normal(size=400)
        runs = [level(quality, noise, rng) for noise in noises]
        closed = comparisons.gap_closed(level(quality, PEOPLE, rng), *runs, resamples=RESAMPLES, seed=rng)
        covered = holds((closed["low"], closed["high"]), (ours - few) / (full - few))
        found[f"{name}, n = 400"] = covered if closed["resolved"] else None
    return found


def prediction(rng) -> dict[str, bool | None]:
    """Is the human score of a new essay inside its interval around the least-squares value?"""
    found = {}
    for n in (50, 100, 400):
        quality = rng.normal(size=n + 1)
        human, machine = SCALE.score(level(quality, PEOPLE, rng)), value(quality, GOOD, rng)
        line = conformal.LeastSquares.fit(target=human[:n], values=machine[:n])
        low, high = conformal.interval(line.apply(machine[n:]), conformal.half_width(line.residuals, 0.95), SCALE)
        found[f"n = {n}"] = bool(low[0] - 1e-9 <= human[n] <= high[0] + 1e-9)
    return found


# ---------------------------------------------------------------- false alarms


TARGET = 0.061  # of essays more than one level off: just below what the surest half have, so that every promise is false


@cache
def population() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The good machine's values on a fine grid, how often each comes, and the probability of each human level at it."""
    z = np.linspace(-5, 5, 801)
    machine = 3.5 + SPREAD * np.sqrt(1 + GOOD**2) * z
    mean, sd = z / np.sqrt(1 + GOOD**2), np.sqrt(GOOD**2 / (1 + GOOD**2) + PEOPLE**2)
    edges = np.concatenate([[-np.inf], SCALE.scores[:-1] + 0.5, [np.inf]])
    people = np.diff(stats.norm.cdf((edges - 3.5 - SPREAD * mean[:, None]) / (SPREAD * sd)), axis=1)
    weights = stats.norm.pdf(z)
    return pd.DataFrame({"value": machine, "human_level": 0, "head": "regression"}), weights / weights.sum(), people


def broken_promise(rng) -> dict[str, bool | None]:
    """A share of essays is left to the machine, whose true risk there is above the target; the same essays choose all."""
    grid, weights, people = population()
    found = {}
    for n in (150, 600):
        quality = rng.normal(size=n)
        human = level(quality, PEOPLE, rng)
        dev = pd.DataFrame({"value": value(quality, GOOD, rng), "human_level": human, "head": "regression"})
        dev["score"] = SCALE.score(human)
        ranked = deferral.ranked(dev, grid, SCALE, risk=selective.FAR_OFF)
        threshold = deferral.promises(ranked, [TARGET], confidence=0.95, least=0.5)["threshold"].iloc[0]
        taken = weights * (ranked.test[ranked.chosen] <= threshold)  # none where threshold is NaN
        given_level = SCALE.nearest(calibration.match_on_dev(dev).apply(grid["value"]))
        far = (people * (np.abs(np.arange(SCALE.size) - given_level[:, None]) > 1)).sum(axis=1)
        found[f"share left to the machine has too high a risk, n = {n}"] = bool(taken @ far > TARGET * taken.sum())
    return found


@cache
def equal_by_shift() -> float:
    """The shift in points with which the good machine is just as bad, in QWK, as the bad one."""
    return optimize.brentq(lambda shift: qwk(GOOD, shift) - qwk(BAD), 0, 1.5)


def permutation(rng) -> dict[str, bool | None]:
    quality = rng.normal(size=150)
    human, first = level(quality, PEOPLE, rng), level(quality, GOOD, rng)
    alike = [level(quality, GOOD, rng) for _ in range(4)]
    p = [bootstrap.Swaps(human, other, first, seed=rng).draw(500).p for other in alike]
    unlike = level(quality, BAD, rng), level(quality, GOOD, rng, shift=equal_by_shift())
    one = bootstrap.Swaps(human, *unlike, seed=rng).draw(500).p
    return {
        "one pair of alike systems, n = 150": p[0] < 0.05,
        "any of 4 pairs of alike systems, Holm, n = 150": bool((comparisons.holm(p) < 0.05).any()),
        "one pair of equal QWK and unlike errors, n = 150": one < 0.05,
    }


EDGE = {30: 0.0, 100: 0.0, 400: 0.0}


def verdicts(rng) -> dict[str, bool | None]:
    """The machine's SMD is just the limit, so neither verdict may come often."""
    found = judged(rng, frame_of(rng, EDGE, LIMIT))["verdict"]
    wrong = ("biased", "not biased")
    return {f'"{name}", SMD just the limit, n = {n}': verdict == name for name in wrong for n, verdict in found.items()}


def verdicts_on_method(rng) -> dict[str, bool | None]:
    """The method's SMD is just the limit; every training has another."""
    found = {seeds: of_method(rng, seeds, LIMIT)["verdict_method"] == "biased" for seeds in (1, 2, 3, 5)}
    return {f'"biased", a claim about the method, {seeds} seed{"s" * (seeds > 1)}': wrong for seeds, wrong in found.items()}


MANY = {20 + 10 * at: 0.5 - 0.1 * at for at in range(8)}


def any_alarm(rng) -> dict[str, bool | None]:
    found = judged(rng, frame_of(rng, MANY, 0.0))
    return {"any of 8 groups of 20 to 90, SMD 0": bool((found["verdict"] == "biased").any())}


@cache
def worse_by_margin() -> float:
    return optimize.brentq(lambda noise: qwk(GOOD) - qwk(noise) - MARGIN, GOOD, 2)


def wrongly_equivalent(rng) -> dict[str, bool | None]:
    found = {}
    for n in (400, 1600):
        quality = rng.normal(size=n)
        human, good, bad = (level(quality, noise, rng) for noise in (PEOPLE, GOOD, worse_by_margin()))
        tost = bootstrap.paired_bootstrap(human, good, bad, confidence=0.90, resamples=RESAMPLES, seed=rng)
        verdict = comparisons.equivalence(tost.low, tost.high, margin=MARGIN)
        found[f"difference just the margin, n = {n}"] = verdict == "equivalent"
    return found


EXPERIMENTS = {
    "group of writers": Experiment(groups, 0.95, "covers"),
    "group, mean over seeds": Experiment(groups_over_seeds, 0.95, "covers"),
    "group, claim about the method": Experiment(groups_of_method, 0.95, "covers"),
    "group, claim about the method, few seeds": Experiment(groups_of_few_trainings, 0.05, "at most"),
    "group, essays nested in prompts": Experiment(groups_in_prompts, 0.95, "covers"),
    "high scores": Experiment(high_scores, 0.95, "covers"),
    "high scores, very few": Experiment(hardly_any, 0.05, "at most"),
    "QWK": Experiment(one_qwk, 0.95, "covers"),
    "difference in QWK, paired": Experiment(difference, 0.95, "covers"),
    "difference in QWK, essays nested in prompts": Experiment(difference_in_prompts, 0.95, "covers"),
    "QWK, cross-fitted": Experiment(cross_fitting, 0.05, "at most"),
    "mean over seeds": Experiment(over_seeds, 0.95, "covers"),
    "gap closed, where resolved": Experiment(share_of_gap, 0.95, "covers"),
    "prediction interval": Experiment(prediction, 0.95, "covers"),
    "conditional bias": Experiment(curves, 0.95, "covers"),
    "permutation test, p < 0.05": Experiment(permutation, 0.05, "at most"),
    "verdict on a group": Experiment(verdicts, 0.025, "at most"),
    "verdict on the method": Experiment(verdicts_on_method, 0.05, "at most"),
    'any group wrongly "biased"': Experiment(any_alarm, 0.05, "at most"),
    'wrongly "equivalent"': Experiment(wrongly_equivalent, 0.05, "at most"),
    "selective scoring": Experiment(broken_promise, 0.05, "at most"),
}
COLUMNS = ["experiment", "case", "claim", "stated", "trials", "counted", "hits"]


# ---------------------------------------------------------------- running them


def block(name: str, start: int, count: int) -> pd.DataFrame:
    """`count` trials of one experiment from number `start` on; every trial has a seed of its own."""
    experiment, rows = EXPERIMENTS[name], []
    for number in range(start, start + count):
        rows.append(experiment.trial(np.random.default_rng([zlib.crc32(name.encode()), number])))
    seen = pd.DataFrame(rows, dtype=object)
    counts = pd.DataFrame({"trials": count, "counted": seen.notna().sum(), "hits": (seen == True).sum()})  # noqa: E712
    counts = counts.rename_axis("case").reset_index()
    return counts.assign(experiment=name, claim=experiment.claim, stated=experiment.stated)[COLUMNS]


def judge(counts: pd.DataFrame) -> pd.DataFrame:
    """With share, mc_error (its standard error) and holds: 0.93-0.97, or no more than stated by over two standard errors."""
    share = counts["hits"] / counts["counted"]
    error = np.sqrt(share * (1 - share) / counts["counted"])
    covers = counts["claim"] == "covers"
    good = np.where(covers, share.between(0.93, 0.97), share - 2 * error <= counts["stated"])
    return counts.assign(share=share, mc_error=error, holds=good)


def table_csv(found: pd.DataFrame) -> str:
    return found.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def write(folder: Path, found: pd.DataFrame, trials: int) -> None:
    """coverage.csv, coverage.md, coverage.json."""
    from cyborg_utils.core import provenance
    from cyborg_utils.study import artefacts

    shown = found.assign(
        stated=[f"{row.claim} {row.stated:.1%}" for row in found.itertuples()],
        found=[f"{row.share:.1%} ± {row.mc_error:.1%}" for row in found.itertuples()],
        holds=found["holds"].map({True: "yes", False: "no"}),
    )[["experiment", "case", "stated", "found", "counted", "holds"]]
    head = (
        "Share of simulated trials in which an interval contains the truth or a verdict is a false alarm (± its standard error); "
        f"{RESAMPLES:,} resamples in each. `holds`: 93-97 %, or at most what is stated, within two standard errors."
    )
    artefacts.write(folder / "coverage.csv", table_csv(found))
    artefacts.write(folder / "coverage.md", f"{head}\n\n{shown.to_markdown(index=False)}\n")
    settings = {"trials": trials, "resamples": RESAMPLES, "limit": LIMIT, "margin": MARGIN}
    provenance.write_json(folder / "coverage.json", provenance.record(settings, measured={"cases": len(found)}))


def main() -> None:
    from tqdm import tqdm

    from cyborg_utils.core import paths
    from cyborg_utils.study import artefacts

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_500, help="of each experiment")
    parser.add_argument("--only", help="experiments whose name contains this")
    parser.add_argument("--fresh", action="store_true", help="forget earlier trials")
    parser.add_argument("--folder", type=Path, default=paths.results("coverage"))
    options = parser.parse_args()
    file = options.folder / "coverage.csv"
    counts = pd.read_csv(file)[COLUMNS] if file.is_file() else pd.DataFrame(columns=COLUMNS).astype({"stated": float})
    names = [name for name in EXPERIMENTS if not options.only or options.only in name]
    if options.fresh:
        counts = counts[~counts["experiment"].isin(names)]
    done = {name: int(counts.loc[counts["experiment"] == name, "trials"].max()) for name in set(counts["experiment"])}
    with tqdm(total=sum(max(0, options.trials - done.get(name, 0)) for name in names), unit=" trials") as bar:
        for name in names:
            bar.set_description(name)
            for start in range(done.get(name, 0), options.trials, BLOCK):
                size = min(BLOCK, options.trials - start)
                both = pd.concat([counts, block(name, start, size)]).astype(dict.fromkeys(["trials", "counted", "hits"], int))
                counts = both.groupby(COLUMNS[:4], sort=False, as_index=False)[COLUMNS[4:]].sum()
                artefacts.write(file, table_csv(judge(counts)))
                bar.update(size)
    counts = counts.sort_values("experiment", key=lambda column: column.map(list(EXPERIMENTS).index), kind="stable")
    write(options.folder, judge(counts), options.trials)
    print((options.folder / "coverage.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
