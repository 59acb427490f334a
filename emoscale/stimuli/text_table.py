"""Tables of texts that are read a piece at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import Columns, Faults, pick_splits, split_names
from emoscale.stimuli.same_text import identify

_NONE = np.empty(0, np.uint64)


@dataclass(frozen=True)
class TextTable:
    """A table of texts as its source has it, not checked yet.

    Parameters
    ----------
    place : str
        Where it is, for messages.
    read : callable
        Takes the most rows of a piece, yields the rows a piece at a time. It is called twice: to check and count the
        rows, and to take the texts.
    columns : Columns
        Those that hold the texts, the labels and, if there is one, the split.
    split : {"train", "dev"}, optional
        Of all the table's texts. Without one, and without a column of splits, dev texts are drawn.
    """

    place: str
    read: Callable[[int], Iterator[pd.DataFrame]]
    columns: Columns
    split: str | None = None

    def check(self, chunk: int) -> CheckedTable:
        """Read the table through.

        Raises
        ------
        InputError
            If it has no rows, lacks a column, or has rows with faults.
        """
        faults, found, labels = Faults(), dict[str, None](), dict[str, None]()
        splits: Counter[str] = Counter()
        is_drawn = self.split is None and self.columns.split is None
        identities = []
        for piece in self.read(chunk):
            found |= dict.fromkeys(map(str, piece.columns))
            splits.update(self.columns.check(piece, faults))
            labels |= self.columns.labels(piece)
            if is_drawn:
                identities.append(identify(self.columns.fill(piece)[self.columns.text]))
        if not faults.rows:
            raise InputError(f"{self.place}: holds no texts; give one with texts and labels")
        self.columns.refuse(found, faults, self.place)
        if self.columns.split is None:
            known = np.concatenate(identities) if is_drawn else _NONE
            return CheckedTable(self, Counter({self.split: faults.rows}), {}, list(labels), known)
        picked = pick_splits(splits)
        counts: Counter[str | None] = Counter({picked[name]: splits[name] for name in splits if name in picked})
        return CheckedTable(self, counts, picked, list(labels), _NONE)


@dataclass(frozen=True, eq=False)
class CheckedTable:
    """A table without faults.

    Parameters
    ----------
    table : TextTable
    counts : Counter
        Number of its texts by split; None where the split is to be drawn.
    picked : dict of str to str
        Train and dev by the names in the split column, see `pick_splits`.
    labels : list of str
        As they are written, in the order in which they first occur.
    identities : ndarray of uint64
        Of each text where the split is to be drawn, see `identify`; else empty.
    """

    table: TextTable
    counts: Counter[str | None]
    picked: dict[str, str]
    labels: list[str]
    identities: NDArray[np.uint64]

    def read(self, chunk: int) -> Iterator[pd.DataFrame]:
        """Yield the columns `text`, `labels` and `split`, without the rows of splits that are not used."""
        columns = self.table.columns
        for piece in self.table.read(chunk):
            if columns.split is None:
                yield columns.take(piece).assign(split=self.table.split)
                continue
            splits = split_names(columns.fill(piece)[columns.split]).map(self.picked)
            kept = splits.notna()
            yield columns.take(piece[kept]).assign(split=splits[kept].astype("str"))
