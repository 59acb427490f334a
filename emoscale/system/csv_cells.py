"""Text in the cells of CSV files: what a spreadsheet would take for a formula is written so that it does not.

Such text gets an apostrophe before it, which reading takes away again (OWASP, "CSV Injection"). Numbers stay as they
are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*(\s*[=+\-@]|[\t\r\n])")
"""What a spreadsheet takes for a formula, with apostrophes before it or not."""


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV with a header and without its index, at full precision.

    Examples
    --------
    >>> import pandas as pd
    >>> print(to_csv(pd.DataFrame({"concept": ["joy", "=1+1"], "tau": [0.5, -0.25]})), end="")
    concept,tau
    joy,0.5
    '=1+1,-0.25
    """
    returns: list[str] = []

    def write(text: str) -> str:
        if "\r" in text:
            returns.append(text)
        return f"'{text}" if _FORMULA.match(text) else text

    cells = _with_texts(table, write)
    # A carriage return ends a line too, but Python quotes a cell for it only where it is in the terminator.
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    return cells.to_csv(index=False, lineterminator="\n", quoting=quoting)


def from_cell(cell: str) -> str:
    """Return the text that `to_csv` has written as a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def from_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts and names of columns are those that `to_csv` was given."""
    return _with_texts(table, from_cell)


def _with_texts(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    changed = {}
    for name, column in table.select_dtypes(exclude=["number", "bool"]).items():
        cells = column.astype(object).map(lambda cell: change(cell) if isinstance(cell, str) else cell)
        changed[str(name)] = cells if column.dtype.name == "category" else cells.astype(column.dtype)
    return table.assign(**changed).rename(columns=lambda name: change(name) if isinstance(name, str) else name)
