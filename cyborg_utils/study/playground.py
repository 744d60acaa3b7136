"""What the book's playground shows: QWK, gap closed and SMD of one study by share, arm and group of writers; what a budget buys.

Everything is computed here, from the committed scores and tables. The page itself (`book/_static/playground.js`) only picks rows.
Rows of all essays are those of `table_qwk` and `table_gap_closed`; rows of one group come from the same functions on its essays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.plots.style import LOOKS, label
from cyborg_utils.study import agreement, arms, artefacts, bias, scores

RESAMPLES = 1000  # of a group's intervals; those of all essays have the study's own number
POINTS = 60  # of a curve of the budget
ALL = "all"


def data(profile: str) -> dict[str, Any]:
    """One study as plain lists and numbers for JSON (an undefined number is None).

    title; fractions, arms, groups (key, label, ...); rows `qwk`, `gap` and `smd` (fraction, arm, group, value, low, high, ...);
    limit (of an SMD in a group); pool (essays that the Teacher scored at the smallest fraction); budget (`_budget`). The Student
    is the study's headline. Raises CyborgError naming the notebook to run where a table is missing.
    """
    study, raters = config.load(profile), scores.raters(profile)
    place, section = dict(zip(("student", "head"), study.headline, strict=True)), study.section("test_significance")
    own = arms.of_student(raters, **place)
    options = {"resamples": RESAMPLES, "confidence": section["confidence"], "seed": section["analysis_seed"]}
    qwk, gaps = artefacts.read_table(profile, "table_qwk"), artefacts.read_table(profile, "table_gap_closed")
    parts = {ALL: (arms.of_student(qwk, **place), arms.pick(gaps, **place))}
    groups = _groups(own, study.section("analyze_bias")["min_group"])
    for key, (column, name) in groups.items():
        part = own[own[column] == name]
        table = agreement.agreement_table(part.drop(columns="arm"), scale=study.scale, **options)
        parts[key] = arms.systems(table), agreement.gaps(part.drop(columns="arm"), **options)
    rows = {"qwk": [], "gap": []}
    for key, (table, closed) in parts.items():
        rows["qwk"].append(table.assign(group=key, value=table["qwk"]))
        rows["gap"].append(closed.assign(group=key, value=closed["gap_closed"], arm=closed["labels"]))
    whole = parts[ALL][0]
    counts = whole.groupby("fraction")[["n_human", "n_dev"]].first()
    few, most = counts.iloc[0], counts["n_human"].max()
    essays = {ALL: int(whole["n"].iloc[0])} | {key: int(table["n"].iloc[0]) for key, (table, _) in parts.items()}
    shown = ["fraction", "arm", "group", "n", "seeds", "value", "low", "high"]
    return {
        "title": study.title,
        "fractions": [
            {"key": row.Index, "label": f"{row.Index:.0%}: {arms.paid(row.n_human, row.n_dev)}", "paid": int(row.n_human)}
            for row in counts[counts.index < 1].itertuples()
        ],
        "arms": [{"key": arm, "label": label(arm), "color": _color(arm)} for arm in whole["arm"].unique()],
        "groups": [{"key": key, "label": _writers(key), "n": n} for key, n in essays.items()],
        "qwk": _rows(pd.concat(rows["qwk"]), shown),
        "gap": _rows(pd.concat(rows["gap"]), [*shown, "resolved"]),
        "smd": _bias(study, own.drop(columns="arm"), set(essays)),
        "limit": study.section("analyze_bias")["smd_limit"],
        "pool": int(most - few["n_human"]),
        "budget": _budget(profile, whole),
    }


def _groups(raters: pd.DataFrame, least: int) -> dict[str, tuple[str, str]]:
    """`attribute=group` -> (column, group), for groups of at least `least` test essays."""
    essays, found = raters.drop_duplicates("essay_id"), {}
    for column in (name for name in raters if name.startswith("groups.")):
        counts = essays[column].value_counts().sort_index()
        found |= {f"{column.removeprefix('groups.')}={name}": (column, name) for name in counts.index[counts >= least]}
    return found


def _writers(key: str) -> str:
    return "All writers" if key == ALL else key.replace("_", " ").replace("=", ": ")


def _color(arm: str) -> str:
    """The arm's colour in the figures; dark ones are lightened, to be seen on a dark page too."""
    return {"human": "#8A8A8A", "full": "#4C6FD1"}.get(arm, LOOKS[arm].color)


def _bias(study: config.Study, raters: pd.DataFrame, groups: set[str]) -> list[dict]:
    """Rows of `table_smd` of matched scores, and the same for the shares that it leaves out; empty without groups of writers."""
    columns, section = [name for name in raters if name.startswith("groups.")], study.section("analyze_bias")
    if not columns:
        return []
    student, head = study.headline
    table = artefacts.read_table(study.profile, "table_smd")
    table = arms.of_student(table[table["scores"] != "raw"], student, head)
    options = {"confidence": section["confidence"], "seed": section["analysis_seed"], "min_group": section["min_group"]}
    how = options | {"groups": columns, "scale": study.scale, "limit": section["smd_limit"], "resamples": RESAMPLES}
    rest = raters[~raters["fraction"].isin(table["fraction"])]
    if len(rest):
        further = bias.smd_table(rest, dev=scores.raters(study.profile, part="dev"), **how)
        table = pd.concat([table, arms.systems(further)], ignore_index=True)
    group = table["attribute"] + "=" + table["group"].astype(str)
    table = table.assign(group=group.where(table["attribute"] != ALL, ALL))
    table = table.rename(columns={"smd": "value", "smd_low": "low", "smd_high": "high"})
    shown = ["fraction", "arm", "group", "n", "seeds", "value", "low", "high", "verdict"]
    return _rows(table[table["group"].isin(groups)], shown)


# ---------------------------------------------------------------- what a budget buys


def _budget(profile: str, whole: pd.DataFrame) -> dict[str, Any]:
    """Expected QWK of each way over n, the human scores paid for; `whole` holds the arms on all test essays.

    n; ways (label, color, qwk, low, high at each n or None, n: range measured, points: what was measured, how: how it is known
    in between); price and setup of human scores with currency, None without notebook 11. Arms are interpolated over log n between
    two measured numbers; ridge on human scores follows the learning curve of notebook 11.
    """
    alone = whole.assign(arm=whole["arm"].replace("full", "human"))
    measured = {arm: rows.sort_values("n_human") for arm, rows in alone.groupby("arm", sort=False)}
    curve, prices = _curve(profile), {"price": None, "setup": None, "currency": ""}
    ends = [whole["n_human"].min(), whole["n_human"].max()]
    if curve is not None:
        ends = [min(ends[0], curve["n"].min()), max(ends[1], curve["n"].max())]
        each = float(np.diff(curve["price"].iloc[[0, -1]])[0] / np.diff(curve["n"].iloc[[0, -1]])[0])
        currency = artefacts.read_record(profile, "11_cost")["parameters"]["currency"]
        prices = {"price": each, "setup": float(curve["price"].iloc[0] - each * curve["n"].iloc[0]), "currency": currency}
    n = np.unique([*np.geomspace(*ends, POINTS).round(), *whole["n_human"]]).astype(int)
    ways = []
    for arm, rows in measured.items():
        name = {"human": "Human scores only"}.get(arm, label(arm))
        how = f"measured with {' and '.join(f'{count:,}' for count in rows['n_human'])}"
        ways.append(_way(name, _color(arm), rows, n, how + (", interpolated between" if len(rows) > 1 else "")))
    if curve is not None:
        ways.append(_way("Ridge, human scores only", LOOKS["ridge"].color, curve, n, "learning curve of notebook 11"))
    return {"n": n.tolist(), "ways": ways} | prices


def _curve(profile: str) -> pd.DataFrame | None:
    """`table_human_curve` as n_human = n (paid), qwk, low, high, price; None where the study has no notebook 11."""
    try:
        table = artefacts.read_table(profile, "table_human_curve")
        whole = artefacts.read_table(profile, "table_qwk")
    except CyborgError:
        return None
    return table.assign(n=table["n"] + int(whole["n_human"].max() - table["n"].max())).assign(n_human=lambda rows: rows["n"])


def _way(name: str, color: str, rows: pd.DataFrame, n: np.ndarray, how: str) -> dict[str, Any]:
    at, known = np.log(rows["n_human"]), (n >= rows["n_human"].min()) & (n <= rows["n_human"].max())
    columns = {"qwk": "fitted" if "fitted" in rows else "qwk", "low": "low", "high": "high"}
    curves = {key: np.where(known, np.interp(np.log(n), at, rows[column]), np.nan) for key, column in columns.items()}
    lines = {key: [_plain(value) for value in curve] for key, curve in curves.items()}
    points = rows.rename(columns={"n": "essays"}).assign(n=rows["n_human"])[["n", "qwk", "low", "high"]]
    ends = [int(rows["n_human"].min()), int(rows["n_human"].max())]
    return {"label": name, "color": color, "how": how, "range": ends, "points": _rows(points, list(points))} | lines


def _rows(frame: pd.DataFrame, columns: list[str]) -> list[dict]:
    return [{name: _plain(value) for name, value in row.items()} for row in frame[columns].to_dict("records")]


def _plain(value: Any) -> Any:
    """A value for JSON: real numbers to five digits after the point, None for an undefined one."""
    if isinstance(value, (float, np.floating)):
        return round(float(value), 5) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
