"""Writing row blocks while the next are computed, with no more memory than a few blocks take."""

from __future__ import annotations

import ctypes
import queue
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import torch
from torch import Tensor

_BLOCKS_A_TRIM = 4

Write = Callable[[int, Tensor], None]
"""Takes a block's number and its values, (rows, neurons)."""


class BlockWriter:
    """A few buffers for row blocks, and threads that write them.

    Parameters
    ----------
    write : callable
        Called by the threads. Under one thread the blocks come in the order in which they were submitted. Once it has
        raised, no further block is written: a sum of blocks would lack one.
    threads : int
    rows, neurons : int
        Size of a buffer; there is one more of them than threads.
    dtype : dtype
    """

    def __init__(self, write: Write, threads: int, rows: int, neurons: int, dtype: torch.dtype) -> None:
        self._write = write
        self._threads = ThreadPoolExecutor(threads, "writer")
        self._free: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._written = count(1)
        self._failed = False
        for _ in range(threads + 1):
            self._free.put(torch.empty(rows, neurons, dtype=dtype))

    def buffer(self) -> Tensor:
        """Return a buffer of shape (rows, neurons), waiting until one is free."""
        return self._free.get()

    def submit(self, block: int, rows: int, buffer: Tensor) -> None:
        """Have the first rows of a buffer written as a block; the buffer is then in use until it is."""
        self._pending.append((self._threads.submit(self._write_and_free, block, rows, buffer), rows))

    def _write_and_free(self, block: int, rows: int, buffer: Tensor) -> None:
        try:
            if self._failed:
                return
            self._write(block, buffer[:rows])
            if next(self._written) % _BLOCKS_A_TRIM == 0:
                _give_memory_back()
        except BaseException:
            self._failed = True
            raise
        finally:
            self._free.put(buffer)

    def written(self, wait: bool = False) -> Iterator[int]:
        """Yield the rows of every block that has been written since the last time.

        Parameters
        ----------
        wait : bool
            For all that were submitted.

        Raises
        ------
        Exception
            What a thread ran into.
        """
        while self._pending and (wait or self._pending[0][0].done()):
            future, rows = self._pending.popleft()
            future.result()
            yield rows

    def stop(self) -> None:
        """Write nothing that has not been begun, and return when no thread writes."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _give_memory_back() -> None:
    # The C library keeps what each thread freed, in pieces: without this, memory crept up by 1.5 MB a block of 38 MB.
    # After every block it would cost the model's next passes more than it is worth.
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)


@contextmanager
def writing(write: Write, threads: int, rows: int, neurons: int, dtype: torch.dtype) -> Iterator[BlockWriter]:
    """Write row blocks in threads while the `with` block lasts; see `BlockWriter`."""
    writer = BlockWriter(write, threads, rows, neurons, dtype)
    try:
        yield writer
    finally:
        writer.stop()
