"""The stage: every neuron against every attribute, and the measures over rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.loading import Concepts
from emoscale.errors import InputError, collect_problems
from emoscale.rounding import varies
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.schema import MOMENTS, NEURON_COORDINATES, row_measures_schema, selectivity_schema
from emoscale.selectivity.executor import Executor, chunk_neurons, compute_neurons
from emoscale.selectivity.inference import INFERENCES, Inference
from emoscale.selectivity.measures import MEASURES
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import Results, family_p
from emoscale.selectivity.reading import design_of
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.selectivity.searchlight import BlockResults, Ranking, Searchlight, chosen_row_measures, searchlight_job
from emoscale.statistics import average_ranks
from emoscale.store import Store, create_store, length_of_file
from emoscale.system.option_types import lookup
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Progress

Floats = NDArray[np.float64]

_FEWEST_CONCEPTS = 3
"""Fewer have no pattern of distances."""


def select(
    folder: RunFolder,
    concepts: Concepts,
    options: SelectivityOptions,
    *,
    rdms: Floats | None = None,
    as_published: bool = False,
    executor: Executor | None = None,
    progress: Progress,
) -> dict[str, int | float]:
    """Measure the selectivity of every neuron for every attribute, and write ``selectivity.zarr``.

    Rows of one concept and replicate are averaged first; row measures are written to ``row_measures.zarr``. Every chunk
    of the store is read once, and once more if a row measure needs ranks.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished activations, or the moments that were kept instead.
    concepts : Concepts
    options : SelectivityOptions
    rdms : ndarray of float64, shape (A, P), optional
        The attributes' RDMs where these are given, pairs in ``numpy.triu_indices(C, 1)`` order; by default the
        differences of the scores.
    as_published : bool
        Round neurons' distances as the published study's files did (`emoscale_kernels.published_distances`).
    executor : Executor, optional
        Where to compute, by default on all cores here. What is written does not depend on it.
    progress : Progress

    Returns
    -------
    dict
        ``neurons``; ``tests``, those with a finite value (M in Li, Su et al. 2024); if there are some, ``absent``, the
        neurons without activations in some concept and replicate, as of an expert never routed to, and so without a
        value; ``constant``, the others without one.

    Raises
    ------
    InputError
        If the options, the concepts or the executor cannot be used, or a row measure needs rows that were not kept.
    StageError
        If the activations are missing or not finished, or a cluster is lost.
    StoreError
        If a chunk of the activations is damaged or missing. Nothing is written then.
    """
    _check(concepts, options)
    ranked = [entry for entry in chosen_row_measures(options) if entry.needs_rows]
    names = ", ".join(entry.name for entry in ranked)
    store = open_extraction(folder, f"selectivity.row_measures {names}" if ranked else None)
    executor = executor or Executor.of(MachineOptions(), options)
    design = design_of(store, concepts.names)
    job = searchlight_job(design, concepts, options, backend=executor.backend, rdms=rdms, as_published=as_published)
    blocks = compute_neurons(store, job, executor, progress)
    rows = _joined([block.rows for block in blocks])
    if ranked:
        rows |= _joined(compute_neurons(store, Ranking(job.design, job.scores, ranked), executor, progress))
    arrays = combine_blocks(blocks, lookup("selectivity.inference", INFERENCES, options.inference))
    counts = _counts(arrays, np.concatenate([block.absent for block in blocks]))
    _write(folder, store, concepts, options, (job, arrays, rows, counts))
    return counts


def _joined(blocks: list[dict[str, Floats]]) -> dict[str, Floats]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())}


def combine_blocks(blocks: Sequence[BlockResults], inference: Inference) -> dict[str, NDArray[Any]]:
    """Put blocks of neurons together, and compute what depends on all of them.

    Returns
    -------
    dict
        The arrays of `emoscale.schema.selectivity_schema`, by name.
    """
    value, p, p_asymptotic, spread, highest, followers = Results.joined([block.results for block in blocks])
    by_attribute = [family_p(value[:, a], highest[:, a]) for a in range(value.shape[1])]
    return {
        "tau": value,
        "p": p,
        "q": inference.correct(p, followers),
        "rank": average_ranks(value),
        "p_asymptotic": p_asymptotic,
        "p_attribute": np.stack(by_attribute, axis=1),
        "p_all": family_p(value, highest.max(axis=1, initial=-np.inf)),
        "null_spread": spread,
        "tau_odd": np.concatenate([block.odd for block in blocks]),
        "tau_even": np.concatenate([block.even for block in blocks]),
        "followers": followers,
    }


def _counts(arrays: dict[str, NDArray[Any]], absent: NDArray[np.bool_]) -> dict[str, int | float]:
    return {
        "neurons": len(absent),
        "tests": int(np.count_nonzero(~np.isnan(arrays["p"]))),
        **({"absent": int(np.count_nonzero(absent))} if absent.any() else {}),
        "constant": int(np.count_nonzero(np.isnan(arrays["tau"]).all(axis=1) & ~absent)),
    }


def _write(
    folder: RunFolder,
    store: Store,
    concepts: Concepts,
    options: SelectivityOptions,
    found: tuple[Searchlight, dict[str, NDArray[Any]], dict[str, Floats], dict[str, int | float]],
) -> None:
    job, arrays, rows, counts = found
    measure = lookup("selectivity.measure", MEASURES, options.measure)
    inference = lookup("selectivity.inference", INFERENCES, options.inference)
    origin: dict[str, Any] = {
        "measure": measure.name,
        "measure_symbol": measure.symbol,
        "measure_meaning": measure.meaning,
        "inference": inference.name,
        "replicates": job.design.replicates,
        **{name: getattr(options, name) for name in inference.settings},
        **{name: counts[name] for name in ("tests", "absent", "constant") if name in counts},
    }
    coordinates = {"attribute": np.array(concepts.attributes), "concept": np.array(concepts.names)}
    coordinates |= {"order": np.arange(len(arrays["followers"]))}
    coordinates |= {array.name: store.read(array.name) for array in NEURON_COORDINATES}
    # As many neurons in a chunk as the activations have, whatever the blocks in which they were computed.
    width = chunk_neurons(store)
    largest = max(values[:1].nbytes for values in arrays.values())  # of one neuron
    chunks, files = {"neuron": width}, {"neuron": length_of_file(width, largest)}
    schema = selectivity_schema(measure.symbol, measure.meaning)
    written = create_store(folder.selectivity, schema, coordinates, chunks, attributes=origin, files=files)
    for name, values in arrays.items():
        written.write(name, values)
    shutil.rmtree(folder.row_measures, ignore_errors=True)
    if rows:
        entries = chosen_row_measures(options)
        used = job.design.of_row >= 0
        number = int(store.read("rows")[used].sum() if store.schema.kind == MOMENTS.kind else used.sum())
        origin = {"measures": [entry.name for entry in entries], "rows": number}
        row_schema = row_measures_schema([entry.array for entry in entries])
        of_rows = create_store(folder.row_measures, row_schema, coordinates, chunks, attributes=origin, files=files)
        for name, values in rows.items():
            of_rows.write(name, values)
        of_rows.mark_complete()
    written.mark_complete()


def _check(concepts: Concepts, options: SelectivityOptions) -> None:
    shape = len(concepts.names), len(concepts.attributes)
    if concepts.scores.shape != shape:
        raise ValueError(f"scores are {concepts.scores.shape}, expected {shape[0]} concepts x {shape[1]} attributes")
    collect_problems(_checks(concepts, options))


def _checks(concepts: Concepts, options: SelectivityOptions) -> Iterator[Callable[[], object]]:
    yield partial(lookup, "selectivity.measure", MEASURES, options.measure)
    yield partial(lookup, "selectivity.inference", INFERENCES, options.inference)
    for name in options.row_measures:
        yield partial(lookup, "selectivity.row_measures", ROW_MEASURES, name)
    yield partial(_check_row_arrays, options)
    if options.permutations < 1:
        yield partial(_refuse, f"selectivity.permutations: {options.permutations}; set 1 or more")
    if len(concepts.names) < _FEWEST_CONCEPTS:
        count = len(concepts.names)
        yield partial(_refuse, f"concepts: {count} given, RDMs need {_FEWEST_CONCEPTS}; give more")
    if not concepts.attributes:
        yield partial(_refuse, "attributes: none given; give at least one")
    for attribute, column in zip(concepts.attributes, concepts.scores.T, strict=True):
        if not np.isfinite(column).all():
            yield partial(_refuse, f"attribute {attribute!r}: a score is not a finite number; correct it")
        elif len(column) and not varies(column):
            yield partial(_refuse, f"attribute {attribute!r}: all concepts have the same score; remove it")


def _check_row_arrays(options: SelectivityOptions) -> None:
    names = [array.name for array in row_measures_schema([e.array for e in chosen_row_measures(options)]).arrays]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"selectivity.row_measures: two arrays are called {', '.join(doubled)}; rename a measure")


def _refuse(problem: str) -> None:
    raise InputError(problem)
