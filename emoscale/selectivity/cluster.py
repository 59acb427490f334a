"""Blocks of neurons on the workers of a Dask cluster, any of which may die at any moment."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import dask
import psutil
from dask.delayed import Delayed
from distributed import CancelledError, Client, Future, KilledWorker
from distributed.comm.addressing import get_address_host_port
from distributed.utils import silence_logging_cmgr

from emoscale import __version__
from emoscale.errors import InputError, StageError
from emoscale.selectivity.executor import Capacity
from emoscale.system.progress import Progress

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster

_SCHEDULER_ANSWERS_IN = "10s"
_LOOK_AFTER = 15.0
"""Seconds without a finished block after which the workers are counted."""
_PATIENCE = 600.0
"""Seconds for which a running cluster may be without workers. In a job queue they may wait for days."""
_SHOWN = 3
_NO_JOBQUEUE = "cluster slurm: needs dask-jobqueue; pip install 'emoscale[cluster]'"
_CONTINUE = "then the same command continues"


class Cluster:
    """A cluster that this process is connected to; made by `running_cluster` or `slurm_cluster`.

    Parameters
    ----------
    name : str
        For messages.
    client : Client
    jobs : SLURMCluster, optional
        The jobs, where this process started them.
    workers : int
        Processes that the jobs start.
    """

    def __init__(self, name: str, client: Client, jobs: SLURMCluster | None = None, workers: int = 0) -> None:
        self._name = name
        self._client = client
        self._jobs = jobs
        self._workers = workers
        self._last_seen = time.monotonic()

    def capacity(self) -> Capacity:
        """Wait for a worker, and return what the workers, present and still to come, can do.

        Raises
        ------
        InputError
            If the scheduler or a worker has no emoscale, or another version.
        StageError
            If a running cluster has no worker and gets none.
        """
        while not (workers := self._known_workers()):
            time.sleep(min(1.0, _LOOK_AFTER))
            self._look()
        self._check_versions()
        # A worker without a limit of its own may use what there is.
        memory = [worker["memory_limit"] or psutil.virtual_memory().total for worker in workers]
        return Capacity(max(len(workers), self._workers), max(w["nthreads"] for w in workers), min(memory))

    def compute(self, tasks: list[Delayed], lengths: list[int], progress: Progress) -> list[Any]:
        """Do tasks, each again if the worker that has it dies, and return their results in the tasks' order.

        Parameters
        ----------
        tasks : list of dask.delayed.Delayed
        lengths : list of int
            Neurons of each.
        progress : Progress

        Returns
        -------
        list

        Raises
        ------
        StageError
            If a block's workers die again and again, or the scheduler, or all workers for good.
        """
        number = {task.key: i for i, task in enumerate(tasks)}
        stops = list(accumulate(lengths))
        results: list[Any] = [None] * len(tasks)
        finished: SimpleQueue[Future[Any]] = SimpleQueue()
        # However this ends, the client is closed, which cancels what is not done.
        for future in (futures := self._client.compute(tasks)):
            future.add_done_callback(finished.put)
        for _ in futures:
            future = self._next(finished)
            i = number[future.key]
            results[i] = self._fetch(future, f"neurons {stops[i] - lengths[i]:,} to {stops[i] - 1:,}")
            future.release()
            self._last_seen = time.monotonic()
            progress.advance(lengths[i])
        return results

    def _next(self, finished: SimpleQueue[Future[Any]]) -> Future[Any]:
        while True:
            try:
                return finished.get(timeout=_LOOK_AFTER)
            except Empty:
                self._look()

    def _fetch(self, future: Future[Any], block: str) -> Any:
        while True:
            try:
                # Should the worker have died since it finished, this waits until another has done the block again.
                return future.result(timeout=_LOOK_AFTER)
            except TimeoutError:
                if future.status == "error":  # the task's own, from a slow disk
                    raise
                self._look()
            except KilledWorker as error:
                deaths = error.allowed_failures + 1
                raise StageError(
                    f"{self._name}: workers died of {block} ({deaths} in all), most likely for lack of memory; set a "
                    f"smaller machine.memory_limit, or give workers more, {_CONTINUE}"
                ) from error
            except CancelledError as error:
                raise StageError(
                    f"{self._name}: the scheduler is gone, or cancelled the work; start it again, {_CONTINUE}"
                ) from error

    def _look(self) -> None:
        if self._jobs is not None:
            # Submits again those whose time ran out, or that were preempted.
            self._jobs.scale(self._workers)
        elif self._known_workers():
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > _PATIENCE:
            raise StageError(f"{self._name}: no worker for {_PATIENCE / 60:.0f} minutes; start some, {_CONTINUE}")

    def _check_versions(self) -> None:
        # Workers that cannot import what they are sent die one after the other, without a message.
        found = self._client.run(version, "emoscale", on_error="return")
        try:
            found["the scheduler"] = self._client.run_on_scheduler(version, "emoscale")
        except PackageNotFoundError:
            found["the scheduler"] = None
        # A worker that has died since does not answer.
        found = {where: there for where, there in found.items() if not isinstance(there, OSError)}
        if others := [where for where, there in found.items() if there != __version__]:
            raise InputError(
                f"{self._name}: no emoscale {__version__} at {', '.join(others[:_SHOWN])}; start the scheduler and all "
                "workers in the same environment as here"
            )

    def _known_workers(self) -> list[dict[str, Any]]:
        return list(self._client.scheduler_info(n_workers=-1)["workers"].values())


@contextmanager
def running_cluster(address: str) -> Iterator[Cluster]:
    """Connect to a running Dask cluster.

    Parameters
    ----------
    address : str
        Of its scheduler.

    Yields
    ------
    Cluster

    Raises
    ------
    InputError
        If no scheduler answers there.
    """
    try:
        get_address_host_port(address)
        client = Client(address, timeout=_SCHEDULER_ANSWERS_IN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"scheduler {address}: no Dask scheduler answers ({error}); start it first") from error
    # Errors that last are raised; messages about results that are fetched again are not needed.
    with silence_logging_cmgr(logging.CRITICAL), client:
        yield Cluster(f"scheduler {address}", client)


@contextmanager
def slurm_cluster(workers: int) -> Iterator[Cluster]:
    """Submit jobs that make a Dask cluster, and cancel them in the end.

    Parameters
    ----------
    workers : int
        Worker processes.

    Yields
    ------
    Cluster

    Raises
    ------
    InputError
        If dask-jobqueue or SLURM is missing, or SLURM refuses such jobs.
    """
    check_slurm()
    with make_slurm() as jobs:
        _try_out(jobs.job_script())
        jobs.scale(workers)
        with Client(jobs, set_as_default=False) as client:
            yield Cluster("cluster slurm", client, jobs, workers)


def check_slurm() -> None:
    """Check that jobs can be submitted from here.

    Raises
    ------
    InputError
        If dask-jobqueue or SLURM is missing.
    """
    if shutil.which("sbatch") is None:
        raise InputError("cluster slurm: no sbatch on the path here; run emoscale where SLURM jobs are submitted")
    if find_spec("dask_jobqueue") is None:
        raise InputError(_NO_JOBQUEUE)


def make_slurm() -> SLURMCluster:
    """Make a cluster without jobs yet, from dask-jobqueue's configuration.

    Returns
    -------
    SLURMCluster

    Raises
    ------
    InputError
        If dask-jobqueue is not installed, or its configuration does not describe a job.
    """
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise InputError(_NO_JOBQUEUE) from error
    # Any free port for the dashboard: others on this machine have theirs.
    options = {"dashboard_address": ":0", **(dask.config.get("jobqueue.slurm.scheduler-options") or {})}
    try:
        return SLURMCluster(scheduler_options=options)
    except (ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"cluster slurm: dask-jobqueue cannot describe a job ({why}); write ~/.config/dask/jobqueue.yaml, "
            "configs/cluster/jobqueue.yaml shows how"
        ) from error


def _try_out(script: str) -> None:
    # dask-jobqueue only logs that a job was refused, and waits for it.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.sh"
        file.write_text(script, encoding="utf-8")
        command = ["sbatch", "--test-only", str(file)]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if tried.returncode:
        raise InputError(
            f"cluster slurm: SLURM refuses the jobs ({' '.join(tried.stderr.split())}); correct "
            "~/.config/dask/jobqueue.yaml"
        )
