"""Items' contributions have the mean of the outcomes, and their spread is that of the mean over other texts."""

import numpy as np
import pandas as pd
import pytest
from permuted_scores import made_scores, masks_of, write_scores

from emoscale.analysis.item_outcomes import ItemSample, item_outcomes
from emoscale.analysis.outcomes import evaluate
from emoscale.tasks.outcomes import NORMALIZATIONS, OUTCOMES, read_design

MASKS = masks_of(["valence", "arousal"], [3], 3)


def items_of(concepts, texts, replicate="0"):
    table = pd.DataFrame({"concept": concepts, "replicate": replicate, "text": texts})
    return table.assign(right=pd.factorize(table["concept"])[0])


@pytest.mark.parametrize("normalization", ["none", "calibrated"])
@pytest.mark.parametrize("outcome", list(OUTCOMES))
def test_contributions_have_the_mean_of_the_outcomes_whatever_the_chunks(tmp_path, outcome, normalization):
    scores = made_scores(np.random.default_rng(0), MASKS)
    found = []
    for chunk in (1, 4, 50):
        store = write_scores(tmp_path / str(chunk), scores, MASKS, chunk=chunk)
        sample = ItemSample.of(read_design(store).items)
        outcomes, contributions = item_outcomes(store, sample, OUTCOMES[outcome], normalization)
        found.append(contributions)
        table = evaluate(store, normalization).table
        column = OUTCOMES[outcome].column
        expected = table.pivot_table(column, "concept", "mask").mean().to_numpy()
        np.testing.assert_allclose(sample.means(outcomes), expected, atol=1e-6)
        np.testing.assert_allclose(sample.means(contributions), expected, atol=1e-6)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_contributions_foresee_what_other_texts_do_to_calibrated_outcomes(tmp_path):
    # Fewer texts of the first concepts: a sample of texts that is not balanced moves the options' means.
    scores = made_scores(np.random.default_rng(1), MASKS, texts=6)
    store = write_scores(tmp_path, scores, MASKS)
    design = read_design(store)
    sample = ItemSample.of(design.items)
    _, contributions = item_outcomes(store, sample, OUTCOMES["log-odds"], "calibrated")
    rng, means = np.random.default_rng(2), []
    right = design.items["right"].to_numpy()[:, None, None]
    for _ in range(400):
        drawn = np.concatenate([rng.choice(np.flatnonzero(design.items["right"] == c), 6) for c in range(9)])
        values = NORMALIZATIONS["calibrated"].apply(scores[drawn].astype(np.float64), design)
        means.append(OUTCOMES["log-odds"].compute(values, right[drawn])[:, :, 0].mean(axis=0))
    resampled = np.var(means, axis=0) * 6 / 5
    assert sample.variances(contributions) == pytest.approx(resampled, rel=0.25)


def test_variance_of_a_stratified_sample():
    values = np.random.default_rng(3).normal(size=(12, 2))
    sample = ItemSample.of(items_of(np.repeat(list("abcd"), 3), np.arange(12)))
    by_concept = values.reshape(4, 3, 2)
    expected = (by_concept.var(axis=1, ddof=1) / 3).sum(axis=0) / 16
    np.testing.assert_allclose(sample.variances(values), expected)
    assert sample.df == 8


def test_items_of_one_text_vary_together():
    values = np.random.default_rng(4).normal(size=(6, 1))
    concepts = list("ababab")
    apart = ItemSample.of(items_of(concepts, range(6)))
    together = ItemSample.of(items_of(concepts, [0, 0, 1, 1, 2, 2]))
    of_texts = values.reshape(3, 2).mean(axis=1)
    np.testing.assert_allclose(together.variances(values), of_texts.var(ddof=1) / 3)
    assert together.variances(values) != pytest.approx(apart.variances(values))


def test_concepts_of_a_single_text_are_compared_with_one_another():
    values = np.random.default_rng(5).normal(size=(5, 1))
    sample = ItemSample.of(items_of(list("abcde"), range(5)))
    np.testing.assert_allclose(sample.variances(values), values.var(ddof=1) / 5)
    assert np.isnan(ItemSample.of(items_of(["a"], [0])).variances(values[:1])).all()


def test_items_without_a_text_are_texts_of_their_own():
    sample = ItemSample.of(items_of(list("aabb"), [-1, -1, -1, -1]))
    assert len(np.unique(sample.text)) == 4


def test_replicates_and_concepts_weigh_the_same_however_many_texts_they_have():
    items = items_of(list("aaab"), range(4), replicate=["0", "0", "1", "0"])
    np.testing.assert_allclose(ItemSample.of(items).weights, [1 / 8, 1 / 8, 1 / 4, 1 / 2])
