"""What does it cost to relate every neuron's selectivity to its effect under permuted concepts?

Random activations and effects of --neurons neurons in 30 layers, 27 concepts, 8 replicates and 14 attributes. In turns:

- ours: tau of all attributes and its relation to the effects, on all cores and on one thread;
- tau: the same comparisons of RDMs alone, on one thread, which is the least that a permutation costs;
- plain: the same relations of the same tau with SciPy and NumPy (two rank correlations overall, two within layers, sums
  and counts over nine sizes).

Times are seconds a permutation of the concepts. `share_of_tau` is that of the comparisons in ours on one thread,
`plain_over_ours` the time of the relations alone, plain by ours.

    python -m benchmarks.relation [--neurons N] [--permutations B] [--json FILE]
"""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.common import arguments, seconds, tell
from emoscale.attribution.relate import EffectRanks
from emoscale.selectivity.measures import MEASURES
from emoscale.selectivity.permutation import concept_orders
from emoscale.selectivity.permuted_values import PermutedValues
from emoscale.system.ranks import cores

LAYERS, CONCEPTS, REPLICATES, ATTRIBUTES = 30, 27, 8, 14
SAME = 1e-9


def main() -> None:
    options = arguments(__doc__ or "", neurons=46_080, permutations=16)
    rng = np.random.default_rng(0)
    means = rng.normal(size=(REPLICATES, CONCEPTS, options.neurons))
    effects, layer = rng.normal(size=options.neurons), np.arange(options.neurons) * LAYERS // options.neurons
    permuted = PermutedValues(means, rng.random((CONCEPTS, ATTRIBUTES)), MEASURES["kendall"])
    ranks = EffectRanks.of(effects, np.ones(options.neurons, np.bool_), layer)
    orders = concept_orders(CONCEPTS, options.permutations, 0)
    with ThreadPoolExecutor(cores()) as all_cores, ThreadPoolExecutor(1) as one:
        tau = permuted.compute(orders, all_cores).reshape(-1, options.neurons)
        check(ranks, tau[0], layer)
        ways = {
            "ours": lambda: list(all_cores.map(ranks.relate, permuted.compute(orders, all_cores).reshape(tau.shape))),
            "one_thread": lambda: list(map(ranks.relate, permuted.compute(orders, one).reshape(tau.shape))),
            "tau": lambda: permuted.compute(orders, one),
            "relations": lambda: list(map(ranks.relate, tau)),
            "plain": lambda: [plain(ranks, values, layer) for values in tau[:ATTRIBUTES]],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, way in ways.items():
                times[name].append(seconds(way) / (1 if name == "plain" else options.permutations))
    found = {f"{name}_s": statistics.median(values) for name, values in times.items()}
    found["share_of_tau"] = statistics.median(a / b for a, b in zip(times["tau"], times["one_thread"], strict=True))
    found["plain_over_ours"] = statistics.median(a / b for a, b in zip(times["plain"], times["relations"], strict=True))
    found["minutes_for_999"] = 999 * found["ours_s"] / 60
    asked = {"neurons": options.neurons, "permutations": options.permutations}
    tell("Relation of tau and effect", asked | found, options.json)


def plain(
    ranks: EffectRanks, tau: NDArray[np.float64], layer: NDArray[np.int64]
) -> tuple[list[float], list[float], list[float]]:
    """Relate one attribute's tau to the effects by NumPy and SciPy alone."""
    groups, size = [np.flatnonzero(layer == one) for one in np.unique(layer)], np.abs(ranks.effects)

    def centered(values: NDArray[np.float64], groups: list[NDArray[np.intp]]) -> NDArray[np.float64]:
        found = np.empty(len(values))
        for own in groups:
            found[own] = rankdata(values[own]) - (len(own) + 1) / 2
        return found

    rho = []
    for some in ([np.arange(len(tau))], groups):
        x = centered(tau, some)
        for values in (ranks.effects, size):
            y = centered(values, some)
            rho.append(float(x @ y / np.sqrt((x @ x) * (y @ y))))
    order, needed = np.argsort(-tau), np.argsort(ranks.effects)
    sums = [float(ranks.effects[order[:k]].sum()) for k in ranks.sizes]
    shared = [float(np.isin(order[:k], needed[:k]).sum()) for k in ranks.sizes]
    return rho, sums, shared


def check(ranks: EffectRanks, tau: NDArray[np.float64], layer: NDArray[np.int64]) -> None:
    """Raise unless both give the same correlations."""
    difference = np.abs(ranks.relate(tau)[0] - plain(ranks, tau, layer)[0]).max()
    if difference > SAME:
        raise SystemExit(f"rank correlations differ from SciPy's by {difference}")


if __name__ == "__main__":
    main()
