"""Turning the cells of a source into texts, labels and splits, and finding what is wrong with them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from emoscale.errors import InputError, suggest

TRAIN_NAMES = ("train", "training")
DEV_NAMES = ("dev", "validation", "valid", "val", "test")
SPLIT_NAMES = (*TRAIN_NAMES, *DEV_NAMES)


def pick_splits(available: Collection[str]) -> dict[str, str]:
    """Find which splits of a source are train and dev.

    Returns
    -------
    dict of str to str
        ``"train"`` and ``"dev"`` by the source's own name: the first that occurs of `TRAIN_NAMES` and of `DEV_NAMES`.
        Other splits are not in it, so a test split is not used where there is a validation split.

    Examples
    --------
    >>> pick_splits(["test", "validation", "train"])
    {'train': 'train', 'validation': 'dev'}
    """
    picked = {}
    for split, names in (("train", TRAIN_NAMES), ("dev", DEV_NAMES)):
        if name := next((name for name in names if name in available), None):
            picked[name] = split
    return picked


def split_labels(cell: Any, separator: str | None) -> tuple[str, ...]:
    """Read one label cell.

    Parameters
    ----------
    cell : object
        A label, a list of labels, or nothing (None, NaN, blank).
    separator : str or None
        Separates several labels in one string.

    Returns
    -------
    tuple of str
        The labels without surrounding blanks, each once.

    Examples
    --------
    >>> split_labels("joy, fear ,joy", ",")
    ('joy', 'fear')
    """
    parts = cell if isinstance(cell, (list, tuple)) else [cell]
    if separator:
        parts = [piece for part in parts for piece in (part.split(separator) if isinstance(part, str) else [part])]
    # A corpus has millions of labels of a few kinds: interned, each kind is one object.
    labels = (sys.intern(str(part).strip()) for part in parts if not _is_missing(part))
    return tuple(dict.fromkeys(label for label in labels if label))


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


class Faults:
    """Faults of rows that come in pieces: for each kind, how many rows have it and the first of them.

    Attributes
    ----------
    rows : int
        Number of rows checked.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._found: dict[str, tuple[int, int, Any]] = {}

    def add(self, kind: str, cells: Sequence[Any], is_wrong: Callable[[Any], bool]) -> None:
        """Check a column of the next rows; call `advance` when all their columns have been checked."""
        wrong = [row for row, cell in enumerate(cells) if is_wrong(cell)]
        if wrong:
            count, first, cell = self._found.get(kind, (0, self.rows + wrong[0] + 1, cells[wrong[0]]))
            self._found[kind] = count + len(wrong), first, cell

    def advance(self, rows: int) -> None:
        """Move on to the rows after the next `rows`."""
        self.rows += rows

    def get(self, kind: str) -> tuple[int, int, Any] | None:
        """Return how many rows have the fault, the first of them (counted from 1) and its cell; None if none has it."""
        return self._found.get(kind)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold its texts, labels and splits, and how to read their cells.

    Parameters
    ----------
    text, label : str
    separator : str, optional
        See `split_labels`. Without one, a label cell must not be empty.
    split : str, optional
        Holds one of `SPLIT_NAMES`, in any case.
    """

    text: str
    label: str
    separator: str | None = None
    split: str | None = None

    @property
    def names(self) -> list[str]:
        """All the columns, each once."""
        return [name for name in dict.fromkeys((self.text, self.label, self.split)) if name is not None]

    def fill(self, piece: pd.DataFrame) -> pd.DataFrame:
        """Add the columns that a piece lacks: all objects of a piece of a jsonl file may lack a key."""
        absent = [name for name in self.names if name not in piece]
        return piece.assign(**dict.fromkeys(absent)) if absent else piece

    def check(self, piece: pd.DataFrame, faults: Faults) -> list[str]:
        """Note the faults of the next rows; return the known splits that their split column names."""
        piece = self.fill(piece)
        texts, labels = piece[self.text].tolist(), piece[self.label].tolist()
        faults.add("surrogate", texts, lambda text: isinstance(text, str) and not _is_encodable(text))
        faults.add("empty", texts, lambda text: _is_missing(text) or text == "" or str(text).isspace())
        faults.add("no text", texts, lambda text: not isinstance(text, str) and not _is_missing(text))
        if self.separator is None:
            # An empty list says that a text has no label; an empty cell is more likely a gap in the table.
            faults.add(
                "no label", labels, lambda cell: not isinstance(cell, (list, tuple)) and not split_labels(cell, None)
            )
        splits: list[str] = []
        if self.split is not None:
            names = split_names(piece[self.split])
            known = names.isin(SPLIT_NAMES)
            faults.add("split", list(zip(piece[self.split], known, strict=True)), lambda cell: not cell[1])
            splits = names[known].tolist()
        faults.advance(len(texts))
        return splits

    def labels(self, piece: pd.DataFrame) -> dict[str, None]:
        """Return the labels of some rows as they are written, each once, in their order."""
        cells = self.fill(piece)[self.label].tolist()
        return dict.fromkeys(label for cell in cells for label in split_labels(cell, self.separator))

    def take(self, piece: pd.DataFrame) -> pd.DataFrame:
        """Return the columns `text` and `labels` of rows without faults."""
        piece = self.fill(piece)
        labels = [split_labels(cell, self.separator) for cell in piece[self.label].tolist()]
        return pd.DataFrame({"text": piece[self.text].tolist(), "labels": labels}, index=piece.index)

    def refuse(self, found: Iterable[Any], faults: Faults, place: str) -> None:
        """Raise if a table lacks a column or has faults.

        Faults of texts are reported before those of labels, and these before those of splits.

        Parameters
        ----------
        found : iterable
            Names of the table's columns.
        faults : Faults
            Of all its rows.
        place : str
            Where the table is from, for messages.

        Raises
        ------
        InputError
        """
        require_columns(found, place, self.text, self.label)
        if problems := [
            problem for kind in ("surrogate", "empty", "no text") for problem in _problems(faults, kind, place)
        ]:
            raise InputError(problems)
        if problems := _problems(faults, "no label", f"{place}, column {self.label!r}"):
            raise InputError(problems)
        if self.split is not None:
            require_columns(found, place, self.split)
            if problems := _problems(faults, "split", f"{place}, column {self.split!r}"):
                raise InputError(problems)


_MESSAGES = {
    "surrogate": "{count} of {rows} texts hold half a character (a lone surrogate), the first in row {first}; fix or "
    "remove them",
    "empty": "{count} of {rows} texts are empty, the first in row {first}; remove them",
    "no text": "{count} of {rows} text cells hold no text, the first in row {first} ({cell!r}); name the column of "
    "texts",
    "no label": "{count} of {rows} labels are empty, the first in row {first}; fill them in, or set label_separator if "
    "a text may have no label",
    "split": "{count} rows hold no known split, the first is row {first} ({cell[0]!r}); write one of "
    + ", ".join(SPLIT_NAMES),
}


def _problems(faults: Faults, kind: str, place: str) -> list[str]:
    if not (fault := faults.get(kind)):
        return []
    count, first, cell = fault
    return [f"{place}: {_MESSAGES[kind].format(count=count, rows=faults.rows, first=first, cell=cell)}"]


def split_names(column: pd.Series) -> pd.Series:
    """Return the cells of a split column in lower case, without surrounding blanks."""
    return column.astype(str).str.strip().str.casefold()


def require_columns(found: Iterable[Any], place: str, *columns: str) -> None:
    """Raise InputError for each column that is not among those found, naming the nearest that is."""
    names = list(map(str, found))
    problems = [
        f"{place}: no column {column!r}{suggest(column, names)}; name one of {', '.join(names)}"
        for column in dict.fromkeys(columns)
        if column not in names
    ]
    if problems:
        raise InputError(problems)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
