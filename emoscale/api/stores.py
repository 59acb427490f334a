"""The stores of a run as xarray's arrays, read as they are needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from emoscale.api.labelled import NEURON, OBSERVATION, neuron_labels, with_labels
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import ACTIVATIONS, StoreSchema
from emoscale.store import Store
from emoscale.store.store import zarr_store
from emoscale.store.types import stored_type


def open_activations(folder: RunFolder, lazy: bool = True) -> xarray.DataArray:
    """Open a folder's activations.

    Parameters
    ----------
    folder : RunFolder
    lazy : bool
        Whether values are read as they are needed (Dask), instead of all at once.

    Returns
    -------
    DataArray, dims (observation, neuron)
    """
    store = open_finished(folder.activations.resolve(), ACTIVATIONS)
    values = lazily(store, "activations") if lazy else store.read("activations")
    array = xarray.DataArray(values, dims=(OBSERVATION, NEURON), name="activations")
    labels = {name: store.read(name) for name in ("concept", "replicate", "item", "position")}
    found: xarray.DataArray = with_labels(with_neurons(array, store), OBSERVATION, labels)
    return found


def open_dataset(path: Path, schema: StoreSchema) -> xarray.Dataset:
    """Open a store, all its arrays, as they are needed."""
    store = open_finished(path.resolve(), schema)
    dataset = xarray.open_zarr(zarr_store(store.path), consolidated=False)
    # Coordinates are one-dimensional and are looked at first: texts and numbers in memory are easier to use.
    coordinates = {
        array.name: (array.dims, store.read(array.name))
        for array in store.schema.coordinates
        if array.name not in ("layer", "expert", "unit")
    }
    dataset = dataset.drop_vars([array.name for array in store.schema.coordinates if array.name in dataset.variables])
    dataset = dataset.assign_coords(coordinates)
    found: xarray.Dataset = with_neurons(dataset, store) if NEURON in store.sizes else dataset
    return found


def with_neurons(array: Any, store: Store) -> Any:
    """Return an array whose neurons can be selected by layer and unit, as a store has them."""
    return with_labels(array, NEURON, neuron_labels(*(store.read(name) for name in ("layer", "expert", "unit"))))


def lazily(store: Store, name: str) -> Any:
    """Return an array of a store as Dask's, decoded if it is encoded."""
    array = xarray.open_zarr(zarr_store(store.path), consolidated=False)[name]
    kind = stored_type(store.dtype(name))
    if kind.is_encoded:
        decode = partial(_decode, name=kind.name)
        array = xarray.apply_ufunc(decode, array, dask="parallelized", output_dtypes=[kind.read_as])
    return array.data


def _decode(values: NDArray[Any], name: str) -> NDArray[Any]:
    return np.asarray(stored_type(name).decode(values))
