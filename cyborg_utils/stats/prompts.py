"""Essays are nested in prompts: intervals with prompts as the units of chance, and how far groups are confounded with prompts.

Essays on one prompt share its difficulty and its raters. An interval over essays treats the prompts as given; one over prompts
holds for other prompts too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.stats.contingency import association, crosstab


def codes(prompts: pd.Series) -> np.ndarray:
    """Each essay's prompt as a number from 0 on, (n,); all essays without a prompt share one number."""
    return pd.factorize(prompts, use_na_sentinel=False)[0]


def jackknife(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    whole: np.ndarray,
    prompt: np.ndarray,
    chosen: np.ndarray,
    *,
    confidence: float = 0.95,
) -> tuple[float, float, int]:
    """Ends of the prompt-clustered interval of a group's statistic, and the number G of prompts that the group wrote on.

    The cluster jackknife (CV3; MacKinnon, Nielsen & Webb 2023): the variance is (G - 1) / G sum over prompts of (statistic
    without the prompt - statistic)^2, with Student's t of G - 1 degrees of freedom. It needs no linearisation and errs to the
    long side where prompts are few. NaN with one prompt, and where the statistic is undefined without some prompt.

    `whole` are `metrics.moments` of all essays, (n, 8), `prompt` their `codes`, (n,), `chosen` the group's mask, (n,).
    `statistic` maps sums of the group's moments and of the sample's, (..., 8) each, to values (...).
    """
    prompts = np.unique(prompt[chosen])
    each = np.zeros((2, prompt.max() + 1, whole.shape[1]))
    np.add.at(each[0], prompt[chosen], whole[chosen])
    np.add.at(each[1], prompt, whole)
    group, total, count = whole[chosen].sum(axis=0), whole.sum(axis=0), len(prompts)
    if count < 2:
        return float("nan"), float("nan"), count
    without = statistic(group - each[0][prompts], total - each[1][prompts])
    return *leave_one_out(float(statistic(group, total)), without, confidence=confidence), count


def leave_one_out(value: float, without: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the cluster jackknife's interval (`jackknife`) of a value, from its values `without` each of G prompts, (G,)."""
    count = len(without)
    if count < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + confidence) / 2, count - 1) * np.sqrt((count - 1) / count * ((without - value) ** 2).sum())
    return value - half, value + half


def cramers_v(first: ArrayLike, second: ArrayLike) -> float:
    """Bias-corrected Cramer's V of two lists of categories, (n,) each (Bergsma 2013): 0 = unrelated, 1 = one tells the other.

    V^2 = max(0, phi^2 - (k-1)(r-1)/(n-1)) / (min(k', r') - 1), with k' = k - (k-1)^2/(n-1) and r' alike. Without the correction
    many categories and few essays look related by chance. NaN where either list has fewer than two categories.
    """
    table = crosstab(np.asarray(first).astype(str), np.asarray(second).astype(str)).count
    n, rows, columns = table.sum(), *table.shape
    if min(rows, columns) < 2:
        return float("nan")
    squared = association(table, method="cramer") ** 2 * (min(rows, columns) - 1)
    squared = max(0.0, squared - (rows - 1) * (columns - 1) / (n - 1))
    least = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns))
    return float(np.sqrt(squared / (least - 1))) if least > 1 else float("nan")


def confounding(essays: pd.DataFrame, groups: Sequence[str], *, prompt: str = "prompt") -> pd.DataFrame:
    """How far each attribute goes with the prompts: attribute, n, groups, prompts, cramers_v; essays of known group and prompt.

    `essays` has one row per essay. NaN where there is one group or one prompt.
    """
    rows = []
    for column in groups:
        known = essays[[column, prompt]].dropna()
        sizes = (len(known), known[column].nunique(), known[prompt].nunique())
        rows.append((column.removeprefix("groups."), *sizes, cramers_v(known[column], known[prompt])))
    return pd.DataFrame(rows, columns=["attribute", "n", "groups", "prompts", "cramers_v"])
