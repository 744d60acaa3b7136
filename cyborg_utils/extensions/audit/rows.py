"""Rows of a table of predictions: people's scores of one essay together, and what is wrong with rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files, human_scores
from cyborg_utils.data.human_scores import CODED, UNSCORED

SHOWN = 5  # faults told in full
MANY = 0.1  # share of rows with faults that are more than slips


class Rows:
    """The rows of a table of predictions: essays, and what is wrong with rows."""

    def __init__(self, path: Path) -> None:
        self.path, self.faults = path, []
        self.left_out: Counter[str] = Counter()
        self._essays: dict[str, dict[str, Any]] = {}  # by id; "ratings" are people's scores, in their order

    def add(
        self,
        number: int,
        found: dict[str, Any],
        reasons: Mapping[tuple[str, str], str],
        id: str,
        *,
        scoring: Mapping[str, Any],
    ) -> None:
        """A row's scores, and what is wrong with them by (role, column). `scoring` is as in `predictions.load`."""
        essay, ratings, drop = found["essay_id"], bool(scoring.get("rater")), "unscored" in scoring
        others = [found["resolved"], *([found["second_score"]] if "combine" in scoring else [])]
        alone = all(map(math.isnan, others))  # whether nothing stands in for the first human score
        before = self._essays.get(essay)
        if not essay:
            self.faults.append(f"row {number}, column {id}: no id")
        elif before and not ratings:
            self.faults.append(f"row {number}, column {id}: {files.printable(essay[:40])} stands in row {before['row']} already")
        for (role, column), reason in reasons.items():
            needed = role == "value" or role == "score" and alone
            absent = reason == UNSCORED or reason.startswith(CODED)
            if absent and needed and (drop or reason != UNSCORED):
                self.left_out[f"{'machine' if role == 'value' else 'human'}: {reason}"] += 1
                return
            if reason and (needed or not absent):
                self.faults.append(f"row {number}, column {column}: {reason}")
        if before and ratings and before["value"] != found["value"]:
            self.faults.append(f"row {number}: another machine score than in row {before['row']}, of the same essay")
        own = self._essays.setdefault(essay, found | {"row": number, "ratings": []})
        own["ratings"] += [found["score"]] if ratings else [found["score"], found["second_score"]]
        own["resolved"] = human_scores.combined([own["resolved"]], "first", found["resolved"])

    def refuse(self, hint: str) -> None:
        """Raises CyborgError that lists the faults, if there are any; where they are many, it ends with `hint`."""
        if self.faults:
            told = "\n".join(f"  {fault}" for fault in self.faults[:SHOWN])
            more = f"\n  and {len(self.faults) - SHOWN} more" if len(self.faults) > SHOWN else ""
            many = len(self.faults) > MANY * len(self._essays)
            what = f"{len(self.faults)} fault(s); mend these cells or take the rows out"
            raise CyborgError(f"{paths.shown(self.path)}: {what}:\n{told}{more}{hint if many else ''}")

    def people(self, how: str) -> list[dict[str, Any]]:
        """One row an essay, with the score that people's scores come to, and the first two of these."""
        rows = []
        for own in self._essays.values():
            score = human_scores.combined(own["ratings"], how, own["resolved"])
            rows.append(own | dict(zip(("first_score", "second_score"), human_scores.first_two(own["ratings"]), strict=True)))
            rows[-1]["score"] = score
        return rows

    @property
    def notes(self) -> list[str]:
        return [f"{count:,} row(s) are left out ({why})." for why, count in sorted(self.left_out.items())]
