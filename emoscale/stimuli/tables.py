"""Reading the user's own table of texts, whatever its format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

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
    suffix = _require_format(path)
    with _telling(path, suffix):
        return _READERS[suffix](path)


def read_pieces(path: Path, chunk: int, wanted: Collection[str]) -> Iterator[pd.DataFrame]:
    """Read a table a piece at a time, with the cells that `read_table` gives.

    Parameters
    ----------
    path : Path
    chunk : int
        The most rows of a piece.
    wanted : collection of str
        Columns that are needed. Others may be left out, but only where there are all of these.

    Yields
    ------
    DataFrame
        The next rows; its index counts all rows from 0. A piece of a jsonl file has the columns of its own rows. A
        table without rows gives one empty piece, or none.

    Raises
    ------
    InputError
        As `read_table`, at the latest when the piece is reached.
    """
    suffix = _require_format(path)
    with _telling(path, suffix):
        yield from _PIECE_READERS[suffix](path, chunk, wanted)


def _require_format(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(f"{path}: unknown format {suffix!r}; give a file that ends in {', '.join(_READERS)}")
    return suffix


@contextmanager
def _telling(path: Path, suffix: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file and its permissions") from error
    except (ValueError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a {suffix[1:]} file ({reason}); save it anew or correct its suffix") from error


_SEPARATED: dict[str, Any] = {"dtype": str, "keep_default_na": False, "index_col": False, "encoding": "utf-8-sig"}


@contextmanager
def _strict() -> Iterator[None]:
    with warnings.catch_warnings():
        # A first row longer than the header makes pandas drop cells with no more than this warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        yield


def _read_separated(path: Path, separator: str) -> pd.DataFrame:
    with _strict():
        table: pd.DataFrame = pd.read_csv(path, sep=separator, **_SEPARATED)
    return table


def _separated_pieces(path: Path, chunk: int, separator: str) -> Iterator[pd.DataFrame]:
    with pd.read_csv(path, sep=separator, chunksize=chunk, **_SEPARATED) as reader:
        while True:
            with _strict():
                piece = next(reader, None)
            if piece is None:
                return
            yield piece


def _read_parquet(path: Path) -> pd.DataFrame:
    # Through Python objects: pandas would turn whole numbers with gaps into floats, and label 3 into 3.0.
    table = pyarrow.parquet.read_table(path)
    return pd.DataFrame(table.to_pydict(), dtype=object)


_READ_AHEAD = 1 << 20
"""Bytes of a column read at a time; without a limit it is all of a row group, which may be all of the file."""


def _parquet_pieces(path: Path, chunk: int, wanted: Collection[str]) -> Iterator[pd.DataFrame]:
    with pyarrow.parquet.ParquetFile(path, buffer_size=_READ_AHEAD) as file:
        columns = list(dict.fromkeys(wanted)) if set(wanted) <= set(file.schema_arrow.names) else None
        start = 0
        for batch in file.iter_batches(chunk, columns=columns):
            cells = batch.to_pydict()
            yield pd.DataFrame(cells, dtype=object, index=range(start, start + batch.num_rows))
            start += batch.num_rows


def _read_jsonl(path: Path) -> pd.DataFrame:
    return _objects_table(list(_read_objects(path)))


def _jsonl_pieces(path: Path, chunk: int) -> Iterator[pd.DataFrame]:
    rows = _read_objects(path)
    start = 0
    while piece := list(islice(rows, chunk)):
        yield _objects_table(piece, start)
        start += len(piece)


def _read_objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                row = json.loads(text)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number}: not an object")
            yield row


def _objects_table(rows: list[dict[str, Any]], start: int = 0) -> pd.DataFrame:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: [row.get(name) for row in rows] for name in columns}
    return pd.DataFrame(cells, dtype=object, index=range(start, start + len(rows)))


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: _read_separated(path, ","),
    ".tsv": lambda path: _read_separated(path, "\t"),
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
}
_PIECE_READERS: dict[str, Callable[[Path, int, Collection[str]], Iterator[pd.DataFrame]]] = {
    ".csv": lambda path, chunk, _: _separated_pieces(path, chunk, ","),
    ".tsv": lambda path, chunk, _: _separated_pieces(path, chunk, "\t"),
    ".parquet": _parquet_pieces,
    ".jsonl": lambda path, chunk, _: _jsonl_pieces(path, chunk),
}
