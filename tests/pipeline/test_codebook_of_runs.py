"""`tables/codebook.csv` has every column of every table, and the codebook none that no table has."""

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_run import rating_rows, write_judgements

from emoscale.analysis.codebook import CODEBOOK
from emoscale.analysis.columns import COLUMNS
from emoscale.analysis.neuron_table import NEURON_COLUMNS, NEURONS
from emoscale.analysis.tables import TABLES
from emoscale.run.folder import RunFolder

pytestmark = pytest.mark.slow

PLANNED = {"needed", "permuted_tests", "verdicts", "followers"}
"""Tables whose columns are known before there is anything to compute them."""


def columns_of(folder):
    """Check the codebook against the tables beside it; return the columns of each."""
    book = folder.table(CODEBOOK)
    found = {}
    described = book[book["table"] == NEURONS]["column"].fillna("").tolist()
    assert described == ["", *pq.read_schema(folder.tables / f"{NEURONS}.parquet").names]
    assert set(described[1:]) <= set(NEURON_COLUMNS)
    for file in sorted(folder.tables.glob("*.csv")):
        if file.stem == CODEBOOK:
            continue
        own = book[book["table"] == file.stem]
        head, *rows = own.fillna("").to_dict("records")
        assert (head["column"], head["meaning"]) == ("", TABLES[file.stem].meaning)
        found[file.stem] = [row["column"] for row in rows]
        assert found[file.stem] == list(folder.table(file.stem)), file.stem
        for row in rows:
            assert row["meaning"], (file.stem, row["column"])
            assert row["column"] in COLUMNS[file.stem]
    assert list(dict.fromkeys(book["table"])) == [*(name for name in TABLES if name in found), NEURONS]
    return found


def test_the_codebook_is_that_of_the_tables(finished, cli, world, tiny_folder):
    world.settings["model"]["name"] = str(tiny_folder("gpt2"))
    world.settings["extraction"]["rows"] = "templates"
    world.settings["ablation"]["task"] = "multiple-choice"
    world.settings["masks"] |= {"controls": ["permuted", "half", "random"], "permutations": 3}
    ratings = pd.DataFrame(rating_rows(), columns=["rater", "concept", "attribute", "rating"])
    ratings.to_csv(world.folder / "ratings.csv", index=False)
    judged = write_judgements(world.folder / "judged.csv")
    world.settings["concepts"] = {"ratings": str(world.folder / "ratings.csv"), "dissimilarity": str(judged)}
    world.write(ablation={"templates": ["{text}\nshe felt", "{text}. my friend was full of"]})
    assert cli("run", world.config, "--out", world.out).code == 0
    seen = {}
    for folder in (RunFolder(finished.out), RunFolder(world.out)):
        for name, columns in columns_of(folder).items():
            seen.setdefault(name, set()).update(columns)
    assert set(seen) == set(TABLES)
    assert {name: set(COLUMNS[name]) for name in TABLES} == seen
    assert set(COLUMNS) - set(TABLES) <= PLANNED
