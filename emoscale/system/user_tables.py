"""Reading tables that people made, as text: whatever separates the cells, however numbers and letters are written."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from emoscale.errors import InputError, suggest
from emoscale.names import canonical
from emoscale.system.csv_cells import from_cell
from emoscale.system.spreadsheets import read_sav, read_xlsx

Line = tuple[int, list[str]]
"""Line number in the file, from 1, and its cells without surrounding spaces."""

_EMPTY = {"", "na", "n/a", "nan", "null", "none", "#n/a", "#null!"}
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_FALLBACK = "cp1252"
"""What spreadsheets on Windows write in Western Europe and the Americas."""
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+")
_WITH_POINT = re.compile(r"[+-]?\d*\.\d+")
SHOWN = 10
"""Problems of a file, and names of its columns, that are shown."""
_LONG = 40
"""Characters of a cell that are shown."""
_OTHERS = {".xls": ".xlsx", ".ods": ".xlsx", ".numbers": ".xlsx", ".rds": ".csv", ".rdata": ".csv", ".dta": ".csv"}


@dataclass(frozen=True)
class UserTable:
    """The text of a table.

    Parameters
    ----------
    path : Path
    header : list of str
        Column names.
    rows : list of (int, list of str)
        Line number in the file (the header is line 1) and the cells, one a column, without surrounding spaces.
    problems : list of str
        Rows that do not fit the header; they are not in `rows`.
    decimal : str
        What numbers are written with, ``"."`` or ``","``.
    how : str
        How the file is written, where that is not the usual: ``"semicolons, decimal commas, cp1252"``.
    labels : list of str
        What an SPSS file says its columns are; otherwise empty.
    """

    path: Path
    header: list[str]
    rows: list[Line]
    problems: list[str]
    decimal: str = "."
    how: str = ""
    labels: list[str] = field(default_factory=list)

    def column(self, name: str, *others: str) -> int:
        """Return the index of a column by any of its names; capitals, spaces and underscores do not count.

        Raises
        ------
        InputError
            If the file has no such column, or several.
        """
        found = self.find(name, *others)
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(repr(self.header[i]) for i in found)
            raise InputError(f"{self.path}, line 1: {len(found)} columns are {name!r} ({shown}); keep one")
        raise InputError(
            f"{self.path}, line 1: no column {name!r}{suggest(name, self.header)}; name one so in the header "
            f"({_listed(self.header)})"
        )

    def find(self, *names: str) -> list[int]:
        """Return the indices of all columns of these names; capitals, spaces and underscores do not count."""
        wanted = {bare(name) for name in names}
        return [i for i, name in enumerate(self.header) if bare(name) in wanted]

    def number(self, cell: str, place: str, problems: list[str]) -> float:
        """Read one cell as a finite number; see `parse_number`."""
        return parse_number(cell, place, problems, self.decimal)

    def refuse(self, problems: Sequence[str], first: str = "") -> NoReturn:
        """Raise the problems of the file, not all of many; see `refuse`."""
        refuse(self.path, problems, first)


def refuse(path: Path, problems: Sequence[str], first: str = "") -> NoReturn:
    """Raise the problems of a file.

    Parameters
    ----------
    path : Path
    problems : sequence of str
        One line each. After the first 10 only their number is given.
    first : str
        A line that says what the matter probably is, placed before them.
    """
    shown = list(problems)
    if len(shown) > SHOWN:
        shown = [*shown[:SHOWN], f"{path}: and {len(problems) - SHOWN} more; correct these first"]
    raise InputError([*([first] if first else []), *shown])


def read_table(path: Path, names: Collection[str] = ()) -> UserTable:
    """Read a table with a header as text.

    Parameters
    ----------
    path : Path
        Text separated by commas, semicolons or tabs, in UTF-8 (with or without a byte order mark), UTF-16 or cp1252,
        numbers with decimal points or commas, an apostrophe before what looks like a formula; ``.xlsx`` with one filled
        sheet; ``.sav``. Blank lines are ignored.
    names : collection of str
        Columns that hold names: of an SPSS file's coded column of such a name the value labels are read.

    Returns
    -------
    UserTable

    Raises
    ------
    InputError
        If there is no such file, it cannot be read as a table, or it is empty; if no row fits the header; if its
        numbers are written both with decimal points and commas.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file{', but a folder' if path.is_dir() else ''}; check the path")
    suffix = path.suffix.lower()
    if suffix in _OTHERS:
        raise InputError(f"{path}: {suffix} files cannot be read; save it as {_OTHERS[suffix]} or CSV")
    labels: list[str] = []
    found: list[str] = []
    try:
        if suffix == ".xlsx":
            lines = read_xlsx(path)
        elif suffix == ".sav":
            lines, labels = read_sav(path, {bare(name) for name in names}, bare)
        else:
            lines = _read_text(path, found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    lines = [(line, row) for line, row in lines if any(row)]
    if not lines:
        raise InputError(f"{path}: the file is empty; give a table with a header and one row a line")
    (_, header), *rows = lines
    while header and not header[-1] and all(len(row) == len(header) and not row[-1] for _, row in rows):
        # Spreadsheets leave empty columns at the right.
        header, rows = header[:-1], [(line, row[:-1]) for line, row in rows]
    problems = _row_problems(path, header, rows)
    rows = [(line, row) for line, row in rows if len(row) == len(header)]
    decimal = _decimal(path, rows)
    if decimal == ",":
        found.insert(1, "decimal commas")
    return UserTable(path, header, rows, problems, decimal, ", ".join(filter(None, found)), labels)


def is_empty(cell: str) -> bool:
    """Whether a cell is blank, or a word for a missing value such as ``NA``."""
    return cell.casefold() in _EMPTY


def parse_number(cell: str, place: str, problems: list[str], decimal: str = ".") -> float:
    """Read one cell as a finite number.

    Parameters
    ----------
    cell : str
    place : str
        Where the cell is, for the message.
    problems : list of str
        Gets a line if the cell is empty, text or infinite.
    decimal : str
        What stands before the decimals.

    Returns
    -------
    float
        NaN where a problem was noted.
    """
    if is_empty(cell):
        held = f"holds {cell!r}" if cell else "is empty"
        problems.append(f"{place}: {held}; give a number")
        return math.nan
    value = to_number(cell, decimal)
    if value is None:
        problems.append(
            f"{place}: holds {short(cell)!r}, which is not a number; write it in digits with a decimal point"
        )
        return math.nan
    if not math.isfinite(value):
        problems.append(f"{place}: holds {cell!r}; give a finite number")
        return math.nan
    return value


def to_number(cell: str, decimal: str = ".") -> float | None:
    """Return what a cell is as a number, or None if it is none."""
    text = cell.replace(",", ".") if decimal == "," and _WITH_COMMA.fullmatch(cell) else cell
    try:
        # float() would read the underscore of "1_5" as a separator of thousands.
        return float(text.replace("_", "?"))
    except ValueError:
        return None


def _read_text(path: Path, found: list[str]) -> list[Line]:
    content = path.read_bytes()
    text, encoding = _decode(path, content)
    separator, body, skipped = _separator(path, text)
    found += ["" if separator == "," else _SEPARATORS[separator], encoding]
    try:
        return [(line + skipped, row) for line, row in _split(body, separator)]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error}); save it as CSV (UTF-8) again") from error


def _decode(path: Path, content: bytes) -> tuple[str, str]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16"), "UTF-16"
        except UnicodeDecodeError:
            pass
    if b"\0" in content:
        raise InputError(f"{path}: not a CSV file (it holds zero bytes); save it as CSV (UTF-8)")
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        pass
    try:
        return content.decode(_FALLBACK), _FALLBACK
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a CSV file (its letters are neither UTF-8 nor cp1252); save it as CSV (UTF-8)"
        ) from error


def _separator(path: Path, text: str) -> tuple[str, str, int]:
    """Find what separates the cells; return the text without a line such as ``sep=;``, too, and how many that were."""
    first, _, rest = text.partition("\n")
    if (said := first.strip().removeprefix("sep=")) != first.strip() and said in _SEPARATORS:
        return said, rest, 1
    fits = {separator: _fit(text, separator) for separator in _SEPARATORS}
    best = max(fits.values())
    chosen = [separator for separator, fit in fits.items() if fit == best]
    if len(chosen) > 1 and best > (0.0, 1):
        names = " and ".join(_SEPARATORS[separator] for separator in chosen)
        raise InputError(f"{path}: {names} divide its lines equally well; write 'sep={chosen[0]}' before the header")
    return chosen[0], text, 0


def _fit(text: str, separator: str) -> tuple[float, int]:
    """Return the share of lines with as many cells as the header, and how many; 0 where it divides nothing."""
    try:
        widths = [len(row) for _, row in _split(text, separator) if any(row)]
    except csv.Error:
        return 0.0, 0
    if not widths or widths[0] < 2:
        return 0.0, 1
    return widths.count(widths[0]) / len(widths), widths[0]


def _split(text: str, separator: str) -> Iterable[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    return [(reader.line_num, [from_cell(cell.strip()).strip() for cell in row]) for row in reader]


def _row_problems(path: Path, header: list[str], rows: list[Line]) -> list[str]:
    wrong = [(line, len(row)) for line, row in rows if len(row) != len(header)]
    if len(wrong) > 1 and len(wrong) == len(rows):
        widths = sorted({width for _, width in wrong})
        why = "; make them equal"
        if widths[0] > len(header):
            why = (
                ", as if commas both separate the cells and stand in numbers; save it with semicolons or decimal points"
            )
        raise InputError(
            f"{path}: every row has {' to '.join(map(str, dict.fromkeys((widths[0], widths[-1]))))} cells, the header "
            f"{len(header)}{why}"
        )
    return [
        f"{path}, line {line}: has {width} cells, the header {len(header)}; make them equal" for line, width in wrong
    ]


def _decimal(path: Path, rows: list[Line]) -> str:
    commas, points = _first(rows, _WITH_COMMA), _first(rows, _WITH_POINT)
    if commas and points:
        raise InputError(
            f"{path}: numbers are written both with a comma ({commas[1]!r} in line {commas[0]}) and with a point "
            f"({points[1]!r} in line {points[0]}); write all of them one way"
        )
    return "," if commas else "."


def _first(rows: list[Line], pattern: re.Pattern[str]) -> tuple[int, str] | None:
    return next(((line, cell) for line, row in rows for cell in row if pattern.fullmatch(cell)), None)


def bare(name: str) -> str:
    """Return the name of a column by which it is found: canonical, without spaces, hyphens and underscores."""
    return re.sub(r"[\s_.-]+", "", canonical(name))


def short(cell: str) -> str:
    """Return the beginning of a long cell, for a message."""
    return cell if len(cell) <= _LONG else f"{cell[:_LONG]}..."


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(short(name)) for name in names[:SHOWN])
    return f"it has {shown}" + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
