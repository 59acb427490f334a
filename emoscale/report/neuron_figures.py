"""Figures (a): where the selective neurons are, and whether attributes share them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from numpy.typing import NDArray

from emoscale.report.findings import Findings
from emoscale.report.phrasing import count, listing, threshold
from emoscale.report.style import (
    MOST_NUMBERS,
    Drawing,
    colour_bar,
    diverging,
    figure,
    name_both_sides,
    new_figure,
    row_height,
    sequential,
    square_figure,
    write_cells,
)

_COLUMNS = 600
"""Most columns of a map over neurons; more would be narrower than a dot of the printed figure."""


@figure("a1_selective_neurons")
def tau_map(findings: Findings) -> Drawing:
    """Draw tau: attributes down, neurons across, grouped by layer; in colour where it is significant."""
    store = findings.selectivity
    layer = store.read("layer")
    tau = np.nan_to_num(store.read("tau"), nan=-np.inf)
    # NaN compares false: neurons that were not tested stay blank.
    significant = np.where(store.read("q") < findings.alpha, tau, -np.inf)
    order = np.argsort(layer, kind="stable")
    layers, sizes = np.unique(layer, return_counts=True)
    starts = _column_starts(sizes)
    attributes, per_column = findings.attributes, -(-len(layer) // len(starts))
    any_best, best = (np.maximum.reduceat(values[order], starts, axis=0).T for values in (tau, significant))

    canvas = new_figure(row_height(len(attributes), 0.2, 1.0))
    axes = canvas.subplots()
    top = float(any_best.max(initial=0.0, where=np.isfinite(any_best))) or 1.0
    extent = (0, len(starts), len(attributes), 0)
    grey = np.ma.masked_invalid(any_best)
    low = float(grey.min()) if grey.count() else 0.0
    faint = Normalize(low, low + 2 * max(top - low, 1e-6))
    axes.imshow(grey, aspect="auto", interpolation="nearest", cmap="Greys", norm=faint, extent=extent)
    image = axes.imshow(
        np.ma.masked_invalid(best),
        aspect="auto",
        interpolation="nearest",
        cmap=sequential().with_extremes(bad=(0, 0, 0, 0)),
        norm=Normalize(0, top),
        extent=extent,
    )
    edges = np.searchsorted(starts, np.concatenate([[0], np.cumsum(sizes)]))
    for edge in edges[1:-1]:
        axes.axvline(edge, color="white", linewidth=1.2)
    _label_layers(axes, layers, (edges[:-1] + edges[1:]) / 2)
    axes.set_yticks(np.arange(len(attributes)) + 0.5, attributes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Layer (from 0), its neurons side by side")
    colour_bar(canvas, image, axes, "Kendall’s τ")

    share = findings.selective_neurons / findings.neurons
    many = f"the strongest of up to {per_column} neighbours" if per_column > 1 else "one neuron"
    return Drawing(
        canvas,
        "Neurons that follow an attribute.",
        f"Each row is an attribute, each column {many}, from the model’s first layer on the left to its last on the "
        f"right. Colour is how well the neuron’s differences between concepts follow people’s differences on that "
        f"attribute (Kendall’s τ; darker is better); grey where it is not significant (q ≥ "
        f"{threshold(findings.alpha)}). Look for layers with more colour than others and for rows that have hardly "
        f"any.",
        f"Map of {len(attributes)} attributes by {findings.neurons:,} neurons in {count(len(layers), 'layer')}; "
        f"{share:.0%} of the neurons are significant for at least one attribute.",
    )


def _column_starts(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    total = int(sizes.sum())
    starts, first = [], 0
    for size in sizes.tolist():
        columns = min(size, max(1, round(_COLUMNS * size / total)))
        starts.append(first + np.arange(columns) * size // columns)
        first += size
    return np.concatenate(starts)


def _label_layers(axes: Axes, layers: NDArray[np.integer], centres: NDArray[Any]) -> None:
    every = -(-len(layers) // 24)
    axes.set_xticks(centres[::every], layers[::every])


@figure("a2_counts_by_layer")
def counts_by_layer(findings: Findings) -> Drawing:
    """Draw how many neurons of each layer are significant for each attribute."""
    counts = findings.table("significant").pivot_table("neurons", "attribute", "layer").reindex(findings.attributes)
    cells = counts.to_numpy().astype(int)
    layers = counts.columns.to_numpy()
    canvas = new_figure(row_height(len(counts), 0.22, 1.0))
    axes = canvas.subplots()
    most = max(int(cells.max()), 2)  # a bar of colours needs two
    image = axes.imshow(
        np.ma.masked_equal(cells, 0), aspect="auto", interpolation="nearest", cmap=sequential(), norm=Normalize(1, most)
    )
    if len(layers) <= MOST_NUMBERS:
        write_cells(axes, [[f"{value:,}" for value in row] for row in cells], cells > 0.36 * most)
    _label_layers(axes, layers, np.arange(len(layers)))
    axes.set_yticks(range(len(counts)), counts.index)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Layer (from 0)")
    colour_bar(canvas, image, axes, "Significant neurons")

    busiest = f"Layer {layers[cells.sum(axis=0).argmax()]} has the most." if cells.any() else "There is none."
    return Drawing(
        canvas,
        "How many, and in which layer.",
        f"Number of neurons whose τ is significant (q < {threshold(findings.alpha)}), by layer and attribute. A neuron "
        f"can count for several attributes. {busiest}",
        f"Table of counts, {len(counts)} attributes by {count(len(layers), 'layer')}, darker where more.",
    )


@figure("a3_rank_map")
def rank_map(findings: Findings) -> Drawing:
    """Draw, for the best neurons of each attribute in turn, which other attributes have them among their best."""
    k, attributes = findings.k, findings.attributes
    order = np.argsort(findings.selectivity.read("rank"), axis=0, kind="stable")[:k]
    member = np.zeros((findings.neurons, len(attributes)), np.float32)
    np.put_along_axis(member, order, 1, axis=0)
    columns = min(k, max(1, _COLUMNS // len(attributes)))
    starts = np.arange(columns) * k // columns
    # (attribute whose neurons they are, bin, attribute that has them too): the share of each bin
    shares = np.add.reduceat(member[order.T], starts, axis=1) / np.diff(starts, append=k)[None, :, None]
    cells = shares.reshape(-1, len(attributes)).T

    canvas = new_figure(row_height(len(attributes), 0.2, 1.6))
    axes = canvas.subplots()
    image = axes.imshow(
        cells,
        aspect="auto",
        interpolation="nearest",
        cmap=sequential(),
        norm=Normalize(1e-9, 1),
        extent=(0, len(cells[0]), len(attributes), 0),
    )
    for edge in range(1, len(attributes)):
        axes.axvline(edge * columns, color="white", linewidth=1)
    axes.set_xticks((np.arange(len(attributes)) + 0.5) * columns, attributes, rotation=45, ha="right")
    axes.set_yticks(np.arange(len(attributes)) + 0.5, attributes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"The {k:,} best neurons of each attribute, best on the left")
    colour_bar(canvas, image, axes, "Share among the row’s best")
    return Drawing(
        canvas,
        "Do attributes have neurons of their own?",
        f"From left to right, the {k:,} most selective neurons of each attribute in turn. A row is coloured where "
        f"these neurons are also among its own {k:,} best (its own block is therefore dark throughout). If every "
        f"attribute had neurons of its own, only the diagonal would be dark. Two random sets would share "
        f"{k / findings.neurons:.0%} of their neurons.",
        f"Map with a dark diagonal of {len(attributes)} blocks and paler blocks where two attributes share neurons.",
    )


@figure("a4_overlap")
def overlap_matrix(findings: Findings) -> Drawing | None:
    """Draw the overlap of every two attributes' best neurons, in multiples of chance."""
    rows = findings.at_k("overlap")
    if rows.empty:
        return None
    attributes = findings.attributes
    ratio = rows.pivot_table("ratio", "attribute_1", "attribute_2").reindex(index=attributes, columns=attributes)
    cells = ratio.to_numpy()
    cells = np.where(np.isnan(cells), cells.T, cells)

    canvas = square_figure(len(attributes))
    axes = canvas.subplots()
    # Twice chance is as far from chance as half of it.
    log = np.log2(np.clip(cells, 1 / 16, None))
    reach = max(float(np.nanmax(np.abs(log))), 0.1)
    image = axes.imshow(log, cmap=diverging(), norm=TwoSlopeNorm(0, -reach, reach), interpolation="nearest")
    if len(attributes) <= MOST_NUMBERS:
        texts = [["" if np.isnan(value) else f"{value:.1f}" for value in row] for row in cells]
        write_cells(axes, texts, np.abs(log) > 0.6 * reach)
    name_both_sides(axes, attributes)
    bar = colour_bar(canvas, image, axes, "Overlap against chance")
    ticks = np.arange(-np.floor(reach), np.floor(reach) + 1)
    bar.set_ticks(ticks.tolist(), labels=[f"{2.0**tick:g} ×" for tick in ticks])
    return Drawing(
        canvas,
        "Overlap of the attributes’ neurons.",
        f"Neurons that are among the {findings.k:,} most selective for both attributes, divided by the number that two "
        f"random sets would share ({rows['expected'].iloc[0]:,.0f}). 1.0 is chance, blue is more, brown is less. "
        f"{_closest(rows)}",
        f"Square matrix of {len(attributes)} attributes; values from {rows['ratio'].min():.1f} to "
        f"{rows['ratio'].max():.1f} times chance.",
    )


def _closest(rows: pd.DataFrame) -> str:
    top = rows.nlargest(min(3, len(rows)), "ratio")
    pairs = [f"{a} with {b}" for a, b in zip(top["attribute_1"], top["attribute_2"], strict=True)]
    return f"Most in common: {listing(pairs)}."
