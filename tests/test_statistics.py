import warnings
from itertools import permutations

import numpy as np
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from emoscale.permutations import permutation_tests, smallest_permutation_p
from emoscale.rounding import varies
from emoscale.statistics import (
    average_ranks,
    benjamini_hochberg,
    column_correlations,
    correlation,
    correlation_interval,
    fisher_z,
    mean_tests,
    published_q,
    row_correlations,
    unit_columns,
)
from emoscale_kernels import decimal_distances

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


def test_q_does_not_fall_where_p_rises():
    """Five attributes of which the strongest once had the largest q: p times their number by rank, and no more."""
    ratio = np.array([0.104, 0.076, 0.059, 0.0497, 0.0402])
    p = ratio * np.arange(1, 6) / 5
    np.testing.assert_allclose(published_q(p), ratio)
    np.testing.assert_allclose(benjamini_hochberg(p), 0.0402)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_rounding_is_no_variation(size):
    values = np.array([[0.3, 0.3, 0.3, np.nan], [0.1 + 0.2, 0.3 + 1e-6, np.nan, np.nan]]) * size
    assert varies(values).tolist() == [False, True, False, False]
    assert not varies(values[:, 0])


def test_benjamini_hochberg_is_monotone_and_at_most_one():
    np.testing.assert_allclose(benjamini_hochberg([0.02, 0.021, 0.9, 1.0, np.nan]), [0.042, 0.042, 1.0, 1.0, np.nan])


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=tau_elements))
def test_ranks_equal_the_twin(tau):
    expected = np.column_stack([slow_twins.ranks_of_largest(column) for column in tau.T])
    np.testing.assert_array_equal(average_ranks(tau), expected)


def test_nan_ranks_last():
    tau = np.array([[0.5, np.nan], [np.nan, 0.1], [0.5, np.nan], [-1.0, 0.2]])
    np.testing.assert_array_equal(average_ranks(tau), [[1.5, 3.5], [4, 2], [1.5, 3.5], [3, 1]])


def _tests_of(groups):
    return mean_tests(
        [len(g) for g in groups], [np.mean(g) for g in groups], [np.std(g, ddof=1) if len(g) > 1 else 0 for g in groups]
    )


def test_agrees_with_scipy():
    rng = np.random.default_rng(0)
    groups = [rng.normal(mean, 0.2, n) for mean, n in ((0.1, 5), (-0.3, 12), (0.0, 40))]
    test = _tests_of(groups)
    for i, group in enumerate(groups):
        less = stats.ttest_1samp(group, 0, alternative="less")
        two_sided = stats.ttest_1samp(group, 0)
        interval = two_sided.confidence_interval(0.95)
        assert test.t[i] == pytest.approx(less.statistic)
        assert test.df[i] == less.df
        assert test.p_less[i] == pytest.approx(less.pvalue)
        assert test.p_two_sided[i] == pytest.approx(two_sided.pvalue)
        assert (test.ci_low[i], test.ci_high[i]) == pytest.approx((interval.low, interval.high))
        assert test.effect_size[i] == pytest.approx(group.mean() / group.std(ddof=1))


@pytest.mark.parametrize("group", [[0.3], [0.1, 0.1, 0.1], [0.0, 0.0], [0.85 - 0.80, 0.75 - 0.70, 0.35 - 0.30]])
def test_no_spread_gives_nan_without_a_warning(group):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = _tests_of([group])
    values = [test.t, test.p_less, test.p_two_sided, test.ci_low, test.ci_high, test.effect_size]
    assert np.isnan(values).all()
    assert test.df[0] == len(group) - 1


def test_intervals_of_correlations_agree_with_scipy():
    rng = np.random.default_rng(0)
    samples = [(rng.normal(size=n), rng.normal(size=n)) for n in (4, 5, 14, 100)]
    tests = [stats.pearsonr(x, y) for x, y in samples]
    low, high = correlation_interval([test.statistic for test in tests], [len(x) for x, _ in samples])
    for i, test in enumerate(tests):
        interval = test.confidence_interval(0.95)
        assert (low[i], high[i]) == pytest.approx((interval.low, interval.high))


def test_correlations_without_an_interval():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = correlation_interval([0.5, 1.0, -1.0, np.nan, 0.5], [3, 10, 10, 10, 0])
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_all_ways_to_correlate_agree_with_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    expected = [[stats.pearsonr(x[:, a], y[:, b]).statistic for b in range(2)] for a in range(3)]
    np.testing.assert_allclose(column_correlations(x, y), expected)
    np.testing.assert_allclose(column_correlations(np.stack([x, -x]), y), [expected, -np.array(expected)])
    for b in range(2):
        np.testing.assert_allclose(row_correlations(x.T, y[:, b]), np.array(expected)[:, b])
        assert correlation(x[:, 0], y[:, b]) == pytest.approx(expected[0][b])


def test_what_cannot_be_correlated_is_nan_without_a_warning():
    x, flat = np.array([[0.1, 0.2, 0.4]]), np.full((1, 3), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(row_correlations(flat, x[0])).all()
        assert np.isnan(row_correlations(x, flat[0])).all()
        assert np.isnan(row_correlations(x[:, :2], x[0, :2])).all()
        assert np.isnan(column_correlations(flat.T, x.T)).all()
        assert np.isnan(column_correlations(x[:, :2].T, x[:, :2].T)).all()
        assert np.isnan(correlation(flat[0], x[0]))
        assert np.isnan(correlation(x[0, :2], x[0, :2]))


def test_a_perfect_correlation_has_no_z():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z = fisher_z([0.5, 1.0, -1.0, 1 - 1e-15, np.nan])
    np.testing.assert_allclose(z, [np.arctanh(0.5), *[np.nan] * 4])


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_one_sided_permutation_tests_count_the_orders_that_reach_the_true_one(orders, count, levels, seed):
    values = np.random.default_rng(seed).integers(-levels, levels, (1 + orders, count)).astype(float)
    found = permutation_tests(values, greater=True)
    np.testing.assert_allclose(found.p, (values >= values[0]).mean(axis=0))
    spread = values.std(axis=0)
    z = (values - values.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    largest = z.max(axis=1, keepdims=True)
    np.testing.assert_allclose(found.p_corrected, (largest >= z[0] - 1e-9).mean(axis=0))
    assert (found.p_corrected >= found.p).all()


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.1 + 0.2, 0.7, 1.0]), min_size=3, max_size=5))
def test_the_smallest_p_is_the_share_of_orders_that_leave_the_rdm(scores):
    column = np.array(scores)[:, None]
    own = decimal_distances(column)
    if not varies(column)[0]:
        assert smallest_permutation_p(column) == [1.0]
        return
    same = [
        np.allclose(decimal_distances(column[list(order)]), own, rtol=0, atol=1e-9)
        for order in permutations(range(len(scores)))
    ]
    np.testing.assert_allclose(smallest_permutation_p(column), np.mean(same))


@pytest.mark.parametrize("scale", [1e-13, 1.0, 1e9])
def test_what_varies_does_not_depend_on_the_unit(scale):
    x, y = scale * np.array([1.0, 2.0, 4.0, 3.0]), np.array([1.0, 3.0, 2.0, 5.0])
    constant = scale * np.array([0.3, 0.1 + 0.2, 0.3, 0.3])
    expected = np.corrcoef(x, y)[0, 1]
    np.testing.assert_allclose(correlation(x, y), expected)
    np.testing.assert_allclose(row_correlations(np.stack([x, constant]), y), [expected, np.nan])
    np.testing.assert_allclose(row_correlations(y[None], x), [expected])
    np.testing.assert_allclose(column_correlations(np.stack([x, constant], 1), y[:, None])[:, 0], [expected, np.nan])
    assert np.isnan(correlation(constant, y))
    assert np.isnan(unit_columns(constant[:, None])).all()


@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_means_of_what_does_not_vary_are_not_tested(scale):
    x = scale * np.array([1.0, 2.0, 4.0, 3.0])
    for constant in (scale * np.array([0.3, 0.1 + 0.2, 0.3, 0.3]), np.array([0.0, 1e-17, -1e-17, 0.0])):
        t = mean_tests([4, 4], [x.mean(), constant.mean()], [x.std(ddof=1), constant.std(ddof=1)]).t
        np.testing.assert_allclose(t, [stats.ttest_1samp(x, 0).statistic, np.nan])
