"""How fast is the searchlight compared with SciPy, rsatoolbox and R, and with the limit of the processor?

36,864 neurons x 14 attributes, 27 concepts, 12 replicates: the size of the published study, from activations to tau.
The others are timed on a sample of the tests, from distances to tau, one test at a time, and extrapolated.

    python -m benchmarks.searchlight [--json FILE]

rsatoolbox is in the extra `bench` (pip install 'emoscale[bench]'); R is timed if Rscript is on the path.
"""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.common import arguments, clock_ghz, median_seconds, tell, vector_bits
from emoscale.selectivity.kendall import permuted, tau
from emoscale.selectivity.permutation import concept_orders
from emoscale_kernels import attribute_patterns, decimal_distances, mean_pair_distances

NEURONS, ATTRIBUTES, CONCEPTS, REPLICATES = 36_864, 14, 27, 12
BLOCK, THREADS = 2048, 2
SAMPLED = 20
"""Neurons whose tests the others do."""
VECTORS_A_CYCLE = 2
"""Vector instructions that a core of the last years starts in a cycle."""


def main() -> None:
    options = arguments(__doc__ or "", permutations=999)
    generator = np.random.default_rng(0)
    values = generator.normal(size=(REPLICATES, CONCEPTS, NEURONS)).astype(np.float32)
    scores = generator.random((CONCEPTS, ATTRIBUTES)).round(3)  # ratings have few digits, so some distances are equal
    distances = decimal_distances(scores)
    patterns = attribute_patterns(distances)
    blocks = [values[:, :, first : first + BLOCK] for first in range(0, NEURONS, BLOCK)]
    orders = concept_orders(CONCEPTS, options.permutations, 0)

    def on_threads(work: Any, threads: int) -> list[Any]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, blocks))

    ours = np.concatenate(on_threads(lambda block: tau(block, patterns), THREADS))
    ours_s = median_seconds(lambda: on_threads(lambda block: tau(block, patterns), THREADS), options.repeats)
    one_s = median_seconds(lambda: on_threads(lambda block: tau(block, patterns), 1), options.repeats)
    permuted_s = median_seconds(
        lambda: on_threads(lambda block: permuted(block, patterns, orders), THREADS), options.repeats, warm=False
    )
    sample = mean_pair_distances(values[:, :, :SAMPLED])
    scale = NEURONS / SAMPLED
    scipy_s = scale * median_seconds(lambda: scipy_taus(sample, distances), options.repeats)
    floor_s = NEURONS * floor_seconds()
    numbers = {
        "threads": THREADS,
        "ours_s": ours_s,
        "ours_one_thread_s": one_s,
        "sampled_tests": SAMPLED * ATTRIBUTES,
        "scipy_s": scipy_s,
        "speedup_scipy": scipy_s / ours_s,
        "speedup_scipy_one_thread": scipy_s / one_s,
        "max_abs_difference_scipy": float(np.abs(ours[:SAMPLED] - scipy_taus(sample, distances)).max()),
        **rsatoolbox_numbers(sample, distances, ours_s, one_s, scale, options.repeats),
        **r_numbers(sample, distances, ours_s, scale),
        "permutations": options.permutations,
        "permutations_s": permuted_s,
        "permutations_per_s": options.permutations / permuted_s,
        **gpu_numbers(values, patterns, orders, options.repeats),
        "clock_ghz": clock_ghz(),
        "vector_bits": vector_bits(),
        "floor_one_thread_s": floor_s,
        "one_thread_over_floor": one_s / floor_s,
    }
    tell("Searchlight: 36,864 neurons x 14 attributes, C = 27, R = 12", numbers, options.json)


def scipy_taus(sample: np.ndarray, distances: np.ndarray) -> np.ndarray:
    return np.array([[kendalltau(x, y, method="asymptotic").statistic for y in distances] for x in sample])


def rsatoolbox_numbers(
    sample: np.ndarray, distances: np.ndarray, ours_s: float, one_s: float, scale: float, repeats: int
) -> dict[str, float | str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from rsatoolbox.rdm import RDMs, compare
    except ImportError:
        return {"rsatoolbox_s": "not installed"}
    neurons, attributes = RDMs(sample), RDMs(distances)
    seconds = scale * median_seconds(lambda: compare(neurons, attributes, method="kendall"), repeats)
    return {
        "rsatoolbox_s": seconds,
        "speedup_rsatoolbox": seconds / ours_s,
        "speedup_rsatoolbox_one_thread": seconds / one_s,
    }


_R = """
arguments <- commandArgs(TRUE)
neurons <- as.matrix(read.csv(arguments[1], header = FALSE))
attributes <- as.matrix(read.csv(arguments[2], header = FALSE))
seconds <- system.time(for (i in seq_len(nrow(neurons))) for (j in seq_len(nrow(attributes)))
  cor.test(neurons[i, ], attributes[j, ], method = "kendall", alternative = "greater", exact = FALSE))
cat(seconds[["elapsed"]])
"""


def r_numbers(sample: np.ndarray, distances: np.ndarray, ours_s: float, scale: float) -> dict[str, float | str]:
    program = which("Rscript")
    if program is None:
        return {"r_s": "no Rscript"}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("neurons.csv", "attributes.csv")]
        for file, table in zip(files, (sample, distances), strict=True):
            np.savetxt(file, table, delimiter=",")
        run = subprocess.run([program, "-e", _R, *map(str, files)], check=True, capture_output=True, text=True)
    seconds = scale * float(run.stdout)
    return {"r_s": seconds, "speedup_r": seconds / ours_s}


def gpu_numbers(values: np.ndarray, patterns: Any, orders: np.ndarray, repeats: int) -> dict[str, float | str]:
    if not torch.cuda.is_available():
        return {"gpu": "none"}
    seconds = median_seconds(lambda: permuted(values, patterns, orders, backend="cuda"), repeats)
    return {"gpu": torch.cuda.get_device_name(), "permutations_per_s_gpu": len(orders) / seconds}


def floor_seconds() -> float:
    """Estimate the least time for a neuron: the vector instructions that the method needs, without stalls."""
    pairs = CONCEPTS * (CONCEPTS - 1) // 2
    comparisons = pairs * (pairs - 1) // 2
    bits = vector_bits()
    instructions = (
        REPLICATES * pairs * 3 * 64 / bits  # subtract, absolute value, add
        + pairs * 2 * 64 / bits  # divide, scale to an integer
        + comparisons * 2 * 32 / bits  # subtract, shift the sign in
        + comparisons * ATTRIBUTES * 3 / bits  # XOR and AND in one, popcount, add
    )
    return instructions / VECTORS_A_CYCLE / (clock_ghz() * 1e9)


if __name__ == "__main__":
    main()
