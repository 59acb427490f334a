"""Creating one store: it appears at once, with its coordinates."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from emoscale.schema import FORMAT, Array, StoreSchema
from emoscale.store.bfloat16 import NAN_BITS
from emoscale.store.description import described
from emoscale.store.store import PROVENANCE, Store, open_store
from emoscale.store.writing import BITS_OF, as_stored, sync_tree, write_chunks
from emoscale.system.files import naming, sync

COORDINATE_CHUNK = 2**16
"""The most values in a chunk of a coordinate: text takes several times its size while it is encoded."""


def create_store(
    path: Path,
    schema: StoreSchema,
    coordinates: Mapping[str, NDArray[Any]],
    chunks: Mapping[str, int],
    sizes: Mapping[str, int] | None = None,
    dtypes: Mapping[str, str] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Store:
    """Create an empty store, replacing what is at `path`.

    Parameters
    ----------
    path : Path
        Folder of the Zarr group. It appears at once, with its coordinates.
    schema : StoreSchema
    coordinates : mapping of str to ndarray
        Every coordinate of the schema, one-dimensional.
    chunks : mapping of str to int
        Chunk length by dimension; a dimension left out is not cut.
    sizes : mapping of str to int, optional
        Length of dimensions that have no coordinate.
    dtypes : mapping of str to str, optional
        Type of a data array where it is not the schema's: a NumPy name, or ``"bfloat16"``. The latter's bits, the upper
        half of a float32's, are stored as uint16, and the array's attribute ``bits_of`` says ``"bfloat16"``.
    attributes : mapping, optional
        Where the data come from, as plain JSON values.

    Returns
    -------
    Store
    """
    lengths = dict(sizes or {})
    for spec in schema.coordinates:
        lengths[spec.dims[0]] = len(coordinates[spec.name])
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):  # by processes that were killed
        shutil.rmtree(left)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(path, ignore_errors=True)
    try:
        with naming(path):
            _fill(unfinished, schema, coordinates, chunks, lengths, dtypes or {}, attributes or {})
            sync_tree(unfinished)
            os.replace(unfinished, path)
            sync(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return open_store(path, schema, mode="r+")


def _fill(
    path: Path,
    schema: StoreSchema,
    coordinates: Mapping[str, NDArray[Any]],
    chunks: Mapping[str, int],
    lengths: Mapping[str, int],
    dtypes: Mapping[str, str],
    attributes: Mapping[str, Any],
) -> None:
    group = zarr.open_group(str(path), mode="w-", zarr_format=3)
    for spec in schema.data:
        dtype = dtypes.get(spec.name, spec.dtype)
        array = _create_array(group, spec, dtype, lengths, {d: chunks.get(d, lengths[d]) for d in spec.dims})
        array.attrs["coordinates"] = " ".join(
            c.name for c in schema.coordinates if c.dims[0] in spec.dims and c.name not in spec.dims
        )
    for spec in schema.coordinates:
        chunk = {spec.dims[0]: COORDINATE_CHUNK}
        array = _create_array(group, spec, spec.dtype, lengths, chunk)
        values = np.asarray(coordinates[spec.name])
        for start in range(0, len(values), COORDINATE_CHUNK):
            piece = values[start : start + COORDINATE_CHUNK]
            write_chunks(array, (slice(start, start + len(piece)),), as_stored(piece, array), path / spec.name)
    group.attrs[PROVENANCE] = {
        "format": FORMAT,
        **described(schema),
        "complete": False,
        "origin": dict(attributes),
    }


def _create_array(
    group: zarr.Group, spec: Array, dtype: str, lengths: Mapping[str, int], chunks: Mapping[str, int]
) -> zarr.Array[Any]:
    is_bits = dtype == "bfloat16"
    fill: float | str = float("nan") if dtype.startswith("float") else "" if dtype == "str" else 0
    return group.create_array(
        spec.name,
        shape=tuple(lengths[d] for d in spec.dims),
        chunks=tuple(max(1, min(chunks[d], lengths[d])) for d in spec.dims),
        dtype=str if dtype == "str" else "uint16" if is_bits else dtype,
        dimension_names=spec.dims,
        fill_value=NAN_BITS if is_bits else fill,
        # Activations hardly compress (fp16: 5 %); a checksum turns a flipped bit into an error.
        compressors=[Crc32cCodec()],
        attributes={
            "long_name": spec.meaning,
            **({"units": spec.units} if spec.units else {}),
            **({BITS_OF: dtype} if is_bits else {}),
        },
    )
