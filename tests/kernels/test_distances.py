import numpy as np
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial.distance import pdist

from emoscale_kernels import condensed_distances, decimal_distances, mean_pair_distances, published_distances

anything = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf])


@given(arrays(np.float64, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6), elements=anything))
def test_mean_pair_distances_equal_the_twin(values):
    np.testing.assert_array_equal(mean_pair_distances(values), slow_twins.mean_pair_distances(values))


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7), elements=anything))
def test_condensed_distances_equal_the_twin(scores):
    np.testing.assert_array_equal(condensed_distances(scores), slow_twins.condensed_distances(scores))


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7), elements=anything))
def test_decimal_distances_equal_the_twin(scores):
    np.testing.assert_array_equal(decimal_distances(scores), slow_twins.decimal_distances(scores))


@pytest.mark.parametrize("unit", [1.0, 1e-9])
def test_distances_that_are_equal_as_decimals_are_ties(unit):
    scores = np.array([[0.1], [0.3], [0.5], [0.7], [0.9]]) * unit
    assert len(set(condensed_distances(scores)[0])) > 4
    assert len(set(decimal_distances(scores)[0])) == 4


def test_pairs_come_in_the_order_of_scipy_and_triu_indices():
    scores = np.random.default_rng(0).normal(size=(9, 1))
    i, j = np.triu_indices(9, 1)
    (distances,) = condensed_distances(scores)
    np.testing.assert_array_equal(distances, np.abs(scores[i, 0] - scores[j, 0]))
    np.testing.assert_allclose(distances, pdist(scores), rtol=1e-14)


def test_values_need_not_be_contiguous_nor_float64():
    values = np.random.default_rng(1).normal(size=(3, 5, 8)).astype(np.float32)
    expected = slow_twins.mean_pair_distances(values.astype(np.float64))
    np.testing.assert_array_equal(mean_pair_distances(values[:, :, ::2]), expected[::2])


def test_no_neurons_give_no_rows():
    assert mean_pair_distances(np.empty((2, 4, 0))).shape == (0, 6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3e4])
@pytest.mark.parametrize("R", [1, 2, 7, 12])
def test_published_distances_equal_the_twin(R, scale):
    values = np.random.default_rng(R).normal(scale=scale, size=(R, 7, 60)).astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(published_distances(values), slow_twins.published_distances(values))


def test_published_distances_equal_the_twin_on_decimals_and_zeros():
    values = np.random.default_rng(0).integers(0, 9, size=(12, 6, 40)) / 10
    np.testing.assert_array_equal(published_distances(values), slow_twins.published_distances(values))


def test_tiny_published_distances_are_within_a_bit():
    values = np.random.default_rng(0).normal(scale=1e-30, size=(3, 5, 40))
    np.testing.assert_allclose(published_distances(values), slow_twins.published_distances(values), rtol=5e-16)


def test_published_distances_are_the_mean_to_15_digits():
    values = np.random.default_rng(0).normal(size=(12, 6, 40))
    np.testing.assert_allclose(published_distances(values), mean_pair_distances(values), rtol=6e-15)


def test_published_distances_pass_values_that_are_not_finite_through():
    values = np.zeros((2, 3, 3))
    values[0, 0] = [np.nan, np.inf, 5e-324]
    distances = published_distances(values)
    assert np.isnan(distances[0, 0])
    assert not np.isfinite(distances[1, 0])
    assert distances[2].tolist() == mean_pair_distances(values)[2].tolist()
