"""Printing neurons of a run: those that come first by an attribute's tau or by their estimated effect, or any one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emoscale.commands.top_options import EFFECT, SIZE, TopOptions
from emoscale.config import load_settings
from emoscale.errors import InputError, suggest
from emoscale.report.browser import first, place_name
from emoscale.report.phrasing import activation
from emoscale.report.responses import Responses, Spell
from emoscale.run.effects import has_effects, mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import NEURON_COORDINATES, SELECTIVITY
from emoscale.store import Store
from emoscale.system.addresses import is_file
from emoscale.system.progress import say

_NUMBERS = ("tau", "p", "q")


def top_neurons(folder: RunFolder, by: str, count: int, *, is_attribute: bool = False) -> pd.DataFrame:
    """Return the neurons that come first.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished selectivity, and for an order by effect the effects.
    by : str
        ``effect``, ``size`` or an attribute, see `TopOptions`.
    count : int
        How many.
    is_attribute : bool
        Whether `by` is an attribute even if it is called as an order is.

    Returns
    -------
    DataFrame
        By the neurons' numbers: ``layer``, ``expert`` where there are any, ``unit``; ``effect``, the estimated change
        of the outcome if the neuron is edited, where effects were estimated; ``attribute``, ``tau``, ``p`` and ``q``,
        of the attribute that was asked for, or of the one with the largest tau.

    Raises
    ------
    InputError
        If `by` is neither.
    StageError
        If the selectivity or the effects are missing.
    """
    store = open_finished(folder.selectivity, SELECTIVITY)
    attributes = [str(name) for name in store.read("attribute")]
    orders = [] if is_attribute else [EFFECT, SIZE]
    if by not in (*orders, *attributes):
        option = "--attribute" if is_attribute else "--by"
        known = ", ".join([*orders, *attributes])
        raise InputError(f"{option} {by!r}: no attribute of this run{suggest(by, attributes)}; give one of: {known}")
    tau = store.read("tau")
    of_effects = by in orders
    effects = mean_effects(folder).overall if of_effects or has_effects(folder) else None
    if of_effects and effects is not None:
        order = first(effects if by == EFFECT else -np.abs(effects), count)
        best = np.nan_to_num(tau[order], nan=-np.inf).argmax(axis=1)
    else:
        place = attributes.index(by)
        order = first(-tau[:, place], count)
        best = np.full(len(order), place)
    table = _places(store, order)
    if effects is not None:
        table["effect"] = effects[order]
    table["attribute"] = np.array(attributes, object)[best]
    return table.assign(**{name: store.read(name)[order, best] for name in _NUMBERS})


def one_neuron(folder: RunFolder, place: str) -> pd.DataFrame:
    """Return the numbers of the neuron at a place.

    Parameters
    ----------
    folder : RunFolder
    place : str
        ``LAYER:UNIT``, or ``LAYER:EXPERT:UNIT``.

    Returns
    -------
    DataFrame
        A row for each attribute, the largest tau first, with columns as of `top_neurons`.

    Raises
    ------
    InputError
        If there is no such neuron.
    """
    store = open_finished(folder.selectivity, SELECTIVITY)
    places = [store.read(array.name) for array in NEURON_COORDINATES]
    has_experts = bool((places[1] >= 0).any())
    form = "LAYER:EXPERT:UNIT" if has_experts else "LAYER:UNIT"
    parts = place.split(":")
    if len(parts) != len(form.split(":")) or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"--neuron {place!r}: not a place; give {form}, e.g. {'3:0:512' if has_experts else '3:512'}")
    wanted = [int(part) for part in parts] if has_experts else [int(parts[0]), -1, int(parts[1])]
    found = np.flatnonzero(np.all([own == value for own, value in zip(places, wanted, strict=True)], axis=0))
    if not len(found):
        layers = f"layers {places[0].min()} to {places[0].max()}"
        own = places[2][places[0] == wanted[0]]
        units = f", units 0 to {own.max()} in layer {wanted[0]}" if len(own) else ""
        raise InputError(f"--neuron {place!r}: no such neuron; this run has {layers}{units}")
    attributes = [str(name) for name in store.read("attribute")]
    table = _places(store, np.repeat(found[:1], len(attributes)))
    if has_effects(folder):
        table["effect"] = mean_effects(folder).overall[found[0]]
    one = slice(int(found[0]), int(found[0]) + 1)
    table["attribute"] = attributes
    table = table.assign(**{name: store.read(name, neuron=one)[0] for name in _NUMBERS})
    return table.sort_values("tau", ascending=False, kind="stable")


def _places(store: Store, neurons: NDArray[np.integer]) -> pd.DataFrame:
    table = pd.DataFrame({array.name: store.read(array.name)[neurons] for array in NEURON_COORDINATES}, index=neurons)
    return table.drop(columns="expert") if (table["expert"] < 0).all() else table


def show_top(folder: Path, options: TopOptions, console: Console) -> None:
    """Print neurons and what they are most and least active in.

    Raises
    ------
    InputError
        If the options name an attribute or a neuron that the run does not have.
    StageError
        If the selectivity or the effects are missing.
    """
    run = RunFolder(folder)
    if not is_file(run.manifest_file):
        raise InputError(f"{folder}: not a run folder; give a folder that emoscale run wrote")
    if options.neuron is not None:
        found = one_neuron(run, options.neuron)
    elif options.attribute is not None:
        found = top_neurons(run, options.attribute, options.count, is_attribute=True)
    else:
        found = top_neurons(run, options.by, options.count)
    table = Table(*found.columns, box=None, pad_edge=False)
    for row in found.to_dict("records"):
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    console.print(table, highlight=False)
    if options.texts and len(found):
        _show_responses(run, found[~found.index.duplicated()], options.texts, console)


def _cell(name: Any, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if name in ("p", "q") else f"{value:+.4f}"
    return escape(str(value))


def _show_responses(run: RunFolder, found: pd.DataFrame, texts: int, console: Console) -> None:
    spell = _speller(run, console)
    responses = Responses(run, found.index.to_numpy(), spell, texts)
    for neuron, row in found.iterrows():
        own = responses.of(int(str(neuron)))
        name = place_name(int(row["layer"]), int(row.get("expert", -1)), int(row["unit"]))
        for end, pairs, rows in (("most", own["most"], own["highest"]), ("least", own["least"], own["lowest"])):
            if not pairs and not rows:
                continue
            means = ", ".join(f"{concept} {activation(value)}" for concept, value in pairs)
            _line(console, f"{name} {end} active: {means or 'mean over concepts unknown'}")
            for one in rows:
                text = "".join(piece for _, piece in one["pieces"]).strip() or f"replicate {one['replicate']}"
                _line(console, f"    {activation(one['value'])} {one['concept']}: {' '.join(text.split())}")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _speller(run: RunFolder, console: Console) -> Spell | None:
    """Return what writes token ids as text; where the model is not here, say so and go on without."""
    if not (run.inputs.exists() and run.config.is_file()):
        return None
    from emoscale.models.token_texts import read_speller  # takes seconds

    try:
        return read_speller(load_settings(run.config).model)
    except (InputError, OSError, ValueError) as error:
        reason = error.problems[0] if isinstance(error, InputError) else " ".join(str(error).split())
        say(console, f"texts are not shown, since the model's tokenizer cannot be read ({reason})")
        return None
