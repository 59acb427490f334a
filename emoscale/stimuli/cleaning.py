"""Turning what a source's cells hold into texts, labels and splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import pandas as pd

from emoscale.concepts import nearest
from emoscale.errors import InputError

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
    labels = (str(part).strip() for part in parts if not _is_missing(part))
    return tuple(dict.fromkeys(label for label in labels if label))


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


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
    require_columns(table, place, text_column, label_column)
    texts, cells = table[text_column].tolist(), table[label_column].tolist()
    check_texts(texts, place)
    if name_of:
        cells = [name_of(cell) for cell in cells]
    labels = [split_labels(cell, label_separator) for cell in cells]
    # An empty list says that a text carries no label; an empty cell is more likely a gap in the table.
    gaps = [
        row
        for row, (cell, found) in enumerate(zip(cells, labels, strict=True), 1)
        if not found and label_separator is None and not isinstance(cell, (list, tuple))
    ]
    if gaps:
        raise InputError(
            f"{place}, column {label_column!r}: {len(gaps)} of {len(cells)} labels are empty, the first in row "
            f"{gaps[0]}; fill them in, or set label_separator if a text may carry no label"
        )
    return pd.DataFrame({"text": texts, "labels": labels}, index=table.index)


def require_columns(table: pd.DataFrame, place: str, *columns: str) -> None:
    """Raise InputError for each column that the table lacks, naming the nearest that it has."""
    found = list(map(str, table.columns))
    problems = [
        f"{place}: no column {column!r}{nearest(column, found)}; name one of {', '.join(found)}"
        for column in dict.fromkeys(columns)
        if column not in found
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
    empty = [row for row, text in enumerate(texts, 1) if _is_missing(text) or text == "" or str(text).isspace()]
    other = [row for row, text in enumerate(texts, 1) if not isinstance(text, str) and not _is_missing(text)]
    halves = [row for row, text in enumerate(texts, 1) if isinstance(text, str) and not _is_encodable(text)]
    problems = []
    if halves:
        problems.append(
            f"{place}: {len(halves)} of {len(texts)} texts hold half a character (a lone surrogate), the first in row "
            f"{halves[0]}; mend or remove them"
        )
    if empty:
        problems.append(
            f"{place}: {len(empty)} of {len(texts)} texts are empty, the first in row {empty[0]}; remove them"
        )
    if other:
        problems.append(
            f"{place}: {len(other)} of {len(texts)} text cells hold no text, the first in row {other[0]} "
            f"({texts[other[0] - 1]!r}); name the column of texts"
        )
    if problems:
        raise InputError(problems)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
