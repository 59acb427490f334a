"""Data sets of the Hugging Face hub, or folders of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import pick_splits, tidy_columns
from emoscale.stimuli.options import TextSettings

_SAVED = ("dataset_dict.json", "state.json")


def read_dataset(settings: TextSettings) -> pd.DataFrame:
    """Read a data set.

    Parameters
    ----------
    settings : TextSettings
        `path` is a name on the hub, a folder written by `save_to_disk`, or a folder of data files.

    Returns
    -------
    DataFrame
        Columns `text`, `labels` and, if the data set has train and dev (or validation, test), `split`.

    Raises
    ------
    InputError
        If the package `datasets` is missing, the data set cannot be had, has no train split, or lacks a column.
    """
    parts = open_dataset(settings)
    tables = [_tidy(part, settings).assign(split=part.split) for part in parts]
    texts = pd.concat(tables, ignore_index=True)
    return texts if len(parts) > 1 else texts.drop(columns="split")


@dataclass(frozen=True)
class DatasetPart:
    """One split of a data set, still on disk.

    Attributes
    ----------
    place : str
        Its name in messages.
    split : {"train", "dev"}
    rows : datasets.Dataset
    wanted : list of str
        Columns to read: those of texts and labels, or all where one of them is missing.
    name_of : callable or None
        Turns a label cell that holds numbers into names.
    """

    place: str
    split: str
    rows: Any
    wanted: list[str]
    name_of: Callable[[Any], Any] | None

    def pieces(self, chunk: int) -> Iterator[pd.DataFrame]:
        """Yield the rows, at most `chunk` at a time; the index counts them from 0."""
        narrow = self.rows.select_columns(self.wanted)
        for start in range(0, len(narrow), chunk):
            cells = narrow[start : start + chunk]
            size = len(cells[self.wanted[0]])
            yield pd.DataFrame(cells, dtype=object, index=range(start, start + size))


def open_dataset(settings: TextSettings) -> list[DatasetPart]:
    """Open a data set without reading its rows.

    Parameters
    ----------
    settings : TextSettings
        See `read_dataset`.

    Returns
    -------
    list of DatasetPart
        Train and dev, in the data set's own order; or train alone, from which dev is still to be drawn.

    Raises
    ------
    InputError
        If the package `datasets` is missing, the data set cannot be had, or has no train split.
    """
    settings.refuse("dev_path", "split_column")
    path = settings.require_path("a name on the Hugging Face hub, or a folder")
    splits = _load(path)
    picked = pick_splits(splits.keys())
    if len(splits) == 1:
        picked = {next(iter(splits)): "train"}
    if "train" not in picked.values():
        raise InputError(f"{path}: has the splits {', '.join(splits)}, none of them train; give a data set with one")
    return [_part(splits[name], f"{path}, split {name!r}", picked[name], settings) for name in picked]


def _part(rows: Any, place: str, split: str, settings: TextSettings) -> DatasetPart:
    plain = rows.with_format(None)
    wanted = [name for name in dict.fromkeys((settings.text_column, settings.label_column)) if name in plain.features]
    complete = {settings.text_column, settings.label_column} <= set(wanted)
    name_of = _label_names(plain.features.get(settings.label_column))
    return DatasetPart(place, split, plain, wanted if complete else list(plain.features), name_of)


def _load(path: str) -> dict[str, Any]:
    try:
        # Optional: most users' texts are files.
        import datasets
    except ImportError as error:
        raise InputError(
            "text source 'dataset': the package datasets is not installed; pip install datasets"
        ) from error
    folder = Path(path)
    try:
        saved = any((folder / name).is_file() for name in _SAVED)
        loaded = datasets.load_from_disk(path) if saved else datasets.load_dataset(path)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be loaded ({reason}); check the name, and that the hub can be reached, or give a folder"
        ) from error
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def _tidy(part: DatasetPart, settings: TextSettings) -> pd.DataFrame:
    table = pd.DataFrame({name: list(part.rows[name]) for name in part.wanted}, dtype=object)
    return tidy_columns(
        table, part.place, settings.text_column, settings.label_column, settings.label_separator, part.name_of
    )


def _label_names(feature: Any) -> Callable[[Any], Any] | None:
    # Class labels are kept as numbers, alone or in lists; a negative one means that there is none.
    to_name = getattr(getattr(feature, "feature", feature), "int2str", None)
    if to_name is None:
        return None

    def name_of(cell: Any) -> Any:
        if isinstance(cell, list):
            return [name_of(number) for number in cell]
        return None if cell is None or cell < 0 else to_name(cell)

    return name_of
