"""Intervals of drops cover the truth over other texts and other permutations."""

import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.drop_estimates import Covariate, estimate_drops
from emoscale.analysis.item_outcomes import ItemSample

CONCEPTS, A = 9, 3


def sample_of(texts):
    concept = np.repeat(np.arange(CONCEPTS), texts)
    return ItemSample.of(
        pd.DataFrame({"concept": concept, "replicate": "0", "right": concept, "text": np.arange(len(concept))})
    )


def simulate(rng, texts, draws, masks, follows, many=4000):
    """Crossed random texts and draws; every attribute's drop is .5, and the estimates follow the masks so far."""
    items = CONCEPTS * texts
    of_all = masks * (rng.normal(size=(draws + many, A)) + rng.normal(size=(draws + many, 1)))
    of_draws = of_all[:draws]
    values = rng.normal(size=(items, 1, 1)) + 0.3 * rng.normal(size=(items, 1 + draws, A))
    values[:, 1:] += of_draws
    values[:, 0] += 0.2 * rng.normal(size=(items, A)) - 0.5
    noise = masks * np.sqrt(2) * rng.normal(size=of_all.shape)
    estimates = follows * of_all + np.sqrt(1 - follows**2) * noise
    return values, Covariate(estimates[:draws], estimates[draws:])


@pytest.mark.parametrize(
    ("texts", "draws", "masks", "follows", "many"),
    [
        (2, 3, 0.05, 0.0, 1),
        (2, 19, 0.1, 0.0, 1),
        (4, 19, 0.3, 0.9, 4000),
        (4, 5, 0.1, 0.9, 4000),
        (3, 19, 0.0, 0.0, 1),
        (8, 19, 0.5, 1.0, 99),  # the error of the mean over many permutations is most of all
    ],
)
def test_intervals_cover(texts, draws, masks, follows, many):
    rng, sample, runs = np.random.default_rng(0), sample_of(texts), 400
    covered, widths = np.zeros(A + 1), []
    for _ in range(runs):
        values, covariate = simulate(rng, texts, draws, masks, follows, many)
        drops = estimate_drops(values, sample, covariate if follows else None)
        intervals = np.array([drop.interval(0.95) for drop in drops])
        covered += (intervals[:, 0] <= 0.5) & (intervals[:, 1] >= 0.5)
        widths.append(intervals[:, 1] - intervals[:, 0])
    assert covered.mean() / runs == pytest.approx(0.95, abs=0.03)


def test_a_good_covariate_narrows_the_interval():
    rng, sample = np.random.default_rng(1), sample_of(4)
    values, covariate = simulate(rng, 4, 19, 0.5, 0.98)
    plain, adjusted = (estimate_drops(values, sample, given)[-1] for given in (None, covariate))
    assert adjusted.se < plain.se / 2


def test_drop_is_that_of_the_means():
    values, _ = simulate(np.random.default_rng(2), 3, 5, 0.1, 0.0)
    means = values.mean(axis=0)
    found = [drop.drop for drop in estimate_drops(values, sample_of(3))]
    expected = means[1:].mean(axis=0) - means[0]
    np.testing.assert_allclose(found, [*expected, expected.mean()])


@pytest.mark.parametrize("draws", [1, 2])
def test_too_few_draws_give_no_interval(draws):
    values, _ = simulate(np.random.default_rng(3), 3, draws, 0.1, 0.0)
    drops = estimate_drops(values, sample_of(3))
    assert all(np.isfinite(drop.drop) and np.isnan(drop.interval(0.95)).all() for drop in drops)


def test_masks_that_do_nothing():
    drops = estimate_drops(np.ones((27, 6, A)), sample_of(3))
    assert all(drop.drop == 0 and drop.se == 0 for drop in drops)
