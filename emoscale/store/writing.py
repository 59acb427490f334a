"""Writing chunks so that they are there and stay there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray

from emoscale.store.bfloat16 import bfloat16_bits
from emoscale.store.chunks import chunk_file, chunks_in
from emoscale.system.files import naming, sync

BITS_OF = "bits_of"
"""Name of an array's attribute that says of which type its integers are the bits."""
_OWN_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"


def write_chunks(array: zarr.Array[Any], box: tuple[slice, ...], values: NDArray[Any], array_path: Path) -> None:
    """Write whole chunks, and return when they are on the disk.

    Parameters
    ----------
    array : zarr.Array
    box : tuple of slice
        What is written; it begins and ends on chunk borders or the array's end.
    values : ndarray
    array_path : Path
        Folder of the array.

    Raises
    ------
    OSError
        If the disk does not take them.
    """
    keys = chunks_in(box, array.chunks)
    files = [chunk_file(array_path, key) for key in keys]
    with naming(array_path):
        # The Rust pipeline first reads a chunk that reaches over the array's edge, and fails if a killed process tore
        # it.
        for file in files:
            file.unlink(missing_ok=True)
        array[box] = values
        # A chunk that is not there must mean damage, but the Rust pipeline leaves out chunks that hold nothing but the
        # fill value, whatever `write_empty_chunks` says. Such chunks are written by zarr-python.
        if left_out := [key for key in keys if not chunk_file(array_path, key).is_file()]:
            _write_left_out(array_path, left_out, box, values)
        for file in files:
            sync(file)
        # A file is found after a power failure only if its name is on the disk, too.
        for folder in {folder for file in files for folder in file.parents if folder.is_relative_to(array_path)}:
            sync(folder)


def _write_left_out(
    array_path: Path, keys: list[tuple[int, ...]], box: tuple[slice, ...], values: NDArray[Any]
) -> None:
    with zarr.config.set({"codec_pipeline.path": _OWN_PIPELINE, "array.write_empty_chunks": True}):
        own = zarr.open_array(str(array_path), mode="r+")
        for key in keys:
            lengths = zip(key, own.chunks, own.shape, strict=True)
            chunk = tuple(slice(i * size, min((i + 1) * size, length)) for i, size, length in lengths)
            within = tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(chunk, box, strict=True))
            own[chunk] = values[within]


def holds_bfloat16(array: zarr.Array[Any]) -> bool:
    """Say whether an array's integers are the bits of bfloat16."""
    return array.attrs.get(BITS_OF) == "bfloat16"


def as_stored(values: NDArray[Any], array: zarr.Array[Any]) -> NDArray[Any]:
    """Return values in the type that the array takes; text as Python strings."""
    if holds_bfloat16(array):
        return bfloat16_bits(values)
    return values.astype(object if array.dtype.kind in "TO" else array.dtype, copy=False)


def sync_tree(folder: Path) -> None:
    """Return when every file and every name below a folder is on the disk."""
    for path in (folder, *folder.rglob("*")):
        sync(path)


def takes_direct_writes(folder: Path) -> bool:
    """Say whether files in a folder may be written past the system's cache.

    They go to the disk at once anyway, and through the cache that costs ten times the processor time (38 MB in 9 files
    and ext4: 0.10 against 0.01 s), which the model's matrix products then lack.
    """
    file = folder / f".direct-{os.getpid()}"
    try:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except (OSError, AttributeError):  # by the file system or the system
        return False
    finally:
        file.unlink(missing_ok=True)
    return True
