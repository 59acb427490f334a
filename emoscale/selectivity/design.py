"""Which rows of the store stand for each concept in each replicate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.store import Store


class Design(NamedTuple):
    """Rows grouped by concept and replicate.

    Attributes
    ----------
    of_row : ndarray of int64, shape (observations,), or (cells,) where the store holds moments
        Number ``r * C + c`` of the row's cell; -1 for rows of other concepts.
    replicates : int
        R, in the order in which the store first has them.
    concepts : int
        C
    """

    of_row: NDArray[np.int64]
    replicates: int
    concepts: int


def observation_cells(store: Store, concepts: Sequence[str]) -> Design:
    """Group the store's rows by concept and replicate.

    Parameters
    ----------
    store : Store
        Of activations or moments.
    concepts : sequence of str
        In the order wanted. Rows of other concepts are left aside.

    Returns
    -------
    Design

    Raises
    ------
    InputError
        Names every concept that has no row, or lacks a replicate that others have.
    """
    of_concept = pd.Index(concepts).get_indexer(pd.Index(store.read("concept")))
    used = of_concept >= 0
    of_replicate = np.zeros(len(used), dtype=np.int64)
    of_replicate[used], names = pd.factorize(store.read("replicate")[used])
    of_row = np.where(used, of_replicate * len(concepts) + of_concept, -1)
    filled = np.bincount(of_row[used], minlength=len(names) * len(concepts)).reshape(len(names), len(concepts))
    problems = []
    for c, concept in enumerate(concepts):
        where = f"{store.path}: concept {concept!r}"
        if not filled[:, c].any():
            problems.append(f"{where} has no activations; extract it too, or leave it out of the attributes")
        elif lacking := [name for r, name in enumerate(names) if not filled[r, c]]:
            problems.append(f"{where} lacks replicates {', '.join(lacking)}; run `emoscale extract` with --fresh")
    if problems:
        raise InputError(problems)
    return Design(of_row, len(names), len(concepts))
