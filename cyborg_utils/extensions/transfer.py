"""Students on essays from elsewhere: other scales, texts that stand in both corpora, prompts that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import table
from cyborg_utils.stats.calibration import MeanSdMatch
from cyborg_utils.stats.comparisons import across_seeds
from cyborg_utils.stats.metrics import pearson_r
from cyborg_utils.study import arms


def onto(values: ArrayLike, source: Scale, target: Scale) -> np.ndarray:
    """Scores of one scale on another: lowest to lowest, highest to highest, straight between. Needs no score of the target."""
    span = (target.scores[-1] - target.low) / (source.scores[-1] - source.low)
    return target.low + span * (np.asarray(values, dtype=float) - source.low)


def shared_texts(essays: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """True where an essay stands among the others too (case, space and punctuation apart), (n,) bool."""
    known = {hash(table.normalised(text)) for text in others}
    return np.array([hash(table.normalised(text)) in known for text in essays], dtype=bool)


def held_out(prompts: pd.Series, share: float, *, seed: int) -> list[str]:
    """Prompts, drawn at random, that together have at least `share` of the essays; at least one stays.

    Raises CyborgError where the essays have fewer than two prompts.
    """
    counts = prompts.value_counts().sort_index()
    if len(counts) < 2:
        raise CyborgError(
            f"transfer_corpora.held_out: the corpus has {len(counts)} prompt(s), and two are needed to hold one out."
        )
    drawn = counts.iloc[np.random.default_rng(seed).permutation(len(counts))]
    enough = int(np.searchsorted(drawn.cumsum().to_numpy(), share * len(prompts.dropna()))) + 1
    return sorted(drawn.index[: min(enough, len(counts) - 1)])


def readings(frame: pd.DataFrame, source: Scale, target: Scale, *, few: int, seed: int) -> pd.DataFrame:
    """A Student's `value` (on its own scale) of a target corpus, on that corpus's scale, by how many of its scores are used.

    `frame`: essay_id, part ("dev" or "test"), score, value. Returned, for the test essays: reading ("as it is", "matched on 30",
    "matched on 271" ...), used (human scores of the target), value, level. The few are drawn from the development essays.
    """
    dev, test = frame[frame["part"] == "dev"], frame[frame["part"] == "test"]
    value, rows = onto(test["value"], source, target), []
    rows.append(test.assign(reading="as it is", used=0, value=value))
    for size in dict.fromkeys([min(few, len(dev)), len(dev)]):
        if size > 1:
            chosen = dev.iloc[np.random.default_rng(seed).permutation(len(dev))[:size]]
            match = MeanSdMatch.fit(target=chosen["score"], values=chosen["value"])
            rows.append(test.assign(reading=f"matched on {size}", used=size, value=match.apply(test["value"])))
    whole = pd.concat(rows, ignore_index=True)
    return whole.assign(level=target.nearest(whole["value"]))


def agreement_on(human: pd.DataFrame, runs: Mapping[int, pd.DataFrame], **options: object) -> dict[str, object]:
    """QWK with interval (`comparisons.across_seeds`) and mean r of a scorer's runs: seed -> rows with essay_id, value, level.

    `human`: essay_id, score, human_level of the same essays.
    """
    essays = human.sort_values("essay_id")
    ordered = {seed: rows.sort_values("essay_id") for seed, rows in runs.items()}
    levels = {seed: rows["level"].to_numpy() for seed, rows in ordered.items()}
    found = across_seeds(essays["human_level"].to_numpy(), levels, **options)
    r = np.mean([pearson_r(essays["score"], rows["value"]) for rows in ordered.values()])
    return {"seeds": len(runs), "n": len(essays), "qwk": found["mean"], "low": found["low"], "high": found["high"], "r": float(r)}


def against(human: pd.DataFrame, ours: Mapping[int, pd.DataFrame], theirs: Mapping[int, pd.DataFrame], **options: object) -> dict:
    """Paired difference in QWK on the same essays and seeds: change, change_low, change_high."""
    essays, seeds = human.sort_values("essay_id"), sorted(set(ours) & set(theirs))
    levels = [arms.by_seed(pd.concat([runs[seed].assign(seed=seed) for seed in seeds]), "level") for runs in (ours, theirs)]
    found = across_seeds(essays["human_level"].to_numpy(), *levels, **options)
    return {"change": found["mean"], "change_low": found["low"], "change_high": found["high"]}


def headline_gap(gaps: pd.DataFrame) -> pd.DataFrame:
    """The one row of `agreement.gaps`, of one study, Student and head, that is chosen without a look at its result; empty without it.

    Labels `cyborg`, the paper's; the fraction as in `arms.headline_fraction`: most seeds, then nearest to 10 %. The largest share
    over all arms would be chosen on the test essays, and so be too high.
    """
    own = gaps[gaps["labels"] == "cyborg"].assign(apart=lambda rows: (rows["fraction"] - 0.10).abs())
    return own.sort_values(["seeds", "apart"], ascending=[False, True]).head(1).drop(columns="apart")
