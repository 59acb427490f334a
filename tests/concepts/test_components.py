from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from emoscale.concepts.components import parallel_thresholds, principal_components, rotate, varimax
from emoscale.concepts.options import ScoreOptions

R_TOLERANCE = ScoreOptions().tolerance


def criterion(loadings):
    """Variance of the squared loadings within components, after Kaiser normalisation."""
    squares = loadings**2 / (loadings**2).sum(axis=1, keepdims=True)
    return squares.var(axis=0).sum()


def planar(K, i, j, angle):
    rotation = np.eye(K)
    rotation[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return rotation


def some_loadings(items, K, seed):
    rng = np.random.default_rng(seed)
    simple = np.zeros((items, K))
    simple[np.arange(items), rng.integers(0, K, items)] = rng.uniform(0.4, 0.9, items)
    mixing = stats.special_ortho_group.rvs(K, random_state=seed)
    return (simple + rng.normal(0, 0.15, (items, K))) @ mixing


@pytest.mark.parametrize("seed", range(5))
def test_two_components_reach_the_best_of_all_angles(seed):
    loadings = some_loadings(9, 2, seed)
    angles = np.linspace(0, np.pi / 2, 5001)
    best = max(criterion(loadings @ planar(2, 0, 1, angle)) for angle in angles)
    assert criterion(loadings @ varimax(loadings, 1e-12)) == pytest.approx(best, abs=1e-6)
    assert criterion(loadings) < best - 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_no_rotation_of_two_of_four_components_is_better(seed):
    loadings = some_loadings(20, 4, seed)
    rotation = varimax(loadings, 1e-12)
    reached = criterion(loadings @ rotation)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-12)
    for i, j in combinations(range(4), 2):
        for angle in np.linspace(-np.pi / 4, np.pi / 4, 401):
            assert criterion(loadings @ rotation @ planar(4, i, j, angle)) <= reached + 1e-9


def test_the_rotation_does_not_depend_on_order_signs_or_the_items_communality():
    loadings = some_loadings(15, 3, 7)
    rng = np.random.default_rng(0)
    rotation = varimax(loadings, R_TOLERANCE)
    order, sign, weight = rng.permutation(15), rng.choice([-1.0, 1.0], 15), rng.uniform(0.2, 1, 15)
    np.testing.assert_allclose(varimax(loadings[order], R_TOLERANCE), rotation, atol=1e-9)
    np.testing.assert_allclose(varimax(loadings * (sign * weight)[:, None], R_TOLERANCE), rotation, atol=1e-9)
    turn = np.eye(3)[:, [2, 0, 1]] * [1, -1, -1]
    np.testing.assert_allclose(
        loadings @ turn @ varimax(loadings @ turn, R_TOLERANCE), loadings @ rotation @ turn, atol=1e-9
    )


def test_an_item_without_communality_does_not_change_the_rotation():
    loadings = some_loadings(12, 3, 1)
    with_empty = np.vstack([loadings, np.zeros(3)])
    assert criterion(loadings @ varimax(with_empty, 1e-12)) == pytest.approx(
        criterion(loadings @ varimax(loadings, 1e-12)), abs=0.02
    )
    assert np.isfinite(varimax(with_empty, R_TOLERANCE)).all()


def test_a_smaller_tolerance_goes_further():
    loadings = some_loadings(30, 6, 2)
    reached = [criterion(loadings @ varimax(loadings, tolerance)) for tolerance in (1e-2, 1e-4, 1e-12)]
    assert reached == sorted(reached)
    assert reached[0] < reached[-1]


def made_items(n=400, seed=0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 2)) * [1, 0.8]
    pattern = np.repeat(np.eye(2), [5, 4], axis=0)
    return np.hstack([latent @ pattern.T + rng.normal(0, 0.6, (n, 9)), rng.normal(size=(n, 3))])


def test_parallel_analysis_finds_the_number_of_components():
    values = made_items()
    thresholds = parallel_thresholds(*values.shape, draws=200, seed=0)
    components = rotate(principal_components(values, thresholds), R_TOLERANCE)
    assert components.loadings.shape == (12, 2)
    assert (np.abs(components.loadings[:5, 0]) > 0.7).all()
    assert (np.abs(components.loadings[5:9, 1]) > 0.6).all()
    assert (np.abs(components.loadings[:5, 1]) < 0.2).all()
    assert (np.diff(thresholds) < 0).all()


def test_parallel_analysis_is_seeded_and_has_the_right_rate():
    assert np.array_equal(parallel_thresholds(50, 4, 30, seed=3), parallel_thresholds(50, 4, 30, seed=3))
    assert not np.array_equal(parallel_thresholds(50, 4, 30, seed=3), parallel_thresholds(50, 4, 30, seed=4))
    threshold = parallel_thresholds(60, 5, 2000, seed=0)[0]
    rng = np.random.default_rng(9)
    exceeded = [np.linalg.eigvalsh(np.corrcoef(rng.normal(size=(5, 60))))[-1] > threshold for _ in range(1000)]
    assert 0.03 < np.mean(exceeded) < 0.07


def test_scores_are_the_regression_scores():
    values = made_items(100, seed=5)
    found = rotate(principal_components(values, np.full(12, 1.0)), R_TOLERANCE)
    standard = stats.zscore(values, ddof=1)
    weights = np.linalg.solve(np.corrcoef(values.T), found.loadings)
    np.testing.assert_allclose(found.scores, standard @ weights, atol=1e-10)
    np.testing.assert_allclose(np.cov(found.scores.T), np.eye(found.scores.shape[1]), atol=1e-10)
    correlations = np.corrcoef(standard.T, found.scores.T)[:12, 12:]
    np.testing.assert_allclose(found.loadings, correlations, atol=1e-10)
    assert found.eigenvalues.sum() == pytest.approx(12)


def test_components_are_ordered_and_signed():
    found = rotate(principal_components(-made_items(), np.full(12, 1.0)), R_TOLERANCE)
    share = (found.loadings**2).sum(axis=0)
    assert (np.diff(share) <= 0).all()
    assert (found.loadings.sum(axis=0) >= 0).all()


def test_items_that_are_copies_have_scores_too():
    values = made_items(80)
    doubled = np.hstack([values, values[:, :1]])
    assert np.isfinite(rotate(principal_components(doubled, np.full(13, 1.0)), R_TOLERANCE).scores).all()


def test_one_component_is_kept_at_least_and_not_rotated():
    values = np.random.default_rng(1).normal(size=(50, 4))
    found = rotate(principal_components(values, np.full(4, 99.0)), R_TOLERANCE)
    assert found.loadings.shape == (4, 1)
    assert (found.loadings**2).sum() == pytest.approx(found.eigenvalues[0])
    everything = principal_components(values, np.zeros(4))
    assert everything.loadings.shape == (4, 4)
