"""Looking at the chunk files themselves: are they there, are they whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import google_crc32c

from emoscale.errors import StoreError

_CHECKSUM_BYTES = 4


def chunks_in(box: Sequence[slice], chunk_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the grid index of every chunk that a box touches.

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


def check_chunks(array_path: Path, keys: Iterable[tuple[int, ...]], checksum: bool = True) -> None:
    """Raise unless every chunk's file is there and, if asked, whole.

    Parameters
    ----------
    array_path : Path
        Folder of the Zarr array.
    keys : iterable of tuple of int
        Grid indices of the chunks.
    checksum : bool
        Read the file and compare its CRC-32C (the last four bytes).

    Raises
    ------
    StoreError
        Names each missing or damaged chunk.
    """
    problems = []
    for key in keys:
        file = chunk_file(array_path, key)
        if not file.is_file():
            problems.append(f"{file}: chunk is missing; run the stage that wrote it again with --fresh")
        elif checksum:
            content = file.read_bytes()
            body, expected = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
            if google_crc32c.value(body).to_bytes(_CHECKSUM_BYTES, "little") != expected:
                problems.append(f"{file}: chunk is damaged (checksum); run the stage that wrote it again with --fresh")
    if problems:
        raise StoreError(problems)
