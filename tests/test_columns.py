"""Every column of every committed table is described, and nothing else is."""

import pandas as pd
import pytest
from conftest import CHECKOUT

from cyborg_utils.core.errors import CyborgError
from cyborg_utils.study import artefacts, columns

FILES = sorted(CHECKOUT.glob("results/*/tables/*.csv"))


def test_every_column_of_every_table_is_described_and_so_is_its_empty_cell():
    silent = []
    for file in FILES:
        table = pd.read_csv(file)
        for column in table:
            told = columns.entry(file.stem, column)
            if table[column].isna().any() and "empty" not in told:
                silent.append((file.stem, column))
    assert not silent


WAITING = {("table_teachers", "attempts")}  # of notebooks 09 and 11, which wait for ELLIPSE's next runs
WAITING |= {("table_scorers", name) for name in columns.dictionary()[1]["table_scorers"]}
# of notebook 14, where a person's file has sampling weights
WAITING |= {("table_audit_weighted", name) for name in columns.dictionary()[1]["table_audit_weighted"]}


def test_no_entry_is_unused():
    everywhere, tables = columns.dictionary()
    seen = {}
    for file in FILES:
        seen.setdefault(artefacts.artefact(file.stem)["name"], set()).update(map(columns.name, pd.read_csv(file, nrows=0)))
    there = {(t, c) for t in seen for c in seen[t]}
    assert {(table, column) for table in tables for column in tables[table]} - there == WAITING
    assert set(everywhere) <= {column for table, names in seen.items() for column in names - set(tables.get(table, {}))}


def test_an_entry_says_what_a_column_means_and_in_what_unit():
    everywhere, tables = columns.dictionary()
    for entries in (everywhere, *tables.values()):
        for column, told in entries.items():
            assert told["meaning"] and {"meaning", "unit"} <= set(told) <= {"meaning", "unit", "empty"}, column


def test_a_column_that_nobody_described_is_named():
    with pytest.raises(CyborgError, match=r"columns.yaml: no column 'new' of table_students"):
        columns.entry("table_students_u10_s1", "new")


def test_the_page_of_columns_is_current():
    assert (CHECKOUT / "docs" / "columns.md").read_text(encoding="utf-8") == columns.page()
