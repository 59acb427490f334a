"""Figures of the selective neurons: where they are, and whether attributes share them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from numpy.typing import NDArray
from scipy.stats import norm

from emoscale.report.findings import Findings
from emoscale.report.marks import Cell, Cells, matrix
from emoscale.report.on_axes import Colours, layer_counts, layer_map, square_matrix
from emoscale.report.phrasing import count
from emoscale.report.style import (
    Drawing,
    diverging,
    figure,
    new_figure,
    row_height,
    square_figure,
)
from emoscale.store import Store

_FARTHEST = 38.0
"""Standard deviations beyond which a normal probability is 0 in floating point."""


@figure("c1_selectivity", "Which neurons follow an attribute, and in which layers?", "selectivity.zarr")
def selectivity_map(findings: Findings) -> Drawing | None:
    """Draw tau against its own null: attributes down, neurons across, grouped by layer; in colour where significant."""
    store = findings.selectivity
    layer = store.read("layer")
    scaled, is_z = z_or_tau(store)
    attributes, layers = findings.attributes, len(np.unique(layer))
    canvas = new_figure(row_height(len(attributes), 0.2, 1.0))
    axes = canvas.subplots()
    # NaN compares false: neurons that were not tested stay blank.
    significant = store.read("q") < findings.alpha
    label = "z of Kendall’s τ" if is_z else "Kendall’s τ"
    drawn = layer_map(axes, scaled, significant, layer, attributes, label)
    if drawn is None:
        return None
    return Drawing(
        canvas,
        f"Map of {len(attributes)} attributes by {findings.neurons:,} neurons in {count(layers, 'layer')}; "
        f"{findings.selective_neurons / findings.neurons:.0%} of the neurons are in colour for at least one attribute.",
        {"per_column": drawn.per_column, "is_z": is_z, "alpha": findings.alpha},
        marks=[Cells(axes, _strongest(findings, scaled, drawn.edges, "z" if is_z else "τ"))],
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
    layer_counts(axes, counts)
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
    texts = [["" if np.isnan(value) else f"{value:.1f}" for value in row] for row in cells]
    coloured = Colours(diverging(), TwoSlopeNorm(0, -reach, reach), np.abs(log) > 0.6 * reach)
    bar = square_matrix(axes, log, texts, attributes, coloured, "Overlap against chance", framed=False)
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
