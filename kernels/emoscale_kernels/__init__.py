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
from emoscale_kernels.pairs import condensed_distances, decimal_distances, mean_pair_distances
from emoscale_kernels.published import published_distances

__all__ = [
    "Patterns",
    "Rdms",
    "attribute_patterns",
    "condensed_distances",
    "decimal_distances",
    "kendall_block",
    "mean_pair_distances",
    "numerators",
    "pack_rdms",
    "permuted_patterns",
    "published_distances",
    "tau_b",
]
