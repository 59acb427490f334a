"""Comparing estimated effects with exact ablation, of sampled neurons and groups of neurons."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from emoscale.analysis.effects import agreement
from emoscale.attribution.estimate import Estimator
from emoscale.attribution.exact import ExactAblation, is_finished
from emoscale.attribution.options import AttributionOptions
from emoscale.effect_schema import EFFECT_CHECK, ESTIMATES_ALONE, SINGLE_NEURONS
from emoscale.models.tensor_parallel import own_neurons
from emoscale.run.effects import Checked, exact_neurons, mean_effects, read_checked
from emoscale.run.folder import RunFolder
from emoscale.store import create_store
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks
from emoscale.tasks.some_items import comparable_items
from emoscale.tasks.task import Task

_SHARES = (0.001, 0.01, 0.1, 1.0)
"""Of the neurons, those with the largest estimates first: where the strata of single neurons end."""
_RANDOM = "random"


def draw_samples(effects: NDArray[np.float64], options: AttributionOptions) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Draw the neurons and groups that are ablated exactly.

    Parameters
    ----------
    effects : ndarray of float64, shape (neurons,)
        NaN where a neuron was always absent; those are not drawn.
    options : AttributionOptions

    Returns
    -------
    DataFrame
        ``stratum``, ``k`` and ``neuron`` (-1 of a group), one row a sample.
    ndarray of bool, shape (samples, neurons)
    """
    rng = np.random.default_rng(options.seed)
    present = np.flatnonzero(~np.isnan(effects))
    order = present[np.argsort(-np.abs(effects[present]), kind="stable")]
    samples: list[tuple[str, NDArray[np.int64]]] = []
    for name, stratum, count in _strata(order, options.check_neurons):
        samples += [(name, np.array([neuron])) for neuron in np.sort(rng.choice(stratum, count, replace=False))]
    for share in options.check_groups:
        size = max(1, round(share * len(order)))
        name = f"{_RANDOM} groups of {100 * share:g} %"
        samples += [(name, np.sort(rng.choice(order, size, replace=False))) for _ in range(options.check_draws)]
    off = np.zeros((len(samples), len(effects)), np.bool_)
    for row, (_, neurons) in zip(off, samples, strict=True):
        row[neurons] = True
    is_single = [not name.startswith(_RANDOM) for name, _ in samples]
    table = pd.DataFrame(
        {
            "stratum": [name for name, _ in samples],
            "k": off.sum(axis=1),
            "neuron": [int(neurons[0]) if one else -1 for one, (_, neurons) in zip(is_single, samples, strict=True)],
        }
    )
    return table, off


def _strata(order: NDArray[np.int64], count: int) -> list[tuple[str, NDArray[np.int64], int]]:
    """Cut neurons, those with the largest estimates first, and say how many to draw of each piece."""
    ends = [min(len(order), max(round(share * len(order)), number + 1)) for number, share in enumerate(_SHARES)]
    starts = [0, *ends[:-1]]
    strata, left = [], min(count, len(order))
    for number, (start, end, share) in enumerate(zip(starts, ends, _SHARES, strict=True)):
        drawn = min(end - start, -(-left // (len(_SHARES) - number)))
        left -= drawn
        name = f"largest {100 * share:g} %" if number == 0 else f"{100 * _SHARES[number - 1]:g} to {100 * share:g} %"
        strata.append((name, order[start:end], drawn))
    return strata


def check_effects(
    folder: RunFolder,
    exact: ExactAblation,
    estimator: Estimator,
    options: AttributionOptions,
    tokens_per_pass: int,
    progress: Progress,
) -> dict[str, float]:
    """Compare estimated effects with exact ablation, and write ``effect_check.zarr``.

    The outcome of the comparison is the mean over the items that are compared, by which they are calibrated too.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished effects.
    exact : ExactAblation
    estimator : Estimator
        Of all items.
    options : AttributionOptions
    tokens_per_pass : int
    progress : Progress

    Returns
    -------
    dict
        ``single_r`` and ``group_r``, those that can be computed.
    """
    table, off = draw_samples(mean_effects(folder, estimates_alone=True).overall, options)
    if not len(table):
        return {}
    origin = {**exact.origin, **asdict(options)}
    if is_finished(folder.effect_check, EFFECT_CHECK, origin) and (known := read_checked(folder)) is not None:
        return _summary(known)
    task = comparable_items(estimator.task, options.check_items, options.normalization)
    scores = exact.scores(task, "check", off, progress)
    weights = scores.weights(options.normalization)
    estimated = _estimates(replace(estimator, task=task, weights=weights), off, tokens_per_pass, exact.ranks)
    table["is_exact"] = table["neuron"].isin(exact_neurons(folder))
    checked = Checked(table, estimated, scores.contributions(weights), scores.changes(options.normalization))
    if exact.ranks.is_main:
        _write(folder, task, checked, origin)
    return _summary(checked)


def _summary(checked: Checked) -> dict[str, float]:
    found = agreement(checked).set_index("stratum")
    rows = {
        "single_r": found["r"].reindex([SINGLE_NEURONS]),
        "estimated_r": found["r"].reindex([ESTIMATES_ALONE]),
        "group_r": found.loc[found.index.str.startswith(_RANDOM), "item_r"],
    }
    return {name: float(values.min()) for name, values in rows.items() if values.notna().any()}


def _estimates(estimator: Estimator, off: NDArray[np.bool_], tokens_per_pass: int, ranks: Ranks) -> NDArray[np.float64]:
    """Sum up the estimated effects of each sample's neurons, of all items: (items, samples)."""
    sites, model = estimator.model.outline.sites, estimator.model
    own = np.concatenate([off[:, columns] for columns in own_neurons(sites, model.tp_rank, model.tp_size)], axis=1)
    count = len(estimator.task.items)
    values = torch.empty(count, own.shape[1])
    estimator.block(np.arange(count), tokens_per_pass, values)
    sums = values.nan_to_num(0.0).double() @ torch.from_numpy(own.T.astype(np.float64))
    return ranks.total(sums).numpy()


def _write(folder: RunFolder, task: Task, checked: Checked, origin: dict[str, Any]) -> None:
    coordinates = {
        **{name: task.items[name].to_numpy(object) for name in ("concept", "replicate")},
        **{name: checked.samples[name].to_numpy() for name in ("stratum", "k", "neuron", "is_exact")},
    }
    store = create_store(folder.effect_check, EFFECT_CHECK, coordinates, {}, attributes=origin)
    for name in ("estimated", "exact", "change"):
        store.write(name, np.asarray(getattr(checked, name), store.read_dtype(name)))
    store.mark_complete()
