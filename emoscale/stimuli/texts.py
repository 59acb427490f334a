"""Labelled texts from any source, in one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.sources import SOURCES
from emoscale.stimuli.text_table import CheckedTable
from emoscale.system.option_types import lookup

SPLITS = ("train", "dev")
EVERY_SPLIT = "all"


def load_texts(options: StimuliOptions) -> pd.DataFrame:
    """Load texts with their labels and their split.

    Returns
    -------
    DataFrame
        Index 0 to n-1; columns `text` (str), `labels` (tuple of str, each once) and `split` ("train" or "dev").

    Raises
    ------
    InputError
        If the source is unknown, lacks its path or would ignore a setting; if a file is missing, empty, unreadable or
        of an unknown format, or lacks a column; if a text or label is empty, a split is unknown or has no texts.

    Examples
    --------
    >>> texts = load_texts(StimuliOptions(source="scenarios"))
    >>> texts["split"].value_counts().to_dict()
    {'train': 540, 'dev': 270}
    """
    return pd.concat(stream_texts(options), ignore_index=True)


def stream_texts(options: StimuliOptions, split: str = EVERY_SPLIT, chunk: int = 8192) -> Iterator[pd.DataFrame]:
    """Read the texts of one split a piece at a time.

    Every source is read twice: before this function returns, to check the texts and to count what the split depends
    on, and then for the texts. Between the two nothing is kept but one byte a row where held-out texts are drawn.

    Parameters
    ----------
    options : StimuliOptions
    split : {"train", "dev", "all"}
    chunk : int
        The most rows read at a time, 1 or more.

    Returns
    -------
    iterator of DataFrame
        None of them empty. Together they are the rows of `load_texts` that belong to the split, with the same index.

    Raises
    ------
    InputError
        See `load_texts`; or if the split is unknown.
    """
    if split not in (*SPLITS, EVERY_SPLIT):
        raise InputError(f"split {split!r}: unknown; use one of {', '.join((*SPLITS, EVERY_SPLIT))}")
    source = lookup("text source", SOURCES, options.source)
    source.check(options)
    place = options.path or source.name
    tables = [table.check(chunk) for table in source.open(options)]
    counts = sum((table.counts for table in tables), Counter[str | None]())
    is_dev = None
    if None in counts:
        is_dev = _draw_dev(counts.total(), options, place)
        counts = Counter({"train": len(is_dev) - int(is_dev.sum()), "dev": int(is_dev.sum())})
    _require_splits(counts, place)
    return _of_split(_numbered(tables, chunk, is_dev), split)


def _numbered(tables: list[CheckedTable], chunk: int, is_dev: NDArray[np.bool_] | None) -> Iterator[pd.DataFrame]:
    start = 0
    for table in tables:
        for piece in table.read(chunk):
            stop = start + len(piece)
            if is_dev is not None:
                piece = piece.assign(split=np.where(is_dev[start:stop], "dev", "train"))
            yield piece.set_axis(range(start, stop))
            start = stop


def _of_split(pieces: Iterator[pd.DataFrame], split: str) -> Iterator[pd.DataFrame]:
    for piece in pieces:
        chosen = piece if split == EVERY_SPLIT else piece[piece["split"] == split]
        if len(chosen):
            yield chosen


def _require_splits(counts: Mapping[str | None, int], place: str) -> None:
    problems = [
        f"{place}: no {split} texts; give some, or give one split only and set dev_fraction"
        for split in SPLITS
        if not counts.get(split)
    ]
    if problems:
        raise InputError(problems)


def _draw_dev(count: int, options: StimuliOptions, place: str) -> NDArray[np.bool_]:
    """Draw the texts that are held out; at least one is, and one is not."""
    if not 0 < options.dev_fraction < 1:
        raise InputError(f"stimuli.dev_fraction {options.dev_fraction}: must lie between 0 and 1; give e.g. 0.2")
    if count == 1:
        raise InputError(f"{place}: holds a single text; give at least one train and one dev text")
    dev_count = min(max(round(count * options.dev_fraction), 1), count - 1)
    is_dev = np.zeros(count, dtype=bool)
    is_dev[np.random.default_rng(options.seed).permutation(count)[:dev_count]] = True
    return is_dev
