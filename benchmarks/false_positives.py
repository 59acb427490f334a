"""How often does each test call a random neuron significant?

Neurons of random numbers, two replicates, against an attribute with few distinct scores, one with uniform and one with
skewed scores; the share of p below a level should be the level.

    python -m benchmarks.false_positives [--neurons N] [--concepts C] [--json FILE]
"""

from __future__ import annotations

import numpy as np

from benchmarks.common import arguments, tell
from emoscale.selectivity.kendall import permuted
from emoscale.selectivity.permutation import concept_orders
from emoscale_kernels import attribute_patterns, decimal_distances

LEVELS = (0.05, 0.01, 0.001)


def main() -> None:
    options = arguments(__doc__ or "", neurons=20_000, concepts=27, permutations=999)
    C = options.concepts
    numbers: dict[str, float] = {}
    for seed in range(options.repeats):
        generator = np.random.default_rng(seed)
        values = generator.normal(size=(2, C, options.neurons))
        scores = {
            "few": generator.integers(0, 4, C).astype(float),
            "even": np.arange(C, dtype=float),
            "skewed": generator.lognormal(size=C),
        }
        patterns = attribute_patterns(decimal_distances(np.column_stack(list(scores.values()))))
        results = permuted(values, patterns, concept_orders(C, options.permutations, seed))
        for level in LEVELS:
            for a, name in enumerate(scores):
                for kind, p in (("permutation", results.p), ("asymptotic", results.p_asymptotic)):
                    key = f"{kind}_{name}_at_{level:g}"
                    numbers[key] = numbers.get(key, 0.0) + float((p[:, a] < level).mean()) / options.repeats
    tell(f"Shares of neurons without an effect, {options.repeats} simulations", numbers, options.json)


if __name__ == "__main__":
    main()
