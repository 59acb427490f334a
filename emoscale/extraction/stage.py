"""The extraction stage: each rank owns whole row blocks and writes its own chunks."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emoscale.distributed import Ranks
from emoscale.errors import InputError, StageError
from emoscale.extraction.repair import damaged_blocks, write_damaged, write_damaged_coordinates
from emoscale.extraction.rows import Rows
from emoscale.models.hooks import Captured, capturing
from emoscale.models.sites import neuron_coordinates
from emoscale.progress import Progress
from emoscale.run_folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import CommitLog, Store, create_store, open_store


def extract(
    folder: RunFolder,
    rows: Rows,
    *,
    block_rows: int,
    batch_rows: int,
    chunk_neurons: int,
    dtype: str,
    origin: dict[str, Any],
    ranks: Ranks,
    progress: Progress,
    repair: bool = False,
) -> dict[str, int]:
    """Write the activations of every row to the run folder's store. Blocks that are there already are kept.

    Rows are batched within their block, those of like length together, and blocks are the ranks' shares, so the store
    does not depend on the number of ranks.

    Parameters
    ----------
    folder : RunFolder
    rows : Rows
    block_rows : int
        Rows a rank computes, writes and commits at a time; the row length of a chunk.
    batch_rows : int
        Rows of one forward pass.
    chunk_neurons : int
        Neurons in a chunk.
    dtype : {"float32", "float16"}
        Type in the store.
    origin : dict
        Where the activations come from; a store of another origin is made anew.
    ranks : Ranks
    progress : Progress
        Counts rows.
    repair : bool
        Check every chunk, and write missing and damaged ones anew.

    Returns
    -------
    dict
        ``rows``, ``neurons``.

    Raises
    ------
    StageError
        If an activation is not finite (names layer and row), or a repair would mix two computations.
    """
    sites = rows.model.outline.sites
    coordinates = {**rows.coordinates(), **neuron_coordinates(sites)}
    store = _open_or_create(folder, coordinates, block_rows, chunk_neurons, dtype, origin, ranks)
    log = CommitLog(folder.commits(folder.activations), ranks.rank)
    total = store.sizes["observation"]
    size = store.chunks("activations")[0]
    blocks = list(range(-(-total // size)))
    own = ranks.own(blocks)
    damaged = damaged_blocks(store, own) if repair else {}
    done = (log.done() if not store.complete else set(blocks)) - damaged.keys()
    if repair and ranks.is_main:
        write_damaged_coordinates(store, coordinates)
    lengths = rows.lengths()
    progress.start(
        sum(min(size, total - block * size) for block in own),
        "rows",
        done=sum(min(size, total - block * size) for block in own if block in done),
    )
    with torch.inference_mode(), capturing(rows.model.module, sites) as captured:
        for block in own:
            if block in done:
                continue
            start, stop = block * size, min((block + 1) * size, total)
            with np.errstate(over="ignore"):  # an overflow is told below, with its layer and row
                values = _block(rows, lengths, captured, start, stop, batch_rows).astype(dtype, copy=False)
            _check_finite(values, coordinates, start)
            if block in damaged:
                write_damaged(store, values, start, damaged[block])
            else:
                store.write("activations", values, observation=start)
            log.add(block)
            progress.advance(stop - start)
    ranks.wait()
    if ranks.is_main:
        if not store.complete:
            store.mark_complete()
        shutil.rmtree(log.folder, ignore_errors=True)
    ranks.wait()
    return {"rows": total, "neurons": store.sizes["neuron"]}


def _open_or_create(
    folder: RunFolder,
    coordinates: dict[str, NDArray[Any]],
    block_rows: int,
    chunk_neurons: int,
    dtype: str,
    origin: dict[str, Any],
    ranks: Ranks,
) -> Store:
    if ranks.is_main:
        try:
            fresh = open_store(folder.activations, ACTIVATIONS).attributes["origin"] != origin
        except InputError:
            fresh = True
        if fresh:
            shutil.rmtree(folder.commits(folder.activations), ignore_errors=True)
            chunks = {"observation": block_rows, "neuron": chunk_neurons}
            create_store(
                folder.activations,
                ACTIVATIONS,
                coordinates,
                chunks,
                dtypes={"activations": dtype},
                attributes=origin,
            )
    ranks.wait()
    return open_store(folder.activations, ACTIVATIONS, mode="r+")


def _block(
    rows: Rows, lengths: NDArray[np.int64], captured: Captured, start: int, stop: int, batch_rows: int
) -> NDArray[Any]:
    # Rows of like length share a batch, so that little of it is padding.
    order = start + np.argsort(lengths[start:stop], kind="stable")
    values: NDArray[Any] | None = None
    for first in range(0, len(order), batch_rows):
        batch = order[first : first + batch_rows]
        rows.forward(batch, captured)
        read = captured.take().float().cpu().numpy()
        if values is None:
            values = np.empty((stop - start, read.shape[1]), dtype=read.dtype)
        values[batch - start] = read
    assert values is not None  # noqa: S101  # a block has rows
    return values


def _check_finite(values: NDArray[Any], coordinates: dict[str, NDArray[Any]], first_row: int) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    row, neuron = np.argwhere(~finite)[0]
    layer = coordinates["layer"][neuron]
    concept, replicate = coordinates["concept"][first_row + row], coordinates["replicate"][first_row + row]
    raise StageError(
        f"{(~finite).sum()} activations are not finite in {values.dtype}, first in layer {layer}, row "
        f"{first_row + row} ({concept}, {replicate}); set extraction.dtype and model.dtype to float32"
    )
