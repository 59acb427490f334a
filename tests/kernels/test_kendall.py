import platform

import numba
import numpy as np
import pytest
import slow_twins
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoscale_kernels import attribute_patterns, decimal_distances, kendall, kendall_bits, kendall_block, tau_b
from emoscale_kernels.kendall_bits import bit_numerators, pack_signs, untied_comparisons
from emoscale_kernels.kendall_sort import dense_ranks, sort_numerators, tie_sums

tied = st.integers(0, 3).map(float)
untied = st.floats(-1e3, 1e3)


@st.composite
def two_sets_of_distances(draw):
    # 66 and 78 distances: a row of comparisons then takes two words, and the last word of some holds one comparison.
    P = draw(st.sampled_from([0, 1, 2, 3, 6, 10, 66, 78]))
    elements = draw(st.sampled_from([tied, untied, tied | untied]))
    return tuple(draw(arrays(np.float64, (draw(st.integers(0, 3)), P), elements=elements)) for _ in range(2))


@settings(deadline=None, max_examples=60)
@given(two_sets_of_distances())
def test_both_algorithms_equal_the_twin(distances):
    neurons, attributes = distances
    expected = np.array([[slow_twins.kendall_numerator(x, y) for y in attributes] for x in neurons], dtype=np.int64)
    expected = expected.reshape(len(neurons), len(attributes))
    np.testing.assert_array_equal(bit_numerators(pack_signs(neurons), pack_signs(attributes)), expected)
    numerators, ties = sort_numerators(neurons, dense_ranks(attributes), tie_sums(attributes))
    np.testing.assert_array_equal(numerators, expected)
    np.testing.assert_array_equal(ties, tie_sums(neurons))


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 70)), elements=tied | untied))
def test_helpers_equal_their_twins(distances):
    np.testing.assert_array_equal(tie_sums(distances), [slow_twins.tie_sums(row) for row in distances])
    np.testing.assert_array_equal(dense_ranks(distances), [slow_twins.dense_ranks(row) for row in distances])
    counts = [slow_twins.untied_comparisons(row) for row in distances]
    np.testing.assert_array_equal(untied_comparisons(pack_signs(distances)), counts)


activations = st.integers(0, 2).map(float) | st.floats(-10, 10) | st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def blocks(draw):
    R, C = draw(st.integers(1, 3)), draw(st.integers(3, 7))
    elements = draw(st.sampled_from([st.integers(0, 2).map(float), st.floats(-10, 10), activations]))
    values = draw(arrays(np.float64, (R, C, draw(st.integers(0, 3))), elements=elements))
    return values, draw(arrays(np.float64, (C, draw(st.integers(1, 3))), elements=elements))


@pytest.mark.parametrize("bits", [True, False])
@settings(deadline=None)
@given(blocks())
def test_tau_is_scipys_to_the_last_bit(bits, block):
    values, scores = block
    patterns = attribute_patterns(decimal_distances(scores), bits=bits)
    numerators, ties = kendall_block(values, patterns)
    C = values.shape[1]
    tau = tau_b(numerators, ties, patterns.ties, C * (C - 1) // 2)
    assert tau.shape == (values.shape[2], scores.shape[1])
    if values.shape[2]:
        np.testing.assert_array_equal(tau, slow_twins.searchlight(values, scores)[0])


@pytest.mark.parametrize("bits", [True, False])
def test_the_studys_size(bits):
    generator = np.random.default_rng(3)
    values, scores = generator.normal(size=(12, 27, 5)), generator.normal(size=(27, 3)).round(1)
    values[:, :, 1] = np.round(values[:, :, 1])
    values[:, :, 2] = 0.25
    values[4, 5, 3] = np.nan
    patterns = attribute_patterns(decimal_distances(scores), bits=bits)
    numerators, ties = kendall_block(values, patterns)
    tau = tau_b(numerators, ties, patterns.ties, 351)
    np.testing.assert_array_equal(tau, slow_twins.searchlight(values, scores)[0])
    np.testing.assert_array_equal(np.isnan(tau).all(axis=1), [False, False, True, True, False])


def test_many_concepts_go_to_merge_sort_and_give_the_same():
    generator = np.random.default_rng(4)
    C = kendall.BITS_BELOW_CONCEPTS
    values, scores = generator.normal(size=(2, C, 2)).round(2), generator.normal(size=(C, 2)).round(1)
    distances = decimal_distances(scores)
    by_choice = attribute_patterns(distances)
    assert by_choice.signs is None
    assert attribute_patterns(decimal_distances(scores[:-1])).signs is not None
    numerators, ties = kendall_block(values, by_choice)
    by_bits, ties_by_bits = kendall_block(values, attribute_patterns(distances, bits=True))
    np.testing.assert_array_equal(numerators, by_bits)
    np.testing.assert_array_equal(ties, ties_by_bits)
    tau = tau_b(numerators, ties, by_choice.ties, distances.shape[1])
    np.testing.assert_array_equal(tau, slow_twins.searchlight(values, scores)[0])


@pytest.mark.parametrize("tile_bytes", [1, 4_000, 2**30])
def test_the_tile_changes_nothing(monkeypatch, tile_bytes):
    generator = np.random.default_rng(5)
    values = generator.normal(size=(2, 8, 11)).round(1)
    patterns = attribute_patterns(decimal_distances(generator.normal(size=(8, 3))))
    expected = kendall_block(values, patterns)
    monkeypatch.setattr(kendall, "_TILE_BYTES", tile_bytes)
    for got, want in zip(kendall_block(values, patterns), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_tau_of_identical_and_opposite_orders():
    distances = np.arange(6.0)[np.newaxis]
    patterns = attribute_patterns(distances, bits=True)
    numerators = bit_numerators(pack_signs(np.vstack([distances, -distances])), patterns.signs)
    np.testing.assert_array_equal(numerators, [[15], [-15]])
    tau = tau_b(numerators, np.zeros((2, 3), dtype=np.int64), patterns.ties, 6)
    np.testing.assert_allclose(tau, [[1.0], [-1.0]], rtol=1e-15)
    assert np.abs(tau).max() <= 1


def test_the_callers_distances_are_left_alone():
    distances = np.array([[1.0, np.nan, 2.0]])
    attribute_patterns(distances)
    np.testing.assert_array_equal(distances, [[1.0, np.nan, 2.0]])


def test_popcount_counts():
    for word in (0, 1, 2**64 - 1, 0xF0F0F0F0F0F0F0F0, 2**63, 123456789123456789):
        assert kendall_bits._popcount(np.uint64(word)) == word.bit_count()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the instruction is x86's")
def test_popcount_compiles_to_the_instruction():
    # Compiled anew: code that comes from Numba's cache cannot be looked at.
    compiled = numba.njit(kendall_bits._popcount.py_func)
    compiled(np.uint64(5))
    (assembly,) = compiled.inspect_asm().values()
    assert "popcnt" in assembly
