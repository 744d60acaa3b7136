"""How much of an agreement with people is the length of the essays: by regression, and among essays of like length."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from cyborg_utils.stats.metrics import pearson_r, qwk


def partial_r(first: ArrayLike, second: ArrayLike, given: ArrayLike) -> float:
    """Correlation of two scores, (n,) each, once what a third variable (n,) tells of both by a line is taken out.

    (r_12 - r_1g r_2g) / sqrt((1 - r_1g^2) (1 - r_2g^2)). NaN where a variable does not vary, or is a line of the third.
    """
    r, one, two = pearson_r(first, second), pearson_r(first, given), pearson_r(second, given)
    rest = (1 - one**2) * (1 - two**2)
    return float((r - one * two) / np.sqrt(rest)) if rest > 1e-12 else float("nan")


def bands(length: ArrayLike, count: int) -> np.ndarray:
    """Numbers 0 to count - 1 of bands with equally many essays, (n,), from the shortest; equal lengths as they come."""
    return (stats.rankdata(length, method="ordinal") - 1) * count // len(np.asarray(length))


def qwk_within(human: ArrayLike, machine: ArrayLike, band: ArrayLike, *, levels: int) -> np.ndarray:
    """QWK of levels (n,) among the essays of each band (n,), (bands,).

    It is lower than over all essays for every scorer, since scores vary less among essays of like length.
    """
    human, machine, band = (np.asarray(part) for part in (human, machine, band))
    return np.array([qwk(human[band == one], machine[band == one], levels=levels) for one in np.unique(band)])
