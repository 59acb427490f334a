import numpy as np
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoscale.selectivity import kendall
from emoscale_kernels import attribute_patterns, decimal_distances

tied = st.integers(0, 2).map(float)


@st.composite
def blocks(draw):
    C = draw(st.integers(3, 7))
    elements = draw(st.sampled_from([tied, st.floats(-10, 10), tied | st.sampled_from([np.nan, np.inf])]))
    values = draw(arrays(np.float64, (draw(st.integers(1, 3)), C, draw(st.integers(1, 3))), elements=elements))
    return values, draw(arrays(np.float64, (C, draw(st.integers(1, 3))), elements=tied | st.floats(-10, 10)))


@given(blocks())
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_tau_and_p_are_scipys(block):
    values, scores = block
    tau, p, p_asymptotic, *_ = kendall.asymptotic(values, attribute_patterns(decimal_distances(scores)))
    np.testing.assert_array_equal(p_asymptotic, p)
    expected_tau, expected_p = slow_twins.searchlight(values, scores)
    np.testing.assert_array_equal(tau, expected_tau)
    np.testing.assert_allclose(p, expected_p, rtol=1e-12)


def test_p_of_a_hundred_concepts_does_not_overflow():
    generator = np.random.default_rng(0)
    values, scores = generator.normal(size=(1, 100, 1)).round(), generator.normal(size=(100, 1)).round()
    tau, p, p_asymptotic, *_ = kendall.asymptotic(values, attribute_patterns(decimal_distances(scores)))
    np.testing.assert_array_equal(p_asymptotic, p)
    expected_tau, expected_p = slow_twins.searchlight(values, scores)
    np.testing.assert_array_equal(tau, expected_tau)
    np.testing.assert_allclose(p, expected_p, rtol=1e-12)
