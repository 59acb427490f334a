"""Reading chunks, and finding those that are missing or damaged."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import StoreError
from emoscale.store.layout import CHECKSUM_BYTES, Key, Layout, checksum_of, read_layout

_MISSING, _DAMAGED = "chunk is missing", "chunk is damaged (checksum)"


def is_chunk(file: Path) -> bool:
    """Whether a file has chunks of an array by its place: ``c``, and beneath it one level a grid index."""
    return file.parts[-1 - _levels(file)] == "c"


def _levels(file: Path) -> int:
    return len(list(itertools.takewhile(str.isdigit, reversed(file.parts))))


def _place(file: Path) -> tuple[Layout, Key]:
    levels = _levels(file)
    return read_layout(file.parents[levels]), tuple(map(int, file.parts[len(file.parts) - levels :]))


def chunk_checksum(file: Path) -> str:
    """Return the checksum of what a file of chunks says its values have, without reading the values.

    Parameters
    ----------
    file : Path

    Returns
    -------
    str
        8 hexadecimal digits: the checksum of its only chunk, or that of the checksums of several.

    Raises
    ------
    OSError, LookupError, ValueError, TypeError
        If the array's metadata, which say how many there are, cannot be read.
    """
    layout, key = _place(file)
    with file.open("rb") as stream:
        if not layout.is_sharded:
            stream.seek(max(file.stat().st_size - CHECKSUM_BYTES, 0))
            return stream.read().hex()
        found = []
        for chunk in layout.chunks_of(key):
            stream.seek(layout.locate(chunk)[1] + layout.chunk_bytes)
            found.append(stream.read(CHECKSUM_BYTES))
        stream.seek(sum(map(len, found)) // CHECKSUM_BYTES * (layout.chunk_bytes + CHECKSUM_BYTES))
        return checksum_of(b"".join([*found, stream.read()])).hex()


def is_damaged(file: Path) -> bool:
    """Whether a file's values do not have the checksums that it says."""
    return _is_damaged(*_place(file))


def _is_damaged(layout: Layout, key: Key) -> bool:
    content = memoryview(layout.path_of(key).read_bytes())
    index = layout.index(key)
    if not layout.is_sharded:
        return checksum_of(content[:-CHECKSUM_BYTES]) != bytes(content[-CHECKSUM_BYTES:])
    step = layout.chunk_bytes + CHECKSUM_BYTES
    end = len(layout.chunks_of(key)) * step
    if bytes(content[end:]) != index:
        return True
    pieces = (content[start : start + step] for start in range(0, end, step))
    return any(checksum_of(piece[:-CHECKSUM_BYTES]) != bytes(piece[-CHECKSUM_BYTES:]) for piece in pieces)


def read_chunk(layout: Layout, key: Key, fix: str) -> NDArray[Any]:
    """Read a chunk that is stored as its values and their checksum.

    Parameters
    ----------
    layout : Layout
        Of an array whose values are not encoded.
    key : tuple of int
        Place of the chunk.
    fix : str
        How to fix a chunk that is missing or damaged, for the message.

    Returns
    -------
    ndarray
        Complete, also over the array's edge.

    Raises
    ------
    StoreError
        If the chunk is missing or damaged. It names the file.
    """
    file, start = layout.locate(key)
    content = np.empty(layout.chunk_bytes + CHECKSUM_BYTES, dtype=np.uint8)
    try:
        with file.open("rb", buffering=0) as stream:
            stream.seek(start)
            complete = stream.readinto(content.data) == len(content) and (layout.is_sharded or not stream.read(1))
    except FileNotFoundError:
        raise StoreError(f"{file}: {_MISSING}; {fix}") from None
    body, checksum = content[: layout.chunk_bytes], content[layout.chunk_bytes :]
    if not complete or checksum_of(body.data) != checksum.tobytes():
        raise StoreError(f"{file}: {_DAMAGED}; {fix}")
    return np.frombuffer(body, dtype=layout.dtype).reshape(layout.chunk)


def find_damage(layout: Layout, keys: Iterable[Key]) -> dict[Key, str]:
    """Find files of chunks that are missing or damaged.

    Parameters
    ----------
    layout : Layout
    keys : iterable of tuple of int
        Places of files.

    Returns
    -------
    dict
        By place, the file and what is wrong with it.
    """
    damage = {}
    for key in keys:
        file = layout.path_of(key)
        if not file.is_file():
            damage[key] = f"{file}: {_MISSING}"
        elif _is_damaged(layout, key):
            damage[key] = f"{file}: {_DAMAGED}"
    return damage
