"""Where texts come from: one reader a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import DEV_NAMES, TRAIN_NAMES, pick_splits, require_columns, tidy_columns
from emoscale.stimuli.goemotions import read_goemotions
from emoscale.stimuli.hub import read_dataset
from emoscale.stimuli.settings import TextSettings
from emoscale.stimuli.tables import read_table

_SCENARIOS = Path(__file__).parent / "data" / "scenarios.csv"


def read_scenarios(settings: TextSettings) -> pd.DataFrame:
    """Read the built-in situations, with their fixed split.

    Returns
    -------
    DataFrame
        Columns `text`, `labels`, `split`.

    Raises
    ------
    InputError
        If a setting is given that means nothing here.
    """
    settings.refuse("path", "dev_path", "split_column", "label_separator")
    table = read_table(_SCENARIOS)
    return tidy_columns(table, _SCENARIOS.name, "text", "concept").assign(split=table["split"])


def read_file(settings: TextSettings) -> pd.DataFrame:
    """Read the user's own file, or one file of train texts and one of dev texts.

    Returns
    -------
    DataFrame
        Columns `text`, `labels` and, if `dev_path` or `split_column` tells it, `split`.

    Raises
    ------
    InputError
        If a file is missing, empty or unreadable, lacks a column, or holds an unknown split.
    """
    path = settings.require_path("a csv, tsv, parquet or jsonl file")
    if settings.dev_path is not None:
        if settings.split_column is not None:
            raise InputError("text source 'file': both dev_path and split_column say what is dev; leave one out")
        train, dev = (_read_own(settings, place)[1] for place in (path, settings.dev_path))
        return pd.concat([train.assign(split="train"), dev.assign(split="dev")], ignore_index=True)
    table, texts = _read_own(settings, path)
    if settings.split_column is None:
        return texts
    require_columns(table, path, settings.split_column)
    return _split_by_column(texts, table[settings.split_column], path)


def _read_own(settings: TextSettings, path: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = read_table(Path(path))
    if table.empty:
        raise InputError(f"{path}: holds no rows; give a file with texts and labels")
    return table, tidy_columns(table, path, settings.text_column, settings.label_column, settings.label_separator)


def _split_by_column(texts: pd.DataFrame, column: pd.Series, path: str) -> pd.DataFrame:
    values = column.astype(str).str.strip().str.casefold()
    known = values.isin([*TRAIN_NAMES, *DEV_NAMES])
    if not known.all():
        first = int((~known).to_numpy().argmax())
        raise InputError(
            f"{path}, column {column.name!r}: {int((~known).sum())} rows hold no known split, the first is row "
            f"{first + 1} ({column.iloc[first]!r}); write one of {', '.join((*TRAIN_NAMES, *DEV_NAMES))}"
        )
    splits = values.map(pick_splits(set(values)))
    return texts.assign(split=splits)[splits.notna()]


SOURCES: dict[str, Callable[[TextSettings], pd.DataFrame]] = {
    "scenarios": read_scenarios,
    "goemotions": read_goemotions,
    "file": read_file,
    "dataset": read_dataset,
}
