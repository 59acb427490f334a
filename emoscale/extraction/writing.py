"""From the device to the disk: copying batches into row blocks, and writing those while the next are computed.

Memory is limited to a few row blocks.
"""

from __future__ import annotations

import ctypes
import queue
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCKS_A_TRIM = 4

Write = Callable[[int, Tensor], None]
"""Takes a block's number and its values, (rows, neurons)."""


class _Copy(NamedTuple):
    staged: Tensor
    rows: Tensor
    done: torch.cuda.Event


class HostCopies:
    """Copies batches into a row block.

    From a GPU they go through two pinned buffers in turn, so that the host never waits for the batch that is being
    computed. A buffer that is read before its copy has ended holds garbage, hence the events.
    """

    def __init__(self) -> None:
        self._buffers: deque[Tensor | None] = deque([None, None])
        self._pending_copies: deque[_Copy] = deque()

    def put(self, values: Tensor, block: Tensor, rows: Tensor) -> None:
        """Copy a batch (rows, neurons) into these rows of the block; `finish` waits until it is there."""
        if not values.is_cuda:
            block.index_copy_(0, rows, values.to(block.dtype))
            return
        if len(self._pending_copies) == len(self._buffers):
            self._complete_oldest(block)
        staged = self._buffer(values)
        staged.copy_(values, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(values.device))
        self._pending_copies.append(_Copy(staged, rows, event))

    def finish(self, block: Tensor) -> None:
        """Return when all batches are in the block."""
        while self._pending_copies:
            self._complete_oldest(block)

    def _complete_oldest(self, block: Tensor) -> None:
        copy = self._pending_copies.popleft()
        copy.done.synchronize()
        block.index_copy_(0, copy.rows, copy.staged.to(block.dtype))

    def _buffer(self, values: Tensor) -> Tensor:
        """Return the next buffer, enlarged where a batch does not fit."""
        buffer = self._buffers.popleft()
        if buffer is None or len(buffer) < len(values) or buffer.dtype != values.dtype:
            buffer = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._buffers.append(buffer)
        return buffer[: len(values)]


def buffers(threads: int) -> int:
    """Return how many row blocks are in memory: while each thread writes one, another is filled."""
    return threads + 1


class BlockWriter:
    """A few buffers for row blocks, and threads that write them.

    Parameters
    ----------
    write : callable
        Called by the threads. A single thread writes the blocks in the order in which they were submitted. Once it has
        raised an error, no further block is written: a sum would lack one.
    threads : int
    rows, neurons : int
        Size of a buffer; there are `buffers` of them.
    dtype : dtype
    """

    def __init__(self, write: Write, threads: int, rows: int, neurons: int, dtype: torch.dtype) -> None:
        self._write = write
        self._threads = ThreadPoolExecutor(threads, "writer")
        self._free: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._written = count(1)
        self._failed = False
        for _ in range(buffers(threads)):
            self._free.put(torch.empty(rows, neurons, dtype=dtype))

    def buffer(self) -> Tensor:
        """Return a buffer of shape (rows, neurons), waiting until one is free."""
        return self._free.get()

    def submit(self, block: int, rows: int, buffer: Tensor) -> None:
        """Queue the first rows of a buffer to be written as a block; the buffer is in use until then."""
        self._pending.append((self._threads.submit(self._write_and_free, block, rows, buffer), rows))

    def _write_and_free(self, block: int, rows: int, buffer: Tensor) -> None:
        try:
            if self._failed:
                return
            self._write(block, buffer[:rows])
            if next(self._written) % _BLOCKS_A_TRIM == 0:
                _return_free_memory()
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
            What a thread raised.
        """
        while self._pending and (wait or self._pending[0][0].done()):
            future, rows = self._pending.popleft()
            future.result()
            yield rows

    def stop(self) -> None:
        """Write no further block, and return when no thread writes."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _return_free_memory() -> None:
    # The C library keeps what each thread freed, in pieces: without this, memory grew by 1.5 MB a block of 38 MB. After
    # every block it would slow the model's next passes more than it is worth.
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
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
