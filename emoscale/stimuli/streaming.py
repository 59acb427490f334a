"""Labelled texts a piece at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import Faults, look_at_rows, pick_splits, refuse_faults, require_columns, take_columns
from emoscale.stimuli.hub import open_dataset
from emoscale.stimuli.options import TextSettings
from emoscale.stimuli.sources import look_at_splits, own_files, refuse_splits, require_rows, split_names
from emoscale.stimuli.tables import read_pieces
from emoscale.stimuli.texts import SPLITS, draw_dev, load_texts, require_source, require_splits

Pieces = Callable[[], Iterator[pd.DataFrame]]


def stream_texts(
    source: str,
    *,
    path: str | None = None,
    dev_path: str | None = None,
    text_column: str = "text",
    label_column: str = "label",
    label_separator: str | None = None,
    split_column: str | None = None,
    dev_fraction: float = 0.2,
    seed: int = 0,
    split: Literal["train", "dev", "all"] = "all",
    chunk: int = 8192,
) -> Iterator[pd.DataFrame]:
    """Read the texts of one split a piece at a time.

    Files and data sets are read twice: once to check them and to count what the split depends on, before this function
    returns, and once for the texts. Between the two nothing is kept but one byte a row where dev is drawn.

    Parameters
    ----------
    source, path, dev_path, text_column, label_column, label_separator, split_column, dev_fraction, seed
        See `load_texts`.
    split : {"train", "dev", "all"}
    chunk : int
        The most rows read at a time, 1 or more.

    Returns
    -------
    iterator of DataFrame
        None of them empty. Put together they are what `load_texts` gives, or its rows of the split: the same rows in
        the same order with the same index.

    Raises
    ------
    InputError
        As `load_texts`, with the same words; or if the split is unknown.
    """
    if split not in (*SPLITS, "all"):
        raise InputError(f"split {split!r}: unknown; give one of {', '.join((*SPLITS, 'all'))}")
    require_source(source)
    options = TextSettings(source, path, dev_path, text_column, label_column, label_separator, split_column)
    place = path or source
    if source == "file":
        tables = [_survey_file(options, file, part, chunk) for file, part in own_files(options)]
    elif source == "dataset":
        tables = _survey_dataset(options, chunk)
    else:
        tables = [_whole(options, chunk)]
    if tables[0].counts.keys() == {_UNDECIDED}:
        tables = [_drawn(tables[0], dev_fraction, seed, place)]
    require_splits(sum((table.counts for table in tables), Counter()), place)
    return _of_split(tables, split)


_UNDECIDED = "undecided"
"""In place of a split's name until the draw."""


@dataclass(frozen=True)
class _Table:
    """A table of texts that has been read through once and found sound.

    Attributes
    ----------
    counts : Counter
        Number of its texts in each split.
    pieces : callable
        Reads it again: columns `text`, `labels`, `split`.
    """

    counts: Counter[str]
    pieces: Pieces


def _of_split(tables: list[_Table], split: str) -> Iterator[pd.DataFrame]:
    start = 0
    for table in tables:
        for piece in table.pieces():
            numbered = piece.set_axis(range(start, start + len(piece)))
            start += len(piece)
            chosen = numbered if split == "all" else numbered[numbered["split"] == split]
            if len(chosen):
                yield chosen


def _whole(options: TextSettings, chunk: int) -> _Table:
    texts = load_texts(options.source, **{name: value for name, value in vars(options).items() if name != "source"})
    return _Table(
        Counter(texts["split"]), lambda: (texts[start : start + chunk] for start in range(0, len(texts), chunk))
    )


def _drawn(table: _Table, dev_fraction: float, seed: int, place: str) -> _Table:
    is_dev = draw_dev(table.counts.total(), dev_fraction, seed, place)

    def pieces() -> Iterator[pd.DataFrame]:
        start = 0
        for piece in table.pieces():
            yield piece.assign(split=np.where(is_dev[start : start + len(piece)], "dev", "train"))
            start += len(piece)

    dev = int(is_dev.sum())
    return _Table(Counter(train=len(is_dev) - dev, dev=dev), pieces)


def _survey_dataset(options: TextSettings, chunk: int) -> list[_Table]:
    parts = open_dataset(options)
    tables = []
    for part in parts:
        require_columns(part.wanted, part.place, options.text_column, options.label_column)
        columns = _Columns(options, part.name_of)
        faults = Faults()
        for piece in part.pieces(chunk):
            columns.look_at(faults, piece)
        refuse_faults(faults, part.place, options.label_column)
        split = part.split if len(parts) > 1 else _UNDECIDED
        tables.append(_Table(Counter({split: faults.rows}), _taking(columns, partial(part.pieces, chunk), split)))
    return tables


def _survey_file(options: TextSettings, file: str, split: str | None, chunk: int) -> _Table:
    columns = _Columns(options)
    pieces = partial(read_pieces, Path(file), chunk, columns.wanted)
    faults = Faults()
    names: Counter[str] = Counter()
    found: dict[str, None] = {}
    for piece in pieces():
        found |= dict.fromkeys(map(str, piece.columns))
        if options.split_column is not None:
            names.update(look_at_splits(faults, columns.filled(piece)[options.split_column]))
        columns.look_at(faults, piece)
    require_rows(faults.rows > 0 and len(found) > 0, file)
    require_columns(found, file, options.text_column, options.label_column)
    refuse_faults(faults, file, options.label_column)
    if options.split_column is None:
        name = split or _UNDECIDED
        return _Table(Counter({name: faults.rows}), _taking(columns, pieces, name))
    require_columns(found, file, options.split_column)
    refuse_splits(faults, file, options.split_column)
    picked = pick_splits(names)
    counts = Counter({picked[name]: count for name, count in names.items() if name in picked})
    return _Table(counts, _choosing(columns, pieces, picked))


@dataclass(frozen=True)
class _Columns:
    """Which columns of a table are texts and labels, and how to read them."""

    options: TextSettings
    name_of: Callable[[Any], Any] | None = None

    @property
    def wanted(self) -> list[str]:
        names = (self.options.text_column, self.options.label_column, self.options.split_column)
        return [name for name in dict.fromkeys(names) if name is not None]

    @property
    def _arguments(self) -> tuple[str, str, str | None, Callable[[Any], Any] | None]:
        return self.options.text_column, self.options.label_column, self.options.label_separator, self.name_of

    def filled(self, piece: pd.DataFrame) -> pd.DataFrame:
        # Objects of a jsonl file may all lack a key for thousands of rows.
        return piece.assign(**{name: None for name in self.wanted if name not in piece})

    def look_at(self, faults: Faults, piece: pd.DataFrame) -> None:
        look_at_rows(faults, self.filled(piece), *self._arguments)

    def take(self, piece: pd.DataFrame) -> pd.DataFrame:
        return take_columns(self.filled(piece), *self._arguments)


def _taking(columns: _Columns, pieces: Pieces, split: str) -> Pieces:
    return lambda: (columns.take(piece).assign(split=split) for piece in pieces())


def _choosing(columns: _Columns, pieces: Pieces, picked: dict[str, str]) -> Pieces:
    def chosen() -> Iterator[pd.DataFrame]:
        for piece in pieces():
            splits = split_names(columns.filled(piece)[columns.options.split_column]).map(picked)
            kept = splits.notna()
            yield columns.take(piece[kept]).assign(split=splits[kept].astype("str"))

    return chosen
