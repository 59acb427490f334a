import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_pairs import pairs_of
from scipy import stats

from emoscale.analysis.specificity import specificity, specificity_summary
from emoscale.concepts.loading import Concepts

pytestmark = pytest.mark.slow

CONCEPTS = [f"c{i}" for i in range(9)]
ATTRIBUTES = ["valence", "control", "arousal"]


def made(concepts=9, own=0.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(1, 9, (concepts, 3))
    return own * scores + rng.normal(size=(concepts, 3)), scores


def tables(drops, scores, **options):
    names = CONCEPTS[: len(drops)]
    paired = pairs_of({10: drops}, names, ATTRIBUTES)
    concepts = Concepts(names, ATTRIBUTES, scores, None)
    return specificity(paired, concepts), specificity_summary(paired, concepts, **options).iloc[0]


def plain_r(x, y):
    if len(x) < 3 or np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return np.nan
    return stats.pearsonr(x, y).statistic


def plain_difference(drops, scores):
    own, other = [], []
    for a, s in itertools.product(range(3), range(3)):
        r = plain_r(drops[:, a], scores[:, s])
        if abs(r) < 1 - 1e-12:
            (own if a == s else other).append(np.arctanh(r))
    if not own or not other:
        return np.nan, np.nan, np.nan
    at_own, at_other = np.tanh(np.mean(own)), np.tanh(np.mean(other))
    return at_own, at_other, at_own - at_other


def test_every_cell_is_the_correlation_of_scipy():
    drops, scores = made()
    cells, _ = tables(drops, scores, resamples=9)
    assert list(cells) == ["control", "k", "attribute", "score", "r", "ci_low", "ci_high", "concepts"]
    assert len(cells) == 9
    for row in cells.to_dict("records"):
        a, s = ATTRIBUTES.index(row["attribute"]), ATTRIBUTES.index(row["score"])
        expected = stats.pearsonr(drops[:, a], scores[:, s])
        interval = expected.confidence_interval(0.95)
        assert row["r"] == pytest.approx(expected.statistic)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
        assert row["concepts"] == 9


@pytest.mark.parametrize("own", [0.0, 0.2])
def test_the_summary_is_the_plain_one_and_its_p_that_of_all_permutations(own):
    drops, scores = made(5, own)
    _, row = tables(drops, scores)
    expected = plain_difference(drops, scores)
    assert (row["own"], row["other"], row["difference"]) == pytest.approx(expected)
    assert row["attributes"] == 3
    reached = [
        plain_difference(drops, scores[list(order)])[2] >= expected[2] - 1e-9
        for order in itertools.permutations(range(5))
    ]
    exact = np.mean(reached)
    assert row["p"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9_999) + 1e-4)


def test_the_interval_is_that_of_a_plain_bootstrap():
    drops, scores = made(9, 0.2)
    _, row = tables(drops, scores, resamples=200, seed=5)
    # The same draws: with as few concepts as this the ends of the interval vary much from one set of draws to another.
    rng = np.random.default_rng([5, 1])
    drawn = [plain_difference(drops[rows], scores[rows])[2] for rows in rng.integers(9, size=(200, 9))]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
    assert row["ci_low"] < row["difference"] < row["ci_high"]


def test_specific_neurons_are_found_and_others_are_not():
    _, specific = tables(*made(9, 2.0))
    assert specific["own"] > 0.9
    assert specific["p"] < 0.01
    assert specific["ci_low"] > 0
    p = [tables(*made(9, seed=seed), resamples=199)[1]["p"] for seed in range(40)]
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) < 0.2) < 0.4


@settings(max_examples=40)
@given(st.integers(0, 2**16), st.integers(3, 9), st.sampled_from([1, 2, 20]))
@example(seed=19, concepts=3, levels=2)  # drops that are equal but for rounding, some of them near 0
def test_ties_constants_and_few_concepts_agree_with_the_plain_loop(seed, concepts, levels):
    rng = np.random.default_rng(seed)
    drops, scores = rng.integers(levels, size=(2, concepts, 3)) / 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells, row = tables(drops, scores, resamples=5)
    plain = [plain_r(drops[:, a], scores[:, s]) for a, s in itertools.product(range(3), range(3))]
    order = [(a, s) for a in ATTRIBUTES for s in ATTRIBUTES]
    ours = cells.set_index(["attribute", "score"])["r"].reindex(order)
    np.testing.assert_allclose(ours, plain, atol=1e-9)
    expected = plain_difference(drops, scores)
    np.testing.assert_allclose(row["difference"], expected[2], atol=1e-6)
    assert np.isnan(row["p"]) == np.isnan(row["difference"])


@pytest.mark.parametrize("concepts", [1, 2])
def test_too_few_concepts(concepts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells, row = tables(*made(concepts))
    assert cells[["r", "ci_low", "ci_high"]].isna().all(axis=None)
    assert row[["own", "other", "difference", "ci_low", "ci_high", "p"]].isna().all()


def test_a_concept_without_a_drop_or_score_is_left_out():
    drops, scores = made()
    without = drops.copy(), scores.copy()
    without[0][4, 1], without[1][7, 0] = np.nan, np.nan
    kept = [0, 1, 2, 3, 5, 6, 8]
    cells, row = tables(*without)
    fewer, expected = tables(drops[kept], scores[kept])
    assert set(cells["concepts"]) == {7}
    np.testing.assert_allclose(cells["r"], fewer["r"])
    assert row["difference"] == pytest.approx(expected["difference"])


def test_concepts_are_matched_by_name_and_each_size_is_drawn_alike():
    drops, scores = made()
    order = np.random.default_rng(1).permutation(9)
    paired = pairs_of({10: drops, 20: drops}, CONCEPTS, ATTRIBUTES)
    straight = specificity_summary(paired, Concepts(CONCEPTS, ATTRIBUTES, scores, None))
    shuffled = specificity_summary(paired, Concepts([CONCEPTS[i] for i in order], ATTRIBUTES, scores[order], None))
    pd.testing.assert_frame_equal(straight, shuffled)
    columns = ["own", "other", "difference", "p", "ci_low", "ci_high"]
    assert straight.loc[0, columns].tolist() == pytest.approx(straight.loc[1, columns].tolist())
