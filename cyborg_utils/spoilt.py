"""Essays made bad on purpose, to see which of them `unlike` finds. The foreign sentences were written for this project."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

FOREIGN = {
    "Spanish": [
        "Creo que los alumnos deberían elegir sus propias tareas.",
        "Cuando era pequeño, mi abuela me enseñó a escuchar antes de hablar.",
        "No siempre es fácil, pero el esfuerzo vale la pena.",
        "Muchas personas piensan lo contrario y tienen buenas razones.",
        "En mi ciudad hay una biblioteca donde cualquiera puede estudiar gratis.",
    ],
    "German": [
        "Meiner Meinung nach sollten Schüler ihre Aufgaben selbst wählen dürfen.",
        "Als ich klein war, hat mir meine Großmutter das Zuhören beigebracht.",
        "Es ist nicht immer leicht, aber die Mühe lohnt sich.",
        "Viele Leute denken anders und haben gute Gründe dafür.",
        "In unserer Stadt gibt es eine Bücherei, in der jeder umsonst lernen kann.",
    ],
}


def kinds(prompt: bool) -> dict[str, Callable[[str, str, Random], str]]:
    """Name -> a function of an essay, its prompt's text and a generator that gives the bad essay, as long as the good one.

    The last two need the text of the prompt and are left out without it.
    """
    made = {
        "its first 20 words": lambda text, _, __: " ".join(text.split()[:20]),
        "three times over": lambda text, _, __: " ".join([text] * 3),
        "letters shuffled in every word": _letters,
        **{f"in {name}": _foreign(sentences) for name, sentences in FOREIGN.items()},
        "words in random order": lambda text, _, rng: " ".join(rng.sample(text.split(), len(text.split()))),
    }
    copied = {
        "nothing but the prompt": lambda text, task, _: _fill([task], len(text.split())),
        "the prompt, then half of the essay": lambda text, task, _: task + " " + " ".join(text.split()[: len(text.split()) // 2]),
    }
    return made | (copied if prompt else {})


def _letters(text: str, _: str, rng: Random) -> str:
    return " ".join("".join(rng.sample(word, len(word))) for word in text.split())


def _foreign(sentences: list[str]) -> Callable[[str, str, Random], str]:
    return lambda text, _, rng: _fill(rng.sample(sentences, len(sentences)), len(text.split()))


def _fill(sentences: list[str], words: int) -> str:
    """Sentences over and over, up to so many words."""
    one = " ".join(sentences).split()
    return " ".join((one * (words // len(one) + 1))[:words])
