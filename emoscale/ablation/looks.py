"""Asking a share of the items first, and no more of them under masks that enough is known about (`stop_when`).

Comparing an attribute's masks with their controls is a group sequential trial (Jennison & Turnbull 2000, *Group
Sequential Methods with Applications to Clinical Trials*): it is looked at a few times, and ends where a look decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.ablation.units import Unit
from emoscale.system.files import replacing
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks
from emoscale.tasks.text_order import FEWEST_TEXTS, text_order

LOOKS = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the texts of each concept and replicate that are asked by each look; two texts at least."""

Score = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""From numbers of items and of masks to scores, shape (items, masks, options)."""
Judge = Callable[[NDArray[np.bool_], Iterator[NDArray[np.float64]]], NDArray[np.bool_]]
"""From which items have been asked, shape (items,), and their scores, (asked, some masks, options), some consecutive
masks at a time, NaN of those that a mask had ended before; to which masks need no more items, shape (masks,)."""


def first_look(items: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    """Draw the look by which each item is asked.

    Parameters
    ----------
    items : DataFrame
        Of a `Task`.
    seed : int

    Returns
    -------
    ndarray of int64, shape (items,)
        From 0. The items about one text in a concept and replicate go together, and replicates that have the same texts
        ask them in the same order.
    """
    place, texts = text_order(items, seed)
    asked = np.stack([np.maximum(np.ceil(share * texts), FEWEST_TEXTS) for share in LOOKS])
    return np.asarray((place > asked).sum(axis=0), np.int64)


class Looks:
    """Scores of items and masks that are asked look by look; what is done is kept.

    Parameters
    ----------
    folder : Path
        Takes a file for each unit and look, and one for each judgement.
    items : DataFrame
        Of a `Task`.
    masks, options : int
        Numbers of them.
    units : sequence of Unit
    seed : int
    """

    def __init__(
        self, folder: Path, items: pd.DataFrame, masks: int, options: int, units: Sequence[Unit], seed: int
    ) -> None:
        self._folder, self._options, self._units = folder, options, units
        self._look = first_look(items, seed)
        self._going = [np.ones(masks, np.bool_)]

    def score(self, score: Score, judge: Judge, ranks: Ranks, progress: Progress) -> None:
        """Score what is not done yet, and judge after each look but the last.

        Parameters
        ----------
        score : callable
        judge : callable
            Called on the first rank.
        ranks : Ranks
        progress : Progress
            Counts rows (item, mask) under masks that have not ended.
        """
        for look in range(self._look.max() + 1):
            if look:
                self._judge(look - 1, judge, ranks)
            self._score_look(look, score, ranks, progress)

    def _score_look(self, look: int, score: Score, ranks: Ranks, progress: Progress) -> None:
        own = ranks.own(self._units)
        asked = [(unit, *self._asked(unit, look)) for unit in own]
        asked = [(unit, items, masks) for unit, items, masks in asked if len(items) and len(masks)]
        todo = [one for one in asked if not self._file(one[0], look).exists()]
        ranks.wait()  # all have looked before one does more
        todo = ranks.agree(todo)
        later = sum(int((self._look[unit.items] > look).sum() * self._going[look][unit.masks].sum()) for unit in own)
        now, missing = (sum(len(items) * len(masks) for _, items, masks in some) for some in (asked, todo))
        progress.start(now + later, "rows", done=now - missing)
        for unit, items, masks in todo:
            scores = score(items, masks)
            if ranks.saves:
                _save(self._file(unit, look), scores)
        ranks.wait()

    def _judge(self, look: int, judge: Judge, ranks: Ranks) -> None:
        file = self._folder / f"going-{look}.npy"
        if ranks.is_main and not file.exists():
            asked = self._look <= look
            _save(file, self._going[look] & ~judge(asked, self._read(asked)))
        ranks.wait()
        self._going.append(np.load(file))

    def _read(self, asked: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
        for first in sorted({int(unit.masks[0]) for unit in self._units}):
            units = [unit for unit in self._units if unit.masks[0] == first]
            yield np.concatenate([self.scores(unit)[asked[unit.items]] for unit in units]).astype(np.float64)

    def scores(self, unit: Unit) -> NDArray[np.float32]:
        """Return the scores of a unit, (items, masks, options), NaN where an item was not asked under a mask."""
        found = np.full((len(unit.items), len(unit.masks), self._options), np.nan, np.float32)
        for look in range(len(self._going)):
            items, masks = self._asked(unit, look)
            file = self._file(unit, look)
            if file.exists():
                found[np.ix_(items - unit.items[0], masks - unit.masks[0])] = np.load(file)
        return found

    def _asked(self, unit: Unit, look: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return unit.items[self._look[unit.items] == look], unit.masks[self._going[look][unit.masks]]

    def _file(self, unit: Unit, look: int) -> Path:
        return self._folder / f"scores-{look}-{unit.number}.npy"


def _save(file: Path, values: NDArray[np.generic]) -> None:
    with replacing(file) as unfinished:
        np.save(unfinished, values)
