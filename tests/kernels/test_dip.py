"""Hartigan's dip against its definition, a linear programme for each place that the mode can have."""

import numpy as np
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoscale_kernels import dips


def samples():
    """Few values, many of them equal, or values at any distance."""
    elements = st.integers(-3, 3).map(float) | st.floats(-100, 100).map(lambda value: round(value, 3))
    return st.integers(1, 9).flatmap(lambda n: arrays(np.float64, n, elements=elements))


@given(samples())
def test_dips_are_those_of_the_definition(sample):
    assert dips(sample[None])[0] == pytest.approx(slow_twins.dip(sample), abs=1e-7)


@pytest.mark.parametrize("seed", range(20))
def test_of_samples_with_two_modes(seed):
    generator = np.random.default_rng(seed)
    sample = generator.normal(size=14) + generator.choice([0, 4], 14)
    assert dips(sample[None])[0] == pytest.approx(slow_twins.dip(sample), abs=1e-7)


@given(samples(), st.integers(0, 5))
def test_neither_order_nor_direction_nor_unit_matters(sample, seed):
    shuffled = np.random.default_rng(seed).permutation(sample)
    dip = dips(sample[None])[0]
    assert dips(np.stack([shuffled, -sample, sample * 4])).tolist() == pytest.approx([dip, dip, dip])


@pytest.mark.parametrize(
    ("sample", "dip"),
    [
        ([5], 0),
        ([3, 3, 3], 0),
        ([1, 2], 1 / 4),
        (range(100), 1 / 200),
        (50 * [0] + 50 * [1], 1 / 4),
        ([0, 1, 1, 1, 2], 1 / 10),
    ],
)
def test_known_dips(sample, dip):
    assert dips(np.array([sample], dtype=float)).tolist() == pytest.approx([dip])
