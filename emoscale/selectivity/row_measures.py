"""Measures over single rows (texts, tokens), without RDMs. A new one is an entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.schema import Array
from emoscale_kernels import (
    Moments,
    RankSummary,
    auroc,
    eta_squared,
    pearson_with_scores,
    spearman_with_scores,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RowMeasure:
    """A measure over the rows of each concept.

    Parameters
    ----------
    name : str
        Of the measure and of its array in ``row_measures.zarr``.
    needs : {"moments", "ranks"}
        What it is computed from: the moments of the concepts' rows, which one pass over the store gives, or a neuron's
        sorted rows, which need all rows of a neuron at once.
    dims : tuple of str
        Dimensions of its array: ``neuron`` and then ``concept`` or ``attribute`` or nothing.
    meaning : str
        One sentence, for stores and reports.
    compute : callable
        From `emoscale_kernels.Moments` or `emoscale_kernels.RankSummary` of C concepts and n neurons, and the scores
        (C, A), to an array of `dims`. It is sent to Dask's workers.
    """

    name: str
    needs: Literal["moments", "ranks"]
    dims: tuple[str, ...]
    meaning: str
    compute: Callable[[Any, Floats], Floats]

    @property
    def needs_rows(self) -> bool:
        """Whether it needs every row's activations."""
        return self.needs == "ranks"

    @property
    def array(self) -> Array:
        """What is stored."""
        return Array(self.name, self.dims, "float64", self.meaning)

    def __call__(self, summary: Moments | RankSummary, scores: Floats) -> Floats:
        """Compute the measure of a block of neurons, and check its shape before anything is written."""
        sizes = dict(zip(("concept", "attribute"), scores.shape, strict=True)) | {"neuron": summary.counts.shape[1]}
        expected = tuple(sizes[dim] for dim in self.dims)
        values = self.compute(summary, scores)
        if values.shape != expected:
            raise InputError(
                f"row measure {self.name!r}: gives an array of shape {values.shape}, expected {expected}; correct its "
                f"dims {self.dims} or what it computes"
            )
        return values


def mean_or_nan(moments: Moments) -> Floats:
    """Return the means, shape (G, n); NaN where the neuron has no value in a cell."""
    return np.where(moments.counts, moments.mean, np.nan)


def _mean(moments: Moments, _: Floats) -> Floats:
    return mean_or_nan(moments).T


def _variance(moments: Moments, _: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        variance: Floats = moments.m2 / np.where(moments.counts, moments.counts, np.nan)
    return variance.T


def _eta_squared(moments: Moments, _: Floats) -> Floats:
    return eta_squared(moments)


def _auroc(summary: RankSummary, _: Floats) -> Floats:
    return auroc(summary).T


def _average_precision(summary: RankSummary, _: Floats) -> Floats:
    return summary.average_precision.T


_BY_CONCEPT, _BY_ATTRIBUTE = ("neuron", "concept"), ("neuron", "attribute")

ROW_MEASURES = {
    measure.name: measure
    for measure in (
        RowMeasure("mean", "moments", _BY_CONCEPT, "Mean activation over the concept's rows", _mean),
        RowMeasure("variance", "moments", _BY_CONCEPT, "Variance of the activation over the concept's rows", _variance),
        RowMeasure(
            "eta_squared",
            "moments",
            ("neuron",),
            "Share of the variance over rows that lies between concepts, 0 to 1",
            _eta_squared,
        ),
        RowMeasure(
            "pearson",
            "moments",
            _BY_ATTRIBUTE,
            "Correlation over rows with the score of the row's concept",
            pearson_with_scores,
        ),
        RowMeasure(
            "spearman",
            "ranks",
            _BY_ATTRIBUTE,
            "Rank correlation over rows with the concept's score",
            spearman_with_scores,
        ),
        RowMeasure(
            "auroc", "ranks", _BY_CONCEPT, "Chance that a row of the concept is more active than another", _auroc
        ),
        RowMeasure(
            "average_precision",
            "ranks",
            _BY_CONCEPT,
            "Average precision of finding the concept's rows",
            _average_precision,
        ),
    )
}
"""Row measures by name."""
