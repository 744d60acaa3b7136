"""What a prediction interval tells, and which essays a person should score: the tables and sentences of notebook 12.

Both need the scores of the development and test essays that notebooks 03 and 04 saved, and no model. Everything is fitted and
chosen on development essays; test essays only judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.scoring.bundle import Name
from cyborg_utils.stats import conformal, selective
from cyborg_utils.stats.calibration import match_on_dev
from cyborg_utils.study import arms, scores

UNMATCHED = ("classification", "most likely")  # heads whose levels are taken as they are
FOLDS = 5
PROBABILITIES = r"^p_\d+$"
AROUND_LINE, AROUND_MATCHED = "around the least-squares value", "around the matched score"


def essays(profile: str, name: Name) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One rater's essays outside its training and its test essays, as `scores.raters` has them; with p_1 .. p_K where there are.

    Raises CyborgError where there are none of either. `name.model` is a Student's name, "ridge" or "teacher" (then labels are
    "teacher", and head is "most likely" or "expected").
    """
    key = {"run": name.run, "student": name.model, "head": name.head, "labels": name.labels}
    if name.model == "teacher":
        given = arms.pick(scores.teachers(profile), run=name.run).set_index("essay_id").filter(regex=PROBABILITIES)
        found = [arms.pick(scores.raters(profile, part=part), **key).join(given, on="essay_id") for part in ("dev", "test")]
    else:
        rows = arms.pick(scores.students(profile), **key)
        found = [rows[rows["part"] != "test"], rows[rows["part"] == "test"]]
    for rows, part in zip(found, ("development", "test"), strict=True):
        if rows.empty:
            raise CyborgError(f"{profile}: no scores of {' '.join(key.values())} for the {part} essays. Run notebook 04.")
    return found[0], found[1]


# ---------------------------------------------------------------- intervals


def intervals(dev: pd.DataFrame, test: pd.DataFrame, scale: Scale, *, confidence: float) -> pd.DataFrame:
    """Prediction intervals by how they are made, fitted on `dev` and judged on `test` (`essays`): the trivial ones are last.

    Columns: interval, n (development essays), width (points) and levels (scores of the scale
    inside), means over test essays, coverage, coverage_low, coverage_high (Wilson, 95 %).
    """
    line, target = conformal.LeastSquares.fit(target=dev["score"], values=dev["value"]), dev["score"].to_numpy()
    made = {
        AROUND_MATCHED: _ends(test["matched_value"], target - dev["matched_value"].to_numpy(), confidence, scale),
        AROUND_LINE: _ends(line.apply(test["value"]), line.residuals, confidence, scale),
    }
    for low, high in conformal.trivial(target, confidence, scale):
        made[f"always {low:g} to {high:g}"] = np.full(len(test), low), np.full(len(test), high)
    rows = []
    for name, (low, high) in made.items():
        held = int(test["score"].between(low - 1e-9, high + 1e-9).sum())
        ends = proportion_confint(held, len(test), method="wilson")
        ends = dict(zip(("coverage_low", "coverage_high"), map(float, ends), strict=True))
        row = {"interval": name, "n": len(dev), "width": float(np.mean(high - low))}
        rows.append(row | {"levels": conformal.levels_inside(low, high, scale).mean(), "coverage": held / len(test)} | ends)
    return pd.DataFrame(rows).assign(confidence=confidence)


def _ends(values: np.ndarray, residuals: np.ndarray, confidence: float, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    return conformal.interval(values, conformal.half_width(residuals, confidence), scale)


def intervals_earn(table: pd.DataFrame, scale: Scale) -> str:
    """What the interval tells beyond always answering the same, and what its centre does; `table` as `intervals` gives it."""
    rows = table.set_index("interval")
    line, before, trivial = rows.loc[AROUND_LINE], rows.loc[AROUND_MATCHED], rows.iloc[2]
    gain = 1 - line["levels"] / trivial["levels"]
    earns = f"{gain:.0%} fewer" if gain > 0 else "**the machine's interval earns nothing here**"
    short = "".join(f" Always {_ends_of(row)} has {row['levels']:.0f}, and holds {held(row)}." for _, row in rows[3:].iterrows())
    return (
        f"A {line['confidence']:.0%} interval around the least-squares value holds **{line['levels']:.1f}** of {scale.size} "
        f"scores, where always answering {_ends_of(trivial)} has **{trivial['levels']:.0f}**: {earns}. Around the matched "
        f"score it would hold {before['levels']:.1f}. Test essays whose human score lies inside: {held(line)} around the "
        f"least-squares value, {held(before)} around the matched score, {held(trivial)} in the trivial interval.{short}"
    )


def _ends_of(row: pd.Series) -> str:
    return str(row.name).removeprefix("always ")


# ---------------------------------------------------------------- selective scoring


@dataclass(frozen=True)
class Ranked:
    """Signals of uncertainty (name -> (n,)) and losses of one rater's essays; a development essay's are held out by its fold."""

    risk: str
    scale: Scale
    folds: np.ndarray
    dev: dict[str, np.ndarray]
    dev_loss: np.ndarray
    test: dict[str, np.ndarray]
    test_loss: np.ndarray

    @property
    def areas(self) -> dict[str, float]:
        """Cross-validated area under the risk-coverage curve by signal: the mean over folds, each ranked by itself."""
        parts = [self.folds == fold for fold in np.unique(self.folds)]
        each = {name: [selective.aurc(signal[part], self.dev_loss[part]) for part in parts] for name, signal in self.dev.items()}
        return {name: float(np.mean(areas)) for name, areas in each.items()}

    @property
    def chosen(self) -> str:
        """The signal with the smallest area."""
        return min(self.areas, key=self.areas.get)


def ranked(dev: pd.DataFrame, test: pd.DataFrame, scale: Scale, *, risk: str) -> Ranked:
    """Signals and losses of one rater, from its `essays`; those of development essays by cross-fitting in `FOLDS` folds.

    (Leaving out one essay at a time would not do: its own residual is then missing from its expected loss alone, which ranks the
    essays with a loss first.)
    """
    folds, parts = np.arange(len(dev)) % FOLDS, []
    for fold in range(FOLDS):
        if (folds == fold).any():
            parts.append(_scored(dev[folds != fold], dev[folds == fold], scale, risk))
    order = np.argsort(np.concatenate([np.flatnonzero(folds == fold) for fold in range(FOLDS)]))
    held_out = {name: np.concatenate([part[0][name] for part in parts])[order] for name in parts[0][0]}
    loss = np.concatenate([part[1] for part in parts])[order]
    return Ranked(risk, scale, folds, held_out, loss, *_scored(dev, test, scale, risk))


def _scored(fit: pd.DataFrame, new: pd.DataFrame, scale: Scale, risk: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Signals and losses of `new` essays, with line and match from `fit`."""
    line = conformal.LeastSquares.fit(target=fit["score"], values=fit["value"])
    matched = match_on_dev(fit, head="classification" if new["head"].iloc[0] in UNMATCHED else "regression")
    level, own = scale.nearest(matched.apply(new["value"])), new.filter(regex=PROBABILITIES).dropna(axis=1).to_numpy()
    found = selective.signals(line.apply(new["value"]), level, line, scale, risk=risk, own=own if own.size else None)
    return found, selective.RISKS[risk](new["human_level"].to_numpy() - level)


def signals(found: Ranked, *, seed: int, resamples: int = 1000) -> pd.DataFrame:
    """How well each signal ranks: signal, chosen, aurc_dev, aurc, aurc_random (test essays), gain, gain_low, gain_high.

    gain: aurc_random - aurc, with a 95 % bootstrap interval over test essays.
    """
    rows = []
    for name, signal in found.test.items():
        gain = selective.aurc_gain(signal, found.test_loss, seed=seed, resamples=resamples)
        row = {"signal": name, "chosen": name == found.chosen, "aurc_dev": found.areas[name]}
        row |= {"aurc": selective.aurc(signal, found.test_loss), "aurc_random": float(found.test_loss.mean())}
        rows.append(row | {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})
    return pd.DataFrame(rows)


def promises(found: Ranked, targets: list[float], *, confidence: float, least: float) -> pd.DataFrame:
    """What can be promised for each target, by development essays, and what became of it on test essays.

    Columns: risk, target, confidence, signal, threshold, n (development essays), machine_share, bound (by development essays),
    machine_share_test, risk_test, low, high (95 %), verdict ("nothing promised"; "kept" or "broken": the interval lies on that
    side of the target; else "not contradicted"). A promise holds for its own target alone.
    """
    name, top, rows = found.chosen, selective.most(found.risk, found.scale), []
    for target in targets:
        settings = {"confidence": confidence, "least": least, "top": top, "tried": len(found.dev)}
        given = selective.promise(found.dev[name], found.dev_loss, target=target, **settings)
        taken = found.test_loss[found.test[name] <= given.threshold]
        low, high = selective.interval(taken)
        judged = "kept" if high <= target else "broken" if low > target else "not contradicted"
        row = {"risk": found.risk, "target": target, "confidence": confidence, "signal": name, "n": len(found.dev_loss)}
        row |= {"threshold": given.threshold if given.share else np.nan, "machine_share": given.share, "bound": given.bound}
        row |= {"machine_share_test": len(taken) / len(found.test_loss), "risk_test": taken.mean() if len(taken) else np.nan}
        rows.append(row | {"low": low, "high": high, "verdict": judged if given.share else "nothing promised"})
    return pd.DataFrame(rows)


def curve(found: Ranked) -> pd.DataFrame:
    """The risk-coverage curve of the test essays by the chosen signal: coverage, risk, low, high (95 %, point by point).

    About fifty points; essays with the same signal are taken together.
    """
    signal, rows = found.test[found.chosen], []
    for threshold in np.unique(np.quantile(signal, np.linspace(0.02, 1, 50), method="inverted_cdf")):
        taken = found.test_loss[signal <= threshold]
        rows.append((len(taken) / len(signal), float(taken.mean()), *selective.interval(taken)))
    return pd.DataFrame(rows, columns=["coverage", "risk", "low", "high"])


def signals_rank(table: pd.DataFrame) -> str:
    """Whether the chosen signal ranks better than chance; `table` as `signals` gives it."""
    row = table[table["chosen"]].iloc[0]
    known = "better than" if row["gain_low"] > 0 else "worse than" if row["gain_high"] < 0 else "not shown to differ from"
    return (
        f"The development essays chose the signal **{row['signal']}**. On the test essays its area under the risk-coverage curve "
        f"is {row['aurc']:.3f}, where essays handed over at random have {row['aurc_random']:.3f}, the risk of all essays: "
        f"{row['gain']:+.3f} [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}], **{known} chance**."
    )


def promised(table: pd.DataFrame, *, least: float, tried: int) -> str:
    """One line a target: the share that the machine may score, or that none can be promised, and why. `table`: `promises`."""
    lines = []
    for row in table.to_dict("records"):
        most = _amount(row["target"], row["risk"])
        goal = f"A mean squared error of at most {most}" if row["risk"] == "squared error" else f"At most {most} {row['risk']}"
        if row["verdict"] == "nothing promised":
            reason = "half" if least == 0.5 else f"{least:.0%}"
            why = f"for the surest {reason} of them the bound is {_amount(row['bound'], row['risk'])}"
            if row["risk"] != "squared error":
                wanted = selective.needed(row["target"], row["confidence"], least=least, tried=tried)
                why += f"; even without an error among them {wanted:,} would be needed" if wanted > row["n"] else ""
            lines.append(f"{goal}: **no share can be promised from {row['n']:,} development essays** ({why}).")
            continue
        signal = "`doubt`" if (row["risk"], row["signal"]) == (selective.FAR_OFF, selective.EXPECTED) else row["signal"]
        rule = f"**{row['machine_share']:.0%}** of essays like these ({signal} up to {row['threshold']:.4g}), a person the rest"
        rule = rule if row["threshold"] < np.inf else "**all** essays like these"
        risk, low, high = (_amount(row[column], row["risk"]) for column in ("risk_test", "low", "high"))
        lines.append(
            f"{goal}: the machine may score {rule}. Promised with {row['confidence']:.0%} confidence. On the test essays it "
            f"scores {row['machine_share_test']:.0%}, with {risk} [{low}, {high}], **{row['verdict']}**."
        )
    return "\n".join(f"- {line}" for line in lines)


def _amount(value: float, risk: str) -> str:
    return f"{value:.2f}" if risk == "squared error" else f"{value:.1%}"


def held(row: pd.Series) -> str:
    return f"{row['coverage']:.1%} [{row['coverage_low']:.1%}, {row['coverage_high']:.1%}]"
