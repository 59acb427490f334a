import llvmlite.binding
import numba
import numpy as np
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoscale_kernels import welford
from emoscale_kernels.layout import flat_rows
from emoscale_kernels.moments import (
    Moments,
    empty_moments,
    eta_squared,
    group_moments,
    merge_moments,
    pearson_with_scores,
    update_moments,
)

dtypes = st.sampled_from([np.float16, np.float32, np.float64])
# Numbers that every type holds, so that all are tested with the same: 6e-8 is the smallest float16.
finite = st.integers(-2, 2).map(float) | st.floats(-1000, 1000, width=16) | st.sampled_from([-0.0, 2.0**-24, 65504.0])
anything = finite | st.sampled_from([np.nan, np.inf, -np.inf])
scores_of = st.integers(-10, 10).map(lambda score: score / 10)


@st.composite
def rows_in_cells(draw, elements=anything):
    rows, n, G = draw(st.integers(0, 20)), draw(st.integers(0, 3)), draw(st.integers(1, 4))
    values = draw(arrays(draw(dtypes), (rows, n), elements=elements))
    return values, draw(arrays(np.int64, rows, elements=st.integers(-1, G - 1))), G


def moments_of(values, cells, G):
    moments = empty_moments(G, values.shape[1])
    update_moments(moments, values, cells)
    return moments


def assert_same(got, expected):
    for name, one, other in zip(Moments._fields, got, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def normal_rows(rows, n, dtype, G, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(3, 2, size=(rows, n)).astype(dtype), generator.integers(-1, G, size=rows)


@given(rows_in_cells())
def test_equal_the_twin_to_the_last_bit(case):
    assert_same(moments_of(*case), slow_twins.moments(*case))


@given(rows_in_cells(finite))
def test_are_numpys_mean_and_variance(case):
    values, cells, G = case
    counts, mean, m2 = moments_of(*case)
    for cell in range(G):
        own = values[cells == cell].astype(np.float64)
        assert (counts[cell] == len(own)).all()
        if len(own):
            np.testing.assert_allclose(mean[cell], own.mean(axis=0), rtol=1e-13, atol=1e-10)
            np.testing.assert_allclose(m2[cell] / len(own), own.var(axis=0), rtol=1e-12, atol=1e-10)
        else:
            assert not mean[cell].any()
            assert not m2[cell].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_no_cutting_of_rows_or_neurons_changes_a_bit(dtype):
    n, G = welford.STRIP + 77, 5
    values, cells = normal_rows(200, n, dtype, G)
    expected = moments_of(values, cells, G)
    for row_cuts in ([1, 2, 5, 130], [64, 128, 192]):
        for neuron_cuts in ([1], [7, 8, 40, 1000], [welford.STRIP]):
            parts = []
            for columns in np.split(np.arange(n), neuron_cuts):
                part = empty_moments(G, len(columns))
                for some_rows in np.split(np.arange(200), row_cuts):
                    chunk = values[some_rows[0] : some_rows[-1] + 1, columns[0] : columns[-1] + 1]
                    update_moments(part, chunk, cells[some_rows])
                parts.append(part)
            assert_same([np.hstack([part[i] for part in parts]) for i in range(3)], expected)


def test_every_float16_is_converted_exactly():
    values = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(1, -1)
    expected = np.where(np.isnan(values), 0, values.astype(np.float64))
    np.testing.assert_array_equal(moments_of(values, np.array([0]), 1).mean, expected)
    # Two rows of a cell go another way than one.
    finite = values[:, np.isfinite(values[0])]
    twice = moments_of(np.vstack([finite, finite]), np.array([0, 0]), 1)
    np.testing.assert_array_equal(twice.mean, finite.astype(np.float64))
    assert not twice.m2.any()


def experts_of(rows, n, width, dtype, G):
    """Rows in which each expert's neurons, side by side, are there or absent together."""
    values, cells = normal_rows(rows, n, dtype, G)
    generator = np.random.default_rng(7)
    absent = np.repeat(generator.random((rows, -(-n // width))) < 0.6, width, axis=1)[:, :n]
    values[absent] = np.nan
    return values, cells


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 77, welford.STRIP, 5000])
def test_a_neuron_is_summed_up_over_the_rows_in_which_it_is_there(dtype, width):
    n, G = welford.STRIP + 500, 4
    values, cells = experts_of(60, n, width, dtype, G)
    got = moments_of(values, cells, G)
    for k in (0, 1, 76, 77, 500, welford.STRIP - 1, welford.STRIP, n - 1):
        there = ~np.isnan(values[:, k])
        alone = moments_of(values[there, k : k + 1], cells[there], G)
        assert_same([array[:, k : k + 1] for array in got], alone)
    pieces = empty_moments(G, n)
    for some in np.array_split(np.arange(60), 9):
        update_moments(pieces, values[some], cells[some])
    assert_same(pieces, got)


def test_one_absent_value_takes_no_other_way_for_its_neighbours():
    values, cells = normal_rows(40, welford.STRIP, np.float32, 3)
    expected = moments_of(values, cells, 3)
    for row, neuron in ((0, 0), (3, 9), (38, 100), (39, welford.STRIP - 1)):
        values[row, neuron] = np.nan
    got = moments_of(values, cells, 3)
    others = ~np.isnan(values).any(axis=0)
    assert_same([array[:, others] for array in got], [array[:, others] for array in expected])
    assert_same(got, slow_twins.moments(values, cells, 3))


def test_what_is_infinite_stays_in_its_cell_and_neuron():
    values, _ = normal_rows(12, 5, np.float32, 3)
    cells = np.arange(12) % 3
    expected = moments_of(values, cells, 3)
    values[4, 1], values[5, 3] = -np.inf, np.inf
    got = moments_of(values, cells, 3)
    np.testing.assert_array_equal(got.counts, expected.counts)
    touched = np.zeros((3, 5), dtype=bool)
    touched[1, 1] = touched[2, 3] = True
    for name in ("mean", "m2"):
        np.testing.assert_array_equal(np.isfinite(getattr(got, name)), ~touched)
        np.testing.assert_array_equal(getattr(got, name)[~touched], getattr(expected, name)[~touched])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_may_lie_in_any_way(dtype):
    values, cells = normal_rows(30, 12, dtype, 3)
    read_only = values.copy()
    read_only.flags.writeable = False
    for view in (
        values[::3],
        values[::-1],
        values[:, 3:9],
        values[:, ::2],
        values[:, 4:5],
        values[5:6, 2:],
        np.asfortranarray(values),
        np.broadcast_to(values[0], values.shape),
        read_only,
    ):
        own = cells[: len(view)]
        assert_same(moments_of(view, own, 3), moments_of(np.ascontiguousarray(view), own, 3))


def test_a_slice_is_not_copied():
    values = np.zeros((10, 8), dtype=np.float32)
    for view in (values, values[2:7], values[::2], values[:, 3:6], values[4:5, 3:6]):
        flat, step = flat_rows(view)
        assert np.shares_memory(flat, values)
        assert (flat[0:1].ctypes.data, step) == (view.ctypes.data, view.strides[0] // 4)
        assert not flat.flags.writeable


@pytest.mark.parametrize(
    ("shape", "cells"), [((2, 3), [0, 2]), ((2, 3), [0, -2]), ((2, 3), [0]), ((2, 4), [0, 1]), ((1, 3), [0, 1])]
)
def test_what_does_not_fit_is_refused_and_nothing_changes(shape, cells):
    moments = empty_moments(2, 3)
    with pytest.raises(ValueError):
        update_moments(moments, np.ones(shape), np.array(cells))
    assert_same(moments, empty_moments(2, 3))


def test_the_bits_of_bfloat16_are_not_taken_for_float16():
    with pytest.raises(TypeError, match="uint16"):
        update_moments(empty_moments(1, 3), np.ones((1, 3), dtype=np.uint16), np.array([0]))


@given(rows_in_cells(finite | st.just(np.nan)), st.integers(0, 20))
def test_merged_is_as_if_added_to_one(case, cut):
    values, cells, G = case
    merged = merge_moments(moments_of(values[:cut], cells[:cut], G), moments_of(values[cut:], cells[cut:], G))
    whole = moments_of(*case)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(merged.m2, whole.m2, rtol=1e-12, atol=1e-9)


def test_merging_is_associative_but_for_rounding():
    parts = [moments_of(*normal_rows(rows, 7, np.float32, 3, seed=rows), 3) for rows in (40, 3, 500)]
    left = merge_moments(merge_moments(parts[0], parts[1]), parts[2])
    right = merge_moments(parts[0], merge_moments(parts[1], parts[2]))
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


@given(rows_in_cells())
def test_merging_with_no_rows_changes_nothing(case):
    moments = moments_of(*case)
    nothing = empty_moments(case[2], case[0].shape[1])
    assert_same(merge_moments(moments, nothing), moments)
    assert_same(merge_moments(nothing, moments), moments)


def test_merging_touches_neither_side():
    a, b = (moments_of(*normal_rows(20, 3, np.float32, 2, seed=seed), 2) for seed in (0, 1))
    before = [part.copy() for part in (*a, *b)]
    merge_moments(a, b)
    for part, copy in zip((*a, *b), before, strict=True):
        np.testing.assert_array_equal(part, copy)


@given(rows_in_cells(finite | st.just(np.nan)), st.lists(st.integers(-1, 2), min_size=4, max_size=4))
def test_grouped_is_as_if_added_to_the_group(case, group):
    values, cells, G = case
    group = np.array(group[:G])
    grouped = group_moments(moments_of(*case), group)
    assert len(grouped.counts) == max(group.max() + 1, 0)
    concepts = np.where(cells >= 0, group[cells], -1)
    whole = moments_of(values, concepts, len(grouped.counts))
    np.testing.assert_array_equal(grouped.counts, whole.counts)
    np.testing.assert_allclose(grouped.mean, whole.mean, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(grouped.m2, whole.m2, rtol=1e-12, atol=1e-9)


@given(rows_in_cells())
def test_eta_squared_equals_the_twin(case):
    values, concepts, _ = case
    eta = eta_squared(moments_of(*case))
    expected = [slow_twins.eta_squared(x, concepts) for x in values.T]
    np.testing.assert_allclose(eta, expected, rtol=1e-9, atol=1e-9)
    assert not (eta < 0).any()
    assert not (eta > 1).any()


def test_eta_squared_of_concepts_apart_and_alike():
    concepts = np.repeat([0, 1, 2], 4)
    values = np.column_stack([concepts, np.tile([1.0, 2.0, 3.0, 5.0], 3), np.full(12, 0.1)])
    np.testing.assert_array_equal(eta_squared(moments_of(values, concepts, 3)), [1.0, 0.0, np.nan])


@given(rows_in_cells(), st.data())
def test_pearson_equals_scipys(case, data):
    values, concepts, C = case
    scores = data.draw(arrays(np.float64, (C, 2), elements=scores_of | st.just(np.nan)))
    r = pearson_with_scores(moments_of(*case), scores)
    assert r.shape == (values.shape[1], 2)
    for k, x in enumerate(values.T):
        expected = [slow_twins.pearson_with_scores(x, concepts, score) for score in scores.T]
        np.testing.assert_allclose(r[k], expected, rtol=1e-9, atol=1e-9)
    assert not (np.abs(r) > 1).any()


@given(
    st.floats(-1e300, 1e300),
    arrays(np.int64, st.integers(1, 30), elements=st.integers(-1, 5)),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_a_constant_neuron_is_found_whatever_its_value(value, cells, group):
    moments = moments_of(np.full((len(cells), 1), value), cells, 6)
    halves = [moments_of(np.full((len(part), 1), value), part, 6) for part in np.array_split(cells, 2)]
    for some in (moments, merge_moments(*halves), group_moments(moments, np.array(group))):
        assert (some.mean[some.counts > 0] == value).all()
        assert not some.m2.any()
        assert np.isnan(eta_squared(some)).all()
        scores = np.arange(len(some.counts), dtype=np.float64)[:, np.newaxis]
        assert np.isnan(pearson_with_scores(some, scores)).all()


def test_a_neuron_that_moves_by_the_last_bit_is_not_constant():
    values = np.full((9, 1), 1.0, dtype=np.float32)
    values[4] = np.nextafter(np.float32(1), np.float32(2))
    concepts = np.arange(9) // 3
    moments = moments_of(values, concepts, 3)
    np.testing.assert_allclose(eta_squared(moments), slow_twins.eta_squared(values[:, 0], concepts), rtol=1e-6)
    assert np.isfinite(pearson_with_scores(moments, np.array([[0.0], [1.0], [3.0]]))).all()


def test_measures_of_a_neuron_do_not_depend_on_its_neighbours():
    moments = moments_of(*normal_rows(400, 33, np.float32, 20), 20)
    scores = np.random.default_rng(1).normal(size=(20, 3))
    eta, r = eta_squared(moments), pearson_with_scores(moments, scores)
    for k in range(33):
        alone = Moments(*(array[:, k : k + 1] for array in moments))
        np.testing.assert_array_equal(eta_squared(alone), eta[k : k + 1])
        np.testing.assert_array_equal(pearson_with_scores(alone, scores), r[k : k + 1])


@pytest.mark.skipif(not llvmlite.binding.get_host_cpu_features().get("avx2"), reason="the registers are AVX's")
@pytest.mark.parametrize("kind", [numba.float32, numba.float64])
@pytest.mark.parametrize("function", ["_add_two", "_add_present"])
def test_the_update_compiles_to_vector_code(kind, function):
    # Compiled again: code that comes from Numba's cache cannot be inspected.
    row, state = kind[::1], numba.float64[::1]
    counts = {"_add_two": (row, numba.int64), "_add_present": (numba.int64[::1],)}[function]
    compiled = numba.njit((row, *counts, state, state))(getattr(welford, function).py_func)
    (assembly,) = compiled.inspect_asm().values()
    for operation in ("vaddpd", "vsubpd", "vmulpd"):
        lines = [line for line in assembly.splitlines() if operation in line]
        assert any("zmm" in line or "ymm" in line for line in lines), operation
