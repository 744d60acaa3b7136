"""What a score costs: people's minutes and a computer's seconds as money, and which arms are worth their price.

Prices are assumptions of the study file; seconds are what the study's records measured (`compute_time`). All money is in the
currency of the prices.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import Cost
from cyborg_utils.plots.style import label
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.stats.learning_curve import Fitted, Runs
from cyborg_utils.study import artefacts
from cyborg_utils.study.arms import by_seed, pick, shared
from cyborg_utils.study.arms import human as human_levels
from cyborg_utils.study.scores import ARM

ASSUMED = "assumption"
SOURCES = {  # unit, and the source of the default in `parameters.Cost`
    "minutes_per_score": ("minutes", "two readers of about three minutes an essay: Stross, New York Times, 9 June 2012"),
    "wage_per_hour": ("money an hour", f"{ASSUMED}: with the employer's share"),
    "double_share": ("share of essays", f"{ASSUMED}: every essay is scored by two people"),
    "setup_minutes": ("minutes, once", f"{ASSUMED}: two people learn the rubric for half a day"),
    "price_core_hour": ("money an hour", "EC2 m7g.large on demand, us-east-1, June 2026: 0.0816 for two cores"),
    "price_gpu_hour": ("money an hour", f"{ASSUMED}: one data-centre GPU"),
}


@dataclass(frozen=True)
class Prices(config.settings(Cost, SOURCES)):
    """What people and computers are paid; units as in `SOURCES`."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise CyborgError(f"{field.name} is {getattr(self, field.name)}: a price must be 0 or more.")

    @property
    def score(self) -> float:
        """Money for one more human score, second readings included."""
        return self.minutes_per_score * (1 + self.double_share) / 60 * self.wage_per_hour

    def people(self, essays: ArrayLike) -> np.ndarray:
        """Money for human scores of so many essays, with the raters' set-up; 0 for none."""
        essays = np.asarray(essays, dtype=float)
        return np.where(essays > 0, self.setup_minutes / 60 * self.wage_per_hour + essays * self.score, 0.0)

    def hour(self, hardware: Mapping[str, Any]) -> float:
        """Money for an hour of a machine, as `provenance.hardware` describes it: by GPU where it has one, else by cores."""
        return self.price_core_hour * hardware["cores"] if hardware["gpu"] == "none" else self.price_gpu_hour

    def table(self) -> pd.DataFrame:
        """Each price with unit and source; a price that is not the source's is the study's own."""
        rows = []
        for field in fields(self):
            unit, source = SOURCES[field.name]
            given = getattr(self, field.name)
            rows.append((field.name, given, unit, source if given == field.default else "set by the study"))
        return pd.DataFrame(rows, columns=["input", "value", "unit", "source"])


# ---------------------------------------------------------------- what the arms cost


def arm_costs(
    arms: pd.DataFrame,
    ledger: pd.DataFrame,
    prices: Prices,
    *,
    essays: Mapping[str, int],
    future: int,
    each: Mapping[str, float],
) -> pd.DataFrame:
    """What each arm costs, from the frames of `agreement.agreement_table` and `compute_time.seconds`.

    `essays` counts those in `train`, `dev` and in `all`; `each` maps a student ("teacher", "ridge", a model) to the money for one
    future score by it, of which `future` are needed. Every arm pays for its n_human scores, development essays included
    (`scores.raters`); Cyborg arms also pay for the Teacher and its scoring of the pool; the Teacher's own arms pay for
    its fine-tuning.

    Columns: fraction, labels, student, head, n_human, people, teacher, training, scoring (money), total, per_1000 (total /
    future x 1,000), qwk, low, high, frontier. Money is NaN where seconds are not known.
    """
    spent = ledger.assign(money=[row.seconds / 3600 * prices.hour(row.hour_of) for row in ledger.itertuples()])
    mean = spent.groupby(["step", "fraction", "student", "head", "labels"])["money"].mean()  # over the runs that know

    def paid(step: str, row: Any, *who: str) -> float:
        return float(mean.get((step, row.fraction, *who), float("nan")))

    rows = []
    for row in arms.itertuples():
        taught = row.student == "teacher" or row.labels.startswith("cyborg")
        teacher = paid("fine-tune", row, "teacher", "", "teacher") if taught else 0.0
        if taught and row.student != "teacher":
            pool = (essays["train"] + essays["dev"] - row.n_human) / essays["all"]
            teacher += pool * paid("score", row, "teacher", "", "teacher")
        training = 0.0 if row.student == "teacher" else paid("train", row, row.student, row.head, row.labels)
        money = {"people": float(prices.people(row.n_human)), "teacher": teacher, "training": training}
        money["scoring"] = future * each.get(row.student, float("nan"))
        total = sum(money.values())
        rows.append(money | {"total": total, "per_1000": 1000 * total / future})
    first = ["fraction", "labels", "student", "head", "n_human"]
    table = pd.concat([arms[first].reset_index(drop=True), pd.DataFrame(rows)], axis=1)
    table = table.assign(**{name: arms[name].to_numpy() for name in ("qwk", "low", "high")})
    return table.assign(frontier=frontier(table["per_1000"], table["qwk"]))


def frontier(cost: ArrayLike, value: ArrayLike) -> np.ndarray:
    """True where nothing that costs no more has a higher value, and nothing as good costs less (Pareto); False for NaN."""
    cost, value = np.asarray(cost, dtype=float), np.asarray(value, dtype=float)
    better = (cost <= cost[:, None]) & (value > value[:, None]) | (cost < cost[:, None]) & (value >= value[:, None])
    return np.isfinite(cost) & np.isfinite(value) & ~better.any(axis=1)


def frontier_steps(costs: pd.DataFrame, raters: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """`costs` with what each arm of the frontier gains over the next cheaper one there: step, step_low, step_high (QWK).

    `raters` is the frame of `scores.raters` that the arms are from; `options` go to `across_seeds`, on the seeds that both arms
    have. Where a step's interval holds 0, the arm's place on the frontier may be chance. NaN for the cheapest arm, for arms off
    the frontier, and without a common seed.
    """
    best = costs[costs["frontier"]].sort_values("per_1000", kind="stable")
    runs = [by_seed(pick(raters, **place), "matched_level") for place in best[ARM].to_dict("records")]
    steps = pd.DataFrame(index=costs.index, columns=["step", "step_low", "step_high"], dtype=float)
    for at, (cheaper, dearer) in zip(best.index[1:], itertools.pairwise(runs), strict=True):
        ours, theirs = shared(dearer, cheaper)
        if ours:
            step = across_seeds(human_levels(raters), ours, theirs, **options)
            steps.loc[at] = step["mean"], step["low"], step["high"]
    return pd.concat([costs, steps], axis=1)


def break_even(costs: pd.DataFrame, comparisons: pd.DataFrame, prices: Prices, *, every: int) -> pd.DataFrame:
    """From how many minutes a human score on a Cyborg arm is cheaper than all `every` human scores (development included).

    `costs` is the frame of `arm_costs`, `comparisons` that of `agreement.comparisons`. minutes = 60 x extra compute / (scores
    saved x (1 + double_share) x wage): what Teacher and Student cost beyond the `full` Student, over what people are not paid.
    Columns: fraction, student, head, labels, scores_saved, extra_compute, saved (money, net), break_even_minutes, and change,
    low, high, equivalence (QWK against `full`). One row a Cyborg arm that has its `full`.
    """
    keys, rows = ["student", "head"], []
    compute = costs.assign(compute=costs["teacher"] + costs["training"] + costs["scoring"])
    full = compute[compute["labels"] == "full"].set_index(keys)["compute"]
    against = comparisons[comparisons["baseline"] == "full"].set_index(["fraction", *keys, "system"])
    for row in compute[compute["labels"].str.startswith("cyborg")].itertuples():
        place = (row.fraction, row.student, row.head, row.labels)
        if place not in against.index:
            continue
        extra, fewer = row.compute - full[row.student, row.head], every - row.n_human
        paid = fewer * (1 + prices.double_share) * prices.wage_per_hour
        pair = against.loc[place]
        rows.append(
            dict(zip(("fraction", *keys, "labels"), place, strict=True))
            | {"scores_saved": fewer, "extra_compute": extra, "saved": fewer * prices.score - extra}
            | {"break_even_minutes": max(0.0, 60 * extra / paid) if paid else float("nan"), "change": pair["difference"]}
            | {name: pair[name] for name in ("low", "high", "equivalence")}
        )
    columns = ["fraction", *keys, "labels", "scores_saved", "extra_compute", "saved", "break_even_minutes", "change"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high", "equivalence"])


# ---------------------------------------------------------------- does the Student add anything


def scorers(
    table_qwk: pd.DataFrame, speed: pd.DataFrame, prices: Prices, *, fraction: float, network: str, head: str
) -> pd.DataFrame:
    """Agreement and the price of computing a million scores, by scorer: what a programme could run on the same human scores.

    `table_qwk` is the frame of `agreement.agreement_table`, `speed` that of `compute_time.throughput`. An ONNX form has the
    Student's agreement where it gave all compared essays the Student's score; else its agreement is not known.

    Columns: scorer, labels, n_human, seeds, qwk, low, high, interval_of, seconds (of an essay), per_million (money), processor,
    source, left_out (why the figure leaves the row out; empty: it is shown). Human scores and training are in `arm_costs`.
    """
    rows = []
    for scorer, student, kind, labels, form in (
        ("Teacher, expected score", "teacher", "expected", "teacher", "teacher"),
        ("Student", network, head, "cyborg", "student"),
        ("Student, ONNX", network, head, "cyborg", "onnx float32"),
        ("Student, ONNX int8", network, head, "cyborg", "onnx int8"),
        ("Ridge", "ridge", "regression", "cyborg", "ridge"),
        ("Ridge, human scores only", "ridge", "regression", "human", "ridge"),
    ):
        arm = pick(table_qwk, fraction=fraction, student=student, head=kind, labels=labels).head(1).to_dict("records")
        took, known = speed.loc[form], ("n_human", "seeds", "qwk", "low", "high", "interval_of")
        row = {"scorer": scorer, "labels": labels} | {name: arm[0][name] if arm else np.nan for name in known}
        row |= {"seconds": took["seconds"], "per_million": 1e6 * took["seconds"] / 3600 * prices.hour(took["hour_of"])}
        row |= {"processor": took["hour_of"]["processor"], "source": took["source"], "left_out": ""}
        if took["same_score"] < 1:
            row |= dict.fromkeys(("qwk", "low", "high"), np.nan)
            row["left_out"] = f"agreement not measured: the Student's score for {took['same_score']:.0%} of the essays"
        if not np.isfinite(row["seconds"]):
            row |= {"processor": "", "left_out": "throughput not measured"}
        elif not arm:
            row["left_out"] = "no such arm in this study"
        rows.append(row)
    return pd.DataFrame(rows)


def student_minus_teacher(raters: pd.DataFrame, *, fraction: float, network: str, head: str, **options: Any) -> dict[str, Any]:
    """QWK of the Student on Cyborg Data minus that of the Teacher's matched expected score, same essays, seeds of both.

    As `comparisons.across_seeds` gives it, which takes the `options`; {} without a common seed.
    """
    places = ({"student": network, "head": head, "labels": "cyborg"}, {"student": "teacher", "head": "expected"})
    runs = [by_seed(pick(raters, fraction=fraction, **place), "matched_level") for place in places]
    ours, theirs = shared(*runs)
    return across_seeds(human_levels(raters), ours, theirs, **options) if ours else {}


# ---------------------------------------------------------------- how many human scores are enough


def price_of_one(
    seconds_each: Mapping[str, float], hardware: Mapping[str, Any], ledger: pd.DataFrame, prices: Prices
) -> dict[str, float]:
    """Money for one future score by each scorer, at the price of this machine; the Teacher's at that of the machine it ran on."""
    each = {name: seconds / 3600 * prices.hour(hardware) for name, seconds in seconds_each.items()}
    scoring = ledger[ledger["step"] == "score"]
    if len(scoring):
        each["teacher"] = seconds_each["teacher"] / 3600 * prices.hour(scoring["hour_of"].iloc[-1])
    return each


def cyborg_runs(raters: pd.DataFrame, student: str = "ridge") -> dict[tuple[float, str], Runs]:
    """(fraction, labels) -> runs of a Student's Cyborg arms, the systems to compare with a curve of human scores alone."""
    rows = raters[(raters["student"] == student) & raters["labels"].str.startswith("cyborg")]
    return {key: by_seed(arm, "matched_level") for key, arm in rows.groupby(["fraction", "labels"], sort=False)}


def paid(table: pd.DataFrame, dev: int, *columns: str) -> pd.DataFrame:
    """The table with these columns, human scores to train on, as what is paid: the `dev` development essays are added.

    A curve is fitted to the scores to train on, since nothing is learned from the others but a mean and an SD; it is shown, and
    priced, at what it costs to stand there.
    """
    return table.assign(**{name: table[name] + dev for name in columns})


def curve_table(fitted: Fitted, prices: Prices, *, dev: int, confidence: float) -> pd.DataFrame:
    """The curve with prices: n (`paid`), qwk, low, high, fitted, price (of n), next_0.01 (price of 0.01 QWK more at n)."""
    table = fitted.table(confidence)
    more = 0.01 / fitted.curve.gain(table["n"]) * prices.score if fitted.curve.gap > 0 else np.inf
    table = paid(table, dev, "n")
    return table.assign(price=prices.people(table["n"]), **{"next_0.01": more})


def enough_table(fitted: Fitted, margins: Iterable[float], prices: Prices, *, dev: int, confidence: float) -> pd.DataFrame:
    """`Fitted.enough` as what is `paid` (n, low, high), with its price: price_n, price_low, price_high."""
    table = paid(fitted.enough(sorted(margins), confidence=confidence), dev, "n", "low", "high")
    return table.assign(**{f"price_{name}": prices.people(table[name]) for name in ("n", "low", "high")})


def worth_table(
    fitted: Fitted, systems: Mapping[tuple[float, str], Runs], prices: Prices, *, train: int, dev: int, confidence: float
) -> pd.DataFrame:
    """How many human scores alone would agree as well as each of `systems` (`cyborg_runs`), and what they save.

    All numbers of human scores are what is `paid`. Columns: fraction, labels, n_human, runs, qwk, n, low, high, capped, saved.
    """
    worth = paid(fitted.worth(confidence=confidence), dev, "n", "low", "high")
    place = pd.DataFrame(worth["system"].tolist(), columns=["fraction", "labels"], index=worth.index)
    n_human = (place["fraction"] * train).round().astype(int) + dev
    runs = [len(systems[system]) for system in worth["system"]]
    table = pd.concat([place.assign(n_human=n_human, runs=runs), worth.drop(columns="system")], axis=1)
    return table.assign(saved=(table["n"] - n_human) * prices.score)


def priced_line(band: pd.DataFrame, prices: Prices, *, future: int, each: float) -> pd.DataFrame:
    """The fitted curve (`Fitted.band`, n as `paid`) over the price per 1,000 future scores: per_1000, qwk. `each`: of one."""
    return pd.DataFrame({"per_1000": 1000 * (prices.people(band["n"]) + future * each) / future, "qwk": band["qwk"]})


# ---------------------------------------------------------------- sentences


def one_score(prices: Prices, hardware: Mapping[str, Any], currency: str) -> str:
    """What one more human score costs, in money and in hours of this machine."""
    hours = prices.score / prices.hour(hardware)
    return f"One more human score costs **{prices.score:.2f} {currency}**; for that, this machine computes {hours:,.1f} hours."


def who_is_paid(costs: pd.DataFrame, prices: Prices, *, dev: int, future: int, currency: str) -> str:
    """What scoring by hand would cost, people's share of the Cyborg arms, and the development essays' share of the scores."""
    by_hand, fewest = float(prices.people(future)), costs["n_human"].min()
    lines = [f"Scoring all {future:,} future essays by hand: **{1000 * by_hand / future:,.0f} {currency}** per 1,000."]
    if np.isfinite(share := 1 - compute_share(costs)):
        lines.append(f"Of the price of every Cyborg arm, **at least {np.floor(1000 * share) / 10:g}%** goes to people.")
    lines.append(f"The {dev} development essays are {dev / fewest:.0%} of the {fewest:,} human scores of the cheapest arms.")
    return "\n".join(f"- {line}" for line in lines)


def compute_share(costs: pd.DataFrame) -> float:
    """The largest share of a Cyborg arm's price that does not go to people; NaN where no such price is known."""
    known = costs[costs["labels"].str.startswith("cyborg") & costs["total"].notna()]
    return float(1 - (known["people"] / known["total"]).min())


def recommended(enough: pd.Series, prices: Prices, *, every: int, dev: int, currency: str) -> str:
    """How many human scores are recommended, and their price; `enough` is a row of `enough_table`, `every` all there are."""
    return (
        f"**Recommended: {interval(enough)} human scores** of {every:,}, the {dev} development essays among them, lose at most "
        f"{enough['margin']:g} QWK. They cost {interval(enough, 'price_')} {currency} instead of {prices.people(every):,.0f}. "
        "Anyone who must not lose more than that takes the upper end. It holds for this Student; one that learns more from more "
        "scores needs more."
    )


def interval(row: Mapping[str, Any], name: str = "") -> str:
    """A number of human scores with its interval, `586 [81, 1,011]`; with name `price_` its price."""
    n, low, high = (row[f"{name}{end}"] for end in ("n", "low", "high"))
    return f"{n:,.0f} [{low:,.0f}, {high:,.0f}]"


def what_the_student_adds(
    table: pd.DataFrame,
    change: Mapping[str, Any],
    costs: pd.DataFrame,
    *,
    fraction: float,
    network: str,
    head: str,
    margin: float,
    currency: str,
) -> str:
    """What a Student on Cyborg Data adds to its Teacher, in agreement and in price.

    `table`: frame of `scorers`; `change`: `student_minus_teacher`; `costs`: frame of `arm_costs`.
    """
    rows = table.set_index("scorer")
    lines = ["The Teacher and the Student have no run in common here: their agreement is not compared."]
    if change:
        mean, low, high = (change[name] for name in ("mean", "low", "high"))
        told = "better" if low > 0 else "worse" if high < 0 else "not shown to differ"
        within = f", and within {margin:g} of each other" if -margin < low and high < margin else ""
        lines = [
            f"QWK of the Student on Cyborg Data minus that of the Teacher's matched expected score: **{mean:+.3f}** "
            f"[{low:+.3f}, {high:+.3f}] (over {change['interval_of']}): {told}{within}."
        ]
    teacher, student = (rows.loc[name, "per_million"] for name in ("Teacher, expected score", "Student"))
    if not np.isfinite(teacher + student):
        return f"{lines[0]} What a score costs with each of them was not measured here."
    place = rows.loc[["Teacher, expected score", "Student"], "processor"]
    mixed = "" if place.nunique() == 1 else f" (measured on different processors: {'; '.join(place)})"
    only = change and change["low"] <= 0 <= change["high"] and student < teacher
    more = "times cheaper" if student < teacher else "times the Teacher's price, so dearer"
    times = max(teacher / student, student / teacher)
    lines.append(
        f"A million essays cost {teacher:,.2f} {currency} of computing with the Teacher and {student:,.2f} with the Student, "
        f"which is **{times:.1f} {more}**{mixed}."
    )
    trained = pick(costs, fraction=fraction, student=network, head=head, labels="cyborg")
    own = pick(costs, fraction=fraction, student="teacher", head="expected")
    if student < teacher and len(trained) and len(own):
        extra = trained["teacher"].iloc[0] + trained["training"].iloc[0] - own["teacher"].iloc[0]
        if np.isfinite(extra):
            lines.append(f"That pays for its own training from {1e6 * extra / (teacher - student):,.0f} essays on.")
    if only:
        lines.append("What the Student adds here is a lower price for a score, not agreement.")
    return " ".join(lines)


def steps_beyond_chance(costs: pd.DataFrame) -> str:
    """How many steps of `frontier_steps` are beyond chance."""
    steps = costs[costs["step"].notna()]
    beyond = int((steps["step_low"] > 0).sum())
    return f"Of {len(steps)} steps along the frontier, **{beyond}** are beyond chance; the others may be chance."


def pays_from(even: float, minutes: float) -> str:
    """From how many seconds a score every Cyborg arm pays; `even` in minutes, NaN where it is not known."""
    if np.isnan(even):
        return "Not known: this study has no arm `full`, or its records do not know the Teacher's time."
    return (
        f"Every Cyborg arm pays as soon as a human score takes longer than **{_seconds(even)} seconds**; "
        f"{60 * minutes:.0f} are assumed here, {_times(even, minutes):,.0f} times as many."
    )


def learned(
    costs: pd.DataFrame, even: float, curve: pd.DataFrame, enough: pd.Series, worth: pd.DataFrame, *, currency: str, choice: str
) -> str:
    """What the notebook found. `worth`: the rows of `worth_table` to report; `choice`: which essays people should score."""
    lines = ["The price of the Teacher's compute is not known here."]
    if np.isfinite(compute_share(costs) + even):
        lines = [f"Here {_compute(costs)}, which pays from {_seconds(even)} seconds a score on:"]
        lines.append("**the price of a score is people's time.**")
    every, last = curve[["n", "next_0.01"]].iloc[-1]
    lines.append(
        f"On human scores alone **{interval(enough)} of {every:,.0f}**, development essays included, were enough for a classical "
        f"Student (within {enough['margin']:g} QWK); the last ones were bought at {last:,.0f} {currency} per 0.01 QWK."
    )
    if len(worth):
        alone = "; ".join(f"{interval(row)} ({label(row['labels'])})" for _, row in worth.iterrows())
        lines.append(f"With the Teacher's, {worth['n_human'].iloc[0]} human scores were worth **{alone}** without.")
    return " ".join([*lines, f"Which essays people score: {choice}."])


def student_and_teacher(table: pd.DataFrame, change: Mapping[str, Any]) -> str:
    """The gist of `what_the_student_adds` for `finding`; "" where agreement or price is not known."""
    price = table.set_index("scorer")["per_million"]
    times = price["Teacher, expected score"] / price["Student"]
    if not change or not np.isfinite(times):
        return ""
    return (
        f"the Student on Cyborg Data differs from its Teacher's matched expected score by {change['mean']:+.3f} QWK "
        f"[{change['low']:+.3f}, {change['high']:+.3f}], and computing a score costs {1 / times:.2g} of the Teacher's price"
    )


def finding(costs: pd.DataFrame, enough: pd.Series, *, every: int, dev: int, adds: str, choice: str) -> str:
    """The notebook in one sentence; `every`: all human scores, `dev` of them on development essays; `adds`: another finding."""
    within = f"Within {enough['margin']:g} QWK of all {every:,} human scores ({dev} of them on development essays)"
    first = f"{within} a classical Student comes with {interval(enough)} of them"
    compute = [_compute(costs)] if np.isfinite(compute_share(costs)) else []
    return "; ".join([first, *compute, *filter(None, [adds]), f"which essays people score: {choice}."])


def what_would_change(
    enough: pd.DataFrame, margin: float, even: float, minutes: float, *, runs: int, students: Sequence[str]
) -> str:
    """What would change the conclusion: a Markdown list."""
    further = enough[enough["margin"] != margin].to_dict("records")
    others = "; ".join(f"{row['margin']:g} would ask for {interval(row)}" for row in further)
    lines = [f"**Another margin**: {others}."]
    if np.isfinite(even):
        times = f"{_times(even, minutes):,.0f} times as expensive"
        lines.append(f"**People who score in {_seconds(even)} seconds**, or compute that is {times}.")
    lines += [
        "**A Student that learns more from more scores**: the network's points beside the curve show how far it holds.",
        f"**More runs** than the {runs} here (each with its own U and Teacher), and other Students than {', '.join(students)}.",
        "**A Teacher fine-tuned again** on the second round's scores: here it keeps to what it learned from U.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _compute(costs: pd.DataFrame) -> str:
    return f"compute is at most {artefacts.significant(100 * compute_share(costs))}% of the price of Cyborg Data"


def _seconds(minutes: float) -> str:
    return artefacts.significant(60 * minutes)


def _times(even: float, minutes: float) -> float:
    return minutes / even if even else np.inf
