"""The arrays of what editing neurons would change: estimates, exact effects, and how selectivity relates to them."""

from __future__ import annotations

from emoscale.schema import NEURON_COORDINATES, SCORES, Array, StoreSchema, in_shards

EFFECTS = StoreSchema(
    "effects",
    data=(
        Array(
            "effects",
            ("item", "neuron"),
            "float32",
            "What editing the neuron alone would add to the outcome through the item, to first order; NaN where none "
            "of the item's tokens was routed to the neuron's expert",
            "nats",
        ),
    ),
    coordinates=(
        *SCORES.coordinates[:4],
        Array("half", ("item",), "int32", "Half of the items that it is in, 0 or 1; the halves share no text"),
        *NEURON_COORDINATES,
    ),
    written_by="attribute-effects",
)

EFFECT_MOMENTS = StoreSchema(
    "effect moments",
    data=(
        Array("mean", ("cell", "neuron"), "float64", "Mean of the neuron's effect over the cell's items", "nats"),
        Array("m2", ("cell", "neuron"), "float64", "Sum of the squared deviations from that mean"),
        Array("count", ("cell", "neuron"), "int32", "Items in which the neuron was not absent", "items"),
    ),
    coordinates=(
        Array("concept", ("cell",), "str", "Concept the cell's items ask about, or that their texts show"),
        Array("replicate", ("cell",), "str", "Seed of their prompt, or number of their template"),
        Array("half", ("cell",), "int32", "Half of the items that they are in, 0 or 1"),
        Array("rows", ("cell",), "int64", "Number of items of the cell", "items"),
        *NEURON_COORDINATES,
    ),
    written_by="attribute-effects",
)

EFFECT_SHARDS = in_shards(EFFECT_MOMENTS)

EXACT_EFFECTS = StoreSchema(
    "exact effects",
    data=(
        Array(
            "effects",
            ("item", "sample"),
            "float32",
            "Change of the item's scores when the neuron alone is edited, weighed as the outcome weighs them",
            "nats",
        ),
    ),
    coordinates=(
        *EFFECTS.coordinates[:5],
        Array("neuron", ("sample",), "int64", "Number of the neuron"),
    ),
    written_by="attribute-effects",
)

ESTIMATES_ALONE = "single neurons, estimates alone"
"""Of an effect check: all strata of single neurons, with the estimates also where effects were computed exactly."""
SINGLE_NEURONS = "single neurons"
"""Name of all strata of single neurons together, in what is reported of an effect check."""

EFFECT_CHECK = StoreSchema(
    "effect check",
    data=(
        Array(
            "estimated",
            ("item", "sample"),
            "float32",
            "Sum of the estimated effects of the sample's neurons on the outcome through the item",
            "nats",
        ),
        Array(
            "exact",
            ("item", "sample"),
            "float32",
            "Change of the item's scores when these neurons are edited together, weighed as the outcome weighs them",
            "nats",
        ),
        Array("change", ("sample",), "float64", "Change of the mean outcome when they are edited together", "nats"),
    ),
    coordinates=(
        Array("concept", ("item",), "str", "Concept the item asks about, or that its text shows"),
        Array("replicate", ("item",), "str", "Seed of the prompt, or number of the template"),
        Array("stratum", ("sample",), "str", "What the sample's neurons were drawn from"),
        Array("k", ("sample",), "int32", "Number of neurons edited", "neurons"),
        Array("neuron", ("sample",), "int64", "Number of the neuron where it is a single one, else -1"),
        Array("is_exact", ("sample",), "bool", "Whether the run uses the neuron's exact effect, not the estimate"),
    ),
    written_by="attribute-effects",
)

EFFECT, SIZE = "effect", "size of the effect"
EFFECT_IN_LAYERS, SIZE_IN_LAYERS = f"{EFFECT} within layers", f"{SIZE} within layers"
RELATIONS = (EFFECT, SIZE, EFFECT_IN_LAYERS, SIZE_IN_LAYERS)
"""What tau is correlated with over neurons: the estimated effect, and how large it is whatever its sign."""

RELATION = StoreSchema(
    "relation",
    data=(
        Array("rho", ("order", "attribute", "relation"), "float64", "Spearman's rho over neurons, of tau with each"),
        Array(
            "effect",
            ("order", "attribute", "size"),
            "float64",
            "Sum of the estimated effects of the k neurons with the largest tau, of equal tau the lower index",
            "nats",
        ),
        Array(
            "shared",
            ("order", "attribute", "size"),
            "float64",
            "Number of these neurons that are among the k with the largest estimated loss",
            "neurons",
        ),
    ),
    coordinates=(
        Array("order", ("order",), "int32", "0: the concepts as they are; then each permutation of them"),
        Array("attribute", ("attribute",), "str", "Rated attribute of the concepts"),
        Array("relation", ("relation",), "str", "What tau is correlated with, over all neurons or within layers"),
        Array("k", ("size",), "int64", "Number of neurons", "neurons"),
    ),
    written_by="relate",
)

RANDOM_RANKING = "random"
"""Name of the ranking by chance, which the others are compared with."""

FAITHFULNESS = StoreSchema(
    "faithfulness",
    data=(
        Array(
            "log_odds",
            ("item", "mask"),
            "float64",
            "Log-odds of the item's right answer with the mask's neurons as they are and all others edited",
            "nats",
        ),
    ),
    coordinates=(
        *SCORES.coordinates[:4],
        Array("ranking", ("mask",), "str", "Ranking whose first neurons are kept; empty where none or all are"),
        Array("draw", ("mask",), "int32", "Number of the ranking's draw, from 0"),
        Array("k", ("mask",), "int32", "Number of neurons kept", "neurons"),
    ),
    written_by="measure-faithfulness",
)
