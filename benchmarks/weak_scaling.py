"""What binds an extraction from a 70B model over 10^9 tokens on 1 to 512 GPUs, on paper?

A model of the shape of Llama 3.1 70B (80 layers of 28,672 neurons, 70.6 billion parameters), texts of 200 tokens. The
rates are given, not measured: how fast a GPU (or the GPUs that hold one copy of the model, by their number) is in
forward passes, how fast values leave it, and how fast all write to the shared file system. One row a text, one a token,
and only the moments of every token are compared. `emoscale plan CONFIG --ranks N --tflops ... --link ... --disk ...`
tells the same of a config.

    python -m benchmarks.weak_scaling [--tokens N] [--ranks N] [--tflops N] [--link GB] [--disk GB] [--json FILE]
"""

from __future__ import annotations

from benchmarks.common import arguments, tell
from emoscale.commands.scaling import Extraction, Rates, scale
from emoscale.extraction.cutting import cut_store
from emoscale.extraction.options import ExtractionOptions

LAYERS, WIDTH, PARAMETERS = 80, 28_672, 70_553_706_496
TOKENS_A_TEXT, BYTES = 200, 2
CELLS, BYTES_A_MOMENT = 27, 24
"""Concepts whose moments are kept, and the bytes of a neuron's count, mean and spread for one of them."""


def main() -> None:
    """Tell hours and what binds, for each kind of rows."""
    options = arguments(__doc__ or "", tokens=1_000_000_000, ranks=512, tflops=400.0, link=25.0, disk=20.0)
    rates = Rates(options.tflops * 1e12, options.link * 1e9, options.disk * 1e9)
    numbers: dict[str, float | str] = {"tokens": options.tokens, "neurons": LAYERS * WIDTH}
    for kind, rows in (
        ("text", options.tokens // TOKENS_A_TEXT),
        ("token", options.tokens),
        ("moments", options.tokens),
    ):
        work = extraction(kind, rows, options.tokens)
        numbers[f"{kind}, TB written"] = work.written / 1e12
        for one in scale(work, rates, options.ranks):
            numbers[f"{kind}, {one.ranks} ranks, hours"] = one.total / 3600
            numbers[f"{kind}, {one.ranks} ranks, binds"] = one.binds
    tell("70B on paper", numbers, options.json)


def extraction(kind: str, rows: int, tokens: int) -> Extraction:
    """Return what an extraction does, with the blocks that a run would have."""
    options = ExtractionOptions(dtype="bfloat16")
    cut = cut_store(options, rows, [WIDTH] * LAYERS)
    shards = cut.shards(options, rows) if kind == "moments" else cut.blocks(rows)
    written = (
        float(shards * CELLS * BYTES_A_MOMENT * LAYERS * WIDTH)
        if kind == "moments"
        else float(rows) * LAYERS * WIDTH * BYTES
    )
    return Extraction(
        rows=rows,
        busiest_rows=lambda ranks: cut.busiest_rows(rows, shards, ranks),
        seconds_a_row=None,
        operations=2.0 * PARAMETERS * tokens,
        copied=written,
        written=written,
    )


if __name__ == "__main__":
    main()
