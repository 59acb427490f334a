"""How fast this machine extracts some of a run's rows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from emoscale.commands.stage_times import beside_the_run, rate
from emoscale.extraction.extract import extract
from emoscale.extraction.inputs import Amount
from emoscale.extraction.rows import ROW_SOURCES
from emoscale.extraction.work import Job
from emoscale.pipeline.context import Context
from emoscale.run.folder import RunFolder
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process

_MOST_BYTES = 2 * 10**9
"""The most activations that a measurement writes."""


def why_not_measured(context: Context, name: str) -> str | None:
    """Return why the extraction of the model of this name cannot be measured here; None if it can."""
    if context.settings.machine.split_model == "tensors":
        return "not measured: machine.split_model 'tensors' needs all its processes, and hours are not estimated"
    if not any(context.outline.folder.glob("*.safetensors")):
        return f"not measured: the weights of {name} are not here, and hours are not estimated"
    return None


def measure_throughput(context: Context, amount: Amount, seconds: float) -> dict[str, Any]:
    """Extract some of the inputs into a folder that is then deleted, on the disk of the current one.

    Parameters
    ----------
    context : Context
    amount : Amount
        How much there is to extract.
    seconds : float
        See `rate`.

    Returns
    -------
    dict
        ``device`` by name, ``seconds`` it took, ``rows_a_second``.

    Raises
    ------
    InputError
        If the current folder cannot be written, or the weights cannot be loaded.
    """
    e, most = context.settings.extraction, amount.inputs
    if e.keep == "activations":
        input_bytes = 4 * context.outline.neurons * float(amount.rows_each.mean())
        most = max(e.batch_rows, min(most, int(_MOST_BYTES / input_bytes)))
    spent = time.perf_counter()
    with beside_the_run() as folder:

        def run(count: int) -> tuple[int, float]:
            return _extract_some(context, amount, folder, count)

        rows_a_second = rate(run, e.batch_rows, most, seconds)
    device = context.ranks.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return {"device": name, "seconds": time.perf_counter() - spent, "rows_a_second": rows_a_second}


def _extract_some(context: Context, amount: Amount, folder: Path, count: int) -> tuple[int, float]:
    options = context.settings.extraction
    rows = ROW_SOURCES[options.rows].sample(context, amount, count)
    concepts = sorted({concept for batch in rows.inputs() for concept in batch.concept})
    job = Job(origin={}, concepts=concepts, writers=context.settings.machine.writers)
    start = time.perf_counter()
    done = extract(
        RunFolder(folder / str(count)),
        rows,
        replace(options, reduction_shards=1),
        job=job,
        ranks=one_process(str(context.ranks.device)),
        progress=Silent(),
    )
    return done["rows"], time.perf_counter() - start
