"""Neurons under permuted labels: the counts of both backends, against a plain loop."""

import numpy as np
import pytest
import slow_twins
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoscale_kernels import attribute_patterns, decimal_distances, mean_pair_distances, numba_backend, pack_rdms
from emoscale_kernels import torch_backend as torch_kernels

pytestmark = pytest.mark.slow


@st.composite
def blocks(draw):
    """Activations (1, C, n), scores (C, A) and permutations (B, C): many ties, NaN, constant neurons and attributes."""
    C = draw(st.integers(3, 6))
    few = st.integers(0, 3).map(float)
    values = arrays(np.float64, (1, C, draw(st.integers(0, 9))), elements=few | st.floats(-9, 9) | st.just(np.nan))
    scores = arrays(np.float64, (C, draw(st.integers(1, 3))), elements=few)
    orders = st.lists(st.permutations(range(C)), max_size=9)
    return draw(values), draw(scores), np.array(draw(orders), dtype=np.int64).reshape(-1, C)


def numerators(values, scores):
    """(n, A), NaN where the neuron or the attribute is constant."""
    table = np.full((values.shape[2], scores.shape[1]), np.nan)
    for n, x in enumerate(slow_twins.mean_pair_distances(values)):
        for a, y in enumerate(slow_twins.decimal_distances(scores)):
            if np.isfinite(x).all() and slow_twins.untied_comparisons(x) and slow_twins.untied_comparisons(y):
                table[n, a] = slow_twins.kendall_numerator(x, y)
    return table


@pytest.mark.parametrize("backend", [numba_backend, torch_kernels], ids=["numba", "torch"])
@settings(max_examples=80, deadline=None)
@given(blocks(), st.booleans(), st.sampled_from([1, 10**7]))
def test_followers_equal_the_twin(backend, block, bits, together):
    values, scores, orders = block
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(numba_backend, "_PATTERN_BYTES", together)
        patch.setattr(torch_kernels, "_PATTERNS", together)
        rdms = pack_rdms(mean_pair_distances(values), bits=False)
        patterns = attribute_patterns(decimal_distances(scores), bits=bits)
        _, counts = backend.null_counts(rdms, patterns, orders)
    every = np.stack([numerators(values, scores), *(numerators(values, scores[order]) for order in orders)])
    np.testing.assert_array_equal(counts.followers, slow_twins.followers(every))
    assert counts.followers.dtype == np.int64
    # The true labels are the largest where no permutation reaches them.
    reached = (counts.reached == 0) & ~np.isnan(every[0])
    np.testing.assert_array_equal(counts.followers[0], reached.sum(axis=0))


def test_equal_orders_count_for_the_first_permutation():
    values = np.random.default_rng(0).normal(size=(1, 6, 50))
    patterns = attribute_patterns(decimal_distances(np.arange(6.0)[:, None]))
    same = np.tile(np.arange(6), (3, 1))
    _, counts = numba_backend.null_counts(pack_rdms(mean_pair_distances(values), bits=False), patterns, same)
    assert counts.followers[:, 0].tolist() == [0, 50, 0, 0]
