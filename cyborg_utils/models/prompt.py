"""The Teacher's chat prompt for an essay, as token ids (the paper's Figure 1), and a single-token answer for each level.

The template is `prompts/teacher.txt` (system message, `---`, user message), the rubric `prompts/<corpus>[_<trait>].txt`.
Essay and assignment are data: they are tokenised apart from the template, so that nothing in them can become a special
token or chat marker, and every prompt has the same tokens around them.

Several traits can be asked for at once. The prompt then ends in a line for each, `Cohesion: ?`, and a trait's answer is what the
model expects in place of its `?`. No line holds an answer, so that no trait's score can influence another's.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.core.scale import Scale
from cyborg_utils.data import files

FOLDER = Path(__file__).parent / "prompts"
DATE = "26 Jul 2024"  # for chat formats that name the day (Llama 3): the default of the older ones; the newer would name today
ANSWERS = "123456789" + string.ascii_uppercase + string.ascii_lowercase  # one token each in every tokenizer we know


def answers(scale: Scale) -> list[str]:
    """One character for each level, ascending: digits for up to nine levels (on a 1-6 scale the score itself), else letters.

    Digits and letters are never mixed, so that a "1" cannot mean level 1 and look like score 10.
    """
    symbols = ANSWERS[:9] if scale.size <= 9 else ANSWERS[9:]
    if scale.size > len(symbols):
        raise CyborgError(f"scale {scale}: at most {len(symbols)} levels can be answered with one character. Use a coarser step.")
    return list(symbols[: scale.size])


def rubric(corpus: str, score: str, options: dict[str, Any] | None = None) -> str:
    """The rubric's text: `options["rubric"]` (a file), else the corpus's own for this prompt set (`options["set"]`) or trait, the
    corpus's, or a generic one.

    With `score` "traits" it is the rubric of several traits at once.
    """
    if path := files.rubric(options or {}):
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CyborgError(f"{paths.shown(path)}: not readable as a rubric: {error}. Save it as UTF-8.") from error
    for name in (f"{corpus}_set{(options or {}).get('set')}", f"{corpus}_{score.lower()}", corpus, "generic"):
        if (FOLDER / f"{name}.txt").is_file():
            return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()
    raise CyborgError(f"{FOLDER.name}/generic.txt is missing: the installation is incomplete")


@dataclass(frozen=True)
class Prompt:
    """The filled template around an essay: `messages` for people to read, `encode` for the model's token ids."""

    rubric: str
    scale: Scale
    traits: tuple[str, ...] = ()  # none: one score for the whole essay
    chat: bool = True  # in the model's chat format, where it has one; False: the same words as plain text
    template: str = ""  # a file of prompts/ without its ending; "": teacher, or teacher_traits

    def messages(self, essay: str, assignment: str) -> list[dict[str, str]]:
        """Chat messages (system, user) with the essay in place."""
        pairs = list(zip(answers(self.scale), (f"{score:g}" for score in self.scale.scores), strict=True))
        same = all(answer == score for answer, score in pairs)  # on a 1-6 scale the answer is the score
        key = ", ".join(answer if same else f"{answer} = {score}" for answer, score in pairs)
        name = self.template or ("teacher_traits" if self.traits else "teacher")
        system, user = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip().split("\n---\n")
        fill = {"{rubric}": self.rubric, "{answers}": key, "{assignment}": assignment or "not given", "{essay}": essay}
        pattern = re.compile("|".join(map(re.escape, fill)))  # one pass: braces inside an essay stay as they are
        return [
            {"role": role, "content": pattern.sub(lambda hit: fill[hit.group()], text)}
            for role, text in (("system", system), ("user", user))
        ]

    def answer_ids(self, tokenizer) -> list[int]:
        """Token id of each level's answer, ascending; CyborgError where the tokenizer splits one."""
        ids = [tokenizer.encode(answer, add_special_tokens=False) for answer in answers(self.scale)]
        split = [answer for answer, tokens in zip(answers(self.scale), ids, strict=True) if len(tokens) != 1]
        if split or len({tokens[0] for tokens in ids}) < len(ids):
            raise CyborgError(
                f"this tokenizer has no single token for the answers {split}: choose another Teacher or a coarser scale"
            )
        return [tokens[0] for tokens in ids]

    def encode(
        self, tokenizer, essays: list[str], assignments: list[str], *, max_tokens: int
    ) -> tuple[list[list[int]], list[int]]:
        """Token ids of every prompt, and the number of tokens cut from each essay. The answer is a prompt's next token.

        An essay keeps its first `max_tokens` tokens. The rubric comes first and is the same for all, so that its part of the
        computation can be shared.
        """
        *_, after = self._ids(tokenizer)
        after += [token for name, rest in self._lines(tokenizer) for token in name + rest]
        prompts, cut = [], []
        for essay, head in zip(essays, self.heads(tokenizer, assignments, max_tokens=max_tokens), strict=True):
            ids = plain_ids(tokenizer, essay)
            cut.append(max(0, len(ids) - max_tokens))
            prompts.append(head + ids[:max_tokens] + after)
        return prompts, cut

    def heads(self, tokenizer, assignments: list[str], *, max_tokens: int) -> list[list[int]]:
        """Token ids of what stands before each essay: instructions, rubric, and the essay's assignment."""
        before, between, _ = self._ids(tokenizer)
        tasks = {task: plain_ids(tokenizer, task or "not given")[:max_tokens] for task in set(assignments)}
        return [before + tasks[task] + between for task in assignments]

    def reads(self, tokenizer) -> list[int]:
        """Where answers are read, in tokens before the prompt's last one: 0 for a single score, one place for each trait."""
        lines, behind, places = self._lines(tokenizer), 0, []
        for name, rest in reversed(lines):
            places.append(behind + len(rest))
            behind += len(name) + len(rest)
        return places[::-1] or [0]

    def _lines(self, tokenizer) -> list[tuple[list[int], list[int]]]:
        """Each trait's line as token ids, before its answer and from there on. The last line ends before its answer."""
        lines = [
            (tokenizer.encode(f"{name}: ", add_special_tokens=False), tokenizer.encode("?\n", add_special_tokens=False))
            for name in self.traits
        ]
        return [*lines[:-1], (lines[-1][0], [])] if lines else []

    def _ids(self, tokenizer) -> tuple[list[int], list[int], list[int]]:
        """`_frame` as token ids; plain text begins with the token with which the tokenizer begins every text, if it has one."""
        before, between, after = (tokenizer.encode(part, add_special_tokens=False) for part in self._frame(tokenizer))
        plain = tokenizer.chat_template is None or not self.chat
        begin = tokenizer.encode("a")[:1] if plain and tokenizer.bos_token_id is not None else []
        return (begin if begin == [tokenizer.bos_token_id] else []) + before, between, after

    def _frame(self, tokenizer) -> tuple[str, str, str]:
        """The chat text before the assignment, between assignment and essay, and after the essay."""
        task, essay = "ASSIGNMENT-STANDS-HERE", "ESSAY-STANDS-HERE"
        messages = self.messages(essay, task)
        if tokenizer.chat_template is None or not self.chat:  # a base model has no chat format
            text = "\n\n".join(message["content"] for message in messages) + " "
        else:
            options = {"tokenize": False, "add_generation_prompt": True, "date_string": DATE}
            text = tokenizer.apply_chat_template(messages, **options)
        before, rest = text.split(task)
        between, after = rest.split(essay)
        return before, between, after


def plain_ids(tokenizer, text: str) -> list[int]:
    """Token ids of a text, none of them an added or special token, whatever the text spells.

    `split_special_tokens` breaks up special tokens only, and some models add others (`<tool_call>`). Where the text spells an
    added token, the text is cut after the token's first character, and the pieces are encoded separately.
    """

    def encode(piece: str) -> list[int]:
        return tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=True)

    spelled = [
        token.content for token in tokenizer.added_tokens_decoder.values() if len(token.content) > 1 and token.content in text
    ]
    pattern = re.compile("|".join(map(re.escape, spelled)))
    ids, start = [], 0
    while spelled and (hit := pattern.search(text, start)):
        ids += encode(text[start : hit.start() + 1])
        start = hit.start() + 1
    return ids + encode(text[start:])
