"""How much faster is the searchlight kernel than SciPy, and are the results the same?

36,864 neurons x 14 attributes, 27 concepts, 12 replicates: the size of the published study. SciPy is timed on a sample
of tests and scaled up.

    python -m benchmarks.searchlight [--json FILE]
"""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau

from benchmarks.common import arguments, median_seconds, tell
from emoscale_kernels import attribute_patterns, decimal_distances, kendall_block, mean_pair_distances, tau_b

NEURONS, ATTRIBUTES, CONCEPTS, REPLICATES = 36_864, 14, 27, 12
BLOCK = 1024
SAMPLED_NEURONS = 20


def main() -> None:
    options = arguments(__doc__ or "")
    generator = np.random.default_rng(0)
    values = generator.normal(size=(REPLICATES, CONCEPTS, NEURONS))
    distances = decimal_distances(generator.random((CONCEPTS, ATTRIBUTES)))
    patterns = attribute_patterns(distances)
    pairs = distances.shape[1]

    def searchlight() -> np.ndarray:
        blocks = (values[:, :, first : first + BLOCK] for first in range(0, NEURONS, BLOCK))
        return np.concatenate([tau_b(*kendall_block(block, patterns), patterns.ties, pairs) for block in blocks])

    ours = searchlight()
    sample = mean_pair_distances(values[:, :, :SAMPLED_NEURONS])

    def scipy_sample() -> np.ndarray:
        return np.array([[kendalltau(x, y, method="asymptotic").statistic for y in distances] for x in sample])

    scipy = scipy_sample()
    scipy_s = median_seconds(scipy_sample, options.repeats) * NEURONS / SAMPLED_NEURONS
    ours_s = median_seconds(searchlight, options.repeats)
    numbers = {
        "ours_s": ours_s,
        "scipy_s": scipy_s,
        "scipy_sampled_tests": SAMPLED_NEURONS * ATTRIBUTES,
        "speedup_scipy": scipy_s / ours_s,
        "max_abs_difference_scipy": float(np.abs(ours[:SAMPLED_NEURONS] - scipy).max()),
    }
    tell("Searchlight, one thread: 36,864 neurons x 14 attributes, C = 27, R = 12", numbers, options.json)


if __name__ == "__main__":
    main()
