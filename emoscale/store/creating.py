"""Creating a store: it appears at once, with its coordinates."""

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
from emoscale.store.description import described
from emoscale.store.layout import read_layout
from emoscale.store.store import PROVENANCE, Store, open_store
from emoscale.store.types import ENCODED_AS, TEXT, stored_type
from emoscale.store.writing import sync_tree, write_files
from emoscale.system.files import naming, sync

COORDINATE_CHUNK = 2**16
"""The most values in a chunk of a coordinate: text takes several times its size while it is encoded."""


FILE_BYTES = 2**25
"""Bytes of a file of results, which are written all at once."""


def length_of_file(chunk: int, row_bytes: int) -> int:
    """Return how long a file of results is: complete chunks of up to `FILE_BYTES`, or one.

    Parameters
    ----------
    chunk : int
        Length of a chunk.
    row_bytes : int
        Bytes for each unit of that length.

    Examples
    --------
    >>> length_of_file(1024, 14 * 8)
    299008
    """
    return chunk * max(1, FILE_BYTES // (chunk * row_bytes))


def create_store(
    path: Path,
    schema: StoreSchema,
    coordinates: Mapping[str, NDArray[Any]],
    chunks: Mapping[str, int],
    sizes: Mapping[str, int] | None = None,
    dtypes: Mapping[str, str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    files: Mapping[str, int] | None = None,
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
        Chunk length by dimension; any other dimension is one chunk.
    sizes : mapping of str to int, optional
        Length of dimensions that have no coordinate.
    dtypes : mapping of str to str, optional
        Type of a data array where it is not the schema's, see `stored_type`. Where values are encoded, the array's
        attribute ``bits_of`` names the type.
    attributes : mapping, optional
        Where the data come from, as plain JSON values.
    files : mapping of str to int, optional
        Length in a file of data by dimension, rounded up to complete chunks; by default that of a chunk.

    Returns
    -------
    Store
    """
    lengths = dict(sizes or {})
    for spec in schema.coordinates:
        lengths[spec.dims[0]] = len(coordinates[spec.name])
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):  # of processes that were killed
        shutil.rmtree(leftover)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(path, ignore_errors=True)
    try:
        with naming(path):
            group = zarr.open_group(str(unfinished), mode="w-", zarr_format=3)
            _create_data(group, schema, lengths, dtypes or {}, (chunks, files or {}))
            _write_coordinates(group, unfinished, schema, coordinates, lengths)
            group.attrs[PROVENANCE] = {
                "format": FORMAT,
                **described(schema),
                "complete": False,
                "origin": dict(attributes or {}),
            }
            sync_tree(unfinished)
            os.replace(unfinished, path)
            sync(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return open_store(path, schema, mode="r+")


def cut_array(
    spec: Array, lengths: Mapping[str, int], chunks: Mapping[str, int], files: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of an array's chunks, and of its files, which are complete chunks."""
    chunk = tuple(max(1, min(chunks.get(dim, lengths[dim]), lengths[dim])) for dim in spec.dims)
    file = tuple(
        -(-min(files.get(dim, size), max(1, lengths[dim])) // size) * size
        for dim, size in zip(spec.dims, chunk, strict=True)
    )
    return chunk, file


def _create_data(
    group: zarr.Group,
    schema: StoreSchema,
    lengths: Mapping[str, int],
    dtypes: Mapping[str, str],
    cuts: tuple[Mapping[str, int], Mapping[str, int]],
) -> None:
    chunks, files = cuts
    for spec in schema.data:
        cut = cut_array(spec, lengths, chunks, files)
        array = _create_array(group, spec, dtypes.get(spec.name, spec.dtype), lengths, cut)
        array.attrs["coordinates"] = " ".join(
            c.name for c in schema.coordinates if c.dims[0] in spec.dims and c.name not in spec.dims
        )


def _write_coordinates(
    group: zarr.Group,
    path: Path,
    schema: StoreSchema,
    coordinates: Mapping[str, NDArray[Any]],
    lengths: Mapping[str, int],
) -> None:
    for spec in schema.coordinates:
        cut = cut_array(spec, lengths, {spec.dims[0]: COORDINATE_CHUNK}, {})
        array = _create_array(group, spec, spec.dtype, lengths, cut)
        values, layout = np.asarray(coordinates[spec.name]), read_layout(path / spec.name)
        for start in range(0, len(values), COORDINATE_CHUNK):
            piece = values[start : start + COORDINATE_CHUNK]
            box = (slice(start, start + len(piece)),)
            write_files(layout, array, box, stored_type(spec.dtype).encode(piece))


def _create_array(
    group: zarr.Group,
    spec: Array,
    dtype: str,
    lengths: Mapping[str, int],
    cut: tuple[tuple[int, ...], tuple[int, ...]],
) -> zarr.Array[Any]:
    stored, (chunk, file) = stored_type(dtype), cut
    return group.create_array(
        spec.name,
        shape=tuple(lengths[d] for d in spec.dims),
        chunks=chunk,
        shards=None if chunk == file else file,
        dtype=str if stored is TEXT else stored.on_disk,
        dimension_names=spec.dims,
        fill_value=stored.fill,
        # Activations hardly compress (fp16: 5 %); a checksum turns a flipped bit into an error.
        compressors=[Crc32cCodec()],
        attributes={
            "long_name": spec.meaning,
            **({"units": spec.units} if spec.units else {}),
            **({ENCODED_AS: stored.name} if stored.is_encoded else {}),
        },
    )
