"""Keeping every row's activations: the row blocks of a store, each committed once it is on disk."""

from __future__ import annotations

import shutil

import torch
from torch import Tensor

from emoscale.errors import InputError
from emoscale.extraction.repair import damaged_blocks, write_damaged, write_damaged_coordinates
from emoscale.extraction.sinks import Work
from emoscale.schema import ACTIVATIONS
from emoscale.store import CommitLog, create_store, open_store


class KeptActivations:
    """Activations of every row.

    Parameters
    ----------
    work : Work
    dtype : {"float32", "float16", "bfloat16"}
        Type in the store.
    threads : int
        Threads that write.
    repair : bool
        Write missing and damaged chunks anew.
    """

    def __init__(self, work: Work, dtype: str, threads: int, repair: bool) -> None:
        self._work, self.threads = work, threads
        # float16 is made where it is gathered, which many threads do; NumPy has no bfloat16, so the store makes it.
        self.buffer_type = torch.float16 if dtype == "float16" else torch.float32
        ranks, folder = work.ranks, work.folder.commits(work.folder.activations)
        if ranks.is_main:
            _create(work, dtype, repair)
        ranks.wait()
        self._store = open_store(work.folder.activations, ACTIVATIONS, mode="r+")
        # Processes that compute parts of the neurons commit these parts; a block is done when all parts are.
        self._logs = [CommitLog(folder / f"part-{part}", ranks.rank) for part in range(ranks.tp_size)]
        everything = range(work.blocks)
        committed = set(everything) if self._store.complete else set(everything).intersection(*self._committed())
        self._damaged = damaged_blocks(self._store, ranks.own(sorted(committed))) if repair else {}
        self._done = committed - self._damaged.keys()
        ranks.wait()  # all see the same blocks done before any does another

    def _committed(self) -> list[dict[int, int]]:
        return [log.done() for log in self._logs]

    def shares(self) -> list[list[int]]:
        """Return every block by itself."""
        return [[block] for block in range(self._work.blocks)]

    def done(self) -> set[int]:
        """Return the blocks that are on disk already."""
        return self._done

    def write(self, block: int, values: Tensor) -> None:
        """Write a block, and commit it."""
        rows, block_values = self._work.rows(block), values.numpy()
        absent = self._work.check.count_absent(block_values, rows.start)
        if block in self._damaged:
            read_back = self._store.as_read("activations", block_values)
            write_damaged(self._store, read_back, rows.start, self._damaged[block])
        else:
            self._work.write_columns(self._store, "activations", block_values, observation=rows.start)
        self._logs[self._work.ranks.tp_rank].add(block, absent)

    def finish(self) -> int:
        """Declare the store complete; return how many values are absent, of the blocks the commit log knows."""
        self._work.ranks.wait()
        absent = sum(sum(done.values()) for done in self._committed())
        self._work.ranks.wait()
        if self._work.ranks.is_main:
            if not self._store.complete:
                self._store.mark_complete()
            shutil.rmtree(self._logs[0].folder.parent, ignore_errors=True)
        return absent


def _create(work: Work, dtype: str, repair: bool) -> None:
    path = work.folder.activations
    try:
        store = open_store(path, ACTIVATIONS, mode="r+")
        is_other = store.attributes["origin"] != work.origin
    except InputError:
        is_other = True
    if not (is_other or repair):
        return
    coordinates = {**work.sequences.coordinates(), **work.neurons}
    if not is_other:
        write_damaged_coordinates(store, coordinates)
        return
    shutil.rmtree(work.folder.commits(path), ignore_errors=True)
    chunks = {"observation": work.block_rows, "neuron": work.chunk_neurons}
    create_store(path, ACTIVATIONS, coordinates, chunks, dtypes={"activations": dtype}, attributes=work.origin)
