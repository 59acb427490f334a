"""Where single neurons are most and least active, from stores that do not fit into memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction, open_finished
from emoscale.schema import INPUTS, MOMENTS
from emoscale.store import Store

_ROW_COLUMNS = ["neuron", "is_highest", "place", "value", "observation", "item", "concept", "replicate"]


@dataclass(frozen=True, eq=False)
class Extremes:
    """Where some neurons are most and least active.

    Attributes
    ----------
    means : DataFrame
        Mean activation, a row for each concept and a column for each neuron, by its number. NaN where a neuron was
        absent in all rows of a concept.
    rows : DataFrame
        ``neuron``; ``is_highest``, else lowest; ``place``, from 0; ``value``; ``observation``, a row of the input;
        ``item``, the number of that input; ``concept``, ``replicate``. No two rows of one neuron and end have the same
        input. Empty where only moments are kept.
    """

    means: pd.DataFrame = field(default_factory=pd.DataFrame)
    rows: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=_ROW_COLUMNS))


def find_extremes(folder: RunFolder, neurons: NDArray[np.integer], count: int) -> Extremes:
    """Find the inputs in which some neurons are most and least active, and their means over concepts.

    Only the chunks with these neurons are read, one at a time.

    Parameters
    ----------
    folder : RunFolder
    neurons : ndarray of int
        Their numbers.
    count : int
        Inputs at each end.

    Raises
    ------
    StageError
        If the activations, or the moments that were kept instead, are missing or not finished.
    """
    store, neurons = open_extraction(folder), np.unique(neurons)
    if store.schema.kind == MOMENTS.kind:
        return Extremes(_means_of_moments(store, neurons))
    width = store.chunks("activations")[1]
    found = [
        _in_chunk(store, neurons[neurons // width == chunk], count) for chunk in np.unique(neurons // width).tolist()
    ]
    if not found:
        return Extremes()
    rows = pd.concat([one.rows for one in found], ignore_index=True)
    for name in ("concept", "replicate"):
        values = store.read(name)
        rows[name] = values[rows["observation"].to_numpy(np.int64)]
    return Extremes(pd.concat([one.means for one in found], axis=1), rows)


def _means_of_moments(store: Store, neurons: NDArray[np.integer]) -> pd.DataFrame:
    concept, columns = store.read("concept"), {}
    for neuron in neurons.tolist():
        one = slice(neuron, neuron + 1)
        count = store.read("count", neuron=one)[:, 0]
        total = np.where(count > 0, store.read("mean", neuron=one)[:, 0] * count, 0.0)
        sums = pd.DataFrame({"total": total, "count": count}).groupby(concept, sort=False).sum()
        columns[neuron] = sums["total"] / sums["count"].where(sums["count"] > 0)
    return pd.DataFrame(columns)


def _in_chunk(store: Store, neurons: NDArray[np.integer], count: int) -> Extremes:
    """Find the extremes of neurons that are in one chunk of columns."""
    rows, height = store.sizes["observation"], store.chunks("activations")[0]
    names, codes = np.unique(store.read("concept"), return_inverse=True)
    total, known = np.zeros((len(names), len(neurons))), np.zeros((len(names), len(neurons)))
    ends = {True: _Best(len(neurons), count), False: _Best(len(neurons), count)}
    first = int(neurons[0])
    for start in range(0, rows, height):
        block = slice(start, min(start + height, rows))
        values = store.read("activations", observation=block, neuron=slice(first, int(neurons[-1]) + 1))
        values = values[:, neurons - first].astype(np.float64)
        is_known = ~np.isnan(values)
        np.add.at(total, codes[block], np.where(is_known, values, 0.0))
        np.add.at(known, codes[block], is_known)
        item = store.read("item", observation=block)
        starts = np.flatnonzero(np.append(True, item[1:] != item[:-1]))
        for is_highest, best in ends.items():
            signed = np.where(is_known, values if is_highest else -values, -np.inf)
            best.add(np.maximum.reduceat(signed, starts, axis=0), item[starts], start + starts)
    with np.errstate(invalid="ignore"):
        means = pd.DataFrame(total / known, index=names, columns=neurons)
    tables = [best.table(neurons, is_highest) for is_highest, best in ends.items()]
    return Extremes(means, pd.concat(tables, ignore_index=True))


class _Best:
    """The largest values of each neuron so far, of different items."""

    def __init__(self, neurons: int, count: int) -> None:
        self._count = count
        self._value = np.full((count, neurons), -np.inf)
        self._item = np.full((count, neurons), -1, np.int64)
        self._row = np.zeros((count, neurons), np.int64)

    def add(self, value: NDArray[np.float64], item: NDArray[np.integer], row: NDArray[np.integer]) -> None:
        """Take the values of further items, shape (items, neurons); the last item of a block may go on in the next."""
        if len(value) > self._count + 1:
            kept = np.argpartition(-value, self._count, axis=0)[: self._count + 1]
        else:
            kept = np.broadcast_to(np.arange(len(value))[:, None], value.shape)
        values = np.concatenate([self._value, np.take_along_axis(value, kept, 0)])
        items = np.concatenate([self._item, item[kept]])
        rows = np.concatenate([self._row, row[kept]])
        order = np.lexsort((rows, -values), axis=0)
        values, items, rows = (np.take_along_axis(array, order, 0) for array in (values, items, rows))
        earlier = np.tri(len(items), k=-1, dtype=bool)[:, :, None]
        again = ((items[:, None] == items[None, :]) & earlier).any(axis=1)
        values[again] = -np.inf
        order = np.argsort(-values, axis=0, kind="stable")[: self._count]
        self._value, self._item, self._row = (np.take_along_axis(array, order, 0) for array in (values, items, rows))

    def table(self, neurons: NDArray[np.integer], is_highest: bool) -> pd.DataFrame:
        place, column = np.nonzero(-np.inf < self._value.T)[::-1]
        value = self._value[place, column]
        return pd.DataFrame(
            {
                "neuron": neurons[column],
                "is_highest": is_highest,
                "place": place,
                "value": value if is_highest else -value,
                "observation": self._row[place, column],
                "item": self._item[place, column],
            }
        )


class Inputs:
    """The inputs that a run gave the model, read one at a time.

    Parameters
    ----------
    folder : RunFolder

    Raises
    ------
    StageError
        If they are missing or not finished.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._store = open_finished(folder.inputs.resolve(), INPUTS)
        self._end = np.cumsum(self._store.read("length"), dtype=np.int64)

    def token_ids(self, item: int) -> list[int]:
        """Return the token ids of an input; -1 in place of a prompt's vector."""
        start = int(self._end[item - 1]) if item else 0
        ids: list[int] = self._store.read("token_ids", token=slice(start, int(self._end[item]))).tolist()
        return ids


def values_by_token(store: Store, neuron: int, observation: int, tokens: int) -> dict[int, float]:
    """Return what a neuron is at each token of an input.

    Parameters
    ----------
    store : Store
        Of activations.
    neuron : int
    observation : int
        One of the input's rows.
    tokens : int
        Length of the input.

    Returns
    -------
    dict of int to float
        By the number of the token in the input. Empty where rows are means over tokens.
    """
    near = slice(max(observation - tokens, 0), min(observation + tokens, store.sizes["observation"]))
    item, position = (store.read(name, observation=near) for name in ("item", "position"))
    own = (item == item[observation - near.start]) & (position >= 0)
    values = store.read("activations", observation=near, neuron=slice(neuron, neuron + 1))[:, 0]
    return dict(zip(position[own].tolist(), values[own].astype(float).tolist(), strict=True))
