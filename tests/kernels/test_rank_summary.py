import numpy as np
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu

from emoscale_kernels import ranks
from emoscale_kernels.ranks import RankSummary, auroc, rank_summary, spearman_with_scores

dtypes = st.sampled_from([np.float16, np.float32, np.float64])
# Numbers that every type holds; the smallest float16 are subnormal.
tied = st.integers(-1, 1).map(float) | st.sampled_from([-0.0, 2.0**-24, -(2.0**-24), 2.0**-14])
ordinary = tied | st.floats(-1000, 1000, width=16) | st.sampled_from([np.inf, -np.inf])
scores_of = st.integers(-10, 10).map(lambda score: score / 10)


@st.composite
def rows_of_concepts(draw):
    rows, n, C = draw(st.integers(0, 20)), draw(st.integers(0, 3)), draw(st.integers(1, 4))
    elements = draw(st.sampled_from([tied, ordinary, ordinary | st.just(np.nan)]))
    values = draw(arrays(draw(dtypes), (rows, n), elements=elements))
    return values, draw(arrays(np.int64, rows, elements=st.integers(-1, C - 1))), C


def assert_same(got, expected):
    for name, one, other in zip(RankSummary._fields, got, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def rounded_rows(rows, n, dtype, C, digits=1):
    generator = np.random.default_rng(rows)
    return generator.normal(size=(rows, n)).round(digits).astype(dtype), generator.integers(-1, C, size=rows)


def assert_equals_the_twins(values, concepts, C):
    summary = rank_summary(values, concepts, C)
    area = auroc(summary)
    own = np.array([concepts == c for c in range(C)])
    np.testing.assert_array_equal(summary.counts, own.astype(int) @ ~np.isnan(values))
    assert summary.rank_sums.shape == summary.average_precision.shape == area.shape == (C, values.shape[1])
    for k, x in enumerate(values.T):
        np.testing.assert_array_equal(summary.rank_sums[:, k], slow_twins.rank_sums(x, concepts, C))
        np.testing.assert_array_equal(summary.tie_sum[k], slow_twins.tie_sum(x, concepts))
        for c in range(C):
            np.testing.assert_allclose(area[c, k], slow_twins.auroc(x, concepts, c), rtol=1e-14)
            expected = slow_twins.average_precision(x, concepts, c)
            np.testing.assert_allclose(summary.average_precision[c, k], expected, rtol=1e-12)


@given(rows_of_concepts())
def test_the_summary_and_auroc_equal_the_twins(case):
    assert_equals_the_twins(*case)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_more_rows_than_a_tile(dtype):
    assert_equals_the_twins(*rounded_rows(2 * 128 + 45, 3, dtype, 3), 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_bit_of_the_activation_orders(dtype):
    # One neuron for each bit of the type, in which the rows differ in nothing else.
    size = 8 * np.dtype(dtype).itemsize
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    bits = np.full((2, size), np.array(1.0, dtype=dtype).view(unsigned))
    bits[1] ^= np.array([1 << bit for bit in range(size)], dtype=unsigned)
    values = bits.view(dtype)
    usable = ~np.isnan(values).any(axis=0)
    summary = rank_summary(values[:, usable], np.array([0, 1]), 2)
    np.testing.assert_array_equal(summary.rank_sums[0], np.where(values[0] < values[1], 1, 2)[usable])


def test_average_precision_of_the_textbook_example():
    # The example of scikit-learn's documentation: (1/1 + 2/3) / 2.
    summary = rank_summary(np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_allclose(summary.average_precision[1, 0], 5 / 6, rtol=1e-15)
    np.testing.assert_array_equal(auroc(summary)[1], [0.75])


def test_a_constant_neuron_finds_a_concept_as_chance_does():
    concepts = np.array([0, 0, 1, 1, 1, 1, 1, 2])
    summary = rank_summary(np.zeros((8, 1), dtype=np.float32), concepts, 4)
    np.testing.assert_array_equal(summary.average_precision[:, 0], [2 / 8, 5 / 8, 1 / 8, np.nan])
    np.testing.assert_array_equal(auroc(summary)[:, 0], [0.5, 0.5, 0.5, np.nan])
    np.testing.assert_array_equal(summary.tie_sum, [8**3 - 8])


def test_a_concept_that_has_all_rows():
    summary = rank_summary(np.arange(5, dtype=np.float32)[:, np.newaxis], np.zeros(5, dtype=np.int64), 1)
    np.testing.assert_array_equal(summary.rank_sums, [[15]])
    np.testing.assert_array_equal(summary.average_precision, [[1]])
    np.testing.assert_array_equal(auroc(summary), [[np.nan]])


def test_auroc_is_the_mann_whitney_statistic():
    values, concepts = rounded_rows(300, 1, np.float64, 3)
    area = auroc(rank_summary(values, concepts, 3))
    for c in range(3):
        own, others = values[concepts == c, 0], values[(concepts >= 0) & (concepts != c), 0]
        expected = mannwhitneyu(own, others).statistic / (len(own) * len(others))
        np.testing.assert_allclose(area[c, 0], expected, rtol=1e-14)


def test_a_nan_in_a_row_left_aside_does_not_matter():
    values, concepts = rounded_rows(50, 2, np.float32, 3)
    expected = rank_summary(values, concepts, 3)
    values[concepts == -1, 0] = np.nan
    assert_same(rank_summary(values, concepts, 3), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("strip_bytes", [1, 5_000, 2**30])
def test_no_cutting_of_the_neurons_changes_a_bit(monkeypatch, dtype, strip_bytes):
    values, concepts = rounded_rows(200, 13, dtype, 4, digits=2)
    values[17, 5] = np.nan
    concepts[17] = 0
    expected = rank_summary(values, concepts, 4)
    monkeypatch.setattr(ranks, "_STRIP_BYTES", strip_bytes)
    assert_same(rank_summary(values, concepts, 4), expected)
    parts = [rank_summary(values[:, a:b], concepts, 4) for a, b in ((0, 1), (1, 6), (6, 13))]
    assert_same([np.concatenate([p[i] for p in parts], axis=-1) for i in range(4)], expected)


def test_the_order_of_the_rows_does_not_matter():
    values, concepts = rounded_rows(200, 5, np.float16, 4)
    order = np.random.default_rng(0).permutation(200)
    assert_same(rank_summary(values[order], concepts[order], 4), rank_summary(values, concepts, 4))


def test_the_types_agree():
    values, concepts = rounded_rows(300, 4, np.float16, 4)
    expected = rank_summary(values, concepts, 4)
    for dtype in (np.float32, np.float64):
        assert_same(rank_summary(values.astype(dtype), concepts.astype(np.int8), 4), expected)


def test_more_concepts_than_sixteen_bits_hold():
    values, concepts = rounded_rows(60, 2, np.float16, 3)
    expected = rank_summary(values, concepts, 3)
    spread = np.where(concepts == 2, 2**16 + 1, concepts)
    summary = rank_summary(values, spread, 2**16 + 2)
    for one, other in zip(summary, expected, strict=True):
        np.testing.assert_array_equal(one[[0, 1, 2**16 + 1]] if len(one) > 2 else one, other)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_neuron_is_ranked_over_the_rows_in_which_it_is_there(dtype, sign):
    values, concepts = rounded_rows(300, 6, dtype, 4)
    values[3], values[5] = np.inf, -np.inf
    scores = np.random.default_rng(0).normal(size=(4, 2)).round(1)
    absent = np.random.default_rng(1).random(values.shape) < 0.4
    absent[:, 4] = concepts == 2
    absent[:, 5] = True
    values[absent] = np.copysign(dtype(np.nan), sign)
    summary = rank_summary(values, concepts, 4)
    measures = (summary.rank_sums, summary.average_precision, auroc(summary), spearman_with_scores(summary, scores).T)
    for k, out in enumerate(absent.T):
        alone = rank_summary(values[~out, k : k + 1], concepts[~out], 4)
        assert_same([array[..., k : k + 1] for array in summary], alone)
        own = (alone.rank_sums, alone.average_precision, auroc(alone), spearman_with_scores(alone, scores).T)
        for one, other in zip(measures, own, strict=True):
            np.testing.assert_array_equal(one[:, k : k + 1], other)


def test_values_may_lie_in_any_way():
    values, concepts = rounded_rows(40, 12, np.float32, 3)
    for view in (values[::2], values[::-1], values[:, 3:9], values[:, ::2], np.asfortranarray(values)):
        own = concepts[: len(view)]
        assert_same(rank_summary(view, own, 3), rank_summary(np.ascontiguousarray(view), own, 3))


def test_the_callers_values_are_left_alone():
    values, concepts = rounded_rows(40, 3, np.float32, 3)
    copy = values.copy()
    rank_summary(values, concepts, 3)
    np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("concepts", [[0, 3], [0, -2], [0], [0, 1, 2]])
def test_concepts_that_do_not_fit_are_refused(concepts):
    with pytest.raises(ValueError):
        rank_summary(np.ones((2, 1), dtype=np.float32), np.array(concepts), 3)


def test_the_bits_of_bfloat16_are_not_taken_for_float16():
    with pytest.raises(TypeError, match="uint16"):
        rank_summary(np.ones((1, 3), dtype=np.uint16), np.array([0]), 1)


@given(rows_of_concepts(), st.data())
def test_spearman_equals_scipys(case, data):
    values, concepts, C = case
    scores = data.draw(arrays(np.float64, (C, 2), elements=scores_of | st.sampled_from([np.nan, np.inf])))
    rho = spearman_with_scores(rank_summary(*case), scores)
    assert rho.shape == (values.shape[1], 2)
    for k, x in enumerate(values.T):
        expected = [slow_twins.spearman_with_scores(x, concepts, score) for score in scores.T]
        np.testing.assert_allclose(rho[k], expected, rtol=1e-12, atol=1e-12)
    assert not (np.abs(rho) > 1).any()


def test_spearman_of_many_rows():
    generator = np.random.default_rng(2)
    concepts = generator.integers(-1, 27, size=5000)
    scores = generator.normal(size=(27, 3)).round(1)
    values = np.maximum(generator.normal(size=(5000, 2)) + scores[concepts, :2], 0).astype(np.float16)
    rho = spearman_with_scores(rank_summary(values, concepts, 27), scores)
    expected = [[slow_twins.spearman_with_scores(x, concepts, score) for score in scores.T] for x in values.T]
    np.testing.assert_allclose(rho, expected, rtol=1e-11)
