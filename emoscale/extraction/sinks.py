"""What is left of rows of values: every row, or only their moments.

The row blocks are each committed once they are on disk. For moments the rows are cut into consecutive
shards, each summed in order by one rank, and the shards are merged in their order. Either result is bit-identical for
any number of ranks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError, StageError, StoreError
from emoscale.extraction.work import StoreOptions, Target, Work
from emoscale.extraction.writing import buffers
from emoscale.store import WRITE_BYTES, Store, create_store, open_store
from emoscale.store.types import STORED_TYPES
from emoscale_kernels import MOMENTS_BYTES, Moments, empty_moments, merge_moments, update_moments


def host_bytes(options: StoreOptions, block_rows: int, writers: int, cells: int, neurons: int) -> int:
    """Return the memory that the values of a process take until they are written.

    Parameters
    ----------
    options : StoreOptions
    block_rows : int
        Rows of a block.
    writers : int
        Threads that write rows.
    cells : int
        Number of pairs of concept and replicate.
    neurons : int
        Neurons that the process computes.
    """
    if options.keep == "moments":
        threads, buffer_type = MomentSink.threads, MomentSink.buffer_type
    else:
        threads, buffer_type = writers, _buffer_type(options)
    blocks = buffers(threads) * block_rows * neurons * buffer_type.itemsize + threads * WRITE_BYTES
    return blocks + (MOMENTS_BYTES * cells * neurons if options.keep == "moments" else 0)


def _buffer_type(options: StoreOptions) -> torch.dtype:
    buffer_type: torch.dtype = getattr(torch, STORED_TYPES[options.dtype].gathered_as)
    return buffer_type


class Sink(Protocol):
    """Takes row blocks."""

    def shares(self) -> list[list[int]]:
        """Return the blocks that one rank computes one after the other, and commits together."""

    def done(self) -> set[int]:
        """Return the numbers of the shares that are on disk already."""

    @property
    def threads(self) -> int:
        """How many threads may write blocks concurrently."""

    @property
    def buffer_type(self) -> torch.dtype:
        """Type in which blocks are gathered."""

    def write(self, block: int, values: Tensor) -> None:
        """Write or add up a block (rows, neurons)."""

    def finish(self) -> int:
        """Declare everything done; return how many values are absent."""


class RowSink:
    """Writes every row.

    Parameters
    ----------
    work : Work
    """

    def __init__(self, work: Work) -> None:
        self._work, self.threads = work, work.job.writers
        self.buffer_type = _buffer_type(work.options)
        ranks = work.ranks
        if ranks.is_main:
            _create_rows(work)
        ranks.wait()
        self._store = open_store(work.target.rows, work.target.rows_schema, mode="r+")
        self._logs = work.commit_logs(self._store)
        everything = range(work.blocks)
        committed = set(everything) if self._store.complete else set(everything).intersection(*self._committed())
        self._damaged = (
            _damaged_blocks(self._store, work.target.array, ranks.own(sorted(committed))) if work.job.repair else {}
        )
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
            read_back = self._store.as_read(self._work.target.array, block_values)
            _write_damaged(self._store, read_back, rows.start, self._damaged[block], self._work.target)
        else:
            target = self._work.target
            self._work.write_columns(self._store, target.array, block_values, **{target.dim: rows.start})
        self._logs[self._work.ranks.tp_rank].add(block, absent)

    def finish(self) -> int:
        """Declare the store complete; return how many values are absent, of the blocks the commit log knows."""
        self._work.ranks.wait()
        absent = sum(sum(done.values()) for done in self._committed())
        self._work.ranks.wait()
        if self._work.ranks.is_main:
            if not self._store.complete:
                self._store.mark_complete()
            shutil.rmtree(self._work.folder.commits(self._store.path), ignore_errors=True)
        return absent


def _create_rows(work: Work) -> None:
    target, job = work.target, work.job
    try:
        store = open_store(target.rows, target.rows_schema, mode="r+")
        is_other = store.attributes["origin"] != job.origin
    except InputError:
        is_other = True
    if not (is_other or job.repair):
        return
    coordinates = {**work.table.coordinates(), **work.neurons}
    if not is_other:
        _write_damaged_coordinates(store, coordinates)
        return
    shutil.rmtree(work.folder.commits(target.rows), ignore_errors=True)
    cut, dtypes = work.cut, {target.array: work.options.dtype}
    chunks = {target.dim: cut.chunk_rows, "neuron": cut.chunk_neurons}
    files = {target.dim: cut.block_rows, "neuron": cut.file_neurons}
    create_store(
        target.rows, target.rows_schema, coordinates, chunks, dtypes=dtypes, attributes=job.origin, files=files
    )


def _damaged_blocks(store: Store, array: str, blocks: Iterable[int]) -> dict[int, list[int]]:
    """Return the row blocks with missing or damaged files, and the places of those among the block's files."""
    dim = store.schema[array].dims[0]
    size, total = store.files(array)[0], store.sizes[dim]
    found = {}
    for block in blocks:
        rows = slice(block * size, min((block + 1) * size, total))
        if damage := store.damage(array, **{dim: rows}):
            found[block] = [column for _, column in damage]
    return found


def _write_damaged(store: Store, values: NDArray[Any], start: int, columns: Iterable[int], target: Target) -> None:
    """Write the damaged files of a row block.

    Parameters
    ----------
    store : Store
    values : ndarray, shape (rows, neurons)
        The complete block, as the store would return it.
    start : int
        Its first row.
    columns : iterable of int
        Places of the damaged files, from `_damaged_blocks`.
    target : Target

    Raises
    ------
    StageError
        If the block's intact chunks are not bit-identical to `values`: this machine would mix two computations.
    """
    array, dim = target.array, target.dim
    (height, width), rows = store.chunks(array), slice(start, start + len(values))
    for top, left in product(range(0, len(values), height), range(0, values.shape[1], width)):
        chunk = values[top : top + height, left : left + width]
        there = {dim: slice(start + top, start + top + len(chunk)), "neuron": slice(left, left + chunk.shape[1])}
        try:
            stored = store.read(array, **there)
        except StoreError:  # one of those that are damaged
            continue
        if stored.tobytes() != np.ascontiguousarray(chunk).tobytes():
            raise StageError(
                f"{store.path}: rows {rows.start} to {rows.stop - 1} differ from those stored (another machine, device "
                "or library?); repair where they were extracted, or extract with --fresh"
            )
    width = store.files(array)[1]
    for column in sorted(columns):
        first = column * width
        store.write(array, values[:, first : first + width], **{dim: start, "neuron": first})


def _write_damaged_coordinates(store: Store, coordinates: Mapping[str, NDArray[Any]]) -> None:
    for spec in store.schema.coordinates:
        if store.damage(spec.name):
            store.write(spec.name, np.asarray(coordinates[spec.name]))


class MomentSink:
    """Sums the moments of every pair of concept and replicate, or of their parts.

    Parameters
    ----------
    work : Work

    Raises
    ------
    InputError
        If no row represents one of the concepts.
    """

    threads = 1
    buffer_type = torch.float32

    def __init__(self, work: Work) -> None:
        self._work = work
        self._cell_of, self._cells = _cells(work)
        shards = np.array_split(np.arange(work.blocks), work.cut.shards(work.options, work.table.rows))
        self._shares = [blocks.tolist() for blocks in shards]
        self._shard_of = {block: shard for shard, blocks in enumerate(self._shares) for block in blocks}
        self._moments = self._empty()
        self._absent = 0
        ranks = work.ranks
        if ranks.is_main:
            self._create()
        ranks.wait()
        self._store = open_store(work.target.moments, work.target.moments_schema, mode="r+")
        self._logs = work.commit_logs(self._store)
        everything = set(range(len(self._shares)))
        self._done = everything if self._store.complete else everything.intersection(*self._committed())
        # Once all are merged there are no shards any more.
        self._shards = self._store if self._store.complete else _open_shards(work)
        ranks.wait()  # all see the same shards done before any does another

    def _committed(self) -> list[dict[int, int]]:
        return [log.done() for log in self._logs]

    def _empty(self) -> Moments:
        return empty_moments(len(self._cells), self._work.width)

    def _create(self) -> None:
        work, target, origin = self._work, self._work.target, self._work.job.origin
        try:
            store = open_store(target.moments, target.moments_schema)
            if store.attributes["origin"] == origin and (store.complete or _open_shards(work)):
                return
        except InputError:
            pass
        shutil.rmtree(work.folder.commits(target.moments), ignore_errors=True)
        chunks = {"shard": 1, "neuron": work.cut.chunk_neurons}
        files = {"neuron": work.cut.file_of_moments(len(self._cells))}
        sizes = {"shard": len(self._shares), "cell": len(self._cells), "neuron": len(work.neurons["layer"])}
        create_store(target.shards, target.shards_schema, {}, chunks, sizes, attributes=origin, files=files)
        coordinates = {name: self._cells[name].to_numpy() for name in self._cells.columns.astype(str)}
        coordinates |= work.neurons
        create_store(target.moments, target.moments_schema, coordinates, chunks, attributes=origin, files=files)

    def shares(self) -> list[list[int]]:
        """Return the blocks of every shard."""
        return self._shares

    def done(self) -> set[int]:
        """Return the shards that are on disk already."""
        return self._done

    def write(self, block: int, values: Tensor) -> None:
        """Add a block to its shard, and commit the shard with its last block."""
        rows, shard = self._work.rows(block), self._shard_of[block]
        self._absent += self._work.check.count_absent(values.numpy(), rows.start)
        inputs = np.searchsorted(self._work.table.row_of, np.arange(rows.start, rows.stop), side="right") - 1
        update_moments(self._moments, values.numpy(), self._cell_of[inputs])
        if block != self._shares[shard][-1]:
            return
        for name, sums in _arrays(self._moments):
            self._work.write_columns(self._shards, name, sums[np.newaxis], shard=shard)
        self._logs[self._work.ranks.tp_rank].add(shard, self._absent)
        self._moments, self._absent = self._empty(), 0

    def finish(self) -> int:
        """Merge the shards, and declare the moments complete; return how many values are absent."""
        ranks, target = self._work.ranks, self._work.target
        ranks.wait()
        absent = sum(sum(done.values()) for done in self._committed())
        if not self._store.complete:
            width = self._store.files("mean")[1]
            for start in ranks.own(range(0, self._store.sizes["neuron"], width)):
                if ranks.tp_rank == 0:
                    _merge(self._shards, self._store, slice(start, min(start + width, self._store.sizes["neuron"])))
        ranks.wait()
        if ranks.is_main:
            if not self._store.complete:
                self._store.mark_complete()
            shutil.rmtree(self._work.folder.commits(target.moments), ignore_errors=True)
            shutil.rmtree(target.shards, ignore_errors=True)
        return absent


def _open_shards(work: Work) -> Store:
    return open_store(work.target.shards, work.target.shards_schema, mode="r+")


def _arrays(moments: Moments) -> list[tuple[str, NDArray[Any]]]:
    return [("mean", moments.mean), ("m2", moments.m2), ("count", moments.counts)]


def _merge(shards: Store, store: Store, neurons: slice) -> None:
    total: Moments | None = None
    for shard in range(shards.sizes["shard"]):
        here = {"shard": slice(shard, shard + 1), "neuron": neurons}
        mean, m2, count = (shards.read(name, **here)[0] for name in ("mean", "m2", "count"))
        own = Moments(count.astype(np.int64), mean, m2)
        total = own if total is None else merge_moments(total, own)
    if total is not None:
        for name, values in _arrays(total):
            store.write(name, values, neuron=neurons.start)


def _cells(work: Work) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Return the cell of every input, -1 for none, and a table of the cells."""
    concepts = work.job.concepts
    concept, replicate = work.table.labels()
    number = pd.Index(concepts).get_indexer(pd.Index(concept))
    used = number >= 0
    if not used.any():
        raise InputError(
            f"{work.target.setting}.keep 'moments': no row represents a concept; check concepts and texts' labels"
        )
    seed, names = pd.factorize(replicate[used])
    key, parts = seed * len(concepts) + number[used], work.table.parts()
    for values in parts.values():
        part, known = pd.factorize(values[used], sort=True)
        key = key * len(known) + part
    cell, first = pd.factorize(key, sort=True)[0], np.unique(key, return_index=True)[1]
    cell_of = np.full(len(concept), -1, dtype=np.int64)
    cell_of[used] = cell
    rows = np.bincount(cell, weights=np.diff(work.table.row_of)[used]).astype(np.int64)
    table = {
        "concept": np.array(concepts, dtype=object)[number[used][first]],
        "replicate": np.asarray(names, dtype=object)[seed[first]],
        **{name: values[used][first] for name, values in parts.items()},
        "rows": rows,
    }
    return cell_of, pd.DataFrame(table)
