"""Flags: every kind of bad essay that is claimed to be found, few false alarms, and no text kept."""

from __future__ import annotations

import json
from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyborg_utils.data import simulated
from cyborg_utils.extensions.attacks import texts
from cyborg_utils.extensions.scoring import advisory_flags

ESSAYS = list(simulated.essays(400, 11))
CORPUS = advisory_flags.Corpus.of([essay["text"] for essay in ESSAYS[:300]], [essay["assignment"] for essay in ESSAYS[:300]])


def flags(text: str, **options: object) -> set[str]:
    return set(CORPUS.flags(CORPUS.measure(text, **options)))


def test_essays_like_the_others_are_rarely_flagged():
    alarms = [bool(flags(essay["text"])) for essay in ESSAYS[300:]]
    assert sum(alarms) <= 8  # about 2 % are to be expected of 100


@pytest.mark.parametrize(
    "kind, flag, share",
    [
        ("its first 20 words", "too short", 1),
        ("three times over", "too long", 0.8),
        ("letters shuffled in every word", "unknown words", 1),
        ("in Spanish", "unknown words", 1),
        ("in German", "unknown words", 1),
        ("nothing but the prompt", "copied prompt", 1),
        ("the prompt, then half of the essay", "copied prompt", 0.9),
    ],
)
def test_bad_essays_are_found(kind, flag, share):
    make, rng = texts.corruptions(prompt=True)[kind], Random(1)
    found = [flag in flags(make(essay["text"], essay["assignment"], rng)) for essay in ESSAYS[300:]]
    assert sum(found) >= share * len(found)


def test_words_in_another_order_are_the_same_words():
    """What is not found is said not to be found; should this fail, mend the words of `unlike` and notebook 12."""
    make, rng = texts.corruptions(prompt=True)["words in random order"], Random(1)
    assert sum(bool(flags(make(essay["text"], "", rng))) for essay in ESSAYS[300:]) <= 8


def test_without_prompts_no_kind_needs_one_and_none_is_copied():
    assert len(texts.corruptions(prompt=False)) == len(texts.corruptions(prompt=True)) - 2
    bare = advisory_flags.Corpus.of([essay["text"] for essay in ESSAYS[:20]])
    assert not bare.runs and bare.measure(ESSAYS[0]["assignment"] * 3).copied == 0


def test_an_essays_own_prompt_can_be_given():
    task = "Describe a machine that nobody has built yet and explain to your neighbours who would be glad of it"
    text = task + ". " + ESSAYS[300]["text"]
    assert "copied prompt" not in flags(text) and "copied prompt" in flags(text, prompt=task)


def test_each_training_essay_is_looked_up_in_the_others():
    """A word of one essay alone is new in it, though it is in the vocabulary afterwards."""
    corpus = advisory_flags.Corpus.of(["common words here", "common words there", "common words everywhere"] * 1)
    assert corpus.unknown == pytest.approx(1 / 3) and corpus.measure("common words here").unknown == 0
    assert corpus.measure("common strange here").unknown == pytest.approx(1 / 3)


def test_case_accents_and_numbers_do_not_make_a_word_new():
    corpus = advisory_flags.Corpus.of(["We visited the café in 1999"] * 2)
    assert corpus.measure("WE VISITED the cafe\u0301, in 2024!").unknown == 0


def test_a_limit_as_it_is_told_is_never_the_flagged_length_itself():
    corpus = advisory_flags.Corpus.of(["word " * count for count in range(80, 140)])
    short, long = (corpus.flags(corpus.measure("word " * count)) for count in (80, 139))
    assert short == {"too short": "80 words, usual are 81 and more"} and long == {"too long": "139 words, usual are 138 at most"}


def test_a_cell_names_its_flags_and_nothing_of_the_essay():
    found = CORPUS.flags(CORPUS.measure("zyx wvu"), cut=0.25)
    assert advisory_flags.names(advisory_flags.as_text(found)) == list(found) == ["too short", "unknown words", "cut"]
    assert (
        advisory_flags.names("") == []
        and "zyx" not in advisory_flags.as_text(found)
        and "the last 25% is not read" in found["cut"]
    )


def test_what_is_kept_is_numbers_only():
    content = json.dumps(CORPUS.as_json())
    assert advisory_flags.Corpus.from_json(json.loads(content)) == CORPUS
    assert set(json.loads(content)) == {"essays", "shortest", "longest", "unknown", "copied", "words", "runs"}
    assert all(isinstance(number, int) for name in ("words", "runs") for number in json.loads(content)[name])


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_can_be_measured(text, prompt):
    found = CORPUS.measure(text, prompt)
    assert found.words >= 0 and 0 <= found.unknown <= 1 and 0 <= found.copied <= 1
    assert advisory_flags.names(advisory_flags.as_text(CORPUS.flags(found))) == list(CORPUS.flags(found))


def test_hits_and_false_alarms_of_every_kind():
    good = pd.DataFrame(ESSAYS[300:330])[["text", "assignment"]]
    good.loc[3, "assignment"] = None
    makers = {"cut to 20 words": lambda text, _, __: " ".join(text.split()[:20]), "shuffled": lambda text, _, rng: text}
    makers["task alone"] = lambda _, task, __: task * 9
    tried = advisory_flags.try_out(CORPUS, good, makers, seed=1)
    assert tried.columns.tolist() == ["kind", "words", "unknown", "copied", "flags"] and len(tried) == 4 * 30
    table = advisory_flags.rates(tried)
    assert table["essays"].tolist() == ["test essays", *makers] and (table["n"] == 30).all()
    rows = table.set_index("essays")
    assert rows.loc["cut to 20 words", ["flagged", "too short"]].tolist() == [1, 1]
    assert rows.loc["task alone", "copied prompt"] == pytest.approx(29 / 30)
    assert rows.loc["shuffled"].equals(rows.loc["test essays"].rename("shuffled"))
    assert advisory_flags.found_and_missed(table) == (["cut to 20 words", "task alone"], ["shuffled"])
    text = advisory_flags.hits_and_alarms(table, ["", "cut (the last 5% is not read)", "too short (2 words); cut (x)", ""])
    assert "of 30 test essays." in text and "**Found** (9 in 10 or more): cut to 20 words, task alone." in text
    assert "**Missed** (more than half): shuffled." in text and "50% of the test essays are marked `cut`" in text
    none = advisory_flags.hits_and_alarms(table.iloc[:1], [""])
    assert "more): nothing." in none and "half): nothing." in none
