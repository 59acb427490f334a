"""Reading attribute scores of concepts, and dissimilarities of pairs of concepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.csv_table import CsvTable, parse_number, read_csv_table
from emoscale.errors import InputError, suggest

CONCEPT_COLUMN = "concept"
PAIR_COLUMNS = ("concept_1", "concept_2", "dissimilarity")
FEWEST_CONCEPTS = 3
_SHOWN_PAIRS = 5


def read_attributes(path: Path, names: list[str] | None = None) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Read a table of attribute scores.

    Parameters
    ----------
    path : Path
        CSV: a column `concept` and one column of numbers an attribute, one row a concept.
    names : list of str, optional
        Concepts to keep, in this order; all, in the table's order, if left out.

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
        Every problem of the file, one line each.
    """
    table = read_csv_table(path)
    key = table.column(CONCEPT_COLUMN)
    columns = [i for i in range(len(table.header)) if i != key]
    attributes = [table.header[i] for i in columns]
    problems = table.problems + header_problems(path, attributes)
    line_of = _concept_lines(table, key, problems)
    concepts = list(line_of)
    scores = np.full((len(concepts), len(columns)), np.nan)
    for line, row in table.rows:
        place = f"{path}, line {line} ({row[key]}), column"
        values = [parse_number(row[i], f"{place} {table.header[i]!r}", problems) for i in columns]
        if line_of.get(row[key]) == line:
            scores[concepts.index(row[key])] = values
    kept = concepts if names is None else names
    problems += _name_problems(path, kept, concepts)
    scores = scores[[concepts.index(name) for name in kept if name in line_of]]
    problems += _constant_problems(path, attributes, scores)
    if problems:
        raise InputError(problems)
    return concepts, attributes, scores


def header_problems(path: Path, attributes: list[str]) -> list[str]:
    """Return the problems of the names of a table's attribute columns, one line each."""
    if not attributes:
        return [f"{path}, line 1: no attribute columns; add one column of numbers an attribute"]
    counts = Counter(attributes)
    problems = [
        f"{path}, line 1: {count} columns are named {name!r}; give each attribute its own name"
        for name, count in counts.items()
        if name and count > 1
    ]
    if counts[""]:
        problems.append(f"{path}, line 1: {counts['']} column(s) without a name; name or remove them")
    return problems


def _constant_problems(path: Path, attributes: list[str], scores: NDArray[np.float64]) -> list[str]:
    if len(scores) < FEWEST_CONCEPTS:
        return []
    return [
        f"{path}, column {name!r}: every concept has the same score, so it does not distinguish them; remove the column"
        for name, values in zip(attributes, scores.T, strict=True)
        if np.ptp(values) == 0
    ]


def _concept_lines(table: CsvTable, key: int, problems: list[str]) -> dict[str, int]:
    line_of: dict[str, int] = {}
    for line, row in table.rows:
        name = row[key]
        if not name:
            problems.append(f"{table.path}, line {line}, column {CONCEPT_COLUMN!r}: is empty; name the concept")
        elif name in line_of:
            problems.append(
                f"{table.path}, line {line}: concept {name!r} is already in line {line_of[name]}; keep one of them"
            )
        else:
            line_of[name] = line
    return line_of


def _name_problems(path: Path, kept: list[str], concepts: list[str]) -> list[str]:
    problems = [
        f"{path}: has no concept {name!r}{suggest(name, concepts)}; add its row or leave it out of the concepts"
        for name in dict.fromkeys(kept)
        if name not in concepts
    ]
    problems += [
        f"concept {name!r} is listed {count} times in concepts.names; list it once"
        for name, count in Counter(kept).items()
        if count > 1
    ]
    if len(set(kept)) < FEWEST_CONCEPTS:
        problems.append(
            f"{path}: {len(set(kept))} concept(s) to compare; give at least {FEWEST_CONCEPTS}, "
            "since fewer have no pattern of differences"
        )
    return problems


def read_dissimilarity(path: Path, names: list[str], known: Collection[str]) -> NDArray[np.float64]:
    """Read a table of dissimilarities of pairs of concepts.

    Parameters
    ----------
    path : Path
        CSV with columns `concept_1`, `concept_2` and `dissimilarity`: every unordered pair once, in any order.
    names : list of str
        The C concepts whose pairs are needed.
    known : collection of str
        Concepts that the file may mention.

    Returns
    -------
    ndarray, float64, shape (P,)
        P = C(C-1)/2 values in the order of ``numpy.triu_indices(C, 1)``, in the units of the table.

    Raises
    ------
    InputError
        Every problem of the file, one line each.
    """
    table = read_csv_table(path)
    first, second, value = (table.column(name) for name in PAIR_COLUMNS)
    problems = list(table.problems)
    line_of: dict[frozenset[str], int] = {}
    position = {name: i for i, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for line, row in table.rows:
        a, b = row[first], row[second]
        place = f"{path}, line {line} ({a}, {b})"
        number = parse_number(row[value], f"{place}, column {PAIR_COLUMNS[2]!r}", problems)
        if number < 0:
            problems.append(f"{place}: dissimilarity {row[value]} is negative; give 0 or more")
        pair = frozenset((a, b))
        if unfit := _pair_problems(pair, place, known, line_of):
            problems += unfit
            continue
        line_of[pair] = line
        if pair <= position.keys():
            matrix[position[a], position[b]] = matrix[position[b], position[a]] = number
    i, j = np.triu_indices(len(names), 1)
    pairs = [(names[a], names[b]) for a, b in zip(i, j, strict=True)]
    problems += _missing_problems(path, [pair for pair in pairs if frozenset(pair) not in line_of])
    if problems:
        raise InputError(problems)
    condensed: NDArray[np.float64] = matrix[i, j]
    return condensed


def _pair_problems(
    pair: frozenset[str], place: str, known: Collection[str], line_of: dict[frozenset[str], int]
) -> list[str]:
    if strangers := sorted(pair - set(known)):
        return [
            f"{place}: no attribute score for concept {name!r}{suggest(name, known)}; correct or remove the line"
            for name in strangers
        ]
    if len(pair) == 1:
        return [f"{place}: a concept paired with itself; remove the line"]
    if pair in line_of:
        return [f"{place}: the pair is already in line {line_of[pair]}; keep one of them"]
    return []


def _missing_problems(path: Path, missing: list[tuple[str, str]]) -> list[str]:
    if not missing:
        return []
    shown = "; ".join(f"{a}, {b}" for a, b in missing[:_SHOWN_PAIRS])
    more = f"; and {len(missing) - _SHOWN_PAIRS} more" if len(missing) > _SHOWN_PAIRS else ""
    return [f"{path}: {len(missing)} pair(s) missing ({shown}{more}); add a line for each"]
