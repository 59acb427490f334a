"""How rows and neurons are cut into blocks, chunks and files: few files, none of them small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from emoscale.schema import MOMENTS
from emoscale.store import length_of_file
from emoscale.store.types import stored_type

LARGE_STORE = 10**9
"""Bytes from which on a store's files are neither small nor many."""
SMALL_FILE, LARGE_FILE = 16 * 10**6, 2**28
"""Bytes that the files of a large store have at least, and that no file exceeds by more than a chunk."""
MOST_FILES = 10_000
"""Files that a large store has, unless its blocks would become too large."""
LEAST_ROWS, LARGE_BLOCK = 1024, 2**30
"""Rows of a block and of a chunk; bytes of a block up to which it may be enlarged for the sake of its files."""


class CutOptions(Protocol):
    """The settings of how a store is cut, see `ExtractionOptions`."""

    @property
    def dtype(self) -> str:
        """Type of the rows' values in the store."""

    @property
    def block_rows(self) -> int | None:
        """Rows computed, written and committed at a time; None to have them chosen."""

    @property
    def chunk_neurons(self) -> int:
        """Neurons in a chunk of the store."""

    @property
    def reduction_shards(self) -> int:
        """Shards of the rows in which moments are summed."""


@dataclass(frozen=True)
class Cut:
    """How a store is cut.

    Attributes
    ----------
    block_rows : int
        Rows that are computed, written and committed at a time; those of a file.
    chunk_rows : int
        Rows of a chunk, the least that is read.
    chunk_neurons, file_neurons : int
        Neurons of a chunk and of a file. Processes that share layers write complete files.
    """

    block_rows: int
    chunk_rows: int
    chunk_neurons: int
    file_neurons: int

    def blocks(self, rows: int) -> int:
        """Return the number of blocks that rows are cut into."""
        return -(-rows // self.block_rows)

    def shards(self, options: CutOptions, rows: int) -> int:
        """Return the number of shards in which the moments of rows are summed."""
        return min(options.reduction_shards, self.blocks(rows))

    def busiest_rows(self, rows: int, shares: int, ranks: int) -> int:
        """Return the rows of the rank that has the most, which is the first: every ranks-th share is its own.

        Parameters
        ----------
        rows : int
        shares : int
            What one rank computes as a whole: the blocks, or where only moments are kept, the shards.
        ranks : int

        Examples
        --------
        Of nine blocks on eight ranks one rank has two, of which the last is short:

        >>> Cut(100, 100, 100, 100).busiest_rows(850, shares=9, ranks=8)
        150
        """
        fewest, longer = divmod(self.blocks(rows), shares)
        blocks = -(-shares // ranks) * fewest + -(-longer // ranks)
        missing = self.blocks(rows) * self.block_rows - rows
        return blocks * self.block_rows - (missing if (shares - 1) % ranks == 0 else 0)

    def file_of_moments(self, cells: int) -> int:
        """Return the neurons of a file of moments, each of which has a value for every cell.

        Fewer than in a file of rows: the moments of a file are merged in memory.
        """
        widest = max(stored_type(array.dtype).itemsize for array in MOMENTS.data)
        most = length_of_file(self.chunk_neurons, cells * widest) // self.chunk_neurons
        return self.chunk_neurons * _largest_divisor(self.file_neurons // self.chunk_neurons, most)


def cut_store(options: CutOptions, rows: int, widths: Sequence[int], tp_size: int = 1) -> Cut:
    """Choose how a store is cut.

    Parameters
    ----------
    options : CutOptions
    rows : int
    widths : sequence of int
        Neurons of every layer.
    tp_size : int
        How many processes share every layer; each writes complete files of its part of the layer.

    Returns
    -------
    Cut
        The same for any number of ranks.

    Examples
    --------
    A million rows of 32 layers of 14,336 neurons, in float32:

    >>> from emoscale.extraction.options import ExtractionOptions
    >>> cut = cut_store(ExtractionOptions(), 10**6, [14336] * 32)
    >>> cut, cut.blocks(10**6) * -(-32 * 14336 // cut.file_neurons)
    (Cut(block_rows=1024, chunk_rows=1024, chunk_neurons=1024, file_neurons=65536), 6839)
    """
    itemsize = stored_type(options.dtype).itemsize
    neurons = sum(widths)
    # Processes that share layers hold parts of each; no chunk and no file may reach from one part into the next.
    part = neurons if tp_size == 1 else math.gcd(*(width // tp_size for width in widths))
    chunk = min(options.chunk_neurons, max(1, part))
    if tp_size > 1:
        chunk = _largest_divisor(part, chunk)
    rows_of_block = options.block_rows or LEAST_ROWS
    file = _file_neurons(part, chunk, rows_of_block * itemsize, tp_size)
    while options.block_rows is None and _should_grow(rows, neurons, itemsize, rows_of_block, file, tp_size):
        rows_of_block *= 2
        file = _file_neurons(part, chunk, rows_of_block * itemsize, tp_size)
    # A block of a given size is one chunk high: it need not be a multiple of anything.
    return Cut(rows_of_block, options.block_rows or LEAST_ROWS, chunk, file)


def _file_neurons(part: int, chunk: int, column_bytes: int, tp_size: int) -> int:
    """Return the neurons of a file: as many chunks as fit, of one process's part of a layer if layers are shared."""
    chunks = max(1, LARGE_FILE // (chunk * column_bytes))
    if tp_size > 1:
        return chunk * _largest_divisor(part // chunk, chunks)
    return chunk * min(chunks, max(1, -(-part // chunk)))


def _should_grow(rows: int, neurons: int, itemsize: int, block_rows: int, file_neurons: int, tp_size: int) -> bool:
    if rows * neurons * itemsize <= LARGE_STORE or 2 * block_rows * neurons // tp_size * itemsize > LARGE_BLOCK:
        return False
    files = -(-rows // block_rows) * -(-neurons // file_neurons)
    return min(file_neurons, neurons) * block_rows * itemsize < SMALL_FILE or files > MOST_FILES


def _largest_divisor(number: int, most: int) -> int:
    return max(size for size in range(1, min(most, number) + 1) if number % size == 0)
