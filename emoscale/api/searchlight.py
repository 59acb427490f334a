"""Which neurons' differences between concepts follow a model RDM, or scores of the concepts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import xarray
from numpy.typing import NDArray

from emoscale.api.labelled import NEURON, OBSERVATION
from emoscale.api.rdms import as_rdms
from emoscale.api.texts import as_labels
from emoscale.concepts.loading import Concepts
from emoscale.errors import InputError
from emoscale.selectivity.inference import INFERENCES
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.reading import Design, design_of_labels
from emoscale.selectivity.searchlight import BlockResults, make_searchlight
from emoscale.selectivity.select import combine_blocks
from emoscale.system.ranks import cores
from emoscale_kernels import Moments, empty_moments, update_moments

_BLOCK = 1024
"""Neurons of a block."""
_BOX_BYTES = 2**26
"""About so much of the activations is read at once."""
_FEWEST_CONCEPTS = 3


def searchlight(
    activations: Any,
    rdms: Any,
    *,
    labels: Any = None,
    permutations: int = SelectivityOptions.permutations,
    seed: int = SelectivityOptions.seed,
    threads: int | None = None,
) -> pd.DataFrame:
    """Compare every neuron's RDM with model RDMs, or with scores of the concepts, by Kendall's tau-b.

    Rows of one concept (and replicate) are averaged first; a neuron's RDM is the absolute difference of its activations
    for each two concepts, the mean over replicates. Tau and p are those of the stage ``select``; q corrects over all
    neurons and RDMs given here.

    Parameters
    ----------
    activations : DataArray from `activations`, or array of shape (rows, neurons)
        Rows of an array are concepts, unless `labels` say which concept each is of. NaN counts as absent.
    rdms : mapping of str to RDM or scores, one of them, or DataFrame
        An RDM is a square symmetric matrix or the condensed vector of its upper triangle; arrays have the concepts in
        the order in which they first occur. A DataFrame indexed by concept is scores, a column each; one whose index is
        its columns is an RDM. So is a Series, or a dict of numbers, scores of concepts by name.
    labels : sequence of str, optional
        Concept of each row.
    permutations : int
        Of the concepts; 0 for the published normal approximation, whose p are too small.
    seed : int
    threads : int, optional
        By default as many as cores.

    Returns
    -------
    DataFrame
        A row for each RDM and neuron: ``rdm``, ``neuron``, ``layer`` and ``unit`` where they are known; ``tau``, ``p``
        (one-sided), ``q``, and ``p_all``, corrected by the largest tau of each permutation. NaN for a constant neuron.

    Raises
    ------
    InputError
        Says which argument cannot be used.

    Examples
    --------
    >>> neurons = np.array([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0], [4.0, 0.5]])
    >>> es.searchlight(neurons, {"size": np.array([0.0, 1.0, 2.0, 4.0])}, permutations=0)["tau"].round(2).tolist()
    [1.0, 0.0]
    """
    if not isinstance(permutations, int) or permutations < 0:
        raise InputError(f"permutations: {permutations!r} given; give a number of 1 or more, or 0 for none")
    array, neurons = _as_array(activations)
    concept, replicate = _labels(activations, array.shape[0], labels)
    names = [str(name) for name in pd.unique(concept[concept != ""])]
    if len(names) < _FEWEST_CONCEPTS:
        raise InputError(f"labels: {len(names)} concepts, RDMs need {_FEWEST_CONCEPTS}; give more")
    models = as_rdms(rdms, names)
    kind = "permutation" if permutations else "asymptotic"
    options = SelectivityOptions(inference=kind, permutations=permutations or 1, seed=seed)
    design = design_of_labels(concept, replicate, names, "activations")
    concepts = Concepts(names, list(models), np.zeros((len(names), len(models))), None)
    job = make_searchlight(design, concepts, options, backend="auto", rdms=np.stack(list(models.values())))
    starts = range(0, array.shape[1], _BLOCK)
    with ThreadPoolExecutor(threads or cores()) as pool:
        blocks: list[BlockResults] = list(
            pool.map(lambda start: job.of_moments(_moments(array, design, start)), starts)
        )
    found = combine_blocks(blocks, INFERENCES[kind])
    values = {name: found[name].T.ravel() for name in ("tau", "p", "q", "p_all")}
    table = pd.concat([neurons] * len(models), ignore_index=True).assign(**values)
    table.insert(0, "rdm", np.repeat(np.array(list(models), object), len(neurons)))
    return table


def _as_array(activations: Any) -> tuple[Any, pd.DataFrame]:
    """Return an array (rows, neurons), and what is known of each neuron."""
    if isinstance(activations, xarray.DataArray):
        if set(activations.dims) != {OBSERVATION, NEURON}:
            raise InputError(f"activations: has dimensions {activations.dims}; give {OBSERVATION} and {NEURON}")
        turned = activations.transpose(OBSERVATION, NEURON)
        known = [name for name in (NEURON, "layer", "expert", "unit") if name in turned.coords]
        table = pd.DataFrame({name: turned[name].to_numpy() for name in known})
        return turned.data, table if known else pd.DataFrame({NEURON: np.arange(turned.shape[1])})
    array = np.asarray(activations)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise InputError(
            f"activations: {array.dtype} of shape {array.shape} given; give numbers of shape (rows, neurons)"
        )
    return array, pd.DataFrame({NEURON: np.arange(array.shape[1])})


def _labels(activations: Any, rows: int, labels: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return concept and replicate of every row."""
    one_replicate = np.full(rows, "", object)
    if labels is not None:
        return np.array(as_labels(labels, rows, of="rows"), object), one_replicate
    if not isinstance(activations, xarray.DataArray) or "concept" not in activations.coords:
        return np.array([str(row) for row in range(rows)], object), one_replicate
    concept = activations["concept"].to_numpy().astype(object)
    if not (concept != "").any():
        raise InputError("labels: the activations have no concepts; give the concept of each row")
    has_replicates = "replicate" in activations.coords
    return concept, activations["replicate"].to_numpy().astype(object) if has_replicates else one_replicate


def _moments(array: Any, design: Design, start: int) -> Moments:
    width = min(_BLOCK, array.shape[1] - start)
    moments = empty_moments(design.replicates * design.concepts, width)
    for rows in _boxes(array, width):
        values = np.asarray(array[rows, start : start + width])
        kept = values if values.dtype.kind == "f" and values.itemsize <= 8 else values.astype(np.float64)
        update_moments(moments, np.ascontiguousarray(kept), design.of_row[rows])
    return moments


def _boxes(array: Any, width: int) -> Iterator[slice]:
    height = max(1, _BOX_BYTES // (8 * width))
    yield from (slice(first, min(first + height, array.shape[0])) for first in range(0, array.shape[0], height))
