"""How long may it take? The plan follows from a quick measurement of this machine, and is told before anything long begins.

The Teacher's one pass over all essays is nearly all of the work. Candidates stand from the best to the cheapest: a larger model,
more tokens of an essay. The first that fits into the time is taken. The last has no language model at all beside the Student's
encoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from cyborg_utils.core import provenance
from cyborg_utils.core.config import MOST_LEVELS
from cyborg_utils.core.scale import Scale
from cyborg_utils.extensions.labelling.essays import Essays
from cyborg_utils.models import prompt, states, student

STUDENT = student.Settings(
    epochs=3, min_steps=150, learning_rate=1.0e-4, batch_size=16, max_tokens=512, model="all-minilm-l6-v2", head="frozen"
)
LARGE, SMALL = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"
TEACHERS = tuple(states.Reading(model, (), tokens, rubric=True) for model in (LARGE, SMALL) for tokens in (448, 224))
SAMPLE = 200  # essays whose tokens are counted; the rest are taken to be like them
NOTHING = "no language model"


class Candidate(NamedTuple):
    """A Teacher's reading (None: no language model) and the seconds of its pass and of the Student's."""

    reading: states.Reading | None
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.reading.model}, up to {self.reading.max_tokens} tokens of an essay" if self.reading else NOTHING


@dataclass(frozen=True)
class Plan:
    """What is read by which model. `candidates`: all that were measured, the best first."""

    teacher: states.Reading | None
    student: student.Settings
    minutes: float
    candidates: tuple[Candidate, ...] = ()

    def told(self, essays: int) -> str:
        """The plan in words, with what more time would buy."""
        if not self.candidates:
            return f"Plan for {essays:,} essays: {Candidate(self.teacher, 0).name}, as in the study."
        by = "by the pace of this machine just now; a token is a word or a part of one"
        lines = [f"Plan for {essays:,} essays in {self.minutes:g} minutes ({by}):"]
        for one in self.candidates:
            chosen = "  <- this one" if one.reading == self.teacher else ""
            lines.append(f"  Teacher: {one.name}: {_minutes(one.seconds)}{chosen}")
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
    pupil: student.Settings = STUDENT,
    file: Path | None = None,
) -> Plan:
    """Measure candidates until one fits into `minutes`; one that reads no less than the same model before it is left out. With a
    `file`, a plan for the same essays and minutes is kept and used again, so that a stopped run goes on with it."""
    texts = essays.frame[["essay_id", "text"]].to_numpy().tolist()
    mark = provenance.fingerprint({"minutes": minutes, "rubric": rubric}, data=texts)
    settings = {"mark": mark, "teachers": [asdict(one) for one in teachers], "student": asdict(pupil)}
    settings = json.loads(json.dumps(settings))
    if file and file.is_file() and (kept := json.loads(file.read_text(encoding="utf-8")))["settings"] == settings:
        candidates = tuple(Candidate(_reading(reading), seconds) for reading, seconds in kept["candidates"])
        return Plan(_reading(kept["teacher"]), pupil, minutes, candidates)
    some = essays.frame.sample(min(SAMPLE, len(essays.frame)), random_state=1)
    template, share = template_of(essays.scale, rubric), len(essays.frame) / len(some)
    encoder = states.Reading(pupil.model, tuple(pupil.layers), pupil.max_tokens)
    own = share * states.tokens(some[~states.known(some, encoder)], encoder) / states.pace(encoder)
    pace: dict[str, float] = {}
    counts: dict[str, int] = {}
    found: list[Candidate] = []
    for reading in teachers:
        count = states.tokens(some, reading, template=template)
        if counts.get(reading.model) == count:  # no essay is as long as its limit
            continue
        counts[reading.model] = count
        pace[reading.model] = pace.get(reading.model) or states.pace(reading)
        new = some[~states.known(some, reading, template=template)]
        seconds = share * states.tokens(new, reading, template=template) / pace[reading.model]
        found.append(Candidate(reading, own + seconds))
        if found[-1].seconds <= 60 * minutes:
            break
    else:
        found.append(Candidate(None, own))
    plan = Plan(found[-1].reading, pupil, minutes, tuple(found))
    if file:
        rows = [(asdict(one.reading) if one.reading else None, one.seconds) for one in found]
        teacher = asdict(plan.teacher) if plan.teacher else None
        provenance.write_json(file, {"settings": settings, "teacher": teacher, "candidates": rows})
    return plan


def candidates(model: str) -> tuple[states.Reading, ...]:
    """The Teachers to choose from: the only one, where a person names its model."""
    return (states.Reading(model, (), 448, rubric=True),) if model else TEACHERS


def template_of(scale: Scale, rubric: str = "") -> prompt.Prompt:
    """The Teacher's prompt. It names at most `MOST_LEVELS` scores: of a longer scale (0 to 100) eleven, evenly spaced."""
    named = scale if scale.size <= MOST_LEVELS else Scale(scale.low, scale.high, (scale.high - scale.low) / 10)
    return prompt.Prompt(rubric or prompt.rubric("generic", "score"), named)


def _reading(content: dict | None) -> states.Reading | None:
    return states.Reading(**content | {"layers": tuple(content["layers"])}) if content else None


def _minutes(seconds: float) -> str:
    if seconds < 1:
        return "read already"
    return f"about {seconds:.0f} seconds" if seconds < 90 else f"about {seconds / 60:.0f} minutes"
