"""Reading the user's own table of texts, whatever its format."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandas as pd
import pyarrow.parquet

from emoscale.errors import InputError


def read_table(path: Path) -> pd.DataFrame:
    """Read a table whose format its suffix tells.

    Parameters
    ----------
    path : Path
        `.csv` or `.tsv` (UTF-8, with a header; a cell may be in double quotes), `.parquet`, or `.jsonl` (an object a
        line).

    Returns
    -------
    DataFrame
        One row a text. Cells of csv and tsv are str; those of the others are as stored, lists included, with None for
        what is not there.

    Raises
    ------
    InputError
        If there is no such file, its format is unknown, or it cannot be read as what its name says.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(f"{path}: unknown format {suffix!r}; give a file that ends in {', '.join(_READERS)}")
    try:
        return _READERS[suffix](path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file and its permissions") from error
    except (ValueError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a {suffix[1:]} file ({reason}); save it anew or correct its suffix") from error


def _read_separated(path: Path, separator: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        # A first row longer than the header makes pandas drop cells with no more than this warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")


def _read_csv(path: Path) -> pd.DataFrame:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> pd.DataFrame:
    return _read_separated(path, "\t")


def _read_parquet(path: Path) -> pd.DataFrame:
    # Through Python objects: pandas would turn whole numbers with gaps into floats, and label 3 into 3.0.
    table = pyarrow.parquet.read_table(path)
    return pd.DataFrame(table.to_pydict(), dtype=object)


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: not an object")
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: [row.get(name) for row in rows] for name in columns}, dtype=object)


_READERS = {".csv": _read_csv, ".tsv": _read_tsv, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
