"""Where in the store the activation of each concept in each replicate is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.store import Store


def observation_grid(store: Store, concepts: Sequence[str]) -> NDArray[np.int64]:
    """Find the observation of every concept and replicate.

    Parameters
    ----------
    store : Store
        Of activations.
    concepts : sequence of str
        In the order wanted. Observations of other concepts are left aside.

    Returns
    -------
    ndarray of int64, shape (R, C)
        Row of the store; replicates in the order in which the store first has them.

    Raises
    ------
    InputError
        Names every concept that has no observation, lacks a replicate that others have, or has one twice.
    """
    rows: dict[str, dict[str, list[int]]] = {concept: {} for concept in concepts}
    replicates: dict[str, None] = {}
    for row, (concept, replicate) in enumerate(zip(store.read("concept"), store.read("replicate"), strict=True)):
        if concept in rows:
            rows[concept].setdefault(replicate, []).append(row)
            replicates[replicate] = None
    problems = []
    for concept, found in rows.items():
        where = f"{store.path}: concept {concept!r}"
        if not found:
            problems.append(f"{where} has no activations; extract it too, or leave it out of the attributes")
        elif lacking := [replicate for replicate in replicates if replicate not in found]:
            problems.append(f"{where} lacks replicates {', '.join(lacking)}; run `emoscale extract` with --fresh")
        if doubled := [replicate for replicate, at in found.items() if len(at) > 1]:
            problems.append(f"{where} has replicates {', '.join(doubled)} more than once; keep one observation of each")
    if problems:
        raise InputError(problems)
    return np.array([[rows[concept][replicate][0] for concept in concepts] for replicate in replicates], dtype=np.int64)
