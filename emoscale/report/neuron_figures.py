"""Figures of the selective neurons: where they are, and whether attributes share them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from numpy.typing import NDArray
from scipy.stats import norm

from emoscale.report.findings import Findings
from emoscale.report.marks import Cell, Cells, matrix
from emoscale.report.phrasing import count
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
from emoscale.store import Store

_COLUMNS = 600
"""Most columns of a map over neurons; more would be narrower than a dot of the printed figure."""

_FARTHEST = 38.0
"""Standard deviations beyond which a normal probability is 0 in floating point."""


@figure("c1_selectivity", "Which neurons follow an attribute, and in which layers?", "selectivity.zarr")
def selectivity_map(findings: Findings) -> Drawing | None:
    """Draw tau against its own null: attributes down, neurons across, grouped by layer; in colour where significant."""
    store = findings.selectivity
    layer = store.read("layer")
    scaled, is_z = z_or_tau(store)
    values = np.nan_to_num(scaled, nan=-np.inf)
    if not np.isfinite(values).any():
        return None
    # NaN compares false: neurons that were not tested stay blank.
    significant = np.where(store.read("q") < findings.alpha, values, -np.inf)
    order = np.argsort(layer, kind="stable")
    layers, sizes = np.unique(layer, return_counts=True)
    starts = _column_starts(sizes)
    attributes, per_column = findings.attributes, -(-len(layer) // len(starts))
    any_best, best = (np.maximum.reduceat(each[order], starts, axis=0).T for each in (values, significant))

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
    colour_bar(canvas, image, axes, "z of Kendall’s τ" if is_z else "Kendall’s τ")
    return Drawing(
        canvas,
        f"Map of {len(attributes)} attributes by {findings.neurons:,} neurons in {count(len(layers), 'layer')}; "
        f"{findings.selective_neurons / findings.neurons:.0%} of the neurons are in colour for at least one attribute.",
        {"per_column": per_column, "is_z": is_z, "alpha": findings.alpha},
        marks=[Cells(axes, _strongest(findings, scaled, edges, "z" if is_z else "τ"))],
    )


def _strongest(findings: Findings, values: NDArray[np.float64], edges: NDArray[np.integer], symbol: str) -> list[Cell]:
    """Name the strongest neuron of each attribute in each layer, in the layer's box of the map."""
    layer, unit = findings.selectivity.read("layer"), findings.selectivity.read("unit")
    known = np.nan_to_num(values, nan=-np.inf)
    boxes: list[Cell] = []
    for place, one in enumerate(np.unique(layer)):
        own = np.flatnonzero(layer == one)
        for row, best in enumerate(own[known[own].argmax(axis=0)]):
            if np.isfinite(known[best, row]):
                most = f"{symbol} up to {known[best, row]:.2f} (unit {unit[best]})"
                name = f"{findings.attributes[row]}, layer {one}: {most}"
                boxes.append((float(edges[place]), float(row), float(edges[place + 1]), float(row + 1), name))
    return boxes


def z_or_tau(store: Store) -> tuple[NDArray[np.float64], bool]:
    """Return tau in units of its spread under permuted concepts, and whether that spread is known; else tau.

    Parameters
    ----------
    store : Store
        ``selectivity``.

    Returns
    -------
    values : ndarray of float64, shape (N, A)
        NaN where there is none.
    is_z : bool

    Notes
    -----
    The store's spread is in units of the standard deviation that the published approximation assumes, in which
    p_asymptotic gives tau.
    """
    spread = store.read("null_spread")
    if np.isnan(spread).all():
        return store.read("tau"), False
    # A p that is 0 or 1 to 16 digits still needs a place on the map.
    reached = np.clip(norm.isf(store.read("p_asymptotic")), -_FARTHEST, _FARTHEST)
    return np.divide(reached, spread, out=np.full(spread.shape, np.nan), where=spread > 0), True


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


@figure("c2_counts_by_layer", "How many neurons are significant, and in which layers?", "tables/significant.csv")
def counts_by_layer(findings: Findings) -> Drawing | None:
    """Draw how many neurons of each layer are significant for each attribute."""
    counts = findings.table("significant").pivot_table("neurons", "attribute", "layer").reindex(findings.attributes)
    cells = counts.to_numpy().astype(int)
    if not cells.any():
        return None
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

    return Drawing(
        canvas,
        f"Table of counts, {len(counts)} attributes by {count(len(layers), 'layer')}, darker where more.",
        {"alpha": findings.alpha, "busiest": layers[cells.sum(axis=0).argmax()]},
        marks=[
            matrix(
                axes,
                cells.astype(float),
                [str(name) for name in counts.index],
                [f"layer {one}" for one in layers],
                digits=0,
            )
        ],
    )


@figure("c3_overlap", "Do attributes share their neurons?", "tables/overlap.csv")
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
        f"Square matrix of {len(attributes)} attributes; values from {rows['ratio'].min():.1f} to "
        f"{rows['ratio'].max():.1f} times chance.",
        {"k": findings.k, "expected": rows["expected"].iloc[0], "pairs": _closest(rows)},
        marks=[matrix(axes, cells, attributes, attributes, between=" and ")],
    )


def _closest(rows: pd.DataFrame) -> list[str]:
    top = rows.nlargest(min(3, len(rows)), "ratio")
    return [f"{a} with {b}" for a, b in zip(top["attribute_1"], top["attribute_2"], strict=True)]
