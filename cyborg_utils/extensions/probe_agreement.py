"""What agreement with people is made of (17): the length of essays, the prompts at hand, and what public scorers reach.

All arms are those of notebook 16, draw by draw; a cell holds all draws of one share of human scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files
from cyborg_utils.stats import length, metrics, prompts
from cyborg_utils.stats.bootstrap import bootstrap_interval
from cyborg_utils.stats.comparisons import across_seeds

BASELINES = ("human", "ridge", "best", "length", "full")  # what `cyborg` is compared with
SHOWN = ("length", "ridge", "human", "teacher", "best", "cyborg", "full")


class Cell(Protocol):
    """Draws of one share: the human levels of the test essays (n,), and each arm's matched values (draws, n)."""

    fraction: float
    n_human: int
    human: np.ndarray
    values: Mapping[str, np.ndarray]


def words(texts: Sequence[str]) -> np.ndarray:
    """Words of each essay, (n,)."""
    return np.array([len(text.split()) for text in texts])


def _arms(cells: Sequence[Cell]):
    """Every arm of every share, in the order of `SHOWN`; of all human scores `full` alone."""
    for cell in cells:
        for arm in SHOWN:
            if arm in cell.values and (cell.fraction < 1 or arm == "full"):
                yield cell, arm, {"fraction": cell.fraction, "n_human": cell.n_human, "arm": arm}


def of_length(cells: Sequence[Cell], count: np.ndarray, scale: Scale, *, bands: int) -> pd.DataFrame:
    """How much of each arm's agreement is length, means over draws; `count` are the words of the test essays, (n,).

    Columns: fraction, n_human, arm, draws, qwk, qwk_within (mean over bands of length), r, r_length (of machine and log words),
    r_partial (of machine and human, given log words).
    """
    log, band, rows = np.log(count), length.bands(count, bands), []
    for cell, arm, place in _arms(cells):
        human, found = scale.score(cell.human), []
        for value in cell.values[arm]:
            level = scale.nearest(value)
            within = length.qwk_within(cell.human, level, band, levels=scale.size)
            agreed = {"qwk": metrics.qwk(cell.human, level, levels=scale.size), "qwk_within": within.mean()}
            agreed |= {"r": metrics.pearson_r(human, value), "r_length": metrics.pearson_r(value, log)}
            found.append(agreed | {"r_partial": length.partial_r(human, value, log)})
        rows.append(place | {"draws": len(found)} | pd.DataFrame(found).mean().to_dict())
    return pd.DataFrame(rows)


def by_band(cells: Sequence[Cell], count: np.ndarray, scale: Scale, *, bands: int) -> pd.DataFrame:
    """QWK within each band of length, means over draws: fraction, n_human, arm, band, shortest, longest (words), n, qwk."""
    band, rows = length.bands(count, bands), []
    for cell, arm, place in _arms(cells):
        each = [length.qwk_within(cell.human, scale.nearest(value), band, levels=scale.size) for value in cell.values[arm]]
        for at, qwk in enumerate(np.mean(each, axis=0)):
            own = count[band == at]
            ends = {"band": at + 1, "shortest": own.min(), "longest": own.max(), "n": len(own)}
            rows.append(place | ends | {"qwk": qwk})
    return pd.DataFrame(rows)


def differences(cells: Sequence[Cell], prompt: pd.Series, scale: Scale, **options: Any) -> pd.DataFrame:
    """Cyborg Data against its baselines: the mean difference in QWK over draws, with two intervals.

    low and high hold for other draws and other essays on these prompts, prompt_low and prompt_high for other prompts too (whole
    prompts are drawn; NaN with one prompt). Columns: fraction, n_human, baseline, draws, difference, these, prompts.
    """
    (full,) = [cell.values["full"][0] for cell in cells if cell.fraction == 1]
    clusters, rows = prompts.codes(prompt), []
    count = len(np.unique(clusters))
    for cell in [cell for cell in cells if cell.fraction < 1]:
        runs = {at: scale.nearest(value) for at, value in enumerate(cell.values["cyborg"])}
        for name in BASELINES:
            other = {at: scale.nearest(full if name == "full" else cell.values[name][at]) for at in runs}
            essays = across_seeds(cell.human, runs, other, **options)
            place = {"fraction": cell.fraction, "n_human": cell.n_human, "baseline": name, "draws": len(runs)}
            row = {"difference": essays["mean"], "low": essays["low"], "high": essays["high"]}
            ends = {"low": np.nan, "high": np.nan}
            ends = across_seeds(cell.human, runs, other, clusters=clusters, **options) if count > 1 else ends
            rows.append(place | row | {"prompt_low": ends["low"], "prompt_high": ends["high"], "prompts": count})
    return pd.DataFrame(rows)


def published(name: str, scorers: Sequence[str], test: pd.DataFrame) -> pd.DataFrame:
    """Public predictions for the test essays, a row an essay of `test` (essay_id, score), NaN where a scorer has none.

    The file `name` has the columns essay_id, human_score, and one a scorer. Raises CyborgError where a column is missing, no
    essay is known, or a human score is another.
    """
    file = files.given(name)
    given = pd.read_csv(file, dtype=str, keep_default_na=False)
    if missing := [column for column in ("essay_id", "human_score", *scorers) if column not in given]:
        raise CyborgError(f"{paths.shown(file)}: no column {files.listed(missing)}. It has: {files.listed(given.columns)}.")
    here = given.drop_duplicates("essay_id").set_index("essay_id").reindex(test["essay_id"])
    numbers = here[["human_score", *scorers]].apply(lambda column: column.map(files.number, na_action="ignore"))
    known = numbers["human_score"].notna().to_numpy()
    if not known.any():
        raise CyborgError(f"{paths.shown(file)}: none of its essays is a test essay of this study.")
    if other := test["essay_id"][known & (numbers["human_score"].to_numpy() != test["score"].to_numpy())].tolist():
        raise CyborgError(f"{paths.shown(file)}: {len(other)} human scores differ, such as that of {files.listed(other[:1])}.")
    return numbers[list(scorers)].reset_index(drop=True)


def beside(cells: Sequence[Cell], public: pd.DataFrame, count: np.ndarray, scale: Scale, **options: Any) -> pd.DataFrame:
    """Public scorers and the arms on the same test essays: those that every public scorer has scored.

    Columns: system, source ("public" or "here"), n_human (NaN: not known), draws, n, qwk, low, high (`across_seeds`; public ones
    over essays), r, r_partial (given log words), smd. Public scores count as they are given.
    """
    both = public.notna().all(axis=1).to_numpy()
    log, rows = np.log(count[both]), []

    def row(human: np.ndarray, values: np.ndarray, ends: Mapping[str, float]) -> dict[str, float]:
        score = scale.score(human)
        found = {"r": metrics.pearson_r, "smd": metrics.smd, "r_partial": lambda a, b: length.partial_r(a, b, log)}
        means = {name: np.mean([how(score, value) for value in values]) for name, how in found.items()}
        return {"n": int(both.sum()), **ends, **means}

    human = cells[0].human[both]
    for name in public:
        value = public[name].to_numpy()[both]
        found = bootstrap_interval(human, scale.nearest(value), **options)
        ends = {"qwk": found.value, "low": found.low, "high": found.high}
        rows.append({"system": name, "source": "public", "n_human": np.nan, "draws": 1} | row(human, [value], ends))
    for cell, arm, place in _arms(cells):
        values = cell.values[arm][:, both]
        found = across_seeds(human, dict(enumerate(scale.nearest(values))), **options)
        ends = {"qwk": found["mean"], "low": found["low"], "high": found["high"]}
        own = {"system": arm, "source": "here", "n_human": place["n_human"], "draws": len(values)}
        rows.append(own | row(human, values, ends))
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- sentences


def length_in_words(table: pd.DataFrame) -> str:
    """By share of human scores: what length alone reaches, and what each arm has beyond it (`of_length`)."""
    lines = []
    for n, part in table[table["arm"] != "full"].groupby("n_human", sort=True):
        own = part.set_index("arm")
        told = ", ".join(f"`{row.Index}` {row.qwk:.3f} (beyond it {row.r_partial:.2f})" for row in own.iloc[1:].itertuples())
        lines.append(f"- {n:,} human scores: length alone has QWK **{own.loc['length', 'qwk']:.3f}**; {told}.")
    lines.append("\nIn brackets: the correlation with people's scores that is left once log length is taken out of both.")
    return "\n".join(lines)


def differences_in_words(table: pd.DataFrame) -> str:
    """At which numbers of human scores Cyborg Data is better or worse than each baseline, over essays and over prompts."""
    lines = []
    for name, part in table.groupby("baseline", sort=False):
        said = []
        for kind, low, high in (("essays", "low", "high"), ("prompts", "prompt_low", "prompt_high")):
            better = [f"{n:,}" for n in part.loc[part[low] > 0, "n_human"]]
            worse = [f"{n:,}" for n in part.loc[part[high] < 0, "n_human"]]
            said.append(f"over {kind} better at {', '.join(better) or 'no number'}, worse at {', '.join(worse) or 'no number'}")
        lines.append(f"- against `{name}`: {'; '.join(said)}.")
    return "\n".join(lines)


def beside_in_words(table: pd.DataFrame) -> str:
    """The range of the public scorers' QWK, and the arms that lie in it or above on the same essays (`beside`)."""
    public, here = table[table["source"] == "public"], table[table["source"] == "here"]
    low, high = public["qwk"].min(), public["qwk"].max()
    top = here.loc[here["qwk"].idxmax()]
    reached = here[here["qwk"] >= low].groupby("system", sort=False)["n_human"].min()
    told = ", ".join(f"`{arm}` from {n:,.0f} human scores on" for arm, n in reached.items()) or "no arm"
    highest = f"`{top['system']}` with {top['n_human']:,.0f} human scores"
    return (
        f"On the same {int(top['n']):,} test essays the {len(public)} public scorers have QWK {low:.3f} to {high:.3f}. Within or "
        f"above that range: {told}. The highest here is {highest}: {top['qwk']:.3f} [{top['low']:.3f}, {top['high']:.3f}]."
    )
