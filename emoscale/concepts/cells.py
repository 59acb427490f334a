"""Cells of ratings in any layout: whose they are, of which concept and attribute, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from emoscale.concepts.columns import (
    ATTRIBUTE,
    CONCEPT,
    RATER,
    RATER_IDS,
    RATING,
    one_column,
)
from emoscale.concepts.wide_headers import has_two_header_lines, read_wide_columns
from emoscale.errors import InputError, suggest
from emoscale.names import canonical, difference
from emoscale.system.user_tables import UserTable, is_empty, to_number


@dataclass(frozen=True)
class Cell:
    """One rating as text.

    Parameters
    ----------
    line : int
    column : str
        Name of its column.
    rater : str or None
        None in a table of means.
    concept, attribute, text : str
    """

    line: int
    column: str
    rater: str | None
    concept: str
    attribute: str
    text: str


@dataclass(frozen=True)
class Cells:
    """All cells of a table of ratings.

    Parameters
    ----------
    cells : list of Cell
    how : str
        The layout they were in.
    """

    cells: list[Cell]
    how: str


def read_cells(table: UserTable, names: Collection[str], known: tuple[Collection[str], Collection[str]]) -> Cells:
    """Recognise the layout of a table of ratings by its columns.

    Parameters
    ----------
    table : UserTable
    names : collection of str
        Concepts of the study, as far as they are known.
    known : (collection of str, collection of str)
        Names that usually are concepts', and attributes'.

    Returns
    -------
    Cells

    Raises
    ------
    InputError
        If the table has none of the layouts.
    """
    concept = None if has_two_header_lines(table) else _concept_column(table)
    if concept is None:
        return _wide(table, names, known)
    rater = _rater_column(table)
    attribute, rating = (one_column(table, kind) for kind in (ATTRIBUTE, RATING))
    if attribute is not None and rating is not None:
        return _long(table, rater, concept, attribute, rating)
    return _by_attribute(table, rater, concept)


def attribute_problems(table: UserTable, attributes: list[str]) -> list[str]:
    """Return the problems of the names of a table's attribute columns, one line each."""
    if not attributes:
        return [f"{table.path}, line 1: no attribute columns; add one column of numbers an attribute"]
    counts = Counter(canonical(name) for name in attributes)
    problems = []
    for name, count in counts.items():
        if name and count > 1:
            forms = list(dict.fromkeys(one for one in attributes if canonical(one) == name))
            but = f" but for {difference(*forms[:2])}" if len(forms) > 1 else ""
            problems.append(
                f"{table.path}, line 1: {count} columns are named {forms[0]!r}{but}; give each attribute its own name"
            )
    if counts[""]:
        problems.append(f"{table.path}, line 1: {counts['']} column(s) without a name; name or remove them")
    return problems


def unnumbered(table: UserTable) -> UserTable:
    """Leave out a first column without a name that only numbers the rows, as pandas and R write it."""
    if table.header[0] or len(table.header) == 1:
        return table
    numbers = [row[0] for _, row in table.rows]
    if not any([str(i) for i in range(first, first + len(numbers))] == numbers for first in (0, 1)):
        return table
    rows = [(line, row[1:]) for line, row in table.rows]
    return UserTable(table.path, table.header[1:], rows, table.problems, table.decimal, table.how, table.labels[1:])


def _concept_column(table: UserTable) -> int | None:
    found = table.find(*CONCEPT)
    if len(found) > 1:
        shown = " and ".join(repr(table.header[i]) for i in found)
        raise InputError(f"{table.path}, line 1: has both columns {shown}; keep the one with the concepts")
    if found:
        return found[0]
    nameless = not table.header[0] and len(table.header) > 1
    words = [row[0] for _, row in table.rows if not is_empty(row[0])]
    # R and pandas write the concepts, as the names of rows, without a header.
    return 0 if nameless and words and all(to_number(word, table.decimal) is None for word in words) else None


def _rater_column(table: UserTable) -> int | None:
    for names in (RATER, RATER_IDS):
        if table.find(*names):
            return table.column(*names)
    return None


def _long(table: UserTable, rater: int | None, concept: int, attribute: int, rating: int) -> Cells:
    column = table.header[rating]
    cells = [
        Cell(line, column, None if rater is None else row[rater], row[concept], row[attribute], row[rating])
        for line, row in table.rows
    ]
    _check_whose(table, cells)
    return Cells(cells, f"one row a{' rater,' if rater is not None else ''} concept and attribute")


def _by_attribute(table: UserTable, rater: int | None, concept: int) -> Cells:
    columns = [i for i in range(len(table.header)) if i not in (rater, concept)]
    attributes = [table.header[i] for i in columns]
    if problems := attribute_problems(table, attributes):
        raise InputError(problems)
    cells = [
        Cell(line, table.header[i], None if rater is None else row[rater], row[concept], table.header[i], row[i])
        for line, row in table.rows
        for i in columns
    ]
    _check_whose(table, cells)
    return Cells(cells, "means, one row a concept" if rater is None else "one row a rater and concept")


def _wide(table: UserTable, names: Collection[str], known: tuple[Collection[str], Collection[str]]) -> Cells:
    wide = read_wide_columns(table, names, known)
    rows = table.rows[wide.header_lines :]

    def cells() -> Iterator[Cell]:
        for line, row in rows:
            rater = f"line {line}" if wide.rater is None else row[wide.rater]
            for i, (concept, attribute) in wide.pairs.items():
                yield Cell(line, f"{concept}, {attribute}", rater, concept, attribute, row[i])

    return Cells(list(cells()), wide.how)


def _check_whose(table: UserTable, cells: list[Cell]) -> None:
    """Refuse several ratings of one thing where no column says whose they are."""
    if not cells or cells[0].rater is not None:
        return
    counts = Counter((canonical(one.concept), canonical(one.attribute)) for one in cells if one.concept)
    if counts and sum(count > 1 for count in counts.values()) * 2 > len(counts):
        (concept, _), count = counts.most_common(1)[0]
        raise InputError(
            f"{table.path}: seems to hold the ratings of several people ({concept!r} comes {count} times), but no "
            f"column says whose they are; add a column {RATER[0]!r}{suggest(RATER[0], table.header)}"
        )
