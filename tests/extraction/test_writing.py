"""Blocks are written by threads, in order under one, and not at all once one has failed."""

import threading

import pytest
import torch

from emoscale.extraction.writing import writing


def test_blocks_come_in_order_under_one_thread():
    seen = []

    def write(block, values):
        seen.append((block, values[0, 0].item(), len(values)))

    with writing(write, 1, 4, 2, torch.float32) as w:
        for block in range(9):
            buffer = w.buffer()
            buffer.fill_(block)
            w.submit(block, 1 + block % 4, buffer)
        assert sum(w.written(wait=True)) == sum(rows for _, _, rows in seen)
    assert seen == [(block, block, 1 + block % 4) for block in range(9)]


def test_no_more_blocks_are_held_than_there_are_buffers():
    go = threading.Event()
    with writing(lambda *_: go.wait(10), 2, 1, 1, torch.float32) as w:
        for block in range(3):
            w.submit(block, 1, w.buffer())
        assert w._free.empty()
        go.set()
        assert list(w.written(wait=True)) == [1, 1, 1]


def test_after_a_failure_no_block_is_written():
    """A sum that lacks a block must not be taken for complete."""
    seen = []

    def write(block, values):
        if block == 1:
            raise OSError("full")
        seen.append(block)

    with writing(write, 1, 1, 1, torch.float32) as w:
        for block in range(4):
            w.submit(block, 1, w.buffer())
        w._threads.submit(int).result()  # the thread has had every block before it is asked
        with pytest.raises(OSError, match="full"):
            list(w.written(wait=True))
    assert seen == [0]
