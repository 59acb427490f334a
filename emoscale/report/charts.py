"""Charts that are drawn in the page itself, as SVG: places are computed here, ``charts.j2`` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from emoscale.report.phrasing import activation, named, number, whole

Values = dict[str, Any]

WIDTH, _LEFT, _RIGHT = 640, 150, 24
"""Of a chart, its names at the left and its margin, in SVG units, about pixels."""
_TOP, _BOTTOM, _ROW, _MARK = 8, 44, 20, 9
_LINES_HEIGHT, _LINES_LEFT = 260, 56
_TICKS = 7
_LETTERS = 22
"""Most letters of a name at the left."""


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to places.

    Parameters
    ----------
    low, high : float
        Values at its ends.
    start, stop : float
        Places of these.
    """

    low: float
    high: float
    start: float
    stop: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, stop: float) -> Scale:
        """Return a scale that holds zero and all finite values with a margin."""
        known = [value for value in values if np.isfinite(value)]
        low, high = min([0.0, *known]), max([0.0, *known])
        margin = 0.05 * (high - low) or 1.0
        return cls(low - margin * (low < 0 or high <= 0), high + margin, start, stop)

    def at(self, value: float) -> float:
        """Return the place of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and names of round values."""
        found = [float(v) for v in MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)]
        step = found[1] - found[0]
        digits = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
        digits += round(step * 10**digits, 6) % 1 != 0  # a step of .25
        inside = [value for value in found if self.low <= value <= self.high]
        return [(self.at(value), number(value, digits) if digits else whole(value)) for value in inside]


@dataclass(frozen=True)
class Mark:
    """A value with its interval.

    Parameters
    ----------
    value, low, high : float
        NaN where it has none.
    name : str
        Of what it is, for whoever points at it.
    series : int
        Which colour it has.
    filled : bool
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    name: str = ""
    series: int = 0
    filled: bool = True

    @property
    def title(self) -> str:
        """Its name, value and interval."""
        return named(self.name, self.value, self.low, self.high)


def forest(rows: Mapping[str, Sequence[Mark]], label: str, *, over: Sequence[Mark] = ()) -> Values:
    """Lay out values with their intervals, a row for each name.

    Parameters
    ----------
    rows : mapping of str to sequence of Mark
        From the top.
    label : str
        Of the axis.
    over : sequence of Mark
        All that the axis shall have room for, so that several charts have one scale; by default those shown.
    """
    marks = over or [mark for some in rows.values() for mark in some]
    ends = [end for mark in marks for end in (mark.value, mark.low, mark.high)]
    scale, y, laid = Scale.around(ends, _LEFT, WIDTH - _RIGHT), float(_TOP), []
    for name, some in rows.items():
        height = max(_ROW, _MARK * len(some) + 11)
        first = y + height / 2 - _MARK * (len(some) - 1) / 2
        shown = [_place(scale, mark, first + _MARK * place) for place, mark in enumerate(some)]
        laid.append({"name": _short(name), "y": y + height / 2, "marks": [one for one in shown if one]})
        y += height
    return {
        "width": WIDTH,
        "height": y + _BOTTOM,
        "top": _TOP,
        "bottom": y,
        "left": _LEFT,
        "middle": (_LEFT + WIDTH - _RIGHT) / 2,
        "zero": scale.at(0),
        "ticks": scale.ticks(),
        "rows": laid,
        "label": label,
    }


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _place(scale: Scale, mark: Mark, y: float) -> Values | None:
    if not np.isfinite(mark.value):
        return None
    limits = np.isfinite(mark.low) and np.isfinite(mark.high)
    return {
        "x": scale.at(mark.value),
        "y": round(y, 1),
        "ends": (scale.at(mark.low), scale.at(mark.high)) if limits else None,
        "title": mark.title,
        "series": mark.series,
        "filled": mark.filled,
    }


@dataclass(frozen=True)
class Line:
    """A line through points.

    Parameters
    ----------
    name : str
    x, y : sequence of float
    titles : sequence of str
        Of each point, for whoever points at it.
    series : int
        Which colour it has.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    titles: Sequence[str]
    series: int = 0


def lines(some: Sequence[Line], x_label: str, y_label: str, *, x_range: tuple[float, float] = (0.0, 1.0)) -> Values:
    """Lay out lines over one axis."""
    across = Scale(*x_range, _LINES_LEFT, WIDTH - _RIGHT)
    bottom = _LINES_HEIGHT - _BOTTOM
    up = Scale.around([value for line in some for value in line.y], bottom, _TOP + 8)
    return {
        "width": WIDTH,
        "height": _LINES_HEIGHT,
        "left": _LINES_LEFT,
        "right": WIDTH - _RIGHT,
        "bottom": bottom,
        "middle": (_LINES_LEFT + WIDTH - _RIGHT) / 2,
        "x_ticks": across.ticks(),
        "y_ticks": up.ticks(),
        "lines": [
            {
                "series": line.series,
                "points": [
                    (across.at(x), up.at(y), title)
                    for x, y, title in zip(line.x, line.y, line.titles, strict=True)
                    if np.isfinite(y)
                ],
            }
            for line in some
        ],
        "x_label": x_label,
        "y_label": y_label,
    }


def strip(values: Mapping[str, float], width: int) -> list[tuple[float, str]]:
    """Lay out finite values along a line: the place of each, and its name with the value."""
    if not values:
        return []
    low, high = min(values.values()), max(values.values())
    scale = Scale(low, high if high > low else low + 1, 8, width - 8)
    return [(scale.at(value), f"{name}: {activation(value)}") for name, value in values.items()]
