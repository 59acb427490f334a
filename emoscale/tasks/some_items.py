"""Some items of a task, as a task of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from emoscale.models.prefix import Prefix
from emoscale.tasks.outcomes import NORMALIZATIONS, questions
from emoscale.tasks.task import SharesPrefix, Task

_PAIR = 2


class SomeItems:
    """Some items of a task.

    Parameters
    ----------
    task : Task
    numbers : ndarray of int64, shape (items,)
        Of the items, ascending.
    """

    def __init__(self, task: Task, numbers: NDArray[np.int64]) -> None:
        self._task, self._numbers = task, numbers
        self.items: pd.DataFrame = task.items.iloc[numbers].reset_index(drop=True)
        self.options: Sequence[str] = task.options
        self.rows = [task.rows[number] for number in numbers]
        self.option_ids = task.option_ids

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Score the options of some of these items."""
        return self._task.scores(self._numbers[items])

    def parts(self, items: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut some of these items as their task does."""
        if not isinstance(self._task, SharesPrefix):
            return [items]
        return [np.searchsorted(self._numbers, part) for part in self._task.parts(self._numbers[items])]

    def prefix(self, items: NDArray[np.int64]) -> Prefix | None:
        """Return what some of these items begin with."""
        return self._task.prefix(self._numbers[items]) if isinstance(self._task, SharesPrefix) else None


def some_items(task: Task, count: int) -> SomeItems:
    """Take at most as many items, from all over the task."""
    return SomeItems(task, np.unique(np.linspace(0, len(task.items) - 1, count).astype(np.int64)))


def comparable_items(task: Task, count: int, normalization: str) -> SomeItems:
    """Take at most as many items, from all over the task, such that their outcomes can be normalized among them.

    Parameters
    ----------
    task : Task
    count : int
    normalization : str
        A name in `NORMALIZATIONS`. If it subtracts means over the items of a question, and that many items are a single
        one of some questions, two items each of fewer questions are taken.
    """
    chosen = some_items(task, count)
    if not NORMALIZATIONS[normalization].needs_several or not _has_single(chosen):
        return chosen
    numbers = pd.Series(np.arange(len(task.items))).groupby(questions(task.items, task.options))
    pairs = numbers.agg(["first", "last"]).to_numpy(np.int64)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    if not len(pairs) or count < _PAIR:
        return chosen
    some = np.unique(np.linspace(0, len(pairs) - 1, count // _PAIR).astype(np.int64))
    return SomeItems(task, np.sort(pairs[some].ravel()))


def _has_single(task: Task) -> bool:
    return bool(np.bincount(questions(task.items, task.options)).min() == 1)
