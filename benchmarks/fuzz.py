"""Does broken input ever get through, or end in an error that is not ours? `.venv/bin/python benchmarks/fuzz.py`.

A small invented file of every layout (and a study file) is damaged in one to three ways: bytes, cells, rows, columns, format,
settings. It must then load with every row accounted for and every untouched essay as it was, or raise CyborgError with a message
that names the place and a remedy. Anything else is a finding.

Case n of a seed is always the same (`--only N` runs it and shows it). Writes results/robustness/fuzz.csv (counts, after every
block), fuzz.md and fuzz.json (the record). A stopped run goes on where it was, `--fresh` begins anew.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import gzip
import importlib.util
import io
import json
import math
import os
import random
import re
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import yaml

from cyborg_utils.core import config
from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import corpora

HOME = Path(__file__).resolve().parent.parent
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BLOCK, SECONDS, LONGEST = 200, 20, 4_000  # cases saved at a time; processor seconds one may take; characters of a message
REMEDY = re.compile(
    r"\b(save|set|use|give|name|check|rename|mend|make|write|keep|take|remove|copy|download|needs?|must|may|has|have|there are|"
    r"knows?|is none of|is not one of|expected|unexpected|look in|see|stands? in|required)\b",
    re.IGNORECASE,
)


def _samples():
    """The invented files of the tests."""
    spec = importlib.util.spec_from_file_location("corpus_samples", HOME / "tests" / "corpus_samples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


samples = _samples()

# ---------------------------------------------------------------- what is damaged


@dataclass
class Line:
    """A row: its cells, and whether its essay must come out as it stands here."""

    cells: list[Any]
    whole: bool = True


@dataclass
class Table:
    """A table before it is a file."""

    header: list[str]
    lines: list[Line]
    id: str
    text: str
    score: str
    types: dict[str, str] = field(default_factory=dict)  # Parquet: a column's type, where it is not Arrow's own choice

    def at(self, name: str) -> int:
        return self.header.index(name)

    def spoil(self, keep: bool = False) -> None:
        """From here on no essay is promised to come out as it is."""
        for line in self.lines:
            line.whole = line.whole and keep


@dataclass
class Case:
    """One damaged input: the file (or none), how it is read, and what is known of it."""

    number: int
    loader: str
    settings: dict[str, Any]
    name: str = ""
    content: bytes = b""
    kinds: list[str] = field(default_factory=list)
    mutations: list[str] = field(default_factory=list)
    rows: int | None = None  # rows that are certainly in the file
    whole: dict[str, str] = field(default_factory=dict)  # id -> text of the essays that nothing has touched


def _asap2(count: int) -> list[dict[str, Any]]:
    rename = {"essay_id_comp": "essay_id", "holistic_essay_score": "score", "competition_set": "set"}
    return [{rename.get(name, name): value for name, value in row.items()} for row in samples.persuade(count)]


def _own(count: int) -> list[dict[str, Any]]:
    parts = ["train", "train", "train", "dev", "test"]
    return [{**row, "second": row["score"], "part": parts[i % 5], "topic": "T"} for i, row in enumerate(samples.own(count))]


PERSUADE_GROUPS = ["gender", "grade_level", "ell_status"]
OWN = {"id": "no", "text": "body", "second_score": "second", "split": "part", "prompt": "topic", "groups": {"gender": "sex"}}
LAYOUTS: dict[str, tuple[str, Callable[[int], list[dict[str, Any]]], tuple[str, str, str], dict[str, Any]]] = {
    "ellipse": (
        "given.csv",
        samples.ellipse,
        ("text_id_kaggle", "full_text", "Overall"),
        {"corpus": "ellipse", "scale": [1, 5, 0.5], "groups": ["gender", "economically_disadvantaged"]},
    ),
    "persuade, a row an essay": (
        "given.csv",
        samples.persuade,
        ("essay_id_comp", "full_text", "holistic_essay_score"),
        {"corpus": "persuade", "groups": PERSUADE_GROUPS, "test": 0},
    ),
    "persuade, a row an element": (
        "given.csv",
        lambda count: samples.discourse(samples.persuade(count), 3),
        ("essay_id_comp", "full_text", "holistic_essay_score"),
        {"corpus": "persuade", "groups": PERSUADE_GROUPS, "test": 0},
    ),
    "asap2": ("given.csv", _asap2, ("essay_id", "full_text", "score"), {"corpus": "asap2", "groups": PERSUADE_GROUPS, "test": 0}),
    **{
        f"table, {kind}": (f"given.{kind}", _own, ("no", "body", "score"), {"corpus": "table", "groups": ["gender"]})
        for kind in ("csv", "tsv", "parquet", "jsonl")
    },
}
LOADERS = [*LAYOUTS, "simulated", "params"]

# ---------------------------------------------------------------- damage to cells, rows, columns

ESSAYS = [  # texts that must come out as they went in
    'He said "no", then "yes".',
    "One line\nanother\n\nand a third",
    'A quote " alone, a comma, a;semicolon\tand a tab',
    "'single' and ''double'' and \"\"\"three\"\"\"",
    "مرحبا بالعالم، هذا مقال قصير",
    "שלום עולם, זהו חיבור קצר",
    "👩‍👩‍👧‍👦 family 🇫🇷 flag 👍🏽 thumbs",
    "café naïve Ærøskøbing Straße",
    "中文作文没有空格",
    "zero\u200bwidth and \u202eoverride\u202c marks",
    "a\u2028line\u2029separator\x85next",
    '=HYPERLINK("http://x") +1 -1 @sum',
    "word " * 40_000,  # 200,000 characters
    "x" * 200_000,
    '\\n is no newline, \\" no quote, %s {0} {essay} $HOME `id`',
]
NASTY = [  # cells that a spreadsheet, a script or a person leaves behind
    "", " ", "\t", "NA", "NaN", "nan", "null", "None", "-", "?", "#N/A", "#REF!", "#VALUE!", "#######",
    "1.23E+11", "1.99E+11", "1,99E+11", "2024-01-02", "02/01/2024", "Jan-02", "44927", "1:30", "TRUE", "0", "-1", "7", "99",
    "3.0", "3,0", "3.5", " 3 ", "3.0000000001", "1e400", "-inf", "inf", "0x3", "1_0", "３", "Ⅲ", "three", "1e-320", "9" * 400,
    "\ufeff3", "a\0b", "\x1a", "\x1b[31m", "\u202e", "é", "👍", "'", '"', '""', ",", ";", "a\nb", "a\r\nb", "a\rb",
    "../../etc/passwd", "<script>alert(1)</script>", "{{7*7}}", "x" * 200_000,
]  # fmt: skip
TYPED = [True, False, 0, 3, 3.0, 3.5, -0.0, math.nan, math.inf, -math.inf, 10**30, 10**400, None, [], [3], {}, {"a": 1}]


def _line(rng: random.Random, table: Table) -> Line:
    return rng.choice(table.lines)


def cell_nasty(rng, table):
    line = _line(rng, table)
    line.cells[rng.randrange(len(line.cells))], line.whole = rng.choice(NASTY), False


def cell_of_a_used_column(rng, table):
    line = _line(rng, table)
    line.cells[table.at(rng.choice([table.id, table.text, table.score]))], line.whole = rng.choice(NASTY), False


def cell_typed(rng, table):
    """A value that is no text: JSON Lines keeps it, the other formats write it out."""
    line = _line(rng, table)
    line.cells[rng.randrange(len(line.cells))], line.whole = rng.choice(TYPED), False


def cell_essay(rng, table):
    line = _line(rng, table)
    line.cells[table.at(table.text)] = rng.choice(ESSAYS)
    line.whole = True  # an unusual essay is an essay


def cell_damaged_ids(rng, table):
    """A spreadsheet has rounded some of the ids."""
    for line in rng.sample(table.lines, rng.randint(1, len(table.lines))):
        line.cells[table.at(table.id)], line.whole = f"1.{rng.randint(0, 99):02d}E+11", False


def cells_swapped(rng, table):
    line = _line(rng, table)
    rng.shuffle(line.cells)
    line.whole = False


def cells_of_a_column(rng, table):
    at, value = rng.randrange(len(table.header)), rng.choice(NASTY)
    for line in table.lines:
        line.cells[at] = value
    table.spoil()


def score_one_class(rng, table):
    value = rng.choice(["1", "3", "5"])
    for line in table.lines:
        line.cells[table.at(table.score)] = value


def cells_missing(rng, table):
    """A tenth of a column is empty."""
    at = rng.randrange(len(table.header))
    for line in table.lines:
        if rng.random() < 0.1:
            line.cells[at], line.whole = rng.choice(["", "NA", None]), False


def row_deleted(rng, table):
    if len(table.lines) > 1:
        table.lines.pop(rng.randrange(len(table.lines)))


def rows_few(rng, table):
    table.lines = table.lines[: rng.randint(1, 6)]


def row_twice(rng, table):
    table.lines.insert(rng.randrange(len(table.lines) + 1), copy.deepcopy(_line(rng, table)))


def row_twice_otherwise(rng, table):
    """The same id with another text."""
    line = copy.deepcopy(_line(rng, table))
    line.cells[table.at(table.text)], line.whole = samples.text(rng.randint(900, 999)), False
    own = line.cells[table.at(table.id)]
    for other in table.lines:
        other.whole = other.whole and other.cells[table.at(table.id)] != own
    table.lines.append(line)


def rows_shuffled(rng, table):
    rng.shuffle(table.lines)


def row_short(rng, table):
    line = _line(rng, table)
    line.cells, line.whole = line.cells[: rng.randrange(1, len(line.cells))], False  # none at all is no row


def row_long(rng, table):
    line = _line(rng, table)
    line.cells, line.whole = [*line.cells, rng.choice(NASTY)], False


def row_empty(rng, table):
    table.lines.insert(rng.randrange(len(table.lines) + 1), Line([""] * len(table.header), False))


def row_of_header(rng, table):
    table.lines.insert(rng.randrange(len(table.lines) + 1), Line(list(table.header), False))


def _move(table: Table, order: list[int]) -> None:
    table.header = [table.header[at] for at in order]
    for line in table.lines:
        line.cells = [line.cells[at] if at < len(line.cells) else "" for at in order]


def column_deleted(rng, table):
    gone = rng.randrange(len(table.header))
    _move(table, [at for at in range(len(table.header)) if at != gone])
    table.spoil()


def column_twice(rng, table):
    at = rng.randrange(len(table.header))
    _move(table, [*range(len(table.header)), at])
    table.spoil()


def columns_reordered(rng, table):
    _move(table, rng.sample(range(len(table.header)), len(table.header)))


def column_renamed(rng, table):
    at = rng.randrange(len(table.header))
    name = table.header[at]
    new = [name.upper(), f" {name} ", f"\ufeff{name}", "", name + "_x", rng.choice(NASTY)[:60], f'"{name}"']
    table.header[at] = rng.choice(new)
    table.spoil()


def column_added(rng, table):
    table.header.append("remark")
    for line in table.lines:
        line.cells.append(rng.choice(NASTY[:60]))


def column_type(rng, table):
    """A type that nobody would choose; other formats than Parquet have none."""
    kinds = ["binary", "large_string", "string_view", "float32", "int8", "date32", "timestamp[ns]", "duration[s]", "bool"]
    table.types[rng.choice(table.header)] = rng.choice(kinds)
    table.spoil()


ON_TABLES = {
    "cells": [cell_nasty, cell_of_a_used_column, cell_typed, cell_essay, cell_damaged_ids, cells_swapped, cells_of_a_column]
    + [score_one_class, cells_missing],
    "rows": [row_deleted, rows_few, row_twice, row_twice_otherwise, rows_shuffled, row_short, row_long, row_empty, row_of_header],
    "columns": [column_deleted, column_twice, columns_reordered, column_renamed, column_added, column_type],
}

# ---------------------------------------------------------------- damage to bytes


def _place(rng: random.Random, content: bytes) -> int:
    return rng.randrange(len(content) + 1)


def bytes_cut(rng, content):
    return content[: _place(rng, content)]


def bytes_flipped(rng, content):
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 30])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def bytes_inserted(rng, content):
    at = _place(rng, content)
    piece = rng.choice(
        [b"\0", b'"', b"\n", b"\r", b",", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1a", b"\\", b"'"]
    )
    return content[:at] + piece * rng.choice([1, 1, 2, 50]) + content[at:]


def bytes_random(rng, content):
    at = _place(rng, content)
    return content[:at] + rng.randbytes(rng.choice([1, 8, 200])) + content[at:]


def bytes_removed(rng, content):
    at = _place(rng, content)
    return content[:at] + content[at + rng.choice([1, 5, 200]) :]


def bytes_repeated(rng, content):
    at = _place(rng, content)
    return content[:at] + content[at : at + rng.choice([1, 20, 400])] + content[at:]


def quote_removed(rng, content):
    found = [at for at, byte in enumerate(content) if byte == 34]
    at = rng.choice(found) if found else 0
    return content[:at] + content[at + 1 :]


def line_ends(rng, content):
    return content.replace(b"\r\n", b"\n").replace(b"\n", rng.choice([b"\r", b"\r\n", b"\n\n", b"\n\r"]))


def lines_moved(rng, content):
    lines = content.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def nothing_left(rng, content):
    return rng.choice([b"", b"\n", b" ", b"\0", b"\xef\xbb\xbf", content[:1], content.split(b"\n")[0]])


def other_encoding(rng, content):
    text = content.decode("utf-8", "replace")
    code = rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "cp1252", "utf-7", "cp037"])
    return text.encode(code, "replace")


def other_file(rng, content):
    page = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"
    return rng.choice([gzip.compress(content, mtime=0), b"PK\x03\x04" + content, page, b"version https://git-lfs\noid x\n"])


ON_BYTES = [bytes_cut, bytes_flipped, bytes_inserted, bytes_random, bytes_removed, bytes_repeated, quote_removed, line_ends]
ON_BYTES += [lines_moved, nothing_left, other_encoding, other_file]

# ---------------------------------------------------------------- damage to settings

ODD = [None, "", " ", 0, -1, 3, 1.5, 1e300, math.nan, math.inf, True, [], {}, [1], ["a", "a"], {"a": None}, {1: 2}, "x" * 5_000]
ODD += [
    "a\0b",
    "../../x",
    "/etc/passwd",
    "~nobody-at-all/x",
    "é",
    "`id`",
    "$(id)",
    "a; b",
    "utf-16",
    "nan",
    10**400,
    [[]],
    [None],
]
SCALES = [[1, 2, 1], [0, 1, 1], [0, 60, 1], [1, 7, 0.1], [1, 6, 0.5], [1, 6, 0.7], [6, 1, 1], [1, 1, 1], [math.nan, 6, 1]]
SCALES += [[1, math.inf, 1], [1, 6, math.nan], [1, 6, 1e-9], [1, 6, 1e-320], [-1e308, 1e308, 1], [10**400, 6, 1], [1, 6, 0]]


def setting_scale(rng, case):
    case.settings["scale"] = rng.choice(SCALES)


def setting_groups(rng, case):
    case.settings["groups"] = rng.choice([[], ["nothing"], ["gender"], ["gender", "nothing"], [""], ["é" * 300]])


def setting_sizes(rng, case):
    sizes = [0, 0.001, 0.1, 0.5, 0.999, 1, 2, 2.5, 10, 1e9, 1e300, math.nan, math.inf]
    case.settings[rng.choice(["dev", "test"])] = rng.choice(sizes)


def setting_score(rng, case):
    case.settings["score"] = rng.choice(["", "nothing", "full_text", "body", "Overall", "Grammar", "no", "\0"])


def option_odd(rng, case):
    options = case.settings["options"]
    names = [*options, "encoding", "delimiter", "traits", "files", "assignment", "essays", "seed", "colour", "rubric", 1]
    options[rng.choice(names)] = rng.choice(ODD)


def option_gone(rng, case):
    options = case.settings["options"]
    if options:
        del options[rng.choice(list(options))]


def option_delimiter(rng, case):
    case.settings["options"]["delimiter"] = rng.choice([";", "|", "\t", " ", "ab", '"', "\n", "\r", "\0", "é", "👍", "a"])


def option_encoding(rng, case):
    codes = [
        "utf-8",
        "utf-8-sig",
        "latin-1",
        "cp1252",
        "utf-16",
        "utf-16-le",
        "utf-32",
        "utf-7",
        "ascii",
        "nope",
        "rot13",
        "base64",
    ]
    case.settings["options"]["encoding"] = rng.choice(
        [*codes, "idna", "punycode", "unicode_escape", "a\0b", "\udcff", "undefined"]
    )


def option_files(rng, case):
    file = case.settings["options"].pop("file", case.name)
    case.settings["options"]["files"] = rng.choice([[file], [file, file], [], [file, "nothing.csv"], file, [1], [None], [[file]]])


ON_SETTINGS = [setting_scale, setting_groups, setting_sizes, setting_score, option_odd, option_gone, option_files]
ON_FILES_SETTINGS = [*ON_SETTINGS, option_delimiter, option_encoding]

# ---------------------------------------------------------------- damage to study files

YAML_LINES = [
    "title: again",
    "runs: [{fraction: 0.5, seeds: [1]}]",
    "evil: !!python/object/apply:os.system ['true']",
    "when: 2024-13-45",
    "title: 2024-01-02",
    "number: !!int abc",
    "flag: !!bool perhaps",
    "date: !!timestamp soon",
    "big: " + "9" * 5_000,
    "deep: " + "[" * 3_000,
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e]\n"
    "g: &g [*f, *f, *f, *f, *f, *f, *f, *f]\nh: &h [*g, *g, *g, *g, *g, *g, *g, *g]",
    "me: &me [*me, *me]",
    "<<: 3",
    "? [a, b]\n: c",
    "- a list",
    "\tkey: tab",
    "key: 'open",
    "key: @x",
    "%YAML 9.9",
    "---\nsecond: document",
    "prepare_data: {corpus: table}",
    "x" * 5_000 + ": 1",
]


def yaml_line(rng, content):
    lines = content.split(b"\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(YAML_LINES).encode())
    return b"\n".join(lines)


def yaml_line_twice(rng, content):
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    return b"\n".join([*lines[: at + 1], *lines[at:]])


def yaml_line_gone(rng, content):
    lines = content.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def yaml_indent(rng, content):
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = rng.choice([b" " + lines[at], b"\t" + lines[at], lines[at].lstrip()])
    return b"\n".join(lines)


def _walk(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a YAML tree."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _walk(value[key])


def _changed(rng: random.Random, content: bytes, change: Callable[[Any, Any], None]) -> bytes:
    """A study file with one place of its tree changed; the bytes as they are where they are no tree any more."""
    try:
        tree = yaml.load(content, Loader=FAST)
        places = list(_walk(tree))
        change(*rng.choice(places))
        return yaml.dump(tree, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, allow_unicode=True).encode()
    except Exception:  # an earlier damage has made it unreadable
        return content


def yaml_value(rng, content):
    return _changed(rng, content, lambda where, key: where.__setitem__(key, rng.choice(ODD)))


def yaml_key(rng, content):
    def rename(where, key):
        if isinstance(where, dict):
            where[rng.choice(["x", 1, None, "é", str(key).upper()])] = where.pop(key)

    return _changed(rng, content, rename)


def yaml_deleted(rng, content):
    return _changed(rng, content, lambda where, key: where.__delitem__(key))


def yaml_number(rng, content):
    """Another number where a number stands: a whole one as 3.0, a huge one, none."""
    odd = [0, -1, 1.0, 3.0, 0.5, 1e300, math.nan, math.inf, -math.inf, 10**400, 2**32, 2**63, "2e-5", True]

    def change(where, key):
        if isinstance(where[key], (int, float)):
            where[key] = rng.choice(odd)

    return _changed(rng, content, change)


ON_YAML = [yaml_line, yaml_line_twice, yaml_line_gone, yaml_indent, yaml_value, yaml_value, yaml_key, yaml_deleted, yaml_number]
ON_YAML += [yaml_number]

# ---------------------------------------------------------------- making a case


def written(table: Table, name: str, rng: random.Random) -> bytes:
    """The table as a file of the kind that its name says."""
    if name.endswith((".csv", ".tsv")):
        text = io.StringIO()
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        if any("\r" in str(cell) for line in table.lines for cell in line.cells):  # Python before 3.13 forgets to quote it
            quoting = csv.QUOTE_ALL
        ends = rng.choice(["\n", "\r\n"])
        writer = csv.writer(text, delimiter="," if name.endswith("csv") else "\t", quoting=quoting, lineterminator=ends)
        writer.writerows([table.header, *(line.cells for line in table.lines)])
        return text.getvalue().encode("utf-8", "surrogatepass")
    rows = [line.cells[: len(table.header)] for line in table.lines]
    if name.endswith("jsonl"):
        pairs = [zip(table.header, row, strict=False) for row in rows]
        objects = [", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in row) for row in pairs]
        return "\n".join(f"{{{inside}}}" for inside in objects).encode() + b"\n"
    columns = [[row[at] if at < len(row) else None for row in rows] for at in range(len(table.header))]
    file = io.BytesIO()
    arrays = [_array(cells, table.types.get(name)) for name, cells in zip(table.header, columns, strict=True)]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=table.header), file)
    return file.getvalue()


def _array(cells: list[Any], kind: str | None) -> pyarrow.Array:
    """A column of a type, or as Arrow makes of it, or as text: whichever holds these cells."""
    texts = pyarrow.array([None if cell is None else str(cell) for cell in cells], pyarrow.string())
    for given in (lambda: pyarrow.array(cells).cast(kind, safe=False), lambda: pyarrow.array(cells)):
        with contextlib.suppress(pyarrow.ArrowException, OverflowError, TypeError, ValueError):
            return given()
    return texts


def _known(case: Case, table: Table) -> None:
    """Note what must come out: the rows, and the untouched essays whose id is theirs alone."""
    ids = [str(line.cells[table.at(table.id)]).strip() if table.id in table.header else "" for line in table.lines if line.whole]
    texts = [line.cells[table.at(table.text)] for line in table.lines if line.whole and ids]
    filled = [line for line in table.lines if any(str(cell or "").strip() for cell in line.cells)]
    case.rows = len(filled if case.name.endswith("sv") else table.lines)  # blank rows of a spreadsheet are no rows
    seen = {}
    for name, text in zip(ids, texts, strict=True):
        seen.setdefault(name, set()).add(text)
    case.whole = {name: next(iter(of)).strip() for name, of in seen.items() if len(of) == 1}


def make(number: int, seed: int = 1) -> Case:
    """Case `number` of a seed, always the same."""
    rng = random.Random(f"fuzz/{seed}/{number}")
    loader = LOADERS[number % len(LOADERS)]
    if loader == "params":
        return _study(rng, number)
    if loader == "simulated":
        options = {"essays": rng.randint(5, 25), "seed": rng.randint(1, 9)}
        case = Case(number, loader, samples.settings("simulated", options=options))
        _change_settings(
            rng, case, rng.choice([1, 1, 2]), [setting_scale, setting_groups, setting_sizes, option_odd, option_gone]
        )
        return case
    name, rows, (own, text, score), changes = LAYOUTS[loader]
    rows = rows(rng.choice([20, 30, 60]))
    settings = samples.settings(**{"score": score, "options": {"file": name}, **copy.deepcopy(changes)})
    if settings["corpus"] == "table":
        settings["options"] |= copy.deepcopy(OWN)
        settings["test"] = rng.choice([0.2, 0])
        settings["dev"] = 0 if settings["test"] == 0 else 0.1
    case = Case(number, loader, settings, name)
    table = Table(list(rows[0]), [Line(list(row.values())) for row in rows], own, text, score)
    kinds = rng.choices(["cells", "rows", "columns", "bytes", "settings"], [4, 2, 2, 4, 2], k=rng.choice([1, 1, 2, 3]))
    for kind in [kind for kind in kinds if kind in ON_TABLES]:
        fitting = [one for one in ON_TABLES[kind] if {table.id, table.text, table.score} <= set(table.header)]
        if fitting and table.lines and all(len(line.cells) == len(table.header) for line in table.lines):
            _note(case, kind, one := rng.choice(fitting))
            one(rng, table)
    _known(case, table)
    case.content = written(table, name, rng)
    _change_settings(rng, case, kinds.count("settings"), ON_FILES_SETTINGS)
    for _ in range(kinds.count("bytes")):
        _note(case, "bytes", one := rng.choice(ON_BYTES))
        case.content, case.rows, case.whole = one(rng, case.content), None, {}
    return case


def _study(rng: random.Random, number: int) -> Case:
    sources = sorted(name for name in config.profiles() if name in ("asap2", "demo", "ellipse", "persuade", "smoke"))
    case = Case(number, "params", {}, "try.yaml", _source(rng.choice(sources)))
    for _ in range(rng.choice([1, 1, 2, 3])):
        _note(case, kind := rng.choice(["yaml", "yaml", "bytes"]), one := rng.choice(ON_YAML if kind == "yaml" else ON_BYTES))
        case.content = one(rng, case.content)
    return case


@cache
def _source(profile: str) -> bytes:
    return (HOME / "params" / f"{profile}.yaml").read_bytes()


def _change_settings(rng: random.Random, case: Case, count: int, mutators: list) -> None:
    for _ in range(count):
        _note(case, "settings", one := rng.choice(mutators))
        one(rng, case)
        case.rows, case.whole = None, {}


def _note(case: Case, kind: str, mutator: Callable) -> None:
    case.kinds.append(kind)
    case.mutations.append(mutator.__name__)


# ---------------------------------------------------------------- judging it


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(*_):
        raise TimeoutError(f"not done after {seconds} s of the processor")  # a busy machine is no finding

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge(case: Case, folder: Path) -> tuple[str, str]:
    """What became of a case: "loaded whole", "loaded, rows listed", "refused", or "finding: ..." with the details."""
    if case.name:
        (folder / case.name).write_bytes(case.content)
    os.environ["CYBORG_DATA_DIR"] = str(folder)
    try:
        with _within(SECONDS):
            if case.loader == "params":
                wrong = _study_problems(config.load(str(folder / case.name)))
                outcome = "loaded whole"
            else:
                prepared = corpora.build(copy.deepcopy(case.settings))
                wrong = _loss(prepared, case)
                outcome = "loaded, rows listed" if prepared.counts["excluded"] else "loaded whole"
    except CyborgError as error:
        wrong, outcome = _message_problems(str(error), case), "refused"
    except Exception as error:  # what this is about
        return f"finding: {type(error).__name__}", traceback.format_exc(limit=-6)
    return ("finding: " + wrong[0], "; ".join(wrong)) if wrong else (outcome, "")


def _loss(prepared: corpora.Prepared, case: Case) -> list[str]:
    """What is not accounted for."""
    counts, listed, wrong = prepared.counts, prepared.exclusions, []
    if counts["rows_read"] != counts["essays"] + counts["excluded"] + counts["repeated"]:
        wrong.append(f"rows are lost ({counts})")
    if counts["essays"] != len(prepared.dataset) or counts["excluded"] != len(listed):
        wrong.append(f"counts are not those of the data ({counts})")
    if case.rows is not None and counts["rows_read"] != case.rows:
        wrong.append(f"{case.rows} rows were written, {counts['rows_read']} read")
    for row in listed.itertuples():
        if not (row.file and row.row > 0 and row.column and row.reason):
            wrong.append(f"an exclusion without its place ({row})")
    found = dict(zip(prepared.dataset["essay_id"], prepared.dataset["text"], strict=True))
    gone = set(listed["essay_id"])
    for name, text in case.whole.items():
        if found.get(name) != text and name not in gone:
            wrong.append(f"essay {name} is {'another text' if name in found else 'gone'}")
    try:
        listed.to_csv(index=False).encode()
    except UnicodeEncodeError:
        wrong.append("an exclusion that cannot be written to a file")
    return wrong


def _study_problems(study: config.Study) -> list[str]:
    """What no study that loads may hold."""
    wrong = [f"run {run.name}" for run in study.runs if not re.fullmatch(r"u[\d.]+_s\d+", run.name)]
    numbers = [where[key] for where, key in _walk(dict(study.sections)) if isinstance(where[key], float)]
    return wrong + ["a number that is none"] * (not all(map(math.isfinite, numbers)))


def _message_problems(message: str, case: Case) -> list[str]:
    """A message names the place, says what to do, is short, and quotes no essay."""
    place = (
        re.escape(case.name)
        if case.loader == "params"
        else r"prepare_data|scale|[\w. ()-]+\.(csv|tsv|parquet|jsonl)|no such file"
    )
    wrong = []
    if not re.search(place, message):
        wrong.append("a message without its place")
    if not REMEDY.search(message):
        wrong.append("a message without a remedy")
    if len(message) > LONGEST:
        wrong.append("a message too long to read")
    if any(text in message for text in re.findall(r"Text \d+: [a-z ]{60}", case.content.decode("utf-8", "replace"))):
        wrong.append("a message that quotes an essay")
    return wrong


# ---------------------------------------------------------------- many of them

COLUMNS = ["loader", "damage", "outcome", "cases"]
GOOD = {"loaded whole", "loaded, rows listed", "refused"}


def block(start: int, count: int, seed: int, folder: Path, *, told: Callable[[str], None] = print) -> pd.DataFrame:
    """Counts by loader, kind of damage and outcome of `count` cases from number `start` on."""
    rows = []
    for number in range(start, start + count):
        case = make(number, seed)
        outcome, details = judge(case, folder)
        if details:
            told(f"case {number} ({case.loader}; {', '.join(case.mutations)}): {outcome}\n{details}")
        kinds = sorted(set(case.kinds))
        rows.append((case.loader, kinds[0] if len(kinds) == 1 else "several" if kinds else "none", outcome, 1))
    return pd.DataFrame(rows, columns=COLUMNS).groupby(COLUMNS[:3], as_index=False)["cases"].sum()


def summary(counts: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row a loader or kind of damage, a column an outcome, and all of them."""
    wide = counts.pivot_table(index=by, columns="outcome", values="cases", aggfunc="sum", fill_value=0)
    for name in ("loaded whole", "loaded, rows listed", "refused"):
        wide[name] = wide.get(name, 0)
    wide["findings"] = wide[[name for name in wide if name.startswith("finding")]].sum(axis=1)
    order = [name for name in LOADERS if name in wide.index] if by == "loader" else sorted(wide.index)
    wide = wide.loc[order, ["loaded whole", "loaded, rows listed", "refused", "findings"]].rename_axis(columns=None)
    wide.loc["all"] = wide.sum()
    return wide.assign(cases=wide.sum(axis=1)).rename_axis(by).reset_index()


def write(folder: Path, counts: pd.DataFrame, seed: int, seconds: float) -> None:
    """fuzz.md and fuzz.json beside fuzz.csv."""
    from cyborg_utils.core import provenance
    from cyborg_utils.study import artefacts

    total, found = int(counts["cases"].sum()), int(counts.loc[counts["outcome"].str.startswith("finding"), "cases"].sum())
    head = (
        f"{total:,} damaged inputs (seed {seed}). Each must load with every row accounted for and every untouched essay as it "
        f"was, or be refused with a message that names its place and a remedy. Findings (anything else): {found}."
    )
    tables = [summary(counts, by).to_markdown(index=False) for by in ("loader", "damage")]
    artefacts.write(folder / "fuzz.md", "\n\n".join([head, *tables]) + "\n")
    settings = {"cases": total, "seed": seed, "processor_seconds_a_case": SECONDS}
    measured = {"findings": found, "seconds": round(seconds, 1), "outcomes": counts.groupby("outcome")["cases"].sum().to_dict()}
    measured["packages"] = {"pyarrow": pyarrow.__version__, "pyyaml": yaml.__version__}
    provenance.write_json(folder / "fuzz.json", provenance.record(settings, measured=measured))


def main() -> None:
    import time

    from tqdm import tqdm

    from cyborg_utils.core import paths
    from cyborg_utils.study import artefacts

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run and show this one case")
    parser.add_argument("--fresh", action="store_true", help="forget earlier cases")
    parser.add_argument("--folder", type=Path, default=paths.results("robustness"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as room:
        if options.only is not None:
            case = make(options.only, options.seed)
            print(case.loader, case.mutations, case.settings, case.content[:2000], sep="\n")
            print(*judge(case, Path(room)), sep="\n")
            return
        file, clock = options.folder / "fuzz.csv", options.folder / "seconds.txt"
        known = file.is_file() and not options.fresh
        counts = pd.read_csv(file) if known else pd.DataFrame(columns=COLUMNS).astype({"cases": int})
        seconds = float(clock.read_text()) if known and clock.is_file() else 0.0
        with tqdm(total=options.cases, initial=int(counts["cases"].sum()), unit=" cases", mininterval=1) as bar:
            for start in range(int(counts["cases"].sum()), options.cases, BLOCK):
                began, size = time.monotonic(), min(BLOCK, options.cases - start)
                both = pd.concat([counts, block(start, size, options.seed, Path(room), told=bar.write)])
                counts = both.groupby(COLUMNS[:3], as_index=False)["cases"].sum()
                seconds += time.monotonic() - began
                artefacts.write(clock, f"{seconds:.1f}\n")
                artefacts.write(file, counts.to_csv(index=False, lineterminator="\n"))
                bar.update(size)
        write(options.folder, counts, options.seed, seconds)
        clock.unlink(missing_ok=True)
        print((options.folder / "fuzz.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
