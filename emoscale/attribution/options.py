"""Settings of the attribution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from emoscale.analysis.options import AnalysisOptions
from emoscale.system.option_types import OPTIONS, Count, Distinct, OneOf, Precision, Seed, Share

SHARES: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of all neurons, the first ones of a ranking; those of Mueller et al. (2025), MIB, arXiv 2504.13151."""


@dataclass(frozen=True)
class AttributionOptions:
    """Estimated effects of every neuron."""

    __pydantic_config__ = OPTIONS

    normalization: Annotated[str, OneOf("emoscale.tasks.outcomes:NORMALIZATIONS")] = AnalysisOptions.normalization
    """How scores are made comparable before the log-odds of the right answer are taken; by default as in the analysis
    by default."""
    steps: Count = 1
    """Points on the way from a neuron's value to its edited value at which the gradient is taken (integrated
    gradients). With more than one, each layer has passes of its own: as many times the work as there are layers and
    steps."""
    keep: Literal["moments", "items"] = "moments"
    """Count, mean and spread of the effects by concept, replicate and half of the items, or every item's effects."""
    dtype: Annotated[str, OneOf("emoscale.store.types:STORED_TYPES")] = "float32"
    """Of ``keep: items``: type of the effects in the store; moments are float64."""
    precision: Precision = "exact"
    """``exact`` is the type of the weights; ``bfloat16`` is faster where the device has it."""
    tokens_per_pass: Count | None = None
    """Tokens of one pass; measured by default."""
    block_rows: Count = 64
    """Items computed, written and committed at a time."""
    chunk_neurons: Count = 1024
    """Neurons in a chunk of the store."""
    reduction_shards: Count = 16
    """Shards of the items in which moments are summed, shared by the ranks."""
    exact_neurons: Annotated[StrictInt, Field(ge=0)] = 16
    """Neurons with the largest estimates on single items (root mean square) that are ablated one at a time; what they
    do is used in place of the estimates. A few neurons with very large activations have effects that no estimate of
    first order shows."""
    check_neurons: Annotated[StrictInt, Field(ge=0)] = 200
    """Single neurons that are ablated exactly, to compare: a quarter each of the 0.1 % with the largest estimates, of
    the rest of the first 1 %, of the rest of the first 10 %, and of all others."""
    check_groups: list[Share] = field(default_factory=lambda: [0.0005, 0.005, 0.05])
    """Sizes of random groups of neurons that are ablated exactly, as shares of all neurons."""
    check_draws: Count = 8
    """Groups of each size."""
    check_items: Count = 54
    """The most items on which they are compared."""
    seed: Seed = 0
    """Of the neurons and groups that are compared."""
    permutations: Annotated[StrictInt, Field(ge=0)] = 999
    """Permutations of the concepts with which the relation of selectivity to effect is compared; the first ones of
    ``selectivity.seed``."""


@dataclass(frozen=True)
class FaithfulnessOptions:
    """How much of the outcome the first neurons of a ranking carry alone, all others edited."""

    __pydantic_config__ = OPTIONS

    rankings: Annotated[list[Annotated[str, OneOf("emoscale.attribution.rankings:RANKINGS")]], Distinct] = field(
        default_factory=list
    )
    """What neurons are ranked by; none by default, and nothing is measured then: ``effect``, those with the largest
    estimated loss first (estimated for ``ablation.edit``); ``tau``, the most selective for any attribute first;
    ``both``, by the mean of these two ranks; ``random``, which the others are compared with."""
    shares: Annotated[list[Share], Field(min_length=1), Distinct] = field(default_factory=lambda: list(SHARES))
    """Shares of all neurons that are kept, beside none and all."""
    draws: Count = 5
    """Random rankings."""
    edit: Annotated[str, OneOf("emoscale.ablation.edits:EDITS")] = "mean"
    """What becomes of all other neurons, see ``ablation.edit``."""
    items: Count = 54
    """The most items on which it is measured."""
    seed: Seed = 0
    """Of the random rankings."""
