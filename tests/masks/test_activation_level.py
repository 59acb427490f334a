import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoscale.masks.activation_level import mean_absolute_activation
from emoscale.masks.drawing import level_bins
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import create_store
from emoscale.system.progress import Silent

pytestmark = pytest.mark.slow

ROWS, NEURONS = 7, 6


def write(path, values, chunks, dtype):
    rows, number = np.arange(len(values)), np.arange(values.shape[1])
    coordinates = {
        **{name: rows.astype(str) for name in ("concept", "replicate")},
        **dict.fromkeys(("item", "position", "token_id"), rows),
        **{"layer": number, "expert": number, "unit": number},
    }
    folder = RunFolder(Path(path))
    chunk_shape = dict(zip(("observation", "neuron"), chunks, strict=True))
    store = create_store(folder.activations, ACTIVATIONS, coordinates, chunk_shape, dtypes={"activations": dtype})
    store.write("activations", values)
    store.mark_complete()
    return folder, store.read("activations")


def plain_mean(column):
    there = [abs(float(x)) for x in column if not math.isnan(x)]
    return math.fsum(there) / len(there) if there else 0.0


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@given(
    values=arrays(
        np.float32,
        (ROWS, NEURONS),
        elements=st.floats(-1000, 1000, width=16) | st.sampled_from([math.nan, 0.1, -0.1]),
    ),
    chunks=st.tuples(st.integers(1, ROWS), st.integers(1, NEURONS)),
)
@settings(max_examples=25)
def test_mean_over_rows_with_a_value(dtype, values, chunks):
    with TemporaryDirectory() as path:
        folder, stored = write(path, values, chunks, dtype)
        level = mean_absolute_activation(folder, Silent())
    expected = [plain_mean(column) for column in stored.astype(float).T]
    np.testing.assert_allclose(level, expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_chunks_do_not_change_the_last_bit(tmp_path, dtype):
    values = np.random.default_rng(0).normal(size=(300, NEURONS)).astype(np.float32)
    levels = []
    for number, chunks in enumerate([(300, 6), (1, 6), (7, 1), (128, 4)]):
        folder, _ = write(tmp_path / str(number), values, chunks, dtype)
        levels.append(mean_absolute_activation(folder, Silent()))
    for level in levels[1:]:
        np.testing.assert_array_equal(level, levels[0])


def test_absent_and_infinite_neurons(tmp_path):
    values = np.array([[np.nan, np.inf, -2, np.nan], [np.nan, 1, 0, -3], [np.nan, -np.inf, 2, np.nan]])
    folder, _ = write(tmp_path, values, (2, 3), "float32")
    np.testing.assert_array_equal(mean_absolute_activation(folder, Silent()), [0, np.inf, 4 / 3, 3])


@given(
    st.lists(st.floats(0, 10) | st.sampled_from([0.0, 1.0, math.inf]), max_size=80).map(np.array),
    st.integers(1, 25),
)
def test_bins_by_the_number_of_neurons_below(level, bins):
    found = level_bins(level, bins)
    for neuron, x in enumerate(level):
        assert found[neuron] == sum(y < x for y in level) * bins // len(level)
    assert len(found) == len(level)
    assert all(0 <= b < bins for b in found)


@given(st.integers(1, 25), st.integers(0, 200), st.integers(0, 2**32))
def test_bins_are_of_equal_size_without_ties(bins, neurons, seed):
    sizes = np.bincount(level_bins(np.random.default_rng(seed).permutation(neurons) * 0.1, bins), minlength=bins)
    assert sizes.sum() == neurons
    assert sizes.max() - sizes.min() <= 1


def test_equal_levels_share_a_bin():
    level = np.array([3.0, 0, 0, 0, 0, 0, 2, 1])
    np.testing.assert_array_equal(level_bins(level, 4), [3, 0, 0, 0, 0, 0, 3, 2])
