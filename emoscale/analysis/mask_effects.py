"""The effects of whole masks: estimated by those of their neurons, and as ablated."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoscale.analysis.effects import slope
from emoscale.errors import StageError
from emoscale.run.effects import mean_effects, open_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import MASKS, NO_MASK, SCORES
from emoscale.statistics import Floats, correlation
from emoscale.store import Store
from emoscale.tasks.item_scores import read_scores
from emoscale.tasks.outcomes import ATTRIBUTED, read_design


def mask_effects(folder: RunFolder) -> pd.DataFrame:
    """Compare what is estimated of each mask with what it did.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished effects, masks and scores.

    Returns
    -------
    DataFrame
        One row a mask that edits something, in the order of the masks: ``kind``, ``attribute``, ``k``, ``draw``;
        ``estimated``, the sum of its neurons' mean estimated effects; and ``exact``, the mean over items of the outcome
        that was attributed, under the mask minus without one, both in nats.

    Raises
    ------
    StageError
        If something is missing, not finished, or of other masks.
    """
    scores, masks = open_finished(folder.scores, SCORES), open_finished(folder.masks, MASKS)
    names = [array.name for array in MASKS.coordinates]
    table = pd.DataFrame({name: masks.read(name) for name in names})
    if not table.equals(pd.DataFrame({name: scores.read(name) for name in names})):
        raise StageError(f"{folder.scores}: not of the masks in {folder.masks}; run ablate again with --fresh")
    outcome = _mean_outcome(scores, open_effects(folder).attributes["origin"]["normalization"])
    without = outcome[read_design(scores).without_mask]
    table = table.assign(estimated=sum_over_masks(masks, mean_effects(folder).overall), exact=outcome - without)
    return table[table["kind"] != NO_MASK].reset_index(drop=True)


def sum_over_masks(masks: Store, effects: Floats) -> Floats:
    """Sum up the effects of each mask's neurons.

    Parameters
    ----------
    masks : Store
    effects : ndarray of float64, shape (neurons,)
        NaN counts as 0.

    Returns
    -------
    ndarray of float64, shape (masks,)
        Each to the last bit the same whatever the other masks are.
    """
    values, width = np.nan_to_num(effects), masks.chunks("bits")[0]
    sums = np.empty(masks.sizes["mask"])
    for start in range(0, len(sums), width):
        for number, row in enumerate(masks.read("bits", mask=slice(start, start + width)), start=start):
            sums[number] = values[np.unpackbits(row, count=len(values)).view(np.bool_)].sum()
    return sums


def _mean_outcome(scores: Store, normalization: str) -> Floats:
    """Average the attributed outcome over all items under each mask."""
    design = read_design(scores)
    means, width = np.empty(len(design.masks)), scores.chunks("scores")[1]
    for start in range(0, len(means), width):
        some = slice(start, start + width)
        outcomes = read_scores(scores, design, some).outcome(ATTRIBUTED.compute, normalization)
        means[some] = outcomes[:, :, 0].mean(axis=0)
    return means


def mask_agreement(effects: pd.DataFrame) -> pd.DataFrame:
    """Say how far estimates hold for whole masks.

    Parameters
    ----------
    effects : DataFrame
        From `mask_effects`.

    Returns
    -------
    DataFrame
        One row a kind and size: ``kind``, ``k``, ``masks``, the means ``estimated`` and ``exact``, ``r``, the
        correlation over masks, NaN of fewer than three, and ``slope``, of the exact by the estimated effect.
    """
    rows = []
    for (kind, k), group in effects.groupby(["kind", "k"], sort=False):
        x, y = group["estimated"].to_numpy(), group["exact"].to_numpy()
        row = {"kind": kind, "k": k, "masks": len(group), "estimated": x.mean(), "exact": y.mean()}
        rows.append({**row, "r": correlation(x, y), "slope": slope(x, y)})
    return pd.DataFrame(rows)
