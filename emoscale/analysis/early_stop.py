"""Which comparisons of an attribute with its permuted controls need no more texts (``ablation.stop_when: decided``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emoscale.analysis.drop_estimates import Drop, estimate_drops
from emoscale.analysis.item_outcomes import ItemSample, outcomes_of_masks
from emoscale.analysis.needed import no_or_unknown, smallest_effect
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.permuted_masks import mask_numbers
from emoscale.run.verdicts import LEVEL, Answer
from emoscale.schema import SELECTIVE
from emoscale.statistics import Floats
from emoscale.tasks.item_scores import ItemScores
from emoscale.tasks.outcomes import OUTCOMES, Design, questions


def is_decided(drop: Drop, smallest: float, looks: int) -> bool:
    """Whether a drop is known to be smaller than the smallest effect of interest, or to be larger.

    Parameters
    ----------
    drop : Drop
        By the texts that have been asked.
    smallest : float
    looks : int
        How often the drop is looked at.

    Returns
    -------
    bool
        Its interval lies within the smallest effect on either side, or outside. The intervals of all looks hold
        together at .95 (for equivalence at .90): each is at 1 - .05 / looks (Bonferroni).
    """
    if no_or_unknown(drop.interval(1 - 2 * LEVEL / looks), smallest) is Answer.NO:
        return True
    low, high = drop.interval(1 - LEVEL / looks)
    return bool(low > smallest or high < -smallest)


def judge_masks(
    options: AnalysisOptions, looks: int, design: Design, asked: NDArray[np.bool_], scores: Iterable[Floats]
) -> NDArray[np.bool_]:
    """Say which masks need no more items.

    Parameters
    ----------
    options : AnalysisOptions
        What effects are measured in, and which is the smallest of interest.
    looks : int
        How often comparisons are looked at.
    design : Design
    asked : ndarray of bool, shape (items,)
    scores : iterable of ndarray of float64, shape (asked, some masks, options)
        Of the asked items under all masks, some consecutive ones at a time; NaN where they were not.

    Returns
    -------
    ndarray of bool, shape (masks,)
        True for all masks of an attribute and size of which it is decided what their loss costs.
    """
    items = design.items[asked].reset_index(drop=True)
    asked_design = replace(design, items=items, question=questions(items, design.options))
    sample, masks = ItemSample.of(items), design.masks
    parts = []
    for some in scores:
        going = ~np.isnan(some).any(axis=(0, 2))
        values = np.full(some.shape[:2], np.nan)
        own = ItemScores(some[:, going], None, asked_design)
        values[:, going] = outcomes_of_masks(own, sample, OUTCOMES[options.outcome], options.normalization)[1]
        parts.append(values)
    values = np.concatenate(parts, axis=1)
    attributes = list(dict.fromkeys(masks.loc[masks["kind"] == SELECTIVE, "attribute"]))
    ended = np.zeros(len(masks), np.bool_)
    for k, numbers in mask_numbers(masks, attributes).items():
        chosen = np.flatnonzero(~np.isnan(values[:, numbers]).any(axis=(0, 1)))
        if not len(chosen):
            continue
        drops = estimate_drops(values[:, numbers[:, chosen]], sample)
        for attribute, drop in zip(chosen, drops, strict=False):  # the last is their mean
            if is_decided(drop, smallest_effect(options), looks):
                ended |= ((masks["k"] == k) & (masks["attribute"] == attributes[attribute])).to_numpy()
    return ended
