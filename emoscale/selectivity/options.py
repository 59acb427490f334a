"""Settings of the selectivity of neurons for attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from emoscale.system.option_types import OPTIONS, Count, Distinct, OneOf, Seed, Share


@dataclass(frozen=True)
class SelectivityOptions:
    """Selectivity of every neuron for every attribute."""

    __pydantic_config__ = OPTIONS

    measure: Annotated[str, OneOf("emoscale.selectivity.measures:MEASURES")] = "kendall"
    """What compares a neuron's RDM with an attribute's."""
    inference: Annotated[str, OneOf("emoscale.selectivity.inference:INFERENCES")] = "permutation"
    """Where p come from: permutations of the concepts, or the published approximation, whose p are too small."""
    permutations: Count = 999
    """Of the concepts, the same for all neurons."""
    seed: Seed = 0
    """Of the permutations."""
    row_measures: Annotated[list[Annotated[str, OneOf("emoscale.selectivity.row_measures:ROW_MEASURES")]], Distinct] = (
        field(default_factory=list)
    )
    """Measures over single rows (texts, tokens) to compute as well, into row_measures.zarr."""
    alpha: Share = 0.01
    """A test is significant when its q is below; by permutation none is with 1 / alpha - 1 permutations or fewer."""
    block_neurons: Count | None = None
    """The most neurons of one task; as many as machine.memory_limit allows when left out."""
