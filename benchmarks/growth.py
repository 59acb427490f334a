"""How does the time of the searchlight grow with neurons, attributes, concepts and permutations?

One thread; around 256 neurons, 14 attributes, 27 concepts, 12 replicates and no permutations, one size is varied.
Each series ends with the exponent of its last doubling: time is proportional to the size to that power.

    python -m benchmarks.growth [--picture FILE] [--json FILE]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import arguments, median_seconds, tell
from emoscale.selectivity.kendall import permuted, tau
from emoscale.selectivity.permutation import concept_orders
from emoscale_kernels import attribute_patterns, decimal_distances
from emoscale_kernels.kendall import BITS_BELOW_CONCEPTS

USUAL = {"neurons": 256, "attributes": 14, "concepts": 27, "permutations": 0}
SERIES = {
    "neurons": [64, 256, 1024, 4096, 16_384, 65_536],
    "attributes": [1, 2, 4, 8, 16, 32, 64, 128, 256],
    "concepts": [7, 14, 27, 54, 80, 110, 139, 140, 200, 260],
    "permutations": [8, 16, 32, 64, 128, 256, 512],
}
REPLICATES = 12


def main() -> None:
    options = arguments(__doc__ or "", picture="")
    seconds = {
        name: [median_seconds(work(**{**USUAL, name: size}), options.repeats) for size in sizes]
        for name, sizes in SERIES.items()
    }
    numbers = {
        f"{name}_{size}_s": s for name, sizes in SERIES.items() for size, s in zip(sizes, seconds[name], strict=True)
    }
    for name, sizes in SERIES.items():
        (before, last), (start, end) = sizes[-2:], seconds[name][-2:]
        numbers[f"{name}_last_exponent"] = math.log(end / start) / math.log(last / before)
    tell("Time of the searchlight, one thread", numbers, options.json)
    if options.picture:
        draw(seconds, Path(options.picture))


def work(neurons: int, attributes: int, concepts: int, permutations: int) -> Callable[[], object]:
    """Return the work to time."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(REPLICATES, concepts, neurons))
    patterns = attribute_patterns(decimal_distances(generator.random((concepts, attributes)).round(3)))
    if not permutations:
        return lambda: tau(values, patterns)
    orders = concept_orders(concepts, permutations, 0)
    return lambda: permuted(values, patterns, orders)


def draw(seconds: dict[str, list[float]], file: Path) -> None:
    figure, all_axes = plt.subplots(1, len(SERIES), figsize=(11, 2.8), sharey=True, layout="constrained")
    for axes, (name, sizes) in zip(all_axes, SERIES.items(), strict=True):
        axes.loglog(sizes, seconds[name], marker="o", markersize=4, color="#2f5d8a")
        axes.set_xlabel(name)
        axes.grid(which="major", color="#e5e5e5")
        axes.spines[["top", "right"]].set_visible(False)
        if name == "concepts":
            axes.axvline(BITS_BELOW_CONCEPTS, color="#999999", linestyle=":", linewidth=1)
            axes.annotate("merge sort", (BITS_BELOW_CONCEPTS, 0.02), xycoords=("data", "axes fraction"), fontsize=8)
    all_axes[0].set_ylabel("seconds, one thread")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
