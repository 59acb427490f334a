"""What an extraction works on, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.extraction.sequences import Sequences
from emoscale.extraction.validation import FiniteCheck
from emoscale.run.folder import RunFolder
from emoscale.store import Store
from emoscale.system.ranks import Ranks


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
        This process's neurons, beside one another in the values it computes; all of them, unless the processes share
        the model out.
    block_rows, chunk_neurons : int
        Rows of a block, neurons of a chunk.
    check : FiniteCheck
    origin : dict
        Where the activations come from; what is there of another origin is made anew.
    ranks : Ranks
    """

    folder: RunFolder
    sequences: Sequences
    neurons: dict[str, NDArray[np.int32]]
    columns: Sequence[slice]
    block_rows: int
    chunk_neurons: int
    check: FiniteCheck
    origin: dict[str, Any]
    ranks: Ranks

    @property
    def blocks(self) -> int:
        """Number of row blocks."""
        return -(-self.sequences.rows // self.block_rows)

    def rows(self, block: int) -> slice:
        """Return the rows of a block."""
        return slice(block * self.block_rows, min((block + 1) * self.block_rows, self.sequences.rows))

    def write_columns(self, store: Store, name: str, values: NDArray[Any], **starts: int) -> None:
        """Write values whose last dimension is this process's neurons."""
        first = 0
        for columns in self.columns:
            width = columns.stop - columns.start
            store.write(name, values[..., first : first + width], neuron=columns.start, **starts)
            first += width


class Kept(Protocol):
    """What an extraction leaves: every row's activations, or their moments."""

    def shares(self) -> list[list[int]]:
        """Return the blocks that one rank computes one after the other, and commits together."""

    def done(self) -> set[int]:
        """Return the numbers of the shares that are on disk already."""

    @property
    def threads(self) -> int:
        """How many threads may write blocks at once."""

    @property
    def buffer_type(self) -> torch.dtype:
        """Type in which blocks are gathered."""

    def write(self, block: int, values: Tensor) -> None:
        """Write a block (rows, neurons), or add it to what is kept of it."""

    def finish(self) -> int:
        """Declare all done; return how many values are absent."""
