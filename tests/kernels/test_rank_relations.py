"""Rank correlations within groups and sums over the first k, against SciPy and against definitions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr

from emoscale_kernels import centered_ranks, first_sums, group_order, order_within, rank_correlations


def few_values(n):
    """Numbers with many ties."""
    return arrays(np.float64, n, elements=st.integers(-3, 3).map(float) | st.floats(-1, 1))


@st.composite
def grouped(draw):
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    n = sum(sizes)
    return np.cumsum([0, *sizes]), draw(few_values(n)), draw(few_values(n))


def ranks_by_group(values, starts):
    """SciPy's ranks minus their mean, group by group."""
    parts = [rankdata(values[a:b]) - (b - a + 1) / 2 for a, b in pairwise(starts)]
    return np.concatenate(parts)


@given(grouped())
def test_ranks_within_groups(drawn):
    starts, values, _ = drawn
    np.testing.assert_array_equal(centered_ranks(values, starts), ranks_by_group(values, starts))


@given(grouped())
def test_the_order_of_all_gives_those_within_groups(drawn):
    starts, values, _ = drawn
    order = group_order(values, np.array([0, len(values)]))
    found = order_within(order, starts)
    assert sorted(found) == list(range(len(values)))
    np.testing.assert_array_equal(found, group_order(values, starts))
    for first, stop in pairwise(starts):
        assert list(found[first:stop]) == sorted(range(first, stop), key=lambda i: (values[i], i))


@given(grouped())
def test_pooled_correlation_of_ranks(drawn):
    starts, values, other = drawn
    targets = np.stack([centered_ranks(other, starts), centered_ranks(values, starts)], axis=1)
    found = rank_correlations(values, group_order(values, starts), starts, targets)
    x, y = ranks_by_group(values, starts), ranks_by_group(other, starts)
    norm = np.sqrt((x @ x) * (y @ y))
    assert found[0] == (pytest.approx(x @ y / norm, abs=1e-12) if norm else pytest.approx(np.nan, nan_ok=True))
    assert found[1] == (pytest.approx(1) if x.any() else pytest.approx(np.nan, nan_ok=True))


def test_one_group_is_spearman():
    rng = np.random.default_rng(0)
    x, y = np.round(rng.normal(size=(2, 500)), 1)
    starts = np.array([0, 500])
    found = rank_correlations(x, group_order(x, starts), starts, centered_ranks(y, starts)[:, None])
    assert found[0] == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_correlate(n):
    values, starts = np.zeros(n), np.array([0, n])
    found = rank_correlations(values, group_order(values, starts), starts, np.zeros((n, 1)))
    assert np.isnan(found).all()


@given(
    st.integers(1, 20).flatmap(
        lambda n: st.tuples(few_values(n), st.permutations(range(n)), st.sets(st.integers(1, n), min_size=1))
    )
)
def test_sums_over_the_first(drawn):
    values, places, sizes = drawn
    n, places, sizes = len(values), np.array(places), np.array(sorted(sizes))
    weights = np.random.default_rng(0).normal(size=n)
    sums, shared = first_sums(values, group_order(values, np.array([0, n])), weights, places, sizes)
    for k, total, number in zip(sizes, sums, shared, strict=True):
        first = sorted(range(n), key=lambda i: (-values[i], i))[:k]
        assert total == pytest.approx(weights[first].sum(), abs=1e-9)
        assert number == (places[first] < k).sum()


def test_nobody_first():
    sums, shared = first_sums(
        np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)
    )
    assert sums.shape == shared.shape == (0,)
