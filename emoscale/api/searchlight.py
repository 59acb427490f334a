"""Which neurons' differences between concepts follow a model RDM, or scores of the concepts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import xarray
from numpy.typing import NDArray

from emoscale.api.arrays import BLOCK, ArrayActivations, as_activations
from emoscale.api.labelled import NEURON, OBSERVATION
from emoscale.api.rdms import Floats, as_rdms
from emoscale.api.texts import as_labels
from emoscale.concepts.loading import Concepts
from emoscale.errors import InputError
from emoscale.selectivity.inference import INFERENCES
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.reading import Design, design_of_labels
from emoscale.selectivity.searchlight import BlockResults, searchlight_job
from emoscale.selectivity.select import combine_blocks
from emoscale.system.ranks import cores
from emoscale_kernels import Moments, empty_moments, update_moments

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
    read = as_activations(activations)
    concept, replicate = _labels(activations, read.sizes[OBSERVATION], labels)
    names = [str(name) for name in pd.unique(concept[concept != ""])]
    if len(names) < _FEWEST_CONCEPTS:
        raise InputError(f"labels: {len(names)} concepts, RDMs need {_FEWEST_CONCEPTS}; give more")
    models = as_rdms(rdms, names)
    design = design_of_labels(concept, replicate, names, "activations")
    kind = "permutation" if permutations else "asymptotic"
    options = SelectivityOptions(inference=kind, permutations=permutations or 1, seed=seed)
    found = _compare(read, design, names, models, options, threads or cores())
    values = {name: found[name].T.ravel() for name in ("tau", "p", "q", "p_all")}
    table = pd.concat([read.neurons] * len(models), ignore_index=True).assign(**values)
    table.insert(0, "rdm", np.repeat(np.array(list(models), object), len(read.neurons)))
    return table


def _compare(
    activations: ArrayActivations,
    design: Design,
    names: list[str],
    rdms: dict[str, Floats],
    options: SelectivityOptions,
    threads: int,
) -> dict[str, NDArray[Any]]:
    """Return tau, p and so on of every neuron and RDM, each of shape (neurons, RDMs)."""
    concepts = Concepts(names, list(rdms), np.zeros((len(names), len(rdms))), None)
    job = searchlight_job(design, concepts, options, backend="auto", rdms=np.stack(list(rdms.values())))
    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, activations.sizes[NEURON], BLOCK)
        blocks: list[BlockResults] = list(
            pool.map(lambda start: job.of_moments(_moments(activations, design, start)), starts)
        )
    return combine_blocks(blocks, INFERENCES[options.inference])


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


def _moments(activations: ArrayActivations, design: Design, start: int) -> Moments:
    neurons = slice(start, min(start + BLOCK, activations.sizes[NEURON]))
    moments = empty_moments(design.replicates * design.concepts, neurons.stop - start)
    for rows, values in activations.boxes(neurons):
        update_moments(moments, values, design.of_row[rows])
    return moments
