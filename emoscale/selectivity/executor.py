"""Work on all neurons, block by block: on threads here, or on a cluster's workers.

Nothing here changes a result, only where and how fast it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import Delayed
from dask.system import CPU_COUNT

from emoscale.errors import InputError
from emoscale.selectivity.blocks import Capacity, Job, block_ranges, block_tasks, neurons_a_task
from emoscale.store import Store
from emoscale.system.progress import Progress

if TYPE_CHECKING:
    from emoscale.selectivity.cluster import Cluster


@dataclass(frozen=True)
class Executor:
    """Where neurons are computed, and how many at a time.

    Parameters
    ----------
    threads : int, optional
        Threads here; by default one a core. A cluster's workers have their own number.
    memory_limit : int, optional
        Bytes that the tasks in work may take together in one process; by default a quarter of the memory that is free
        here, or of what a cluster's worker may use. What has been computed, (N, A), comes on top.
    block_neurons : int, optional
        The most neurons of a task, rounded up to whole chunks of the activations.
    scheduler : str, optional
        Address of a running Dask scheduler. Its workers must have emoscale, and see the run folder under the same path.
    cluster : {"slurm"}, optional
        Start a cluster of jobs, which dask-jobqueue's own configuration describes.
    workers : int
        Worker processes that `cluster` starts.
    backend : {"auto", "cpu", "cuda"}
        What compares RDMs under permutation; ``auto`` takes a GPU where there is one. The counts are the same.

    Raises
    ------
    InputError
        If there is no such kind of cluster, or two ways are given at once.
    """

    threads: int | None = None
    memory_limit: int | None = None
    block_neurons: int | None = None
    scheduler: str | None = None
    cluster: str | None = None
    workers: int = 4
    backend: str = "auto"

    def __post_init__(self) -> None:
        if self.cluster not in (None, "slurm"):
            raise InputError(f"cluster {self.cluster!r}: not known; give slurm, or a running cluster's scheduler")
        if self.cluster and self.scheduler:
            raise InputError(f"cluster {self.cluster!r}: scheduler {self.scheduler} is given too; give one of them")

    def check(self) -> None:
        """See whether what is asked for is there, before anything else is done.

        Raises
        ------
        InputError
            If no scheduler answers, SLURM or dask-jobqueue is missing, or there is no GPU.
        """
        self.device()
        if self.scheduler:
            from emoscale.selectivity.cluster import running_cluster

            with running_cluster(self.scheduler):
                pass
        elif self.cluster:
            from emoscale.selectivity.cluster import check_slurm

            check_slurm()

    def device(self) -> str:
        """Return what compares RDMs: ``cpu`` or ``cuda``."""
        if self.backend == "cpu":
            return "cpu"
        # Imported here: PyTorch takes seconds.
        from emoscale.selectivity.device import choose_backend

        return choose_backend(self.backend)


def compute_neurons(store: Store, job: Job, executor: Executor, progress: Progress) -> list[Any]:
    """Do a job with all neurons, a block of neurons at a time.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    job : Job
    executor : Executor
    progress : Progress
        Told of the neurons as they are done.

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
        block = neurons_a_task(
            store,
            job,
            cluster.capacity() if cluster else _capacity_here(executor.threads),
            memory_limit=executor.memory_limit,
            block_neurons=executor.block_neurons,
        )
        ranges = block_ranges(store, block)
        tasks = block_tasks(store, job, ranges)
        return compute_blocks(tasks, [stop - start for start, stop in ranges], executor.threads, cluster, progress)


def compute_blocks(
    tasks: list[Delayed], lengths: list[int], threads: int | None, cluster: Cluster | None, progress: Progress
) -> list[Any]:
    """Do the tasks of `block_tasks`, on threads here or on a cluster.

    Parameters
    ----------
    tasks : list of dask.delayed.Delayed
    lengths : list of int
        Neurons of each.
    threads : int, optional
    cluster : Cluster, optional
    progress : Progress
        Told of the neurons as they are done.

    Returns
    -------
    list
        In the order of the tasks.
    """
    if cluster is not None:
        return cluster.compute(tasks, lengths, progress)
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


def _capacity_here(threads: int | None) -> Capacity:
    return Capacity(1, threads or CPU_COUNT, psutil.virtual_memory().available)
