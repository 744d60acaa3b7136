"""What a score costs: people's minutes and a computer's seconds as money, and which arms are worth their price.

Prices are assumptions of the study file; seconds are what the study's records measured. Money is in one currency, whichever the
prices are in.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cyborg_utils.core import config, paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.parameters import Cost
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.study import artefacts, scores
from cyborg_utils.study.arms import by_seed, pick
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
FASTER = 10  # a record that is so many times faster than the benchmark of its processor took up saved parts: it measured nothing


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


# ---------------------------------------------------------------- what the records say


def seconds(profile: str) -> pd.DataFrame:
    """What was computed in a study, one row a run and step.

    Columns: fraction, seed, step, student, head, labels, seconds, hour_of, source.

    Steps: "fine-tune" (02), "score" (03; of all the study's essays) and "train" (04, one a Student). `hour_of` is the hardware,
    for `Prices.hour`. A Teacher whose training or scoring was taken up from saved parts before times were kept has no seconds of
    its own (NaN); its scoring is then told from its tokens and `make bench`, where that ran the same model and processor.
    """
    study, rows = config.load(profile), []
    bench = _bench(study.section("finetune_teacher")["model"])
    for run in scores.runs(profile, "teacher")[0]:
        place = {"fraction": run.fraction, "seed": run.seed, "student": "teacher", "head": "", "labels": "teacher"}
        trained = artefacts.read_table(profile, f"table_teacher_dev_{run.name}")["seconds"].sum(skipna=False)
        machine = artefacts.read_record(profile, "02_finetune_teacher", run.name)["hardware"]
        rows.append(place | {"step": "fine-tune", "seconds": trained, "hour_of": machine, "source": "record"})
        record = artefacts.read_record(profile, "03_label_essays", run.name)
        took, source = _scoring(record, bench)
        rows.append(place | {"step": "score", "seconds": took, "hour_of": record["hardware"], "source": source})
    for run in scores.runs(profile, "students")[0]:
        record = artefacts.read_record(profile, "04_train_student", run.name)
        for key, took in record["measured"]["seconds"].items():
            student, head, labels = key.rsplit("/", 2)
            place = {"fraction": run.fraction, "seed": run.seed, "student": student, "head": head, "labels": labels}
            rows.append(place | {"step": "train", "seconds": took, "hour_of": record["hardware"], "source": "record"})
    columns = ["fraction", "seed", "step", "student", "head", "labels", "seconds", "hour_of", "source"]
    return pd.DataFrame(rows, columns=columns)


def _bench(model: str) -> dict[str, Any]:
    """Tokens per second and processor of the Teacher's scoring in `make bench`; empty where it ran another model or never."""
    file = paths.results("bench", "speed.json")
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if content.get("parameters", {}).get("models", {}).get("teacher scoring") != model:
        return {}
    speed = {row["task"]: row["ours"] for row in content["measured"]["summary"]}
    return {"speed": speed["teacher scoring"], "hardware": content["hardware"]}


def _scoring(record: Mapping[str, Any], bench: Mapping[str, Any]) -> tuple[float, str]:
    """Seconds of a Teacher's scoring, and where they are from."""
    took, tokens = record["measured"]["seconds_score"], record["measured"]["prompt_tokens"]
    took = float("nan") if took is None else float(took)
    alike = bench and all(bench["hardware"][name] == record["hardware"][name] for name in ("processor", "cores", "gpu"))
    if not alike or took > tokens / bench["speed"] / FASTER:
        return took, "record"
    return tokens / bench["speed"], "tokens of the record, at the benchmark's speed"


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
    """What each arm costs, from the frames of `agreement.agreement_table` and `seconds`.

    `essays` counts those in `train`, `dev` and in `all`; `each` maps a student ("teacher", "ridge", a model) to the money for one
    future score by it, of which `future` are needed. Every arm pays for its n_human scores and the development essays; Cyborg
    arms for the Teacher and its scoring of the pool; the Teacher for its fine-tuning.

    Columns: fraction, labels, student, head, n_human, human_scores (with dev), people, teacher, training, scoring (money),
    total, per_1000 (total / future x 1,000), qwk, low, high, frontier. Where seconds are not known, money is NaN.
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
            pool = (essays["train"] - row.n_human) / essays["all"]
            teacher += pool * paid("score", row, "teacher", "", "teacher")
        training = 0.0 if row.student == "teacher" else paid("train", row, row.student, row.head, row.labels)
        human = row.n_human + essays["dev"]
        money = {"people": float(prices.people(human)), "teacher": teacher, "training": training}
        money["scoring"] = future * each.get(row.student, float("nan"))
        total = sum(money.values())
        rows.append({"human_scores": human} | money | {"total": total, "per_1000": 1000 * total / future})
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
    have. A step whose interval holds 0 is not told apart from none: the arm's place on the frontier may be chance. NaN for the
    cheapest arm, off the frontier, and without a common seed.
    """
    best = costs[costs["frontier"]].sort_values("per_1000", kind="stable")
    runs = [by_seed(pick(raters, **place), "matched_level") for place in best[ARM].to_dict("records")]
    steps = pd.DataFrame(index=costs.index, columns=["step", "step_low", "step_high"], dtype=float)
    for at, (cheaper, dearer) in zip(best.index[1:], itertools.pairwise(runs), strict=True):
        both = sorted(set(cheaper) & set(dearer))
        if both:
            ours, theirs = ({seed: arm[seed] for seed in both} for arm in (dearer, cheaper))
            found = across_seeds(human_levels(raters), ours, theirs, **options)
            steps.loc[at] = found["mean"], found["low"], found["high"]
    return pd.concat([costs, steps], axis=1)


def break_even(costs: pd.DataFrame, comparisons: pd.DataFrame, prices: Prices, *, train: int) -> pd.DataFrame:
    """From how many minutes a human score on the Cyborg arms are cheaper than scoring all `train` essays by hand.

    `costs` as `arm_costs` gives them, `comparisons` as `agreement.comparisons`. minutes = 60 x extra compute / (scores saved x
    (1 + double_share) x wage): what Teacher and Student cost beyond the `full` Student, over what people are not paid.
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
        extra, fewer = row.compute - full[row.student, row.head], train - row.n_human
        paid = fewer * (1 + prices.double_share) * prices.wage_per_hour
        found = against.loc[place]
        rows.append(
            dict(zip(("fraction", *keys, "labels"), place, strict=True))
            | {"scores_saved": fewer, "extra_compute": extra, "saved": fewer * prices.score - extra}
            | {"break_even_minutes": max(0.0, 60 * extra / paid) if paid else float("nan"), "change": found["difference"]}
            | {name: found[name] for name in ("low", "high", "equivalence")}
        )
    columns = ["fraction", *keys, "labels", "scores_saved", "extra_compute", "saved", "break_even_minutes", "change"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high", "equivalence"])
