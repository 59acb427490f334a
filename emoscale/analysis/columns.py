"""What the columns of every result table are."""

from __future__ import annotations

from collections.abc import Mapping

from emoscale.analysis.codebook import (
    BY_LARGEST,
    NATS,
    OUTCOME,
    SHARED,
    TRUE_OR_FALSE,
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
from emoscale.analysis.effect_columns import EFFECT_COLUMNS


def _drop_by(what: str, over: str) -> dict[str, Column]:
    shared = f"control k {what} drop d df accuracy_drop kl_selective kl_control"
    test = f"one-sided (drop above 0), paired t over {over}, which takes the masks for given"
    own = {
        "n": count(over),
        **interval(f"t over {over}", OUTCOME, "the drop"),
        "t": Column(f"paired t over {over}, with the sign of the drop"),
        "p": p_value(test),
    }
    if what:
        rows = "the rows of one control and k"
        own["q"] = p_value(f"as p, Benjamini and Hochberg over {rows}", "p, corrected for false discoveries")
        own["q_published"] = SHARED["q_published"]
    return columns(shared, own)


def _of_half(number: int, replicates: str) -> dict[str, Column]:
    over = "items and masks of permuted concepts"
    own = {
        "drop": Column(f"mean outcome after these masks minus after that of neurons chosen by {replicates}", OUTCOME),
        **interval(over, OUTCOME, f"drop_{number}"),
        **interval(f"{over}; two one-sided tests at .05", OUTCOME, f"drop_{number}", "equivalence", 90),
        "p_corrected": p_value(
            f"two-sided, ablated masks of permuted concepts, corrected over attributes {BY_LARGEST}", "p, corrected"
        ),
        "answer": Column("whether these neurons are needed", "", "yes, no, unknown"),
    }
    return {f"{name}_{number}": column for name, column in own.items()}


RATING_AGREEMENT: Mapping[str, Column] = {
    "attribute": Column("attribute, or component of the ratings of events"),
    "icc_type": Column("kind of intraclass correlation"),
    "icc": Column("intraclass correlation of the mean rating", "", "1 or less"),
    "F": Column("F of the concepts", "", ZERO_OR_MORE),
    "df1": Column("its degrees of freedom, concepts", "", ZERO_OR_MORE),
    "df2": Column("its degrees of freedom, residual", "", ZERO_OR_MORE),
    "p": p_value("one-sided (concepts differ), F test over ratings"),
    "q": p_value("as p, Benjamini and Hochberg over attributes", "p, corrected for false discoveries"),
    "ci_low": Column("lower end of the 95 % interval of icc"),
    "ci_high": Column("upper end of the 95 % interval of icc"),
    "reliable": Column("whether q is below the level", "", TRUE_OR_FALSE),
    "raters": count("people whose ratings, or events whose reports, the score rests on; 0 if not known"),
}
"""Of how well raters agree on each attribute."""


COLUMNS: dict[str, Mapping[str, Column]] = {
    "rating_agreement": RATING_AGREEMENT,
    "drop_overall": {
        **_drop_by("", "concepts"),
        "random_masks": count("control masks"),
        "random_error": Column(
            "half the 95 % t interval of the control masks' mean, over draws", OUTCOME, ZERO_OR_MORE
        ),
    },
    "drop_by_attribute": _drop_by("attribute", "pairs (concepts and replicates)"),
    "drop_by_concept": _drop_by("concept", "pairs (attributes and replicates)"),
    "drop_by_concept_attribute": _drop_by("concept attribute", "pairs (replicates)"),
    "accuracy": columns("kind k concept accuracy chance log_odds kl"),
    "unmasked": columns("concept replicate accuracy log_odds"),
    "control_draws": columns(
        "control k attribute draw accuracy", {"value": Column("mean outcome under this mask", OUTCOME)}
    ),
    "unimodality": columns(
        "control k attribute",
        {
            "dip": Column("Hartigan's dip: distance from the nearest distribution with one mode", "", "0 to .25"),
            "p": p_value("one-sided (more than one mode), dip test over concepts"),
        },
    ),
    "specificity": columns(
        "control k attribute concepts",
        {
            "score": Column("attribute on which the concepts are scored"),
            "r": correlation("correlation over concepts of the drop with the score (Pearson)"),
            **interval("Fisher's z over concepts", of="r"),
        },
    ),
    "specificity_summary": columns(
        "control k attributes",
        {
            "own": correlation("mean correlation of drops with the scores on the same attribute"),
            "other": correlation("the same, scores on the other attributes"),
            "difference": Column("own minus other", "", "from -2 to 2"),
            **interval("bootstrap over concepts", of="the difference"),
            "p": p_value("one-sided (own is greater), permutations of the concepts' scores"),
        },
    ),
    "dose_response": columns(
        "control attribute d df",
        {
            "sizes": count("sizes of masks"),
            "slope": Column("change of the drop each time that k doubles, mean over concepts", OUTCOME),
            **interval("t over concepts", OUTCOME, "the slope"),
            "t": Column("t over concepts, with the sign of the slope"),
            "p": p_value("two-sided, t over concepts, which takes the masks for given"),
            "n": count("concepts"),
        },
    ),
    "noise_ceiling": {
        "lower": correlation("mean tau-b of each participant with the mean of the others"),
        "upper": correlation("the same with the mean of all"),
        "participants": count("people who judged"),
    },
    "importance": columns(
        "attribute q_published",
        {
            "tau": correlation("Kendall's tau-b of people's dissimilarities with the attribute's differences"),
            **interval("bootstrap over participants", of="tau"),
            "p": p_value("one-sided (tau is greater), permutations of the concepts (Mantel)"),
            "p_corrected": p_value(f"as p, corrected over attributes {BY_LARGEST}", "p, corrected"),
            "q": p_value("as p, Benjamini and Hochberg over attributes", "p, corrected for false discoveries"),
            "p_published": p_value("one-sided (tau is greater), asymptotic over pairs of concepts as if independent"),
        },
    ),
    "correlation_by_concept": columns(
        "control k concept",
        {"r": correlation("correlation over attributes of the concept's drops with importance (Pearson)")},
    ),
    "human_comparison": columns(
        "control k df concepts",
        {
            "mean_r": correlation("mean over concepts of the correlation of drops with importance (by Fisher's z)"),
            **interval("t over concepts, which takes attributes and masks for given", of="mean_r"),
            "t": Column("t over concepts, with the sign of mean_r"),
            "p": p_value("two-sided, t over concepts as published, which takes attributes and masks for given"),
        },
    ),
    "mean_drop_correlation": columns(
        "control k attributes",
        {
            "r": correlation("correlation over attributes of the mean drop with importance (Pearson)"),
            **interval("Fisher's z over attributes, as if they were independent", of="r"),
            "p": p_value("two-sided, t over attributes, as if they were independent"),
        },
    ),
    "inference": columns(
        "attribute alpha",
        {
            "tests": count("neurons that have tau", "neurons"),
            "asymptotic": Column(
                "significant as published", "neurons", ZERO_OR_MORE, "q_published of one-sided p, asymptotic"
            ),
            "chosen": Column(
                "significant by the inference chosen",
                "neurons",
                ZERO_OR_MORE,
                "q of one-sided p (selectivity.inference)",
            ),
            "attribute_corrected": Column(
                "significant at .05, corrected over the attribute's neurons",
                "neurons",
                ZERO_OR_MORE,
                "one-sided, largest tau of each permutation of the concepts",
            ),
            "all_corrected": Column(
                "significant at .05, corrected over neurons and attributes",
                "neurons",
                ZERO_OR_MORE,
                "one-sided, largest tau of each permutation of the concepts",
            ),
            "spread": Column("tau's standard deviation under permutation by the one that the published test takes"),
        },
    ),
    "reliability": columns(
        "attribute",
        {
            "split_half": correlation("correlation over neurons of tau from odd and from even replicates"),
            "reliability": share("of tau from all replicates (Spearman and Brown)"),
            "ceiling": share("square root of the reliability: the most that another map can correlate"),
        },
    ),
    "significant": columns(
        "attribute layer",
        {
            "neurons": count("significant neurons (q < alpha)", "neurons"),
            "share": share("significant neurons of the layer's"),
        },
    ),
    "tau_summary": columns(
        "attribute neurons alpha",
        {
            "max_tau": correlation("largest tau of any neuron"),
            "median_tau": correlation("median tau over neurons"),
            "significant": count("significant neurons (q < alpha)", "neurons"),
            "undefined": count("neurons without tau (constant, or absent in a concept)", "neurons"),
        },
    ),
    "overlap": columns(
        "k attribute_1 attribute_2",
        {
            "shared": count("neurons that both selective masks have", "neurons"),
            "expected": count("the same for two random masks, mean", "neurons"),
            "ratio": Column("shared by expected", "", ZERO_OR_MORE),
        },
    ),
    "choice": columns(
        "kind k attribute accuracy chance",
        {
            "normalization": Column("how scores of options were normalized (analysis.normalization)"),
            **interval("t over concepts", "share", "the accuracy"),
            "top3": share("items whose right answer is among the three best"),
            **interval("t over concepts", "share", "top3", "top3_ci"),
        },
    ),
    "confusion": columns(
        "kind k concept", {"answer": Column("concept that was answered"), "share": share("of the concept's items")}
    ),
    "needed": columns(
        "k df p_corrected accuracy_drop",
        {
            "attribute": Column("attribute, or the mean over attributes"),
            "draws": count("masks of permuted concepts that were ablated"),
            "items": count("items that were asked under the attribute's masks, of the mean the fewest"),
            "drop": Column(
                "mean outcome after these masks minus after the selective one; positive: it is needed", OUTCOME
            ),
            **interval("items and masks", OUTCOME, "the drop"),
            "se": Column("standard error of the drop over items and masks", OUTCOME, ZERO_OR_MORE),
            **interval("items and masks; two one-sided tests at .05", OUTCOME, "the drop", "equivalence", 90),
            "p": p_value("two-sided, ablated masks of permuted concepts"),
            "estimated_drop": Column("the same drop by the sum of the neurons' estimated effects", NATS),
            "estimated_draws": count("permutations of the concepts"),
            "estimated_low": Column("lower end of the middle 95 % under permutation", NATS),
            "estimated_high": Column("upper end of the middle 95 % under permutation", NATS),
            "estimated_p": p_value("two-sided, permutations of the concepts, of the estimated drop"),
            "estimated_p_corrected": p_value(f"as estimated_p, corrected over attributes {BY_LARGEST}", "p, corrected"),
            "accuracy_low": Column("lower end of the 95 % interval of accuracy_drop; items and masks", "share"),
            "accuracy_high": Column("upper end of the 95 % interval of accuracy_drop; items and masks", "share"),
            "tests_disagree": Column(
                "whether exact and estimated test fall on different sides of .05", "", TRUE_OR_FALSE
            ),
            "answer": Column("whether the neurons are needed", "", "yes, no, unknown"),
        },
    ),
    "held_out": columns(
        "k",
        {
            "attribute": Column("attribute, or the mean over attributes"),
            "draws": count("masks of permuted concepts that either half is compared with"),
            "shared": share("the neurons of one half's mask that the other half's has too"),
            "shared_by_chance": share("the same for two random masks, mean"),
            **_of_half(1, "the first, third, ... replicate"),
            **_of_half(2, "the second, fourth, ... replicate"),
            "same": Column("whether both answers are equal", "", TRUE_OR_FALSE),
        },
    ),
    "permuted_tests": columns(
        "draws",
        {
            "statistic": Column("what is tested over all attributes"),
            "k": count("neurons of each mask; 0 for the dose, which is over all sizes", "neurons"),
            "value": Column("the statistic, selective masks"),
            **interval("items and masks", of="the value"),
            "null_low": Column("lower end of the middle 95 % over masks of permuted concepts"),
            "null_high": Column("upper end of the middle 95 % over masks of permuted concepts"),
            "p": p_value("two-sided, ablated masks of permuted concepts"),
            "estimated_value": Column("the statistic by the sums of the neurons' estimated effects"),
            "estimated_null_low": Column("lower end of its middle 95 % under permutation"),
            "estimated_null_high": Column("upper end of its middle 95 % under permutation"),
            "estimated_draws": count("permutations of the concepts"),
            "estimated_p": p_value("two-sided, permutations of the concepts, of the estimated value"),
        },
    ),
    "verdicts": columns(
        "k",
        {
            "question": Column("what is asked", "", "task, followers, need, people"),
            "answer": Column("the answer", "", "yes, no, unknown"),
            "reason": Column("why the answer is that"),
            "value": Column("accuracy, followers, drop, or correlation with people: what answers the question"),
            **interval("of followers the middle 95 % under permutation", of="the value"),
            "reference": Column("what the value is held against: chance, all neurons, the smallest effect of interest"),
            "p": p_value("as in the table that the value is from"),
            "attributes": Column("attributes that the answer rests on"),
        },
    ),
    "followers": columns(
        "attribute",
        {
            "followers": count("neurons beyond their own null: tau is largest under the true order", "neurons"),
            **null("neurons"),
            "null_largest": count("most under any permutation", "neurons"),
            "p": p_value("one-sided (more than under permutation), permutations of the concepts"),
            "p_corrected": p_value("as p, corrected over attributes by the largest count", "p, corrected"),
            "neurons": count("neurons that have tau", "neurons"),
        },
    ),
    **EFFECT_COLUMNS,
}
"""What the columns of each result table are, by table and column."""
