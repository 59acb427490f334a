"""What the points and cells of a figure are, and where in its picture, so that a page can name what is pointed at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emoscale.report.phrasing import named, number

Point = tuple[float, float, str]
"""Place from the left and from the top, and name."""
Cell = tuple[float, float, float, float, str]
"""Place from the left and from the top, width, height, and name."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points of some axes.

    Attributes
    ----------
    axes : Axes
    x, y : sequence of float
        In the axes' own coordinates; a point that is not finite is left out.
    names : sequence of str
    """

    axes: Axes
    x: Sequence[float]
    y: Sequence[float]
    names: Sequence[str]


@dataclass(frozen=True, eq=False)
class Cells:
    """Rectangles of some axes.

    Attributes
    ----------
    axes : Axes
    boxes : list of tuple
        Two opposite corners, x and y of each, and a name.
    """

    axes: Axes
    boxes: list[Cell]


Marks = Points | Cells

_MOST_CELLS = 3600


def names_of(labels: Iterable[str], *columns: Iterable[float]) -> list[str]:
    """Write a label, a value and, with two columns more, its interval for each row; see `named`."""
    return [named(str(label), *numbers) for label, *numbers in zip(labels, *columns, strict=True)]


def matrix(
    axes: Axes,
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    digits: int = 2,
    between: str = ", ",
) -> Cells:
    """Name the cells of an image after their row, their column and their value; those without one are left out."""
    return Cells(
        axes,
        [
            (j - 0.5, i - 0.5, j + 0.5, i + 0.5, f"{rows[i]}{between}{columns[j]}: {_written(values[i, j], digits)}")
            for i in range(len(rows))
            for j in range(len(columns))
            if np.isfinite(values[i, j])
        ],
    )


def _written(value: float, digits: int) -> str:
    return number(value, digits) if digits else f"{value:,.0f}"


def places(figure: Figure, marks: Iterable[Marks]) -> tuple[list[Point], list[Cell]]:
    """Find the places of marks in a figure that was saved, and so laid out.

    Parameters
    ----------
    figure : Figure
    marks : iterable of Points or Cells

    Returns
    -------
    points : list of tuple
    cells : list of tuple
        In hundredths of an inch. None where there are so many that their names would fill the page.
    """
    points: list[Point] = []
    cells: list[Cell] = []
    height = figure.bbox.height
    unit = 100 / figure.dpi
    for one in marks:
        if isinstance(one, Points):
            for x, y, name in zip(one.x, one.y, one.names, strict=True):
                if np.isfinite(x) and np.isfinite(y):
                    left, up = one.axes.transData.transform((x, y))
                    points.append((round(left * unit, 1), round((height - up) * unit, 1), name))
            continue
        for x0, y0, x1, y1, name in one.boxes:
            corners = one.axes.transData.transform([(x0, y0), (x1, y1)])
            (left, low), (right, high) = corners.min(axis=0), corners.max(axis=0)
            box = [round(value * unit, 1) for value in (left, height - high, right - left, high - low)]
            cells.append((box[0], box[1], box[2], box[3], name))
    return points, cells if len(cells) <= _MOST_CELLS else []
