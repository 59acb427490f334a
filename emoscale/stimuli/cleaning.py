"""Turning what a source's cells hold into texts, labels and splits."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pandas as pd

from emoscale.errors import InputError, suggest

TRAIN_NAMES = ("train", "training")
DEV_NAMES = ("dev", "validation", "valid", "val", "test")


def pick_splits(available: Collection[str]) -> dict[str, str]:
    """Say which of a source's splits are train and dev.

    Parameters
    ----------
    available : collection of str
        Names of the source's splits.

    Returns
    -------
    dict of str to str
        ``"train"`` and ``"dev"`` by the source's own name: the first that occurs of `TRAIN_NAMES` and of `DEV_NAMES`.
        The others are not in it, so a test split stays untouched where there is a validation split.
    """
    picked = {}
    for split, names in (("train", TRAIN_NAMES), ("dev", DEV_NAMES)):
        for name in names:
            if name in available:
                picked[name] = split
                break
    return picked


def split_labels(cell: Any, separator: str | None) -> tuple[str, ...]:
    """Read one label cell.

    Parameters
    ----------
    cell : object
        A label, a list of labels, or nothing (None, NaN, blank).
    separator : str or None
        What separates several labels in one string.

    Returns
    -------
    tuple of str
        The labels without surrounding blanks, each once.
    """
    parts = cell if isinstance(cell, (list, tuple)) else [cell]
    if separator:
        parts = [piece for part in parts for piece in (part.split(separator) if isinstance(part, str) else [part])]
    # A corpus has millions of labels of a few kinds: one object a kind, whoever keeps them.
    labels = (sys.intern(str(part).strip()) for part in parts if not _is_missing(part))
    return tuple(dict.fromkeys(label for label in labels if label))


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


class Faults:
    """What is wrong with rows that come in pieces: of each kind of fault how often, and where first.

    Attributes
    ----------
    rows : int
        Number of rows looked at.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._found: dict[str, tuple[int, int, Any]] = {}

    def add(self, kind: str, cells: Sequence[Any], is_wrong: Callable[[Any], bool]) -> None:
        """Look at the cells of the next rows; `advance` tells when all of their cells have been looked at."""
        wrong = [row for row, cell in enumerate(cells) if is_wrong(cell)]
        if wrong:
            count, first, cell = self._found.get(kind, (0, self.rows + wrong[0] + 1, cells[wrong[0]]))
            self._found[kind] = count + len(wrong), first, cell

    def advance(self, rows: int) -> None:
        """Go on to the rows after the next `rows`."""
        self.rows += rows

    def get(self, kind: str) -> tuple[int, int, Any] | None:
        """Return how many rows have the fault, the first of them (from 1) and its cell; None if there is none."""
        return self._found.get(kind)


def tidy_columns(
    table: pd.DataFrame,
    place: str,
    text_column: str,
    label_column: str,
    label_separator: str | None = None,
    name_of: Callable[[Any], Any] | None = None,
) -> pd.DataFrame:
    """Take the texts and labels out of a table.

    Parameters
    ----------
    table : DataFrame
        One row a text.
    place : str
        Where the table is from, for messages.
    text_column, label_column : str
    label_separator : str, optional
    name_of : callable, optional
        Turns a label cell that holds numbers into names.

    Returns
    -------
    DataFrame
        Columns `text` and `labels`, with the table's rows and index.

    Raises
    ------
    InputError
        If a column is missing, a text is empty or not a text, or a cell that should hold one label is empty.
    """
    require_columns(table.columns, place, text_column, label_column)
    faults = Faults()
    look_at_rows(faults, table, text_column, label_column, label_separator, name_of)
    refuse_faults(faults, place, label_column)
    return take_columns(table, text_column, label_column, label_separator, name_of)


def look_at_rows(
    faults: Faults,
    table: pd.DataFrame,
    text_column: str,
    label_column: str,
    label_separator: str | None = None,
    name_of: Callable[[Any], Any] | None = None,
) -> None:
    """Note what is wrong with the next rows of a table that has both columns; the arguments are `tidy_columns`'s."""
    texts = table[text_column].tolist()
    _look_at_texts(faults, texts)
    if label_separator is None:
        # An empty list says that a text carries no label; an empty cell is more likely a gap in the table.
        cells = _named(table[label_column].tolist(), name_of)
        faults.add("gap", cells, lambda cell: not isinstance(cell, (list, tuple)) and not split_labels(cell, None))
    faults.advance(len(texts))


def take_columns(
    table: pd.DataFrame,
    text_column: str,
    label_column: str,
    label_separator: str | None = None,
    name_of: Callable[[Any], Any] | None = None,
) -> pd.DataFrame:
    """Take the columns `text` and `labels` out of rows that have no faults; the arguments are `tidy_columns`'s."""
    labels = [split_labels(cell, label_separator) for cell in _named(table[label_column].tolist(), name_of)]
    return pd.DataFrame({"text": table[text_column].tolist(), "labels": labels}, index=table.index)


def _named(cells: list[Any], name_of: Callable[[Any], Any] | None) -> list[Any]:
    return [name_of(cell) for cell in cells] if name_of else cells


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


def check_texts(texts: list[Any], place: str) -> None:
    """Raise unless every text is one and has something in it.

    Parameters
    ----------
    texts : list
        What the text cells hold.
    place : str
        Where they are from, for messages. Rows are counted from 1, header and blank lines aside.

    Raises
    ------
    InputError
        Tells how many are not, and which is the first.
    """
    faults = Faults()
    _look_at_texts(faults, texts)
    faults.advance(len(texts))
    refuse_faults(faults, place)


def _look_at_texts(faults: Faults, texts: list[Any]) -> None:
    faults.add("half", texts, lambda text: isinstance(text, str) and not _is_encodable(text))
    faults.add("empty", texts, lambda text: _is_missing(text) or text == "" or str(text).isspace())
    faults.add("other", texts, lambda text: not isinstance(text, str) and not _is_missing(text))


def refuse_faults(faults: Faults, place: str, label_column: str = "") -> None:
    """Raise InputError if rows of a place have faults; those of labels are told once the texts have none."""
    rows, problems = faults.rows, []
    if half := faults.get("half"):
        problems.append(
            f"{place}: {half[0]} of {rows} texts hold half a character (a lone surrogate), the first in row "
            f"{half[1]}; mend or remove them"
        )
    if empty := faults.get("empty"):
        problems.append(f"{place}: {empty[0]} of {rows} texts are empty, the first in row {empty[1]}; remove them")
    if other := faults.get("other"):
        problems.append(
            f"{place}: {other[0]} of {rows} text cells hold no text, the first in row {other[1]} "
            f"({other[2]!r}); name the column of texts"
        )
    if problems:
        raise InputError(problems)
    if gap := faults.get("gap"):
        raise InputError(
            f"{place}, column {label_column!r}: {gap[0]} of {rows} labels are empty, the first in row "
            f"{gap[1]}; fill them in, or set label_separator if a text may carry no label"
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
