"""What the columns of the tables that only a reproduction has are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from emoscale.analysis.codebook import (
    CODEBOOK,
    TRUE_OR_FALSE,
    ZERO_OR_MORE,
    ZERO_TO_ONE,
    Column,
    codebook,
    correlation,
    count,
    share,
)
from emoscale.analysis.columns import RATING_AGREEMENT
from emoscale.run.folder import RunFolder

_ATTRIBUTE = Column("attribute")


_FIXED: dict[str, tuple[str, Mapping[str, Column]]] = {
    "score_agreement": (
        "How well raters agree on each attribute or component",
        RATING_AGREEMENT,
    ),
    "score_comparison": (
        "Attribute scores from the ratings beside the published ones",
        {
            "attribute": _ATTRIBUTE,
            "correlation": correlation("correlation over concepts (Pearson)"),
            "largest_difference": Column("largest difference of a concept", "", ZERO_TO_ONE),
        },
    ),
    "score_notes": (
        "What was excluded from the ratings, or filled in",
        {"note": Column("what, and why")},
    ),
    "rank_comparison": (
        "Our ranks beside the released ones",
        {
            "attribute": _ATTRIBUTE,
            "correlation": correlation("correlation over neurons (Pearson)"),
            "equal": share("neurons whose rank is equal"),
            "largest_shift": Column("largest difference of a rank", "", ZERO_OR_MORE),
            "top": count("size of the sets of best neurons that are compared", "neurons"),
            "top_differing": count("neurons that are in one of the two sets only", "neurons"),
            "neurons": count("neurons whose ranks were released", "neurons"),
        },
    ),
    "comparison": (
        "Every published figure beside ours",
        {
            "quantity": Column("what the figure is"),
            "k": count("neurons of each mask; empty where there is none", "neurons"),
            "item": Column("attribute, or statistic of a test: mean r, t, p"),
            "published": Column("the figure as printed"),
            "ours": Column(
                "the same computed here; empty where the files do not allow it",
                "",
                "",
                "p by the published test: two-sided, t over concepts; of the dip one-sided (more than one mode)",
            ),
            "difference": Column("ours minus published"),
            "agrees": Column("whether ours, rounded as printed, is the published figure", "", TRUE_OR_FALSE),
        },
    ),
}
"""What a row of a table says, and its columns, by the table's name."""


def reproduction_columns(attributes: Sequence[str]) -> dict[str, tuple[str, Mapping[str, Column]]]:
    """Return, for each table by name, what a row says and what the columns are; two tables have one an attribute."""
    scores = {name: Column(f"score on {name}, 0 for the lowest concept", "", ZERO_TO_ONE) for name in attributes}
    ranks = {name: Column(f"rank by tau for {name}, 1 the largest", "", "1 or more") for name in attributes}
    neuron = {
        "neuron": count("number of the neuron"),
        "layer": count("layer, from 0"),
        "unit": count("number within the layer"),
    }
    return {
        "scores": (
            "Attribute scores of each concept, from the ratings where the release has them",
            {"concept": Column("concept"), **scores},
        ),
        "rank": ("Rank of each neuron within each attribute", {**neuron, **ranks}),
        **_FIXED,
    }


def describe(folder: RunFolder, attributes: Sequence[str]) -> None:
    """Add the tables that only a reproduction has, and this one has written, to its codebook."""
    known = reproduction_columns(attributes)
    written = {name: list(map(str, folder.table(name))) for name in known if (folder.tables / f"{name}.csv").is_file()}
    folder.write_table(CODEBOOK, pd.concat([folder.table(CODEBOOK), codebook(known, written)], ignore_index=True))
