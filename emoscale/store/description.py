"""The schema that a store records of itself, so that it can be opened without knowing its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr

from emoscale.errors import InputError
from emoscale.schema import Array, StoreSchema


def described(schema: StoreSchema) -> dict[str, Any]:
    """Return what a store's attributes record of its schema; the arrays' own metadata have the rest."""
    return {
        "kind": schema.kind,
        "written_by": schema.written_by,
        "data": [array.name for array in schema.data],
        "coordinates": [array.name for array in schema.coordinates],
    }


def stored_schema(path: Path, group: zarr.Group, recorded: Mapping[str, Any]) -> StoreSchema:
    """Rebuild the schema of a store.

    Parameters
    ----------
    path : Path
    group : zarr.Group
    recorded : mapping
        What `described` returned when the store was written.

    Raises
    ------
    InputError
        If an older version wrote the store, which did not record it.
    """
    if "data" not in recorded:
        raise InputError(f"{path}: does not describe its arrays; run the stage that wrote it with --fresh")
    data, coordinates = (tuple(_array(group, name) for name in recorded[key]) for key in ("data", "coordinates"))
    return StoreSchema(recorded["kind"], data, coordinates, recorded["written_by"])


def _array(group: zarr.Group, name: str) -> Array:
    if name not in group:
        return Array(name, (), "", "")
    array = group[name]
    dims = array.metadata.dimension_names or ()  # type: ignore[union-attr]
    dtype = str(array.dtype) if array.dtype.kind in "iuf" else "str"  # type: ignore[union-attr]
    meaning, units = (str(array.attrs.get(key, "")) for key in ("long_name", "units"))
    return Array(name, tuple(str(dim) for dim in dims), dtype, meaning, units)
