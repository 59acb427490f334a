"""What a run will cost, before it starts: rows, disk, memory, and, measured on this machine, hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

from emoscale.commands.permutation_times import permutation_seconds
from emoscale.commands.scaling import Extraction, Rates, Scaled, scale
from emoscale.commands.stage_times import selection_seconds, task_seconds, tuning_seconds
from emoscale.commands.throughput import measure_throughput, why_not_measured
from emoscale.commands.without_weights import without_weights
from emoscale.config import Settings
from emoscale.extraction.cutting import Cut, cut_store
from emoscale.extraction.inputs import Amount
from emoscale.extraction.pooling import POOLINGS
from emoscale.extraction.rows import ROW_SOURCES
from emoscale.extraction.sequences import CHUNK_TOKENS
from emoscale.extraction.sinks import host_bytes
from emoscale.masks.options import AUTO
from emoscale.models.outline import ModelOutline
from emoscale.pipeline.cautions import cautions_of
from emoscale.pipeline.context import Context
from emoscale.pipeline.stages import STAGES
from emoscale.schema import ACTIVATIONS, INPUTS, MOMENT_SHARDS, MOMENTS
from emoscale.store import store_size
from emoscale.system.progress import duration
from emoscale.system.ranks import join

_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class Plan:
    """What a run will cost.

    Attributes
    ----------
    model : dict
        ``layers``, ``neurons``, ``parameters``.
    rows : dict
        ``inputs``, ``tokens``, ``rows``, ``tokens_an_input``; and ``estimated``: the names of those that are estimated
        from a sample of the texts.
    disk : dict
        Bytes by store, ``files`` (chunks and metadata), and ``temporary``: bytes that are freed at the end.
    memory : dict
        Bytes of each rank: ``weights`` and ``batch`` on its device, ``blocks`` in the machine's memory.
    throughput : dict or None
        ``device``, ``seconds``, ``rows_a_second``; None if it was not measured.
    hours : dict
        Of stages, on ``ranks`` devices.
    ranks : int
    scaling : list of Scaled
        The extraction on 1, 8, 64, ... and that many ranks; empty unless rates were given.
    notes : list of str
        What the numbers do not include, and why.
    """

    model: dict[str, int]
    rows: dict[str, Any]
    disk: dict[str, int]
    memory: dict[str, int]
    throughput: dict[str, Any] | None
    hours: dict[str, float]
    ranks: int
    scaling: list[Scaled] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_plan(settings: Settings, *, measure_seconds: float, ranks: int = 1, rates: Rates | None = None) -> Plan:
    """Plan a run without doing any of it.

    Parameters
    ----------
    settings : Settings
        The weights of a model on the hub are not fetched.
    measure_seconds : float
        How long to measure each of tuning, extraction, selectivity, attribution and ablation on the run's own work; 0
        to skip it.
    ranks : int
        Processes, each with a device like this one.
    rates : Rates, optional
        Of other machines.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If the settings cannot be used.
    """
    context = Context(without_weights(settings), join(settings.machine.device, settings.machine.threads))
    amount = ROW_SOURCES[settings.extraction.rows].count(context)
    notes, throughput, hours = list(context.outline.notes), None, {}
    if measure_seconds > 0:
        if reason := why_not_measured(context, settings.model.name):
            notes.append(reason)
        else:
            throughput = measure_throughput(context, amount, measure_seconds)
            notes += [note for note in context.outline.notes if note not in notes]  # now that the model was tried
            hours = _hours(context, amount, throughput["rows_a_second"], measure_seconds, ranks)
            left = [name for name in ("mask", "analyze", "report") if name not in hours]
            notes.append(f"{_listed(left)} are not measured; together they take seconds to a minute")
            if settings.masks.draws == AUTO:
                notes.append("masks.draws auto: time to ablate is with masks.most_draws, and may be much less")
        if hours and ranks > 1:
            notes.append(
                f"hours are this device's divided by {ranks} (to extract: those of the rank with the most blocks), "
                "assuming that each rank has one like it"
            )
    if (shares := _shares(context, amount, ranks)) < ranks:
        setting = "reduction_shards to more" if settings.extraction.keep == "moments" else "block_rows to fewer"
        notes.append(f"{ranks - shares} of {ranks} ranks have nothing to extract; set extraction.{setting}")
    notes += [f"warning: {caution}" for caution in cautions_of(context)]
    return Plan(
        {
            "layers": len(context.outline.sites),
            "neurons": context.outline.neurons,
            "parameters": context.outline.parameters,
        },
        _row_numbers(amount, POOLINGS[context.pooling].each),
        _disk(settings, context.outline, amount, ranks),
        _memory(settings, context.outline, amount, ranks),
        throughput,
        hours,
        ranks,
        _scaling(context, amount, throughput, rates, ranks) if rates else [],
        notes,
    )


def _scaling(
    context: Context, amount: Amount, throughput: dict[str, Any] | None, rates: Rates, ranks: int
) -> list[Scaled]:
    settings, outline = context.settings, context.outline
    disk = _disk(settings, outline, amount, ranks)
    written = sum(disk[name] for name in ("activations.zarr", "moments.zarr", "temporary") if name in disk)
    # Moments are reduced on the device: what is copied of them is what is written.
    each = outline.neurons * getattr(torch, settings.model.dtype).itemsize
    copied = amount.rows * each if settings.extraction.keep == "activations" else written
    work = Extraction(
        rows=amount.rows,
        busiest_rows=lambda number: _busiest_rows(context, amount, number),
        seconds_a_row=1 / throughput["rows_a_second"] if throughput else None,
        operations=2.0 * outline.parameters * amount.tokens,
        copied=copied,
        written=written,
    )
    return scale(work, rates, ranks)


def _hours(context: Context, amount: Amount, rate: float, seconds: float, ranks: int) -> dict[str, float]:
    """Estimate the hours of the stages that take long, in order; those that run the model are shared by the ranks."""
    needed = {need for stage in STAGES.values() for need in stage.needs(context.settings)}
    work = {
        **({"tune": tuning_seconds(context, seconds) / ranks} if "tune" in needed else {}),
        "extract": _busiest_rows(context, amount, ranks) / rate,
        "select": selection_seconds(context, amount, seconds),
        **permutation_seconds(context, amount, seconds),
        **{stage: spent / ranks for stage, spent in task_seconds(context, seconds).items()},
    }
    return {stage: work[stage] / 3600 for stage in STAGES if stage in work}


def _busiest_rows(context: Context, amount: Amount, ranks: int) -> int:
    cut = _cut(context.settings, context.outline, amount, ranks)
    return cut.busiest_rows(amount.rows, _shares(context, amount, ranks), ranks)


def _shares(context: Context, amount: Amount, ranks: int) -> int:
    """Return how many pieces of work an extraction can be divided into."""
    e, cut = context.settings.extraction, _cut(context.settings, context.outline, amount, ranks)
    return cut.shards(e, amount.rows) if e.keep == "moments" else cut.blocks(amount.rows)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _row_numbers(amount: Amount, each: bool) -> dict[str, Any]:
    estimated = ["tokens", "tokens_an_input", *(["rows"] if each else [])]
    return {
        "inputs": amount.inputs,
        "tokens": amount.tokens,
        "tokens_an_input": float(amount.lengths.mean()),
        "rows": amount.rows,
        "estimated": estimated if amount.is_sample else [],
    }


def _cut(settings: Settings, outline: ModelOutline, amount: Amount, ranks: int) -> Cut:
    widths = [site.width for site in outline.sites]
    return cut_store(settings.extraction, amount.rows, widths, _tp_size(settings, ranks))


def _disk(settings: Settings, outline: ModelOutline, amount: Amount, ranks: int) -> dict[str, int]:
    e, cut = settings.extraction, _cut(settings, outline, amount, ranks)
    sizes = {
        "observation": amount.rows,
        "neuron": outline.neurons,
        "token": amount.tokens,
        "input": amount.inputs,
        "cell": amount.cells,
        "shard": cut.shards(e, amount.rows),
    }
    chunks = {"observation": cut.chunk_rows, "neuron": cut.chunk_neurons, "token": CHUNK_TOKENS, "shard": 1}
    sized = partial(store_size, sizes=sizes, chunks=chunks)
    inputs, token_ids = sized(INPUTS), 4 * amount.tokens
    disk = {"inputs.zarr": inputs.bytes}
    if e.keep == "moments":
        files = {"neuron": cut.file_of_moments(amount.cells)}
        stored, temporary = sized(MOMENTS, files=files), sized(MOMENT_SHARDS, files=files).bytes
        disk["moments.zarr"] = stored.bytes
    else:
        files = {"observation": cut.block_rows, "neuron": cut.file_neurons}
        stored, temporary = sized(ACTIVATIONS, files=files, dtypes={"activations": e.dtype}), 0
        disk["activations.zarr"] = stored.bytes
    return {
        **disk,
        "temporary": temporary + token_ids,
        "files": inputs.files + stored.files,
        "largest_folder": max(inputs.largest_folder, stored.largest_folder),
    }


def _tp_size(settings: Settings, ranks: int) -> int:
    return ranks if settings.machine.split_model == "tensors" else 1


def _memory(settings: Settings, outline: ModelOutline, amount: Amount, ranks: int) -> dict[str, int]:
    e, machine, tp_size = settings.extraction, settings.machine, _tp_size(settings, ranks)
    neurons = outline.neurons // tp_size
    itemsize: int = getattr(torch, settings.model.dtype).itemsize
    return {
        "weights": outline.parameters * itemsize // tp_size,
        # The rows of each layer, and then all of them side by side.
        "batch": 2 * e.batch_rows * int(amount.rows_each.max()) * neurons * itemsize,
        "blocks": host_bytes(
            e, _cut(settings, outline, amount, ranks).block_rows, machine.writers, amount.cells, neurons
        ),
        "select": machine.memory_limit or psutil.virtual_memory().available // 4,
    }


def plan_numbers(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain JSON values."""
    return asdict(plan)


def show_plan(plan: Plan, console: Console) -> None:
    """Print a plan.

    Parameters
    ----------
    plan : Plan
    console : Console
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for name, value, remark in [*_work_lines(plan), *_cost_lines(plan)]:
        table.add_row(name, value, remark)
    console.print(table, highlight=False)
    if plan.scaling:
        console.print(_scaling_table(plan.scaling), highlight=False)
    for note in plan.notes:
        console.print(note, style="dim", highlight=False, markup=False)


def _scaling_table(scaling: list[Scaled]) -> Table:
    table = Table(box=None, pad_edge=False, title="Extraction on more ranks", title_justify="left")
    for name in ("ranks", *scaling[0].seconds, "in all"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what binds")
    for one in scaling:
        table.add_row(f"{one.ranks:,}", *map(duration, one.seconds.values()), duration(one.total), one.binds)
    return table


def _work_lines(plan: Plan) -> list[tuple[str, str, str]]:
    rows, about = plan.rows, dict.fromkeys(plan.rows["estimated"], "about ")
    return [
        ("model", f"{plan.model['parameters']:,}", "parameters"),
        ("neurons", f"{plan.model['neurons']:,}", f"in {plan.model['layers']} layers"),
        ("inputs", f"{rows['inputs']:,}", f"of {about.get('tokens', '')}{rows['tokens_an_input']:.1f} tokens each"),
        ("rows", f"{about.get('rows', '')}{rows['rows']:,}", "of activations"),
    ]


def _cost_lines(plan: Plan) -> list[tuple[str, str, str]]:
    disk, memory = plan.disk, plan.memory
    costs = [
        (name, _size(size), "on disk" if name != "temporary" else "on disk as well, until the end")
        for name, size in disk.items()
        if name not in ("files", "largest_folder")
    ]
    costs += [
        ("files", f"{disk['files']:,}", f"on disk, at most {disk['largest_folder']:,} in a folder"),
        ("weights", _size(memory["weights"]), "memory of each rank's device or devices"),
        ("batch", _size(memory["batch"]), "on the device as well, besides what the forward pass itself needs"),
        ("row blocks", _size(memory["blocks"]), "memory of each rank's host"),
        ("selectivity", _size(memory["select"]), "memory of the process that selects (machine.memory_limit)"),
    ]
    if plan.throughput:
        speed = f"{plan.throughput['rows_a_second']:,.0f}"
        costs.append(
            ("rows a second", speed, f"on {plan.throughput['device']}, {plan.throughput['seconds']:.0f} s measured")
        )
    costs += [(f"time to {name}", duration(3600 * hours), _on(plan)) for name, hours in plan.hours.items()]
    if plan.hours:
        costs.append(("time in all", duration(3600 * sum(plan.hours.values())), "but for what is not measured"))
    return costs


def _on(plan: Plan) -> str:
    return "on one rank" if plan.ranks == 1 else f"on {plan.ranks} ranks"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
