"""Data sets of the Hugging Face hub, or folders of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import SPLIT_NAMES, Columns, pick_splits, require_columns
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.text_table import TextTable

_SAVED = ("dataset_dict.json", "state.json")


def open_dataset(options: StimuliOptions) -> list[TextTable]:
    """Open a data set without reading its rows.

    Parameters
    ----------
    options : StimuliOptions
        `path` is a name on the hub, a folder written by `save_to_disk`, or a folder of data files.

    Returns
    -------
    list of TextTable
        Train and dev (or validation, or test); or the only split, from which dev is drawn.

    Raises
    ------
    InputError
        If the package `datasets` is missing, or the data set cannot be loaded, has no split of these names, or lacks a
        column.
    """
    path = str(options.path)
    splits = _load(path)
    picked = pick_splits(splits.keys())
    if len(splits) == 1:
        picked = dict.fromkeys(splits, "train")
    if not picked:
        raise InputError(
            f"{path}: has the splits {', '.join(splits)}, none of them {', '.join(SPLIT_NAMES)}; give a data set with "
            "one"
        )
    columns = Columns(options.text_column, options.label_column, options.label_separator)
    return [
        _open_split(splits[name], f"{path}, split {name!r}", columns, split if "dev" in picked.values() else None)
        for name, split in picked.items()
    ]


def _open_split(rows: Any, place: str, columns: Columns, split: str | None) -> TextTable:
    plain = rows.with_format(None)
    require_columns(plain.features, place, *columns.names)
    name_of = _label_names(plain.features[columns.label])
    return TextTable(place, partial(_read, plain.select_columns(columns.names), columns.label, name_of), columns, split)


def _read(rows: Any, label: str, name_of: Callable[[Any], Any] | None, chunk: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), chunk):
        cells = rows[start : start + chunk]
        if name_of:
            cells = {**cells, label: [name_of(cell) for cell in cells[label]]}
        yield pd.DataFrame(cells, dtype=object, index=range(start, start + len(cells[label])))


def _load(path: str) -> dict[str, Any]:
    try:
        # Optional: most users' texts are files.
        import datasets
    except ImportError as error:
        raise InputError(
            "text source 'dataset': the package datasets is not installed; pip install 'emoscale[hub]'"
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
