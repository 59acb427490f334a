"""Activations that are not numbers: some mean that a neuron is absent, the others that something went wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import StageError
from emoscale.extraction.sequences import Sequences


class FiniteCheck:
    """What is done about activations that are not finite.

    Parameters
    ----------
    sequences : Sequences
        To say what a row stands for.
    layer, expert : ndarray of int32, shape (neurons,)
        Of the neurons in the columns of the values. NaN in an expert's neuron means that its token was not routed to
        the expert.
    stops : bool
        Raise, and do not only count.
    """

    def __init__(self, sequences: Sequences, layer: NDArray[np.int32], expert: NDArray[np.int32], stops: bool) -> None:
        self._sequences, self._layer, self._stops = sequences, layer, stops
        self._may_be_absent = expert >= 0

    def count_absent(self, values: NDArray[Any], first_row: int) -> int:
        """Count the absent values of a block.

        Parameters
        ----------
        values : ndarray, shape (rows, neurons)
        first_row : int
            Row of the store that the block begins with.

        Raises
        ------
        StageError
            If other values are not finite. Names layer and row.
        """
        finite = np.isfinite(values)
        if finite.all():
            return 0
        absent = np.isnan(values) & self._may_be_absent
        wrong = ~(finite | absent)
        if self._stops and wrong.any():
            self._tell(wrong, first_row, values.dtype)
        return int(absent.sum())

    def _tell(self, wrong: NDArray[np.bool_], first_row: int, dtype: np.dtype[Any]) -> None:
        row, neuron = np.argwhere(wrong)[0]
        row += first_row
        item = int(np.searchsorted(self._sequences.row_of, row, side="right")) - 1
        concept, replicate = (names[item] for names in self._sequences.labels())
        raise StageError(
            f"{wrong.sum()} activations are not finite in {dtype}, first in layer {self._layer[neuron]}, row {row} "
            f"({concept}, {replicate}); set extraction.dtype and model.dtype to float32, or extraction.non_finite to "
            "keep"
        )
