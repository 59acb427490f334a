"""Neurons in blocks, so that memory holds a few blocks at a time, whatever the number of neurons."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from dask.delayed import Delayed, delayed

from emoscale.errors import InputError, StageError
from emoscale.store import Store

_TASKS_A_THREAD = 4
"""At least, so that the threads end at about the same time."""
_SHARE_OF_MEMORY = 4
"""One part in so many is taken where no limit is given."""


class Job(Protocol):
    """What is done with a block of neurons, in one thread. It travels to a cluster's workers."""

    @property
    def splits_chunks(self) -> bool:
        """Whether a block may be narrower than a chunk, which is then read several times."""

    def neuron_bytes(self, store: Store) -> int:
        """Return the bytes that a neuron of a block takes while it is in work."""

    def __call__(self, store: Store, start: int, stop: int) -> Any:
        """Work on the neurons start to stop."""


class Capacity(NamedTuple):
    """What there is to compute with.

    Attributes
    ----------
    processes : int
    threads : int
        Of a process.
    memory : int
        Bytes that a process may use.
    """

    processes: int
    threads: int
    memory: int


def chunk_neurons(store: Store) -> int:
    """Return how many neurons lie in a chunk of the data."""
    return store.chunks(store.schema.data[0].name)[1]


def neurons_a_task(
    store: Store,
    job: Job,
    capacity: Capacity,
    *,
    memory_limit: int | None = None,
    block_neurons: int | None = None,
) -> int:
    """Choose how many neurons a task takes: what memory allows, if that leaves every thread some tasks.

    Each thread of a process has one task in work.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    job : Job
    capacity : Capacity
    memory_limit : int, optional
        Bytes that the tasks in work may take together in one process; by default a quarter of its memory.
    block_neurons : int, optional
        The most neurons, rounded up to whole chunks.

    Returns
    -------
    int
        Whole chunks, or less than one if the job may split them and memory is short.

    Raises
    ------
    InputError
        If not even the least block on each thread is within the limit.
    """
    chunk = min(chunk_neurons(store), store.sizes["neuron"])
    neuron_bytes = job.neuron_bytes(store)
    limit = memory_limit or capacity.memory // _SHARE_OF_MEMORY
    fitting = limit // (capacity.threads * neuron_bytes)
    least = 1 if job.splits_chunks else chunk
    if fitting < least:
        needed = least * capacity.threads * neuron_bytes
        raise InputError(
            f"machine.memory_limit: {limit:,} bytes do not hold {least:,} neurons ({neuron_bytes:,} bytes each) for "
            f"each of {capacity.threads} threads; set it to {needed:,} or more, use fewer threads, or extract with a "
            "smaller extraction.chunk_neurons"
        )
    if fitting < chunk:
        return -(-chunk // -(-chunk // fitting))  # equal parts of a chunk
    chunks = -(-store.sizes["neuron"] // chunk)
    wanted = chunks // (_TASKS_A_THREAD * capacity.threads * capacity.processes)
    if block_neurons is not None:
        wanted = -(-block_neurons // chunk)
    return chunk * max(1, min(wanted, fitting // chunk))


def block_ranges(store: Store, block: int) -> list[tuple[int, int]]:
    """Cut the neurons into blocks: of whole chunks, or within a chunk, never over the border of one.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    block : int
        From `neurons_a_task`.

    Returns
    -------
    list of tuple of int
        Start and stop of each.
    """
    neurons = store.sizes["neuron"]
    outer = max(block, chunk_neurons(store))
    return [
        (start, min(start + block, first + outer, neurons))
        for first in range(0, neurons, outer)
        for start in range(first, min(first + outer, neurons), block)
    ]


def block_tasks(store: Store, job: Job, ranges: list[tuple[int, int]]) -> list[Delayed]:
    """Lay out the work, one task a block of neurons, without doing any of it.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    job : Job
    ranges : list of tuple of int
        From `block_ranges`.

    Returns
    -------
    list of dask.delayed.Delayed
        Each yields what the job returns.
    """
    # Part of the graph and not scattered: what is scattered is lost with the worker that holds it.
    shared = delayed((store, job), traverse=False)
    task = delayed(_block, traverse=False)
    return [task(shared, start, stop) for start, stop in ranges]


def _block(shared: tuple[Store, Job], start: int, stop: int) -> Any:
    store, job = shared
    if not store.path.exists():
        raise StageError(f"{store.path}: not there for a worker; let all workers see the run folder under this path")
    return job(store, start, stop)
