"""How certain the importance of attributes is, and how well people agree: from each participant's judgements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale_kernels import attribute_patterns, numerators, pack_rdms, tau_b

Floats = NDArray[np.float64]

RESAMPLES = 1000
_DIGITS = 12


def importance_intervals(
    participants: Floats, rdms: Floats, attributes: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Bootstrap the importance of attributes over participants.

    Parameters
    ----------
    participants : ndarray, float64, shape (S, P)
        Each participant's dissimilarity of each pair of concepts.
    rdms : ndarray, float64, shape (A, P)
        Attribute RDMs, pairs in the same order.
    attributes : sequence of str, length A
    resamples : int
        Times that S participants are drawn with replacement.
    seed : int

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``ci_low``, ``ci_high``: the 2.5th and 97.5th percentile of Kendall's tau-b between the
        mean dissimilarity of the drawn participants and the RDM. It speaks of other people, not of other concepts.
    """
    S = len(participants)
    drawn = np.random.default_rng(seed).integers(S, size=(resamples, S))
    weights = np.stack([np.bincount(row, minlength=S) for row in drawn])
    taus = _taus(_decimal(weights @ participants / S), rdms)
    low, high = np.quantile(taus, [0.025, 0.975], axis=0)
    return pd.DataFrame({"attribute": list(attributes), "ci_low": low, "ci_high": high})


def noise_ceiling(participants: Floats) -> pd.DataFrame:
    """Bound what any model of people's mean dissimilarities can reach, by how well people agree.

    Parameters
    ----------
    participants : ndarray, float64, shape (S, P)
        Of at least two participants.

    Returns
    -------
    DataFrame
        One row: ``lower``, the mean tau-b of each participant with the mean of the others; ``upper``, with the mean of
        all, the participant among them; ``participants``.

    Notes
    -----
    Nili et al. (2014), *PLoS Computational Biology* 10, e1003553, with tau-b as the measure. The bounds are for the
    correlation with single participants; with their mean, as importance has it, higher values are possible.
    """
    S = len(participants)
    total = participants.sum(axis=0)
    others = (total - participants) / (S - 1)
    lower = np.diag(_taus(participants, _decimal(others))).mean()
    upper = _taus(participants, _decimal(total[np.newaxis] / S)).mean()
    return pd.DataFrame({"lower": [lower], "upper": [upper], "participants": [S]})


def _taus(dissimilarities: Floats, rdms: Floats) -> Floats:
    patterns = attribute_patterns(rdms)
    judged = pack_rdms(dissimilarities, bits=patterns.signs is not None)
    return tau_b(numerators(judged, patterns), judged.ties, patterns.ties, patterns.pairs)


def _decimal(means: Floats) -> Floats:
    """Make means that are equal as decimals equal, whatever order their sums were added in."""
    scale = float(np.abs(means).max()) or 1.0
    return np.asarray(np.round(means / scale, _DIGITS), dtype=np.float64)
