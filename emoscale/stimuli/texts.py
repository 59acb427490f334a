"""Labelled texts from any source, in one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import InputError, suggest
from emoscale.stimuli.options import TextSettings
from emoscale.stimuli.sources import SOURCES

SPLITS = ("train", "dev")


def load_texts(
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
) -> pd.DataFrame:
    """Load texts with their labels and their split.

    Parameters
    ----------
    source : {"scenarios", "goemotions", "file", "dataset"}
        ``"scenarios"``: the built-in first-person situations, 20 train and 10 dev for each of the 27 emotions.
        ``"goemotions"``: a folder with GoEmotions in its original layout: `train.tsv` and `dev.tsv` (text, label
        numbers separated by commas, id; no header, no quoting) and `labels.txt` or `emotions.txt` (a name a line).
        ``"file"``: a csv, tsv, parquet or jsonl file.
        ``"dataset"``: a data set of the Hugging Face hub, or a local folder of one; needs the package `datasets`.
    path : str, optional
        The file, folder or hub name; needed by every source but the built-in.
    dev_path : str, optional
        With ``"file"``: a second file, of the dev texts.
    text_column, label_column : str
        Columns of a file or data set. A label cell holds one label, or a list of them (parquet, jsonl, data sets).
    label_separator : str, optional
        What separates several labels in one cell; a cell holds a single label if left out.
    split_column : str, optional
        With ``"file"``: the column that says train or dev of each row. As in a data set's splits, dev is the first
        that occurs of dev, validation, valid, val, test; rows of the others are left out.
    dev_fraction : float
        Share of the texts drawn as dev where the source has no split of its own.
    seed : int
        Seed of that draw, 0 or more.

    Returns
    -------
    DataFrame
        Index 0 to n-1; columns `text` (str), `labels` (tuple of str, each once) and `split` ("train" or "dev").

    Raises
    ------
    InputError
        If the source is unknown or lacks its path, a file is missing, empty, unreadable or of an unknown format, a
        column is missing, a text is empty, a label is unknown, or a split has no texts.
    """
    require_source(source)
    settings = TextSettings(source, path, dev_path, text_column, label_column, label_separator, split_column)
    texts = SOURCES[source](settings)
    place = path or source
    if "split" not in texts and not texts.empty:
        texts = texts.assign(split=np.where(draw_dev(len(texts), dev_fraction, seed, place), "dev", "train"))
    require_splits(Counter(texts["split"]) if "split" in texts else Counter(), place)
    return texts[["text", "labels", "split"]].reset_index(drop=True)


def require_source(source: str) -> None:
    """Raise InputError, with the nearest that there is, if there is no such source of texts."""
    if source not in SOURCES:
        raise InputError(f"text source {source!r}{suggest(source, SOURCES)}: unknown; give one of {', '.join(SOURCES)}")


def require_splits(counts: Mapping[str, int], place: str) -> None:
    """Raise InputError if the place has, by the number of its texts in each split, none in train or in dev."""
    if not sum(counts.values()):
        raise InputError(f"{place}: holds no texts; give a source with at least one train and one dev text")
    problems = [
        f"{place}: no {split} texts; give some, or give one split only and set dev_fraction"
        for split in SPLITS
        if not counts.get(split)
    ]
    if problems:
        raise InputError(problems)


def draw_dev(count: int, dev_fraction: float, seed: int, place: str) -> NDArray[np.bool_]:
    """Draw the texts that are held out where the source does not say which.

    Parameters
    ----------
    count : int
        Number of texts, 1 or more.
    dev_fraction, seed
        See `load_texts`.
    place : str
        Where they are from, for messages.

    Returns
    -------
    ndarray of bool, shape (count,)
        True for dev; at least one text is, and one is not.

    Raises
    ------
    InputError
        If the fraction does not lie between 0 and 1, or there is a single text.
    """
    if not 0 < dev_fraction < 1:
        raise InputError(f"dev_fraction {dev_fraction}: must lie between 0 and 1; give e.g. 0.2")
    if count == 1:
        raise InputError(f"{place}: holds a single text; give at least one train and one dev text")
    dev_count = min(max(round(count * dev_fraction), 1), count - 1)
    is_dev = np.zeros(count, dtype=bool)
    is_dev[np.random.default_rng(seed).permutation(count)[:dev_count]] = True
    return is_dev
