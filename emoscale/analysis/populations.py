"""Where the selective neurons are, and whether attributes share them (Li, Su et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def significant_by_layer(
    q: NDArray[np.float64], layer: NDArray[np.integer], attributes: Sequence[str], alpha: float
) -> pd.DataFrame:
    """Count the significant neurons of each attribute in each layer.

    Parameters
    ----------
    q : ndarray, float, shape (N, A)
        NaN where a neuron was not tested; it does not count as significant.
    layer : ndarray of int, shape (N,)
    attributes : sequence of str, length A
    alpha : float
        A neuron is significant at q < alpha.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``layer``, ``neurons`` and ``share`` (of the layer's neurons).
    """
    layers, inverse, sizes = np.unique(layer, return_inverse=True, return_counts=True)
    counts = np.stack([np.bincount(inverse[q[:, a] < alpha], minlength=len(layers)) for a in range(len(attributes))])
    return pd.DataFrame(
        {
            "attribute": np.repeat(np.asarray(attributes, object), len(layers)),
            "layer": np.tile(layers, len(attributes)),
            "neurons": counts.ravel(),
            "share": (counts / sizes).ravel(),
        }
    )


def tau_summary(
    tau: NDArray[np.float64], q: NDArray[np.float64], attributes: Sequence[str], alpha: float
) -> pd.DataFrame:
    """Summarise each attribute's selectivity over all neurons.

    Parameters
    ----------
    tau, q : ndarray, float, shape (N, A)
    attributes : sequence of str, length A
    alpha : float

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``max_tau``, ``median_tau``, ``significant`` (neurons with q < alpha), ``undefined``
        (neurons with tau NaN: constant, or absent in a concept), ``neurons`` (all) and ``alpha``.
    """
    undefined = np.isnan(tau).sum(axis=0)
    # nanmax of nothing warns, and an attribute may have no tau at all.
    has_any = undefined < len(tau)
    highest, middle = np.full(tau.shape[1], np.nan), np.full(tau.shape[1], np.nan)
    highest[has_any] = np.nanmax(tau[:, has_any], axis=0)
    middle[has_any] = np.nanmedian(tau[:, has_any], axis=0)
    return pd.DataFrame(
        {
            "attribute": list(attributes),
            "max_tau": highest,
            "median_tau": middle,
            "significant": (q < alpha).sum(axis=0),
            "undefined": undefined,
            "neurons": len(tau),
            "alpha": alpha,
        }
    )


def overlap(rank: NDArray[np.float64], attributes: Sequence[str], ks: Sequence[int]) -> pd.DataFrame:
    """Count the neurons that two attributes' top-k sets share, against chance.

    Parameters
    ----------
    rank : ndarray, float, shape (N, A)
        From 1; ties at the edge of a set are taken in the order of the neurons.
    attributes : sequence of str, length A
    ks : sequence of int

    Returns
    -------
    DataFrame
        One row per k and pair: ``k``, ``attribute_1``, ``attribute_2``, ``shared``, ``expected`` (k * k / N, the mean
        for two random sets) and ``ratio`` = shared / expected.
    """
    n, a = rank.shape
    order = np.argsort(rank, axis=0, kind="stable")
    first, second = np.triu_indices(a, 1)
    names = np.asarray(attributes, object)
    tables = []
    for k in ks:
        top = np.zeros((n, a), np.float32)
        np.put_along_axis(top, order[:k], 1, axis=0)
        shared = np.rint(top.T @ top).astype(np.int64)[first, second]
        expected = k * k / n
        tables.append(
            pd.DataFrame(
                {
                    "k": k,
                    "attribute_1": names[first],
                    "attribute_2": names[second],
                    "shared": shared,
                    "expected": expected,
                    "ratio": shared / expected,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
