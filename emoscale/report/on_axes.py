"""What figures consist of, drawn on any axes: those of the report, and those of `emoscale.plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from numpy.typing import NDArray

from emoscale.report.style import (
    BLUE,
    FAINT,
    MOST_NUMBERS,
    ORANGE,
    SOFT,
    colour_bar,
    frame_diagonal,
    name_both_sides,
    result_dot,
    sequential,
    write_cells,
)
from emoscale.run.verdicts import LEVEL

Floats = NDArray[np.float64]

_COLUMNS = 600
"""Most columns of a map over neurons; more would be narrower than a dot of the printed figure."""


def interval_rows(
    axes: Axes, names: Sequence[str], values: pd.DataFrame, band: tuple[float, float] | None = None
) -> None:
    """Draw values with their intervals, a row for each name, the first at the bottom.

    Parameters
    ----------
    axes : Axes
    names : sequence of str
    values : DataFrame
        ``drop``, ``ci_low`` and ``ci_high``, a row for each name.
    band : tuple of float, optional
        A range behind them all, such as what chance does.
    """
    places = np.arange(len(values))
    if band:
        axes.axvspan(*band, color=ORANGE, alpha=0.13, linewidth=0)
    axes.axvline(0, color=SOFT, linewidth=0.7, zorder=0)
    axes.hlines(places, values["ci_low"], values["ci_high"], color=BLUE, linewidth=1.4)
    axes.plot(values["drop"], places, "o", color=BLUE, markersize=5, markeredgecolor="white", markeredgewidth=0.6)
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.8, len(values) - 0.2)


def draw_ticks(axes: Axes, places: Floats, names: Sequence[str], draws: Mapping[str, Floats]) -> None:
    """Draw what each draw of a control does as a small line, in the rows of their names."""
    for place, name in zip(places, names, strict=True):
        if name in draws:
            axes.plot(draws[name], np.full(len(draws[name]), place), "|", color=SOFT, markersize=5, alpha=0.7)


def follower_rows(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw numbers of followers beside those under permuted concepts, a row for each, the first at the bottom.

    Parameters
    ----------
    axes : Axes
    rows : DataFrame
        Of the table ``followers``.
    """
    places = np.arange(len(rows), dtype=np.float64)
    label = "middle 95% under permuted concepts"
    axes.hlines(places, rows["null_low"], rows["null_high"], color=FAINT, linewidth=7, label=label)
    axes.plot(rows["null_largest"], places, "|", color=SOFT, markersize=7, label="most under any permutation")
    passed = rows["p_corrected"].to_numpy() <= LEVEL
    for some, label in ((passed, "corrected p ≤ .05"), (~passed, "not significant")):
        if some.any():
            axes.plot(rows["followers"][some], places[some], "o", label=label, **result_dot(some is passed))
    name_rows(axes, places, rows["attribute"].tolist())
    axes.set_xscale("symlog", linthresh=10)
    most = float(rows[["followers", "null_largest"]].max().max())
    ticks = [
        tick
        for tick in (0, 5, 10, *((20, 50) if most < 200 else ()), 100, 1_000, 10_000, 100_000, 1_000_000)
        if tick <= max(most, 10)
    ]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlim(-0.8, max(most, 10) * 1.4)
    axes.minorticks_off()
    axes.set_xlabel("Neurons whose τ no permutation reaches (logarithmic from 10)")
    legend_above(axes)


def legend_above(axes: Axes) -> None:
    """Put the legend above the axes, in two columns."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, handletextpad=0.5, columnspacing=1.4)


def name_rows(axes: Axes, places: Floats, names: list[str]) -> None:
    """Name rows at the left, in place of an axis."""
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(places[0] - 0.8, places[-1] + 0.8)


class LayerMap(NamedTuple):
    """What was drawn of a map: how many neurons a column holds at the most, and the layers' edges in columns."""

    per_column: int
    edges: NDArray[np.int64]


def layer_map(
    axes: Axes, values: Floats, significant: NDArray[np.bool_], layer: NDArray[np.integer], names: list[str], label: str
) -> LayerMap | None:
    """Draw values of every neuron, in colour where significant: names down, neurons across, grouped by layer.

    Parameters
    ----------
    axes : Axes
    values : ndarray of float64, shape (N, A)
        NaN where there is none.
    significant : ndarray of bool, shape (N, A)
    layer : ndarray of int, shape (N,)
    names : list of str, length A
    label : str
        Of the colours.

    Returns
    -------
    LayerMap or None
        None, and nothing is drawn, if there are no values.
    """
    known = np.nan_to_num(values, nan=-np.inf)
    if not np.isfinite(known).any():
        return None
    order = np.argsort(layer, kind="stable")
    layers, sizes = np.unique(layer, return_counts=True)
    starts = _column_starts(sizes)
    shown = (known, np.where(significant, known, -np.inf))
    any_best, best = (np.maximum.reduceat(each[order], starts, axis=0).T for each in shown)
    top = float(any_best.max(initial=0.0, where=np.isfinite(any_best))) or 1.0
    extent = (0, len(starts), len(names), 0)
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
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Layer (from 0), its neurons side by side")
    colour_bar(image, axes, label)
    return LayerMap(-(-len(layer) // len(starts)), edges)


def _column_starts(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    total = int(sizes.sum())
    starts, first = [], 0
    for size in sizes.tolist():
        columns = min(size, max(1, round(_COLUMNS * size / total)))
        starts.append(first + np.arange(columns) * size // columns)
        first += size
    return np.concatenate(starts)


def _label_layers(axes: Axes, layers: NDArray[np.integer], centres: Floats) -> None:
    every = -(-len(layers) // 24)
    axes.set_xticks(centres[::every], layers[::every])


def layer_counts(axes: Axes, counts: pd.DataFrame) -> None:
    """Draw how many neurons of each layer are significant.

    Parameters
    ----------
    axes : Axes
    counts : DataFrame of int
        A row for each name, a column for each layer.
    """
    cells, layers = counts.to_numpy().astype(int), counts.columns.to_numpy()
    most = max(int(cells.max()), 2)  # a bar of colours needs two
    image = axes.imshow(
        np.ma.masked_equal(cells, 0), aspect="auto", interpolation="nearest", cmap=sequential(), norm=Normalize(1, most)
    )
    if len(layers) <= MOST_NUMBERS:
        write_cells(axes, [[f"{value:,}" for value in row] for row in cells], cells > 0.36 * most)
    _label_layers(axes, layers, np.arange(len(layers), dtype=np.float64))
    axes.set_yticks(range(len(counts)), counts.index)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Layer (from 0)")
    colour_bar(image, axes, "Significant neurons")


class Colours(NamedTuple):
    """How a matrix is coloured: its colours and scale, and the cells on which writing is white."""

    colours: Colormap
    scale: Normalize
    dark: NDArray[np.bool_]


def square_matrix(
    axes: Axes, cells: Floats, texts: list[list[str]], names: list[str], coloured: Colours, label: str, *, framed: bool
) -> Colorbar:
    """Draw a matrix with the same names at its rows and columns, and texts in its cells if there are not too many.

    Parameters
    ----------
    axes : Axes
    cells : ndarray of float64, shape (n, n)
    texts : list of list of str
    names : list of str
    coloured : Colours
    label : str
        Of the colours.
    framed : bool
        Whether the diagonal is framed.
    """
    image = axes.imshow(cells, cmap=coloured.colours, norm=coloured.scale, interpolation="nearest")
    if len(names) <= MOST_NUMBERS:
        write_cells(axes, texts, coloured.dark)
    if framed:
        frame_diagonal(axes, len(names))
    name_both_sides(axes, names)
    return colour_bar(image, axes, label)


def darker(cells: Floats, most: float) -> Colours:
    """Return the colours of amounts from 0 to the most."""
    return Colours(sequential(), Normalize(1e-9, most), cells > 0.36 * most)
