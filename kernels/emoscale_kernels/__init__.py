"""Array kernels: ndarray in, ndarray out, one thread, no knowledge of who calls.

Callers check and explain their input; a kernel only states what it takes. Every kernel has a plain twin in
``tests/slow_twins.py`` that it must equal. Importing the package does not import PyTorch; only
`emoscale_kernels.torch_backend` does.
"""

from emoscale_kernels.dip import dips
from emoscale_kernels.distances import (
    condensed_distances,
    decimal_distances,
    mean_pair_distances,
    published_distances,
)
from emoscale_kernels.kendall import (
    NullCounts,
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
    MOMENTS_BYTES,
    Moments,
    empty_moments,
    eta_squared,
    group_moments,
    merge_moments,
    pearson_with_scores,
    update_moments,
)
from emoscale_kernels.rank_relations import (
    centered_ranks,
    first_sums,
    group_order,
    order_within,
    rank_correlations,
)
from emoscale_kernels.ranks import RankSummary, auroc, rank_summary, spearman_with_scores

__all__ = [
    "MOMENTS_BYTES",
    "Moments",
    "NullCounts",
    "Patterns",
    "RankSummary",
    "Rdms",
    "attribute_patterns",
    "auroc",
    "centered_ranks",
    "condensed_distances",
    "decimal_distances",
    "dips",
    "empty_moments",
    "eta_squared",
    "first_sums",
    "group_moments",
    "group_order",
    "kendall_block",
    "mean_pair_distances",
    "merge_moments",
    "numerators",
    "order_within",
    "pack_rdms",
    "pearson_with_scores",
    "permuted_patterns",
    "published_distances",
    "rank_correlations",
    "rank_summary",
    "spearman_with_scores",
    "tau_b",
    "update_moments",
]
