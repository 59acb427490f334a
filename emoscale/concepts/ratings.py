"""Reading ratings from tidy CSV files: raters x concepts, or event reports x items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.csv_table import CsvTable, is_empty, parse_number, read_csv_table
from emoscale.concepts.tables import CONCEPT_COLUMN, FEWEST_CONCEPTS, header_problems
from emoscale.errors import InputError, suggest

RATER_COLUMN = "rater"
EVENT_COLUMN = "event"
CONCEPT_COLUMNS = (CONCEPT_COLUMN, "emotion")
_SHOWN_PROBLEMS = 30


@dataclass(frozen=True, eq=False)
class RaterRatings:
    """Ratings of concepts on attributes.

    Parameters
    ----------
    path : Path
    raters, concepts, attributes : list of str
        In the order in which the file first names them.
    ratings : ndarray, float64, shape (raters, concepts, attributes)
        In the units of the file; NaN where a rater gave no rating.
    """

    path: Path
    raters: list[str]
    concepts: list[str]
    attributes: list[str]
    ratings: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EventReports:
    """Events reported for concepts, described by a battery of items.

    Parameters
    ----------
    path : Path
    events : list of str
        One name a report.
    concepts : list of str
        In the order in which the file first names them.
    concept_of : ndarray, int64, shape (events,)
        Which of `concepts` each event was reported for.
    items : list of str
    answers : ndarray, float64, shape (events, items)
        NaN where an item did not apply to the event.
    scale : tuple of float
        Lowest and highest answer that an item allows.
    """

    path: Path
    events: list[str]
    concepts: list[str]
    concept_of: NDArray[np.int64]
    items: list[str]
    answers: NDArray[np.float64]
    scale: tuple[float, float]


def read_ratings(path: Path, scale: tuple[float, float]) -> RaterRatings | EventReports:
    """Read a file of ratings in one of two layouts, which its columns decide.

    Parameters
    ----------
    path : Path
        CSV with a header. The concept's column is named `concept` or `emotion`; an empty cell
        (or ``NA``) means "not rated" or "not applicable".

        *Ratings*: columns `rater`, `concept` and one an attribute; one row a rater and concept::

            rater,concept,arousal,valence
            a01,joy,7,9
            a01,fear,8,2

        *Event reports*: columns `event`, `concept` and one an item; one row a report, several reports a concept::

            event,concept,item01,item02,item03
            e001,joy,7,9,3
            e002,joy,8,,4
    scale : tuple of float
        Lowest and highest value that a cell may hold.

    Returns
    -------
    RaterRatings or EventReports

    Raises
    ------
    InputError
        If the file cannot be read or has neither layout; if a cell is not a number or lies outside the scale; if a
        rater's concept or an event comes twice or has no name; if a concept has no rating on an attribute; if there
        are fewer than 3 concepts or 2 raters. Up to 30 problems are reported at once, with file, line and column.
    """
    table = read_csv_table(path)
    key = _key_column(table)
    concept = _concept_column(table)
    columns = [i for i in range(len(table.header)) if i not in (key, concept)]
    names = [table.header[i] for i in columns]
    problems = table.problems + header_problems(path, names)
    values = _values(table, columns, scale, problems)
    problems += _name_problems(table, key, concept)
    concepts = list(dict.fromkeys(row[concept] for _, row in table.rows))
    if len(concepts) < FEWEST_CONCEPTS:
        problems.append(f"{path}: {len(concepts)} concept(s); give ratings of at least {FEWEST_CONCEPTS}")
    _raise(path, problems)
    keys = [row[key] for _, row in table.rows]
    concept_of = np.array([concepts.index(row[concept]) for _, row in table.rows])
    if table.header[key] == EVENT_COLUMN:
        return EventReports(path, keys, concepts, concept_of, names, values, scale)
    return _by_rater(path, keys, concepts, concept_of, names, values)


def _key_column(table: CsvTable) -> int:
    found = [name for name in (RATER_COLUMN, EVENT_COLUMN) if name in table.header]
    if len(found) == 1:
        return table.column(found[0])
    if found:
        raise InputError(
            f"{table.path}, line 1: has both a column {RATER_COLUMN!r} and a column {EVENT_COLUMN!r}; keep "
            f"{RATER_COLUMN!r} for ratings of concepts, {EVENT_COLUMN!r} for reports of events"
        )
    hint = suggest(RATER_COLUMN, table.header) or suggest(EVENT_COLUMN, table.header)
    raise InputError(
        f"{table.path}, line 1: neither a column {RATER_COLUMN!r} nor a column {EVENT_COLUMN!r}{hint}; add "
        f"{RATER_COLUMN!r} to ratings of concepts, {EVENT_COLUMN!r} to reports of events"
    )


def _concept_column(table: CsvTable) -> int:
    found = [name for name in CONCEPT_COLUMNS if name in table.header]
    if len(found) > 1:
        raise InputError(f"{table.path}, line 1: has both columns {CONCEPT_COLUMNS}; keep the one with the concepts")
    return table.column(found[0] if found else CONCEPT_COLUMN)


def _values(
    table: CsvTable, columns: list[int], scale: tuple[float, float], problems: list[str]
) -> NDArray[np.float64]:
    low, high = scale
    values = np.full((len(table.rows), len(columns)), np.nan)
    for i, (line, row) in enumerate(table.rows):
        for j, column in enumerate(columns):
            if is_empty(row[column]):
                continue
            place = f"{table.path}, line {line}, column {table.header[column]!r}"
            values[i, j] = parse_number(row[column], place, problems)
            if not np.isnan(values[i, j]) and not low <= values[i, j] <= high:
                problems.append(
                    f"{place}: {row[column]} lies outside the scale {low:g} to {high:g}; correct the cell, leave it "
                    "empty if it means no answer, or give the right scale"
                )
    return values


def _name_problems(table: CsvTable, key: int, concept: int) -> list[str]:
    problems = []
    by_event = table.header[key] == EVENT_COLUMN
    line_of: dict[tuple[str, ...], int] = {}
    for line, row in table.rows:
        problems += [
            f"{table.path}, line {line}, column {table.header[i]!r}: is empty; fill in the name"
            for i in (key, concept)
            if not row[i]
        ]
        name = (row[key],) if by_event else (row[key], row[concept])
        if all(name) and name in line_of:
            problems.append(
                f"{table.path}, line {line}: {', '.join(name)} is already in line {line_of[name]}; keep one of them"
            )
        line_of.setdefault(name, line)
    return problems


def _by_rater(
    path: Path,
    keys: list[str],
    concepts: list[str],
    concept_of: NDArray[np.int64],
    attributes: list[str],
    values: NDArray[np.float64],
) -> RaterRatings:
    raters = list(dict.fromkeys(keys))
    rater_of = np.array([raters.index(key) for key in keys])
    ratings = np.full((len(raters), len(concepts), len(attributes)), np.nan)
    ratings[rater_of, concept_of] = values
    problems = [
        f"{path}, column {attributes[j]!r}: nobody rated {concepts[i]!r}; add a rating or remove the concept"
        for i, j in np.argwhere(np.isnan(ratings).all(axis=0))
    ]
    if len(raters) < 2:
        problems.append(f"{path}: one rater only, so reliability cannot be estimated; give ratings of at least 2")
    _raise(path, problems)
    return RaterRatings(path, raters, concepts, attributes, ratings)


def _raise(path: Path, problems: list[str]) -> None:
    if len(problems) > _SHOWN_PROBLEMS:
        more = f"{path}: and {len(problems) - _SHOWN_PROBLEMS} more problems; correct these first"
        raise InputError([*problems[:_SHOWN_PROBLEMS], more])
    if problems:
        raise InputError(problems)
