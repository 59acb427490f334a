"""Where texts come from: one reader a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.cleaning import DEV_NAMES, TRAIN_NAMES, Faults, pick_splits, require_columns, tidy_columns
from emoscale.stimuli.goemotions import read_goemotions
from emoscale.stimuli.hub import read_dataset
from emoscale.stimuli.options import TextSettings
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
    (path, _), *dev = own_files(settings)
    if dev:
        parts = [_read_own(settings, place)[1].assign(split=split) for place, split in own_files(settings)]
        return pd.concat(parts, ignore_index=True)
    table, texts = _read_own(settings, path)
    if settings.split_column is None:
        return texts
    require_columns(table.columns, path, settings.split_column)
    return _split_by_column(texts, table[settings.split_column], path)


def own_files(settings: TextSettings) -> list[tuple[str, str | None]]:
    """Return the user's own files, each with the split that all of its texts belong to, or None.

    Raises
    ------
    InputError
        If there is no path, or there are two ways to say what is dev.
    """
    path = settings.require_path("a csv, tsv, parquet or jsonl file")
    if settings.dev_path is None:
        return [(path, None)]
    if settings.split_column is not None:
        raise InputError("text source 'file': both dev_path and split_column say what is dev; leave one out")
    return [(path, "train"), (settings.dev_path, "dev")]


def _read_own(settings: TextSettings, path: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = read_table(Path(path))
    require_rows(not table.empty, path)
    return table, tidy_columns(table, path, settings.text_column, settings.label_column, settings.label_separator)


def require_rows(has_rows: bool, path: str) -> None:
    """Raise InputError if a file has no rows."""
    if not has_rows:
        raise InputError(f"{path}: holds no rows; give a file with texts and labels")


def _split_by_column(texts: pd.DataFrame, column: pd.Series, path: str) -> pd.DataFrame:
    faults = Faults()
    known = look_at_splits(faults, column)
    refuse_splits(faults, path, str(column.name))
    splits = split_names(column).map(pick_splits(set(known)))
    return texts.assign(split=splits)[splits.notna()]


def split_names(column: pd.Series) -> pd.Series:
    """Return what the cells of a split column say, without surrounding blanks and in small letters."""
    return column.astype(str).str.strip().str.casefold()


def look_at_splits(faults: Faults, column: pd.Series) -> list[str]:
    """Note the cells of a split column that name no known split; return the `split_names` of the others."""
    names = split_names(column)
    known = names.isin([*TRAIN_NAMES, *DEV_NAMES])
    faults.add("split", list(zip(column, known, strict=True)), lambda pair: not pair[1])
    return names[known].tolist()


def refuse_splits(faults: Faults, path: str, split_column: str) -> None:
    """Raise InputError if rows hold no known split."""
    if fault := faults.get("split"):
        count, first, (cell, _) = fault
        raise InputError(
            f"{path}, column {split_column!r}: {count} rows hold no known split, the first is row "
            f"{first} ({cell!r}); write one of {', '.join((*TRAIN_NAMES, *DEV_NAMES))}"
        )


SOURCES: dict[str, Callable[[TextSettings], pd.DataFrame]] = {
    "scenarios": read_scenarios,
    "goemotions": read_goemotions,
    "file": read_file,
    "dataset": read_dataset,
}
