"""What a table's cells tell about how it was made, as sentences: scores that are none, look-alike groups, ids, markup."""

from __future__ import annotations

import html
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from cyborg_utils.core.config import MOST_LEVELS
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files, human_scores

MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez|janv|févr|avr|juin|juil|août|sept|déc"
DATE = re.compile(
    rf"\d{{1,2}}[-. /]+({MONTHS})[a-z]*\.?([-. /]+\d+)?|({MONTHS})[a-z]*[-. /]+\d+|\d{{4}}-\d\d-\d\d( 00:00:00)?", re.I
)
FLOAT_ID = re.compile(r"\d+\.0")
BLOCK = re.compile(r"</?(?:p|br|div|li|ul|ol|h[1-6]|tr|table|blockquote)\b[^<>]*>", re.I)
TAG = re.compile(r"</?(?:p|br|div|li|ul|ol|h[1-6]|tr|td|table|blockquote|span|strong|em|b|i|u|a|font|img|sup|sub)\b[^<>]*>", re.I)
ENTITY = re.compile(r"&(?:nbsp|amp|lt|gt|quot|apos|[lr][sd]quo|[nm]dash|hellip|#\d+);")
DISTINCT = 1000  # different scores that are remembered
FEW = 20  # different words that can be scores


class Lines(NamedTuple):
    """How to write what scores need, in a study file or as options of a command."""

    labels: Callable[[list[str]], str]
    scale: Callable[[float, float, float], str]
    own: Callable[[float, float], str] | None  # where a scale may not have more than `MOST_LEVELS`
    scales: Callable[[Mapping[str, tuple[float, float]]], str]  # where each prompt has one of its own
    strip: str  # HTML is taken out of the texts
    none_is_value: str  # None, NA and the like name a group


STUDY = Lines(
    lambda words: (
        f"prepare_data.options.labels: {{{', '.join(f'{word}: ...' for word in words)}}}"
        f" (or condition_codes: [{', '.join(words)}], if they say why there is no score)"
    ),
    lambda low, high, step: f"prepare_data.scale: [{low:g}, {high:g}, {step:g}]",
    lambda low, high: (
        f"prepare_data.options.own_scale: [{low:g}, {high:g}], which maps them linearly onto the study's scale, or cuts: [...], "
        "the lowest score of each of its levels but the first"
    ),
    lambda ends: (
        "write prepare_data.options.own_scale: {"
        + ", ".join(f"{prompt}: [{low:g}, {high:g}]" for prompt, (low, high) in ends.items())
        + "}, with the ends that these scales have"
    ),
    "set prepare_data.options.markup: strip",
    "leave its word out of prepare_data.options.missing, such as missing: []",
)
COMMAND = Lines(
    lambda words: (
        f"--labels {' '.join(shlex.quote(f'{word}=') + '...' for word in words)}"
        f" (or --condition-codes {' '.join(map(shlex.quote, words))}, if they say why there is no score)"
    ),
    lambda low, high, step: f"--scale {low:g} {high:g} {step:g}",
    None,
    lambda _: (
        "score the essays of each in a table of its own, or map the scales onto one in a study (own_scale in params/mine.yaml)"
    ),
    "use --markup strip",
    "use --none-is-value",
)


def scores(seen: Counter[str], scale: Scale, write: Lines = STUDY) -> str:
    """What to write where these scores (as they stand, with how often) cannot be used; "" where nothing is known."""
    seen = Counter({cell: count for cell, count in seen.items() if not files.missing(cell)})
    numbers = {cell: human_scores.plain(cell) for cell in seen}
    values = [value for value in numbers.values() if value == value]
    words = [cell for cell, value in numbers.items() if value != value]
    if dates := [cell for cell in words if DATE.fullmatch(cell)]:
        made = f"Scores such as {files.listed(dates[:2])} are dates: a spreadsheet has made them of scores such as 3-4."
        return f" {made} Mend them at their source, with the column's format set to text."
    if words and len(words) <= FEW:
        given = f"The words {files.listed(sorted(words))} stand for scores"
        return f" {given}: write {write.labels(sorted(words)[:6])}, or take their rows out."
    if values and sum(not scale.contains(value) for value in values):
        step = next((step for step in (1, 0.5, 0.25, 0.1) if all((value / step).is_integer() for value in values)), 0.01)
        low, high = min(values), max(values)
        if scale.low <= low and high <= scale.high:
            low, high = scale.low, scale.high
        elif low >= 0 and 75 < high <= 100:
            low, high = 0, 100
        given = f"The scores go from {min(values):g} to {max(values):g}"
        if write.own is None or (high - low) / step < MOST_LEVELS:
            return f" {given}: write {write.scale(low, high, step)}, with the ends that the scale has."
        return f" {given}, more levels than the {MOST_LEVELS} that a Teacher can answer: write {write.own(low, high)}."
    return ""


def unlike(highest: Iterable[float]) -> bool:
    """Whether the highest scores of several prompts lie so far apart that these cannot have one scale."""
    highest = [*highest]
    return len(highest) > 1 and max(highest) >= 2 * min(highest)


def scales(ends: Mapping[str, tuple[float, float]], scale: Scale, write: Lines = STUDY) -> str:
    """What to do where prompts have scales of their own; "" where they do not. `ends`: lowest and highest score by prompt."""
    highest = [high for _, high in ends.values()]
    if not unlike(highest) or max(highest) <= scale.high:
        return ""
    return f" The prompts have scales of their own: {write.scales(ends)}."


def look_alikes(column: str, groups: Iterable[str]) -> list[str]:
    """One sentence for each set of groups that may be one: the same but for case, space and points, or a word and its letter."""
    sets: defaultdict[str, set[str]] = defaultdict(set)
    for group in groups:
        key = group.casefold().strip()
        sets[key if re.search(r"\d", key) else re.sub(r"[\s.]+", "", key) or key].add(group)
    for letter in [key for key in sets if len(key) == 1 and key.isalpha()]:
        words = [key for key in sets if len(key) > 1 and key.startswith(letter)]
        if len(words) == 1:
            sets[words[0]] |= sets.pop(letter)
    alike, where = [files.listed(sorted(names)) for names in sets.values() if len(names) > 1], files.listed([column])
    return [f"{names} of {where} look alike, but are different groups. Write them one way." for names in alike]


def ids(names: Iterable[str]) -> list[str]:
    """A sentence where all ids look like 12.0."""
    if (first := next(iter(names), "")) and all(map(FLOAT_ID.fullmatch, names)):
        return [f"All ids look like {first}: another tool has made numbers of them. They are kept as they stand, as text."]
    return []


def marked_up(text: str) -> bool:
    """Whether a text has HTML tags or entities."""
    return ("<" in text and TAG.search(text) is not None) or ("&" in text and ENTITY.search(text) is not None)


def stripped(text: str) -> str:
    """A text without HTML: tags of paragraphs and lines become line ends, other tags nothing, entities their characters."""
    plain = html.unescape(TAG.sub("", BLOCK.sub("\n", text))).replace("\xa0", " ")
    return re.sub(r" *\n\s*", "\n", plain).strip()
