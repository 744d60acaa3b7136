"""Agreement of essays with sampling weights: of the essays that the sample stands for, not of the sample.

A weight is the number of essays that one stands for. Each essay's terms of the sums (`metrics.moments`) are multiplied by its
weight over the mean weight, and all metrics follow as usual. In the bootstrap an essay is drawn together with its weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cyborg_utils.core.scale import Scale
from cyborg_utils.stats.bootstrap import Seed, percentile_interval, resampled_rows
from cyborg_utils.stats.fairness import group_masks
from cyborg_utils.stats.metrics import from_moments, middle, moments

SHOWN = ("qwk", "r", "smd")


def effective_size(weights: np.ndarray) -> float:
    """Kish's effective number of essays, (sum w)^2 / sum w^2: how many equally weighted ones tell as much (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0


def agreement(
    frame: pd.DataFrame, *, groups: Sequence[str], scale: Scale, seed: Seed, resamples: int = 10_000, confidence: float = 0.95
) -> pd.DataFrame:
    """QWK, r and SMD with and without weights, for all essays and in each group; one row a group and metric.

    `frame` has score (on the scale), value (real-valued), weight (above 0) and the columns `groups`. Columns: attribute, group,
    n, n_effective (`effective_size`), metric, weighted, low, high (expanded bootstrap interval over essays, with the degrees of
    freedom of n_effective), plain (the metric without weights). NaN where undefined.
    """
    human, value, weight = (frame[name].to_numpy(dtype=float) for name in ("score", "value", "weight"))
    pairs = {"qwk": (scale.level(human), scale.nearest(value)), "r": (human, value), "smd": (human, value)}
    rows, everyone = [], [("all", {"all": np.full(len(frame), True)})]
    for attribute, members in [*everyone, *group_masks(frame, groups)]:
        for group, chosen in members.items():
            own, size = weight[chosen] / weight[chosen].mean(), effective_size(weight[chosen])
            for metric in SHOWN:
                plain = moments(*(scores[chosen] for scores in pairs[metric]), centre=middle(pairs[metric][0]))
                terms = own[:, None] * plain
                found = float(from_moments(metric, terms.sum(axis=0)))
                drawn = from_moments(metric, resampled_rows(terms, resamples, np.random.default_rng(seed)))
                ends = percentile_interval(found, drawn, confidence=confidence, n=max(1, round(size)))
                row = {"attribute": attribute, "group": group, "n": int(chosen.sum()), "n_effective": size, "metric": metric}
                row |= {"weighted": found, "low": ends.low, "high": ends.high}
                rows.append(row | {"plain": float(from_moments(metric, plain.sum(axis=0)))})
    return pd.DataFrame(rows)


def in_words(table: pd.DataFrame) -> str:
    """What weights change, from `agreement`."""
    rows = table[table["attribute"] == "all"].set_index("metric")
    n, size = rows["n"].iloc[0], rows["n_effective"].iloc[0]
    told = "; ".join(
        f"{name} {row.weighted:.3f} [{row.low:.3f}, {row.high:.3f}], without weights {row.plain:.3f}"
        for name, row in (({"qwk": "QWK", "smd": "SMD"}.get(metric, metric), rows.loc[metric]) for metric in rows.index)
    )
    return (
        f"With the sampling weights, {n:,} essays tell as much as {size:,.0f} equally weighted ones: {told}. All other tables, "
        "and the verdicts, are without weights: they speak of these essays, not of those that the sample stands for."
    )
