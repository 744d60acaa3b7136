"""Preparing a corpus holds no text in memory, and gives, to the bit, what it gave when it held all of it."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import corpus_samples as samples
import pytest
from conftest import CHECKOUT

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora, sources, spool

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests")])}


def own(data: Path) -> dict:
    """Copies in other spelling, letters beyond ASCII, texts of signs only, bad rows, an id twice."""
    rows = samples.own(300)
    rows += [{"no": f"copy{i}", "body": rows[i]["body"].upper() + " !!", "score": 1 + i % 6, "sex": "F"} for i in range(40)]
    rows += [{"no": f"é{i}", "body": f"{letter} {samples.text(i)}", "score": 2, "sex": ""} for i, letter in enumerate("éßΩжñ字𝕏")]
    rows += [{"no": f"s{i}", "body": sign, "score": 3, "sex": "M"} for i, sign in enumerate(["?!", " ...  ", "?!", "…"])]
    rows += [{"no": "e1", "body": "again", "score": 3, "sex": "M"}, {"no": "bad", "body": " ", "score": 3, "sex": "M"}]
    samples.write_csv(data / "own.csv", rows)
    return samples.settings("table", groups=["gender"], options=samples.OWN | {"near_duplicates": 0})


def alike(data: Path) -> dict:
    """Texts that are the same for a long way: only their ends tell their order."""
    rows = samples.own(200)
    for i, row in enumerate(rows):
        row["body"] = (
            "The same beginning. " * (i % 7 * 20) + " ".join(f"word{(i * 37) % 11}" for _ in range(i % 5)) + f" end {i % 150}"
        )
    samples.write_csv(data / "own.csv", rows)
    return samples.settings("table", options={**samples.OWN, "groups": {}, "near_duplicates": 0}, dev=20, test=0.3)


def official(data: Path) -> dict:
    """A split of the corpus's own, and texts on both of its sides."""
    rows = samples.persuade(90)
    for i in range(12):
        rows[60 + i]["full_text"] = rows[i]["full_text"].upper()
        rows[75]["full_text"] = rows[74]["full_text"]
    samples.write_csv(data / "essays.csv", rows)
    groups = ["gender", "grade_level", "ell_status", "economically_disadvantaged"]
    options = {"file": "essays.csv"}
    return samples.settings("persuade", score="holistic_essay_score", groups=groups, test=0, dev=8, options=options)


def discourse(data: Path) -> dict:
    rows = samples.discourse(samples.persuade(50), elements=4)
    rows[5]["holistic_essay_score"] = 6
    samples.write_csv(data / "elements.csv", rows)
    options = {"file": "elements.csv"}
    return samples.settings("persuade", score="holistic_essay_score", groups=["gender"], options=options)


def learners(data: Path) -> dict:
    samples.write_csv(data / sources.ELLIPSE_TEST, samples.ellipse(120))
    groups = ["economically_disadvantaged", "grade_level"]
    return samples.settings("ellipse", scale=[1, 5, 0.5], score="Grammar", groups=groups)


# Of what commit 2a5eb66 prepared, which held every text in memory.
BEFORE = {
    "own": "cd02a4b4e4f48e44",
    "alike": "8be22ecda183335e",
    "official": "a1e0c6627531345a",
    "discourse": "8b5e861a19acb4c0",
    "learners": "b5fe860b7cdcb111",
}


LATER = ("were read as unknown", "of the official", "have a writer group")  # nothing was said of these then


def digest(settings: dict) -> str:
    """Of all prepared rows with their columns' types, and all that is said about them; drawn by score, as it was then."""
    prepared = corpora.build(settings | {"stratify": "score"})
    then = prepared.dataset.remove_columns("stratum")
    notes = [note for note in prepared.notes if not any(part in note for part in LATER)]
    content = [then[:], str(then.features), prepared.counts, notes]
    content += [prepared.exclusions.to_csv(), prepared.split.to_csv(), prepared.split.dtypes.astype(str).to_dict()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


@pytest.mark.parametrize("case", [own, alike, official, discourse, learners])
def test_the_prepared_essays_are_those_of_before(data, case):
    assert digest(case(data)) == BEFORE[case.__name__]


def test_texts_are_sorted_piece_by_piece_as_in_memory(data, monkeypatch):
    monkeypatch.setattr(spool, "SORTED", 3000)  # bytes of all: 16 of each
    monkeypatch.setattr(spool, "BATCH", 7)
    assert digest(alike(data)) == BEFORE["alike"]
    texts = ["b", "a" * 40, "a" * 40 + "b", "", "a" * 39, "b", "é" * 9, "z", "字" * 30 + "x", "字" * 30, "", "a" * 40]
    kept = spool.Store(str)
    for text in texts:
        kept.append({"text": text, "assignment": "", "essay_id": "x"})
    assert len(kept.frame()) == len(texts)
    assert kept.copies().tolist() == [sorted(set(texts)).index(text) for text in texts]


def test_no_more_than_a_batch_of_texts_is_in_memory_at_once(data, monkeypatch):
    monkeypatch.setattr(spool, "BATCH", 50)
    monkeypatch.setattr(spool, "LETTERS", 2000)
    sizes = []
    original = spool.Store.batches
    monkeypatch.setattr(spool.Store, "batches", lambda self: (sizes.append(len(part)) or part for part in original(self)))
    assert digest(own(data)) == BEFORE["own"]
    assert len(sizes) > 20 and max(sizes) < 50  # the letters are full before the rows are


def test_saving_links_what_is_ready_and_writes_what_was_changed(data):
    prepared = corpora.build(own(data))
    corpora.save(prepared.dataset, "mine")
    ready = Path(prepared.dataset.cache_files[0]["filename"])
    saved = paths.build("mine", "essays", corpora.ROWS)
    assert saved.samefile(ready) and corpora.load("mine")[:] == prepared.dataset[:]
    some = prepared.dataset.select(range(10))
    corpora.save(some, "mine")
    assert corpora.load("mine")[:] == prepared.dataset[:10] and not saved.samefile(ready)


@pytest.mark.slow
def test_nothing_is_left_behind_not_even_by_a_killed_process(data):
    preparing = paths.home() / "build" / ".preparing"
    call = "import os, test_corpora_stream as t; from pathlib import Path; kept = t.corpora.build(t.own(Path({!r}))); {}"
    for end, left in (("os.kill(os.getpid(), 9)", 1), ("pass", 0)):
        subprocess.run([sys.executable, "-c", call.format(str(data), end)], env=os.environ | ENVIRONMENT, check=False)
        assert len(list(preparing.iterdir())) == left
    with pytest.raises(CyborgError, match="training"):
        corpora.build({**own(data), "dev": 300, "test": 300})
    gc.collect()
    assert not list(preparing.iterdir())


PREPARE = """
import sys
from cyborg_utils.data import corpora
import corpus_samples as samples
prepared = corpora.build(samples.settings("table", options={**samples.OWN, "groups": {}}))
corpora.save(prepared.dataset, "mine")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_texts(data):
    """400 essays of 1,000 and of 100,000 letters: 40 MB of text more, less than 20 MB of memory more."""
    used = []
    for words in (200, 20_000):
        rows = ({"no": f"e{i}", "body": f"{i} " + "word " * words, "score": 1 + i % 6} for i in range(400))
        with (data / "own.csv").open("w", encoding="utf-8") as file:
            file.write("no,body,score\n")
            file.writelines(f"{row['no']},{row['body']},{row['score']}\n" for row in rows)
        done = subprocess.run([sys.executable, "-c", PREPARE], env=os.environ | ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        used.append(int(done.stdout.split()[-1]) / 1024)
    print(used)
    assert used[1] - used[0] < 20
