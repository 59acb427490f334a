"""What the columns of the tables of estimated effects, and of faithfulness, are."""

from __future__ import annotations

from collections.abc import Mapping

from emoscale.analysis.codebook import (
    BY_LARGEST,
    NATS,
    ZERO_OR_MORE,
    Column,
    columns,
    correlation,
    count,
    interval,
    null,
    p_value,
    share,
)

_BY_PERMUTATION = "two-sided, permutations of the concepts"
_FAITHFUL = "bootstrap over texts, and draws where there are several"
_AREAS = {
    "gap": (NATS, "outcome with all neurons minus with none"),
    "cpr": ("", "mean faithfulness over the share of neurons kept (higher is better)"),
    "cmd": ("", "mean distance of faithfulness from 1 over the share kept (0 is best)"),
    "over_random": ("", "cpr minus that of random neurons"),
}

EFFECT_COLUMNS: dict[str, Mapping[str, Column]] = {
    "effect_agreement": columns(
        "k items estimated exact slope",
        {
            "stratum": Column("what was sampled: single neurons, or groups"),
            "samples": count("neurons or groups that were ablated"),
            "r": correlation("correlation over samples of estimated and exact change"),
            "item_r": correlation("the same over items and samples"),
            "item_slope": Column("slope of the exact by the estimated change over items and samples"),
        },
    ),
    "effects_by_layer": columns(
        "layer neurons",
        {
            "effect": Column("sum of the neurons' mean estimated effects", NATS),
            "size": Column("sum of their sizes", NATS, ZERO_OR_MORE),
            "share": share("of that sum over all layers"),
        },
    ),
    "most_needed": columns(
        "layer",
        {
            "expert": Column("expert of the layer; -1 without experts", "", "from -1"),
            "unit": count("number of the neuron within its layer (and expert)"),
            "effect": Column("mean estimated effect of editing it; negative: the outcome falls", NATS),
            "concepts": count("concepts and replicates whose items contribute a loss"),
            "attribute": Column("attribute with the largest tau"),
            "tau": correlation("its tau"),
        },
    ),
    "tau_and_effect": columns(
        "p_corrected",
        {
            "relation": Column("what tau is related to: the effect or its size, over all neurons or within layers"),
            "attribute": Column("attribute, or the mean over attributes"),
            "rho": correlation("Spearman correlation over neurons of tau with the estimated effect"),
            **null(""),
            "p": p_value(_BY_PERMUTATION),
        },
    ),
    "effect_of_selective": columns(
        "k p_corrected",
        {
            "attribute": Column("attribute, or the mean over attributes"),
            "effect": Column("sum of the estimated effects of the k neurons with the largest tau", NATS),
            **null(NATS),
            "p": p_value(f"{_BY_PERMUTATION}, of the effect"),
            "shared": count("of these neurons, those among the k with the largest estimated loss", "neurons"),
            "shared_expected": count("mean of that over permutations of the concepts", "neurons"),
            "shared_p": p_value(f"{_BY_PERMUTATION}, of shared"),
            "shared_p_corrected": p_value(f"as shared_p, corrected over attributes {BY_LARGEST}", "p, corrected"),
        },
    ),
    "shared_effects": columns(
        "k attribute_1 attribute_2",
        {
            "effect_1": Column("sum of the estimated effects of the first attribute's k neurons", NATS),
            "effect_2": Column("the same of the second", NATS),
            "shared_effect": Column("the same of the neurons that both have", NATS),
        },
    ),
    "concept_effects": columns(
        "k concept",
        {
            "own": Column("effect of the concept's neurons on its own items, chosen on the other half", NATS),
            "others": Column("the same on the other concepts' items, mean", NATS),
            "expected": Column("effect on all concepts' items, times the concept's slope", NATS),
            "specificity": Column("own minus expected; negative: the loss costs the concept more", NATS),
            **interval("t over concepts", NATS, "the specificity"),
            "p": p_value(
                "one-sided (specificity below 0); permutations of the concepts, or for one its place by their number"
            ),
            "place": Column("place of the concept among all, 1 for the largest loss to its neurons", "", "1 or more"),
        },
    ),
    "faithfulness": columns(
        "ranking draws",
        {
            "share": share("of all neurons that were kept"),
            "k": count("neurons kept", "neurons"),
            "outcome": Column("mean log-odds of the right answer with only these neurons", NATS),
            "faithfulness": Column("outcome from that with no neuron (0) to that with all (1)"),
            **interval(_FAITHFUL, of="faithfulness"),
        },
    ),
    "faithfulness_areas": columns(
        "ranking draws items",
        {
            name: column
            for measure, (unit, meaning) in _AREAS.items()
            for name, column in {
                measure: Column(meaning, unit),
                **interval(_FAITHFUL, unit, measure, f"{measure}_ci"),
            }.items()
        },
    ),
    "mask_effects": columns("kind attribute k draw estimated exact"),
    "mask_effect_agreement": columns(
        "kind k masks estimated exact slope", {"r": correlation("correlation over masks of estimated and exact change")}
    ),
    "control_variates": columns(
        "control k masks estimated exact",
        {
            "se": Column("standard error of exact over draws", NATS, ZERO_OR_MORE),
            **interval("t over draws", NATS, "exact"),
            "expected": Column("mean estimated change over all masks that can be drawn", NATS),
            "beta": Column("slope of the exact by the estimated change over draws"),
            "rho": correlation("their correlation"),
            "adjusted": Column("mean exact change over all masks that can be drawn, by regression", NATS),
            "adjusted_se": Column("its standard error", NATS, ZERO_OR_MORE),
            **interval("t over draws", NATS, "adjusted", "adjusted"),
            "variance_ratio": Column("adjusted_se squared by se squared", "", ZERO_OR_MORE),
        },
    ),
}
"""By table and column."""
