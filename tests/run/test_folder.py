"""Tables are written so that spreadsheets take no text for a formula, and read as they were written."""

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoscale.run.folder import RunFolder

HOSTILE = [
    '=HYPERLINK("http://x","y")',
    "+1",
    "-0.5",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1+1",
    "a\r=1",
    "'=1",
    "''-x",
    "'quoted'",
    "NA",
    "None",
    "1",
    "01",
    "True",
    'a,b;"c"',
    "-",
    "",
]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def cells(folder, name):
    with (folder.tables / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("kind", [object, "str", "category"])
def test_hostile_names_come_back_and_no_cell_is_a_formula(folder, kind):
    names = pd.Series(HOSTILE, dtype=object).astype(kind)
    values = np.linspace(-0.5, 0.5, len(HOSTILE))
    folder.write_table("mine", pd.DataFrame({"concept": names, "drop": values, "n": -1, "agrees": False}))
    _, *rows = cells(folder, "mine")
    for name, value, count, agrees in rows:
        assert not name.lstrip(" ").startswith(FORMULA)
        assert (float(value) < 0) == value.startswith("-")
        assert (count, agrees) == ("-1", "False")
    found = folder.table("mine")
    assert found["concept"].tolist() == HOSTILE
    np.testing.assert_array_equal(found["drop"], values)
    assert (found["n"].dtype, found["agrees"].dtype) == (np.int64, np.bool_)


def test_names_of_columns_come_back(folder):
    folder.write_table("rank", pd.DataFrame({"neuron": [0, 1], "=valence": [2.5, np.nan], "-x": [1, 2], "'=y": [3, 4]}))
    assert cells(folder, "rank")[0] == ["neuron", "'=valence", "'-x", "''=y"]
    assert list(folder.table("rank")) == ["neuron", "=valence", "-x", "'=y"]


def test_missing_numbers_stay_missing_and_missing_text_is_empty(folder):
    table = pd.DataFrame({"attribute": ["", None, "a"], "p": [np.nan, 0.5, np.nan], "mine": ["-", None, "1"]})
    folder.write_table("mine", table)
    found = folder.table("mine", text=["mine"])
    assert found["attribute"].tolist() == ["", "", "a"]
    assert found["mine"].tolist() == ["-", "", "1"]
    assert found["p"].isna().tolist() == [True, False, True]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), min_size=1, max_size=5))
def test_any_text_comes_back(folder, names):
    folder.write_table("mine", pd.DataFrame({"attribute": names, "n": 1}))
    assert folder.table("mine")["attribute"].tolist() == names
