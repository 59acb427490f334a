"""Reading spreadsheets and SPSS files as text."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, time
from pathlib import Path
from typing import Any

from emoscale.errors import InputError, first_lines


def read_xlsx(path: Path) -> list[tuple[int, list[str]]]:
    """Return line number and cells of every row of the one sheet of an Excel file that has any.

    Raises
    ------
    InputError
        If the extra is not installed, the file is not one of Excel's, or several sheets are filled.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise _missing(path, "xlsx", "openpyxl") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheets = {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}
        book.close()
    except OSError:
        raise
    except Exception as error:
        raise InputError(f"{path}: not an Excel file ({first_lines(error)}); save it as .xlsx or CSV again") from error
    filled = {name: rows for name, rows in sheets.items() if any(cell is not None for row in rows for cell in row)}
    if len(filled) > 1:
        raise InputError(f"{path}: {len(filled)} sheets are filled ({', '.join(filled)}); keep one, or save it as CSV")
    rows = next(iter(filled.values()), [])
    width = max((len(row) for row in rows), default=0)
    return [(line, [*map(_text, row), *[""] * (width - len(row))]) for line, row in enumerate(rows, 1)]


def read_sav(
    path: Path, names: Collection[str], bare: Callable[[str], str]
) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return line number and cells of every row of an SPSS file, the names of its variables first, and their labels.

    Parameters
    ----------
    path : Path
    names : collection of str
        Variables that hold names, as `bare` has them: if coded, they are read by their value labels.
    bare : callable

    Raises
    ------
    InputError
        If the extra is not installed, or the file is not one of SPSS.
    """
    try:
        import pyreadstat
    except ImportError as error:
        raise _missing(path, "spss", "pyreadstat") from error
    try:
        table, about = pyreadstat.read_sav(str(path))
    except OSError:
        raise
    except Exception as error:
        raise InputError(f"{path}: not an SPSS file ({first_lines(error)}); save it as .sav or CSV again") from error
    columns = [
        [
            _labelled(value, about.variable_value_labels.get(name, {}) if bare(name) in names else {})
            for value in table[name]
        ]
        for name in map(str, table)
    ]
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    labels = [label or "" for label in about.column_labels]
    return list(enumerate([list(map(str, table)), *rows], 1)), labels


def _labelled(value: Any, labels: dict[Any, str]) -> str:
    return str(labels[value]).strip() if value in labels else _text(value)


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, date | time):
        return f"{value} (a date, made by a spreadsheet?)"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _missing(path: Path, extra: str, package: str) -> InputError:
    return InputError(f"{path}: reading it needs {package}; run pip install 'emoscale[{extra}]', or save it as CSV")
