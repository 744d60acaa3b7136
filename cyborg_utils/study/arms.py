"""An arm is one way to score the test essays: one value of (fraction, student, head, labels), repeated by seeds.

`raters` is always the frame of `scores.raters`. The arm `full` has fraction 1 and is the upper bound of every other fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from cyborg_utils.core import config

Runs = dict[int, np.ndarray]  # seed -> one number per essay, essays in the order of their ids
MATCHED = ("regression", "frozen", "frozen-then-tuned")  # heads whose real-valued scores are matched in mean and SD
TEACHER = {"teacher": "most likely", "teacher-expected": "expected"}  # the Teacher's two readings (`scores.raters`), as systems


def matched_head(study: config.Study) -> str:
    """The study's first head with real-valued scores, which can be corrected; `regression` where it has none."""
    return next((head for head in study.section("train_student")["heads"] if head in MATCHED), "regression")


def pick(raters: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows whose columns have these values: `pick(raters, fraction=0.1, labels="cyborg")`."""
    return raters[np.logical_and.reduce([raters[name] == value for name, value in wanted.items()])]


def systems(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `arm`: the labels, or for the Teacher's two readings their names in `TEACHER`."""
    readings = {reading: name for name, reading in TEACHER.items()}
    return table.assign(arm=table["head"].map(readings).fillna(table["labels"]))


def of_student(table: pd.DataFrame, student: str, head: str, *, fraction: float | None = None) -> pd.DataFrame:
    """The rows of one Student and of the Teacher, with a column `arm` (`systems`); with `fraction`, only those at it and at 1."""
    rows = systems(table)
    rows = rows[((rows["student"] == student) & (rows["head"] == head)) | (rows["student"] == "teacher")]
    return rows if fraction is None else rows[rows["fraction"].isin([fraction, 1.0])]


def of_each(rows: pd.DataFrame, keys: Sequence[str], measure: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """The tables that `measure` makes of the rows with the same `keys`, below each other; the keys are their first columns."""
    tables = [measure(part).assign(**dict(zip(keys, key, strict=True))) for key, part in rows.groupby(keys, sort=False)]
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=keys)
    return whole[[*keys, *whole.columns.drop(keys)]]


def by_seed(arm: pd.DataFrame, column: str) -> Runs:
    """A column of one arm as seed -> array."""
    return {int(seed): rows.sort_values("essay_id")[column].to_numpy() for seed, rows in arm.groupby("seed")}


def shared(ours: Runs, theirs: Runs) -> tuple[Runs, Runs]:
    """The runs of two arms for the seeds that both have."""
    seeds = sorted(set(ours) & set(theirs))
    return {seed: ours[seed] for seed in seeds}, {seed: theirs[seed] for seed in seeds}


def human(raters: pd.DataFrame, column: str = "human_level") -> np.ndarray:
    """Human scores of the essays, in the order of `by_seed`."""
    return raters.drop_duplicates("essay_id").sort_values("essay_id")[column].to_numpy()


def prompts(raters: pd.DataFrame) -> np.ndarray | None:
    """The prompt of each essay, in the order of `by_seed`; None where an essay's prompt is unknown or all have the same one."""
    found = raters.drop_duplicates("essay_id").sort_values("essay_id")["prompt"]
    known = found.notna() & (found.astype(str).str.strip() != "")
    return found.to_numpy() if known.all() and found.nunique() > 1 else None


def paid(n_human: int, n_dev: int) -> str:
    """`451 human scores (180 + 271 for development)`: what was paid for, and its parts."""
    return f"{n_human:,} human scores" + (f" ({n_human - n_dev:,} + {n_dev:,} for development)" if n_dev else "")


def headline_fraction(raters: pd.DataFrame) -> float:
    """The fraction shown where a table shows only one: that with most seeds, then the nearest to the paper's 10 %."""
    seeds = raters[raters["fraction"] < 1].groupby("fraction")["seed"].nunique()
    return float(min(seeds.index, key=lambda fraction: (-seeds[fraction], abs(fraction - 0.10))))


def averaged(arm: pd.DataFrame, column: str) -> pd.DataFrame:
    """One arm with one row per essay: `value` is the mean of a column over seeds."""
    mean = arm.groupby("essay_id", sort=True)[column].mean()
    return arm.drop_duplicates("essay_id").sort_values("essay_id").assign(value=mean.to_numpy())
