"""Figure (c): do the concepts an attribute describes best suffer most from losing its neurons?"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import TwoSlopeNorm

from emoscale.report.findings import Findings
from emoscale.report.matrix import (
    MOST_NUMBERS,
    colour_bar,
    diverging,
    frame_diagonal,
    name_both_sides,
    square_figure,
    write_cells,
)
from emoscale.report.phrasing import listing, number
from emoscale.report.style import Drawing


def specificity_matrix(findings: Findings) -> Drawing | None:
    """Draw how the concepts' drops after each attribute's neurons correlate with their scores on each attribute."""
    rows = findings.at_k(findings.specificity)
    if rows.empty or rows["r"].isna().all() or len(findings.attributes) < 2:
        return None
    names = findings.attributes
    cells = rows.pivot_table("r", "attribute", "score").reindex(index=names, columns=names).to_numpy(np.float64)
    figure = square_figure(len(names))
    axes = figure.subplots()
    reach = max(float(np.nanmax(np.abs(cells))), 0.1)
    image = axes.imshow(cells, cmap=diverging(), norm=TwoSlopeNorm(0, -reach, reach), interpolation="nearest")
    if len(names) <= MOST_NUMBERS:
        texts = [["" if np.isnan(value) else number(value) for value in row] for row in cells]
        write_cells(axes, texts, np.abs(cells) > 0.6 * reach)
    frame_diagonal(axes, len(names))
    name_both_sides(axes, names)
    axes.set_ylabel("Neurons switched off")
    axes.set_xlabel("Scores of the concepts")
    colour_bar(figure, image, axes, "Correlation over concepts")

    own = np.diag(cells)
    mean = float(own[np.isfinite(own)].mean()) if np.isfinite(own).any() else np.nan
    highest = [
        name
        for name, row, value in zip(names, cells, own, strict=True)
        if np.isfinite(value) and value >= np.nanmax(row)
    ]
    told = f"so for {listing(highest)}" if highest else "so for none of them"
    return Drawing(
        figure,
        "Do the concepts that an attribute describes suffer most?",
        f"Each row: the {findings.k:,} neurons of one attribute are off. Each cell: how the concepts’ drops go with "
        f"their scores on the attribute of the column; blue means that concepts with high scores lose more, brown that "
        f"they lose less. If the losses were specific, the framed cells would be the bluest of their rows; they are "
        f"{told}.",
        f"Square matrix of {len(names)} attributes with a framed diagonal; correlations from "
        f"{number(np.nanmin(cells))} to {number(np.nanmax(cells))}, on the diagonal {number(mean)} on "
        f"average.",
    )
