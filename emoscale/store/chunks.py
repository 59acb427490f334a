"""Chunk files: reading them, and finding those that are missing or damaged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from emoscale.errors import StoreError

_CHECKSUM_BYTES = 4
_MISSING, _DAMAGED = "chunk is missing", "chunk is damaged (checksum)"


def chunks_in(box: Sequence[slice], chunk_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the grid index of every chunk that a box overlaps.

    Parameters
    ----------
    box : sequence of slice
        One half-open range a dimension, in elements.
    chunk_shape : sequence of int

    Returns
    -------
    list of tuple of int
        In row-major order.
    """
    return list(
        itertools.product(
            *(range(b.start // size, -(-b.stop // size)) for b, size in zip(box, chunk_shape, strict=True))
        )
    )


def chunk_file(array_path: Path, key: tuple[int, ...]) -> Path:
    """Return the file of one chunk."""
    return array_path.joinpath("c", *map(str, key))


def is_chunk(file: Path) -> bool:
    """Whether a file is a chunk of an array by its place: ``c``, and beneath it one level a grid index."""
    indices = len(list(itertools.takewhile(str.isdigit, reversed(file.parts))))
    return file.parts[-1 - indices] == "c"


def chunk_checksum(file: Path) -> str:
    """Return the checksum that a chunk says its values have, as 8 hexadecimal digits, without reading the values."""
    with file.open("rb") as stream:
        stream.seek(max(file.stat().st_size - _CHECKSUM_BYTES, 0))
        return stream.read().hex()


def is_damaged(file: Path) -> bool:
    """Whether a chunk's values do not have the checksum that its file says."""
    content = file.read_bytes()
    body, stored = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    return bool(google_crc32c.value(body).to_bytes(_CHECKSUM_BYTES, "little") != stored)


def read_chunk(
    array_path: Path, key: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[Any], fix: str
) -> NDArray[Any]:
    """Read a chunk that is stored as its values and their checksum.

    Parameters
    ----------
    array_path : Path
        Folder of the Zarr array.
    key : tuple of int
        Grid index of the chunk.
    shape : tuple of int
        Of a chunk; those over the array's edge are stored complete.
    dtype : dtype
        In this machine's byte order.
    fix : str
        How to fix a chunk that is missing or damaged, for the message.

    Returns
    -------
    ndarray

    Raises
    ------
    StoreError
        If the chunk is missing or damaged. It names the file.
    """
    file = chunk_file(array_path, key)
    size = math.prod(shape) * dtype.itemsize
    content = np.empty(size + _CHECKSUM_BYTES, dtype=np.uint8)
    try:
        with file.open("rb", buffering=0) as stream:
            complete = stream.readinto(content.data) == len(content) and not stream.read(1)
    except FileNotFoundError:
        raise StoreError(f"{file}: {_MISSING}; {fix}") from None
    body, checksum = content[:size], content[size:]
    body.flags.writeable = False  # required by the checksum's function
    if not complete or google_crc32c.value(body).to_bytes(_CHECKSUM_BYTES, "little") != checksum.tobytes():
        raise StoreError(f"{file}: {_DAMAGED}; {fix}")
    return content[:size].view(dtype).reshape(shape)


def find_damage(array_path: Path, keys: Iterable[tuple[int, ...]]) -> dict[tuple[int, ...], str]:
    """Find chunks whose file is missing or damaged.

    Parameters
    ----------
    array_path : Path
        Folder of the Zarr array.
    keys : iterable of tuple of int
        Grid indices of the chunks.

    Returns
    -------
    dict
        By grid index, the file and what is wrong with it.
    """
    damage = {}
    for key in keys:
        file = chunk_file(array_path, key)
        if not file.is_file():
            damage[key] = f"{file}: {_MISSING}"
        elif is_damaged(file):
            damage[key] = f"{file}: {_DAMAGED}"
    return damage
