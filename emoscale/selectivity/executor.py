"""Work on all neurons, block by block: on threads here, or on a cluster's workers.

Memory holds a few blocks at a time, whatever the number of neurons. Nothing here changes a result, only where and how
fast it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import psutil
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import Delayed, delayed
from dask.system import CPU_COUNT

from emoscale.errors import InputError, StageError
from emoscale.selectivity.backends import BACKENDS, choose_backend
from emoscale.selectivity.options import SelectivityOptions
from emoscale.store import Store
from emoscale.system.option_types import lookup
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Progress

if TYPE_CHECKING:
    from emoscale.selectivity.cluster import Cluster

_TASKS_PER_THREAD = 4
"""At least, so that the threads end at about the same time."""
_SHARE_OF_MEMORY = 4
"""The part of the memory that is used where no limit is given is 1 / this."""


class Job(Protocol):
    """What is done with a block of neurons, in one thread. It is sent to a cluster's workers."""

    @property
    def splits_chunks(self) -> bool:
        """Whether a block may be narrower than a chunk, which is then read several times."""

    def neuron_bytes(self, store: Store) -> int:
        """Return the bytes that a neuron of a block takes while it is computed."""

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


@dataclass(frozen=True)
class Executor:
    """Where neurons are computed, and how many at a time; made by `Executor.of`.

    The fields are those of `MachineOptions` and `SelectivityOptions`. A cluster's workers have their own number of
    threads. What has been computed, (N, A), comes on top of the memory limit.
    """

    threads: int | None
    memory_limit: int | None
    block_neurons: int | None
    scheduler: str | None
    cluster: str | None
    workers: int
    backend: str

    def __post_init__(self) -> None:
        if self.cluster not in (None, "slurm"):
            raise InputError(f"machine.cluster {self.cluster!r}: unknown; set it to slurm, or set machine.scheduler")

    @property
    def threads_here(self) -> int:
        """Threads of this machine that compute."""
        return self.threads or CPU_COUNT

    @staticmethod
    def of(machine: MachineOptions, selectivity: SelectivityOptions) -> Executor:
        """Make one from settings.

        Raises
        ------
        InputError
            If there is no such kind of cluster.
        """
        return Executor(
            machine.threads,
            machine.memory_limit,
            selectivity.block_neurons,
            machine.scheduler,
            machine.cluster,
            machine.workers,
            machine.backend,
        )

    def check(self) -> None:
        """Check that what is asked for is there, before anything else is done.

        Raises
        ------
        InputError
            If no scheduler answers, SLURM or dask-jobqueue is missing, or a GPU is asked for that this machine lacks.
            A cluster's workers check that themselves.
        """
        lookup("machine.backend", BACKENDS, self.backend)
        if self.scheduler:
            from emoscale.selectivity.cluster import running_cluster

            with running_cluster(self.scheduler):
                pass
        elif self.cluster:
            from emoscale.selectivity.cluster import check_slurm

            check_slurm()
        else:
            choose_backend(self.backend)


def compute_neurons(store: Store, job: Job, executor: Executor, progress: Progress) -> list[Any]:
    """Do a job with all neurons, a block of neurons at a time.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    job : Job
    executor : Executor
    progress : Progress
        Advanced by the neurons that are done.

    Returns
    -------
    list
        What the job returned for each block, in the order of the neurons.

    Raises
    ------
    InputError
        If no cluster can be had, or the least block takes more memory than the limit.
    StageError
        If the cluster is lost, or its workers die of a block again and again.
    StoreError
        If a chunk is damaged or missing, wherever that is found.
    """
    progress.start(store.sizes["neuron"], "neurons")
    with _cluster(executor) as cluster:
        capacity = cluster.capacity() if cluster else _capacity_here(executor)
        block = neurons_per_task(store, job, capacity, executor.memory_limit, executor.block_neurons)
        ranges = block_ranges(store, block)
        tasks, lengths = block_tasks(store, job, ranges), [stop - start for start, stop in ranges]
        if cluster is not None:
            return cluster.compute(tasks, lengths, progress)
        return _compute_here(tasks, lengths, executor.threads, progress)


def neurons_per_task(
    store: Store, job: Job, capacity: Capacity, memory_limit: int | None, block_neurons: int | None
) -> int:
    """Choose how many neurons a task takes: what memory allows, if that leaves every thread some tasks.

    Each thread of a process works on one task.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    job : Job
    capacity : Capacity
    memory_limit : int, optional
        Bytes that the tasks of one process may take together; a quarter of its memory if None.
    block_neurons : int, optional
        The most neurons, rounded up to complete chunks.

    Returns
    -------
    int
        Complete chunks, or less than one if the job may split them and memory is short.

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
    wanted = chunks // (_TASKS_PER_THREAD * capacity.threads * capacity.processes)
    if block_neurons is not None:
        wanted = -(-block_neurons // chunk)
    return chunk * max(1, min(wanted, fitting // chunk))


def chunk_neurons(store: Store) -> int:
    """Return how many neurons are in a chunk of the data."""
    return store.chunks(store.schema.data[0].name)[1]


def block_ranges(store: Store, block: int) -> list[tuple[int, int]]:
    """Cut the neurons into blocks: of complete chunks, or within a chunk, never over the border of one.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    block : int
        From `neurons_per_task`.

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
    """Make the tasks, one a block of neurons, without computing anything.

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
        Each gives what the job returns.
    """
    # Part of the graph and not scattered: what is scattered is lost with the worker that holds it.
    shared = delayed((store, job), traverse=False)
    task = delayed(_block, traverse=False)
    return [task(shared, start, stop) for start, stop in ranges]


def _block(shared: tuple[Store, Job], start: int, stop: int) -> Any:
    store, job = shared
    if not store.path.exists():
        raise StageError(f"{store.path}: a worker does not see it; give all workers the run folder under this path")
    return job(store, start, stop)


def _compute_here(tasks: list[Delayed], lengths: list[int], threads: int | None, progress: Progress) -> list[Any]:
    length_of = {task.key: length for task, length in zip(tasks, lengths, strict=True)}

    def finished(key: str, *_: object) -> None:
        if key in length_of:
            progress.advance(length_of[key])

    # The kernels take one thread each, so Dask's threads are all there are.
    with Callback(posttask=finished):  # type: ignore[no-untyped-call]
        return list(compute(*tasks, scheduler="threads", num_workers=threads))  # type: ignore[no-untyped-call]


@contextmanager
def _cluster(executor: Executor) -> Iterator[Cluster | None]:
    if not executor.scheduler and not executor.cluster:
        yield None
        return
    # Imported here: it takes most of a second, which runs on one machine need not pay.
    from emoscale.selectivity.cluster import running_cluster, slurm_cluster

    chosen = running_cluster(executor.scheduler) if executor.scheduler else slurm_cluster(executor.workers)
    with chosen as cluster:
        yield cluster


def _capacity_here(executor: Executor) -> Capacity:
    return Capacity(1, executor.threads_here, psutil.virtual_memory().available)
