"""Opening, writing and reading one store."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from emoscale.errors import EmoscaleError, InputError, StoreError, first_lines
from emoscale.schema import FORMAT, StoreSchema
from emoscale.store.chunks import chunks_in, find_damage, read_chunk
from emoscale.store.description import stored_schema
from emoscale.store.types import StoredType, type_of
from emoscale.store.writing import takes_direct_writes, write_chunks
from emoscale.system.files import naming, sync

# The Rust pipeline reads and writes several times faster than zarr-python's own.
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

PROVENANCE = "emoscale"
"""Name of the group's attribute that says what the store is."""
_REPAIR = "emoscale extract CONFIG --repair writes it again"


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
        self._direct = not group.read_only and takes_direct_writes(path)
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._types: dict[str, StoredType] = {}
        self.sizes: dict[str, int] = {}
        for array in schema.arrays:
            self.sizes.update(zip(array.dims, self._array(array.name).shape, strict=True))
        extracted = schema.kind == "activations" and "weights_sha256" in self.attributes["origin"]
        self._fix = _REPAIR if extracted else "run the stage that wrote it again with --fresh"

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:  # opening one reads its metadata, which takes longer than a chunk
            self.schema[name]  # an array that the schema does not have is the caller's mistake, not damage
            with zarr.config.set({"codec_pipeline.direct_io": self._direct}), _reading_metadata(self.path / name):
                array = self._group[name]
            if not isinstance(array, zarr.Array):
                raise InputError(f"{self.path}: {name} is not an array")
            self._arrays[name] = array
        return self._arrays[name]

    def _type(self, name: str) -> StoredType:
        if name not in self._types:
            self._types[name] = type_of(self._array(name))
        return self._types[name]

    @property
    def attributes(self) -> dict[str, Any]:
        """Where the data come from, and the store's format and state, as plain JSON values."""
        return dict(self._group.attrs[PROVENANCE])  # type: ignore[arg-type]

    @property
    def complete(self) -> bool:
        """Whether every value has been written."""
        return bool(self.attributes["complete"])

    def mark_complete(self) -> None:
        """Declare that every value has been written, on disk before this returns. Call it last."""
        for leftover in self.path.rglob("*.partial"):  # of a process that was killed while zarr-python wrote a file
            leftover.unlink()
        with naming(self.path):
            self._group.attrs[PROVENANCE] = {**self.attributes, "complete": True}
            sync(self.path / "zarr.json")
            sync(self.path)

    def chunks(self, name: str) -> tuple[int, ...]:
        """Return the chunk shape of an array."""
        return tuple(self._array(name).chunks)

    def dtype(self, name: str) -> str:
        """Return the name of an array's type, see `stored_type`."""
        return self._type(name).name

    def read_dtype(self, name: str) -> np.dtype[Any]:
        """Return the NumPy type of what `read` returns."""
        return self._type(name).read_as

    def read(self, name: str, **ranges: slice) -> NDArray[Any]:
        """Read a box of an array.

        Parameters
        ----------
        name : str
        **ranges : slice
            Range by dimension name, step 1; all of any other dimension is read.

        Returns
        -------
        ndarray
            The values, of type `read_dtype`; text as objects.

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
        if _is_raw(array):
            values = self._read_raw(name, grid, keys)
        else:
            # The pipeline verifies a checksum only when it decodes a complete chunk, never those over the array's edge.
            if damage := find_damage(self.path / name, keys):
                raise StoreError(f"{problem}; {self._fix}" for problem in damage.values())
            values = np.asarray(array[tuple(grid)])
        part = values[tuple(slice(b - g.start, e - g.start) for (b, e), g in zip(box, grid, strict=True))]
        return self._type(name).decode(part)

    def as_read(self, name: str, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return numbers as `read` would return them after they were written: rounded to the array's type."""
        stored = self._type(name)
        return stored.decode(stored.encode(values))

    def _read_raw(self, name: str, grid: list[slice], keys: list[tuple[int, ...]]) -> NDArray[Any]:
        """Read complete chunks from their files, in half the time of a codec pipeline."""
        array = self._array(name)
        if len(keys) == 1:
            chunk = read_chunk(self.path / name, keys[0], array.chunks, array.dtype, self._fix)
            return chunk[tuple(slice(0, g.stop - g.start) for g in grid)]
        values = np.empty([g.stop - g.start for g in grid], dtype=array.dtype)
        for key in keys:
            chunk = read_chunk(self.path / name, key, array.chunks, array.dtype, self._fix)
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
            One line for each chunk that is missing or damaged; empty if there is none.
        """
        return [
            f"{problem}; {self._fix}" for array in self.schema.arrays for problem in self.damage(array.name).values()
        ]

    def damage(self, name: str, **ranges: slice) -> dict[tuple[int, ...], str]:
        """Check every chunk of an array, or those that a box overlaps.

        Parameters
        ----------
        name : str
        **ranges : slice
            As of `read`.

        Returns
        -------
        dict
            For each chunk that is missing or damaged, by its place in the grid of chunks, the file and what is wrong.
        """
        box = [slice(start, stop) for start, stop in self._box(name, ranges)]
        return find_damage(self.path / name, chunks_in(box, self._array(name).chunks))

    def write(self, name: str, values: NDArray[Any], **starts: int) -> None:
        """Write a box of complete chunks, on disk before this returns.

        Parameters
        ----------
        name : str
        values : ndarray
            Converted to the array's type; text as any array of strings.
        **starts : int
            First index by dimension name; 0 in any other.

        Raises
        ------
        ValueError
            If there is no such dimension, the store was opened for reading, or the box does not begin and end on
            chunk borders (or the array's end): two writers in one chunk would overwrite each other's values.
        OSError
            If they cannot be written. It names the array.
        """
        if self._group.read_only:  # which the Rust pipeline does not check
            raise ValueError(f"{self.path} was opened read-only")
        array = self._array(name)
        box = []
        dims = self._dims(name, starts)
        for dim, length, size, extent in zip(dims, array.shape, array.chunks, values.shape, strict=True):
            start = starts.get(dim, 0)
            stop = start + extent
            if start < 0 or start % size or (stop % size and stop != length) or stop > length:
                raise ValueError(
                    f"{name}: {dim} {start}:{stop} does not fill complete chunks of {size} (length {length})"
                )
            box.append(slice(start, stop))
        write_chunks(array, tuple(box), self._type(name).encode(values), self.path / name)

    def _box(self, name: str, ranges: Mapping[str, slice]) -> list[tuple[int, int]]:
        if any(chosen.step not in (None, 1) for chosen in ranges.values()):
            raise ValueError(f"{name} can be read only in ranges of step 1, not {dict(ranges)}")
        chosen = [ranges.get(dim, slice(None)) for dim in self._dims(name, ranges)]
        bounds = [c.indices(length)[:2] for c, length in zip(chosen, self._array(name).shape, strict=True)]
        return [(start, max(start, stop)) for start, stop in bounds]

    def _dims(self, name: str, named: Iterable[str]) -> tuple[str, ...]:
        dims = self.schema[name].dims
        if unknown := set(named) - set(dims):
            raise ValueError(f"{name} has dimensions {dims}, not {sorted(unknown)}")
        return dims


def _is_raw(array: zarr.Array[Any]) -> bool:
    """Return whether a chunk's file is its values in this machine's byte order and their checksum."""
    own_order = array.dtype.kind in "fiu" and array.dtype.isnative and sys.byteorder == "little"
    codecs = [type(codec).__name__ for codec in (array.serializer, *array.filters, *array.compressors)]
    return own_order and codecs == ["BytesCodec", "Crc32cCodec"]


def open_store(path: Path, schema: StoreSchema | None = None, mode: str = "r") -> Store:
    """Open a store.

    Parameters
    ----------
    path : Path
    schema : StoreSchema, optional
        What the store must contain; by default the schema that it records.
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
        written_by = (
            f"; run emoscale {schema.written_by}, which writes it" if schema else "; give a folder that emoscale wrote"
        )
        raise InputError(f"{path}: no store is here{written_by}")
    try:
        group = zarr.open_group(str(path), mode=mode)  # type: ignore[arg-type]
        provenance = dict(group.attrs[PROVENANCE])  # type: ignore[arg-type]
    except (LookupError, ValueError, TypeError, AttributeError, FileNotFoundError) as error:
        raise InputError(f"{path}: not an emoscale store; give a folder that emoscale wrote") from error
    if schema is not None and provenance.get("kind") != schema.kind:
        raise InputError(f"{path}: contains {provenance.get('kind')}, expected {schema.kind}; give another store")
    if provenance.get("format") != FORMAT:
        raise InputError(
            f"{path}: store format {provenance.get('format')}, this version reads {FORMAT}; write it again with --fresh"
        )
    with _reading_metadata(path):
        schema = schema or stored_schema(path, group, provenance)
    if missing := [array.name for array in schema.arrays if array.name not in group]:
        raise InputError(f"{path}: the store lacks {', '.join(missing)}; write it again with --fresh")
    with _reading_metadata(path):
        return Store(path, schema, group)


@contextmanager
def _reading_metadata(path: Path) -> Iterator[None]:
    """Turn what zarr-python raises for damaged metadata into an `InputError`."""
    try:
        yield
    except EmoscaleError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, OSError) as error:
        raise InputError(
            f"{path / 'zarr.json'}: damaged ({first_lines(error)}); run the stage that wrote it again with --fresh"
        ) from error
