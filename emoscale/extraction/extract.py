"""The extraction stage: each rank owns complete row blocks and writes its own chunks."""

from __future__ import annotations

import numpy as np
import torch

from emoscale.extraction.batches import BatchRunner
from emoscale.extraction.inputs import Rows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.sequences import open_sequences, write_sequences
from emoscale.extraction.sinks import ActivationSink, MomentSink, Sink
from emoscale.extraction.work import FiniteCheck, Job, Work, chunk_width
from emoscale.extraction.writing import writing
from emoscale.models.capture import capturing
from emoscale.models.sites.site import neuron_coordinates
from emoscale.models.tensor_parallel import own_neurons
from emoscale.run.folder import RunFolder
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks


def extract(
    folder: RunFolder, rows: Rows, options: ExtractionOptions, *, job: Job, ranks: Ranks, progress: Progress
) -> dict[str, int]:
    """Run the model on every input and keep its neurons' activations, or their moments. What is done already is kept.

    Inputs are batched within their row block, those of similar length together, and the ranks share the blocks, so the
    stores are bit-identical for any number of ranks.

    Parameters
    ----------
    folder : RunFolder
    rows : Rows
    options : ExtractionOptions
        What is said there of rows, pooling and texts is not read: `rows` is the result of it.
    job : Job
    ranks : Ranks
    progress : Progress
        Counts inputs while they are tokenised, then rows.

    Returns
    -------
    dict
        ``rows``, ``neurons``, and if the model has experts ``absent``: values of neurons whose expert the token was not
        routed to.

    Raises
    ------
    InputError
        If there are no rows, or they cannot be pooled like this.
    StageError
        If an activation is not finite (names layer and row), or a repair would mix two computations.
    """
    if ranks.is_main:
        write_sequences(folder.inputs, rows, job.origin, progress)
    ranks.wait()
    work = _work(folder, rows, options, job, ranks)
    sink: Sink = MomentSink(work) if options.keep == "moments" else ActivationSink(work)
    _compute(work, sink, rows, progress)
    absent = sink.finish()
    ranks.wait()
    counts = {"rows": work.sequences.rows, "neurons": len(work.neurons["layer"])}
    return counts | ({"absent": absent} if (work.neurons["expert"] >= 0).any() else {})


def _work(folder: RunFolder, rows: Rows, options: ExtractionOptions, job: Job, ranks: Ranks) -> Work:
    sites = rows.model.outline.sites
    sequences = open_sequences(folder.inputs, each=rows.pooling.each)
    neurons, columns = neuron_coordinates(sites), own_neurons(sites, ranks.tp_rank, ranks.tp_size)
    own = np.concatenate([np.arange(chosen.start, chosen.stop) for chosen in columns])
    check = FiniteCheck(sequences, neurons["layer"][own], neurons["expert"][own], options.non_finite == "stop")
    if ranks.tp_size == 1:
        columns = [slice(0, len(own))]
    width = chunk_width(options, [site.width for site in sites], ranks.tp_size)
    return Work(folder, sequences, neurons, columns, width, check, options, job, ranks)


def _compute(work: Work, sink: Sink, rows: Rows, progress: Progress) -> None:
    shares, ranks = sink.shares(), work.ranks
    sizes = [sum(work.rows(block).stop - work.rows(block).start for block in blocks) for blocks in shares]
    own, done = ranks.own(range(len(shares))), sink.done()
    progress.start(sum(sizes[i] for i in own), "rows", done=sum(sizes[i] for i in own if i in done))
    todo = [block for i in own if i not in done for block in shares[i]]
    if not todo:
        return
    batches = BatchRunner(work.sequences, rows, work.options.batch_rows)
    with (
        torch.inference_mode(),
        capturing(rows.model.module, rows.model.outline.sites, ranks.tp_rank, ranks.tp_size) as captured,
        writing(sink.write, sink.threads, work.options.block_rows, work.width, sink.buffer_type) as writer,
    ):
        for block in todo:
            buffer, span = writer.buffer(), work.rows(block)
            for written in writer.written():
                progress.advance(written)
            batches.run(span, captured, buffer)
            writer.submit(block, span.stop - span.start, buffer)
        for written in writer.written(wait=True):
            progress.advance(written)
