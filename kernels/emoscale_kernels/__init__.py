"""Array kernels: ndarray in, ndarray out, one thread, no knowledge of who calls.

Callers check and explain their input; a kernel only states what it takes. Every kernel has a plain twin in
``tests/slow_twins.py`` that it must equal.
"""

from emoscale_kernels.kendall import Patterns, attribute_patterns, kendall_block, kendall_distances, tau_b
from emoscale_kernels.pairs import condensed_distances, decimal_distances, mean_pair_distances
from emoscale_kernels.published import published_distances

__all__ = [
    "Patterns",
    "attribute_patterns",
    "condensed_distances",
    "decimal_distances",
    "kendall_block",
    "kendall_distances",
    "mean_pair_distances",
    "published_distances",
    "tau_b",
]
