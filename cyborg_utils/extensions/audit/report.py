"""The audit as one page to hand on (HTML that prints, nothing outside it needed) and as JSON (`audit.schema.yaml`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from cyborg_utils.core import paths, provenance
from cyborg_utils.core.atomic import write
from cyborg_utils.extensions.audit import judgement, rules
from cyborg_utils.plots import group_plots
from cyborg_utils.stats.fairness import NOT_RECORDED, SIGNS
from cyborg_utils.study import artefacts, sentences
from cyborg_utils.study.bias_in_words import judged

VERSION = 1  # of the JSON's layout
PAGE, DATA = "report.html", "audit.json"
MARKS = {"yes": "✓", "no": "✗", "not known": "?"} | {name: mark.strip() for name, mark in SIGNS.items()}


def result(tables: Mapping[str, pd.DataFrame], *, source: str, essays: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The whole audit as JSON has it: numbers as they are, None where one is not known.

    `tables` are those of `machines.audit`; `source` names the file.
    """
    thresholds, groups = (dict(list(tables[name].groupby("machine", sort=False))) for name in ("machines", "machines_smd"))
    each = [
        {
            "name": name,
            "verdict": verdict(own, groups[name]),
            "thresholds": _rows(own.drop(columns="machine")),
            "groups": _rows(groups[name].drop(columns="machine")),
        }
        for name, own in thresholds.items()
    ]
    first = {"version": VERSION, "source": source, "essays": essays, "settings": dict(settings), "rules": [], "failures": []}
    pairs = {name: _rows(tables[name]) for name in ("comparisons", "changes")}
    return first | {"machines": each} | pairs


def verdict(thresholds: pd.DataFrame, by_group: pd.DataFrame) -> dict[str, Any]:
    """One machine's verdicts: criteria met, missed, not_known and not_settled (the threshold lies in the interval); how many
    groups are judged and not_biased; the names of those that are biased (with SMD) or undecided, the largest |SMD| first."""
    rows = judged(by_group)
    rows = rows.loc[rows["smd"].abs().sort_values(ascending=False, kind="stable").index]
    named = {name: rows[rows["verdict"] == name] for name in SIGNS}
    answers = {"met": "yes", "missed": "no", "not_known": "not known"}
    criteria = {key: thresholds.loc[thresholds["met"] == answer, "criterion"].tolist() for key, answer in answers.items()}
    return criteria | {
        "not_settled": thresholds.loc[thresholds["clear"] == "no", "criterion"].tolist(),
        "groups": len(rows),
        "biased": [f"{row.attribute} = {row.group} ({row.smd:+.2f})" for row in named["biased"].itertuples()],
        "not_biased": len(named["not biased"]),
        "undecided": [f"{row.attribute} = {row.group}" for row in named["undecided"].itertuples()],
    }


def headline(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A machine's verdicts as a manager reads them: (mark, sentence), the worst first within agreement and within fairness."""
    lines, answered = [], len(found["met"]) + len(found["missed"])
    if not answered:
        lines.append(("?", "No verdict: these essays are no ground for one."))
    elif found["missed"]:
        lines.append(("✗", f"Misses {len(found['missed'])} of {answered} conventional thresholds: {'; '.join(found['missed'])}."))
    else:
        lines.append(("✓", f"Meets all {answered} conventional thresholds that could be checked."))
    if found["not_settled"]:
        lines.append(("?", f"Met or missed by a margin that other essays could turn: {'; '.join(found['not_settled'])}."))
    if not found["groups"]:
        return [*lines, ("?", "Nothing is known about groups of writers. A scorer should not go into use like this.")]
    count = judgement.count(found["groups"], "group") + " of writers"
    if found["biased"]:
        lines.append(("✗", f"Treats {len(found['biased'])} of {count} differently than people do: {', '.join(found['biased'])}."))
    if found["undecided"]:
        lines.append(("?", f"Cannot be told from these essays for {len(found['undecided'])}: {', '.join(found['undecided'])}."))
    if found["not_biased"]:
        lines.append(("✓", f"Treats {found['not_biased']} of {count} as people do, within the limit."))
    return lines


def write_files(
    name: str, found: Mapping[str, Any], *, notes: Sequence[str] = (), figures: Sequence[str] = ("figure_audit_smd",)
) -> Path:
    """Write the page and the JSON to results/<name>; return the page. `figures` are artefacts, embedded with their alt text."""
    _write_data(name, found)
    drawn = [_embedded(*artefacts.files(name, figure)) for figure in figures]
    template = Path(__file__).with_suffix(".html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": sentences.cell, "attribute": group_plots.heading}
    names = [one["name"] for one in found["machines"]]
    criteria = [(row["criterion"], row["threshold"]) for row in found["machines"][0]["thresholds"]]
    groups = [(row["attribute"], row["group"], row["n"]) for row in found["machines"][0]["groups"]]
    text = environment.from_string(template).render(
        **found,
        names=names,
        headlines={one["name"]: headline(one["verdict"]) for one in found["machines"]},
        criteria=[(*row, [one["thresholds"][at] for one in found["machines"]]) for at, row in enumerate(criteria)],
        groups=[(*row, [one["groups"][at] for one in found["machines"]]) for at, row in enumerate(groups)],
        marks=MARKS,
        unknown=NOT_RECORDED,
        notes=notes,
        figures=drawn,
        commit=provenance.commit(),
    )
    return write(paths.results(name, PAGE), text)


def read(name: str) -> dict[str, Any]:
    """The JSON of an audit."""
    return json.loads(paths.results(name, DATA).read_text(encoding="utf-8"))


def judged_by(asked: Sequence[rules.Rule], name: str) -> dict[str, Any]:
    """The JSON of an audit, with what breaks the rules that were asked (`rules.failures`); also written back to its file."""
    found = read(name) | {"rules": [rule.text for rule in asked]}
    found["failures"] = rules.failures(asked, found)
    _write_data(name, found)
    return found


def _write_data(name: str, found: Mapping[str, Any]) -> None:
    write(paths.results(name, DATA), json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as JSON would have them."""
    return json.loads(table.to_json(orient="records", double_precision=12))


def _embedded(picture: Path, alt: Path) -> dict[str, str]:
    code = base64.b64encode(picture.read_bytes()).decode("ascii")
    return {"src": f"data:image/png;base64,{code}", "alt": alt.read_text(encoding="utf-8").strip()}
