"""What figures of coloured cells have in common."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from emoscale.report.style import INK, WIDTH, new_figure, row_height

MOST_NUMBERS = 18
"""Most rows or columns of a matrix with numbers written in its cells."""


def diverging() -> Colormap:
    """Return the colours of what has a middle: brown below, blue above, white where unknown."""
    stops = ["#8a4f08", "#dfb26b", "#f7f6f2", "#6fb1cf", "#1b3f73"]
    return LinearSegmentedColormap.from_list("middle", stops).with_extremes(bad="white")


def square_figure(rows: int) -> Figure:
    """Make an empty figure for a matrix with as many rows as columns; many are smaller, to fit the page's width."""
    each = min(0.3, (WIDTH - 2.5) / max(rows, 4))
    return new_figure(row_height(rows, each, 1.5), width=2.5 + each * max(rows, 4))


def colour_bar(figure: Figure, image: AxesImage, axes: Axes, label: str) -> Colorbar:
    """Add the scale of an image's colours at its right."""
    bar = figure.colorbar(image, ax=axes, label=label, shrink=0.85, pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    return bar


def write_cells(axes: Axes, texts: list[list[str]], dark: NDArray[np.bool_]) -> None:
    """Write a text into each cell of an image, in white where the cell is dark."""
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            colour = "white" if dark[row, column] else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)


def frame_diagonal(axes: Axes, rows: int) -> None:
    """Draw a frame around the cells of a square matrix whose row and column are the same."""
    for place in range(rows):
        axes.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.3))


def name_both_sides(axes: Axes, names: list[str]) -> None:
    """Write the same names at the rows and at the columns of a matrix."""
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
