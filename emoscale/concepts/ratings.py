"""Reading ratings in any usual layout: of raters, means, or event reports x items."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.cells import Cell, Cells, attribute_problems, read_cells, unnumbered
from emoscale.concepts.columns import CONCEPT, EVENT, NAMES, RATER, RATER_IDS
from emoscale.concepts.rating_scale import Scale, fitting_scale, scale_problems
from emoscale.concepts.tables import FEWEST_CONCEPTS
from emoscale.errors import InputError
from emoscale.names import join
from emoscale.system.user_tables import SHOWN, UserTable, is_empty, read_table, refuse, short, to_number

_DATA = Path(__file__).parent / "data"
_FEWEST_WORDS = 3
_SHOWN_NAMES = 5


@dataclass(frozen=True, eq=False)
class RaterRatings:
    """Ratings of concepts on attributes.

    Parameters
    ----------
    path : Path
    raters, concepts, attributes : list of str
        In the order in which the file first names them. A table of means has one rater, without a name.
    ratings : ndarray, float64, shape (raters, concepts, attributes)
        In the units of the file; NaN where a rater gave no rating.
    how : str
        How the file was read.
    notes : list of str
        Which forms of a name were joined.
    """

    path: Path
    raters: list[str]
    concepts: list[str]
    attributes: list[str]
    ratings: NDArray[np.float64]
    how: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def are_means(self) -> bool:
        """Whether these are means over raters who are not known."""
        return self.raters == [""]


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
    how : str
        How the file was read.
    notes : list of str
        Which forms of a name were joined.
    """

    path: Path
    events: list[str]
    concepts: list[str]
    concept_of: NDArray[np.int64]
    items: list[str]
    answers: NDArray[np.float64]
    scale: Scale
    how: str = ""
    notes: list[str] = field(default_factory=list)


def read_ratings(path: Path, scale: Scale | None = None, names: Collection[str] = ()) -> RaterRatings | EventReports:
    """Read a file of ratings; its columns say in which layout it is.

    Parameters
    ----------
    path : Path
        A table in any form that :func:`emoscale.system.user_tables.read_table` reads. An empty cell (or ``NA``) means
        "not rated" or "not applicable". Columns may come in any order; the concept's is named `concept`, `emotion` or
        `label`, the rater's `rater`, `participant` or `subject`; capitals do not count. Layouts:

        *A row a rater and concept*, a column an attribute::

            rater,concept,arousal,valence
            a01,joy,7,9
            a01,fear,8,2

        *A row a rating*: columns of rater, concept, attribute (or `scale`, `item`) and rating (or `score`, `value`).

        *A row a rater*, a column a concept and attribute: two header lines, concepts in the first and attributes in the
        second, or names such as ``joy_valence``, or texts such as ``How ...? - joy - valence`` below Qualtrics' codes.

        *Means*: a row a concept, a column an attribute, no rater.

        *Event reports*: columns `event`, concept and one an item; one row a report, several reports a concept::

            event,concept,item01,item02,item03
            e001,joy,7,9,3
            e002,joy,8,,4
    scale : tuple of float, optional
        Lowest and highest value that a cell may hold; if left out, the first of the usual scales that holds all.
    names : collection of str
        Concepts of the study, as far as they are known: they tell concepts from attributes in wide tables.

    Returns
    -------
    RaterRatings or EventReports
        Names that differ only in capitals, spaces, invisible characters or Unicode form are one name.

    Raises
    ------
    InputError
        If the file cannot be read or has none of the layouts; if a cell is not a number or lies outside the scale; if a
        rater's concept or an event comes twice or has no name; if a concept has no rating on an attribute; if there
        are fewer than 3 concepts or 2 raters. The first problems are reported, with file, line and column.
    """
    table = unnumbered(read_table(path, NAMES))
    if table.find(*EVENT):
        return _event_reports(table, scale)
    if table.find("text") and not table.find(*RATER, *RATER_IDS):
        raise InputError(
            f"{path}: seems to be a table of texts (it has a column 'text'), not of ratings; give it as stimuli.path"
        )
    found = read_cells(table, names, _known_names())
    return _by_rater(table, found, scale)


def _by_rater(table: UserTable, found: Cells, scale: Scale | None) -> RaterRatings:
    cells, problems = found.cells, list(table.problems)
    problems += _nameless(table, cells)
    raters, concepts, attributes = (
        join(one for one in names if one)
        for names in ([one.rater for one in cells], [one.concept for one in cells], [one.attribute for one in cells])
    )
    lists = [list(dict.fromkeys(first.values())) for first, _ in (raters, concepts, attributes)]
    lists[0] = lists[0] or [""]
    values = _numbers(table, cells, problems)
    known = [one for one in cells if one.concept and one.attribute and one.rater != ""]
    ratings = np.full([len(one) for one in lists], np.nan)
    positions = [{name: i for i, name in enumerate(one)} for one in lists]
    line_of: dict[tuple[int, ...], int] = {}
    doubled: dict[tuple[int, int], str] = {}
    for cell in known:
        names = (raters[0].get(cell.rater or "", ""), concepts[0][cell.concept], attributes[0][cell.attribute])
        place = tuple(position[name] for position, name in zip(positions, names, strict=True))
        if place in line_of:
            shown = ", ".join(filter(None, names[:2] if line_of[place] != cell.line else names))
            doubled.setdefault(
                (cell.line, line_of[place]),
                f"{table.path}, line {cell.line}: {shown} is already in line {line_of[place]}; keep one of them",
            )
            continue
        line_of[place] = cell.line
        ratings[place] = values[id(cell)]
    problems += doubled.values()
    if len(lists[1]) < FEWEST_CONCEPTS:
        problems.append(f"{table.path}: {len(lists[1])} concept(s); give ratings of at least {FEWEST_CONCEPTS}")
    scale, wrong = _scale(table, scale, [(one.line, one.column, values[id(one)]) for one in cells])
    problems += wrong
    if problems:
        refuse(table.path, problems, _what_it_seems(table, found, problems))
    problems += _gaps(table, lists, ratings)
    if problems:
        refuse(table.path, problems)
    joined = _joined_notes(table, (concepts[1], raters[1], attributes[1]))
    return RaterRatings(table.path, lists[0], lists[1], lists[2], ratings, _how(table, found.how, scale), joined)


def _numbers(table: UserTable, cells: Sequence[Cell], problems: list[str]) -> dict[int, float]:
    """Read every cell; a column of words gets one line, not one a cell."""
    words: dict[str, list[str]] = {}
    filled: dict[str, int] = {}
    for one in cells:
        if not is_empty(one.text):
            filled[one.column] = filled.get(one.column, 0) + 1
            if to_number(one.text, table.decimal) is None:
                words.setdefault(one.column, []).append(one.text)
    of_words = {
        column for column, found in words.items() if len(found) >= _FEWEST_WORDS and len(found) * 2 > filled[column]
    }
    problems += [
        f"{table.path}, column {column!r}: holds words in {len(words[column])} of {filled[column]} cells, e.g. "
        f"{short(words[column][0])!r}; remove the column if it is not an attribute, or write its ratings in digits"
        for column in words
        if column in of_words
    ]
    values = {}
    for one in cells:
        known = not is_empty(one.text) and one.column not in of_words
        place = f"{table.path}, line {one.line}, column {one.column!r}"
        values[id(one)] = table.number(one.text, place, problems) if known else np.nan
    return values


def _scale(
    table: UserTable, scale: Scale | None, values: Sequence[tuple[int, str, float]]
) -> tuple[Scale | None, list[str]]:
    held = np.array([value for _, _, value in values])
    scale = fitting_scale(held) if scale is None else scale
    return scale, [] if scale is None else scale_problems(table.path, scale, values)


def _what_it_seems(table: UserTable, found: Cells, problems: Sequence[str]) -> str:
    """Return a line that says what the file was taken for, where it has many problems."""
    if len(problems) <= SHOWN:
        return ""
    how = f" ({table.how})" if table.how else ""
    return (
        f"{table.path}: read as {found.how}{how}, and {len(problems)} things do not fit; if it is something else, see"
        " the layouts of `emoscale scores --help`"
    )


def _nameless(table: UserTable, cells: Sequence[Cell]) -> list[str]:
    lines: dict[str, list[int]] = {}
    for one in cells:
        for what, name in ((RATER[0], one.rater), (CONCEPT[0], one.concept), ("attribute", one.attribute)):
            if name == "" and one.line not in lines.setdefault(what, []):
                lines[what].append(one.line)
    return [
        f"{table.path}, line {line}, column {what!r}: is empty; fill in the name"
        for what, numbers in lines.items()
        for line in numbers
    ]


def _gaps(table: UserTable, lists: list[list[str]], ratings: NDArray[np.float64]) -> list[str]:
    raters, concepts, attributes = lists
    problems = [
        f"{table.path}, column {attributes[j]!r}: nobody rated {concepts[i]!r}; add a rating or remove the concept"
        for i, j in np.argwhere(np.isnan(ratings).all(axis=0))
    ]
    if len(raters) < 2 and raters != [""]:
        problems.append(
            f"{table.path}: one rater only, so reliability cannot be estimated; give ratings of at least 2, or remove "
            "the rater's column if these are means"
        )
    return problems


def _event_reports(table: UserTable, scale: Scale | None) -> EventReports:
    path = table.path
    if found := table.find(*RATER):
        raise InputError(
            f"{path}, line 1: has both a column {table.header[found[0]]!r} and a column {EVENT[0]!r}; keep "
            f"{RATER[0]!r} for ratings of concepts, {EVENT[0]!r} for reports of events"
        )
    key, concept = table.column(*EVENT), table.column(*CONCEPT)
    columns = [i for i in range(len(table.header)) if i not in (key, concept)]
    items = [table.header[i] for i in columns]
    problems = table.problems + attribute_problems(table, items)
    cells = [
        Cell(line, table.header[i], row[key], row[concept], table.header[i], row[i])
        for line, row in table.rows
        for i in columns
    ]
    numbers = _numbers(table, cells, problems)
    scale, wrong = _scale(table, scale, [(one.line, one.column, numbers[id(one)]) for one in cells])
    problems += wrong + _event_name_problems(table, key, concept)
    first, joined = join(row[concept] for _, row in table.rows if row[concept])
    concepts = list(dict.fromkeys(first.values()))
    if len(concepts) < FEWEST_CONCEPTS:
        problems.append(f"{path}: {len(concepts)} concept(s); give ratings of at least {FEWEST_CONCEPTS}")
    if problems:
        refuse(path, problems)
    values = np.array([numbers[id(one)] for one in cells]).reshape(len(table.rows), len(columns))
    return EventReports(
        path,
        [row[key] for _, row in table.rows],
        concepts,
        np.array([concepts.index(first[row[concept]]) for _, row in table.rows]),
        items,
        values,
        scale or (np.nan, np.nan),
        _how(table, "one row a reported event", scale),
        _joined_notes(table, (joined, [], [])),
    )


def _event_name_problems(table: UserTable, key: int, concept: int) -> list[str]:
    problems = []
    line_of: dict[str, int] = {}
    for line, row in table.rows:
        problems += [
            f"{table.path}, line {line}, column {table.header[i]!r}: is empty; fill in the name"
            for i in (key, concept)
            if not row[i]
        ]
        if row[key] and row[key] in line_of:
            problems.append(
                f"{table.path}, line {line}: {row[key]} is already in line {line_of[row[key]]}; keep one of them"
            )
        line_of.setdefault(row[key], line)
    return problems


def _how(table: UserTable, how: str, scale: Scale | None) -> str:
    values = "" if scale is None else f"; from {scale[0]:g} to {scale[1]:g}"
    written = f" ({table.how})" if table.how else ""
    return f"{table.path.name}{written}: {how}{values}"


def _joined_notes(table: UserTable, joined: Sequence[list[str]]) -> list[str]:
    notes = []
    for what, clauses in zip(("concepts", "raters", "attributes"), joined, strict=True):
        if clauses:
            more = f", and {len(clauses) - _SHOWN_NAMES} more" if len(clauses) > _SHOWN_NAMES else ""
            notes.append(f"{table.path.name}: read as the same {what}: {', '.join(clauses[:_SHOWN_NAMES])}{more}")
    return notes


@cache
def _known_names() -> tuple[frozenset[str], frozenset[str]]:
    table = read_table(_DATA / "emotion_attributes.csv")
    return frozenset(row[0] for _, row in table.rows), frozenset(table.header[1:])
