"""Which neurons to switch off, as the functions take them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.api.labelled import NEURON
from emoscale.errors import InputError
from emoscale.schema import NO_MASK

Off = NDArray[np.bool_]

_ALONE = "neurons"
"""Name of a mask that was given without one."""


def as_masks(given: Any, neurons: pd.DataFrame) -> dict[str, Off]:
    """Return masks by name.

    Parameters
    ----------
    given : object
        See `emoscale.api.ablate.ablate`.
    neurons : DataFrame
        Layer and unit of all N neurons, see `emoscale.api.models.Model`.

    Returns
    -------
    dict of str to ndarray of bool, shape (N,)

    Raises
    ------
    InputError
        If one names no neurons of the model. Says which.

    Examples
    --------
    >>> neurons = pd.DataFrame({"layer": [0, 0, 1, 1], "unit": [0, 1, 0, 1]})
    >>> as_masks({"first layer": [0, 1], "one": [(1, 0)]}, neurons)["one"].tolist()
    [False, False, True, False]
    """
    is_alone = not isinstance(given, Mapping)
    found = {
        name: _off(value, neurons, "masks" if is_alone else f"masks {name!r}")
        for name, value in _by_name(given).items()
    }
    if not found:
        raise InputError("masks: none given; give at least one")
    if NO_MASK in found:
        raise InputError(f"masks {NO_MASK!r}: is the name of the passes without a mask; give it another one")
    return found


def _by_name(given: Any) -> dict[str, Any]:
    if isinstance(given, pd.DataFrame):
        if "rdm" not in given:
            return {_ALONE: given}
        return {str(name): rows for name, rows in given.groupby("rdm", sort=False, observed=True)}
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    return {_ALONE: given}


def _off(given: Any, neurons: pd.DataFrame, what: str) -> Off:
    if isinstance(given, pd.DataFrame):
        given = _numbers_of_rows(given, neurons, what)
    array = np.asarray(given)
    if array.dtype.kind == "b":
        if array.shape != (len(neurons),):
            raise InputError(f"{what}: shape {array.shape} given for {len(neurons):,} neurons; give one value each")
        off = array.astype(np.bool_)
    else:
        off = np.zeros(len(neurons), np.bool_)
        off[_numbers(array, neurons, what)] = True
    if not off.any():
        raise InputError(f"{what}: no neurons; give at least one, or leave it out")
    return off


def _numbers(array: NDArray[Any], neurons: pd.DataFrame, what: str) -> NDArray[np.int64]:
    if not array.size:
        return np.empty(0, np.int64)
    places = tuple(neurons.columns)
    if array.dtype.kind not in "iu" or array.shape[1:] not in ((), (len(places),)):
        raise InputError(
            f"{what}: {array.dtype} of shape {array.shape} given; give numbers of neurons, ({', '.join(places)}) of "
            "each, or whether each of all is off"
        )
    if array.ndim != 1:
        return _numbers_of_places(pd.DataFrame(array, columns=list(places)), neurons, what)
    if (wrong := array[(array < 0) | (array >= len(neurons))]).size:
        raise InputError(f"{what}: no neuron {wrong[0]}; the model has {len(neurons):,}, numbered from 0")
    return array.astype(np.int64)


def _numbers_of_rows(table: pd.DataFrame, neurons: pd.DataFrame, what: str) -> NDArray[np.int64]:
    """Return the neurons of a table's rows, by their numbers or their places."""
    if NEURON in table:
        return _numbers(table[NEURON].to_numpy(), neurons, what)
    places: list[Hashable] = list(neurons.columns)
    if lacking := [name for name in places if name not in table]:
        raise InputError(
            f"{what}: lacks the column {lacking[0]!r}; give {NEURON!r}, or {' and '.join(map(str, places))}"
        )
    return _numbers_of_places(table[places], neurons, what)


def _numbers_of_places(places: pd.DataFrame, neurons: pd.DataFrame, what: str) -> NDArray[np.int64]:
    found = pd.MultiIndex.from_frame(neurons).get_indexer(pd.MultiIndex.from_frame(places))
    if (found < 0).any():
        lost = ", ".join(f"{name} {value}" for name, value in places[found < 0].iloc[0].items())
        raise InputError(f"{what}: the model has no neuron {lost}; see its `neurons`")
    return found.astype(np.int64)
