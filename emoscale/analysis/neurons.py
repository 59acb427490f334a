"""Where the selective neurons are, whether attributes share them, and how good the evidence for them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.permutations import count_tests
from emoscale.statistics import Floats, correlation, published_q

FAMILY_ALPHA = 0.05
"""Level of the tests that are corrected by the largest tau of each permutation."""


def significant_by_layer(
    q: Floats, layer: NDArray[np.integer], attributes: Sequence[str], alpha: float
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


def tau_summary(tau: Floats, q: Floats, attributes: Sequence[str], alpha: float) -> pd.DataFrame:
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


def overlap(rank: Floats, attributes: Sequence[str], ks: Sequence[int]) -> pd.DataFrame:
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


def inference_summary(
    p: Mapping[str, Floats], q: Floats, spread: Floats, attributes: Sequence[str], alpha: float
) -> pd.DataFrame:
    """Count the neurons that are significant by each kind of inference.

    Parameters
    ----------
    p : mapping of str to ndarray, float, shape (N, A)
        ``p_asymptotic``, ``p_attribute``, ``p_all`` of the selectivity store; the last two are NaN where no
        permutations were made.
    q : ndarray, float, shape (N, A)
        Of the inference that was chosen.
    spread : ndarray, float, shape (N, A)
        ``null_spread`` of the store; NaN where no permutations were made.
    attributes : sequence of str, length A
    alpha : float
        Level of q.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``tests``, ``asymptotic`` (q < alpha as published, Li, Su et al. 2024), ``chosen`` (q <
        alpha of the inference chosen), ``attribute_corrected`` and ``all_corrected`` (p < .05 by the largest tau over
        neurons, or over neurons and attributes), ``spread`` (root mean square over neurons), ``alpha``.
    """
    return pd.DataFrame(
        {
            "attribute": list(attributes),
            "tests": (~np.isnan(p["p_asymptotic"])).sum(axis=0),
            "asymptotic": (published_q(p["p_asymptotic"]) < alpha).sum(axis=0),
            "chosen": (q < alpha).sum(axis=0),
            "attribute_corrected": (p["p_attribute"] < FAMILY_ALPHA).sum(axis=0),
            "all_corrected": (p["p_all"] < FAMILY_ALPHA).sum(axis=0),
            "spread": _root_mean_square(spread),
            "alpha": alpha,
        }
    )


def followers(counts: NDArray[np.int64], attributes: Sequence[str]) -> pd.DataFrame:
    """Test whether more neurons follow each attribute than would by chance.

    A neuron follows an attribute if its tau is larger with the concepts as they are than under each of B permutations:
    with 999, beyond the .999 quantile of the neuron's own null.

    Parameters
    ----------
    counts : ndarray of int64, shape (1 + B, A)
        ``followers`` of the selectivity store.
    attributes : sequence of str, length A

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``followers``; ``null_mean``, ``null_low``, ``null_high`` and ``null_largest``, the mean,
        the middle 95 % and the largest of what each permutation gives in place of the true order; ``p``, one-sided:
        more than under permutation; ``p_corrected`` over attributes by the largest count; ``neurons``, those with tau.

    Notes
    -----
    See `emoscale.permutations.count_tests`. Expected by chance are neurons / (1 + B), but neurons depend on each other,
    so that permutations differ much more than independent neurons would let them.
    """
    tests = count_tests(counts)
    return pd.DataFrame(
        {
            "attribute": list(attributes),
            "followers": counts[0],
            "null_mean": tests.null_mean,
            "null_low": tests.null_low,
            "null_high": tests.null_high,
            "null_largest": tests.null_largest,
            "p": tests.p,
            "p_corrected": tests.p_corrected,
            "neurons": counts.sum(axis=0),
        }
    )


def _root_mean_square(values: Floats) -> Floats:
    known = np.isfinite(values)
    squares = np.where(known, values, 0.0) ** 2
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(squares.sum(axis=0) / known.sum(axis=0)))


def reliability(odd: Floats, even: Floats, attributes: Sequence[str]) -> pd.DataFrame:
    """Measure how well each attribute's tau over neurons repeats from one half of the replicates to the other.

    Parameters
    ----------
    odd, even : ndarray, float, shape (N, A)
        tau from the first, third, ... replicate and from the second, fourth, ...; NaN where there is no such half.
    attributes : sequence of str, length A

    Returns
    -------
    DataFrame
        Columns ``attribute``; ``split_half``, the Pearson correlation of the two over the neurons that have both;
        ``reliability`` of tau from all replicates, by the formula of Spearman and Brown; ``ceiling``, the square root
        of the reliability: no other map can be expected to correlate more with this one. NaN where fewer than three
        neurons have both, or a half does not vary; reliability and ceiling are 0 where the halves disagree.

    Notes
    -----
    Spearman (1910), *British Journal of Psychology* 3, 271-295; Brown (1910), ibid., 296-322; the square root is the
    index of reliability (Kelley, 1925). Where the number of replicates is odd the halves differ by one, which the
    formula ignores.
    """
    halves = []
    for a in range(len(attributes)):
        both = np.isfinite(odd[:, a]) & np.isfinite(even[:, a])
        halves.append(correlation(odd[both, a], even[both, a]))
    r = np.array(halves)
    full = np.where(np.isnan(r), np.nan, np.maximum(2 * r / (1 + np.maximum(r, 0)), 0))
    return pd.DataFrame({"attribute": list(attributes), "split_half": r, "reliability": full, "ceiling": np.sqrt(full)})
