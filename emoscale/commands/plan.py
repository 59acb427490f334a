"""What a run will cost, before it starts: rows, disk, memory, and, from a probe on this machine, hours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from huggingface_hub import snapshot_download
from rich.console import Console
from rich.table import Table

from emoscale.commands.throughput import Amount, count_rows, no_probe, try_extracting
from emoscale.config import Settings
from emoscale.errors import InputError
from emoscale.models.outline import ModelOutline
from emoscale.pipeline.context import Context
from emoscale.schema import ACTIVATIONS, INPUTS, MOMENT_PARTS, MOMENTS, StoreSchema
from emoscale.store import COORDINATE_CHUNK
from emoscale.system.ranks import join

_STR_BYTES = 16
"""Of a concept's name in a store, about."""
_CHECKSUM_BYTES = 4
_INPUT_CHUNK_TOKENS = 2**18
_WITHOUT_WEIGHTS = ["*.json", "*.txt", "*.model", "*.py"]


@dataclass(frozen=True)
class Plan:
    """What an extraction will cost.

    Attributes
    ----------
    model : dict
        ``layers``, ``neurons``, ``parameters``.
    rows : dict
        ``inputs``, ``tokens``, ``rows``, ``tokens_an_input``; and ``estimated``: the names of those that stand on a
        sample of the texts.
    disk : dict
        Bytes by store, ``files`` (chunks and metadata), and ``temporary``: bytes that are freed at the end.
    memory : dict
        Bytes of each rank: ``weights`` and ``batch`` on its device, ``blocks`` in the machine's memory.
    probe : dict or None
        ``device``, ``seconds``, ``rows_a_second``.
    hours : dict
        Of stages, on ``ranks`` devices.
    ranks : int
    notes : list of str
        What the numbers leave out, and why.
    """

    model: dict[str, int]
    rows: dict[str, Any]
    disk: dict[str, int]
    memory: dict[str, int]
    probe: dict[str, Any] | None
    hours: dict[str, float]
    ranks: int
    notes: list[str] = field(default_factory=list)


def make_plan(settings: Settings, *, probe_seconds: float = 30, ranks: int = 1) -> Plan:
    """Plan a run without doing any of it.

    Parameters
    ----------
    settings : Settings
        The weights of a model on the hub are not fetched.
    probe_seconds : float
        How long to try the extraction on the run's own rows; 0 for not at all.
    ranks : int
        Processes, each with a device like this one.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If the settings cannot be used.
    """
    context = Context(_without_weights(settings), join(settings.machine.device, settings.machine.threads))
    amount = count_rows(context)
    parameters = context.outline.parameters
    notes = ["tune, select and the stages after it are not estimated"]
    tried = None
    if probe_seconds > 0:
        if reason := no_probe(context, settings.model.name):
            notes.append(reason)
        else:
            tried = try_extracting(context, amount, probe_seconds)
    hours = {}
    if tried:
        hours["extract"] = amount.rows / tried["rows_a_second"] / ranks / 3600
        if ranks > 1:
            notes.append(f"hours are this device's divided by {ranks}: each rank is taken to have one like it")
    return Plan(
        {"layers": len(context.outline.sites), "neurons": context.outline.neurons, "parameters": parameters},
        _told_rows(settings, amount),
        _disk(settings, context.outline, amount, ranks),
        _memory(settings, context.outline, amount, parameters, ranks),
        tried,
        hours,
        ranks,
        notes,
    )


def _without_weights(settings: Settings) -> Settings:
    """Return settings that name a folder where they name a model on the hub, fetched but for its weights."""
    name = settings.model.name
    if name.startswith(("package:", ".", "/", "~")) or Path(name).exists() or name.count("/") > 1:
        return settings
    try:
        folder = snapshot_download(name, revision=settings.model.revision, allow_patterns=_WITHOUT_WEIGHTS)
    except Exception as error:  # the hub client raises some twenty kinds
        raise InputError(
            f"model.name {name!r}: no such folder, and its configuration is not to be had from the hub "
            f"({type(error).__name__}); give a local folder or a hub name"
        ) from error
    return replace(settings, model=replace(settings.model, name=str(folder)))


def _told_rows(settings: Settings, amount: Amount) -> dict[str, Any]:
    is_sample = len(amount.lengths) < amount.inputs
    guessed = ["tokens", "tokens_an_input", *(["rows"] if settings.extraction.rows == "tokens" else [])]
    return {
        "inputs": amount.inputs,
        "tokens": amount.tokens,
        "tokens_an_input": float(amount.lengths.mean()),
        "rows": amount.rows,
        "estimated": guessed if is_sample else [],
    }


def _disk(settings: Settings, outline: ModelOutline, amount: Amount, ranks: int) -> dict[str, int]:
    e = settings.extraction
    sizes = {
        "observation": amount.rows,
        "neuron": outline.neurons,
        "token": amount.tokens,
        "input": amount.inputs,
        "cell": amount.cells,
        "part": min(e.parts, math.ceil(amount.rows / e.block_rows)),
    }
    chunks = {"observation": e.block_rows, "neuron": _chunk_neurons(settings, outline, ranks)}
    chunks |= {"token": _INPUT_CHUNK_TOKENS, "part": 1}
    told, token_ids = _store_size(INPUTS, sizes, chunks, {}), 4 * amount.tokens
    disk = {"inputs.zarr": told[0]}
    if e.keep == "moments":
        stored, temporary = _store_size(MOMENTS, sizes, chunks, {}), _store_size(MOMENT_PARTS, sizes, chunks, {})[0]
        disk["moments.zarr"] = stored[0]
    else:
        stored, temporary = _store_size(ACTIVATIONS, sizes, chunks, {"activations": e.dtype}), 0
        disk["activations.zarr"] = stored[0]
    return {**disk, "temporary": temporary + token_ids, "files": told[1] + stored[1]}


def _chunk_neurons(settings: Settings, outline: ModelOutline, ranks: int) -> int:
    most = settings.extraction.chunk_neurons
    if settings.machine.split_model != "tensors" or ranks == 1:
        return most
    # Each rank writes whole chunks of its part of every layer.
    shared = math.gcd(*(site.width // ranks for site in outline.sites))
    return max(size for size in range(1, min(most, shared) + 1) if shared % size == 0)


def _store_size(
    schema: StoreSchema, sizes: Mapping[str, int], chunks: Mapping[str, int], dtypes: Mapping[str, str]
) -> tuple[int, int]:
    """Return the bytes of a store's chunks, which are stored whole, and its number of files."""
    total, files = 0, 1
    for array in schema.arrays:
        cut = chunks if array in schema.data else dict.fromkeys(array.dims, COORDINATE_CHUNK)
        shape = [(sizes[dim], max(1, min(cut.get(dim, sizes[dim]), sizes[dim]))) for dim in array.dims]
        count = math.prod(math.ceil(size / chunk) for size, chunk in shape)
        total += count * (math.prod(chunk for _, chunk in shape) * _item_bytes(dtypes.get(array.name, array.dtype)))
        total += count * _CHECKSUM_BYTES
        files += count + 1
    return total, files


def _item_bytes(dtype: str) -> int:
    return {"str": _STR_BYTES, "bfloat16": 2}.get(dtype) or np.dtype(dtype).itemsize


def _memory(settings: Settings, outline: ModelOutline, amount: Amount, parameters: int, ranks: int) -> dict[str, int]:
    e, machine = settings.extraction, settings.machine
    parts = ranks if machine.split_model == "tensors" else 1
    neurons = outline.neurons // parts
    weights = parameters * _item_bytes(settings.model.dtype) // parts
    rows_read = e.batch_rows * int(amount.rows_each.max())
    is_moments = e.keep == "moments"
    # While the threads write a block each, one is filled.
    blocks = (2 if is_moments else machine.writers + 1) * e.block_rows * neurons * (2 if e.dtype == "float16" else 4)
    if is_moments:
        blocks += amount.cells * neurons * 3 * 8
    select = machine.memory_limit or psutil.virtual_memory().available // 4
    return {
        "weights": weights,
        # What is read of each layer, and then all of it side by side.
        "batch": 2 * rows_read * neurons * _item_bytes(settings.model.dtype),
        "blocks": blocks,
        "select": select,
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
    for name, value, remark in [*_told_work(plan), *_told_costs(plan)]:
        table.add_row(name, value, remark)
    console.print(table, highlight=False)
    for note in plan.notes:
        console.print(note, style="dim", highlight=False, markup=False)


def _told_work(plan: Plan) -> list[tuple[str, str, str]]:
    rows, about = plan.rows, dict.fromkeys(plan.rows["estimated"], "about ")
    return [
        ("model", f"{plan.model['parameters']:,}", "parameters"),
        ("neurons", f"{plan.model['neurons']:,}", f"in {plan.model['layers']} layers"),
        ("inputs", f"{rows['inputs']:,}", f"of {about.get('tokens', '')}{rows['tokens_an_input']:.1f} tokens each"),
        ("rows", f"{about.get('rows', '')}{rows['rows']:,}", "of activations"),
    ]


def _told_costs(plan: Plan) -> list[tuple[str, str, str]]:
    disk, memory = plan.disk, plan.memory
    costs = [
        (name, _size(size), "on disk" if name != "temporary" else "on disk as well, until the end")
        for name, size in disk.items()
        if name != "files"
    ]
    costs += [
        ("files", f"{disk['files']:,}", "on disk"),
        ("weights", _size(memory["weights"]), "memory of each rank's device or devices"),
        ("batch", _size(memory["batch"]), "on the device as well, besides what the forward pass itself needs"),
        ("row blocks", _size(memory["blocks"]), "memory of each rank's host"),
        ("selectivity", _size(memory["select"]), "memory of the process that selects (machine.memory_limit)"),
    ]
    if plan.probe:
        speed = f"{plan.probe['rows_a_second']:,.0f}"
        costs.append(("rows a second", speed, f"on {plan.probe['device']}, {plan.probe['seconds']:.0f} s tried"))
    costs += [(f"hours to {name}", f"{hours:,.2f}", _on(plan)) for name, hours in plan.hours.items()]
    return costs


def _on(plan: Plan) -> str:
    return "on one rank" if plan.ranks == 1 else f"on {plan.ranks} ranks"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
