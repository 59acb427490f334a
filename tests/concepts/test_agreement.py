import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from emoscale.concepts.agreement import icc_1k, icc_2k

# Six targets rated by four judges: Shrout and Fleiss (1979), table 2.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def flat(ratings):
    return ratings.ravel(), np.repeat(np.arange(len(ratings)), ratings.shape[1])


def plain_mean_squares(ratings):
    """Mean squares of targets, judges, error and within targets, cell by cell."""
    n, k = ratings.shape
    grand = sum(sum(row) for row in ratings) / (n * k)
    targets = [sum(row) / k for row in ratings]
    judges = [sum(row[j] for row in ratings) / n for j in range(k)]
    between = k * sum((m - grand) ** 2 for m in targets)
    by_judge = n * sum((m - grand) ** 2 for m in judges)
    within = sum((ratings[i][j] - targets[i]) ** 2 for i in range(n) for j in range(k))
    error = sum((ratings[i][j] - targets[i] - judges[j] + grand) ** 2 for i in range(n) for j in range(k))
    return between / (n - 1), by_judge / (k - 1), error / ((n - 1) * (k - 1)), within / (n * (k - 1))


def plain_interval_2k(ratings):
    """From the interval of one judge, by way of the Spearman-Brown formula, as Shrout and Fleiss print it."""
    n, k = ratings.shape
    bms, jms, ems, _ = plain_mean_squares(ratings)
    rho = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    ratio = jms / ems
    inner = n * (1 + (k - 1) * rho) - k * rho
    v = (k - 1) * (n - 1) * (k * rho * ratio + inner) ** 2 / ((n - 1) * k**2 * rho**2 * ratio**2 + inner**2)
    upper, lower = stats.f.ppf(0.975, n - 1, v), stats.f.ppf(0.975, v, n - 1)
    low = n * (bms - upper * ems) / (upper * (k * jms + (k * n - k - n) * ems) + n * bms)
    high = n * (lower * bms - ems) / (k * jms + (k * n - k - n) * ems + n * lower * bms)
    return k * low / (1 + (k - 1) * low), k * high / (1 + (k - 1) * high)


def test_the_worked_example_of_shrout_and_fleiss():
    one, two = icc_1k(*flat(JUDGES)), icc_2k(JUDGES)
    assert (one.kind, two.kind) == ("ICC(1,k)", "ICC(2,k)")
    icc_34 = 1 - 1 / two.F
    assert icc_34 == pytest.approx(0.91, abs=0.005)
    assert (one.df1, one.df2, two.df1, two.df2) == (5, 18, 5, 15)
    assert (one.p, two.p) == pytest.approx((0.16477, 0.00013), abs=5e-6)
    assert (one.F, one.icc) == pytest.approx((1.79, 0.44), abs=0.005)
    assert (two.F, two.icc) == pytest.approx((11.03, 0.62), abs=0.005)
    assert (one.ci_low, one.ci_high) == pytest.approx((-0.884, 0.91), abs=0.005)
    assert (two.ci_low, two.ci_high) == pytest.approx((0.071, 0.93), abs=0.005)


@settings(max_examples=60)
@given(
    arrays(np.float64, st.tuples(st.integers(3, 6), st.integers(2, 5)), elements=st.integers(1, 9).map(float)),
)
def test_both_equal_their_slow_twins(ratings):
    bms, jms, ems, wms = plain_mean_squares(ratings)
    assume(min(bms, jms, ems, wms) > 1e-6)
    n, k = ratings.shape
    one, two = icc_1k(*flat(ratings)), icc_2k(ratings)
    assert one.icc == pytest.approx((bms - wms) / bms)
    assert (one.F, one.p) == pytest.approx((bms / wms, stats.f_oneway(*ratings).pvalue))
    assert (two.F, two.p) == pytest.approx((bms / ems, stats.f.sf(bms / ems, n - 1, (n - 1) * (k - 1))))
    variance = bms + (jms - ems) / n
    if variance < -1e-6:
        assert math.isnan(two.icc)
    if variance > 1e-3:
        assert two.icc == pytest.approx((bms - ems) / variance)
    if bms > 1.01 * ems and variance > 1e-3:
        low, high = plain_interval_2k(ratings)
        assert two.ci_high == pytest.approx(high, rel=1e-6)
        # The textbook's lower end jumps above 1 where the variance it divides by is negative.
        if low > 1 or low < -1e3:
            assert math.isnan(two.ci_low) or two.ci_low < -1e3
        else:
            assert two.ci_low == pytest.approx(low, rel=1e-6)


def test_concepts_may_have_different_numbers_of_values():
    groups = [[1.0, 2, 4], [5.0, 7], [2.0, 2, 3, 9]]
    found = icc_1k(np.concatenate(groups), np.repeat([0, 1, 2], [3, 2, 4]))
    expected = stats.f_oneway(*groups)
    assert (found.F, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.df1, found.df2) == (2, 6)
    assert found.icc == pytest.approx(1 - 1 / expected.statistic)
    assert found.ci_low < found.icc < found.ci_high <= 1


def test_raters_who_agree_in_everything():
    perfect = icc_2k(np.tile([[1.0], [0.3], [7.1]], (1, 4)))
    assert (perfect.icc, perfect.p, perfect.ci_low, perfect.ci_high) == pytest.approx((1, 0, 1, 1))
    assert math.isinf(perfect.F)
    same = icc_1k(np.array([1.1, 1.1, 0.3, 0.3]), np.array([0, 0, 1, 1]))
    assert (same.icc, same.p, same.ci_low, same.ci_high) == pytest.approx((1, 0, 1, 1))


def test_raters_who_contradict_each_other_have_no_reliability():
    found = icc_2k(np.array([[1.0, 9], [9, 1], [5, 6]]))
    assert math.isnan(found.icc)
    assert math.isnan(found.ci_low)
    assert found.p > 0.9


def test_a_constant_offset_of_a_rater_lowers_absolute_agreement_only():
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=(8, 1)) + rng.normal(0, 0.3, (8, 5))
    shifted = ratings + np.array([0, 0, 3, 0, 0])
    before, after = icc_2k(ratings), icc_2k(shifted)
    assert after.icc < before.icc
    assert (after.F, after.p) == pytest.approx((before.F, before.p))


def test_the_interval_covers_the_truth():
    # Concepts' means of 6 values with variance 1 between and 2 within: reliability 1 / (1 + 2 / 6).
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(10), 6)
    covered = 0
    for _ in range(400):
        found = icc_1k(rng.normal(size=10)[group] + rng.normal(0, math.sqrt(2), 60), group)
        covered += found.ci_low <= 0.75 <= found.ci_high
    assert 0.92 <= covered / 400 <= 0.98
