"""Creating, writing and reading one store."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from emoscale.errors import InputError, StoreError
from emoscale.schema import FORMAT, Array, StoreSchema
from emoscale.store.chunks import check_chunks, chunk_file, chunks_in, read_chunk

# The Rust pipeline reads and writes several times faster than zarr-python's own.
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
_OWN_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"

_PROVENANCE = "emoscale"


class Store:
    """An open store, made by `create_store` or `open_store`.

    Attributes
    ----------
    path : Path
        The Zarr group's folder.
    schema : StoreSchema
    sizes : dict of str to int
        Length of every dimension.
    """

    def __init__(self, path: Path, schema: StoreSchema, group: zarr.Group) -> None:
        self.path = path
        self.schema = schema
        self._group = group
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self.sizes: dict[str, int] = {}
        for array in schema.arrays:
            self.sizes.update(zip(array.dims, self._array(array.name).shape, strict=True))

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:  # opening one reads its metadata, which takes longer than a chunk
            array = self._group[name]
            if not isinstance(array, zarr.Array):
                raise InputError(f"{self.path}: {name} is not an array")
            self._arrays[name] = array
        return self._arrays[name]

    @property
    def attributes(self) -> dict[str, Any]:
        """What the writer said of the store's origin, as plain JSON values."""
        return dict(self._group.attrs[_PROVENANCE])  # type: ignore[arg-type]

    @property
    def complete(self) -> bool:
        """Whether every value has been written."""
        return bool(self.attributes["complete"])

    def mark_complete(self) -> None:
        """Declare that every value has been written. Call it last."""
        self._group.attrs[_PROVENANCE] = {**self.attributes, "complete": True}

    def chunks(self, name: str) -> tuple[int, ...]:
        """Return the chunk shape of an array."""
        return tuple(self._array(name).chunks)

    def dtype(self, name: str) -> str:
        """Return the NumPy name of an array's type."""
        return str(self._array(name).dtype)

    def read(self, name: str, **ranges: slice) -> NDArray[Any]:
        """Read a box of an array.

        Parameters
        ----------
        name : str
        **ranges : slice
            Range by dimension name, step 1; a dimension left out is read whole.

        Returns
        -------
        ndarray
            The values, in the array's own type. Text comes as objects.

        Raises
        ------
        StoreError
            If a chunk is missing or its checksum is wrong. It names the chunk's file.
        """
        array = self._array(name)
        box = self._box(name, ranges)
        grid = [
            slice(start // size * size, min(-(-stop // size) * size, length))
            for (start, stop), size, length in zip(box, array.chunks, array.shape, strict=True)
        ]
        keys = chunks_in(grid, array.chunks)
        if _is_plain(array):
            values = self._read_plain(name, grid, keys)
        else:
            # The pipeline verifies a checksum only when it decodes a chunk whole, never those over the array's edge.
            check_chunks(self.path / name, keys)
            values = np.asarray(array[tuple(grid)])
        return values[tuple(slice(b - g.start, e - g.start) for (b, e), g in zip(box, grid, strict=True))]

    def _read_plain(self, name: str, grid: list[slice], keys: list[tuple[int, ...]]) -> NDArray[Any]:
        """Read whole chunks from their files, which takes half the time that a pipeline of codecs does."""
        array = self._array(name)
        if len(keys) == 1:
            chunk = read_chunk(self.path / name, keys[0], array.chunks, array.dtype)
            return chunk[tuple(slice(0, g.stop - g.start) for g in grid)]
        values = np.empty([g.stop - g.start for g in grid], dtype=array.dtype)
        for key in keys:
            chunk = read_chunk(self.path / name, key, array.chunks, array.dtype)
            place = tuple(
                slice(i * size - g.start, min((i + 1) * size, g.stop) - g.start)
                for i, size, g in zip(key, array.chunks, grid, strict=True)
            )
            values[place] = chunk[tuple(slice(0, p.stop - p.start) for p in place)]
        return values

    def verify(self) -> list[str]:
        """Check every chunk of every array.

        Returns
        -------
        list of str
            One line for each chunk that is missing or damaged; empty when all is well.
        """
        problems = []
        for spec in self.schema.arrays:
            array = self._array(spec.name)
            try:
                check_chunks(self.path / spec.name, chunks_in([slice(0, n) for n in array.shape], array.chunks))
            except StoreError as error:
                problems += error.problems
        return problems

    def write(self, name: str, values: NDArray[Any], **starts: int) -> None:
        """Write a box of whole chunks.

        Parameters
        ----------
        name : str
        values : ndarray
            Converted to the array's type.
        **starts : int
            First index by dimension name; 0 where left out.

        Raises
        ------
        ValueError
            If there is no such dimension, the store was opened for reading, or the box does not begin and end on
            chunk borders (or the array's end): two writers in one chunk would lose each other's values.
        """
        if self._group.read_only:  # which the Rust pipeline does not ask
            raise ValueError(f"{self.path} was opened read-only")
        array = self._array(name)
        box = []
        dims = self._dims(name, starts)
        for dim, length, size, extent in zip(dims, array.shape, array.chunks, values.shape, strict=True):
            start = starts.get(dim, 0)
            stop = start + extent
            if start < 0 or start % size or (stop % size and stop != length) or stop > length:
                raise ValueError(f"{name}: {dim} {start}:{stop} does not fill whole chunks of {size} (length {length})")
            box.append(slice(start, stop))
        _write(array, tuple(box), values.astype(array.dtype, copy=False), self.path / name)

    def _box(self, name: str, ranges: Mapping[str, slice]) -> list[tuple[int, int]]:
        if any(chosen.step not in (None, 1) for chosen in ranges.values()):
            raise ValueError(f"{name} is read in ranges of step 1, not {dict(ranges)}")
        chosen = [ranges.get(dim, slice(None)) for dim in self._dims(name, ranges)]
        bounds = [c.indices(length)[:2] for c, length in zip(chosen, self._array(name).shape, strict=True)]
        return [(start, max(start, stop)) for start, stop in bounds]

    def _dims(self, name: str, named: Iterable[str]) -> tuple[str, ...]:
        dims = self.schema[name].dims
        if unknown := set(named) - set(dims):
            raise ValueError(f"{name} has dimensions {dims}, not {sorted(unknown)}")
        return dims


def _is_plain(array: zarr.Array[Any]) -> bool:
    """Say whether a chunk's file is its values in this machine's order and their checksum."""
    own_order = array.dtype.kind in "fiu" and array.dtype.isnative and sys.byteorder == "little"
    codecs = [type(codec).__name__ for codec in (array.serializer, *array.filters, *array.compressors)]
    return own_order and codecs == ["BytesCodec", "Crc32cCodec"]


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
        Type of a data array where it is not the schema's.
    attributes : mapping, optional
        Where the data come from, as plain JSON values.

    Returns
    -------
    Store
    """
    lengths = dict(sizes or {})
    for spec in schema.coordinates:
        lengths[spec.dims[0]] = len(coordinates[spec.name])
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.open_group(str(unfinished), mode="w-", zarr_format=3)
    for spec in schema.data:
        dtype = (dtypes or {}).get(spec.name, spec.dtype)
        _create_array(group, spec, dtype, lengths, {d: chunks.get(d, lengths[d]) for d in spec.dims})
        group[spec.name].attrs["coordinates"] = " ".join(
            c.name for c in schema.coordinates if c.dims[0] in spec.dims and c.name not in spec.dims
        )
    for spec in schema.coordinates:
        array = _create_array(group, spec, spec.dtype, lengths, lengths)
        values = np.asarray(coordinates[spec.name])
        text = spec.dtype == "str"
        _write(array, (slice(0, len(values)),), values.astype(object) if text else values, unfinished / spec.name)
    group.attrs[_PROVENANCE] = {
        "format": FORMAT,
        "kind": schema.kind,
        "complete": False,
        "origin": dict(attributes or {}),
    }
    os.replace(unfinished, path)
    return open_store(path, schema, mode="r+")


def _create_array(
    group: zarr.Group, spec: Array, dtype: str, lengths: Mapping[str, int], chunks: Mapping[str, int]
) -> zarr.Array[Any]:
    is_float = dtype.startswith("float")
    return group.create_array(
        spec.name,
        shape=tuple(lengths[d] for d in spec.dims),
        chunks=tuple(max(1, min(chunks[d], lengths[d])) for d in spec.dims),
        dtype=str if dtype == "str" else dtype,
        dimension_names=spec.dims,
        fill_value=float("nan") if is_float else "" if dtype == "str" else 0,
        # Activations hardly compress (fp16: 5 %); a checksum turns a flipped bit into an error.
        compressors=[Crc32cCodec()],
        attributes={"long_name": spec.meaning, **({"units": spec.units} if spec.units else {})},
    )


def _write(array: zarr.Array[Any], box: tuple[slice, ...], values: NDArray[Any], array_path: Path) -> None:
    array[box] = values
    # A chunk that is not there must mean damage, but the Rust pipeline leaves out chunks that hold nothing but the fill
    # value, whatever `write_empty_chunks` says. Such chunks are written by zarr-python.
    left_out = [key for key in chunks_in(box, array.chunks) if not chunk_file(array_path, key).is_file()]
    if not left_out:
        return
    with zarr.config.set({"codec_pipeline.path": _OWN_PIPELINE, "array.write_empty_chunks": True}):
        own = zarr.open_array(str(array_path), mode="r+")
        for key in left_out:
            lengths = zip(key, own.chunks, own.shape, strict=True)
            chunk = tuple(slice(i * size, min((i + 1) * size, length)) for i, size, length in lengths)
            within = tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(chunk, box, strict=True))
            own[chunk] = values[within]


def open_store(path: Path, schema: StoreSchema, mode: str = "r") -> Store:
    """Open a store.

    Parameters
    ----------
    path : Path
    schema : StoreSchema
        What the store must hold.
    mode : {"r", "r+"}

    Returns
    -------
    Store

    Raises
    ------
    InputError
        If there is nothing at `path`, or it is not an emoscale store of this kind and format.
    """
    if not (path / "zarr.json").is_file():
        raise InputError(f"{path}: no store is here; run the stage that makes it ({schema.kind})")
    try:
        group = zarr.open_group(str(path), mode=mode)  # type: ignore[arg-type]
        provenance = dict(group.attrs[_PROVENANCE])  # type: ignore[arg-type]
    except (KeyError, ValueError, TypeError, FileNotFoundError) as error:
        raise InputError(f"{path}: not an emoscale store; give a folder that emoscale wrote") from error
    if provenance.get("kind") != schema.kind:
        raise InputError(f"{path}: holds {provenance.get('kind')}, not {schema.kind}; give the other store")
    if provenance.get("format") != FORMAT:
        raise InputError(
            f"{path}: store format {provenance.get('format')}, this version reads {FORMAT}; make it anew with --fresh"
        )
    if missing := [array.name for array in schema.arrays if array.name not in group]:
        raise InputError(f"{path}: the store lacks {', '.join(missing)}; make it anew with --fresh")
    return Store(path, schema, group)
