"""Rules for `cyborg audit --fail-on`: "smd>0.1", "surely qwk[groups]<0.6". A rule that holds fails the audit.

    RULE     [MACHINE:] [surely | possibly] MEASURE [\\[WHERE\\]] (> | >= | < | <=) NUMBER
    MEASURE  smd, dsm (sizes, without sign), qwk, r, sd_ratio
    WHERE    all (the whole sample), groups (every judged group), or attribute=group

A rule reads the value; `surely` wants the whole interval beyond the number, `possibly` any part of it. No rule is run as code.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cyborg_utils.core.errors import CyborgError

PATTERN = re.compile(
    r"\s*(?:(?P<machine>.*):)?\s*(?:(?P<how>surely|possibly)\s+)?(?P<measure>[a-z_]+)\s*(?:\[(?P<where>[^\]]*)\])?"
    r"\s*(?P<sign>>=|<=|>|<)\s*(?P<number>[-+]?\d+(?:\.\d+)?)\s*"
)
SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
CRITERIA = {"smd": "SMD, all essays", "qwk": "QWK", "r": "Pearson r", "sd_ratio": "SD ratio, human / machine"}
OF_GROUPS = ("smd", "dsm", "qwk")
WHERE = {"smd": ("all", "groups"), "dsm": ("groups",), "qwk": ("all",), "r": ("all",), "sd_ratio": ("all",)}  # without [WHERE]
HELP = (
    'A rule is MEASURE, > or <, and a number: "smd>0.1", "qwk<0.7", "qwk[groups]<0.6", "smd[ell=Yes]>0.1", "surely smd>0.1" '
    f'(the whole interval beyond), "NAME: smd>0.1" (one machine). Measures: {", ".join(WHERE)}.'
)


class Rule(NamedTuple):
    """One rule; `machine` and `how` are "" where it names none."""

    text: str
    machine: str
    how: str
    measure: str
    where: tuple[str, ...]
    sign: str
    number: float


def parse(text: str, machines: Sequence[str], groups: Sequence[str] = ()) -> Rule:
    """A rule from its text. `machines` are the names at hand, `groups` the attributes.

    Raises CyborgError that quotes the rule and says what a rule is.
    """
    match = PATTERN.fullmatch(text)
    if match is None:
        raise CyborgError(f"--fail-on {text!r}: cannot be read. {HELP}")
    measure, where, machine = match["measure"], (match["where"] or "").strip(), (match["machine"] or "").strip()
    if measure not in WHERE:
        raise CyborgError(f"--fail-on {text!r}: no measure {measure!r}. {HELP}")
    if machine and machine not in machines:
        raise CyborgError(f"--fail-on {text!r}: no machine {machine!r}; there are {', '.join(machines)}.")
    attribute = where.partition("=")[0].strip()
    if where not in ("", "all", "groups") and ("=" not in where or attribute not in groups):
        there = ", ".join(f"{name}=GROUP" for name in groups) or "no --groups"
        raise CyborgError(f"--fail-on {text!r}: no essays [{where}]; there are all, groups, {there}.")
    if (where == "all" and measure not in CRITERIA) or (where not in ("", "all") and measure not in OF_GROUPS):
        raise CyborgError(f"--fail-on {text!r}: {measure} is not measured of [{where}]. {HELP}")
    places = (where,) if where else WHERE[measure]
    return Rule(text.strip(), machine, match["how"] or "", measure, places, match["sign"], float(match["number"]))


def failures(rules: Sequence[Rule], result: Mapping[str, Any]) -> list[dict[str, str]]:
    """What breaks the rules in the result of an audit (`report.result`): rule, machine, where, and what was found in words.

    What is not known fails too: a check that sees nothing must not pass. A group that is too small to be judged breaks no rule,
    unless it is named.
    """
    found = []
    for rule in rules:
        machines = [one for one in result["machines"] if rule.machine in ("", one["name"])]
        for machine in machines:
            for where in rule.where:
                for place, values, why in _looked_at(machine, rule.measure, where):
                    if told := _broken(rule, values, why):
                        found.append({"rule": rule.text, "machine": machine["name"], "where": place, "found": told})
    return found


def _looked_at(machine: Mapping, measure: str, where: str) -> list[tuple[str, tuple, str]]:
    """(where in words, (value, low, high), why it is not known) of each part of the essays that a rule looks at."""
    if where == "all":
        row = next(row for row in machine["thresholds"] if row["criterion"] == CRITERIA[measure])
        return [("all essays", (row["value"], row["low"], row["high"]), row["why"] if row["met"] == "not known" else "")]
    rows = [row for row in machine["groups"] if row["attribute"] != "all"]
    if where == "groups":
        rows = [row for row in rows if row["verdict"] not in ("too few", "not a group")]
        why = "" if rows else "no group is named that can be judged"
    else:
        attribute, _, group = (part.strip() for part in where.partition("="))
        rows = [row for row in rows if (row["attribute"], row["group"]) == (attribute, group)]
        why = "" if rows else "no such group among these essays"
    ends = [measure, f"{measure}_low", f"{measure}_high"]
    few = {"too few": "too few essays"}
    parts = [(f"{row['attribute']} = {row['group']}", tuple(map(row.get, ends)), few.get(row["verdict"], "")) for row in rows]
    return parts or [(where, (None, None, None), why)]


def _broken(rule: Rule, values: tuple[float | None, ...], why: str) -> str:
    """What was found, in words, where it breaks the rule; "" where it does not."""
    value, low, high = (math.nan if one is None else one for one in values)
    if rule.measure in ("smd", "dsm"):  # sizes
        low, high = (low, high) if low > 0 else (-high, -low) if high < 0 else (min(0.0, low), max(-low, high))
        value, low = abs(value), max(low, 0.0) if not math.isnan(low) else low
    shown = f"{'|' if rule.measure in ('smd', 'dsm') else ''}{rule.measure}{'|' if rule.measure in ('smd', 'dsm') else ''}"
    needed = {"": (value,), "surely": (low, high), "possibly": (low, high)}[rule.how]
    if why or any(math.isnan(one) for one in needed):
        return f"{shown} is not known: {why or 'undefined'}"
    beyond = [SIGNS[rule.sign](one, rule.number) for one in needed]
    if not (all(beyond) if rule.how != "possibly" else any(beyond)):
        return ""
    interval = "" if math.isnan(low) or math.isnan(high) else f" [{low:.3f}, {high:.3f}]"
    return f"{shown} {value:.3f}{interval}"
