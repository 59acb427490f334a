"""Printing the neurons of a run that come first: by an attribute's tau, or by their estimated effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from emoscale.errors import InputError, suggest
from emoscale.run.effects import has_effects, mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import NEURON_COORDINATES, SELECTIVITY

EFFECT, SIZE = "effect", "size"


def top_neurons(folder: RunFolder, by: str, count: int) -> pd.DataFrame:
    """Return the neurons that come first.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished selectivity, and for an order by effect the effects.
    by : str
        ``effect``, the largest estimated loss first; ``size``, the largest estimated effect either way; or an
        attribute, the largest tau first.
    count : int
        How many.

    Returns
    -------
    DataFrame
        ``layer``, ``expert`` where there are any, ``unit``; ``effect``, the estimated change of the outcome if the
        neuron is edited, where effects were estimated; ``attribute`` and ``tau``, of the attribute that was asked for,
        or of the one with the largest tau.

    Raises
    ------
    InputError
        If `by` is neither.
    StageError
        If the selectivity or the effects are missing.
    """
    store = open_finished(folder.selectivity, SELECTIVITY)
    attributes = [str(name) for name in store.read("attribute")]
    if by not in (EFFECT, SIZE, *attributes):
        known = ", ".join([EFFECT, SIZE, *attributes])
        raise InputError(f"--by {by!r}: no attribute of this run{suggest(by, attributes)}; give one of: {known}")
    tau = store.read("tau")
    effects = mean_effects(folder).overall if by in (EFFECT, SIZE) or has_effects(folder) else None
    of_attribute = by in attributes
    if of_attribute or effects is None:
        key = -tau[:, attributes.index(by)]
    else:
        key = effects if by == EFFECT else -np.abs(effects)
    order = np.argsort(key, kind="stable")[:count]  # NaN come last
    order = order[~np.isnan(key[order])]
    table = pd.DataFrame({array.name: store.read(array.name)[order] for array in NEURON_COORDINATES})
    if (table["expert"] < 0).all():
        table = table.drop(columns="expert")
    if effects is not None:
        table["effect"] = effects[order]
    own = np.nan_to_num(tau[order], nan=-np.inf)
    best = np.full(len(order), attributes.index(by)) if of_attribute else own.argmax(axis=1)
    return table.assign(attribute=np.array(attributes, object)[best], tau=tau[order, best])


def show_top(folder: Path, by: str, count: int, console: Console) -> None:
    """Print the neurons that come first; parameters as of `top_neurons`."""
    found = top_neurons(RunFolder(folder), by, count)
    table = Table(*found.columns, box=None, pad_edge=False)
    for row in found.to_dict("records"):
        table.add_row(*(f"{value:+.4f}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table, highlight=False)
