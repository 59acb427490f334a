"""Settings of the selectivity of neurons for attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from emoscale.system.option_types import OPTIONS, Count, Seed, Share


@dataclass(frozen=True)
class SelectivityOptions:
    """Selectivity of every neuron for every attribute."""

    __pydantic_config__ = OPTIONS

    measure: Literal["kendall"] = "kendall"
    inference: Literal["permutation", "asymptotic"] = "permutation"
    """Where p come from: permutations of the concepts, or the published approximation, whose p are too small."""
    permutations: Count = 999
    seed: Seed = 0
    """Of the permutations."""
    row_measures: list[
        Literal["mean", "variance", "eta_squared", "pearson", "spearman", "auroc", "average_precision"]
    ] = field(default_factory=list)
    """Measures over single rows (texts, tokens) to compute as well, into row_measures.zarr."""
    alpha: Share = 0.01
    """A neuron is significant when q is below."""
    block_neurons: Count | None = None
    """The most neurons of one task; as many as machine.memory_limit allows when left out."""
