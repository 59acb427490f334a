"""Every neuron's estimated effect: by layer, the largest, and how far estimates agree with exact ablation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.effect_schema import ESTIMATES_ALONE, SINGLE_NEURONS
from emoscale.run.effects import Checked, mean_effects
from emoscale.run.folder import RunFolder
from emoscale.schema import NEURON_COORDINATES
from emoscale.statistics import Floats, correlation
from emoscale.store import Store

_MOST_NEEDED = 100
"""Neurons in the table of those with the largest loss."""


def agreement(checked: Checked) -> pd.DataFrame:
    """Compare estimated with exact effects, by stratum.

    Parameters
    ----------
    checked : Checked

    Returns
    -------
    DataFrame
        One row a stratum, and one for all single neurons together, in which what was computed exactly for the run
        counts as the estimate; and if there are such neurons, one with the estimates alone. ``stratum``, ``k``,
        ``samples``, ``items``;
        ``estimated`` and ``exact``, mean changes of the outcome; ``r``, the correlation over samples of the estimated
        with the exact change of the mean outcome, and ``slope``, of the exact one by the estimated; ``item_r`` and
        ``item_slope``, the same over items and samples, of what each item contributes.
    """
    samples = checked.samples
    is_exact, single = samples["is_exact"].to_numpy(), (samples["neuron"] >= 0).to_numpy()
    used = checked._replace(estimated=np.where(is_exact, checked.exact, checked.estimated))
    strata = {str(name): (samples["stratum"] == name).to_numpy() for name in samples["stratum"].unique()}
    rows = [_compare(used, name, chosen) for name, chosen in strata.items()]
    if is_exact.any():
        rows.insert(0, _compare(checked, ESTIMATES_ALONE, single))
    if single.any():
        rows.insert(0, _compare(used, SINGLE_NEURONS, single))
    return pd.DataFrame(rows)


def _compare(checked: Checked, stratum: str, chosen: NDArray[np.bool_]) -> dict[str, object]:
    estimated, exact, change = checked.estimated[:, chosen], checked.exact[:, chosen], checked.change[chosen]
    mean = estimated.mean(axis=0)
    return {
        "stratum": stratum,
        "k": int(checked.samples.loc[chosen, "k"].iloc[0]),
        "samples": int(chosen.sum()),
        "items": len(estimated),
        "estimated": mean.mean(),
        "exact": change.mean(),
        "r": correlation(mean, change),
        "slope": slope(mean, change),
        "item_r": correlation(estimated.ravel(), exact.ravel()),
        "item_slope": slope(estimated.ravel(), exact.ravel()),
    }


def slope(x: Floats, y: Floats) -> float:
    """Return the least-squares slope of y by x; NaN where x does not vary."""
    centered = x - x.mean()
    spread = float(centered @ centered)
    return float(centered @ (y - y.mean())) / spread if len(x) > 1 and spread > 0 else np.nan


def effects_by_layer(folder: RunFolder, selectivity: Store) -> pd.DataFrame:
    """Sum up the estimated effects of each layer's neurons.

    Parameters
    ----------
    folder : RunFolder
    selectivity : Store
        For the neurons' layers.

    Returns
    -------
    DataFrame
        One row a layer: ``layer``, ``neurons`` that were not always absent, ``effect``, the sum of their mean effects
        (to first order the change of the outcome if all are edited), ``size``, the sum of the effects' sizes, and
        ``share`` of it in the sum over all layers.
    """
    table = pd.DataFrame({"layer": selectivity.read("layer"), "effect": mean_effects(folder).overall}).dropna()
    table["size"] = table["effect"].abs()
    found = table.groupby("layer").agg(neurons=("effect", "size"), effect=("effect", "sum"), size=("size", "sum"))
    return found.assign(share=found["size"] / found["size"].sum()).reset_index()


def most_needed(folder: RunFolder, selectivity: Store, attributes: list[str]) -> pd.DataFrame:
    """List the neurons without which the outcome would fall most, by their estimates.

    Parameters
    ----------
    folder : RunFolder
    selectivity : Store
    attributes : list of str

    Returns
    -------
    DataFrame
        The 100 neurons with the largest estimated loss, largest first: ``layer``, ``expert``, ``unit``, ``effect`` (the
        mean over items, negative), ``concepts``, for how many concepts and replicates what their items contribute to it
        is negative, and the ``attribute`` of the largest ``tau``.
    """
    effects = mean_effects(folder)
    order = np.argsort(np.nan_to_num(effects.overall, nan=np.inf), kind="stable")[:_MOST_NEEDED]
    order = order[effects.overall[order] < 0]
    tau = np.nan_to_num(selectivity.read("tau")[order], nan=-np.inf)
    best = tau.argmax(axis=1) if len(order) else np.empty(0, np.int64)
    return pd.DataFrame(
        {
            **{array.name: selectivity.read(array.name)[order] for array in NEURON_COORDINATES},
            "effect": effects.overall[order],
            "concepts": np.count_nonzero(effects.by_cell[:, order] < 0, axis=0),
            "attribute": np.array(attributes, object)[best],
            "tau": np.take_along_axis(tau, best[:, None], axis=1)[:, 0] if len(order) else np.empty(0),
        }
    )
