"""Opening, writing and reading one store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import ObjectStore

from emoscale.errors import EmoscaleError, InputError, StoreError, first_lines
from emoscale.schema import FORMAT, StoreSchema
from emoscale.store.chunks import find_damage, read_chunk
from emoscale.store.description import stored_schema
from emoscale.store.layout import Key, Layout, read_layout
from emoscale.store.types import StoredType, type_of
from emoscale.store.writing import write_files
from emoscale.system.addresses import is_here
from emoscale.system.files import naming, sync

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
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._types: dict[str, StoredType] = {}
        self._layouts: dict[str, Layout] = {}
        self.sizes: dict[str, int] = {}
        for array in schema.arrays:
            self.sizes.update(zip(array.dims, self._array(array.name).shape, strict=True))
        extracted = schema.kind == "activations" and "weights_sha256" in self.attributes["origin"]
        self._fix = _REPAIR if extracted else "run the stage that wrote it again with --fresh"

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:  # opening one reads its metadata, which takes longer than a chunk
            self.schema[name]  # an array that the schema does not have is the caller's mistake, not damage
            with _reading_metadata(self.path / name):
                array = self._group[name]
            if not isinstance(array, zarr.Array):
                raise InputError(f"{self.path}: {name} is not an array")
            self._arrays[name] = array
        return self._arrays[name]

    def _layout(self, name: str) -> Layout:
        if name not in self._layouts:
            self.schema[name]
            with _reading_metadata(self.path / name):
                self._layouts[name] = read_layout(self.path / name)
        return self._layouts[name]

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
        return self._layout(name).chunk

    def files(self, name: str) -> tuple[int, ...]:
        """Return how much of an array is in a file: a chunk, or several."""
        return self._layout(name).file

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
        layout, box = self._layout(name), self._box(name, ranges)
        grid = [
            slice(start // size * size, min(-(-stop // size) * size, length))
            for (start, stop), size, length in zip(box, layout.chunk, layout.shape, strict=True)
        ]
        if layout.dtype is not None:
            values = self._read_plain(layout, grid)
        else:
            # Zarr does not notice a chunk that is missing, and not every one that is damaged.
            if damage := find_damage(layout, layout.files_in(grid)):
                raise StoreError(f"{problem}; {self._fix}" for problem in damage.values())
            values = np.asarray(self._array(name)[tuple(grid)])
        part = values[tuple(slice(b - g.start, e - g.start) for (b, e), g in zip(box, grid, strict=True))]
        return self._type(name).decode(part)

    def as_read(self, name: str, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return numbers as `read` would return them after they were written: rounded to the array's type."""
        stored = self._type(name)
        return stored.decode(stored.encode(values))

    def _read_plain(self, layout: Layout, grid: list[slice]) -> NDArray[Any]:
        """Read complete chunks from their files, in half the time of a codec pipeline."""
        keys = layout.chunks_in(grid)
        if len(keys) == 1:
            return read_chunk(layout, keys[0], self._fix)[tuple(slice(0, g.stop - g.start) for g in grid)]
        values = np.empty([g.stop - g.start for g in grid], dtype=layout.dtype)
        for key in keys:
            chunk = read_chunk(layout, key, self._fix)
            place = tuple(
                slice(i * size - g.start, min((i + 1) * size, g.stop) - g.start)
                for i, size, g in zip(key, layout.chunk, grid, strict=True)
            )
            values[place] = chunk[tuple(slice(0, p.stop - p.start) for p in place)]
        return values

    def verify(self, known: Collection[Path] = ()) -> list[str]:
        """Check every chunk of every array.

        Parameters
        ----------
        known : collection of Path
            Files that have been read and found to be as they were written.

        Returns
        -------
        list of str
            One line for each file that is missing or damaged; empty if there is none.
        """
        return [
            f"{problem}; {self._fix}"
            for layout in (self._layout(array.name) for array in self.schema.arrays)
            for problem in find_damage(layout, layout.files_in([slice(0, n) for n in layout.shape]), known).values()
        ]

    def damage(self, name: str, **ranges: slice) -> dict[Key, str]:
        """Check every chunk of an array, or of the files that a box overlaps.

        Parameters
        ----------
        name : str
        **ranges : slice
            As of `read`.

        Returns
        -------
        dict
            For each file that is missing or damaged, by its place in the grid of files, the file and what is wrong.
        """
        box = [slice(start, stop) for start, stop in self._box(name, ranges)]
        layout = self._layout(name)
        return find_damage(layout, layout.files_in(box))

    def write(self, name: str, values: NDArray[Any], **starts: int) -> None:
        """Write a box of complete files, on disk before this returns.

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
            the borders of files (or the array's end): two writers in one would overwrite each other's values.
        OSError
            If they cannot be written. It names the array.
        """
        if self._group.read_only:
            raise ValueError(f"{self.path} was opened read-only")
        layout, box = self._layout(name), []
        dims = self._dims(name, starts)
        for dim, length, size, extent in zip(dims, layout.shape, layout.file, values.shape, strict=True):
            start = starts.get(dim, 0)
            stop = start + extent
            if start < 0 or start % size or (stop % size and stop != length) or stop > length:
                raise ValueError(
                    f"{name}: {dim} {start}:{stop} does not fill complete files of {size} (length {length})"
                )
            box.append(slice(start, stop))
        write_files(layout, self._array(name), tuple(box), self._type(name).encode(values))

    def _box(self, name: str, ranges: Mapping[str, slice]) -> list[tuple[int, int]]:
        if any(chosen.step not in (None, 1) for chosen in ranges.values()):
            raise ValueError(f"{name} can be read only in ranges of step 1, not {dict(ranges)}")
        chosen = [ranges.get(dim, slice(None)) for dim in self._dims(name, ranges)]
        bounds = [c.indices(length)[:2] for c, length in zip(chosen, self._layout(name).shape, strict=True)]
        return [(start, max(start, stop)) for start, stop in bounds]

    def _dims(self, name: str, named: Iterable[str]) -> tuple[str, ...]:
        dims = self.schema[name].dims
        if unknown := set(named) - set(dims):
            raise ValueError(f"{name} has dimensions {dims}, not {sorted(unknown)}")
        return dims


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
        group = zarr.open_group(zarr_store(path), mode=mode)  # type: ignore[arg-type]
        provenance = dict(group.attrs[PROVENANCE])  # type: ignore[arg-type]
    except (LookupError, ValueError, TypeError, AttributeError, FileNotFoundError) as error:
        raise InputError(f"{path}: not an emoscale store; give a folder that emoscale wrote") from error
    if schema is not None and provenance.get("kind") != schema.kind:
        raise InputError(f"{path}: contains {provenance.get('kind')}, expected {schema.kind}; give another store")
    if provenance.get("format") != FORMAT:
        raise InputError(
            f"{path}: store format {provenance.get('format')}, this version reads {FORMAT}; write it again with --fresh"
        )
    if not isinstance(provenance.get("complete"), bool):
        raise InputError(f"{path}: does not say whether it is complete; write it again with --fresh")
    with _reading_metadata(path):
        schema = schema or stored_schema(path, group, provenance)
    if missing := [array.name for array in schema.arrays if array.name not in group]:
        raise InputError(f"{path}: the store lacks {', '.join(missing)}; write it again with --fresh")
    with _reading_metadata(path):
        return Store(path, schema, group)


def zarr_store(path: Path) -> Any:
    """Return what zarr-python and xarray open a store by."""
    if is_here(path):
        return str(path)
    from obstore.store import from_url  # of an extra

    return ObjectStore(from_url(str(path)), read_only=True)


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
