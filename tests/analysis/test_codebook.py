"""The codebook has every column of every table, and none that no table has."""

import pandas as pd

from emoscale.analysis.codebook import Column, codebook
from emoscale.analysis.columns import COLUMNS

PLANNED = {"needed", "permuted_tests", "verdicts", "followers"}


def test_every_entry_is_complete():
    for name, columns in COLUMNS.items():
        for column, entry in columns.items():
            assert entry.meaning, (name, column)
            if column == "p" or column.endswith(("_p", "_corrected")) or column.startswith("p_") or column == "q":
                assert entry.test.startswith(("one-sided", "two-sided", "as ")), (name, column, entry.test)
            for text in (entry.meaning, entry.unit, entry.range, entry.test):
                assert not text.startswith(("=", "+", "-", "@")), (name, column, text)


def test_what_is_not_known_has_a_row_too():
    found = codebook({"mine": ("Of mine", {"a": Column("An a", "m", "0 to 1", "none")})}, {"mine": ["a", "b"]})
    assert found.to_dict("list") == {
        "table": ["mine", "mine", "mine"],
        "column": ["", "a", "b"],
        "meaning": ["Of mine", "An a", ""],
        "unit": ["", "m", ""],
        "range": ["", "0 to 1", ""],
        "test": ["", "none", ""],
    }
    assert isinstance(found, pd.DataFrame)
