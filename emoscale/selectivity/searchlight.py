"""The stage: every neuron against every attribute, out of core, one Dask task a block of neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray

from emoscale.errors import InputError, StageError
from emoscale.progress import Progress
from emoscale.run_folder import RunFolder
from emoscale.schema import ACTIVATIONS, SELECTIVITY
from emoscale.selectivity.grid import observation_grid
from emoscale.selectivity.inference import average_ranks, q_values
from emoscale.selectivity.measures import MEASURES
from emoscale.store import Store, create_store, open_store

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Inference = Callable[[Floats, Any], Any]

_SCHEDULER_ANSWERS_IN = "10s"


def select(
    folder: RunFolder,
    scores: Floats,
    concepts: Sequence[str],
    attributes: Sequence[str],
    *,
    measure: str = "kendall",
    inference: str = "asymptotic",
    rdms: Floats | None = None,
    alpha: float = 0.01,
    block_neurons: int = 1024,
    threads: int | None = None,
    scheduler: str | None = None,
    progress: Progress,
) -> dict[str, int | float]:
    """Measure the selectivity of every neuron for every attribute, and write ``selectivity.zarr``.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished activations.
    scores : ndarray of float64, shape (C, A)
        Score by concept and attribute.
    concepts : sequence of str
        C names, the rows of `scores`.
    attributes : sequence of str
        A names, its columns.
    measure, inference : str
        Keys of `MEASURES` and of the measure's inferences.
    rdms : ndarray of float64, shape (A, P), optional
        The attributes' RDMs where these are given, pairs in ``numpy.triu_indices(C, 1)`` order; by default the
        differences of the scores.
    alpha : float
        A test counts as significant if its q is smaller.
    block_neurons : int
        Neurons a task, rounded up to whole chunks of the activations. The values do not depend on it.
    threads : int, optional
        Threads that compute blocks; by default one a core.
    scheduler : str, optional
        Address of a running Dask scheduler to use instead. Its workers must see the run folder under the same path.
    progress : Progress

    Returns
    -------
    dict
        ``neurons``; ``tests``, those with a finite value (M in Li, Su et al. 2024); ``constant``, the neurons without
        any; ``significant``, the tests with q < alpha.

    Raises
    ------
    InputError
        If the measure, the inference, the scores, the concepts or the scheduler's address cannot be used.
    StageError
        If the activations are not there or not finished.
    """
    _check(scores, concepts, attributes, measure, inference)
    store = finished_activations(folder)
    rows = observation_grid(store, concepts)
    chunk = store.chunks("activations")[1]
    block = -(-block_neurons // chunk) * chunk
    prepared = MEASURES[measure].prepare(scores) if rdms is None else MEASURES[measure].prepare_rdms(rdms)
    tasks = block_tasks(store, rows, MEASURES[measure].inferences[inference], prepared, block)
    neurons = store.sizes["neuron"]
    progress.start(neurons, "neurons")
    lengths = [min(block, neurons - start) for start in range(0, neurons, block)]
    results = compute_blocks(tasks, lengths, threads, scheduler, progress)
    tau, p = (np.concatenate([result[i] for result in results]) for i in range(2))
    q = q_values(p)
    counts: dict[str, int | float] = {
        "neurons": neurons,
        "tests": int(np.count_nonzero(~np.isnan(p))),
        "constant": int(np.count_nonzero(np.isnan(tau).all(axis=1))),
        "significant": int(np.count_nonzero(q < alpha)),
    }
    origin = {"measure": measure, "inference": inference, "alpha": alpha}
    origin |= {"tests": counts["tests"], "constant": counts["constant"]}
    coordinates = {"attribute": np.array(attributes), "layer": store.read("layer"), "unit": store.read("unit")}
    written = create_store(folder.selectivity, SELECTIVITY, coordinates, {"neuron": block}, attributes=origin)
    for name, values in {"tau": tau, "p": p, "q": q, "rank": average_ranks(tau)}.items():
        written.write(name, values)
    written.mark_complete()
    return counts


def _check(scores: Floats, concepts: Sequence[str], attributes: Sequence[str], measure: str, inference: str) -> None:
    if scores.shape != (len(concepts), len(attributes)):
        raise ValueError(f"scores are {scores.shape}, not {len(concepts)} concepts x {len(attributes)} attributes")
    problems = []
    if measure not in MEASURES:
        problems.append(f"measure {measure!r}: not known; give one of {', '.join(MEASURES)}")
    elif inference not in MEASURES[measure].inferences:
        known = ", ".join(MEASURES[measure].inferences)
        problems.append(f"inference {inference!r}: not known for {measure}; give one of {known}")
    if len(concepts) < 3:
        problems.append(f"concepts: {len(concepts)} given, a pattern of differences needs 3; give more")
    if not attributes:
        problems.append("attributes: none given; give at least one")
    for attribute, column in zip(attributes, scores.T, strict=True):
        if not np.isfinite(column).all():
            problems.append(f"attribute {attribute!r}: a score is not a finite number; correct it")
        elif len(column) and np.ptp(column) == 0:
            problems.append(f"attribute {attribute!r}: all concepts have the same score; leave it out")
    if problems:
        raise InputError(problems)


def finished_activations(folder: RunFolder) -> Store:
    """Open the run's activations.

    Raises
    ------
    StageError
        If they are not there or not finished.
    """
    if not folder.activations.exists():
        raise StageError(f"{folder.activations}: not there; run `emoscale extract` first")
    store = open_store(folder.activations.resolve(), ACTIVATIONS)
    if not store.complete:
        raise StageError(f"{folder.activations}: not finished; run `emoscale extract` to its end first")
    return store


def block_tasks(store: Store, rows: Rows, inference: Inference, prepared: Any, block: int) -> list[Delayed]:
    """Lay out the work, one task a block of neurons, without doing any of it.

    Parameters
    ----------
    store : Store
        Of activations.
    rows : ndarray of int64, shape (R, C)
        Observation of each replicate and concept.
    inference : callable
        As in `Measure`.
    prepared : object
        What the measure prepared from the scores.
    block : int
        Neurons a task, a multiple of the store's chunk: two tasks must not read one chunk twice.

    Returns
    -------
    list of dask.delayed.Delayed
        Each yields values and p of its neurons, (n, A).
    """
    shared = delayed((store, rows, inference, prepared), traverse=False)
    task = delayed(_block, traverse=False)
    return [task(shared, start, start + block) for start in range(0, store.sizes["neuron"], block)]


def _block(shared: tuple[Store, Rows, Inference, Any], start: int, stop: int) -> Any:
    store, rows, inference, prepared = shared
    first, last = int(rows.min()), int(rows.max())
    values = store.read("activations", observation=slice(first, last + 1), neuron=slice(start, stop))
    return inference(values[rows - first].astype(np.float64), prepared)


def compute_blocks(
    tasks: list[Delayed], lengths: list[int], threads: int | None, scheduler: str | None, progress: Progress
) -> list[Any]:
    """Do the tasks of `block_tasks`, here or on a scheduler, and tell `progress` of the neurons that are done."""
    length_of = {task.key: length for task, length in zip(tasks, lengths, strict=True)}
    if scheduler is not None:
        return _compute_on(scheduler, tasks, length_of, progress)

    def finished(key: str, *_: object) -> None:
        if key in length_of:
            progress.advance(length_of[key])

    # The kernels take one thread each, so Dask's threads are all there are.
    with Callback(posttask=finished):  # type: ignore[no-untyped-call]
        return list(compute(*tasks, scheduler="threads", num_workers=threads))  # type: ignore[no-untyped-call]


def _compute_on(scheduler: str, tasks: list[Delayed], length_of: dict[str, int], progress: Progress) -> list[Any]:
    # Imported here: it takes most of a second, which runs on one machine need not pay.
    from distributed import Client, as_completed

    try:
        client = Client(scheduler, timeout=_SCHEDULER_ANSWERS_IN, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"scheduler {scheduler}: no Dask scheduler answers ({error}); start it first") from error
    with client:
        futures = client.compute(tasks)  # type: ignore[no-untyped-call]
        results = {}
        for future, result in as_completed(futures, with_results=True):  # type: ignore[no-untyped-call]
            results[future.key] = result
            progress.advance(length_of[future.key])
            future.release()
        return [results[task.key] for task in tasks]
