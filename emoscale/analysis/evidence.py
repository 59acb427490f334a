"""How good the evidence for selective neurons is: what each kind of inference leaves, how repeatable tau is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.analysis.significance import q_values

Floats = NDArray[np.float64]

FAMILY_ALPHA = 0.05
"""Level of the tests that are corrected by the largest tau of each permutation."""


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
            "asymptotic": (q_values(p["p_asymptotic"]) < alpha).sum(axis=0),
            "chosen": (q < alpha).sum(axis=0),
            "attribute_corrected": (p["p_attribute"] < FAMILY_ALPHA).sum(axis=0),
            "all_corrected": (p["p_all"] < FAMILY_ALPHA).sum(axis=0),
            "spread": _root_mean_square(spread),
            "alpha": alpha,
        }
    )


def _root_mean_square(values: Floats) -> Floats:
    known = np.isfinite(values)
    squares = np.where(known, values, 0.0) ** 2
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(squares.sum(axis=0) / known.sum(axis=0)))


def reliability(odd: Floats, even: Floats, attributes: Sequence[str]) -> pd.DataFrame:
    """Say how well each attribute's tau over neurons repeats from one half of the replicates to the other.

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
        x, y = odd[both, a], even[both, a]
        varies = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
        halves.append(float(np.corrcoef(x, y)[0, 1]) if varies else np.nan)
    r = np.array(halves)
    whole = np.where(np.isnan(r), np.nan, np.maximum(2 * r / (1 + np.maximum(r, 0)), 0))
    return pd.DataFrame(
        {"attribute": list(attributes), "split_half": r, "reliability": whole, "ceiling": np.sqrt(whole)}
    )
