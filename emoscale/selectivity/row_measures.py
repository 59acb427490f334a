"""Measures over single rows (texts, tokens), without RDMs. A new one is a kernel and a line below.

What they mean is in the kernels' docstrings (`emoscale_kernels.moments`, `emoscale_kernels.ranks`) and, in a sentence
each, in `emoscale.schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from emoscale_kernels import (
    Moments,
    RankSummary,
    auroc,
    eta_squared,
    pearson_with_scores,
    spearman_with_scores,
)

Floats = NDArray[np.float64]


def variance(moments: Moments) -> Floats:
    """Return the variance over each concept's rows, shape (C, n); NaN where the neuron has no value in them."""
    with np.errstate(invalid="ignore"):
        return moments.m2 / np.where(moments.counts, moments.counts, np.nan)


def mean_or_nan(moments: Moments) -> Floats:
    """Return the means, shape (G, n); NaN where the neuron has no value in a cell."""
    return np.where(moments.counts, moments.mean, np.nan)


FROM_MOMENTS: Mapping[str, Callable[[Moments, Floats], Floats]] = {
    "mean": lambda moments, _: mean_or_nan(moments).T,
    "variance": lambda moments, _: variance(moments).T,
    "eta_squared": lambda moments, _: eta_squared(moments),
    "pearson": pearson_with_scores,
}
"""From the moments of the concepts' rows and the scores (C, A): what one pass over the store gives."""

FROM_RANKS: Mapping[str, Callable[[RankSummary, Floats], Floats]] = {
    "spearman": spearman_with_scores,
    "auroc": lambda summary, _: auroc(summary).T,
    "average_precision": lambda summary, _: summary.average_precision.T,
}
"""From a neuron's sorted rows and the scores: needs all rows of a neuron at once."""

ROW_MEASURES = (*FROM_MOMENTS, *FROM_RANKS)
