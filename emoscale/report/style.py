"""How the figures look, what they have in common, and how they are saved: the same data give the same bytes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from emoscale.report.fonts import HOUSE, add_fonts
from emoscale.report.marks import Marks
from emoscale.run.verdicts import Question
from emoscale.system.files import replacing

if TYPE_CHECKING:
    from emoscale.report.findings import Findings

WIDTH = 7.2
"""Inches; about the width of a printed page's text."""

INK, SOFT, FAINT = "#222222", "#767676", "#d9d9d9"
BLUE, ORANGE = "#0072B2", "#D55E00"
"""From Okabe and Ito's palette, distinct with any colour vision."""

DOTS: dict[str, Any] = {"marker": "o", "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.6}
"""Of values along a line."""

COLOURS = {"none": INK, "control": ORANGE, "selective": BLUE}
BLANK = "#f4f3f0"

MOST_NUMBERS = 18
"""Most rows or columns of a matrix with numbers written in its cells."""

_SETTINGS: dict[Any, Any] = {
    "font.family": HOUSE,
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
    """A figure with what is said of it.

    Attributes
    ----------
    figure : Figure
    alt : str
        What is seen, for those who cannot see it.
    values : mapping of str to object
        Numbers and names for the caption, which is the macro of the figure's name in ``captions.j2``.
    caption : str
        The caption itself, of a figure that has no macro.
    marks : sequence of Points or Cells
        Which name themselves to whoever points at them.
    """

    figure: Figure
    alt: str
    values: Mapping[str, Any] = field(default_factory=dict)
    caption: str = ""
    marks: Sequence[Marks] = ()


Draw = Callable[["Findings"], Drawing | None]


@dataclass(frozen=True)
class ReportFigure:
    """One figure of the report.

    Parameters
    ----------
    name : str
        Of its files. The first letter is the part of the report that shows it, and figures come in the order of names.
    title : str
        What it asks.
    source : str
        The file of the run folder that holds its numbers.
    draw : callable
        From `Findings` to `Drawing`; None where the run has no such data.
    gate : tuple of Question
        It is drawn only if these are answered with yes.
    only_as_published : bool
        Whether it shows a published test, and so belongs only to a report of such tests.
    """

    name: str
    title: str
    source: str
    draw: Draw
    gate: tuple[Question, ...] = ()
    only_as_published: bool = False


FIGURES: dict[str, ReportFigure] = {}
"""Every figure by name. `emoscale.report.figures` imports the modules that fill it."""


def figure(
    name: str, title: str, source: str, *, gate: tuple[Question, ...] = (), only_as_published: bool = False
) -> Callable[[Draw], Draw]:
    """Register the decorated function as the figure `name`; see `ReportFigure`."""

    def register(draw: Draw) -> Draw:
        FIGURES[name] = ReportFigure(name, title, source, draw, gate, only_as_published)
        return draw

    return register


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

    For letters that the usual font lacks another one is taken, where one is installed; see `add_fonts`.

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
    with replacing(png) as unfinished, warnings.catch_warnings():
        # What is missing is said once for all figures.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(unfinished, dpi=200, facecolor="white", metadata={"Software": None})
        if add_fonts(figure):
            figure.savefig(unfinished, dpi=200, facecolor="white", metadata={"Software": None})
    with replacing(svg) as unfinished, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(unfinished, facecolor="white", metadata={"Date": None, "Creator": None})
    return png, svg


def diverging() -> Colormap:
    """Return the colours of what has a middle: brown below, blue above, white where unknown."""
    stops = ["#8a4f08", "#dfb26b", "#f7f6f2", "#6fb1cf", "#1b3f73"]
    return LinearSegmentedColormap.from_list("middle", stops).with_extremes(bad="white")


def square_size(rows: int) -> tuple[float, float]:
    """Return height and width in inches for a square matrix; many rows are smaller, to fit the page's width."""
    each = min(0.3, (WIDTH - 2.5) / max(rows, 4))
    return row_height(rows, each, 1.5), 2.5 + each * max(rows, 4)


def square_figure(rows: int) -> Figure:
    """Make an empty figure for a matrix with as many rows as columns."""
    return new_figure(*square_size(rows))


def colour_bar(image: AxesImage, axes: Axes, label: str) -> Colorbar:
    """Add the scale of an image's colours at its right."""
    bar = axes.figure.colorbar(image, ax=axes, label=label, shrink=0.85, pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    return bar


def result_dot(passed: bool) -> dict[str, Any]:
    """Return what the dot of a result looks like: filled if its test passed."""
    return {"markerfacecolor": BLUE if passed else "white", "markeredgecolor": BLUE, "markersize": 5.5, "zorder": 4}


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
