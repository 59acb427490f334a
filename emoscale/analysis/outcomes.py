"""Outcomes of every concept and replicate under each mask, from the scores of every item, mask and option."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax

from emoscale.errors import StageError
from emoscale.statistics import Floats
from emoscale.store import Store
from emoscale.tasks.halves import HALVES, halves
from emoscale.tasks.item_scores import ItemScores, read_scores
from emoscale.tasks.outcomes import GROUP, OUTCOMES, Design, answers, read_design

_TOP = 3
_PAIR = ["kind", "attribute", "k"]
"""What cross-fitted masks agree in that are one row of the table."""


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


def evaluate(store: Store, normalization: str, cross_fitted: Collection[str] = ()) -> Outcomes:
    """Compute the outcomes of a finished store of scores.

    Parameters
    ----------
    store : Store
    normalization : str
        The chosen one, a name in `NORMALIZATIONS`.
    cross_fitted : collection of str
        Kinds of masks of which draw 0 was chosen on the first half of the items and draw 1 on the second. The table has
        one row for both: its items' outcomes are those under the mask that the other half chose. Everything else of
        such a mask, such as the mean that calibration subtracts, is that of all items under it.

    Returns
    -------
    Outcomes

    Raises
    ------
    StageError
        If one of the two draws is missing.

    Notes
    -----
    - ``accuracy``: the right option has the highest score; options that tie share the answer.
    - ``top3``: fewer than three options score higher than the right one.
    - ``log_odds``: log p / (1 - p) of the right option, p the softmax of the scores over the options.
    - ``kl``: sum over options of p0 log(p0 / p), p0 the distribution without a mask (the first mask of kind none).
    - With calibration the scores of the half that chose a mask enter the other half's outcomes, by the options' means.
      What noise in them does to these outcomes is to first order in proportion to g_1 (g_0 - g_1), g the mean gradient
      of a half's outcomes by their calibrated scores: nothing where the halves' right answers are the same, and
      `emoscale.tasks.halves` balances them. In simulated noise the loss to neurons chosen so was .00 of that to neurons
      that the same items chose (standard error .01) with 27 concepts of two texts, .02 (.01) with 9 of three, and .03
      (.01) with 27 of one text, which no halves can balance. Halves of one concept each would leave .71.
    - Of scores in two precisions every item's outcome is corrected, see `emoscale.tasks.partly_known.corrected`: means
      are unbiased, and a share can fall below 0 or exceed 1.
    """
    design = read_design(store)
    names = design.normalizations if normalization in design.normalizations else [*design.normalizations, normalization]
    group, keys = design.group, design.items.groupby(GROUP, sort=False).size().rename("items").reset_index()
    baseline = _baseline(store, design, normalization)
    judging = _judging(store, design, cross_fitted)
    width, blocks = store.chunks("scores")[1], []
    for start in range(0, len(design.masks), width):
        scores = read_scores(store, design, slice(start, start + width))
        sums = partial(_sums, group=group, judges=judging.judges[:, start : start + width])
        blocks.append(_block(scores, names, normalization, baseline, sums))
    by_mask = {key: judging.means([block[key] for block in blocks], group) for key in blocks[0]}
    rows = keys.merge(judging.masks, how="cross").assign(options=len(design.options))

    def column(key: tuple[str, str]) -> Floats:
        return by_mask[key].reshape(len(rows), -1)

    normalized = {
        name: pd.DataFrame({what: column((name, what))[:, 0] for what in (*_columns(), "top3")}) for name in names
    }
    table = pd.concat([rows, normalized[normalization]], axis=1).assign(kl=column((normalization, "kl"))[:, 0])
    return Outcomes(table, normalized, column((normalization, "answers")), design.options)


def _columns() -> list[str]:
    return [outcome.column for outcome in OUTCOMES.values()]


def _baseline(store: Store, design: Design, normalization: str) -> list[Floats]:
    """Return the log probabilities of the options without a mask in each precision, shape (items, 1, options)."""
    scores = read_scores(store, design, slice(design.without_mask, design.without_mask + 1))
    return [np.asarray(log_softmax(values, axis=2)) for values in scores.levels(normalization)]


def _block(
    scores: ItemScores, names: list[str], chosen: str, baseline: list[Floats], sums: Callable[[Floats], Floats]
) -> dict[tuple[str, str], Floats]:
    """Sum up the outcomes of some masks over the items of each group: arrays (groups, masks, 1 or options)."""
    right = scores.design.items["right"].to_numpy(np.int64)[:, None, None]
    found: dict[tuple[str, str], Floats] = {}
    for name in names:
        by_level = [
            _per_item(values, right, unmasked if name == chosen else None)
            for values, unmasked in zip(scores.levels(name), [*baseline, baseline[-1]], strict=False)
        ]
        for what in by_level[0]:
            found[name, what] = sums(scores.combined([per_item[what] for per_item in by_level]))
    return found


def _per_item(values: Floats, right: NDArray[np.int64], baseline: Floats | None) -> dict[str, Floats]:
    """Compute every item's outcomes, with a baseline also those of the chosen normalization."""
    of_right = np.take_along_axis(values, right, axis=2)
    found = {outcome.column: outcome.compute(values, right) for outcome in OUTCOMES.values()}
    found["top3"] = (np.count_nonzero(values > of_right, axis=2) < _TOP)[:, :, None].astype(np.float64)
    if baseline is not None:
        q = log_softmax(values, axis=2)
        found["kl"] = (np.exp(baseline) * (baseline - q)).sum(axis=2, keepdims=True)
        found["answers"] = answers(values)
    return found


def _sums(values: Floats, group: NDArray[np.int64], judges: NDArray[np.bool_]) -> Floats:
    totals = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(totals, group, values if judges.all() else np.where(judges[:, :, None], values, 0.0))
    return totals


class _Judging(NamedTuple):
    """Which masks an item's outcomes are taken from, and which masks make up one row of the table.

    Attributes
    ----------
    masks : DataFrame
        One row a mask, or a pair of cross-fitted masks.
    row : ndarray of int64, shape (masks,)
        Row of each mask.
    judges : ndarray of bool, shape (items, masks)
        False where the item chose the mask: each item is judged once in every row.
    """

    masks: pd.DataFrame
    row: NDArray[np.int64]
    judges: NDArray[np.bool_]

    def means(self, blocks: list[Floats], group: NDArray[np.int64]) -> Floats:
        """Average sums (groups, masks, x) over the items of each group: (groups, rows, x)."""
        sums = np.concatenate(blocks, axis=1)
        totals = np.zeros((len(self.masks), len(sums), sums.shape[2]))
        np.add.at(totals, self.row, sums.swapaxes(0, 1))
        return np.asarray(totals.swapaxes(0, 1) / np.bincount(group)[:, None, None])


def _judging(store: Store, design: Design, cross_fitted: Collection[str]) -> _Judging:
    masks = design.masks
    crossed = masks["kind"].isin(cross_fitted).to_numpy()
    pairs = masks[crossed].groupby(_PAIR, sort=False)["draw"].agg(sorted)
    if not pairs.map(lambda draws: draws == list(range(HALVES))).all():
        raise StageError(
            f"{store.path}: {', '.join(pairs.index.unique('kind'))} masks were not chosen on halves of the items; run "
            "mask and ablate again with --fresh"
        )
    draw = np.where(crossed, masks["draw"], -1)
    is_first, pair = draw <= 0, masks.groupby(_PAIR, sort=False).ngroup().to_numpy()
    row = np.cumsum(is_first) - 1
    first = dict(zip(pair[draw == 0], row[draw == 0], strict=True))
    row[~is_first] = [first[number] for number in pair[~is_first]]
    return _Judging(masks[is_first].reset_index(drop=True), row, halves(design.items)[:, None] != draw)
