"""How large a store will be, before it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from emoscale.schema import StoreSchema
from emoscale.store.creating import COORDINATE_CHUNK, cut_array
from emoscale.store.layout import CHECKSUM_BYTES, INDEX_BYTES
from emoscale.store.types import stored_type


@dataclass(frozen=True)
class StoreSize:
    """What a store takes on the disk.

    Attributes
    ----------
    bytes : int
        Of its values and checksums.
    files : int
        Also those of metadata.
    largest_folder : int
        Names in the folder that has most.
    """

    bytes: int
    files: int
    largest_folder: int


def store_size(
    schema: StoreSchema,
    *,
    sizes: Mapping[str, int],
    chunks: Mapping[str, int],
    files: Mapping[str, int] | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> StoreSize:
    """Return how large a store will be that `create_store` makes.

    Parameters
    ----------
    schema : StoreSchema
    sizes : mapping of str to int
        Length of every dimension.
    chunks, files, dtypes : mapping
        As of `create_store`.
    """
    total, count, largest = 0, 1, len(schema.arrays) + 1
    for spec in schema.arrays:
        is_data = spec in schema.data
        cut = chunks if is_data else dict.fromkeys(spec.dims, COORDINATE_CHUNK)
        chunk, file = cut_array(spec, sizes, cut, files if is_data and files else {})
        shape = [sizes[dim] for dim in spec.dims]
        grid = [math.ceil(length / size) for length, size in zip(shape, file, strict=True)]
        held = math.prod(math.ceil(length / size) for length, size in zip(shape, chunk, strict=True))
        itemsize = stored_type((dtypes or {}).get(spec.name, spec.dtype)).itemsize
        total += held * (math.prod(chunk) * itemsize + CHECKSUM_BYTES)
        if chunk != file:
            a_file = math.prod(f // c for f, c in zip(file, chunk, strict=True))
            total += math.prod(grid) * (a_file * INDEX_BYTES + CHECKSUM_BYTES)
        count += math.prod(grid) + 1
        largest = max(largest, *grid) if grid else largest
    return StoreSize(total, count, largest)
