import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.neurons import followers, overlap, significant_by_layer, tau_summary


def test_counts_by_layer():
    rng = np.random.default_rng(0)
    q = rng.random((30, 2))
    q[4] = np.nan
    layer = np.repeat([0, 2, 5], [5, 10, 15])
    table = significant_by_layer(q, layer, ["x", "y"], 0.4)
    assert len(table) == 6
    for row in table.itertuples():
        column = "xy".index(row.attribute)
        expected = sum(1 for n in range(30) if layer[n] == row.layer and q[n, column] < 0.4)
        assert row.neurons == expected
        assert row.share == pytest.approx(expected / (layer == row.layer).sum())


def test_summary_counts_what_was_not_measured():
    tau = np.array([[0.1, np.nan], [0.5, np.nan], [np.nan, np.nan], [-0.2, np.nan]])
    q = np.array([[0.2, np.nan], [0.001, np.nan], [np.nan, np.nan], [0.9, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = tau_summary(tau, q, ["x", "none"], 0.01).set_index("attribute")
    assert table.loc["x"].tolist() == pytest.approx([0.5, 0.1, 1, 1, 4, 0.01])
    assert table.loc["none", ["significant", "undefined"]].tolist() == [0, 4]
    assert np.isnan(table.loc["none", "max_tau"])


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.data())
def test_overlap_counts_shared_members(seed, n, data):
    ks = data.draw(st.lists(st.integers(1, n), min_size=1, max_size=3, unique=True))
    rank = stats.rankdata(np.random.default_rng(seed).integers(0, 9, (n, 3)), axis=0)
    table = overlap(rank, ["x", "y", "z"], ks)
    assert len(table) == 3 * len(ks)
    for row in table.itertuples():
        sets = [
            {i for i, _ in sorted(enumerate(rank[:, "xyz".index(name)]), key=lambda pair: pair[1])[: row.k]}
            for name in (row.attribute_1, row.attribute_2)
        ]
        assert row.shared == len(sets[0] & sets[1])
        assert row.expected == pytest.approx(row.k**2 / n)
        assert row.ratio == pytest.approx(row.shared / row.expected)


def test_all_neurons_overlap_by_chance():
    table = overlap(stats.rankdata(np.random.default_rng(0).random((20, 2)), axis=0), ["x", "y"], [20])
    assert (table["shared"].item(), table["ratio"].item()) == (20, 1)


def test_one_attribute_has_no_pairs():
    assert overlap(np.arange(5.0)[:, None], ["x"], [2]).empty


def test_followers_are_compared_with_what_permutations_give():
    counts = np.random.default_rng(0).poisson(2, (100, 3))
    counts[0] = [40, 2, 0]
    counts[7, 2] = 40
    table = followers(counts, ["x", "y", "z"])
    for a, row in enumerate(table.itertuples()):
        null = counts[1:, a]
        assert (row.attribute, row.followers, row.neurons) == ("xyz"[a], counts[0, a], counts[:, a].sum())
        assert (row.null_mean, row.null_largest) == (pytest.approx(null.mean()), null.max())
        assert (row.null_low, row.null_high) == tuple(np.quantile(null, (0.025, 0.975)))
        assert row.p == pytest.approx((1 + (null >= counts[0, a]).sum()) / 100)
        assert row.p_corrected == pytest.approx((1 + (counts[1:].max(axis=1) >= counts[0, a]).sum()) / 100)
    assert table["p"][0] == 0.01
    assert table["p_corrected"][0] == 0.02  # permutation 7 gives the third attribute as many


def test_an_attribute_without_any_tau_has_no_test():
    table = followers(np.array([[3, 0], [0, 0], [1, 0]]), ["x", "constant"]).set_index("attribute")
    assert table.loc["constant", ["followers", "neurons"]].tolist() == [0, 0]
    assert table.loc["constant", ["p", "p_corrected", "null_mean"]].isna().all()
    assert table.loc["x", ["p", "p_corrected"]].tolist() == pytest.approx([1 / 3, 1 / 3])


def test_without_permutations_there_is_no_table_of_followers():
    store = SimpleNamespace(read=lambda name: np.empty((0, 2), np.int64))
    assert AnalysisInputs.followers.func(SimpleNamespace(selectivity=store)) is None
