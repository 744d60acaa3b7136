"""A writer's abilities -> the text of a persuasive essay. The phrases are in `simulated_phrases.yaml`.

Chance plans the essay: side, reasons, wordings, length, misspelled words. The abilities only decide how much of it stands in the
wrong place: words that change places with others of their kind, neighbours, sentences. So a weak essay has the words of a strong
one, as often, and no count of words tells them apart. A reader who knows English can.
"""

from __future__ import annotations

import functools
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

ABILITIES = ("content", "organization", "vocabulary", "grammar")
SHORTEST, LONGEST = 80, 150  # words of an essay
SHARE, STEP, MOST = 0.13, 0.7, 0.9  # out of place for an average writer; times exp(-STEP) for one SD of ability; at most
FUNCTION_WORDS, NEIGHBOURS, SENTENCES = 2.0, 0.25, 2.0  # times SHARE: how much of each is out of place
SLIPS = 0.02  # misspelled words, whatever the quality
LEARNER_LINKS, ARTICLES_DROPPED = 0.8, 0.5  # shares of an English learner's connectives and articles
REASONS = ("first", "last")  # their places in the text
PLACES = ("point", "why", "result", "example")
CHOICE, FILL = re.compile(r"\[([^\]]+)\]"), re.compile(r"\{(\w+)\}")
ARTICLE = re.compile(r"\b(?:a|an|the) (?=[a-z])")
SOUND = re.compile(r"\b(?!during\b|everything|something|nothing|anything|morning|evening)(?:(\w{3,})ing|(and|because))\b")
BY_SOUND = {"and": "an", "because": "cuz"}
KINDS = {  # function words that change places with each other
    word: kind
    for kind, words in {
        "preposition": "in on at for to of with by from about into over under after before until through without",
        "pronoun": "he she it we they you him her them us I me",
        "possessive": "my your his their our its a the this that every",
        "verb": "is are was were has have had do does did can could will would must should",
        "joint": "and but because so when if while than although which who",
    }.items()
    for word in words.split()
}
ENDINGS = ("ing", "ed", "ly", "s")  # content words change places with others of the same ending


@functools.cache
def phrases() -> dict[str, Any]:
    """The phrase banks: a reason is a dict with the keys of PLACES, a side has `counter` and `rebuttal`, `fill` lists words."""
    bank = yaml.safe_load(Path(__file__).with_name("simulated_phrases.yaml").read_text(encoding="utf-8"))
    for side in (side for prompt in bank["prompts"] for side in prompt["sides"]):
        side["reasons"] = [dict(zip(PLACES, line.split(" / "), strict=True)) for line in side["reasons"]]
        side["counter"], side["rebuttal"] = side["counter"].split(" / ")
    bank["fill"] = {name: [word.strip() for word in words.split(",")] for name, words in bank["fill"].items()}
    return bank


@dataclass
class Writer:
    """`ability`: a standard score for each of ABILITIES.

    `learner` (articles left out, other connectives) and `dialect` (share of -ing, and, because spelled by sound: -in, an, cuz)
    touch only the surface.
    """

    rng: Random
    ability: dict[str, float]
    learner: bool = False
    dialect: float = 0.0

    def essay(self, prompt: dict[str, Any]) -> str:
        """An essay of SHORTEST to LONGEST words on a prompt; the side is drawn."""
        self.shares = {name: SHARE * math.exp(-STEP * value) for name, value in self.ability.items()}
        side, glue = self._pick(prompt["sides"]), self._pick(("\n\n", " "))
        self.fixed, self.chance = {"topic": prompt["topic"], "claim": side["claim"]}, Random(self.rng.random())
        paragraphs = [[self._spelled(sentence) for sentence in paragraph] for paragraph in self._plan(side)]
        self._disorder(paragraphs)
        self._misplace([words for paragraph in paragraphs for words in paragraph])
        return glue.join(" ".join(map(_finished, paragraph)) for paragraph in paragraphs)

    # --- the plan, by chance ----------------------------------------------------------------------------------------------

    def _plan(self, side: dict[str, Any]) -> list[list[str]]:
        """Paragraphs of sentences: opening, reasons, perhaps the other side's view, closing; details until it is long enough."""
        wanted = self.rng.uniform(SHORTEST, LONGEST - 25)
        opening = [self._say(self._pick(phrases()["claims"]))]
        if self.rng.random() < 0.5:
            opening.insert(0, self._say(self._pick(phrases()["hooks"])))
        paragraphs, closing = [opening], [self._say(self._pick(phrases()["conclusions"]))]
        for place, reason in zip(REASONS, self.rng.sample(side["reasons"], len(REASONS)), strict=True):
            paragraph = self._reason(reason, place)
            if place == "first" or _count([*paragraphs, paragraph, closing]) <= wanted:
                paragraphs.append(paragraph)
        view = self._say(self._pick(phrases()["counter_frames"]), counter=side["counter"], rebuttal=side["rebuttal"])
        if _count([*paragraphs, [view], closing]) <= wanted:
            paragraphs.append([view])
        paragraphs.append(closing)
        while _count(paragraphs) < wanted:
            self._pick(paragraphs).append(self._say(self._pick(phrases()["details"])))
        return paragraphs

    def _reason(self, reason: dict[str, str], place: str) -> list[str]:
        """Two to four sentences: point, why, result, example."""
        point, why, result, example = (reason[key] for key in PLACES)
        joined = (f"{point} because {why}", f"since {why}, {point}", f"{point}, and the reason is that {why}")
        sentences = [self._pick(joined)] if self.rng.random() < 0.5 else [point, why]
        if self.rng.random() < 0.5:
            sentences[-1] += self._pick((", so ", ", and ", ", which is why ")) + result
        else:
            sentences.append(f"{self._link('result')} {result}")
        sentences[0] = f"{self._link(place)} {sentences[0]}"
        return [self._say(sentence) for sentence in (*sentences, f"{self._link('example')} {example}")]

    def _link(self, place: str) -> str:
        own, learners = phrases()["connectives"][place]
        return self._pick(learners if self.learner and self.rng.random() < LEARNER_LINKS else own)

    def _say(self, phrase: str, **more: str) -> str:
        """Fill a phrase in and choose its wordings; then the surface habits."""
        fill = self.fixed | more
        while FILL.search(phrase):
            phrase = FILL.sub(lambda found: fill.get(found[1]) or self._pick(phrases()["fill"][found[1]]), phrase)
        text = CHOICE.sub(lambda found: self._pick(found[1].split("|")), phrase)
        if self.learner:
            text = ARTICLE.sub(lambda found: "" if self.rng.random() < ARTICLES_DROPPED else found[0], text)
        spelled = lambda found: BY_SOUND[found[2]] if found[2] else found[1] + "in"  # noqa: E731
        return SOUND.sub(lambda found: spelled(found) if self.rng.random() < self.dialect else found[0], text)

    def _spelled(self, sentence: str) -> list[str]:
        """The words of a sentence, some with two letters exchanged."""
        words = sentence.split()
        for at, word in enumerate(words):
            if len(word) > 4 and word.isalpha() and self.rng.random() < SLIPS:
                cut = 1 + int(self.rng.random() * (len(word) - 3))
                words[at] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
        return words

    def _pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.random() * len(options))]

    # --- what is out of place, by ability ---------------------------------------------------------------------------------

    def _disorder(self, paragraphs: list[list[list[str]]]) -> None:
        """Content: sentences that support another reason than theirs. Organization: sentences out of order."""
        places = [(paragraph, at) for paragraph in paragraphs for at in range(len(paragraph))]
        self._exchange([place for place in places if place[1]], "content", SENTENCES)
        self._exchange(places, "organization", SENTENCES)

    def _misplace(self, sentences: list[list[str]]) -> None:
        """Vocabulary: words that do not go together. Grammar: the wrong preposition, pronoun, verb or conjunction; word order."""
        places, alike = [(words, at) for words in sentences for at in range(len(words))], defaultdict(list)
        for words, at in places:
            alike[_kind(words[at])].append((words, at))
        for kind in sorted(set(alike) - {""}):
            grammar = kind in KINDS.values()
            self._exchange(alike[kind], "grammar" if grammar else "vocabulary", FUNCTION_WORDS if grammar else 1.0)
        for words, at in places:
            if at and words[at].isalpha() and words[at - 1].isalpha() and self._errs("grammar", NEIGHBOURS):
                words[at - 1], words[at] = words[at], words[at - 1]

    def _exchange(self, places: list[tuple[list, int]], ability: str, times: float) -> None:
        """A share of what is at these places changes places."""
        chosen = [place for place in places if self._errs(ability, times)]
        held = [row[at] for row, at in chosen]
        for (row, at), value in zip(chosen, self.chance.sample(held, len(held)), strict=True):
            row[at] = value

    def _errs(self, ability: str, times: float) -> bool:
        return self.chance.random() < min(MOST, times * self.shares[ability])


def _kind(word: str) -> str:
    """The words that a word may change places with: its function, or its ending; "" for none."""
    if word in KINDS or len(word) < 4 or not (word.isalpha() and word.islower()):
        return KINDS.get(word, "")
    return next((ending for ending in ENDINGS if word.endswith(ending)), "other")


def _finished(words: list[str]) -> str:
    return words[0][0].upper() + " ".join(words)[1:] + "."


def _count(paragraphs: list[list[str]]) -> int:
    return sum(len(sentence.split()) for paragraph in paragraphs for sentence in paragraph)
