"""Principal components of a battery of items: their number, rotation and scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_STEPS = 10_000
_QUANTILE = 0.95


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of the correlations between items.

    Parameters
    ----------
    eigenvalues : ndarray, float64, shape (I,)
        Of all I components, largest first; they sum to I.
    loadings : ndarray, float64, shape (I, K)
        Correlation of each item with each of the K kept components.
    scores : ndarray, float64, shape (n, K)
        Standardised: mean 0, standard deviation 1 (n - 1 in the denominator), uncorrelated.
    """

    eigenvalues: NDArray[np.float64]
    loadings: NDArray[np.float64]
    scores: NDArray[np.float64]


def parallel_thresholds(n: int, items: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Eigenvalues that uncorrelated items exceed by chance in one sample of twenty (Horn's parallel analysis).

    Parameters
    ----------
    n : int
        Rows of data.
    items : int
        Number I of items.
    draws : int
        Samples of independent normal values.
    seed : int

    Returns
    -------
    ndarray, float64, shape (I,)
        The 95th percentile over the draws of the largest eigenvalue, the second largest, and so on.
    """
    rng = np.random.default_rng(seed)
    eigenvalues = [np.linalg.eigvalsh(np.corrcoef(rng.standard_normal((items, n))))[::-1] for _ in range(draws)]
    thresholds: NDArray[np.float64] = np.quantile(eigenvalues, _QUANTILE, axis=0)
    return thresholds


def principal_components(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Components:
    """Take the principal components whose eigenvalues exceed chance.

    Parameters
    ----------
    values : ndarray, float64, shape (n, I)
        Nothing missing, no item constant.
    thresholds : ndarray, float64, shape (I,)
        Components are kept up to the first that does not exceed its threshold; at least one is kept.

    Returns
    -------
    Components
        Not rotated.

    Notes
    -----
    The scores are the regression scores Z R^-1 L, with Z the standardised items, R their correlations and L the
    loadings; for principal components this is Z V / sqrt(eigenvalue), which needs no inverse of R. Li, Su et al. 2024.
    """
    standardised = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    eigenvalues, directions = np.linalg.eigh(np.corrcoef(values, rowvar=False))
    eigenvalues, directions = eigenvalues[::-1], directions[:, ::-1]
    exceeds = eigenvalues > thresholds
    count = len(exceeds) if exceeds.all() else max(int(exceeds.argmin()), 1)
    spread = np.sqrt(eigenvalues[:count])
    return Components(eigenvalues, directions[:, :count] * spread, standardised @ (directions[:, :count] / spread))


def varimax(loadings: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Find the varimax rotation of loadings, with Kaiser normalisation.

    Parameters
    ----------
    loadings : ndarray, float64, shape (I, K)
    tolerance : float
        The iteration ends at the first step that raises the sum of singular values by no more than this share. The
        criterion is flat, so R's 1e-5 ends well before the maximum; 1e-12 reaches it.

    Returns
    -------
    ndarray, float64, shape (K, K)
        Orthogonal; ``loadings @ rotation`` are the rotated loadings.

    Notes
    -----
    Maximises the variance of the squared loadings within components after each item's loadings are divided by the root
    of its communality (Kaiser 1958), by the same singular value iteration from the unrotated
    loadings as R's ``stats::varimax``, so that with the same tolerance it stops at the same step.
    """
    n_items, K = loadings.shape
    length = np.sqrt((loadings**2).sum(axis=1, keepdims=True))
    normal = np.divide(loadings, length, out=np.zeros_like(loadings), where=length > 0)
    rotation = np.eye(K)
    reached = 0.0
    for _ in range(_MOST_STEPS):
        rotated = normal @ rotation
        gradient = normal.T @ (rotated**3 - rotated * (rotated**2).sum(axis=0) / n_items)
        left, singular, right = np.linalg.svd(gradient)
        rotation = left @ right
        before, reached = reached, singular.sum()
        if reached < before * (1 + tolerance):
            break
    return rotation


def rotate(components: Components, tolerance: float) -> Components:
    """Rotate components by varimax.

    Parameters
    ----------
    components : Components
    tolerance : float
        Of :func:`varimax`.

    Returns
    -------
    Components
        Ordered by their sums of squared loadings, largest first, and signed so that each one's loadings sum to 0 or
        more, as ``psych::principal`` does.
    """
    rotation = np.eye(1) if components.loadings.shape[1] == 1 else varimax(components.loadings, tolerance)
    loadings, scores = components.loadings @ rotation, components.scores @ rotation
    order = np.argsort(-(loadings**2).sum(axis=0), kind="stable")
    sign = np.where(loadings.sum(axis=0) < 0, -1.0, 1.0)
    return Components(components.eigenvalues, (loadings * sign)[:, order], (scores * sign)[:, order])
