"""How long may it take? The plan follows from a quick measurement of this machine, and is told before anything long begins.

The Teacher's one pass over all essays is nearly all of the work. Candidates stand from the best to the cheapest: a larger model, more
tokens of an essay. The first that fits into the time is taken. The last has no language model at all beside the Student's encoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cyborg_utils.core import provenance
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.labelling.essays import Essays
from cyborg_utils.models import prompt, states

STUDENT = states.Reading("all-minilm-l6-v2", (3, 4), 512)
LARGE, SMALL = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"
# Layers: the middle ones of the large model do best on ELLIPSE (results/frozen); of the small one the same share of its depth.
TEACHERS = (
    states.Reading(LARGE, (12, 16, 18), 448, rubric=True),
    states.Reading(LARGE, (12, 16, 18), 224, rubric=True),
    states.Reading(SMALL, (15, 20, 22), 448, rubric=True),
    states.Reading(SMALL, (15, 20, 22), 224, rubric=True),
)
SAMPLE = 200  # essays whose tokens are counted; the rest are taken to be like them
NOTHING = "no language model"
MOST_ANSWERS = 52  # levels that a prompt can name


class Candidate(NamedTuple):
    """A Teacher's reading (None: no language model) and the seconds of its pass and of the Student's."""

    reading: states.Reading | None
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.reading.model}, {self.reading.max_tokens} tokens of an essay" if self.reading else NOTHING


@dataclass(frozen=True)
class Plan:
    """What is read by which model. `candidates`: all that were measured, the best first."""

    teacher: states.Reading | None
    student: states.Reading
    minutes: float
    candidates: tuple[Candidate, ...] = ()

    def told(self, essays: int) -> str:
        """The plan in words, with what more time would buy."""
        lines = [f"Plan for {essays:,} essays in {self.minutes:g} minutes (by the pace of this machine just now):"]
        for one in self.candidates:
            chosen = "  <- this one" if one.reading == self.teacher else ""
            lines.append(f"  Teacher: {one.name}: about {_minutes(one.seconds)}{chosen}")
        better = [one for one in self.candidates if one.reading is not None]
        place = next((at for at, one in enumerate(better) if one.reading == self.teacher), len(better))
        for one in better[:place][-1:]:
            lines.append(f"  A longer run (--minutes {one.seconds / 60 * 1.2:.0f}) would buy {one.name}.")
        return "\n".join(lines)


def make(
    essays: Essays,
    *,
    minutes: float,
    rubric: str = "",
    teachers: Sequence[states.Reading] = TEACHERS,
    student: states.Reading = STUDENT,
    file: Path | None = None,
) -> Plan:
    """Measure candidates until one fits into `minutes`. With a `file`, a plan for the same essays and minutes is kept and used
    again, so that a stopped run goes on with it."""
    mark = provenance.fingerprint(
        {"minutes": minutes, "rubric": rubric}, data=essays.frame[["essay_id", "text"]].to_numpy().tolist()
    )
    settings = {"mark": mark, "teachers": [asdict(one) for one in teachers], "student": asdict(student)}
    settings = json.loads(json.dumps(settings))
    if file and file.is_file() and (kept := json.loads(file.read_text(encoding="utf-8")))["settings"] == settings:
        candidates = tuple(Candidate(_reading(reading), seconds) for reading, seconds in kept["candidates"])
        return Plan(_reading(kept["teacher"]), student, minutes, candidates)
    some = essays.frame.sample(min(SAMPLE, len(essays.frame)), random_state=1)
    template, share = template_of(essays.scale, rubric), len(essays.frame) / len(some)
    own = _seconds(student, some, template) * share
    found: list[Candidate] = []
    pace: dict[str, float] = {}
    for reading in teachers:
        found.append(Candidate(reading, own + share * _seconds(reading, some, template, pace)))
        if found[-1].seconds <= 60 * minutes:
            break
    else:
        found.append(Candidate(None, own))
    plan = Plan(found[-1].reading, student, minutes, tuple(found))
    if file:
        rows = [(asdict(one.reading) if one.reading else None, one.seconds) for one in found]
        teacher = asdict(plan.teacher) if plan.teacher else None
        provenance.write_json(file, {"settings": settings, "teacher": teacher, "candidates": rows})
    return plan


def template_of(scale: Scale, rubric: str = "") -> prompt.Prompt:
    """The Teacher's prompt. It names at most `MOST_ANSWERS` scores: of a longer scale (0 to 100) eleven, evenly spaced."""
    named = scale if scale.size <= MOST_ANSWERS else Scale(scale.low, scale.high, (scale.high - scale.low) / 10)
    return prompt.Prompt(rubric or prompt.rubric("generic", "score"), named)


def reading_of(model: str, *, max_tokens: int = 448, rubric: bool = True) -> states.Reading:
    """How any other model is read: layers at half, two thirds and three quarters of its depth. CyborgError for an unknown one."""
    try:
        depth = states.depth(model)
    except (OSError, ValueError) as error:
        raise CyborgError(f"model {model!r}: not readable ({str(error).splitlines()[0][:200]}). Name another one.") from error
    layers = sorted({max(1, round(share * depth)) for share in (1 / 2, 2 / 3, 3 / 4)})
    return states.Reading(model, tuple(layers), max_tokens, rubric)


def _reading(content: dict | None) -> states.Reading | None:
    return states.Reading(**content | {"layers": tuple(content["layers"])}) if content else None


def _seconds(reading: states.Reading, essays: pd.DataFrame, template: prompt.Prompt, pace: dict | None = None) -> float:
    """Seconds of a pass over these essays. `pace`: by model, measured once."""
    reader = states.Reader(reading, template=template)
    key = f"{reading.model} {reading.layers}"
    known = pace if pace is not None else {}
    known[key] = known.get(key) or reader.pace()
    return reader.tokens(essays) / known[key]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
