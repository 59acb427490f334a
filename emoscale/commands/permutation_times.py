"""How long what is computed for permuted concepts would take here, from a small piece of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from emoscale.attribution.relate import EffectRanks, relate_orders
from emoscale.commands.stage_times import beside_the_run, random_activations, rate, sizes_of_masks
from emoscale.extraction.inputs import Amount
from emoscale.masks.controls import of_permuted_concepts
from emoscale.pipeline.context import Context
from emoscale.selectivity.permutation import concept_orders
from emoscale.selectivity.permuted_values import PermutedValues, values_of_orders
from emoscale.system.progress import Silent

_TRIED_NEURONS = 256
_TRIED_ORDERS = 16
"""As many as are computed together."""


def permutation_seconds(context: Context, amount: Amount, seconds: float) -> dict[str, float]:
    """Estimate the time of the stages that compute the map of neurons again for permuted concepts.

    Some neurons with random activations are compared with a few permutations; the whole is as many times that as there
    are neurons and permutations.

    Parameters
    ----------
    context : Context
    amount : Amount
        How much there is to extract.
    seconds : float
        See `rate`; for each stage.

    Returns
    -------
    dict of str to float
        By stage; ``mask`` only if it has permuted masks.
    """
    settings, neurons = context.settings, context.outline.neurons
    found = {}
    if permutations := settings.attribution.permutations:
        found["relate"] = (1 + permutations) * neurons / _rate(context, amount, seconds, relates=True)
    if of_permuted_concepts(settings.masks.controls):
        found["mask"] = settings.masks.permutations * neurons / _rate(context, amount, seconds, relates=False)
    return found


def _rate(context: Context, amount: Amount, seconds: float, *, relates: bool) -> float:
    """Return neurons times permutations a second: of their selectivity, and of what is made of it."""
    concepts, options, executor = context.concepts, context.settings.selectivity, context.executor
    orders = concept_orders(len(concepts.names), _TRIED_ORDERS, 0)
    rng = np.random.default_rng(0)
    with beside_the_run() as folder:

        def run(neurons: int) -> tuple[int, float]:
            store = random_activations(context, amount, neurons, folder)
            values = PermutedValues.of(store, concepts, options, executor, Silent())
            ranks = _ranks(context, neurons, rng)
            start = time.perf_counter()
            if relates:
                with ThreadPoolExecutor(executor.threads_here) as threads:
                    relate_orders(values, orders, ranks, threads, Silent())
            else:
                for some in values_of_orders(values, orders, executor.threads_here):
                    np.argsort(-some, axis=1, kind="stable")  # as the masks' neurons are chosen
            return neurons * len(orders), time.perf_counter() - start

        return rate(run, _TRIED_NEURONS, context.outline.neurons, seconds)


def _ranks(context: Context, neurons: int, rng: np.random.Generator) -> EffectRanks:
    layers: Any = np.linspace(0, len(context.outline.sites), neurons, endpoint=False).astype(np.int32)
    sizes = [min(size, neurons) for size in sizes_of_masks(context)]
    return EffectRanks.of(rng.normal(size=neurons), np.ones(neurons, np.bool_), layers, sizes)
