import numpy as np
import pytest
import slow_twins

from emoscale_kernels import mean_pair_distances, published_distances


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3e4])
@pytest.mark.parametrize("R", [1, 2, 7, 12])
def test_equals_its_twin(R, scale):
    values = np.random.default_rng(R).normal(scale=scale, size=(R, 7, 60)).astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(published_distances(values), slow_twins.published_distances(values))


def test_equals_its_twin_on_decimals_and_zeros():
    values = np.random.default_rng(0).integers(0, 9, size=(12, 6, 40)) / 10
    np.testing.assert_array_equal(published_distances(values), slow_twins.published_distances(values))


def test_tiny_distances_are_within_a_bit():
    values = np.random.default_rng(0).normal(scale=1e-30, size=(3, 5, 40))
    np.testing.assert_allclose(published_distances(values), slow_twins.published_distances(values), rtol=5e-16)


def test_is_the_mean_to_15_digits():
    values = np.random.default_rng(0).normal(size=(12, 6, 40))
    np.testing.assert_allclose(published_distances(values), mean_pair_distances(values), rtol=6e-15)


def test_values_that_are_not_finite_go_through():
    values = np.zeros((2, 3, 3))
    values[0, 0] = [np.nan, np.inf, 5e-324]
    distances = published_distances(values)
    assert np.isnan(distances[0, 0])
    assert not np.isfinite(distances[1, 0])
    assert distances[2].tolist() == mean_pair_distances(values)[2].tolist()
