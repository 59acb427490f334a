import itertools
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import slow_twins
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoscale_kernels import (
    attribute_patterns,
    decimal_distances,
    kendall,
    kendall_block,
    numerators,
    pack_rdms,
    permuted_patterns,
    tau_b,
)
from emoscale_kernels.kendall_bits import order_keys, pack_keys, valid_comparisons, words_of
from emoscale_kernels.kendall_sort import ranks_and_ties

pytestmark = pytest.mark.slow

tied = st.integers(0, 3).map(float)
untied = st.floats(0, 1e3)
# Equal once they are multiplied and rounded to 32 bits; of either sign; too small for a scale.
close = st.integers(0, 3).map(lambda steps: 1 + steps * 1e-13)
signed = st.floats(-1e3, 1e3) | st.just(-0.0)
tiny = st.floats(0, 1e-310)


@st.composite
def two_sets_of_distances(draw):
    # 32 distances fill a square of comparisons, 33 and 66 begin another; 9 neurons and 3 patterns leave tiles over.
    P = draw(st.sampled_from([0, 1, 2, 3, 6, 10, 32, 33, 66]))
    elements = draw(st.sampled_from([tied, untied, tied | untied, close, signed, tiny]))
    return tuple(draw(arrays(np.float64, (draw(st.integers(0, most)), P), elements=elements)) for most in (9, 3))


@settings(max_examples=100)
@given(two_sets_of_distances())
def test_both_algorithms_equal_the_twin(distances):
    neurons, attributes = distances
    expected = np.array([[slow_twins.kendall_numerator(x, y) for y in attributes] for x in neurons], dtype=np.int64)
    expected = expected.reshape(len(neurons), len(attributes))
    expected_ties = np.array([slow_twins.tie_sums(row) for row in neurons], dtype=np.int64).reshape(-1, 3)
    for bits, reuse in itertools.product((True, False), (True, False)):
        patterns = attribute_patterns(attributes, bits=bits)
        rdms = pack_rdms(neurons, bits, reuse)
        np.testing.assert_array_equal(numerators(rdms, patterns), expected)
        np.testing.assert_array_equal(rdms.ties, expected_ties)


@settings(max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 70)), elements=tied | untied))
def test_ranks_and_ties_equal_their_twins(distances):
    ranks, ties = ranks_and_ties(distances)
    np.testing.assert_array_equal(ties, [slow_twins.tie_sums(row) for row in distances])
    np.testing.assert_array_equal(ranks, [slow_twins.dense_ranks(row) for row in distances])


@settings(max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(0, 70)), elements=untied | close | signed))
def test_keys_are_in_the_order_of_the_distances_or_doubtful(distances):
    keys, doubtful = order_keys(distances)
    for row, key, doubt in zip(distances, keys, doubtful, strict=True):
        assert doubt or slow_twins.dense_ranks(key[: len(row)]) == slow_twins.dense_ranks(row)
        assert doubt or len(set(row)) == len(row)


def test_many_rows_of_keys_do_not_see_each_other():
    # Rows share a table of what was seen, which is emptied after 255 rows.
    distances = np.tile(np.random.default_rng(6).random(20), (600, 1))
    assert not order_keys(distances)[1].any()
    distances[[0, 254, 255, 256, 511, 599], 7] = distances[0, 3]
    np.testing.assert_array_equal(np.flatnonzero(order_keys(distances)[1]), [0, 254, 255, 256, 511, 599])


@pytest.mark.parametrize("pairs", [0, 1, 31, 32, 33, 70])
def test_every_comparison_has_one_bit(pairs):
    assert valid_comparisons(pairs).shape == (words_of(pairs),)
    assert sum(int(word).bit_count() for word in valid_comparisons(pairs)) == pairs * (pairs - 1) // 2
    ranks = np.random.default_rng(pairs).permutation(pairs).astype(np.int32)
    keys = np.pad(ranks, (0, -pairs % 32))[np.newaxis]
    less = pack_keys(keys, pairs)[0] & valid_comparisons(pairs)
    expected = sum(ranks[i] < ranks[j] for i, j in combinations(range(pairs), 2))
    assert sum(int(word).bit_count() for word in less) == expected


activations = st.integers(0, 2).map(float) | st.floats(-10, 10) | st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def blocks(draw):
    R, C = draw(st.integers(1, 3)), draw(st.integers(3, 7))
    elements = draw(st.sampled_from([st.integers(0, 2).map(float), st.floats(-10, 10), activations]))
    values = draw(arrays(np.float64, (R, C, draw(st.integers(0, 3))), elements=elements))
    return values, draw(arrays(np.float64, (C, draw(st.integers(1, 3))), elements=elements))


@pytest.mark.parametrize("bits", [True, False])
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
    counted, ties = kendall_block(values, by_choice)
    by_bits, ties_by_bits = kendall_block(values, attribute_patterns(distances, bits=True))
    np.testing.assert_array_equal(counted, by_bits)
    np.testing.assert_array_equal(ties, ties_by_bits)
    tau = tau_b(counted, ties, by_choice.ties, distances.shape[1])
    np.testing.assert_array_equal(tau, slow_twins.searchlight(values, scores)[0])


def test_two_hundred_concepts():
    generator = np.random.default_rng(7)
    values, scores = generator.normal(size=(1, 200, 2)), generator.normal(size=(200, 1)).round(1)
    values[:, :, 1] = values[:, :, 1].round(1)
    expected = slow_twins.searchlight(values, scores)[0]
    for bits in (True, False):
        patterns = attribute_patterns(decimal_distances(scores), bits=bits)
        counted, ties = kendall_block(values, patterns)
        np.testing.assert_array_equal(tau_b(counted, ties, patterns.ties, patterns.pairs), expected)


@pytest.mark.parametrize("tile_bytes", [1, 4_000, 2**30])
def test_the_tile_changes_nothing(monkeypatch, tile_bytes):
    generator = np.random.default_rng(5)
    values = generator.normal(size=(2, 8, 11)).round(1)
    patterns = attribute_patterns(decimal_distances(generator.normal(size=(8, 3))))
    expected = kendall_block(values, patterns)
    monkeypatch.setattr(kendall, "_TILE_BYTES", tile_bytes)
    for got, want in zip(kendall_block(values, patterns), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_single_precision_is_computed_in_double():
    values = np.random.default_rng(8).normal(size=(3, 9, 5)).astype(np.float32)
    patterns = attribute_patterns(decimal_distances(np.random.default_rng(9).normal(size=(9, 2))))
    for got, want in zip(
        kendall_block(values, patterns), kendall_block(values.astype(np.float64), patterns), strict=True
    ):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("bits", [True, False])
def test_permuted_patterns_are_those_of_permuted_scores(bits):
    generator = np.random.default_rng(10)
    scores = generator.normal(size=(6, 3)).round(1)
    orders = np.array([generator.permutation(6) for _ in range(4)])
    patterns = permuted_patterns(attribute_patterns(decimal_distances(scores), bits=bits), orders)
    for b, order in enumerate(orders):
        expected = attribute_patterns(decimal_distances(scores[order]), bits=bits)
        for got, want in zip(patterns, expected, strict=True):
            if want is not None:
                np.testing.assert_array_equal(got[3 * b : 3 * b + 3], want)


def test_tau_of_identical_and_opposite_orders():
    distances = np.arange(6.0)[np.newaxis]
    patterns = attribute_patterns(distances, bits=True)
    rdms = pack_rdms(np.vstack([distances, -distances]), bits=True)
    np.testing.assert_array_equal(numerators(rdms, patterns), [[15], [-15]])
    tau = tau_b(numerators(rdms, patterns), rdms.ties, patterns.ties, 6)
    np.testing.assert_allclose(tau, [[1.0], [-1.0]], rtol=1e-15)
    assert np.abs(tau).max() <= 1


def test_memory_is_a_threads_own_and_overwritten_by_its_next_call_only():
    generator = np.random.default_rng(0)
    first, second = (attribute_patterns(generator.random((1, 66)), bits=True) for _ in range(2))
    neurons = generator.random((50, 66))
    kept, expected = pack_rdms(neurons, bits=True), numerators(pack_rdms(neurons, bits=True), first)
    used = pack_rdms(neurons, bits=True, reuse=True)
    with ThreadPoolExecutor(1) as other:
        other.submit(pack_rdms, -neurons[:, ::-1], True, True).result()
    np.testing.assert_array_equal(numerators(used, first), expected)
    pack_rdms(neurons[::-1], bits=True, reuse=True)
    assert (numerators(used, second) != numerators(kept, second)).any()
    np.testing.assert_array_equal(numerators(kept, first), expected)


def test_the_callers_distances_are_left_alone():
    distances = np.array([[1.0, np.nan, 2.0]])
    attribute_patterns(distances)
    pack_rdms(distances, bits=True)
    np.testing.assert_array_equal(distances, [[1.0, np.nan, 2.0]])


_LOOK = """
import numpy as np
from emoscale_kernels import kendall_bits, kendall_block, distances, attribute_patterns, decimal_distances
generator = np.random.default_rng(0)
values = generator.normal(size=(3, 12, 19))
values[:, :, 4] = values[:, :, 4].round()
counted, ties = kendall_block(values, attribute_patterns(decimal_distances(generator.random((12, 3)).round(1))))
print(counted.sum(), (counted**2).sum(), ties.sum())
for kernel in (kendall_bits._pack_keys, kendall_bits._count_discordant, distances._mean_pair_distances):
    print("ASSEMBLY", *kernel.inspect_asm().values())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the instructions are x86's")
@pytest.mark.parametrize(
    ("processor", "instructions"),
    [
        ("haswell", [("vpsubd", "ymm", "vpsrld"), ("vpshufb", "ymm", "vpxor"), ("vsubpd", "ymm", "vaddpd")]),
        ("znver4", [("vpsubd", "zmm", "vpshldd"), ("vpopcntq", "zmm", "vpternlogq"), ("vsubpd", "zmm", "vaddpd")]),
    ],
)
def test_vector_instructions_are_taken(processor, instructions, tmp_path):
    # Compiled again for the processor named: code that comes from Numba's cache cannot be inspected.
    with open("/proc/cpuinfo") as cpuinfo:
        if processor == "znver4" and "avx512_vpopcntdq" not in cpuinfo.read():
            pytest.skip("this processor cannot run the code")
    environment = os.environ | {"NUMBA_CPU_NAME": processor, "NUMBA_CACHE_DIR": str(tmp_path)}
    environment["NUMBA_CPU_FEATURES"] = "+avx2,+bmi,+popcnt" if processor == "haswell" else ""
    if processor == "znver4":
        del environment["NUMBA_CPU_FEATURES"]
    seen = subprocess.run([sys.executable, "-c", _LOOK], env=environment, check=True, capture_output=True, text=True)
    result, *assemblies = seen.stdout.split("ASSEMBLY")
    namespace = {}
    exec(_LOOK.split("for kernel")[0].replace("print(", "result = ("), namespace)
    assert result.split() == [str(number) for number in namespace["result"]]
    for assembly, wanted in zip(assemblies, instructions, strict=True):
        for word in wanted:
            assert word in assembly
