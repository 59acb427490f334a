"""Reading a table of texts a piece at a time, whatever its format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet

from emoscale.errors import InputError


def read_pieces(path: Path, chunk: int, columns: Collection[str]) -> Iterator[pd.DataFrame]:
    """Read a table whose suffix says its format: a key of `FORMATS`.

    Cells of csv and tsv are str. Those of other formats are as stored, lists included, with None for what is missing.

    Parameters
    ----------
    path : Path
    chunk : int
        The most rows of a piece.
    columns : collection of str
        Columns that are needed. Others may be left out, but only if the table has all of these.

    Yields
    ------
    DataFrame
        The next rows; its index counts the rows from 0. A piece of a jsonl file has the columns of its own rows. A
        table without rows gives one empty piece, or none.

    Raises
    ------
    InputError
        If there is no such file, its format is unknown, or it is not in the format that its suffix says: at the latest
        when the piece is reached.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path}: unknown format {suffix!r}; give a file that ends in {', '.join(FORMATS)}")
    try:
        yield from FORMATS[suffix](path, chunk, columns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file and its permissions") from error
    except (ValueError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a {suffix[1:]} file ({reason}); save it again or correct its suffix") from error


_SEPARATED: dict[str, Any] = {"dtype": str, "keep_default_na": False, "index_col": False, "encoding": "utf-8-sig"}


def _read_separated(path: Path, chunk: int, separator: str) -> Iterator[pd.DataFrame]:
    with pd.read_csv(path, sep=separator, chunksize=chunk, **_SEPARATED) as reader:
        while True:
            with warnings.catch_warnings():
                # A first row longer than the header makes pandas drop cells with no more than this warning.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                piece = next(reader, None)
            if piece is None:
                return
            yield piece


_READ_AHEAD = 1 << 20
"""Bytes of a column read at a time; without a limit it is all of a row group, which may be all of the file."""


def _read_parquet(path: Path, chunk: int, columns: Collection[str]) -> Iterator[pd.DataFrame]:
    with pyarrow.parquet.ParquetFile(path, buffer_size=_READ_AHEAD) as file:
        narrow = list(dict.fromkeys(columns)) if set(columns) <= set(file.schema_arrow.names) else None
        start = 0
        for batch in file.iter_batches(chunk, columns=narrow):
            # Through Python objects: pandas would turn whole numbers with gaps into floats, and label 3 into 3.0.
            yield pd.DataFrame(batch.to_pydict(), dtype=object, index=range(start, start + batch.num_rows))
            start += batch.num_rows


def _read_jsonl(path: Path, chunk: int) -> Iterator[pd.DataFrame]:
    objects = _read_objects(path)
    start = 0
    while rows := list(islice(objects, chunk)):
        names = dict.fromkeys(name for row in rows for name in row)
        cells = {name: [row.get(name) for row in rows] for name in names}
        yield pd.DataFrame(cells, dtype=object, index=range(start, start + len(rows)))
        start += len(rows)


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


FORMATS: dict[str, Callable[[Path, int, Collection[str]], Iterator[pd.DataFrame]]] = {
    ".csv": lambda path, chunk, _: _read_separated(path, chunk, ","),
    ".tsv": lambda path, chunk, _: _read_separated(path, chunk, "\t"),
    ".parquet": _read_parquet,
    ".jsonl": lambda path, chunk, _: _read_jsonl(path, chunk),
}
"""Readers by suffix. csv and tsv are UTF-8 with a header, and quote with double quotes; jsonl has an object a line."""
