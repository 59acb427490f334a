"""Reliability where ratings are missing."""

import numpy as np
import pytest
from scipy import optimize

from emoscale.concepts.agreement import icc_1k, icc_2k, icc_2k_incomplete
from emoscale.concepts.crossed import fit_crossed


def ratings(seed=0, shape=(27, 30), concept=0.6, rater=0.8, error=2.0):
    draw = np.random.default_rng(seed).normal
    C, R = shape
    return 5 + concept * draw(size=(C, 1)) + rater * draw(size=(1, R)) + error * draw(size=shape)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(27, 30), (6, 4), (4, 40)])
def test_complete_ratings_give_the_analysis_of_variance(seed, shape):
    values = ratings(seed, shape)
    ours, known = icc_2k_incomplete(values), icc_2k(values)
    assert (ours.df1, ours.df2) == (known.df1, known.df2)
    np.testing.assert_allclose([ours.F, ours.p], [known.F, known.p], rtol=1e-8)
    for name in ("icc", "ci_low", "ci_high"):
        assert getattr(ours, name) == pytest.approx(getattr(known, name), abs=1e-5)


def slow_variances(values):
    """Maximise the restricted likelihood with the whole covariance matrix of the ratings."""
    concept, rater = np.nonzero(~np.isnan(values))
    y = values[concept, rater]
    same_concept, same_rater = (np.equal.outer(one, one).astype(float) for one in (concept, rater))
    ones = np.ones((len(y), 1))

    def minus_log(x):
        V = x[0] * same_concept + x[1] * same_rater + np.exp(x[2]) * np.eye(len(y))
        sign, logdet = np.linalg.slogdet(V)
        if sign <= 0 or np.linalg.eigvalsh(V)[0] <= 0:
            return np.inf
        inverse = np.linalg.inv(V)
        information = (ones.T @ inverse @ ones).item()
        residual = y - (ones.T @ inverse @ y).item() / information
        return 0.5 * (logdet + np.log(information) + residual @ inverse @ residual)

    options = {"xatol": 1e-8, "fatol": 1e-10, "maxfev": 4000}
    found = optimize.minimize(minus_log, [0.5, 0.5, 1.0], method="Nelder-Mead", options=options)
    return [found.x[0], found.x[1], np.exp(found.x[2])]


@pytest.mark.parametrize("seed", range(3))
def test_variances_of_incomplete_ratings_are_those_of_the_whole_matrix(seed):
    values = ratings(seed, (7, 6), concept=1.0, error=1.0)
    values[np.random.default_rng(seed).random(values.shape) < 0.25] = np.nan
    concept, rater = np.nonzero(~np.isnan(values))
    found = fit_crossed(values[concept, rater], concept, rater)
    np.testing.assert_allclose([found.concept, found.rater, found.error], slow_variances(values), rtol=1e-3, atol=1e-4)


def test_one_missing_rating_hardly_changes_reliability():
    values = ratings(rater=1.5)
    whole = icc_2k(values).icc
    values[3, 4] = np.nan
    given = ~np.isnan(values)
    assert icc_2k_incomplete(values).kind == "ICC(2,k)"
    assert icc_2k_incomplete(values).icc == pytest.approx(whole, abs=0.005)
    assert abs(icc_1k(values[given], np.nonzero(given)[0]).icc - whole) > 0.05


def test_raters_who_rated_one_concept_each_cannot_be_told_from_error():
    values = np.full((5, 20), np.nan)
    values[np.arange(20) % 5, np.arange(20)] = ratings(1, (1, 20))[0]
    given = ~np.isnan(values)
    assert icc_2k_incomplete(values) == icc_1k(values[given], np.nonzero(given)[0])


def test_a_column_of_one_value_has_no_reliability():
    """The fault of the issue: 1.81 everywhere, with cells missing, once gave ICC .956 and p 1e-31."""
    values = np.full((27, 30), 1.81)
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    given = ~np.isnan(values)
    for found in (
        icc_2k_incomplete(values),
        icc_1k(values[given], np.nonzero(given)[0]),
        icc_2k(np.full((5, 4), 1.81)),
    ):
        assert np.isnan([found.icc, found.F, found.p]).all()


def test_raters_who_agree_but_for_their_level():
    values = np.arange(5.0)[:, None] + np.arange(4.0)
    known = icc_2k(values)
    values[2, 1] = np.nan
    found = icc_2k_incomplete(values)
    assert found.icc == pytest.approx(known.icc, abs=1e-2)
    assert (found.F, found.p) == (np.inf, 0)
