import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emoscale.analysis.humans import (
    concept_correlations,
    human_comparison,
    importance,
    mantel_taus,
    mean_drop_correlation,
)
from emoscale_kernels import condensed_distances


def plain_tau_b(x, y):
    concordant = ties_x = ties_y = total = 0
    for i in range(len(x)):
        for j in range(i):
            sx, sy = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            concordant += sx * sy
            ties_x += sx == 0
            ties_y += sy == 0
            total += 1
    return concordant / np.sqrt((total - ties_x) * (total - ties_y))


def test_importance_is_tau_b_one_sided():
    rng = np.random.default_rng(1)
    rdms = rng.integers(0, 5, (3, 15)).astype(float)
    dissimilarity = rdms[0] + rng.integers(0, 3, 15)
    table = importance(dissimilarity, rdms, ["a", "b", "c"])
    assert table["tau"].tolist() == pytest.approx([plain_tau_b(dissimilarity, rdm) for rdm in rdms])
    expected = stats.kendalltau(dissimilarity, rdms[0], method="asymptotic", alternative="greater")
    assert table["p_published"][0] == pytest.approx(expected.pvalue)
    assert table["q_published"].tolist() == pytest.approx(list(table["p_published"] * 3 / table["p_published"].rank()))
    assert table["p"][0] < 0.05
    assert table["q"].tolist() == pytest.approx(list(stats.false_discovery_control(table["p"])))


@given(st.integers(2, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_taus_of_permuted_concepts_equal_the_twin(concepts, attributes, levels, seed):
    rng = np.random.default_rng(seed)
    pairs = concepts * (concepts - 1) // 2
    dissimilarity, rdms = (rng.integers(0, levels, shape).astype(float) for shape in (pairs, (attributes, pairs)))
    orders = rng.permuted(np.tile(np.arange(concepts), (5, 1)), axis=1)
    found = mantel_taus(dissimilarity, rdms, orders)
    np.testing.assert_allclose(found, slow_twins.mantel_taus(dissimilarity, rdms, orders), rtol=1e-12)


def test_importance_is_tested_by_permuting_concepts():
    """All 24 orders of four concepts, each about as often as any other."""
    rng = np.random.default_rng(4)
    rdms, dissimilarity = rng.random((3, 6)), rng.random(6)
    table = importance(dissimilarity, rdms, ["a", "b", "c"], permutations=20_000)
    taus = mantel_taus(dissimilarity, rdms, np.array(list(itertools.permutations(range(4)))))
    assert table["p"].tolist() == pytest.approx((taus >= taus[0] - 1e-12).mean(axis=0), abs=0.015)
    z = (taus - taus.mean(axis=0)) / taus.std(axis=0)
    corrected = (z.max(axis=1)[:, None] >= z[0] - 1e-9).mean(axis=0)
    assert table["p_corrected"].tolist() == pytest.approx(corrected, abs=0.015)
    assert (table["p_corrected"] >= table["p"]).all()
    again = importance(dissimilarity, rdms, ["a", "b", "c"], permutations=20_000)
    pd.testing.assert_frame_equal(table, again)


def test_p_of_importance_hold_where_people_know_nothing_of_the_attributes():
    """Dissimilarities depend on each other as distances do, so the asymptotic p is too small more often."""
    rng = np.random.default_rng(8)
    single, corrected, published = [], [], []
    for seed in range(300):
        people, scores = rng.random((15, 2)), rng.random((15, 5))
        between = np.linalg.norm(condensed_distances(people), axis=0)
        table = importance(between, condensed_distances(scores), list("abcde"), permutations=99, seed=seed)
        single.append((table["p"] <= 0.05).mean())
        corrected.append((table["p_corrected"] <= 0.05).any())
        published.append((table["p_published"] <= 0.05).mean())
    assert np.mean(single) == pytest.approx(0.05, abs=0.02)
    assert np.mean(corrected) == pytest.approx(0.05, abs=0.035)
    assert np.mean(published) > 0.07


def test_an_attribute_that_does_not_vary_has_no_importance():
    table = importance(np.arange(6.0), np.vstack([np.zeros(6), np.arange(6.0)]), ["flat", "real"])
    assert np.isnan(table["tau"][0])
    assert table.loc[0, ["p", "p_corrected", "q", "p_published", "q_published"]].isna().all()
    assert table["q"][1] == table["p"][1] == table["p_corrected"][1]
    assert table["q_published"][1] == pytest.approx(table["p_published"][1])


def made_pairs(attributes=5, concepts=6, replicates=2, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"a{i}" for i in range(attributes)]
    tau = pd.DataFrame({"attribute": names[::-1], "tau": np.linspace(0.6, 0, attributes)})
    strength = tau.set_index("attribute")["tau"]
    paired = pd.DataFrame(
        {
            "control": "random",
            "k": k,
            "concept": f"c{c}",
            "attribute": name,
            "replicate": str(r),
            "d": -strength[name] * 0.3 + rng.normal(0, 0.1),
        }
        for k in (10, 20)
        for c in range(concepts)
        for name in names
        for r in range(replicates)
    )
    return paired, tau


def plain_correlations(paired, tau, k):
    strength = tau.set_index("attribute")["tau"]
    values = {}
    for concept in sorted(set(paired["concept"])):
        rows = paired[(paired["k"] == k) & (paired["concept"] == concept)]
        drops = [-rows[rows["attribute"] == name]["d"].mean() for name in strength.index]
        values[concept] = stats.pearsonr(drops, strength).statistic
    return values


@pytest.mark.parametrize("categorical", [False, True])
def test_correlations_and_their_test(categorical):
    paired, tau = made_pairs()
    if categorical:
        paired["attribute"] = pd.Categorical(paired["attribute"], ["", "a3", "a0", "a1", "a2", "a4"])
    correlations = concept_correlations(paired, tau)
    comparison = human_comparison(correlations).set_index("k")
    for k in (10, 20):
        plain = plain_correlations(paired, tau, k)
        rows = correlations[correlations["k"] == k].set_index("concept")["r"]
        assert rows.to_dict() == pytest.approx(plain)
        test = stats.ttest_1samp(np.arctanh(list(plain.values())), 0)
        row = comparison.loc[k]
        assert row["t"] == pytest.approx(test.statistic)
        assert (row["df"], row["concepts"]) == (5, 6)
        assert row["p"] == pytest.approx(test.pvalue)
        assert row["mean_r"] == pytest.approx(np.tanh(np.arctanh(list(plain.values())).mean()))
        assert row["ci_low"] == pytest.approx(np.tanh(test.confidence_interval().low))
        assert row["ci_high"] == pytest.approx(np.tanh(test.confidence_interval().high))


def test_undefined_and_perfect_correlations_are_left_out_and_counted():
    paired, tau = made_pairs()
    paired.loc[(paired["k"] == 10) & (paired["concept"] == "c0"), "d"] = 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        correlations = concept_correlations(paired, tau)
        correlations.loc[(correlations["k"] == 10) & (correlations["concept"] == "c1"), "r"] = 1.0
        comparison = human_comparison(correlations).set_index("k")
    assert np.isnan(correlations.query("k == 10 and concept == 'c0'")["r"].item())
    assert comparison["concepts"].to_dict() == {10: 4, 20: 6}
    assert comparison.loc[10, "df"] == 3


def test_two_attributes_are_too_few():
    paired, tau = made_pairs(attributes=2)
    correlations = concept_correlations(paired, tau)
    assert correlations["r"].isna().all()
    comparison = human_comparison(correlations)
    assert comparison["concepts"].tolist() == [0, 0]
    assert comparison[["mean_r", "t", "p", "ci_low", "ci_high"]].isna().all(axis=None)
    assert mean_drop_correlation(paired, tau)[["r", "p", "ci_low", "ci_high"]].isna().all(axis=None)


def test_an_attribute_without_importance_is_left_out():
    paired, tau = made_pairs()
    without = tau.assign(tau=tau["tau"].where(tau["attribute"] != "a1"))
    expected = concept_correlations(paired[paired["attribute"] != "a1"], tau[tau["attribute"] != "a1"])
    np.testing.assert_allclose(concept_correlations(paired, without)["r"], expected["r"])


def test_the_mean_drops_are_correlated_over_attributes():
    paired, tau = made_pairs()
    table = mean_drop_correlation(paired, tau).set_index("k")
    strength = tau.set_index("attribute")["tau"]
    for k in (10, 20):
        means = -paired[paired["k"] == k].groupby("attribute")["d"].mean()
        expected = stats.pearsonr(means[strength.index], strength)
        interval = expected.confidence_interval(0.95)
        assert (table.loc[k, "control"], table.loc[k, "attributes"]) == ("random", 5)
        assert table.loc[k, "r"] == pytest.approx(expected.statistic)
        assert table.loc[k, "p"] == pytest.approx(expected.pvalue)
        assert (table.loc[k, "ci_low"], table.loc[k, "ci_high"]) == pytest.approx((interval.low, interval.high))


def test_each_control_has_its_own_correlations():
    (paired, tau), (other, _) = made_pairs(), made_pairs(seed=1)
    other = other.assign(control="random-by-layer")
    both = pd.concat([paired, other], ignore_index=True)
    both["control"] = pd.Categorical(both["control"], ["random", "random-by-layer"], ordered=True)
    for function in (concept_correlations, mean_drop_correlation):
        table = function(both, tau)
        assert list(table)[:2] == ["control", "k"]
        assert table["control"].unique().tolist() == ["random", "random-by-layer"]
        alone = pd.concat([function(paired, tau), function(other, tau)], ignore_index=True)
        pd.testing.assert_frame_equal(table.astype({"control": str}), alone.astype({"control": str}))
    comparison = human_comparison(concept_correlations(both, tau))
    assert list(zip(comparison["control"], comparison["k"], strict=True)) == [
        (control, k) for control in ("random", "random-by-layer") for k in (10, 20)
    ]
