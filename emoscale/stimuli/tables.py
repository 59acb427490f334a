"""Reading a table of texts a piece at a time, whatever its format."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet

from emoscale.errors import InputError
from emoscale.stimuli.encodings import UTF_8, open_text
from emoscale.stimuli.separated import read_separated


def read_pieces(path: Path, chunk: int, columns: Collection[str], encoding: str = UTF_8) -> Iterator[pd.DataFrame]:
    """Read a table whose suffix says its format: a key of `FORMATS`.

    Cells of csv and tsv are str. Those of other formats are as stored, lists included, with None for what is missing.

    Parameters
    ----------
    path : Path
    chunk : int
        The most rows of a piece.
    columns : collection of str
        Columns that are needed, that of the texts first. Others may be left out if the table has all of these.
    encoding : str
        Of a file of text, see `open_text`.

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
        other = _OTHER_FORMATS.get(suffix, "")
        raise InputError(f"{path}: unknown format {suffix!r}; give a file that ends in {', '.join(FORMATS)}{other}")
    try:
        yield from FORMATS[suffix](path, chunk, columns, encoding)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file and its permissions") from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a {suffix[1:]} file ({reason}); save it again or correct its suffix") from error


_READ_AHEAD = 1 << 20
"""Bytes of a column read at a time; without a limit it is all of a row group, which may be all of the file."""


def _read_parquet(path: Path, chunk: int, columns: Collection[str], _: str) -> Iterator[pd.DataFrame]:
    with pyarrow.parquet.ParquetFile(path, buffer_size=_READ_AHEAD) as file:
        narrow = list(dict.fromkeys(columns)) if set(columns) <= set(file.schema_arrow.names) else None
        start = 0
        for batch in file.iter_batches(chunk, columns=narrow):
            # Through Python objects: pandas would turn whole numbers with gaps into floats, and label 3 into 3.0.
            yield pd.DataFrame(batch.to_pydict(), dtype=object, index=range(start, start + batch.num_rows))
            start += batch.num_rows


def _read_jsonl(path: Path, chunk: int, _: Collection[str], encoding: str) -> Iterator[pd.DataFrame]:
    objects = _read_objects(path, encoding)
    start = 0
    while rows := list(islice(objects, chunk)):
        names = dict.fromkeys(name for row in rows for name in row)
        cells = {name: [row.get(name) for row in rows] for name in names}
        yield pd.DataFrame(cells, dtype=object, index=range(start, start + len(rows)))
        start += len(rows)


def _read_objects(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    with open_text(path, encoding) as (file, _):
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            is_list = "; it seems to be one list: write an object a line" if line.lstrip().startswith("[") else ""
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg} at character {error.pos + 1}{is_list}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number}: not an object{is_list}")
            yield row


def _separated_by(separator: str) -> Reader:
    return lambda path, chunk, columns, encoding: read_separated(path, chunk, columns, separator, encoding)


Reader = Callable[[Path, int, Collection[str], str], Iterator[pd.DataFrame]]
FORMATS: dict[str, Reader] = {
    ".csv": _separated_by(","),
    ".tsv": _separated_by("\t"),
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
}
"""Readers by suffix. csv and tsv have a header, and quote with double quotes; jsonl has an object a line."""

_SPREADSHEET = "; in the spreadsheet save the sheet as CSV UTF-8"
_OTHER_FORMATS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), _SPREADSHEET),
    ".json": "; jsonl has an object a line",
    ".txt": "; let its name say how its cells are separated",
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst"), "; unpack it"),
}
"""What to do with files that texts are often kept in."""
