"""The extraction stage: each rank owns whole row blocks and writes its own chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emoscale.extraction.activations import KeptActivations
from emoscale.extraction.batches import batches_of, pad
from emoscale.extraction.moments import KeptMoments
from emoscale.extraction.pinned import HostCopies
from emoscale.extraction.reading import reader
from emoscale.extraction.rows import Rows
from emoscale.extraction.sequences import Sequences, open_sequences, write_sequences
from emoscale.extraction.sinks import Kept, Work
from emoscale.extraction.validation import FiniteCheck
from emoscale.extraction.writing import writing
from emoscale.models.capture import Captured, capturing
from emoscale.models.sites.site import neuron_coordinates
from emoscale.models.tensor_parallel import own_neurons
from emoscale.run.folder import RunFolder
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks


def extract(
    folder: RunFolder,
    rows: Rows,
    *,
    block_rows: int = 1024,
    batch_rows: int = 32,
    chunk_neurons: int = 1024,
    dtype: str = "float32",
    padding: str = "right",
    keep: str = "activations",
    concepts: Sequence[str] = (),
    parts: int = 16,
    non_finite: str = "stop",
    writers: int = 2,
    origin: dict[str, Any],
    ranks: Ranks,
    progress: Progress,
    repair: bool = False,
) -> dict[str, int]:
    """Run the model on every input and keep its neurons' activations. What is there already is kept.

    Inputs are batched within their row block, those of like length together, and blocks are the ranks' shares, so the
    stores do not depend on the number of ranks, to the last bit.

    Parameters
    ----------
    folder : RunFolder
    rows : Rows
    block_rows : int
        Rows a rank computes, writes and commits at a time; the row length of a chunk.
    batch_rows : int
        The most inputs of one forward pass.
    chunk_neurons : int
        Neurons in a chunk; fewer where processes that share the model out could not write whole ones.
    dtype : {"float32", "float16", "bfloat16"}
        Type in the store.
    padding : {"right", "left"}
    keep : {"activations", "moments"}
        Every row, into `RunFolder.activations`; or count, mean and spread by concept and replicate, into
        `RunFolder.moments`, in float64 whatever `dtype`.
    concepts : sequence of str
        Those whose moments are kept.
    parts : int
        Moments are summed up in so many parts, which the ranks share.
    non_finite : {"stop", "keep"}
        What to do about activations that are not finite.
    writers : int
        Threads that write.
    origin : dict
        Where the activations come from; stores of another origin are made anew.
    ranks : Ranks
    progress : Progress
        Counts inputs while they are tokenised, then rows.
    repair : bool
        Check every chunk, and write missing and damaged ones anew.

    Returns
    -------
    dict
        ``rows``, ``neurons``, and if the model has experts ``absent``: values of neurons whose expert the token was not
        routed to.

    Raises
    ------
    InputError
        If there are no rows, or they cannot be read as asked.
    StageError
        If an activation is not finite (names layer and row), or a repair would mix two computations.
    """
    sites = rows.model.outline.sites
    if ranks.is_main:
        write_sequences(folder.inputs, rows, origin, progress)
    ranks.wait()
    sequences = open_sequences(folder.inputs, each=rows.read == "all")
    neurons, columns = neuron_coordinates(sites), own_neurons(sites, ranks.tp_rank, ranks.tp_size)
    own = np.concatenate([np.arange(chosen.start, chosen.stop) for chosen in columns])
    check = FiniteCheck(sequences, neurons["layer"][own], neurons["expert"][own], non_finite == "stop")
    if ranks.tp_size == 1:
        columns = [slice(0, len(own))]
    chunk = chunk_neurons if ranks.tp_size == 1 else _common_chunk(chunk_neurons, columns)
    work = Work(folder, sequences, neurons, columns, block_rows, chunk, check, origin, ranks)
    kept: Kept
    kept = KeptMoments(work, concepts, parts) if keep == "moments" else KeptActivations(work, dtype, writers, repair)
    _compute(work, kept, rows, batch_rows, padding, progress)
    absent = kept.finish()
    ranks.wait()
    counts = {"rows": sequences.rows, "neurons": len(neurons["layer"])}
    return counts | ({"absent": absent} if (neurons["expert"] >= 0).any() else {})


def _common_chunk(most: int, columns: Sequence[slice]) -> int:
    """Return how many neurons a chunk has, so that each process's ranges of them are whole chunks."""
    width = math.gcd(*(edge for chosen in columns for edge in (chosen.start, chosen.stop)))
    return max(size for size in range(1, min(most, width) + 1) if width % size == 0)


def _compute(work: Work, kept: Kept, rows: Rows, batch_rows: int, padding: str, progress: Progress) -> None:
    shares, ranks, sites = kept.shares(), work.ranks, rows.model.outline.sites
    sizes = [sum(work.rows(block).stop - work.rows(block).start for block in blocks) for blocks in shares]
    own, done = ranks.own(range(len(shares))), kept.done()
    progress.start(sum(sizes[i] for i in own), "rows", done=sum(sizes[i] for i in own if i in done))
    width = sum(columns.stop - columns.start for columns in work.columns)
    todo = [block for i in own if i not in done for block in shares[i]]
    if not todo:
        return
    batches = _Batches(work.sequences, rows, batch_rows, padding)
    with (
        torch.inference_mode(),
        capturing(rows.model.module, sites, ranks.tp_rank, ranks.tp_size) as captured,
        writing(kept.write, kept.threads, work.block_rows, width, kept.buffer_type) as writer,
    ):
        for block in todo:
            buffer, span = writer.buffer(), work.rows(block)
            for written in writer.written():
                progress.advance(written)
            batches.run(span, captured, buffer)
            writer.submit(block, span.stop - span.start, buffer)
        for written in writer.written(wait=True):
            progress.advance(written)


class _Batches:
    """Runs the inputs of a block and gathers what is read of them."""

    def __init__(self, sequences: Sequences, rows: Rows, batch_rows: int, padding: str) -> None:
        self._sequences, self._rows, self._batch_rows, self._padding = sequences, rows, batch_rows, padding
        self._pad_id = rows.model.outline.tokenizer.pad_token_id or 0
        self._copies = HostCopies()

    def run(self, block: slice, captured: Captured, values: Tensor) -> None:
        """Fill the first rows of `values` (rows, neurons) with the block's activations."""
        s = self._sequences
        batches = batches_of(s.lengths, s.first, s.stop, s.row_of, block.start, block.stop, self._batch_rows)
        lowest = min(int(batch.inputs.min()) for batch in batches)
        ids = s.ids(lowest, max(int(batch.inputs.max()) for batch in batches) + 1)
        for batch in batches:
            tokens, attention = pad([ids[i - lowest] for i in batch.inputs], self._pad_id, self._padding)
            before = tokens.shape[1] - s.lengths[batch.inputs]
            offsets = before if self._padding == "left" else np.zeros_like(before)
            _, read = reader(batch.first, batch.stop, offsets, tokens.shape[1], s.each)
            captured.expect(len(tokens), tokens.shape[1], read)
            captured.run(partial(self._rows.run, batch.inputs, tokens, attention))
            self._copies.put(captured.take(), values, torch.from_numpy(batch.rows - block.start))
        self._copies.finish(values)
