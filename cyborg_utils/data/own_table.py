"""The corpus `table`: a user's own file(s), declared in YAML and read by `table.collect`.

prepare_data:
  corpus: table
  score: holistic                # name of the score column in the file
  options:
    file: my_essays.csv          # CSV, TSV, a workbook (.xlsx, .xls, .ods), Parquet or JSON; or `files: [a.csv, b.csv]`
    id: essay                    # may be left out where writer is given: essays are then named after their writer;
                                 # "": they are named after their row
    text: full_text
    second_score: rater_2        # from here on all may be left out
    raters: [rater_1, rater_2]   # several people's scores, in place of the column `score` and of second_score
    rater: person                # or: one row a rating, of the person named here; the essay stands in several rows
    combine: first               # how several people's scores become one: mean (default) or first
    adjudication: resolved       # a column whose score counts in their place, where it is filled
    prompt: topic
    assignment: task_text
    writer: student              # essays of one writer are kept in one split
    split: part                  # values train, dev (or validation), test; used where `test: 0`
    groups: {gender: sex}        # our name: its column
    traits: {grammar: gram}
    missing: ["", "NA"]          # words that mean "unknown" in a group column (default: empty, NA, N/A, NaN, None, null)
    labels: {A: 4, B: 3}         # scores that are words
    condition_codes: [BL, OT]    # words that say why there is no score; these essays are left out
    own_scale: [0, 100]          # the scores' own scale, or by prompt {1: [2, 12], 2: [0, 3]}: mapped linearly onto `scale`
    cuts: [50, 60, 70, 80, 90]   # or: the lowest score of each level of `scale` but the first
    near_duplicates: 0.7         # two texts with this share of word triples in common are kept in one split (0: not looked for)
    markup: strip                # HTML is taken out of the texts (default: keep)
    unscored: keep               # essays without a score are the pool that a model scores (default: exclude them);
                                 # any: so are those whose score cannot be used, such as a note in its place
    encoding: latin-1            # these six are found out where they are left out, and notebook 01 says what was found
    delimiter: ";"
    quoting: none                # none: quotation marks are ordinary characters; csv: they enclose cells
    decimal: ","
    sheet: Essays                # of a workbook
    header: 3                    # row of the column names
    rubric: my_rubric.txt        # what the Teacher is told about the scale
    sample: {train: 6000}        # at most so many training (and test) essays, drawn at random
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.data import files, table
from cyborg_utils.data.columns import Columns

COLUMNS = {*Columns.__dataclass_fields__} - {"score", "repeats", "mend", "only"}  # options that name columns
KNOWN = COLUMNS | files.ANY | {"file", "files", "missing", "labels", "markup", "unscored", *files.READING}
KNOWN |= {"combine", "condition_codes", "own_scale", "cuts", "near_duplicates"}
KINDS = {  # of an option's value, and its name; the others are text
    "groups": (dict, "a mapping"),
    "traits": (dict, "a mapping"),
    "labels": (dict, "a mapping"),
    "files": (list, "a list"),
    "missing": (list, "a list"),
    "raters": (list, "a list"),
    "condition_codes": (list, "a list"),
    "cuts": (list, "a list"),
    "own_scale": ((list, dict), "a list or a mapping"),
    "header": ((int, str), "the number of a row"),
    "near_duplicates": ((int, float), "a number"),
}


def sources(settings: dict[str, Any]) -> list[Path]:
    """The files that are read."""
    return files.named(settings.get("options", {}))


def read(settings: dict[str, Any]) -> table.Raw:
    """A user's own file(s), declared in `options`; raises CyborgError for an unknown or missing key, column or file."""
    options = settings.get("options", {})
    needed = {"text"} if "writer" in options else {"id", "text"}
    unknown, missing = sorted(set(options) - KNOWN, key=str), sorted(needed - set(options))
    if unknown or missing or ("file" in options) == ("files" in options):
        problem = f"unknown {files.listed(unknown)}" if unknown else f"missing {', '.join(missing) or 'file (or files)'}"
        raise CyborgError(
            f"prepare_data.options: {problem}. A table needs file, id, text; it may have {', '.join(sorted(KNOWN))}."
        )
    for key, value in options.items():
        kind, name = KINDS.get(key, (str, "a str"))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CyborgError(f"prepare_data.options.{key}: must be {name}, not {repr(value)[:60]}.")
        names = [*value, *value.values()] if key in ("groups", "traits") else value if key == "raters" else []
        names = [value] if key == "text" or key == "id" and not (value == "" and "file" in options) else names
        if not all(isinstance(name, str) and name for name in names):
            raise CyborgError(f"prepare_data.options.{key}: {repr(value)[:60]}: must give the name of a column, as text.")
    if clash := [key for key in ("second_score", "rater") if "raters" in options and options.get(key)]:
        raise CyborgError(f"prepare_data.options.raters: says the same as {clash[0]}. Give one of them.")
    roles = {key: value for key, value in options.items() if key in COLUMNS} | {"raters": tuple(options.get("raters", ()))}
    roles |= {} if settings["test"] == 0 else {"split": ""}  # a declared split counts where the params keep it: `test: 0`
    columns = Columns(**{"id": "", "score": settings["score"], **roles})
    return table.collect(sources(settings), columns, settings)
