"""What rows of tokens begin with, found so that it need be computed only once for each mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.models.prefix import SHORTEST, Prefix, is_confirmed
from emoscale.tasks.reading import RowReader

Rows = Sequence[list[int]]


class Beginnings:
    """What the rows of each group of items begin with.

    The model runs to find out whether it gives the same with it computed once: make this before neurons are edited.

    Parameters
    ----------
    reader : RowReader
    rows : sequence of list of int
        Tokens of each item.
    groups : sequence of str
        The group of each item; those of a group are made from one template.
    score : callable
        What the task does with rows: tokens of different ones, and the one that each row of a pass is (rows,), int64.
    """

    def __init__(
        self, reader: RowReader, rows: Rows, groups: Sequence[str], score: Callable[[Rows, Tensor], Tensor]
    ) -> None:
        self._reader, self._groups = reader, np.asarray(groups, object)
        self._of_group = {
            group: shared_beginning([row for row, own in zip(rows, groups, strict=True) if own == group])
            for group in dict.fromkeys(groups)
        }
        longest = max(self._of_group.values(), key=len)
        if (
            len(longest) < SHORTEST
            or reader.model.outline.kind != "causal-lm"
            or not self._is_right(rows, longest, score)
        ):
            self._of_group = {}

    def _is_right(self, rows: Rows, longest: list[int], score: Callable[[Rows, Tensor], Tensor]) -> bool:
        """Try it on two rows that begin with different tokens, of which the model must take each row's own."""
        enough = [row for row in rows if len(row) > len(longest)]
        tried = [max(enough, key=len), [*reversed(longest), *min(enough, key=len)[len(longest) :]]]
        entry = torch.tensor([0, 1, 1, 0], device=self._reader.model.device)
        both = torch.tensor([row[: len(longest)] for row in tried], device=entry.device)
        return is_confirmed(self._reader.prefix.begin("input_ids", both), entry, lambda: score(tried, entry))

    def of(self, items: NDArray[np.int64]) -> Prefix | None:
        """Return what some items' rows begin with, None if it is to be computed with each."""
        groups = dict.fromkeys(self._groups[items])
        common = _common([self._of_group.get(group, []) for group in groups])
        if len(common) < SHORTEST or len(np.unique(items)) == 1:
            return None
        return self._reader.prefix.begin("input_ids", torch.tensor([common], device=self._reader.model.device))


def shared_beginning(rows: Rows) -> list[int]:
    """Return the tokens that all rows begin with, of which each has at least one more.

    Examples
    --------
    >>> shared_beginning([[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 5]])
    [1, 2]
    """
    return _common(rows)[: min(map(len, rows)) - 1]


def _common(rows: Rows) -> list[int]:
    first, last = min(rows), max(rows)  # in the order of a dictionary: what these two share, all share
    pairs = zip(first, last, strict=False)
    return list(first[: next((place for place, (one, other) in enumerate(pairs) if one != other), len(first))])
