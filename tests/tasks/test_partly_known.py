"""Means of values of which better ones are known for a share are unbiased for these, and intervals hold both errors."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import slow_twins
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emoscale.analysis.item_outcomes import ItemSample, item_outcomes, outcomes_of_masks
from emoscale.analysis.outcomes import evaluate
from emoscale.schema import SCORES
from emoscale.store import create_store
from emoscale.tasks.item_scores import ItemScores, read_scores
from emoscale.tasks.outcomes import NORMALIZATIONS, OUTCOMES, Design, questions
from emoscale.tasks.partly_known import corrected


def known_share(rng, group, masks, known):
    """Which items of each group are known under each mask: as many as `known` says, at least one."""
    found = np.zeros((len(group), masks), bool)
    for number, mask in product(range(group.max() + 1), range(masks)):
        own = np.flatnonzero(group == number)
        found[rng.choice(own, min(known, len(own)), replace=False), mask] = True
    return found


def made_values(seed, sizes, masks=2, known=2):
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    better = rng.normal(size=(len(group), masks, 3))
    cheap = better + 0.3 + 0.2 * rng.normal(size=better.shape)
    return cheap, better, group, known_share(rng, group, masks, known)[:, :, None]


groups = given(st.integers(0, 99), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 3))


@groups
def test_equals_the_formula_item_by_item(seed, sizes, known):
    cheap, better, group, is_known = made_values(seed, sizes, known=known)
    partly = np.where(is_known, better, np.nan)
    np.testing.assert_allclose(corrected(cheap, partly, group), slow_twins.corrected(cheap, partly, group), atol=1e-12)


@groups
def test_means_of_groups_are_cheap_means_plus_mean_differences(seed, sizes, known):
    cheap, better, group, is_known = made_values(seed, sizes, known=known)
    found = corrected(cheap, np.where(is_known, better, np.nan), group)
    for number in range(len(sizes)):
        own = group == number
        difference = np.where(is_known, better - cheap, 0)[own].sum(axis=0) / is_known[own].sum(axis=0)
        np.testing.assert_allclose(found[own].mean(axis=0), cheap[own].mean(axis=0) + difference, atol=1e-12)


@groups
def test_where_everything_is_known_nothing_is_estimated(seed, sizes, known):
    cheap, better, group, _ = made_values(seed, sizes, known=known)
    assert np.array_equal(corrected(cheap, better, group), better)


def test_every_item_is_unbiased_over_all_samples():
    cheap, better, group, _ = made_values(0, [4, 3])
    samples = list(product(*(list(combinations(np.flatnonzero(group == number), 2)) for number in (0, 1))))
    total = np.zeros(cheap.shape)
    for sample in samples:
        partly = np.full(better.shape, np.nan)
        partly[np.concatenate(sample)] = better[np.concatenate(sample)]
        total += corrected(cheap, partly, group)
    assert len(samples) == 18
    np.testing.assert_allclose(total / 18, better, atol=1e-12)


def test_a_group_of_which_nothing_is_known_is_refused():
    with pytest.raises(ValueError, match="no better value"):
        corrected(np.zeros((3, 1, 1)), np.array([0.0, 1.0, np.nan])[:, None, None], np.array([0, 0, 1]))


@pytest.mark.parametrize("shift", [0.0, 1.0], ids=["without bias", "with a bias that all groups share"])
def test_intervals_of_means_cover_the_better_mean(shift):
    # Half of the variance of the mean comes from the sample of known items.
    rng, covered, runs, sample = np.random.default_rng(1), 0, 2_000, ItemSample.of(_items(4, 16))
    group = np.repeat(np.arange(4), 16)
    quantile = stats.t.ppf(0.975, sample.df)
    for _ in range(runs):
        better = rng.normal(size=(64, 1, 1))
        cheap = better + shift + 0.5 * rng.normal(size=better.shape)
        partly = np.where(known_share(rng, group, 1, 4)[:, :, None], better, np.nan)
        values = corrected(cheap, partly, group)[:, :, 0]
        covered += abs(sample.means(values)[0]) <= quantile * np.sqrt(sample.variances(values)[0])
    assert 0.93 < covered / runs < 0.97


def _items(concepts, texts):
    return _design(concepts, texts, 1).items


def _design(concepts, texts, masks):
    names = [f"concept {number}" for number in range(concepts)]
    right = np.repeat(np.arange(concepts), texts)
    items = pd.DataFrame({"concept": np.array(names, object)[right], "replicate": "0", "right": right})
    items = items.assign(text=np.arange(len(items)))
    table = pd.DataFrame({"mask": range(masks), "kind": ["none", *["selective"] * (masks - 1)]})
    table = table.assign(attribute="", k=range(masks), draw=0)
    return Design(items, table, names, np.ones(concepts, np.int64), questions(items, names))


def write_two_levels(folder, design, scores, exact, chunk=2):
    items, masks, options = scores.shape
    coordinates = {
        **{name: design.items[name].to_numpy() for name in ("concept", "replicate", "text", "right")},
        "length": np.ones(items, np.int32),
        **{name: design.masks[name].to_numpy() for name in ("kind", "attribute", "k", "draw")},
        "option": np.array(design.options, object),
        "option_tokens": np.ones(options, np.int32),
    }
    sizes = {"exact_item": 0 if exact is None else items, "token": items, "option_token": options}
    store = create_store(folder / "scores.zarr", SCORES, coordinates, {"mask": chunk}, sizes=sizes)
    for start in range(0, masks, chunk):
        store.write("scores", scores[:, start : start + chunk].astype(np.float32), mask=start)
        if exact is not None:
            store.write("exact_scores", exact[:, start : start + chunk].astype(np.float32), mask=start)
    store.mark_complete()
    return store


def two_levels(rng, concepts=3, texts=4, masks=3, known=2):
    design = _design(concepts, texts, masks)
    exact = rng.normal(size=(len(design.items), masks, concepts))
    scores = exact + 0.3 * rng.normal(size=exact.shape)
    is_known = known_share(rng, design.items["right"].to_numpy(), 1, known)[:, :, None]
    return design, scores, exact, np.where(is_known, exact, np.nan)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_two_levels_of_which_all_is_known_are_the_exact_scores(tmp_path, normalization):
    design, scores, exact, _ = two_levels(np.random.default_rng(2))
    both = write_two_levels(tmp_path / "both", design, scores, exact)
    alone = write_two_levels(tmp_path / "alone", design, exact, None)
    found, expected = (evaluate(store, normalization) for store in (both, alone))
    assert found.table.equals(expected.table)
    assert np.array_equal(found.answers, expected.answers)
    sample = ItemSample.of(design.items)
    for outcome in OUTCOMES.values():
        pair = [item_outcomes(store, sample, outcome, normalization) for store in (both, alone)]
        assert np.array_equal(pair[0], pair[1])


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("outcome", list(OUTCOMES))
def test_tables_and_contributions_have_the_same_means(tmp_path, outcome, normalization):
    design, scores, _, partly = two_levels(np.random.default_rng(3), masks=5)
    store = write_two_levels(tmp_path, design, scores, partly)
    sample, column = ItemSample.of(design.items), OUTCOMES[outcome].column
    table = evaluate(store, normalization).table
    expected = table.pivot_table(column, "concept", "mask").mean().to_numpy()
    for values in item_outcomes(store, sample, OUTCOMES[outcome], normalization):
        np.testing.assert_allclose(sample.means(values), expected, atol=1e-12)


def test_an_answer_is_corrected_and_not_that_of_corrected_scores(tmp_path):
    design, scores, _, partly = two_levels(np.random.default_rng(4))
    read = read_scores(write_two_levels(tmp_path, design, scores, partly), design)
    group, right = design.group, design.items["right"].to_numpy()[:, None, None]
    is_known = ~np.isnan(partly[:, :, :1])
    of_each = [OUTCOMES["accuracy"].compute(values, right) for values in (read.scores, np.nan_to_num(partly))]
    expected = corrected(of_each[0], np.where(is_known, of_each[1], np.nan), group)
    np.testing.assert_array_equal(read.outcome(OUTCOMES["accuracy"].compute, "none"), expected)


def test_intervals_of_calibrated_log_odds_cover_the_exact_mean():
    # The texts are a sample, of which the known ones are a sample; the options' means depend on both.
    outcome, design = OUTCOMES["log-odds"], _design(3, 16, 1)
    sample, right = ItemSample.of(design.items), design.items["right"].to_numpy()
    quantile = stats.t.ppf(0.975, sample.df)
    rng, runs, names = np.random.default_rng(5), 2_000, np.array([2.0, 0.0, -1.0])

    def drawn(right):
        exact = names + rng.normal(size=(len(right), 1, 3))
        exact[np.arange(len(right)), 0, right] += 1.5
        return exact, exact + np.array([0.5, 0.0, -0.5]) + 0.7 * rng.normal(size=exact.shape)

    many = _design(3, 100_000, 1)
    apply = NORMALIZATIONS["calibrated"].apply
    truth = outcome.compute(apply(drawn(many.items["right"].to_numpy())[0], many), _column(many)).mean()
    covered = 0
    for _ in range(runs):
        exact, scores = drawn(right)
        partly = np.where(known_share(rng, right, 1, 4)[:, :, None], exact, np.nan)
        values = outcomes_of_masks(ItemScores(scores, partly, design), sample, outcome, "calibrated")[1]
        covered += abs(sample.means(values)[0] - truth) <= quantile * np.sqrt(sample.variances(values)[0])
    assert 0.93 < covered / runs < 0.97


def _column(design):
    return design.items["right"].to_numpy()[:, None, None]
