"""Labelled texts from any source, in one form."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.names import join
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.sources import SOURCES
from emoscale.stimuli.text_table import CheckedTable
from emoscale.system.option_types import lookup

SPLITS = ("train", "dev")
EVERY_SPLIT = "all"
_CHUNK = 8192
_SHOWN = 8
"""Labels that a note names."""


@dataclass(frozen=True, eq=False)
class TextReader:
    """Texts that have been read through once and are without faults, see `open_texts`.

    Attributes
    ----------
    place : str
        Where they are, for messages.
    counts : dict of str to int
        Number of texts by split.
    tables : list of CheckedTable
    is_dev : ndarray of bool, shape (texts,), or None
        Whether each is held out, where that was drawn.
    chunk : int
        The most rows read at a time.
    """

    place: str
    counts: dict[str, int]
    tables: list[CheckedTable]
    is_dev: NDArray[np.bool_] | None
    chunk: int

    def notes(self, concepts: Sequence[str]) -> list[str]:
        """Say which labels are taken for a concept, or for one another, though they are written otherwise."""
        _, joined = self._names(concepts)
        if not joined:
            return []
        more = f"; and {len(joined) - _SHOWN} more" if len(joined) > _SHOWN else ""
        return [f"{self.place}: labels are read as names written otherwise: {'; '.join(joined[:_SHOWN])}{more}"]

    def pieces(self, split: str = EVERY_SPLIT, concepts: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
        """Read the texts of one split a piece at a time.

        Parameters
        ----------
        split : {"train", "dev", "all"}
        concepts : sequence of str
            A label that is one of these names, however it is written, becomes it (see `emoscale.names.canonical`);
            several forms of another label become the first.

        Returns
        -------
        iterator of DataFrame
            None of them empty. Together they are the rows of `load_texts` that belong to the split, with its index.

        Raises
        ------
        InputError
            If the split is unknown or has no texts.
        """
        if split not in (*SPLITS, EVERY_SPLIT):
            raise InputError(f"split {split!r}: unknown; use one of {', '.join((*SPLITS, EVERY_SPLIT))}")
        self.require(*([] if split == EVERY_SPLIT else [split]))
        return self._pieces(split, concepts)

    def require(self, *splits: str) -> None:
        """Raise InputError for each of these splits that has no texts."""
        problems = [
            f"{self.place}: no {split} texts; give some, or give one split only and set dev_fraction"
            for split in splits
            if not self.counts.get(split)
        ]
        if problems:
            raise InputError(problems)

    def _pieces(self, split: str, concepts: Sequence[str]) -> Iterator[pd.DataFrame]:
        name_of, _ = self._names(concepts)
        for piece in self._numbered():
            chosen = piece if split == EVERY_SPLIT else piece[piece["split"] == split]
            if len(chosen):
                labels = [tuple(dict.fromkeys(name_of[label] for label in own)) for own in chosen["labels"]]
                yield chosen.assign(labels=pd.Series(labels, chosen.index, dtype=object))

    def _names(self, concepts: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        written = dict.fromkeys(label for table in self.tables for label in table.labels)
        name_of, joined = join([*concepts, *written])
        # Of the millions of labels of a corpus each kind is one object.
        return {label: sys.intern(name) for label, name in name_of.items()}, joined

    def _numbered(self) -> Iterator[pd.DataFrame]:
        start = 0
        for table in self.tables:
            for piece in table.read(self.chunk):
                stop = start + len(piece)
                if self.is_dev is not None:
                    piece = piece.assign(split=np.where(self.is_dev[start:stop], "dev", "train"))
                yield piece.set_axis(range(start, stop))
                start = stop


def open_texts(options: StimuliOptions, chunk: int = _CHUNK) -> TextReader:
    """Read texts through, to check them and to count what their split depends on.

    Nothing is kept but, where held-out texts are drawn, some 50 bytes a text while they are, and one byte afterwards.

    Parameters
    ----------
    options : StimuliOptions
    chunk : int
        The most rows read at a time, 1 or more.

    Raises
    ------
    InputError
        If the source is unknown, lacks its path or would ignore a setting; if a file is missing, empty, unreadable or
        of an unknown format, or lacks a column; if a text or label is empty, or a split unknown.

    Examples
    --------
    >>> open_texts(StimuliOptions(source="scenarios")).counts
    {'train': 540, 'dev': 270}
    """
    source = lookup("text source", SOURCES, options.source)
    source.check(options)
    place = options.path or source.name
    tables = [table.check(chunk) for table in source.open(options)]
    counts = sum((table.counts for table in tables), Counter[str | None]())
    if None not in counts:
        return TextReader(place, {str(split): count for split, count in counts.items()}, tables, None, chunk)
    is_dev = _draw_dev(np.concatenate([table.identities for table in tables]), options, place)
    dev = int(is_dev.sum())
    return TextReader(place, {"train": len(is_dev) - dev, "dev": dev}, tables, is_dev, chunk)


def load_texts(options: StimuliOptions, concepts: Sequence[str] = ()) -> pd.DataFrame:
    """Load texts with their labels and their split.

    Parameters
    ----------
    options : StimuliOptions
    concepts : sequence of str
        See `TextReader.pieces`.

    Returns
    -------
    DataFrame
        Index 0 to n-1; columns `text` (str), `labels` (tuple of str, each once) and `split` ("train" or "dev").

    Raises
    ------
    InputError
        See `open_texts`.

    Examples
    --------
    >>> texts = load_texts(StimuliOptions(source="scenarios"))
    >>> texts["split"].value_counts().to_dict()
    {'train': 540, 'dev': 270}
    """
    return pd.concat(open_texts(options).pieces(concepts=concepts), ignore_index=True)


def stream_texts(options: StimuliOptions, split: str = EVERY_SPLIT, chunk: int = _CHUNK) -> Iterator[pd.DataFrame]:
    """Check the texts of a source, and read those of one split a piece at a time, see `TextReader.pieces`."""
    return open_texts(options, chunk).pieces(split)


def _draw_dev(identities: NDArray[np.uint64], options: StimuliOptions, place: str) -> NDArray[np.bool_]:
    """Draw the texts that are held out, each with all its rows; at least one is, and one is not."""
    if not 0 < options.dev_fraction < 1:
        raise InputError(f"stimuli.dev_fraction {options.dev_fraction}: must lie between 0 and 1; give e.g. 0.2")
    _, first, text = np.unique(identities, return_index=True, return_inverse=True)
    count = len(first)
    if count == 1:
        raise InputError(f"{place}: holds a single text; give at least one train and one dev text")
    dev_count = min(max(round(count * options.dev_fraction), 1), count - 1)
    is_dev = np.zeros(count, dtype=bool)
    # Texts are drawn by their place in the file, not by their hash.
    by_place = np.argsort(first)
    is_dev[by_place[np.random.default_rng(options.seed).permutation(count)[:dev_count]]] = True
    return is_dev[text]
