"""Bringing activations from the device into a row block, while the device computes the next."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor


class _Copy(NamedTuple):
    staged: Tensor
    rows: Tensor
    done: torch.cuda.Event


class HostCopies:
    """Copies of batches into the block at hand.

    From a GPU they go through two pinned buffers in turn, so that the host never waits for the batch that is being
    computed: reading such a buffer before its copy has ended would give garbage, hence the events.
    """

    def __init__(self) -> None:
        self._buffers: deque[Tensor | None] = deque([None, None])
        self._under_way: deque[_Copy] = deque()

    def put(self, values: Tensor, block: Tensor, rows: Tensor) -> None:
        """Bring a batch (rows, neurons) into these rows of the block; `finish` says when it is there."""
        if not values.is_cuda:
            block.index_copy_(0, rows, values.to(block.dtype))
            return
        if len(self._under_way) == len(self._buffers):
            self._arrive(block)
        staged = self._buffer(values)
        staged.copy_(values, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(values.device))
        self._under_way.append(_Copy(staged, rows, event))

    def finish(self, block: Tensor) -> None:
        """Return when all batches are in the block."""
        while self._under_way:
            self._arrive(block)

    def _arrive(self, block: Tensor) -> None:
        copy = self._under_way.popleft()
        copy.done.synchronize()
        block.index_copy_(0, copy.rows, copy.staged.to(block.dtype))

    def _buffer(self, values: Tensor) -> Tensor:
        """Return the buffer whose turn it is, enlarged where a batch does not fit."""
        buffer = self._buffers.popleft()
        if buffer is None or len(buffer) < len(values) or buffer.dtype != values.dtype:
            buffer = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._buffers.append(buffer)
        return buffer[: len(values)]
