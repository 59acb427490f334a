"""Writing chunks durably."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray

from emoscale.store.chunks import chunk_file, chunks_in
from emoscale.system.files import naming, sync

_PYTHON_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"


def write_chunks(array: zarr.Array[Any], box: tuple[slice, ...], values: NDArray[Any], array_path: Path) -> None:
    """Write complete chunks, and return when they are on the disk.

    Parameters
    ----------
    array : zarr.Array
    box : tuple of slice
        What is written; it begins and ends on chunk borders or the array's end.
    values : ndarray
        Encoded as the array's type.
    array_path : Path
        Folder of the array.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    keys = chunks_in(box, array.chunks)
    files = [chunk_file(array_path, key) for key in keys]
    with naming(array_path):
        # The Rust pipeline first reads a chunk that reaches over the array's edge, and fails if a killed process tore
        # it.
        for file in files:
            file.unlink(missing_ok=True)
        array[box] = values
        # A missing chunk must mean damage, but the Rust pipeline skips chunks that hold nothing but the fill value,
        # whatever `write_empty_chunks` says. zarr-python writes such chunks.
        if skipped := [key for key in keys if not chunk_file(array_path, key).is_file()]:
            _write_skipped(array_path, skipped, box, values)
        for file in files:
            sync(file)
        # A file survives a power failure only if its name is on the disk, too.
        for folder in {folder for file in files for folder in file.parents if folder.is_relative_to(array_path)}:
            sync(folder)


def _write_skipped(array_path: Path, keys: list[tuple[int, ...]], box: tuple[slice, ...], values: NDArray[Any]) -> None:
    with zarr.config.set({"codec_pipeline.path": _PYTHON_PIPELINE, "array.write_empty_chunks": True}):
        own = zarr.open_array(str(array_path), mode="r+")
        for key in keys:
            lengths = zip(key, own.chunks, own.shape, strict=True)
            chunk = tuple(slice(i * size, min((i + 1) * size, length)) for i, size, length in lengths)
            within = tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(chunk, box, strict=True))
            own[chunk] = values[within]


def sync_tree(folder: Path) -> None:
    """Return when every file and every name below a folder is on the disk."""
    for path in (folder, *folder.rglob("*")):
        sync(path)


def takes_direct_writes(folder: Path) -> bool:
    """Return whether files in a folder can be written past the system's cache.

    They are synced at once anyway, and through the cache that costs ten times the processor time (38 MB in 9 files on
    ext4: 0.10 against 0.01 s), which the model's matrix products then lack.
    """
    file = folder / f".direct-{os.getpid()}"
    try:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except (OSError, AttributeError):  # the file system or the operating system has none
        return False
    finally:
        file.unlink(missing_ok=True)
    return True
