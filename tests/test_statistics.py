import numpy as np
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from emoscale.statistics import average_ranks, benjamini_hochberg, published_q

p_elements = st.sampled_from([0.0, 1e-9, 0.004, 0.5, 1.0, np.nan]) | st.floats(0, 1)
tau_elements = st.sampled_from([-1.0, 0.0, -0.0, 0.25, 1.0, np.nan]) | st.floats(-1, 1)


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=p_elements))
def test_published_q_equals_the_twin(p):
    np.testing.assert_allclose(published_q(p).ravel(), slow_twins.q_values(p.ravel()), rtol=1e-14)


def test_published_q_has_no_monotone_step_and_no_ceiling():
    q = published_q(np.array([0.02, 0.021, 0.9, 0.9, np.nan]))
    np.testing.assert_allclose(q, [0.08, 0.042, 0.9 * 4 / 3.5, 0.9 * 4 / 3.5, np.nan])


@given(arrays(np.float64, array_shapes(max_dims=2, max_side=6), elements=p_elements))
def test_benjamini_hochberg_is_scipys_over_the_tests_that_were_made(p):
    q = benjamini_hochberg(p)
    tested = ~np.isnan(p)
    assert np.isnan(q[~tested]).all()
    if tested.any():
        np.testing.assert_array_equal(q[tested], stats.false_discovery_control(p[tested]))


def test_benjamini_hochberg_is_monotone_and_at_most_one():
    np.testing.assert_allclose(benjamini_hochberg([0.02, 0.021, 0.9, 1.0, np.nan]), [0.042, 0.042, 1.0, 1.0, np.nan])


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=tau_elements))
def test_ranks_equal_the_twin(tau):
    expected = np.column_stack([slow_twins.ranks_of_largest(column) for column in tau.T])
    np.testing.assert_array_equal(average_ranks(tau), expected)


def test_nan_ranks_last():
    tau = np.array([[0.5, np.nan], [np.nan, 0.1], [0.5, np.nan], [-1.0, 0.2]])
    np.testing.assert_array_equal(average_ranks(tau), [[1.5, 3.5], [4, 2], [1.5, 3.5], [3, 1]])
