"""How fast are measures over billions of activations compared with reading them, and how much memory do they need?

Makes a store of float16 activations (27 concepts, one row a text, 8,192 neurons, as many rows as needed), then:
a plain sequential read through Zarr, every chunk once; the selectivity stage (moments of the concepts, searchlight);
AUROC of every neuron and concept.

    python -m benchmarks.out_of_core --activations 1e9 [--dir FOLDER] [--json FILE]

The store (2 bytes for each activation) is removed afterwards. Reads come from the system's file cache if it is large
enough, so the read measures the library, not the disk.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import zarr

from benchmarks.common import arguments, median_seconds, peak_rss_mib, tell
from emoscale.concepts.loading import Concepts
from emoscale.extraction.cutting import cut_store
from emoscale.extraction.options import ExtractionOptions
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.selectivity.executor import Executor, compute_neurons
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.reading import design_of, used_boxes
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.selectivity.searchlight import Ranking
from emoscale.selectivity.select import select
from emoscale.store import Store, create_store
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Silent

NEURONS, CONCEPTS, ATTRIBUTES, CHUNK, THREADS = 8192, 27, 14, 1024, 2
ZARR_ROWS = 4096
"""Rows that Zarr reads at once, a chunk's width of neurons: 8 MiB."""
NAMES = [f"concept {c}" for c in range(CONCEPTS)]


def main() -> None:
    options = arguments(__doc__ or "", activations=1e9, dir="", memory=512.0)
    rows = max(CONCEPTS, round(options.activations / NEURONS))
    chosen = SelectivityOptions(inference="asymptotic")
    machine = MachineOptions(threads=THREADS, memory_limit=int(options.memory * 2**20))
    executor = Executor.of(machine, chosen)
    scores = np.random.default_rng(1).random((CONCEPTS, ATTRIBUTES)).round(3)
    study = Concepts(NAMES, [f"attribute {a}" for a in range(ATTRIBUTES)], scores, None)
    with tempfile.TemporaryDirectory(dir=options.dir or None) as path:
        folder = RunFolder(Path(path))
        store = make_store(folder, rows)
        bytes_read = rows * NEURONS * 2
        read_s = median_seconds(lambda: read_by_zarr(store), options.repeats)
        chunk_s = median_seconds(lambda: read_by_chunk(store), options.repeats)
        stage_s = median_seconds(
            lambda: select(folder, study, chosen, executor=executor, progress=Silent()),
            options.repeats,
        )
        moments_rss = peak_rss_mib()
        ranking = Ranking(design_of(store, NAMES), scores, [ROW_MEASURES["auroc"]])
        auroc_s = median_seconds(lambda: compute_neurons(store, ranking, executor, Silent()), 1, warm=False)
    numbers = {
        "activations": rows * NEURONS,
        "rows": rows,
        "bytes": bytes_read,
        "threads": THREADS,
        "memory_limit_mib": options.memory,
        "read_gb_s": bytes_read / read_s / 1e9,
        "read_by_chunk_gb_s": bytes_read / chunk_s / 1e9,
        "moments_s": stage_s,
        "moments_gb_s": bytes_read / stage_s / 1e9,
        "moments_over_read": read_s / stage_s,
        "auroc_s": auroc_s,
        "auroc_activations_s": rows * NEURONS / auroc_s,
        "peak_rss_moments_mib": moments_rss,
        "peak_rss_mib": peak_rss_mib(),
    }
    tell(f"Out of core: {rows:,} rows x {NEURONS:,} neurons, float16", numbers, options.json)


def make_store(folder: RunFolder, rows: int) -> Store:
    generator = np.random.default_rng(0)
    concepts = np.arange(rows) % CONCEPTS
    number = np.arange(NEURONS)
    coordinates = {
        "concept": np.array(NAMES)[concepts],
        "replicate": np.full(rows, "1"),
        "item": np.arange(rows),
        "position": np.zeros(rows),
        "token_id": np.zeros(rows),
        "layer": number // 1024,
        "expert": np.full(NEURONS, -1),
        "unit": number % 1024,
    }
    cut = cut_store(ExtractionOptions(dtype="float16", chunk_neurons=CHUNK, block_rows=CHUNK), rows, [NEURONS])
    chunks = {"observation": cut.chunk_rows, "neuron": cut.chunk_neurons}
    files = {"observation": cut.block_rows, "neuron": cut.file_neurons}
    dtypes = {"activations": "float16"}
    store = create_store(folder.activations, ACTIVATIONS, coordinates, chunks, dtypes=dtypes, files=files)
    effects = generator.normal(scale=0.3, size=(CONCEPTS, NEURONS)).astype(np.float32)
    for first in range(0, rows, CHUNK):
        of = concepts[first : first + CHUNK]
        values = effects[of] + generator.standard_normal((len(of), NEURONS), dtype=np.float32)
        store.write("activations", values, observation=first)
    store.mark_complete()
    return store


def read_by_zarr(store: Store) -> None:
    """Read every chunk once and keep nothing, in boxes on two threads: the fastest of those tried."""
    array = zarr.open_array(str(store.path / "activations"), mode="r")

    def column(first: int) -> None:
        for row in range(0, array.shape[0], ZARR_ROWS):
            array[row : row + ZARR_ROWS, first : first + CHUNK]

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(column, range(0, NEURONS, CHUNK)))


def read_by_chunk(store: Store) -> None:
    """Read like the measures: a column of chunks on each thread."""

    def column(first: int) -> None:
        for _ in used_boxes(store, np.ones(store.sizes["observation"], dtype=bool), first, first + CHUNK):
            pass

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(column, range(0, NEURONS, CHUNK)))


if __name__ == "__main__":
    main()
