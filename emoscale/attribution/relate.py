"""The stage that relates every neuron's selectivity to its estimated effect, against permuted attributes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoscale.attribution.options import SHARES, AttributionOptions
from emoscale.concepts.loading import Concepts
from emoscale.effect_schema import RELATION, RELATIONS
from emoscale.errors import InputError
from emoscale.masks.make_masks import resolve_k
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction, open_finished
from emoscale.schema import SELECTIVITY
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.permutation import concept_orders
from emoscale.selectivity.permuted_values import PermutedValues
from emoscale.store import CommitLog, Store, create_store, open_store
from emoscale.system.progress import Progress
from emoscale_kernels import centered_ranks, first_sums, group_order, order_within, rank_correlations

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ORDERS_A_CHUNK = 16


@dataclass(frozen=True, eq=False)
class EffectRanks:
    """The estimated effects of the neurons that have tau, ready to be related to many tau.

    Attributes
    ----------
    ranked : ndarray of int64, shape (m,)
        The neurons that have tau. The first ones of these are summed over, as in masks.
    effects : ndarray of float64, shape (m,)
        0 where the effect is not known.
    places : ndarray of int64, shape (m,)
        Place of each neuron if those with the largest loss come first, and those of unknown effect last.
    sizes : ndarray of int64, shape (K,)
        Numbers of neurons that are summed over.
    known : ndarray of int64, shape (n,)
        The places in `ranked` of neurons of which the effect is known too. These are correlated.
    number : ndarray of int64, shape (m,)
        Their places in `known`; -1 of others.
    everywhere, layers : ndarray of int64
        Where groups of the known neurons start, and n: one group, and one a layer.
    targets, layer_targets : ndarray of float64, shape (n, 2)
        Centred ranks of the known effects and of their sizes, over all neurons and within layers.
    """

    ranked: Integers
    effects: Floats
    places: Integers
    sizes: Integers
    known: Integers
    number: Integers
    everywhere: Integers
    layers: Integers
    targets: Floats
    layer_targets: Floats

    @staticmethod
    def of(
        effects: Floats, has_tau: NDArray[np.bool_], layer: NDArray[np.integer[Any]], k: Sequence[int]
    ) -> EffectRanks:
        """Rank effects, NaN where a neuron was always absent; neurons of a layer lie together."""
        ranked = np.flatnonzero(has_tau)
        effects, m = effects[ranked], len(ranked)
        known = np.flatnonzero(np.isfinite(effects))
        number, n = np.full(m, -1), len(known)
        number[known] = np.arange(n)
        everywhere = np.array([0, n])
        layers = np.concatenate([[0], np.flatnonzero(np.diff(layer[ranked[known]])) + 1, [n]]).astype(np.int64)
        places = np.empty(m, np.int64)
        places[np.argsort(effects, kind="stable")] = np.arange(m)  # NaN come last
        both = (effects[known], np.abs(effects[known]))
        sizes = {max(1, round(share * n)) for share in SHARES if n} | {min(size, m) for size in k if m}
        return EffectRanks(
            ranked,
            np.nan_to_num(effects),
            places,
            np.array(sorted(sizes), np.int64),
            known,
            number,
            everywhere,
            layers,
            np.stack([centered_ranks(values, everywhere) for values in both], axis=1),
            np.stack([centered_ranks(values, layers) for values in both], axis=1),
        )

    def relate(self, tau: Floats) -> tuple[Floats, Floats, Floats]:
        """Relate one attribute's tau to the effects.

        Parameters
        ----------
        tau : ndarray of float64, shape (N,)
            Of all neurons.

        Returns
        -------
        rho, effect, shared : ndarray of float64, shape (4,), (K,), (K,)
            As in the schema of the relation.
        """
        tau = tau[self.ranked]
        order = group_order(tau, np.array([0, len(tau)]))
        sums = first_sums(tau, order, self.effects, self.places, self.sizes)
        if len(self.known) < len(tau):
            order = self.number[order]
            tau, order = tau[self.known], order[order >= 0]
        within = order_within(order, self.layers)
        rho = (
            rank_correlations(tau, order, self.everywhere, self.targets),
            rank_correlations(tau, within, self.layers, self.layer_targets),
        )
        return np.concatenate(rho), *sums


def relate(
    folder: RunFolder,
    concepts: Concepts,
    selectivity: SelectivityOptions,
    options: AttributionOptions,
    k: Sequence[int | float],
    *,
    executor: Executor,
    progress: Progress,
) -> dict[str, int]:
    """Relate every neuron's selectivity to its estimated effect, and write ``relation.zarr``.

    For each attribute: Spearman's rho over neurons of tau with the effect and with its size, overall and within layers;
    what the neurons with the largest tau add to the outcome by estimate, for nine sizes and those of the masks; and how
    many of them are among those needed most. These neurons are the masks' own: of equal tau those with the lower index,
    and one whose effect is not known adds nothing. All of it again for every permutation of the concepts, one
    permutation for all attributes at once, so that what is computed of several attributes has its null from the same
    permutations. What is done already is kept.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished extraction, selectivity and effects.
    concepts : Concepts
    selectivity : SelectivityOptions
        The permutations are the first ones of its seed.
    options : AttributionOptions
        How many permutations.
    k : sequence of int or float
        Sizes of masks, see `resolve_k`; of larger ones than there are neurons with tau, all of these are taken.
    executor : Executor
        Where activations are read; the rest is computed on this machine's threads.
    progress : Progress

    Returns
    -------
    dict
        ``neurons`` that have both, and ``permutations``.

    Raises
    ------
    InputError
        If a k cannot be used.
    StageError
        If something is missing or not finished.
    """
    ranks, read = _read(folder, k)
    own = np.arange(len(concepts.names))
    orders = np.stack([own, *concept_orders(len(own), options.permutations, selectivity.seed)])
    origin = {"permutations": options.permutations, "seed": selectivity.seed, "concepts": concepts.names, **read}
    store = _opened(folder, origin) or _created(folder, origin, concepts, ranks, len(orders))
    log = CommitLog(folder.commits(folder.relation))

    def permuted() -> PermutedValues:
        return PermutedValues.of(open_extraction(folder), concepts, selectivity, executor, progress)

    with ThreadPoolExecutor(executor.threads_here) as threads:
        _relate_rest(store, log, permuted, orders, ranks, threads, progress)
    shutil.rmtree(log.folder, ignore_errors=True)
    return {"neurons": len(ranks.known), "permutations": options.permutations}


def _read(folder: RunFolder, k: Sequence[int | float]) -> tuple[EffectRanks, dict[str, Any]]:
    """Rank the effects, and return by what the relation can be told from others."""
    stored, effects = open_finished(folder.selectivity, SELECTIVITY), mean_effects(folder).overall
    tau = stored.read("tau")
    ranks = EffectRanks.of(effects, ~np.isnan(tau).all(axis=1), stored.read("layer"), resolve_k(k, len(tau)))
    digest = hashlib.sha256(tau.tobytes() + effects.tobytes()).hexdigest()
    return ranks, {"k": ranks.sizes.tolist(), "of": digest}


def _relate_rest(
    store: Store,
    log: CommitLog,
    permuted: Callable[[], PermutedValues],
    orders: Integers,
    ranks: EffectRanks,
    threads: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    """Relate what is not done yet, a chunk of the orders at a time."""
    count = len(orders)
    chunks = range(-(-count // _ORDERS_A_CHUNK))
    done = set(chunks) if store.complete else set(log.done())
    todo = [chunk for chunk in chunks if chunk not in done]
    if not todo:
        return
    values = permuted()
    progress.start(count, "permutations", done=count - sum(_length(chunk, count) for chunk in todo))
    for chunk in todo:
        first = chunk * _ORDERS_A_CHUNK
        _write(store, first, relate_orders(values, orders[first:][:_ORDERS_A_CHUNK], ranks, threads, progress))
        log.add(chunk)
    store.mark_complete()


def _length(chunk: int, count: int) -> int:
    return min(_ORDERS_A_CHUNK, count - chunk * _ORDERS_A_CHUNK)


def _opened(folder: RunFolder, origin: dict[str, Any]) -> Store | None:
    """Open what a killed process left, if it is of the same origin."""
    try:
        store = open_store(folder.relation, RELATION, mode="r+")
    except InputError:
        return None
    return store if store.attributes["origin"] == origin else None


def _created(folder: RunFolder, origin: dict[str, Any], concepts: Concepts, ranks: EffectRanks, count: int) -> Store:
    shutil.rmtree(folder.commits(folder.relation), ignore_errors=True)
    coordinates = {
        "order": np.arange(count, dtype=np.int32),
        "attribute": np.array(concepts.attributes, object),
        "relation": np.array(RELATIONS, object),
        "k": ranks.sizes,
    }
    create_store(folder.relation, RELATION, coordinates, {"order": _ORDERS_A_CHUNK}, attributes=origin)
    return open_store(folder.relation, RELATION, mode="r+")


def relate_orders(
    permuted: PermutedValues, orders: Integers, ranks: EffectRanks, threads: ThreadPoolExecutor, progress: Progress
) -> list[list[tuple[Floats, Floats, Floats]]]:
    """Relate all attributes' tau to the effects, under some permutations.

    Parameters
    ----------
    permuted : PermutedValues
    orders : ndarray of int64, shape (B, C)
        From `concept_orders`.
    ranks : EffectRanks
    threads : ThreadPoolExecutor
    progress : Progress
        Advanced by the permutations.

    Returns
    -------
    list of list of tuple of ndarray
        What `EffectRanks.relate` returns, by order and attribute.
    """
    found = []
    for values in permuted.in_batches(orders, threads):
        rows = list(threads.map(ranks.relate, values.reshape(-1, values.shape[2])))
        A = values.shape[1]
        found += [rows[first : first + A] for first in range(0, len(rows), A)]
        progress.advance(len(values))
    return found


def _write(store: Store, first: int, found: list[list[tuple[Floats, Floats, Floats]]]) -> None:
    for number, name in enumerate(array.name for array in RELATION.data):
        store.write(name, np.array([[row[number] for row in rows] for rows in found]), order=first)
