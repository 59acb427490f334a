"""Reading a small CSV file as text, so that a bad cell can be named."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from emoscale.errors import InputError, suggest

_EMPTY = {"", "na", "n/a", "nan", "null", "none"}


@dataclass(frozen=True)
class CsvTable:
    """The text of a CSV file.

    Parameters
    ----------
    path : Path
    header : list of str
        Column names, without surrounding blanks.
    rows : list of (int, list of str)
        Line number in the file (the header is line 1) and the cells, one a column, without surrounding blanks.
    problems : list of str
        Rows that do not fit the header; they are not in `rows`.
    """

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]
    problems: list[str]

    def column(self, name: str) -> int:
        """Return the index of a column.

        Raises
        ------
        InputError
            If the file has no such column, or several.
        """
        count = self.header.count(name)
        if count == 1:
            return self.header.index(name)
        if count:
            raise InputError(f"{self.path}, line 1: {count} columns are named {name!r}; keep one")
        hint = suggest(name, self.header)
        if not hint and len(self.header) == 1 and (";" in self.header[0] or "\t" in self.header[0]):
            hint = " (the file is not separated by commas)"
        raise InputError(
            f"{self.path}, line 1: no column {name!r}{hint}; save it as CSV with that column in the header"
        )


def read_csv_table(path: Path) -> CsvTable:
    """Read a comma-separated file with a header as text.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte order mark. Blank lines are ignored.

    Returns
    -------
    CsvTable

    Raises
    ------
    InputError
        If there is no such file, it cannot be read as CSV, or it is empty.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file ({error}); save it as CSV (UTF-8, comma-separated)") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    lines = [(line, row) for line, row in lines if any(row)]
    if not lines:
        raise InputError(f"{path}: the file is empty; give a CSV with a header and one row a line")
    (_, header), *rows = lines
    problems = [
        f"{path}, line {line}: has {len(row)} cells, the header {len(header)}; make them equal"
        for line, row in rows
        if len(row) != len(header)
    ]
    return CsvTable(path, header, [(line, row) for line, row in rows if len(row) == len(header)], problems)


def is_empty(cell: str) -> bool:
    """Whether a cell is blank, or a word for a missing value such as ``NA``."""
    return cell.casefold() in _EMPTY


def parse_number(cell: str, place: str, problems: list[str]) -> float:
    """Read one cell as a finite number.

    Parameters
    ----------
    cell : str
    place : str
        Where the cell is, for the message.
    problems : list of str
        Gets a line if the cell is empty, text or infinite.

    Returns
    -------
    float
        NaN where a problem was noted.
    """
    if is_empty(cell):
        held = f"holds {cell!r}" if cell else "is empty"
        problems.append(f"{place}: {held}; give a number")
        return math.nan
    try:
        # float() would read the underscore of "1_5" as a separator of thousands.
        value = float(cell.replace("_", "?"))
    except ValueError:
        problems.append(f"{place}: holds {cell!r}, which is not a number; write it in digits with a decimal point")
        return math.nan
    if not math.isfinite(value):
        problems.append(f"{place}: holds {cell!r}; give a finite number")
        return math.nan
    return value
