"""The extraction stage: each rank owns complete row blocks and writes its own chunks."""

from __future__ import annotations

import torch

from emoscale.extraction.batches import BatchRunner
from emoscale.extraction.fill import fill, make_sink
from emoscale.extraction.inputs import Rows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.sequences import open_sequences, write_sequences
from emoscale.extraction.work import Job, Target, make_work
from emoscale.models.capture import capturing
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MOMENT_SHARDS, MOMENTS
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
    sequences = open_sequences(folder.inputs, each=rows.pooling.each)
    work = make_work(folder, _target(folder, options), sequences, rows.model.outline.sites, options, job, ranks)
    sink = make_sink(work)
    batches = BatchRunner(sequences, rows, options.batch_rows)
    with (
        torch.inference_mode(),
        capturing(rows.model.module, rows.model.outline.sites, ranks.tp_rank, ranks.tp_size) as captured,
    ):
        fill(work, sink, lambda span, buffer: batches.run(span, captured, buffer), progress)
    absent = sink.finish()
    ranks.wait()
    counts = {"rows": sequences.rows, "neurons": len(work.neurons["layer"])}
    return counts | ({"absent": absent} if (work.neurons["expert"] >= 0).any() else {})


def _target(folder: RunFolder, options: ExtractionOptions) -> Target:
    return Target(
        folder.activations,
        folder.moments,
        folder.moment_shards,
        ACTIVATIONS,
        MOMENTS,
        MOMENT_SHARDS,
        setting="extraction",
        name="activations",
        advice="set extraction.dtype and model.dtype to float32, or extraction.non_finite to keep",
        stops=options.non_finite == "stop",
    )
