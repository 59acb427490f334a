"""Reading chunks, and finding those that are missing or damaged."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import StoreError
from emoscale.store.layout import CHECKSUM_BYTES, Key, Layout, checksum_of, read_layout
from emoscale.system.addresses import is_here, read_bytes

_ALGORITHM = "crc32c"
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
    """Return what a file of chunks says of its values, without reading them.

    Parameters
    ----------
    file : Path

    Returns
    -------
    str
        ``crc32c:`` and 8 hexadecimal digits: the checksum of the file's only chunk; or ``crc32c/N/BYTES:`` and the
        checksum of the checksums of its N chunks, of so many bytes each, and of its index.

    Raises
    ------
    OSError, LookupError, ValueError, TypeError
        If the array's metadata, which say how many there are, cannot be read.
    """
    layout, key = _place(file)
    with file.open("rb") as stream:
        if not layout.is_sharded:
            stream.seek(max(file.stat().st_size - CHECKSUM_BYTES, 0))
            return f"{_ALGORITHM}:{stream.read().hex()}"
        count, step = len(layout.chunks_of(key)), layout.chunk_bytes + CHECKSUM_BYTES
        found = []
        for end in range(step, (count + 1) * step, step):
            stream.seek(end - CHECKSUM_BYTES)
            found.append(stream.read(CHECKSUM_BYTES))
        return f"{_ALGORITHM}/{count}/{step}:{checksum_of(b''.join([*found, stream.read()])).hex()}"


def has_checksum(file: Path, checksum: str) -> bool:
    """Whether a file of chunks is what `chunk_checksum` said of it, to the last bit; needs no metadata."""
    label, _, expected = checksum.partition(":")
    content = memoryview(file.read_bytes())
    cut = [int(number) for number in label.split("/")[1:]]
    count, step = cut or (1, len(content))
    if not _are_intact(content, count, step):
        return False
    said = b"".join(bytes(content[end - CHECKSUM_BYTES : end]) for end in range(step, (count + 1) * step, step))
    return (checksum_of(said + bytes(content[count * step :])) if cut else said).hex() == expected


def _is_damaged(layout: Layout, key: Key) -> bool:
    content = memoryview(layout.path_of(key).read_bytes())
    if not layout.is_sharded:
        return not _are_intact(content, 1, len(content))
    count, step = len(layout.chunks_of(key)), layout.chunk_bytes + CHECKSUM_BYTES
    return not _are_intact(content, count, step) or bytes(content[count * step :]) != layout.index(key)


def _are_intact(content: memoryview, count: int, step: int) -> bool:
    """Whether the first bytes are so many chunks, each of so many bytes, that end with their checksums."""
    if step < CHECKSUM_BYTES or len(content) < count * step:
        return False
    pieces = (content[start : start + step] for start in range(0, count * step, step))
    return all(checksum_of(piece[:-CHECKSUM_BYTES]) == bytes(piece[-CHECKSUM_BYTES:]) for piece in pieces)


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
    file, start, length = layout.locate(key)
    size = layout.chunk_bytes + CHECKSUM_BYTES
    try:
        content = memoryview(
            _read_here(file, start, size, length).data if is_here(file) else read_bytes(file, start, size)
        )
    except FileNotFoundError:
        raise StoreError(f"{file}: {_MISSING}; {fix}") from None
    if not _are_intact(content, 1, size):
        raise StoreError(f"{file}: {_DAMAGED}; {fix}")
    return np.frombuffer(content, layout.dtype, count=math.prod(layout.chunk)).reshape(layout.chunk)


def _read_here(file: Path, start: int, size: int, length: int) -> NDArray[np.uint8]:
    """Read a part of a file on this machine; nothing if the file is not as long as it should be, or ends before."""
    with file.open("rb", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size != length:
            return np.empty(0, np.uint8)
        # numpy's memory is not cleared before it is read into.
        content = np.empty(size, np.uint8)
        stream.seek(start)
        return content[: stream.readinto(content.data)]


def find_damage(layout: Layout, keys: Iterable[Key], known: Collection[Path] = ()) -> dict[Key, str]:
    """Find files of chunks that are missing or damaged.

    Parameters
    ----------
    layout : Layout
    keys : iterable of tuple of int
        Places of files.
    known : collection of Path
        Files that are known to be as they were written.

    Returns
    -------
    dict
        By place, the file and what is wrong with it.
    """
    damage = {}
    for key in keys:
        file = layout.path_of(key)
        if file in known:
            continue
        if not file.is_file():
            damage[key] = f"{file}: {_MISSING}"
        elif _is_damaged(layout, key):
            damage[key] = f"{file}: {_DAMAGED}"
    return damage
