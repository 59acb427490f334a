"""Finding out which columns of a file hold the texts, their labels and their splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from emoscale.errors import InputError
from emoscale.names import canonical
from emoscale.stimuli.cleaning import DEV_NAMES, SPLIT_NAMES, TRAIN_NAMES, split_labels
from emoscale.stimuli.tables import read_pieces

_ROWS = 20_000
"""The most rows that are looked at."""
_SEPARATORS = (None, ",", ";", "|", "/")
_TEXT_NAMES = ("text", "sentence", "utterance", "document", "content", "scenario", "story", "tweet", "comment", "body")


@dataclass(frozen=True)
class TextColumns:
    """The columns of a file of texts.

    Attributes
    ----------
    text, label : str
    separator : str or None
        Of several labels in a cell.
    split : str or None
    """

    text: str
    label: str
    separator: str | None
    split: str | None


def find_columns(path: Path, concepts: Sequence[str], ratings: Path) -> TextColumns:
    """Find the columns of texts, labels and splits.

    Parameters
    ----------
    path : Path
    concepts : sequence of str
        The labels' column is that whose cells hold most of them.
    ratings : Path
        Where the concepts come from, for the message.

    Raises
    ------
    InputError
        If the file cannot be read, no column holds the concepts, or none is left for the texts.
    """
    rows = _first_rows(path)
    label, separator = _label_column(rows, concepts, path, ratings)
    split = _split_column(rows.drop(columns=label))
    others = rows.drop(columns=[label, *([split] if split else [])])
    lengths = {str(name): _length(cells) for name, cells in others.items()}
    texts = {name: length for name, length in lengths.items() if length > 0}
    if not texts:
        raise InputError(f"{path}: no column of texts beside {label!r}; add one, e.g. called text")
    named = [name for name in texts if name.strip().casefold() in _TEXT_NAMES]
    return TextColumns(
        named[0] if len(named) == 1 else max(texts, key=lambda name: texts[name]), label, separator, split
    )


def _first_rows(path: Path) -> pd.DataFrame:
    # Of a format that is read by columns, a column that there is not asks for all of them.
    pieces = list(islice(read_pieces(path, _ROWS, [""]), 1))
    if not pieces or pieces[0].empty:
        raise InputError(f"{path}: holds no texts; give a file with texts and labels")
    return pieces[0]


def _label_column(rows: pd.DataFrame, concepts: Sequence[str], path: Path, ratings: Path) -> tuple[str, str | None]:
    """Return the column that names most concepts, and of equal ones that with the larger share of such cells."""
    known, found = set(map(canonical, concepts)), dict[tuple[str, str | None], tuple[int, float]]()
    for name, cells in rows.items():
        for separator in _SEPARATORS:
            labels = [tuple(map(canonical, split_labels(cell, separator))) for cell in cells]
            named = {label for some in labels for label in some} & known
            share = sum(bool(known.intersection(some)) for some in labels) / len(labels)
            found[str(name), separator] = (len(named), share)
    best = max(found, key=lambda key: found[key])  # of equal ones the first: without a separator
    if found[best][0] == 0:
        some = ", ".join(map(repr, concepts[:5]))
        raise InputError(
            f"{path}: no column holds concepts of {ratings} ({some}, ...); its columns are "
            f"{', '.join(map(repr, map(str, rows.columns)))}; write the labels as the ratings name the concepts"
        )
    return best


def _split_column(rows: pd.DataFrame) -> str | None:
    """Return the column whose cells name splits, both to learn from and held out."""
    for name, cells in rows.items():
        values = {str(cell).strip().casefold() for cell in cells}
        if values <= set(SPLIT_NAMES) and values & set(TRAIN_NAMES) and values & set(DEV_NAMES):
            return str(name)
    return None


def _length(cells: pd.Series[Any]) -> float:
    """Return the mean length of cells that are texts; 0 where some are none, or are numbers."""
    values = cells.tolist()
    if not all(isinstance(value, str) for value in values) or pd.to_numeric(cells, errors="coerce").notna().all():
        return 0
    return sum(map(len, values)) / len(values)
