"""Reading tables whose cells are separated by commas, semicolons or tabs, so that no record is lost in another.

A quotation mark opens a cell that may hold separators and line breaks. In a file whose quotation marks are part of its
texts, one at the beginning of a cell would swallow every record up to the next one. So a file is read through first,
with quotation marks as quoting and as letters, and the reading that fits all lines is taken; where that is not certain,
the line is named.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Literal

import pandas as pd

from emoscale.errors import InputError
from emoscale.stimuli.encodings import open_text

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LONGEST_CELL = 1 << 24
"""Characters; what a quotation mark without an end may take in before it is noticed."""
_MOST_KNOWN = 10_000
"""Of a column's values, and of lines in doubt: what is kept of a file of any length."""


@dataclass(frozen=True)
class _Form:
    """How a file is to be read."""

    encoding: str
    separator: str
    header: list[str]
    quoted: bool


def read_separated(
    path: Path, chunk: int, columns: Collection[str], separator: str, encoding: str
) -> Iterator[pd.DataFrame]:
    """Read a table of cells between separators.

    Parameters
    ----------
    path : Path
    chunk : int
        The most rows of a piece.
    columns : collection of str
        Those needed, the column of texts first. Only they are read, unless one is missing.
    separator : str
        The usual one. Another of `SEPARATORS` is taken if the header has all the columns only with that.
    encoding : str
        As for `open_text`.

    Yields
    ------
    DataFrame
        See `read_pieces`; cells are str.

    Raises
    ------
    InputError
        If a line has more or fewer cells than the header, or it is not certain where a record ends.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with open_text(path, encoding) as (file, used):
        header, separator = _header(path, file, list(columns), separator)
    if not header:
        raise _not_a_table(path, separator, "it is empty", "give a header and a row a line")
    form = _Form(used, separator, header, _is_quoted(path, used, header, separator, list(columns)))
    wanted = [*dict.fromkeys(columns)] if set(columns) <= set(header) else [*dict.fromkeys(header)]
    for name in wanted:
        if header.count(name) > 1:
            raise InputError(f"{path}, line 1: {header.count(name)} columns are named {name!r}; keep one")
    places = [header.index(name) for name in wanted]
    start = 0
    with open_text(path, form.encoding) as (file, _):
        records = _records(path, file, form)
        next(records)
        while rows := list(islice(records, chunk)):
            cells = {name: [row[place] for row in rows] for name, place in zip(wanted, places, strict=True)}
            yield pd.DataFrame(cells, dtype=object, index=range(start, start + len(rows)))
            start += len(rows)
    if not start:
        yield pd.DataFrame({name: [] for name in wanted}, dtype=object)


def _header(path: Path, file: IO[str], columns: Sequence[str], usual: str) -> tuple[list[str], str]:
    """Return the names of the columns and the separator: the usual one unless only another gives all columns."""
    lines = list(islice((line for line in file if line.strip()), 1))
    headers = {}
    for separator in sorted(SEPARATORS, key=lambda other: other != usual):
        try:
            headers[separator] = [cell.strip() for row in csv.reader(lines, delimiter=separator) for cell in row]
        except csv.Error as error:
            raise _not_a_table(path, usual, f"line 1: {error}", "give a header and a row a line") from error
    fitting = [separator for separator, header in headers.items() if set(columns) <= set(header)]
    separator = (fitting or [usual])[0]
    if not fitting and lines and len(headers[usual]) == 1:
        others = [other for other in headers if len(headers[other]) > 1]
        if others:
            names = ", ".join(headers[others[0]])
            raise InputError(
                f"{path}: seems to be separated by {SEPARATORS[others[0]]}, with the columns {names}; set "
                "stimuli.text_column and stimuli.label_column to two of them"
            )
    return headers[separator], separator


class _Kept:
    """Passes lines on, and keeps them until they are taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.kept: list[str] = []

    def __iter__(self) -> _Kept:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.kept.append(line)
        return line

    def take(self) -> list[str]:
        kept, self.kept = self.kept, []
        return kept


def _records(path: Path, file: IO[str], form: _Form) -> Iterator[list[str]]:
    """Yield the cells of every record, the header included."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE
    lines = _Kept(file)
    reader = csv.reader(lines, delimiter=form.separator, quoting=quoting, strict=True)
    number = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _not_a_table(path, form.separator, f"line {number}: {error}", _QUOTING) from error
        taken = lines.take()
        if row is None:
            return
        if _is_blank(row):
            number += len(taken)
            continue
        if len(row) != len(form.header):
            reason = f"line {number}: {_cells(len(row))}, the header has {len(form.header)}"
            quote = f' (write a cell with {SEPARATORS[form.separator]} in it as "...")' if form.quoted else ""
            raise _not_a_table(path, form.separator, reason, f"make them equal{quote}")
        number += len(taken)
        yield row


_QUOTING = 'write a quotation mark in a cell as """" in all, or save the texts as jsonl'


@dataclass
class _Survey:
    """What a pass over a file found, with quotation marks as quoting and as letters."""

    broken: str = ""
    """Why quotation marks cannot be quoting; empty if they can."""
    uneven: bool = False
    """Whether some lines have not as many cells as the header where quotation marks are letters."""
    doubled: bool = False
    """Whether a cell has a quotation mark written as two, which only programs do that quote."""
    spanning: tuple[int, int] | None = None
    """First and last line of the first record of several lines."""
    doubtful: list[tuple[int, int, list[str]]] = field(default_factory=list)
    """First and last line of records of several lines, with the cells of a line of it that could be a record."""


def _is_quoted(path: Path, encoding: str, header: list[str], separator: str, columns: list[str]) -> bool:
    """Decide whether quotation marks are quoting.

    They are letters in a table with tabs whose lines all fit so, if they would not be closed, or join lines that end in
    known labels. With commas and semicolons, which texts have themselves, they are quoting.
    """
    if not set(columns) <= set(header):
        return True  # which is an error of its own
    keys = [header.index(name) for name in columns[1:]]
    with open_text(path, encoding) as (file, _):
        found, known = _survey(file, len(header), separator, header.index(columns[0]), keys)
    letters_fit = not found.uneven
    labelled = [
        (first, last)
        for first, last, cells in found.doubtful
        if keys and all(cells[key].strip() in known[key] for key in keys)
    ]
    if separator == "\t" and letters_fit and (found.broken or labelled):
        return False
    if found.broken:
        raise _not_a_table(path, separator, found.broken, _QUOTING)
    if found.spanning and letters_fit and not found.doubled:
        raise _swallowed(path, *found.spanning)
    doubtful = [(first, last) for first, last, _ in found.doubtful] if separator == "\t" else labelled
    if doubtful:
        raise _swallowed(path, *doubtful[0])
    return True


def _survey(
    file: IO[str], width: int, separator: str, text: int, keys: list[int]
) -> tuple[_Survey, dict[int, set[str]]]:
    """Read a file through; return also the values of key columns in records of one line."""
    found, known = _Survey(), {key: set[str]() for key in keys}
    lines = _Kept(file)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    number = 0
    while not found.broken:
        try:
            row = next(reader, None)
        except csv.Error as error:
            found.broken = f"line {number + 1}: {error}"
            row = []
        taken = lines.take()
        if row is None:
            return found, known
        first, number = number + 1, number + len(taken)
        literal = [line.rstrip("\r\n").split(separator) for line in taken]
        # A header in quotation marks was written by a program that quotes.
        found.uneven |= any(len(cells) != width for cells in literal if not _is_blank(cells))
        found.uneven |= first == 1 and '"' in taken[0]
        found.doubled |= any('"' in cell for cell in row) and any('""' in line for line in taken)
        if len(taken) > 1 and not found.broken:
            found.spanning = found.spanning or (first, number)
            inside = literal[int(any(key < text for key in keys)) : len(literal) - int(any(key > text for key in keys))]
            found.doubtful += [(first, number, cells) for cells in inside[:_MOST_KNOWN] if len(cells) == width]
            del found.doubtful[_MOST_KNOWN:]
        elif len(row) == width:
            for key, values in known.items():
                if len(values) < _MOST_KNOWN:
                    values.add(row[key].strip())
    found.uneven |= any(
        len(cells) != width for cells in (line.rstrip("\r\n").split(separator) for line in file) if not _is_blank(cells)
    )
    return found, known


def _is_blank(cells: Sequence[str]) -> bool:
    return len(cells) < 2 and not "".join(cells).strip()


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _not_a_table(path: Path, separator: str, reason: str, fix: str) -> InputError:
    kind = "tsv" if separator == "\t" else "csv"
    return InputError(f"{path}: not a {kind} file ({reason}); {fix}")


def _swallowed(path: Path, first: int, last: int) -> InputError:
    return InputError(
        f"{path}, line {first}: a quotation mark opens a cell that ends in line {last}, but lines in between look like "
        f"records of their own; remove it, or write {_QUOTING.removeprefix('write ')}"
    )
