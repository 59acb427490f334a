"""Data sets of the Hugging Face hub, or folders of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import pick_splits, tidy_columns
from emoscale.stimuli.settings import TextSettings

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
    settings.refuse("dev_path", "split_column")
    path = settings.require_path("a name on the Hugging Face hub, or a folder")
    splits = _load(path)
    picked = pick_splits(splits.keys())
    if len(splits) == 1:
        picked = {next(iter(splits)): "train"}
    if "train" not in picked.values():
        raise InputError(f"{path}: has the splits {', '.join(splits)}, none of them train; give a data set with one")
    parts = [_tidy(splits[name], settings, f"{path}, split {name!r}").assign(split=picked[name]) for name in picked]
    texts = pd.concat(parts, ignore_index=True)
    return texts if len(picked) > 1 else texts.drop(columns="split")


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


def _tidy(split: Any, settings: TextSettings, place: str) -> pd.DataFrame:
    plain = split.with_format(None)
    wanted = [name for name in dict.fromkeys((settings.text_column, settings.label_column)) if name in plain.features]
    if len(wanted) < 2:
        wanted = list(plain.features)
    table = pd.DataFrame({name: list(plain[name]) for name in wanted}, dtype=object)
    name_of = _label_names(plain.features.get(settings.label_column))
    return tidy_columns(table, place, settings.text_column, settings.label_column, settings.label_separator, name_of)


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
