"""Variances of concepts, raters and error in ratings of which some are missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Floats = NDArray[np.float64]

_EXACT = 1e-12
"""Residual sums of squares below this share of the total are rounding error of 0."""
_CLOSE = 1e-10
"""Precision to which the logarithms of the variance ratios are found, and the likelihood."""


@dataclass(frozen=True)
class Crossed:
    """The variances of rating = mean + concept + rater + error, and the test of the concepts.

    Parameters
    ----------
    concept, rater, error : float
        Variances. Those of concepts and raters may be below 0, as in an analysis of variance.
    F : float
        Of concepts after raters.
    df_concept, df_error, raters : int
    """

    concept: float
    rater: float
    error: float
    F: float
    df_concept: int
    df_error: int
    raters: int


def fit_crossed(values: Floats, concept: NDArray[np.int64], rater: NDArray[np.int64]) -> Crossed | None:
    """Estimate the variances by restricted maximum likelihood.

    Parameters
    ----------
    values : ndarray, float64, shape (n,)
    concept, rater : ndarray, int64, shape (n,)
        0 to C - 1 and 0 to R - 1, each of which has a value.

    Returns
    -------
    Crossed, or None
        None where nothing is left for the error once concepts and raters are fitted.

    Notes
    -----
    Patterson and Thompson (1971), *Biometrika* 58, 545-554. The likelihood is profiled over the error's variance, and
    not restricted to variances of 0 or more: with every rating there it is that of the analysis of variance.
    """
    y = values - values.mean()
    counts = np.zeros((concept.max() + 1, rater.max() + 1))
    np.add.at(counts, (concept, rater), 1)
    additive, rank = _additive_fit(y, concept, rater, counts)
    R = counts.shape[1]
    df_error, df_concept = len(y) - rank, rank - R
    if df_error < 1 or df_concept < 1 or R < 2:
        return None
    by_rater = np.bincount(rater, y) / counts.sum(axis=0)
    of_raters, residual = ((y - by_rater[rater]) ** 2).sum(), ((y - additive) ** 2).sum()
    if residual <= _EXACT * (y**2).sum():
        return _without_error(additive, concept, rater, df_concept, df_error)
    F = (of_raters - residual) / df_concept / (residual / df_error)
    likelihood = _Likelihood(y, concept, rater, counts)
    start = [np.log1p(1.0), np.log1p(1.0)]
    found = optimize.minimize(
        likelihood.minus_log, start, method="Nelder-Mead", options={"xatol": _CLOSE, "fatol": _CLOSE, "maxfev": 4000}
    )
    ratio_concept, ratio_rater, error = likelihood.variances(found.x)
    return Crossed(ratio_concept * error, ratio_rater * error, error, float(F), df_concept, df_error, R)


class _Likelihood:
    """The restricted likelihood of variance ratios, with sums over the raters done by hand.

    With G = I + b Z_r Z_r' for raters, everything is in terms of C x C matrices, and for a given b diagonal in the
    eigenvectors of Z_c' G^-1 Z_c.
    """

    def __init__(self, y: Floats, concept: NDArray[np.int64], rater: NDArray[np.int64], counts: Floats) -> None:
        self.n = len(y)
        self.counts = counts
        self.of_concept, self.of_rater = counts.sum(axis=1), counts.sum(axis=0)
        self.sums_concept, self.sums_rater = np.bincount(concept, y), np.bincount(rater, y)
        self.squares, self.total = float(y @ y), float(y.sum())

    def variances(self, x: Floats) -> tuple[float, float, float]:
        """Return concept's and rater's variance as ratios to the error's, and the error's."""
        a, b, quadratic, _ = self._at(x)
        return a, b, quadratic / (self.n - 1)

    def minus_log(self, x: Floats) -> float:
        """Return minus the log likelihood, but for a constant."""
        _, _, quadratic, logs = self._at(x)
        if not quadratic > 0:
            return np.inf
        return float(0.5 * ((self.n - 1) * np.log(quadratic) + logs))

    def _at(self, x: Floats) -> tuple[float, float, float, float]:
        # Ratios from as far below 0 as the covariance of the ratings stays positive.
        b = float(np.expm1(x[1]) / self.of_rater.max())
        shrunk = b / (1 + b * self.of_rater)
        inner = np.diag(self.of_concept) - (self.counts * shrunk) @ self.counts.T
        values, vectors = linalg.eigh(inner)
        a = float(np.expm1(x[0]) / values.max())
        spread = 1 + a * values
        if (spread <= 0).any() or (1 + b * self.of_rater <= 0).any():
            return a, b, np.nan, np.nan
        left = vectors.T @ (self.of_concept - self.counts @ (shrunk * self.of_rater))
        right = vectors.T @ (self.sums_concept - self.counts @ (shrunk * self.sums_rater))
        weights = a / spread
        ones = self.n - (shrunk * self.of_rater**2).sum() - (weights * left**2).sum()
        cross = self.total - (shrunk * self.of_rater * self.sums_rater).sum() - (weights * left * right).sum()
        square = self.squares - (shrunk * self.sums_rater**2).sum() - (weights * right**2).sum()
        logs = np.log1p(b * self.of_rater).sum() + np.log(spread).sum() + np.log(ones)
        return a, b, float(square - cross**2 / ones), float(logs)


def _additive_fit(
    y: Floats, concept: NDArray[np.int64], rater: NDArray[np.int64], counts: Floats
) -> tuple[Floats, int]:
    """Fit concept + rater by least squares; return the fitted values and the rank of the design."""
    of_rater = counts.sum(axis=0)
    # Raters are solved for by hand, which leaves C equations.
    inner = np.diag(counts.sum(axis=1)) - (counts / of_rater) @ counts.T
    sums = np.bincount(concept, y) - counts @ (np.bincount(rater, y) / of_rater)
    effects, _, rank, _ = linalg.lstsq(inner, sums, cond=1e-10)
    raters = (np.bincount(rater, y) - counts.T @ effects) / of_rater
    return effects[concept] + raters[rater], int(rank) + len(of_rater)


def _without_error(
    fitted: Floats, concept: NDArray[np.int64], rater: NDArray[np.int64], df_concept: int, df_error: int
) -> Crossed:
    """Return the variances where concepts and raters explain everything: those of their effects."""
    design = np.zeros((len(fitted), concept.max() + 1 + rater.max() + 1))
    rows = np.arange(len(fitted))
    design[rows, concept] = design[rows, concept.max() + 1 + rater] = 1
    effects = linalg.lstsq(design, fitted)[0]
    concepts, raters = np.split(effects, [concept.max() + 1])
    of_concepts, of_raters = concepts.var(ddof=1), raters.var(ddof=1)
    total = of_concepts + of_raters
    of_concepts, of_raters = (0.0 if one <= _EXACT * total else float(one) for one in (of_concepts, of_raters))
    F = np.inf if of_concepts else np.nan
    return Crossed(of_concepts, of_raters, 0.0, F, df_concept, df_error, len(raters))
