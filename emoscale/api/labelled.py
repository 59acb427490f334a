"""Arrays of which observations and neurons are selected by what they are: ``activations.sel(layer=3)``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray
from numpy.typing import NDArray
from xarray import Variable
from xarray.core.indexing import IndexSelResult

NEURON, OBSERVATION = "neuron", "observation"


class LabelIndex(xarray.Index):
    """Selects along one dimension by any of its coordinates, and by several at once.

    A label, a list of labels or a slice (both ends included) may be given of each; what fits all of them is selected,
    in the order of the data, and the dimension stays. A coordinate of one dimension alone would be an index of its own,
    of which only one can be asked at a time; a pandas MultiIndex renames the dimension and takes no lists.

    Parameters
    ----------
    dim : str
    labels : mapping of str to ndarray, each of shape (dim,)
    """

    def __init__(self, dim: Hashable, labels: Mapping[Any, NDArray[Any]]) -> None:
        self.dim, self.labels = dim, dict(labels)

    @classmethod
    def from_variables(cls, variables: Mapping[Any, Variable], *, options: Mapping[str, Any]) -> LabelIndex:
        """Make one of coordinates of a single dimension."""
        (dim,) = {dim for variable in variables.values() for dim in variable.dims}
        return cls(dim, {name: np.asarray(variable.values) for name, variable in variables.items()})

    @classmethod
    def concat(
        cls, indexes: Sequence[Any], dim: Hashable, positions: Iterable[Iterable[int]] | None = None
    ) -> LabelIndex:
        """Put indexes one after the other."""
        names = indexes[0].labels
        labels = {name: np.concatenate([index.labels[name] for index in indexes]) for name in names}
        if positions is not None:
            order = np.argsort(np.concatenate([np.asarray(list(some)) for some in positions]), kind="stable")
            labels = {name: values[order] for name, values in labels.items()}
        return cls(indexes[0].dim, labels)

    def create_variables(self, variables: Mapping[Any, Variable] | None = None) -> dict[Any, Variable]:
        """Return the coordinates."""
        kept = variables or {}
        return {
            name: Variable((self.dim,), values, attrs=kept[name].attrs if name in kept else None)
            for name, values in self.labels.items()
        }

    def to_pandas_index(self) -> pd.Index:
        """Return the labels of the dimension's own coordinate, or numbers."""
        if self.dim in self.labels:
            return pd.Index(self.labels[self.dim], name=self.dim)
        return pd.RangeIndex(len(next(iter(self.labels.values()))), name=self.dim)

    def isel(self, indexers: Mapping[Any, Any]) -> LabelIndex | None:
        """Select by number."""
        indexer = indexers.get(self.dim, slice(None))
        if isinstance(indexer, Variable):
            if indexer.dims != (self.dim,):
                return None
            indexer = indexer.to_numpy()
        if not isinstance(indexer, slice) and np.ndim(indexer) == 0:
            return None
        return type(self)(self.dim, {name: values[indexer] for name, values in self.labels.items()})

    def sel(self, labels: dict[Any, Any], method: str | None = None, tolerance: Any = None) -> IndexSelResult:
        """Select by labels."""
        if method is not None or tolerance is not None:
            raise ValueError("labels are selected exactly, without method and tolerance")
        fits = np.ones(len(next(iter(self.labels.values()))), np.bool_)
        for name, wanted in labels.items():
            own = _fits(self.labels[name], wanted)
            if not own.any():
                raise KeyError(f"no {self.dim} has {name} {wanted!r}")
            fits &= own
        places = np.flatnonzero(fits)
        if not len(places):
            raise KeyError(f"no {self.dim} has {' and '.join(f'{name} {value!r}' for name, value in labels.items())}")
        first, last = int(places[0]), int(places[-1])
        # Of neighbours a slice is taken: a view, or whole chunks.
        is_run = last - first + 1 == len(places)
        return IndexSelResult({self.dim: slice(first, last + 1) if is_run else places})

    def equals(self, other: Any, *, exclude: frozenset[Hashable] | None = None) -> bool:
        """Whether another one has the same labels."""
        return (
            isinstance(other, LabelIndex)
            and self.dim == other.dim
            and self.labels.keys() == other.labels.keys()
            and all(np.array_equal(values, other.labels[name]) for name, values in self.labels.items())
        )

    def rename(self, name_dict: Mapping[Any, Hashable], dims_dict: Mapping[Any, Hashable]) -> LabelIndex:
        """Give other names."""
        return type(self)(
            dims_dict.get(self.dim, self.dim), {name_dict.get(name, name): v for name, v in self.labels.items()}
        )


def _fits(values: NDArray[Any], wanted: Any) -> NDArray[np.bool_]:
    if isinstance(wanted, slice):
        if wanted.step is not None:
            raise ValueError("a range of labels has no step")
        fits = np.ones(len(values), np.bool_)
        if wanted.start is not None:
            fits &= np.asarray(values >= wanted.start, np.bool_)
        if wanted.stop is not None:
            fits &= np.asarray(values <= wanted.stop, np.bool_)
        return fits
    labels = np.asarray(wanted.to_numpy() if isinstance(wanted, (Variable, xarray.DataArray)) else wanted)
    return np.isin(values, labels.ravel().tolist() if labels.dtype.kind in "OUS" else labels)


def neuron_labels(layer: NDArray[Any], expert: NDArray[Any], unit: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the coordinates of neurons: their number, layer and unit, and their expert where there are any."""
    labels = {NEURON: np.arange(len(layer)), "layer": layer, "expert": expert, "unit": unit}
    if (expert < 0).all():
        del labels["expert"]
    return labels


def with_labels(array: Any, dim: str, labels: Mapping[str, NDArray[Any]]) -> Any:
    """Return a DataArray or Dataset whose dimension can be selected by these coordinates."""
    index = LabelIndex(dim, labels)
    coordinates = xarray.Coordinates(index.create_variables(), dict.fromkeys(labels, index))
    return array.assign_coords(coordinates)
