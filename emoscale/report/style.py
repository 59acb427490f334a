"""How the figures look, and how they are saved so that the same data give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emoscale.system.files import replacing

WIDTH = 7.2
"""Inches; about the width of a printed page's text."""

INK, SOFT, FAINT = "#222222", "#767676", "#d9d9d9"
BLUE, ORANGE = "#0072B2", "#D55E00"
"""From Okabe and Ito's palette, told apart with any colour vision."""

COLOURS = {"none": INK, "control": ORANGE, "selective": BLUE}
BLANK = "#f4f3f0"

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a concept may be called "$5$"
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "svg.fonttype": "none",
    "svg.hashsalt": "emoscale",
}


@dataclass(frozen=True)
class Drawing:
    """A figure with the words that go with it.

    Attributes
    ----------
    figure : Figure
    title : str
        What it shows, in a few words, with its full stop or question mark.
    caption : str
        What to look at and what it means.
    alt : str
        What is seen, for those who cannot see it.
    """

    figure: Figure
    title: str
    caption: str
    alt: str


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save in the project's style while the block runs; whatever was set before comes back after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Make an empty figure.

    Parameters
    ----------
    height, width : float
        Inches.

    Returns
    -------
    Figure
        Not known to pyplot, with a layout that makes room for labels.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def sequential() -> Colormap:
    """Return the colours of amounts, pale to dark, the palest still apart from `BLANK` (nothing to show)."""
    stops = ["#a9d3de", "#5aa9c8", "#2b7bb0", "#23518c", "#1b2a5b"]
    return LinearSegmentedColormap.from_list("amounts", stops).with_extremes(bad=BLANK, under=BLANK)


def spread_out(places: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Move places apart so that their labels do not touch.

    Parameters
    ----------
    places : ndarray, float
        In ascending order.
    gap : float
        Least distance of two neighbours.

    Returns
    -------
    ndarray, float
        Moved upwards only as far as needed, then all back by half of what the last one moved.
    """
    apart = places.copy()
    for i in range(1, len(apart)):
        apart[i] = max(apart[i], apart[i - 1] + gap)
    return apart - (apart[-1] - places[-1]) / 2 if len(apart) else apart


def row_height(rows: int, each: float = 0.19, rest: float = 0.75) -> float:
    """Return the height in inches of a figure with a line of text for each row."""
    return rest + each * max(rows, 5)


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as PNG (200 dots an inch) and SVG (text as text), both without dates or program names.

    Parameters
    ----------
    figure : Figure
    folder : Path
    name : str
        File name without suffix.

    Returns
    -------
    tuple of Path
        The PNG and the SVG.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with replacing(png) as unfinished:
        figure.savefig(unfinished, dpi=200, facecolor="white", metadata={"Software": None})
    with replacing(svg) as unfinished:
        figure.savefig(unfinished, facecolor="white", metadata={"Date": None, "Creator": None})
    return png, svg
