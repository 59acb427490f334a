"""What an extraction works on: its job, its inputs, this process's neurons, and the blocks that rows are cut into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import StageError
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.sequences import Sequences
from emoscale.run.folder import RunFolder
from emoscale.store import CommitLog, Store
from emoscale.system.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an extraction is done for.

    Attributes
    ----------
    origin : dict
        Where the activations come from; stores of another origin are replaced.
    concepts : sequence of str
        Those whose moments are kept.
    writers : int
        Threads that write activations.
    repair : bool
        Check every chunk, and write missing and damaged ones again.
    """

    origin: dict[str, Any]
    concepts: Sequence[str]
    writers: int
    repair: bool = False


class FiniteCheck:
    """What is done about activations that are not finite.

    Parameters
    ----------
    sequences : Sequences
        To name what a row represents.
    layer, expert : ndarray of int32, shape (neurons,)
        Of the neurons in the columns of the values. NaN in an expert's neuron means that its token was not routed to
        the expert.
    stops : bool
        Whether to raise an error, or only count.
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
            raise self._error(wrong, first_row, values.dtype)
        return int(absent.sum())

    def _error(self, wrong: NDArray[np.bool_], first_row: int, dtype: np.dtype[Any]) -> StageError:
        row, neuron = np.argwhere(wrong)[0]
        row += first_row
        item = int(np.searchsorted(self._sequences.row_of, row, side="right")) - 1
        concept, replicate = (names[item] for names in self._sequences.labels())
        return StageError(
            f"{wrong.sum()} activations are not finite in {dtype}, first in layer {self._layer[neuron]}, row {row} "
            f"({concept}, {replicate}); set extraction.dtype and model.dtype to float32, or extraction.non_finite to "
            "keep"
        )


@dataclass(frozen=True)
class Work:
    """What an extraction works on.

    Attributes
    ----------
    folder : RunFolder
    sequences : Sequences
        The inputs.
    neurons : dict of ndarray
        Coordinates of all neurons.
    columns : sequence of slice
        This process's neurons, beside one another in the values it computes; all of them, unless several processes
        share the model.
    chunk_neurons : int
        Neurons of a chunk, see `chunk_width`.
    check : FiniteCheck
    options : ExtractionOptions
    job : Job
    ranks : Ranks
    """

    folder: RunFolder
    sequences: Sequences
    neurons: dict[str, NDArray[np.int32]]
    columns: Sequence[slice]
    chunk_neurons: int
    check: FiniteCheck
    options: ExtractionOptions
    job: Job
    ranks: Ranks

    @property
    def width(self) -> int:
        """Number of this process's neurons."""
        return sum(columns.stop - columns.start for columns in self.columns)

    @property
    def blocks(self) -> int:
        """Number of row blocks."""
        return count_blocks(self.options, self.sequences.rows)

    def rows(self, block: int) -> slice:
        """Return the rows of a block."""
        size = self.options.block_rows
        return slice(block * size, min((block + 1) * size, self.sequences.rows))

    def write_columns(self, store: Store, name: str, values: NDArray[Any], **starts: int) -> None:
        """Write values whose last dimension is this process's neurons."""
        first = 0
        for columns in self.columns:
            width = columns.stop - columns.start
            store.write(name, values[..., first : first + width], neuron=columns.start, **starts)
            first += width

    def commit_logs(self, store: Store) -> list[CommitLog]:
        """Return the commit logs of a store, one for each part of the model: a block is done when all parts are."""
        folder = self.folder.commits(store.path)
        return [CommitLog(folder / f"tp-{part}", self.ranks.rank) for part in range(self.ranks.tp_size)]


def chunk_width(options: ExtractionOptions, widths: Sequence[int], tp_size: int) -> int:
    """Return how many neurons a chunk has.

    Parameters
    ----------
    options : ExtractionOptions
    widths : sequence of int
        Neurons of every layer.
    tp_size : int
        How many processes share every layer; each writes complete chunks of its part of the layer.
    """
    if tp_size == 1:
        return options.chunk_neurons
    shared = math.gcd(*(width // tp_size for width in widths))
    return max(size for size in range(1, min(options.chunk_neurons, shared) + 1) if shared % size == 0)


def count_blocks(options: ExtractionOptions, rows: int) -> int:
    """Return the number of blocks that rows are cut into."""
    return -(-rows // options.block_rows)


def count_shards(options: ExtractionOptions, rows: int) -> int:
    """Return the number of shards in which the moments of rows are summed."""
    return min(options.reduction_shards, count_blocks(options, rows))
