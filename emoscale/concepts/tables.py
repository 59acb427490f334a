"""Reading attribute scores of concepts, and finding the concepts that a table names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.cells import attribute_problems, unnumbered
from emoscale.concepts.columns import CONCEPT, NAMES, RATER, RATER_IDS
from emoscale.errors import suggest
from emoscale.names import canonical, difference
from emoscale.rounding import varies
from emoscale.system.user_tables import UserTable, read_table, refuse

FEWEST_CONCEPTS = 3


class Known:
    """Concepts that a table may name, in any form.

    Parameters
    ----------
    names : sequence of str
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._position = {canonical(name): i for i, name in enumerate(names)}

    def __contains__(self, name: str) -> bool:
        return canonical(name) in self._position

    def index(self, name: str) -> int:
        """Return the place of a name that is there."""
        return self._position[canonical(name)]

    def position(self, name: str, place: str, problems: list[str]) -> int | None:
        """Return the place of a name; where there is none, note that at `place` and return None."""
        if name in self:
            return self.index(name)
        problems.append(
            f"{place}: no attribute score for concept {name!r}{suggest(name, self.names)}; correct or remove the line"
        )
        return None

    def forms(self, names: Sequence[str]) -> list[str]:
        """Return a clause for each of some names that is another form of one here."""
        found = [(name, self.names[self.index(name)]) for name in names if name in self]
        return [f"{name!r} as {of!r} ({what})" for name, of in found if (what := difference(name, of))]


def read_attributes(path: Path, names: Sequence[str] | None = None) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Read a table of attribute scores.

    Parameters
    ----------
    path : Path
        A table, in any form that :func:`emoscale.system.user_tables.read_table` reads: a column `concept` (or
        `emotion`, `label`) and one column of numbers an attribute, one row a concept.
    names : sequence of str, optional
        Concepts to keep, in this order, in any form; all, in the table's order, if left out.

    Returns
    -------
    concepts : list of str
        All concepts of the table, in its order.
    attributes : list of str
    scores : ndarray, float64, shape (C, A)
        Scores of the kept concepts, in the units of the table.

    Raises
    ------
    InputError
        The first problems of the file, one line each.
    """
    table = unnumbered(read_table(path, NAMES))
    if not table.header[0] and not table.find(*CONCEPT):
        table.header[0] = CONCEPT[0]
    key = table.column(*CONCEPT)
    columns = [i for i in range(len(table.header)) if i != key]
    attributes = [table.header[i] for i in columns]
    problems = table.problems + attribute_problems(table, attributes)
    line_of = _concept_lines(table, key, problems)
    known = Known(list(line_of))
    scores = np.full((len(line_of), len(columns)), np.nan)
    for line, row in table.rows:
        place = f"{path}, line {line} ({row[key]}), column"
        values = [table.number(row[i], f"{place} {table.header[i]!r}", problems) for i in columns]
        if line_of.get(row[key]) == line:
            scores[known.index(row[key])] = values
    kept = known.names if names is None else names
    problems += name_problems(path, kept, known)
    scores = scores[[known.index(name) for name in kept if name in known]]
    problems += constant_problems(path, attributes, scores)
    if problems:
        refuse(path, problems, _raw_ratings(table))
    return known.names, attributes, scores


def constant_problems(path: Path, attributes: Sequence[str], scores: NDArray[np.float64]) -> list[str]:
    """Return a line for each attribute on which concepts do not differ, but for rounding."""
    if len(scores) < FEWEST_CONCEPTS:
        return []
    given = np.isfinite(scores.sum(axis=0))
    return [
        f"{path}, column {name!r}: every concept has the same score, so it does not distinguish them; remove the column"
        for name, differ, is_there in zip(attributes, varies(scores), given, strict=True)
        if is_there and not differ
    ]


def name_problems(path: Path, kept: Sequence[str], known: Known) -> list[str]:
    """Return the problems of the concepts that are kept of a table, one line each."""
    problems = [
        f"{path}: has no concept {name!r}{suggest(name, known.names)}; add its row or leave it out of the concepts"
        for name in dict.fromkeys(kept)
        if name not in known
    ]
    counts = Counter(map(canonical, kept))
    problems += [
        f"concept {name!r} is listed {counts[canonical(name)]} times in concepts.names; list it once"
        for name in {canonical(name): name for name in kept}.values()
        if counts[canonical(name)] > 1
    ]
    if len(counts) < FEWEST_CONCEPTS:
        problems.append(
            f"{path}: {len(counts)} concept(s) to compare; give at least {FEWEST_CONCEPTS}, "
            "since fewer have no pattern of differences"
        )
    return problems


def _raw_ratings(table: UserTable) -> str:
    """Return a line for a table that is none of scores, but of single raters."""
    if not table.find(*RATER, *RATER_IDS):
        return ""
    return f"{table.path}: seems to hold the ratings of single raters; give it as concepts.ratings, not as attributes"


def _concept_lines(table: UserTable, key: int, problems: list[str]) -> dict[str, int]:
    line_of: dict[str, int] = {}
    first: dict[str, str] = {}
    for line, row in table.rows:
        name = row[key]
        of = first.setdefault(canonical(name), name)
        if not name:
            problems.append(f"{table.path}, line {line}, column {table.header[key]!r}: is empty; name the concept")
        elif of in line_of:
            what = difference(name, of)
            but = f" as {of!r}, which differs in {what} only" if what else ""
            problems.append(
                f"{table.path}, line {line}: concept {name!r} is already in line {line_of[of]}{but}; keep one of them"
            )
        else:
            line_of[name] = line
    return line_of
