"""A writer's abilities -> the text of a persuasive essay. The words are in `simulated_phrases.yaml`."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

import yaml

SHORTEST, LONGEST = 60, 180  # words of a finished essay
SLACK = 6  # words that the last step may take away (dont for do not) or add ("and" for a full stop)
PADDING = 94  # how many words more a writer may want to fill, the weaker in organization the more; never beyond LONGEST
LEARNER_LINKS, ARTICLES_DROPPED = 0.8, 0.5  # shares of an English learner's connectives and articles
ABILITIES = ("reasons", "elaboration", "organization", "vocabulary", "variety", "mechanics")
PLACES = ("point", "why", "result", "example")
CHOICE = re.compile(r"\[([^\]]+)\]")
ARTICLE = re.compile(r"\b(?:a|an|the) (?=[a-z])")
SOUND = re.compile(r"\b(?!during\b|everything|something|nothing|anything|morning|evening)(?:(\w{3,})ing|(and|because))\b")
BY_SOUND = {"and": "an", "because": "cuz"}
NOT = re.compile(r"\b(do|does|did|would|should|is|was) not\b")


@functools.cache
def phrases() -> dict[str, Any]:
    """The phrase banks; a reason is a dict with the keys of PLACES, a side has `counter` and `rebuttal`."""
    bank = yaml.safe_load(Path(__file__).with_name("simulated_phrases.yaml").read_text(encoding="utf-8"))
    for side in (side for prompt in bank["prompts"] for side in prompt["sides"]):
        side["reasons"] = [dict(zip(PLACES, line.split(" / "), strict=True)) for line in side["reasons"]]
        side["counter"], side["rebuttal"] = side["counter"].split(" / ")
    return bank


@dataclass
class Writer:
    """`ability`: a standard score for each of ABILITIES, which shows in its own features of the text.

    `learner` (articles left out, other connectives) and `dialect` (share of -ing, and, because spelled by sound: -in, an, cuz)
    touch only the surface.
    """

    rng: Random
    ability: dict[str, float]
    learner: bool = False
    dialect: float = 0.0

    def essay(self, prompt: dict[str, Any]) -> str:
        """An essay of SHORTEST to LONGEST words on a prompt; the side is drawn."""
        side = self._pick(prompt["sides"])
        claim, topic = side["claim"], prompt["topic"]
        paragraphs = [self._opening(claim, topic), *self._body(side), self._closing(claim, topic)]
        fillers = list(phrases()["fillers"])
        eager = 1 - 0.75 * NormalDist().cdf(self.ability["organization"])
        wanted = SHORTEST + SLACK + PADDING * eager * self.rng.random()
        while fillers and _words(paragraphs) < wanted:  # who has little to say fills the page
            filler = fillers.pop(int(self.rng.random() * len(fillers)))
            self._pick([paragraphs[0], paragraphs[-1]]).append(self._say(filler, claim=claim, topic=topic))
        while _words(paragraphs) > LONGEST - SLACK:
            longest = max(paragraphs[1:-1], key=len)
            longest.pop(1 + int(self.rng.random() * (len(longest) - 1)) if len(longest) > 1 else 0)
        glue = "\n\n" if self._does("organization", 0.4) else " "
        return glue.join(" ".join(self._finish(paragraph)) for paragraph in paragraphs if paragraph)

    def _opening(self, claim: str, topic: str) -> list[str]:
        position = self._say(self._graded(phrases()["claims"], "vocabulary"), claim=claim)
        if not self._does("organization", 0.2):
            return [position]
        return [self._say(self._graded(phrases()["hooks"], "organization"), topic=topic), position]

    def _body(self, side: dict[str, Any]) -> list[list[str]]:
        count = 1 + sum(self.ability["reasons"] > cut for cut in (-0.9, 0.3, 1.4))
        reasons = self.rng.sample(side["reasons"], count)
        links = ["first", *["next"] * (count - 2), *["last"] * (count > 1)]
        body = [self._reason(reason, link) for reason, link in zip(reasons, links, strict=True)]
        if self._does("reasons", -0.9):
            frame = self._graded(phrases()["counter_frames"], "vocabulary")
            body.append([self._say(frame, counter=side["counter"], rebuttal=side["rebuttal"])])
        if self._does("organization", 1.1, less=True):
            body[-1].append(self._say(self._pick(phrases()["digressions"])))
        if self._does("organization", 1.1, less=True):  # ideas in no order
            order = self.rng.sample([sentence for paragraph in body for sentence in paragraph], sum(map(len, body)))
            body = [order]
        return body

    def _reason(self, reason: dict[str, str], place: str) -> list[str]:
        """One to four sentences: point, why, result, example, as far as the writer elaborates."""
        point, why, result, example = (reason[key] for key in PLACES)
        link = self._link(place) if self._does("organization", 0.4) else ""
        if not self._does("elaboration", 0.7):
            sentences = [f"{link} {point}"]
        else:
            if self._does("variety", 0.0):
                joined = (f"{point} because {why}", f"since {why}, {point}", f"{point}, and the reason is that {why}")
                sentences = [f"{link} {self._pick(joined)}"]
            else:
                sentences = [f"{link} {point}", why]
            if self._does("elaboration", 0.2) and self._does("variety", -0.3):
                sentences[-1] += self._pick((f", so {result}", f", and {result}", f", which is why {result}"))
            elif self._does("elaboration", 0.2):
                sentences.append(f"{self._link('result')} {result}")
        if self._does("elaboration", -0.3):
            sentences.append(f"{self._link('example')} {example}")
        return [self._say(sentence) for sentence in sentences]

    def _closing(self, claim: str, topic: str) -> list[str]:
        if not self._does("organization", 0.4):
            return []
        link = self._link("close") + " " if self.rng.random() < 0.3 else ""
        return [link + self._say(self._graded(phrases()["conclusions"], "organization"), claim=claim, topic=topic)]

    def _say(self, phrase: str, **fill: str) -> str:
        """Fill a phrase in and choose its wordings; then the surface habits that have nothing to do with quality."""
        text = phrase.format(**fill) if fill else phrase
        text = CHOICE.sub(lambda found: self._graded(found[1].split("|"), "vocabulary"), text).strip()
        if self.learner:
            text = ARTICLE.sub(lambda found: "" if self.rng.random() < ARTICLES_DROPPED else found[0], text)
        spelled = lambda found: BY_SOUND[found[2]] if found[2] else found[1] + "in"  # noqa: E731
        return SOUND.sub(lambda found: spelled(found) if self.rng.random() < self.dialect else found[0], text)

    def _finish(self, sentences: list[str]) -> list[str]:
        """Capitals, full stops and spelling, with as many slips as the writer's mechanics allow."""
        rate = min(0.25, 0.05 * math.exp(-self.ability["mechanics"]))
        slip = lambda weight: self.rng.random() < rate * weight  # noqa: E731
        finished, ended = [], True
        for sentence in sentences:
            sentence = NOT.sub(lambda found: found[1] + "nt" if slip(2) else found[0], sentence)
            words = [self._spell(word, rate) for word in sentence.split()]
            words = [word.rstrip(",") if slip(3) else "i" if word == "I" and slip(2) else word for word in words]
            if ended and not slip(1.5) or words[0] == "I":
                words[0] = words[0][0].upper() + words[0][1:]
            elif not ended:
                words[0] = words[0] if words[0] == "I" else words[0][0].lower() + words[0][1:]
            ended = not slip(1.5)
            finished.append(" ".join(words) + ("." if ended else self._pick(("", ",", " and"))))
        return finished if ended else [*finished[:-1], finished[-1].removesuffix(" and").removesuffix(",")]

    def _spell(self, word: str, rate: float) -> str:
        bank = phrases()["misspelled"]
        if word.lower() in bank:
            return self._pick(bank[word.lower()]) if self.rng.random() < rate else word
        if len(word) < 5 or not word.isalpha() or self.rng.random() >= 0.3 * rate:
            return word
        if word.endswith("s") and self.rng.random() < 0.5:
            return word[:-1]  # an ending lost: "student need"
        place = 1 + int(self.rng.random() * (len(word) - 3))
        here, after = word[place], word[place + 1]
        return word[:place] + self._pick((after + here, after, here * 2 + after)) + word[place + 2 :]

    def _link(self, place: str) -> str:
        plain, precise, learners = phrases()["connectives"][place]
        if self.learner and self.rng.random() < LEARNER_LINKS:
            return self._pick(learners)
        return self._graded([plain, precise], "organization")

    def _does(self, ability: str, ease: float, *, less: bool = False) -> bool:
        """True with probability Phi(ability + ease); with `less`, the weaker the likelier: Phi(-ability - ease)."""
        chance = NormalDist().cdf(self.ability[ability] + ease)
        return self.rng.random() < (1 - chance if less else chance)

    def _graded(self, options: list[Any], ability: str) -> Any:
        """An option from plain to precise, by ability with some play; where it is a list, one of the list."""
        place = NormalDist().cdf(self.ability[ability]) + 0.1 * self.rng.uniform(-1, 1)
        chosen = options[min(len(options) - 1, max(0, int(place * len(options))))]
        return chosen if isinstance(chosen, str) else self._pick(chosen)

    def _pick(self, options: Any) -> Any:
        return options[int(self.rng.random() * len(options))]


def _words(paragraphs: list[list[str]]) -> int:
    return sum(len(sentence.split()) for paragraph in paragraphs for sentence in paragraph)
