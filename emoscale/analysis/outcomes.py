"""Outcomes of every concept and replicate under each mask, from the scores of every item, mask and option."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax

from emoscale.schema import NO_MASK
from emoscale.statistics import Floats
from emoscale.store import Store
from emoscale.tasks.outcomes import GROUP, NORMALIZATIONS, OUTCOMES, Design, answers, read_design

_TOP = 3


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Means over the items of each concept and replicate under each mask.

    Attributes
    ----------
    table : DataFrame
        ``concept``, ``replicate``, the mask's coordinates, ``items`` and ``options`` (numbers of them), and under the
        chosen normalization a column for each of `OUTCOMES`, ``top3`` and ``kl``; concept by concept, then replicates,
        then masks.
    normalized : mapping of str to DataFrame
        The same, without ``kl``, under every normalization that means something here, rows as of `table`.
    answers : ndarray of float64, shape (rows, options)
        Share of the items that each option was the answer to, under the chosen normalization.
    options : list of str
    """

    table: pd.DataFrame
    normalized: Mapping[str, pd.DataFrame]
    answers: Floats
    options: list[str]


def evaluate(store: Store, normalization: str) -> Outcomes:
    """Compute the outcomes of a finished store of scores.

    Parameters
    ----------
    store : Store
    normalization : str
        The chosen one, a name in `NORMALIZATIONS`.

    Returns
    -------
    Outcomes

    Notes
    -----
    - ``accuracy``: the right option has the highest score; options that tie share the answer.
    - ``top3``: fewer than three options score higher than the right one.
    - ``log_odds``: log p / (1 - p) of the right option, p the softmax of the scores over the options.
    - ``kl``: sum over options of p0 log(p0 / p), p0 the distribution without a mask (the first mask of kind none).
    """
    design = read_design(store)
    names = design.normalizations if normalization in design.normalizations else [*design.normalizations, normalization]
    groups = design.items.groupby(GROUP, sort=False)
    group, keys = np.asarray(groups.ngroup(), np.int64), groups.size().rename("items").reset_index()
    baseline = _baseline(store, design, normalization)
    width, blocks = store.chunks("scores")[1], []
    for start in range(0, len(design.masks), width):
        scores = store.read("scores", mask=slice(start, start + width)).astype(np.float64)
        blocks.append(_block(scores, design, names, normalization, baseline, group))
    by_mask = {key: np.concatenate([block[key] for block in blocks], axis=1) for key in blocks[0]}
    rows = keys.merge(design.masks, how="cross").assign(options=len(design.options))

    def column(key: tuple[str, str]) -> Floats:
        return by_mask[key].reshape(len(rows), -1)

    normalized = {
        name: pd.DataFrame({what: column((name, what))[:, 0] for what in (*_columns(), "top3")}) for name in names
    }
    table = pd.concat([rows, normalized[normalization]], axis=1).assign(kl=column((normalization, "kl"))[:, 0])
    return Outcomes(table, normalized, column((normalization, "answers")), design.options)


def _columns() -> list[str]:
    return [outcome.column for outcome in OUTCOMES.values()]


def _baseline(store: Store, design: Design, normalization: str) -> Floats:
    """Return the log probabilities of the options without a mask, shape (items, 1, options)."""
    number = int(np.flatnonzero(design.masks["kind"] == NO_MASK)[0])
    scores = store.read("scores", mask=slice(number, number + 1)).astype(np.float64)
    return np.asarray(log_softmax(NORMALIZATIONS[normalization].apply(scores, design), axis=2))


def _block(
    scores: Floats, design: Design, names: list[str], chosen: str, baseline: Floats, group: NDArray[np.int64]
) -> dict[tuple[str, str], Floats]:
    """Average the outcomes of some masks over the items of each group: arrays (groups, masks, 1 or options)."""
    right = design.items["right"].to_numpy(np.int64)[:, None, None]
    found: dict[tuple[str, str], Floats] = {}
    for name in names:
        values = NORMALIZATIONS[name].apply(scores, design)
        of_right = np.take_along_axis(values, right, axis=2)
        per_item = {outcome.column: outcome.compute(values, right) for outcome in OUTCOMES.values()}
        per_item["top3"] = (np.count_nonzero(values > of_right, axis=2) < _TOP)[:, :, None].astype(np.float64)
        if name == chosen:
            q = log_softmax(values, axis=2)
            per_item["kl"] = (np.exp(baseline) * (baseline - q)).sum(axis=2, keepdims=True)
            per_item["answers"] = answers(values)
        found |= {(name, what): _means(array, group) for what, array in per_item.items()}
    return found


def _means(values: Floats, group: NDArray[np.int64]) -> Floats:
    totals = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(totals, group, values)
    return np.asarray(totals / np.bincount(group)[:, None, None])
