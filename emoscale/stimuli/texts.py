"""Labelled texts from any source, in one form."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.concepts import nearest
from emoscale.errors import InputError
from emoscale.stimuli.settings import TextSettings
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
    if source not in SOURCES:
        raise InputError(f"text source {source!r}{nearest(source, SOURCES)}: unknown; give one of {', '.join(SOURCES)}")
    settings = TextSettings(source, path, dev_path, text_column, label_column, label_separator, split_column)
    texts = SOURCES[source](settings)
    place = path or source
    if texts.empty:
        raise InputError(f"{place}: holds no texts; give a source with at least one train and one dev text")
    if "split" not in texts:
        texts = texts.assign(split=_draw_split(len(texts), dev_fraction, seed, place))
    problems = [
        f"{place}: no {split} texts; give some, or give one split only and set dev_fraction"
        for split in SPLITS
        if not (texts["split"] == split).any()
    ]
    if problems:
        raise InputError(problems)
    return texts[["text", "labels", "split"]].reset_index(drop=True)


def _draw_split(count: int, dev_fraction: float, seed: int, place: str) -> NDArray[np.str_]:
    if not 0 < dev_fraction < 1:
        raise InputError(f"dev_fraction {dev_fraction}: must lie between 0 and 1; give e.g. 0.2")
    if count == 1:
        raise InputError(f"{place}: holds a single text; give at least one train and one dev text")
    dev_count = min(max(round(count * dev_fraction), 1), count - 1)
    is_dev = np.zeros(count, dtype=bool)
    is_dev[np.random.default_rng(seed).permutation(count)[:dev_count]] = True
    return np.where(is_dev, "dev", "train")
