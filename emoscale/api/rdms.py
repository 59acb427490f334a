"""Model RDMs and scores of concepts, as the searchlight takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.rounding import ROUNDING, varies
from emoscale_kernels import decimal_distances

Floats = NDArray[np.float64]


def as_rdms(given: Any, concepts: Sequence[str]) -> dict[str, Floats]:
    """Return each model RDM as the upper triangle over some concepts.

    Parameters
    ----------
    given : object
        See `emoscale.api.searchlight.searchlight`.
    concepts : sequence of str

    Returns
    -------
    dict of str to ndarray of float64, shape (P,)

    Raises
    ------
    InputError
        If one cannot be used. Names it.

    Examples
    --------
    >>> as_rdms({"valence": {"joy": 1.0, "fear": 0.25, "sad": 0.0}}, ["joy", "fear", "sad"])
    {'valence': array([0.75, 1.  , 0.25])}
    """
    found: dict[str, Floats] = {}
    for name, value in _by_name(given).items():
        vector = _vector(value, concepts, f"rdms {name!r}")
        if not np.isfinite(vector).all():
            raise InputError(f"rdms {name!r}: has values that are not finite numbers; correct them")
        if not varies(vector):
            raise InputError(f"rdms {name!r}: all dissimilarities are the same; remove it")
        found[name] = vector
    if not found:
        raise InputError("rdms: none given; give at least one")
    return found


def _by_name(given: Any) -> dict[str, Any]:
    if isinstance(given, pd.DataFrame) and not _is_square(given):
        return {str(name): given[name] for name in given.columns}
    if isinstance(given, Mapping) and not _are_scores(given):
        return {str(name): value for name, value in given.items()}
    return {str(getattr(given, "name", None) or "rdm"): given}


def _are_scores(given: Mapping[Any, Any]) -> bool:
    return bool(given) and all(
        np.ndim(value) == 0 and not isinstance(value, (str, Mapping)) for value in given.values()
    )


def _is_square(table: pd.DataFrame) -> bool:
    return table.shape[0] == table.shape[1] and list(table.index) == list(table.columns)


def _vector(value: Any, concepts: Sequence[str], what: str) -> Floats:
    C = len(concepts)
    pairs = C * (C - 1) // 2
    if isinstance(value, Mapping):
        value = pd.Series(dict(value))
    if isinstance(value, (pd.Series, pd.DataFrame)):
        value = value.rename(index=str)
        if lacking := [name for name in concepts if name not in value.index]:
            raise InputError(f"{what}: lacks {', '.join(map(repr, lacking))}; add them, or leave their rows out")
        if value.index.has_duplicates:
            raise InputError(f"{what}: has a concept more than once; keep one row each")
    if isinstance(value, pd.DataFrame):
        value = value.rename(columns=str).loc[list(concepts), list(concepts)]
    elif isinstance(value, pd.Series):
        return _of_scores(_numbers(value.loc[list(concepts)], what))
    array = _numbers(value, what)
    if array.shape == (C, C):
        if not np.allclose(array, array.T, rtol=0, atol=ROUNDING * np.nanmax(np.abs(array)), equal_nan=True):
            raise InputError(f"{what}: is not symmetric; give dissimilarities of unordered pairs")
        return np.ascontiguousarray(array[np.triu_indices(C, 1)])
    if array.shape == (C,) == (pairs,):
        raise InputError(f"{what}: three numbers are scores or an RDM; give a Series of scores, or a square matrix")
    if array.shape == (pairs,):
        return array
    if array.shape == (C,):
        return _of_scores(array)
    raise InputError(f"{what}: shape {array.shape} given for {C} concepts; give ({C}, {C}), ({pairs},) or ({C},)")


def _numbers(value: Any, what: str) -> Floats:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what}: is not numbers; give a matrix, a vector or scores by concept") from None


def _of_scores(scores: Floats) -> Floats:
    return np.asarray(decimal_distances(scores[:, None])[0])
