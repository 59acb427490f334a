"""The stage: every neuron against every attribute, and the measures over rows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from emoscale.errors import InputError, StageError
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MOMENTS, NEURON_COORDINATES, SELECTIVITY, row_measures_schema
from emoscale.selectivity.blocks import chunk_neurons
from emoscale.selectivity.design import Design, observation_cells
from emoscale.selectivity.executor import Executor, compute_neurons
from emoscale.selectivity.inference import average_ranks, q_values
from emoscale.selectivity.measures import MEASURES
from emoscale.selectivity.permutation import concept_orders, family_p
from emoscale.selectivity.ranking import Ranking
from emoscale.selectivity.results import Tested
from emoscale.selectivity.row_measures import FROM_MOMENTS, FROM_RANKS, ROW_MEASURES
from emoscale.selectivity.searchlight import Searchlight
from emoscale.store import Store, create_store, open_store
from emoscale.system.progress import Progress
from emoscale_kernels import decimal_distances, mean_pair_distances, published_distances

Floats = NDArray[np.float64]

INFERENCES = ("permutation", "asymptotic")


def select(
    folder: RunFolder,
    scores: Floats,
    concepts: Sequence[str],
    attributes: Sequence[str],
    *,
    measure: str = "kendall",
    inference: str = "permutation",
    permutations: int = 999,
    seed: int = 0,
    rdms: Floats | None = None,
    as_published: bool = False,
    alpha: float = 0.01,
    row_measures: Sequence[str] = (),
    executor: Executor | None = None,
    progress: Progress,
) -> dict[str, int | float]:
    """Measure the selectivity of every neuron for every attribute, and write ``selectivity.zarr``.

    Rows of one concept and replicate are averaged first. Every chunk of the store is read once, and once more if a row
    measure needs ranks.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished activations, or the moments that were kept in their place.
    scores : ndarray of float64, shape (C, A)
        Score by concept and attribute.
    concepts : sequence of str
        C names, the rows of `scores`.
    attributes : sequence of str
        A names, its columns.
    measure : str
        Key of `MEASURES`.
    inference : {"permutation", "asymptotic"}
        Where p come from: permutations of the concepts, which keep the dependence between distances, or the published
        normal approximation, which ignores it and gives p that are too small (Li, Su et al. 2024). q are Benjamini and
        Hochberg's with the first, ``p * tests / rank of p`` as published with the second.
    permutations : int
        Number B; the same for all neurons.
    seed : int
        Of the permutations.
    rdms : ndarray of float64, shape (A, P), optional
        The attributes' RDMs where these are given, pairs in ``numpy.triu_indices(C, 1)`` order; by default the
        differences of the scores.
    as_published : bool
        Round neurons' distances as the published study's files did (`emoscale_kernels.published_distances`).
    alpha : float
        A test counts as significant if its q is smaller.
    row_measures : sequence of str
        Names in `ROW_MEASURES`, computed over single rows and written to ``row_measures.zarr``.
    executor : Executor, optional
        Where to compute, by default on all cores here. What is written does not depend on it.
    progress : Progress

    Returns
    -------
    dict
        ``neurons``; ``tests``, those with a finite value (M in Li, Su et al. 2024); if there are some, ``absent``, the
        neurons that have no activation at all in some concept and replicate, as of an expert never routed to, and so no
        value; ``constant``, the others without any; ``significant``, the tests with q < alpha.

    Raises
    ------
    InputError
        If the measure, the inference, the scores, the concepts or the executor cannot be used, or a row measure needs
        rows of which only moments were kept.
    StageError
        If the activations are not there or not finished, or a cluster is lost.
    StoreError
        If a chunk of the activations is damaged or missing. Nothing is written then.
    """
    _check(scores, concepts, attributes, measure, inference, permutations, row_measures)
    store = finished_activations(folder)
    if store.schema.kind == MOMENTS.kind and (ranked := [name for name in row_measures if name in FROM_RANKS]):
        raise InputError(
            f"row measures {', '.join(ranked)}: need every row, and {store.path} keeps none; set extraction.keep to "
            "activations, or leave them out"
        )
    executor = executor or Executor()
    job = searchlight_job(
        store,
        scores,
        concepts,
        measure=measure,
        inference=inference,
        permutations=permutations,
        seed=seed,
        rdms=rdms,
        as_published=as_published,
        row_measures=row_measures,
        device=executor.device() if inference == "permutation" else "cpu",
    )
    found = compute_neurons(store, job, executor, progress)
    tested = Tested.joined([block.tested for block in found])
    rows = {name: np.concatenate([block.rows[name] for block in found]) for name in job.row_measures}
    rows |= _ranked(store, job.cells, scores, row_measures, executor, progress)

    arrays = _corrected(tested, inference) | {
        "tau_odd": np.concatenate([block.odd for block in found]),
        "tau_even": np.concatenate([block.even for block in found]),
    }
    counts = _counts(arrays, np.concatenate([block.absent for block in found]), alpha)
    origin = {"measure": measure, "inference": inference, "alpha": alpha, "replicates": job.cells.replicates}
    origin |= {"permutations": permutations, "seed": seed} if inference == "permutation" else {}
    origin |= {name: counts[name] for name in ("tests", "absent", "constant") if name in counts}
    coordinates = {"attribute": np.array(attributes)} | {c.name: store.read(c.name) for c in NEURON_COORDINATES}
    # As many neurons in a chunk as the activations have, whatever the blocks in which they were computed.
    chunks = {"neuron": chunk_neurons(store)}
    written = create_store(folder.selectivity, SELECTIVITY, coordinates, chunks, attributes=origin)
    for name, values in arrays.items():
        written.write(name, values)
    shutil.rmtree(folder.row_measures, ignore_errors=True)
    if rows:
        used = job.cells.of_row >= 0
        number = int(store.read("rows")[used].sum() if store.schema.kind == MOMENTS.kind else used.sum())
        _write_rows(folder, rows, coordinates | {"concept": np.array(concepts)}, chunks, number)
    written.mark_complete()
    return counts


def searchlight_job(
    store: Store,
    scores: Floats,
    concepts: Sequence[str],
    *,
    measure: str = "kendall",
    inference: str = "permutation",
    permutations: int = 999,
    seed: int = 0,
    rdms: Floats | None = None,
    as_published: bool = False,
    row_measures: Sequence[str] = (),
    device: str = "cpu",
) -> Searchlight:
    """Put together what is done with every block of neurons; arguments as in `select`, and what compares.

    Returns
    -------
    Searchlight
        It gives a block's `Found` when called with the store and a range of neurons.
    """
    chosen = MEASURES[measure]
    common: dict[str, Any] = {
        "patterns": chosen.prepare(decimal_distances(scores) if rdms is None else rdms),
        "distances_of": published_distances if as_published else mean_pair_distances,
    }
    if inference == "permutation":
        orders = concept_orders(len(concepts), permutations, seed)
        test = partial(chosen.permuted, orders=orders, backend=device, **common)
    else:
        test = partial(chosen.asymptotic, **common)
    streamed = [name for name in FROM_MOMENTS if name in row_measures]
    value = partial(chosen.value, **common)
    return Searchlight(observation_cells(store, concepts), test, value, scores, streamed)


def _ranked(
    store: Store,
    cells: Design,
    scores: Floats,
    row_measures: Sequence[str],
    executor: Executor,
    progress: Progress,
) -> dict[str, Floats]:
    names = [name for name in FROM_RANKS if name in row_measures]
    if not names:
        return {}
    blocks = compute_neurons(store, Ranking(cells, scores, names), executor, progress)
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}


def _corrected(tested: Tested, inference: str) -> dict[str, Floats]:
    value, p, p_asymptotic, spread, highest = tested
    known = ~np.isnan(p)
    q = np.full(p.shape, np.nan)
    if inference == "asymptotic":
        q = q_values(p)
    elif known.any():
        q[known] = false_discovery_control(p[known])
    by_attribute = [family_p(value[:, a], highest[:, a]) for a in range(value.shape[1])]
    return {
        "tau": value,
        "p": p,
        "q": q,
        "rank": average_ranks(value),
        "p_asymptotic": p_asymptotic,
        "p_attribute": np.stack(by_attribute, axis=1),
        "p_all": family_p(value, highest.max(axis=1, initial=-np.inf)),
        "null_spread": spread,
    }


def _counts(arrays: dict[str, Floats], absent: NDArray[np.bool_], alpha: float) -> dict[str, int | float]:
    return {
        "neurons": len(absent),
        "tests": int(np.count_nonzero(~np.isnan(arrays["p"]))),
        **({"absent": int(np.count_nonzero(absent))} if absent.any() else {}),
        "constant": int(np.count_nonzero(np.isnan(arrays["tau"]).all(axis=1) & ~absent)),
        "significant": int(np.count_nonzero(arrays["q"] < alpha)),
    }


def _write_rows(
    folder: RunFolder,
    rows: dict[str, Floats],
    coordinates: dict[str, NDArray[Any]],
    chunks: dict[str, int],
    number: int,
) -> None:
    schema = row_measures_schema(rows)
    used = {array.name: coordinates[array.name] for array in schema.coordinates}
    origin = {"measures": list(rows), "rows": number}
    written = create_store(folder.row_measures, schema, used, chunks, attributes=origin)
    for name, values in rows.items():
        written.write(name, values)
    written.mark_complete()


def _check(
    scores: Floats,
    concepts: Sequence[str],
    attributes: Sequence[str],
    measure: str,
    inference: str,
    permutations: int,
    row_measures: Sequence[str],
) -> None:
    if scores.shape != (len(concepts), len(attributes)):
        raise ValueError(f"scores are {scores.shape}, not {len(concepts)} concepts x {len(attributes)} attributes")
    problems = []
    if measure not in MEASURES:
        problems.append(f"measure {measure!r}: not known; give one of {', '.join(MEASURES)}")
    if inference not in INFERENCES:
        problems.append(f"inference {inference!r}: not known; give one of {', '.join(INFERENCES)}")
    if permutations < 1:
        problems.append(f"permutations: {permutations}; give 1 or more")
    if unknown := [name for name in row_measures if name not in ROW_MEASURES]:
        problems.append(f"row measures {', '.join(unknown)}: not known; give some of {', '.join(ROW_MEASURES)}")
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
    """Open the run's activations, or the moments that were kept in their place.

    Raises
    ------
    StageError
        If they are not there or not finished.
    """
    path, schema = folder.activations, ACTIVATIONS
    if not path.exists() and folder.moments.exists():
        path, schema = folder.moments, MOMENTS
    if not path.exists():
        raise StageError(f"{path}: not there; run `emoscale extract` first")
    store = open_store(path.resolve(), schema)
    if not store.complete:
        raise StageError(f"{path}: not finished; run `emoscale extract` to its end first")
    return store
