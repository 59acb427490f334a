"""A measure, an inference and a row measure of one's own: one object each, by name or as it is."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from clusters import ATTRIBUTES, CONCEPTS, NEURONS, SCORES
from pydantic import TypeAdapter, ValidationError
from selecting import select

from emoscale.errors import InputError
from emoscale.selectivity.inference import INFERENCES, Inference
from emoscale.selectivity.measures import MEASURES, Measure
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import Results
from emoscale.selectivity.row_measures import ROW_MEASURES, RowMeasure
from emoscale.store import open_store


def halves(values, patterns, distances_of):
    return np.full((values.shape[2], len(patterns)), 0.5)


def half_results(values, patterns, distances_of, orders=None, backend=None):
    value = halves(values, patterns, distances_of)
    nothing = np.empty((0, len(patterns)))
    return Results(value, value, value, value, nothing, nothing.astype(np.int64))


HALF = Measure("half", "h", "One half, always", lambda rdms: rdms, halves, half_results, half_results)
RANGE = RowMeasure(
    "range_of_means",
    "moments",
    ("neuron",),
    "Largest mean of a concept less the smallest",
    lambda moments, _: moments.mean.max(axis=0) - moments.mean.min(axis=0),
)
ROWS = RowMeasure("rows", "ranks", ("neuron", "concept"), "Rows of the concept", lambda s, _: s.counts.T * 1.0)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_measure_is_computed_and_described(folder, monkeypatch, by_name):
    monkeypatch.setitem(MEASURES, "half", HALF)
    if by_name:
        assert TypeAdapter(SelectivityOptions).validate_python({"measure": "half"}).measure == "half"
    select(folder, SCORES, CONCEPTS, ATTRIBUTES, measure="half" if by_name else HALF)
    store = open_store(folder.selectivity)
    assert (store.read("tau") == 0.5).all()
    assert store.schema["tau"].meaning == "One half, always"
    assert "h > 0" in store.schema["p"].meaning
    # Nothing was counted under permutations, so no attribute passes.
    assert store.read("followers").shape == (0, len(ATTRIBUTES))
    assert (store.read("q") == 1).all()
    origin = store.attributes["origin"]
    assert (origin["measure"], origin["measure_symbol"], origin["measure_meaning"]) == ("half", "h", "One half, always")


@pytest.mark.parametrize("by_name", [False, True])
def test_row_measures_are_computed_and_described(folder, monkeypatch, by_name):
    for entry in (RANGE, ROWS):
        monkeypatch.setitem(ROW_MEASURES, entry.name, entry)
    entries = [ROWS, RANGE]
    select(folder, SCORES, CONCEPTS, ATTRIBUTES, row_measures=[entry.name if by_name else entry for entry in entries])
    store = open_store(folder.row_measures)
    assert store.complete
    assert [(array.name, array.dims, array.meaning) for array in store.schema.data] == [
        (entry.name, entry.dims, entry.meaning) for entry in entries
    ]
    assert (store.read("rows") == 2).all()
    assert store.read("range_of_means").shape == (NEURONS,)
    assert store.attributes["origin"]["measures"] == ["rows", "range_of_means"]


def test_an_inference_says_where_q_come_from(folder, monkeypatch):
    published = INFERENCES["asymptotic"]
    mine = Inference("doubled", "twice p", published.test, lambda p, _: 2 * p, ("seed",))
    monkeypatch.setitem(INFERENCES, "doubled", mine)
    select(folder, SCORES, CONCEPTS, ATTRIBUTES, inference="doubled", seed=7)
    store = open_store(folder.selectivity)
    np.testing.assert_array_equal(store.read("q"), 2 * store.read("p"))
    assert (store.attributes["origin"]["inference"], store.attributes["origin"]["seed"]) == ("doubled", 7)
    assert "permutations" not in store.attributes["origin"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (replace(RANGE, dims=("neuron", "concept")), r"shape \(\d+,\), expected \(\d+, 4\)"),
        (replace(ROWS, name="unit"), "two arrays are called unit"),
    ],
)
def test_row_measures_that_cannot_be_stored_are_refused_before_anything_is_written(folder, entry, said):
    with pytest.raises(InputError, match=said):
        select(folder, SCORES, CONCEPTS, ATTRIBUTES, row_measures=["mean", entry])
    assert not folder.selectivity.exists()
    assert not folder.row_measures.exists()


@pytest.mark.parametrize(
    ("setting", "value"), [("measure", "kendal"), ("inference", "permutations"), ("row_measures", ["aurok"])]
)
def test_unknown_names_are_refused_with_the_nearest(folder, setting, value):
    nearest = {"measure": "kendall", "inference": "permutation", "row_measures": "auroc"}[setting]
    for refuse, error in (
        (partial(TypeAdapter(SelectivityOptions).validate_python, {setting: value}), ValidationError),
        (partial(select, folder, SCORES, CONCEPTS, ATTRIBUTES, **{setting: value}), InputError),
    ):
        with pytest.raises(error, match=f"nearest: '{nearest}'"):
            refuse()
    assert not folder.selectivity.exists()
