"""Array kernels: ndarray in, ndarray out, one thread, no knowledge of who calls.

Callers check and explain their input; a kernel only states what it takes. Every kernel has a plain twin in
``tests/slow_twins.py`` that it must equal.
"""

from emoscale_kernels.kendall import (
    Patterns,
    Rdms,
    attribute_patterns,
    kendall_block,
    numerators,
    pack_rdms,
    permuted_patterns,
    tau_b,
)
from emoscale_kernels.moments import (
    Moments,
    empty_moments,
    eta_squared,
    group_moments,
    merge_moments,
    pearson_with_scores,
    update_moments,
)
from emoscale_kernels.null import NullCounts, count_null, empty_null_counts
from emoscale_kernels.pairs import condensed_distances, decimal_distances, mean_pair_distances
from emoscale_kernels.published import published_distances
from emoscale_kernels.ranks import RankSummary, auroc, rank_summary, spearman_with_scores

__all__ = [
    "Moments",
    "NullCounts",
    "Patterns",
    "RankSummary",
    "Rdms",
    "attribute_patterns",
    "auroc",
    "condensed_distances",
    "count_null",
    "decimal_distances",
    "empty_moments",
    "empty_null_counts",
    "eta_squared",
    "group_moments",
    "kendall_block",
    "mean_pair_distances",
    "merge_moments",
    "numerators",
    "pack_rdms",
    "pearson_with_scores",
    "permuted_patterns",
    "published_distances",
    "rank_summary",
    "spearman_with_scores",
    "tau_b",
    "update_moments",
]
