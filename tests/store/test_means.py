"""Means over the rows of a store, whatever its chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from emoscale.schema import ACTIVATIONS
from emoscale.store import create_store, mean_activations

pytestmark = pytest.mark.slow


def store_of(path, values, chunks):
    rows, neurons = values.shape
    coordinates = {name: np.array(["x"] * rows, object) for name in ("concept", "replicate")}
    coordinates |= {name: np.arange(rows) for name in ("item", "position", "token_id")}
    coordinates |= {name: np.arange(neurons) for name in ("layer", "expert", "unit")}
    store = create_store(path, ACTIVATIONS, coordinates, dict(zip(("observation", "neuron"), chunks, strict=True)))
    store.write("activations", values)
    store.mark_complete()
    return store


@settings(max_examples=20)
@given(
    values=arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.one_of(st.floats(-100, 100, width=32), st.just(np.nan)),
    ),
    of=st.sampled_from([None, np.abs]),
)
def test_means_are_the_plain_ones_for_any_chunks(tmp_path_factory, values, of):
    path = tmp_path_factory.mktemp("means")
    found = [
        mean_activations(store_of(path / str(number), values, chunks), of)
        for number, chunks in enumerate([(1, 1), (2, 3), (50, 50)])
    ]
    for neuron, column in enumerate(values.T.astype(np.float64)):
        there = [abs(value) if of else value for value in column if value == value]
        assert found[0][neuron] == pytest.approx(sum(there) / len(there) if there else 0, abs=1e-9)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_an_infinite_activation_makes_its_neurons_mean_infinite(tmp_path):
    values = np.array([[1, np.inf], [3, 5]], np.float32)
    advanced = []
    mean = mean_activations(store_of(tmp_path / "a", values, (1, 1)), advance=advanced.append)
    assert mean.tolist() == [2, np.inf]
    assert advanced == [1, 1]
