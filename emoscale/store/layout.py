"""Where the chunks of an array are: how they are cut, and in which files they lie.

A file is one chunk, or several that are neighbours (a Zarr shard). A chunk is its values, followed by their checksum
(CRC-32C). A file of several has those that lie within the array in row-major order, and at its end the index of the
shard: of each chunk its first byte and its length (2**64 - 1 twice if it lies outside the array), and the index's own
checksum.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from emoscale.system.addresses import is_here

CHECKSUM_BYTES = 4
INDEX_BYTES = 16
"""Of a chunk in the index of its file."""
_ABSENT = 2**64 - 1
_MOST_VALUES = 2**56
_PLAIN = ("bytes", "crc32c")

Key = tuple[int, ...]
"""Place of a chunk, or of a file, in the grid of all."""


@dataclass(frozen=True)
class Layout:
    """How an array is cut.

    Attributes
    ----------
    path : Path
        The array's folder.
    shape, chunk, file : tuple of int
        Of the array, of a chunk and of a file, in values.
    dtype : dtype or None
        Of values that lie in the files as they are in memory; None for those that are encoded, such as text.
    """

    path: Path
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    file: tuple[int, ...]
    dtype: np.dtype[Any] | None

    @property
    def is_sharded(self) -> bool:
        """Whether a file has an index of several chunks."""
        return self.chunk != self.file

    @cached_property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk's values, also over the array's edge, where it is complete."""
        return math.prod(self.chunk) * (0 if self.dtype is None else self.dtype.itemsize)

    def files_in(self, box: Sequence[slice]) -> list[Key]:
        """Return the places of the files that a box (a half-open range a dimension) overlaps, in row-major order."""
        return list(_grid(box, self.file))

    def chunks_in(self, box: Sequence[slice]) -> list[Key]:
        """Return the places of the chunks that a box overlaps, in row-major order."""
        return list(_grid(box, self.chunk))

    def path_of(self, file: Key) -> Path:
        """Return the path of a file."""
        return self.path.joinpath("c", *map(str, file))

    def extent(self, file: Key) -> list[slice]:
        """Return what of the array is in a file."""
        return [
            slice(i * size, min((i + 1) * size, length))
            for i, size, length in zip(file, self.file, self.shape, strict=True)
        ]

    def chunks_of(self, file: Key) -> list[Key]:
        """Return the places of the chunks in a file, in the order in which they lie there."""
        return self.chunks_in(self.extent(file))

    def locate(self, chunk: Key) -> tuple[Path, int, int]:
        """Return the path of the file that a chunk is in, the chunk's first byte there, and the file's length."""
        starts = [i * size for i, size in zip(chunk, self.chunk, strict=True)]
        file = tuple(start // size for start, size in zip(starts, self.file, strict=True))
        inside = [range(b.start // c, -(-b.stop // c)) for b, c in zip(self.extent(file), self.chunk, strict=True)]
        number, count = 0, 1
        for i, places in zip(chunk, inside, strict=True):
            number = number * len(places) + i - places.start
            count *= len(places)
        step = self.chunk_bytes + CHECKSUM_BYTES
        return self.path_of(file), number * step, count * step + self._index_bytes

    @cached_property
    def _index_bytes(self) -> int:
        if not self.is_sharded:
            return 0
        return math.prod(f // c for f, c in zip(self.file, self.chunk, strict=True)) * INDEX_BYTES + CHECKSUM_BYTES

    def index(self, file: Key) -> bytes:
        """Return the index at the end of a file, with its checksum; nothing where a file is one chunk."""
        if not self.is_sharded:
            return b""
        within, step = set(self.chunks_of(file)), self.chunk_bytes + CHECKSUM_BYTES
        whole = [slice(i * size, (i + 1) * size) for i, size in zip(file, self.file, strict=True)]
        entries, start = [], 0
        for key in self.chunks_in(whole):
            entries.append((start, step) if key in within else (_ABSENT, _ABSENT))
            start += step if key in within else 0
        content = np.array(entries, dtype="<u8").tobytes()
        return content + checksum_of(content)


def checksum_of(content: bytes | memoryview) -> bytes:
    """Return the CRC-32C of some bytes, as it stands in a file."""
    view = np.frombuffer(content, dtype=np.uint8)
    view.flags.writeable = False  # required by the function
    return int(google_crc32c.value(view)).to_bytes(CHECKSUM_BYTES, "little")


def read_layout(path: Path) -> Layout:
    """Read how an array is cut from its metadata.

    Parameters
    ----------
    path : Path
        The array's folder.

    Raises
    ------
    OSError, LookupError, ValueError, TypeError
        If the metadata are missing or damaged.
    """
    if not is_here(path):
        return _read.__wrapped__(path)
    state = (path / "zarr.json").stat()
    return _read(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=256)
def _read(path: Path, *_: int) -> Layout:
    described = json.loads((path / "zarr.json").read_bytes())
    shape = tuple(map(int, described["shape"]))
    file = chunk = tuple(map(int, described["chunk_grid"]["configuration"]["chunk_shape"]))
    codecs = described["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        chunk = tuple(map(int, codecs[0]["configuration"]["chunk_shape"]))
        codecs = codecs[0]["configuration"]["codecs"]
    if not len(shape) == len(file) == len(chunk) or min((*file, *chunk), default=1) < 1:
        raise ValueError(f"chunks of {chunk} in files of {file} do not fit an array of {shape}")
    if max(*shape, *file, math.prod(file), math.prod(chunk), 0) > _MOST_VALUES:
        raise ValueError(f"{shape} in chunks of {chunk} and files of {file} are more than any disk holds")
    plain = tuple(codec["name"] for codec in codecs) == _PLAIN
    little = plain and codecs[0].get("configuration", {}).get("endian", "little") == sys.byteorder == "little"
    return Layout(path, shape, chunk, file, np.dtype(described["data_type"]) if little else None)


def _grid(box: Sequence[slice], sizes: Sequence[int]) -> Iterator[Key]:
    return itertools.product(*(range(b.start // size, -(-b.stop // size)) for b, size in zip(box, sizes, strict=True)))
