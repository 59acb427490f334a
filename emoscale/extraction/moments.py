"""Keeping only count, mean and spread of every neuron, by concept and replicate.

The rows are cut into consecutive parts, each summed up in order by one rank, and the parts are merged in their order:
the result is the same to the last bit for any number of ranks.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.extraction.sinks import Work
from emoscale.schema import MOMENT_PARTS, MOMENTS
from emoscale.store import CommitLog, Store, create_store, open_store
from emoscale_kernels import Moments, empty_moments, merge_moments, update_moments


class KeptMoments:
    """Moments of every cell of rows.

    Parameters
    ----------
    work : Work
    concepts : sequence of str
        Rows of others are left aside.
    parts : int
        Into how many parts the rows are cut; the ranks share them out.
    """

    threads = 1
    buffer_type = torch.float32

    def __init__(self, work: Work, concepts: Sequence[str], parts: int) -> None:
        self._work = work
        self._cell_of, self._cells = _cells(work, concepts)
        self._shares = [part.tolist() for part in np.array_split(np.arange(work.blocks), min(parts, work.blocks))]
        self._part_of = {block: part for part, blocks in enumerate(self._shares) for block in blocks}
        self._moments = self._empty()
        self._absent = 0
        ranks, folder = work.ranks, work.folder.commits(work.folder.moments)
        if ranks.is_main:
            self._create()
        ranks.wait()
        self._store = open_store(work.folder.moments, MOMENTS, mode="r+")
        self._logs = [CommitLog(folder / f"part-{part}", ranks.rank) for part in range(ranks.tp_size)]
        everything = set(range(len(self._shares)))
        self._done = everything if self._store.complete else everything.intersection(*self._committed())
        # When all is merged there are no parts any more.
        self._parts = self._store if self._store.complete else _open_parts(work)
        ranks.wait()  # all see the same parts done before any does another

    def _committed(self) -> list[dict[int, int]]:
        return [log.done() for log in self._logs]

    def _empty(self) -> Moments:
        width = sum(columns.stop - columns.start for columns in self._work.columns)
        return empty_moments(len(self._cells), width)

    def _create(self) -> None:
        work, folder = self._work, self._work.folder
        try:
            store = open_store(folder.moments, MOMENTS)
            if store.attributes["origin"] == work.origin and (store.complete or _open_parts(work)):
                return
        except InputError:
            pass
        shutil.rmtree(folder.commits(folder.moments), ignore_errors=True)
        chunks = {"part": 1, "neuron": work.chunk_neurons}
        sizes = {"part": len(self._shares), "cell": len(self._cells), "neuron": len(work.neurons["layer"])}
        create_store(folder.moment_parts, MOMENT_PARTS, {}, chunks, sizes, attributes=work.origin)
        coordinates = {name: self._cells[name].to_numpy() for name in ("concept", "replicate", "rows")}
        create_store(folder.moments, MOMENTS, {**coordinates, **work.neurons}, chunks, attributes=work.origin)

    def shares(self) -> list[list[int]]:
        """Return the blocks of every part."""
        return self._shares

    def done(self) -> set[int]:
        """Return the parts that are on disk already."""
        return self._done

    def write(self, block: int, values: Tensor) -> None:
        """Add a block to its part, and commit the part with its last block."""
        rows, part = self._work.rows(block), self._part_of[block]
        self._absent += self._work.check.count_absent(values.numpy(), rows.start)
        inputs = np.searchsorted(self._work.sequences.row_of, np.arange(rows.start, rows.stop), side="right") - 1
        update_moments(self._moments, values.numpy(), self._cell_of[inputs])
        if block != self._shares[part][-1]:
            return
        self._save(self._parts, self._moments, part=part)
        self._logs[self._work.ranks.tp_rank].add(part, self._absent)
        self._moments, self._absent = self._empty(), 0

    def _save(self, store: Store, moments: Moments, **starts: int) -> None:
        for name, values in (("mean", moments.mean), ("m2", moments.m2), ("count", moments.counts)):
            shaped = values[np.newaxis] if starts else values
            self._work.write_columns(store, name, shaped, **starts)

    def finish(self) -> int:
        """Merge the parts, and declare the moments complete; return how many values are absent."""
        ranks, folder = self._work.ranks, self._work.folder
        ranks.wait()
        absent = sum(sum(done.values()) for done in self._committed())
        if not self._store.complete:
            width = self._store.chunks("mean")[1]
            for start in ranks.own(range(0, self._store.sizes["neuron"], width)):
                if ranks.tp_rank == 0:
                    _merge(self._parts, self._store, slice(start, min(start + width, self._store.sizes["neuron"])))
        ranks.wait()
        if ranks.is_main:
            if not self._store.complete:
                self._store.mark_complete()
            shutil.rmtree(folder.commits(folder.moments), ignore_errors=True)
            shutil.rmtree(folder.moment_parts, ignore_errors=True)
        return absent


def _open_parts(work: Work) -> Store:
    return open_store(work.folder.moment_parts, MOMENT_PARTS, mode="r+")


def _merge(parts: Store, store: Store, neurons: slice) -> None:
    total: Moments | None = None
    for part in range(parts.sizes["part"]):
        here = {"part": slice(part, part + 1), "neuron": neurons}
        mean, m2, count = (parts.read(name, **here)[0] for name in ("mean", "m2", "count"))
        own = Moments(count.astype(np.int64), mean, m2)
        total = own if total is None else merge_moments(total, own)
    if total is not None:
        for name, values in (("mean", total.mean), ("m2", total.m2), ("count", total.counts)):
            store.write(name, values, neuron=neurons.start)


def _cells(work: Work, concepts: Sequence[str]) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Return the cell of every input, -1 for none, and a table of the cells."""
    concept, replicate = work.sequences.labels()
    number = pd.Index(concepts).get_indexer(pd.Index(concept))
    used = number >= 0
    if not used.any():
        raise InputError("extraction.keep 'moments': no row stands for a concept; check concepts and texts' labels")
    seed, names = pd.factorize(replicate[used])
    cell, found = pd.factorize(seed * len(concepts) + number[used], sort=True)
    cell_of = np.full(len(concept), -1, dtype=np.int64)
    cell_of[used] = cell
    rows = np.bincount(cell, weights=np.diff(work.sequences.row_of)[used]).astype(np.int64)
    table = {
        "concept": np.array(concepts, dtype=object)[found % len(concepts)],
        "replicate": np.asarray(names, dtype=object)[found // len(concepts)],
        "rows": rows,
    }
    return cell_of, pd.DataFrame(table)
