import numpy as np
import pytest
from scipy import stats

from emoscale.analysis.humans import importance_intervals, noise_ceiling

PAIRS = 21


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    return np.clip((rng.random(PAIRS) * 8 + 1 + rng.normal(0, 1, (9, PAIRS))).round(), 1, 9)


def tau(x, y):
    return stats.kendalltau(np.round(x, 12), np.round(y, 12)).statistic


def test_intervals_are_percentiles_of_resampled_participants(people):
    rdms = np.random.default_rng(1).random((2, PAIRS)).round(2)
    table = importance_intervals(people, rdms, ["a", "b"], resamples=50, seed=3)
    drawn = np.random.default_rng(3).integers(9, size=(50, 9))
    taus = np.array([[tau(people[rows].mean(axis=0), rdm) for rdm in rdms] for rows in drawn])
    np.testing.assert_allclose(table[["ci_low", "ci_high"]].T, np.quantile(taus, [0.025, 0.975], axis=0))
    assert table["attribute"].tolist() == ["a", "b"]


def test_intervals_are_seeded(people):
    rdms = np.random.default_rng(1).random((1, PAIRS))
    one, same, other = (importance_intervals(people, rdms, ["a"], seed=seed) for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_noise_ceiling_is_agreement_with_the_others_and_with_all(people):
    row = noise_ceiling(people).iloc[0]
    others = [tau(person, np.delete(people, i, axis=0).mean(axis=0)) for i, person in enumerate(people)]
    everyone = [tau(person, people.mean(axis=0)) for person in people]
    np.testing.assert_allclose(row[["lower", "upper"]].astype(float), [np.mean(others), np.mean(everyone)])
    assert row["lower"] < row["upper"]
    assert row["participants"] == 9
