"""Filling a store block by block: each rank owns complete row blocks and writes its own chunks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from emoscale.extraction.sinks import MomentSink, RowSink, Sink
from emoscale.extraction.work import Work
from emoscale.extraction.writing import writing
from emoscale.system.progress import Progress

Compute = Callable[[slice, Tensor], None]
"""Fills the first rows of a buffer, (rows, neurons), with some consecutive rows."""


def make_sink(work: Work) -> Sink:
    """Make what keeps every row, or what keeps their moments."""
    return MomentSink(work) if work.options.keep == "moments" else RowSink(work)


def fill(work: Work, sink: Sink, compute: Compute, progress: Progress) -> None:
    """Compute this rank's blocks that are not done, and write them meanwhile.

    Parameters
    ----------
    work : Work
    sink : Sink
    compute : callable
    progress : Progress
        Counts rows.
    """
    shares, ranks = sink.shares(), work.ranks
    sizes = [sum(work.rows(block).stop - work.rows(block).start for block in blocks) for blocks in shares]
    own, done = ranks.own(range(len(shares))), sink.done()
    progress.start(sum(sizes[i] for i in own), "rows", done=sum(sizes[i] for i in own if i in done))
    todo = [block for i in own if i not in done for block in shares[i]]
    if not todo:
        return
    with writing(sink.write, sink.threads, work.cut.block_rows, work.width, sink.buffer_type) as writer:
        for block in todo:
            buffer, span = writer.buffer(), work.rows(block)
            for written in writer.written():
                progress.advance(written)
            compute(span, buffer)
            writer.submit(block, span.stop - span.start, buffer)
        for written in writer.written(wait=True):
            progress.advance(written)
