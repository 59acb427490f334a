"""Figure (c): where the model chooses among all concepts, what does it take for what?"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from emoscale.report.findings import Findings
from emoscale.report.matrix import MOST_NUMBERS, colour_bar, frame_diagonal, name_both_sides, square_figure, write_cells
from emoscale.report.phrasing import count, listing, number
from emoscale.report.style import Drawing, sequential

_MOST_NAMED = 3
"""Most pairs of concepts that the caption names."""


def confusion_matrix(findings: Findings) -> Drawing | None:
    """Draw how often each concept was answered to the texts of each, with no neurons edited."""
    rows = findings.confusion[findings.confusion["kind"] == "none"]
    if rows.empty:
        return None
    names = list(dict.fromkeys(rows["answer"]))
    cells = rows.pivot_table("share", "concept", "answer").reindex(index=names, columns=names).to_numpy(np.float64)
    figure = square_figure(len(names))
    axes = figure.subplots()
    most = max(float(np.nanmax(cells)), 0.01)
    image = axes.imshow(cells, cmap=sequential(), norm=Normalize(1e-9, most), interpolation="nearest")
    if len(names) <= MOST_NUMBERS:
        texts = [["" if np.isnan(value) else number(value) for value in row] for row in cells]
        write_cells(axes, texts, cells > 0.36 * most)
    frame_diagonal(axes, len(names))
    name_both_sides(axes, names)
    axes.set_ylabel("What the text shows")
    axes.set_xlabel("What the model answered")
    colour_bar(figure, image, axes, "Share of the concept’s texts")

    right, answered = float(np.nanmean(np.diag(cells))), np.nanmean(cells, axis=0)
    often = int(answered.argmax())
    return Drawing(
        figure,
        "What the model takes for what.",
        f"Each row: the texts of one concept, while no neuron is switched off; each cell: the share of them that the "
        f"model answered with the concept of the column (names scored by their log probability). In the frames are the "
        f"right answers, {number(right)} on average, where guessing gives {number(findings.chance)}. "
        f"{_mistakes(names, cells)}The commonest answer of all is {names[often]}, to {number(answered[often])} of a "
        f"concept’s texts on average.",
        f"Square matrix of {count(len(names), 'concept')} with a framed diagonal; shares on it from "
        f"{number(float(np.nanmin(np.diag(cells))))} to {number(float(np.nanmax(np.diag(cells))))}.",
    )


def _mistakes(names: list[str], cells: NDArray[np.float64]) -> str:
    """Name the pairs that were confused most often."""
    wrong = np.where(np.eye(len(names), dtype=bool) | np.isnan(cells), 0.0, cells)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_NAMED]
    pairs = [divmod(int(place), len(names)) for place in order]
    told = [
        f"{names[row]} for {names[column]} ({number(wrong[row, column])})"
        for row, column in pairs
        if wrong[row, column]
    ]
    return f"Most often it took {listing(told)}. " if told else ""
