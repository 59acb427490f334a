"""Are few large files as fast as many small ones, and how many will a large store have?

Writes a store of activations row block by row block, each block committed when it is on the disk, and reads it back
column by column as the searchlight does: with one chunk a file, and with many. Beside them the same bytes written to
the disk and read from it as one file, which is what the machine can do. All ways take turns. Files are written past the
system's cache, so that they come from the disk when they are read.

    python -m benchmarks.files [--rows 8192] [--neurons 36864] [--dir FOLDER] [--json FILE]
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import arguments, tell
from emoscale.extraction.cutting import Cut, cut_store
from emoscale.extraction.options import ExtractionOptions
from emoscale.schema import ACTIVATIONS
from emoscale.selectivity.reading import used_boxes
from emoscale.store import CommitLog, Store, create_store, store_size
from emoscale.store.types import STORED_TYPES
from emoscale.store.writing import write_file

LARGE_ROWS, LARGE_LAYERS = 10**6, [14336] * 32
"""A million rows of a model of 8 billion weights."""


def main() -> None:
    options = arguments(__doc__ or "", rows=8192, neurons=36_864, dir="")
    cut = cut_store(ExtractionOptions(), options.rows, [options.neurons])
    ways = {"one chunk a file": _one_chunk_a_file(cut), "many chunks a file": cut}
    block = np.random.default_rng(0).standard_normal((cut.block_rows, options.neurons), dtype=np.float32)
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in (*ways, "disk")}
    files: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=options.dir or None) as folder:
        for _ in range(options.repeats):
            for name, way in ways.items():
                store = _make(Path(folder) / "activations.zarr", options.rows, way, options.neurons)
                times[name].append((*_written(store, block), _read(store)))
                files[name] = sum(file.is_file() for file in (store.path / "activations" / "c").rglob("*"))
                shutil.rmtree(store.path)
            times["disk"].append(_ceiling(Path(folder) / "bytes", block, options.rows))
    gigabytes = options.rows * options.neurons * 4 / 1e9
    numbers: dict[str, Any] = {"rows": options.rows, "neurons": options.neurons, "gigabytes": gigabytes}
    numbers |= {f"files, {name}": count for name, count in files.items()}
    for name, found in times.items():
        write, processor, read = (statistics.median(column) for column in zip(*found, strict=True))
        numbers |= {f"write GB/s, {name}": gigabytes / write, f"read GB/s, {name}": gigabytes / read}
        numbers |= {f"processor s a GB written, {name}": processor / gigabytes}
    few, many = (times[name] for name in ("many chunks a file", "one chunk a file"))
    numbers["write time, many chunks a file over one"] = _ratio(few, many, 0)
    numbers["read time, many chunks a file over one"] = _ratio(few, many, 2)
    numbers |= _large()
    tell("files", numbers, options.json)


def _ratio(one: list[tuple[float, float, float]], other: list[tuple[float, float, float]], column: int) -> float:
    return statistics.median(a[column] / b[column] for a, b in zip(one, other, strict=True))


def _one_chunk_a_file(cut: Cut) -> Cut:
    return Cut(cut.chunk_rows, cut.chunk_rows, cut.chunk_neurons, cut.chunk_neurons)


def _make(path: Path, rows: int, cut: Cut, neurons: int) -> Store:
    lengths = {"observation": rows, "neuron": neurons}
    coordinates: dict[str, NDArray[Any]] = {
        array.name: np.zeros(lengths[array.dims[0]], dtype=object if array.dtype == "str" else array.dtype)
        for array in ACTIVATIONS.coordinates
    }
    for array in ACTIVATIONS.coordinates:
        if array.dtype == "str":
            coordinates[array.name][:] = "a"
    chunks = {"observation": cut.chunk_rows, "neuron": cut.chunk_neurons}
    files = {"observation": cut.block_rows, "neuron": cut.file_neurons}
    return create_store(path, ACTIVATIONS, coordinates, chunks, files=files)


def _written(store: Store, block: NDArray[np.float32]) -> tuple[float, float]:
    """Return the seconds of the wall and of the processor that writing and committing all blocks takes."""
    log = CommitLog(store.path.with_suffix(".commits"))
    wall, processor = time.perf_counter(), time.process_time()
    for number, start in enumerate(range(0, store.sizes["observation"], len(block))):
        store.write("activations", block[: store.sizes["observation"] - start], observation=start)
        log.add(number)
    return time.perf_counter() - wall, time.process_time() - processor


def _read(store: Store) -> float:
    """Return the seconds that reading every chunk once takes, a chunk's width of neurons after the other."""
    start, width = time.perf_counter(), store.chunks("activations")[1]
    used = np.ones(store.sizes["observation"], dtype=np.bool_)
    for first in range(0, store.sizes["neuron"], width):
        for _ in used_boxes(store, used, first, min(first + width, store.sizes["neuron"])):
            pass
    return time.perf_counter() - start


def _ceiling(path: Path, block: NDArray[np.float32], rows: int) -> tuple[float, float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    write_file(path, (block[: rows - start].data.cast("B") for start in range(0, rows, len(block))))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    start, buffer = time.perf_counter(), np.empty(block.nbytes, dtype=np.uint8)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer.data):
            pass
    return wall, processor, time.perf_counter() - start


def _large() -> dict[str, Any]:
    """Return how many files a million rows of a model of 8 billion weights are, and how small the least is."""
    neurons, numbers = sum(LARGE_LAYERS), {}
    for dtype, stored in STORED_TYPES.items():
        cut = cut_store(ExtractionOptions(dtype=dtype), LARGE_ROWS, LARGE_LAYERS)
        for name, way in (("one chunk a file", _one_chunk_a_file(cut)), ("many chunks a file", cut)):
            size = store_size(
                ACTIVATIONS,
                sizes={"observation": LARGE_ROWS, "neuron": neurons},
                chunks={"observation": way.chunk_rows, "neuron": way.chunk_neurons},
                files={"observation": way.block_rows, "neuron": way.file_neurons},
                dtypes={"activations": dtype},
            )
            numbers[f"files, 1e6 rows of 458,752 neurons in {dtype}, {name}"] = size.files
        numbers[f"MB of a file, {dtype}"] = cut.block_rows * cut.file_neurons * stored.itemsize / 1e6
        numbers[f"largest folder, {dtype}"] = size.largest_folder
    return numbers


if __name__ == "__main__":
    main()
