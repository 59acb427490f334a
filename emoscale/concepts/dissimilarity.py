"""Reading people's dissimilarities of concepts: pairs, a square matrix, or either of each participant."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoscale.concepts.columns import NAMES, RATER, RATER_IDS, RATING
from emoscale.concepts.tables import Known
from emoscale.errors import InputError
from emoscale.names import canonical, join
from emoscale.rounding import ROUNDING, varies
from emoscale.system.user_tables import UserTable, is_empty, read_table, refuse, to_number

Floats = NDArray[np.float64]
Pair = tuple[int, int]

FIRST = ("concept_1", "concept_a", "emotion_1", "item_1", "label_1", "word_1")
SECOND = ("concept_2", "concept_b", "emotion_2", "item_2", "label_2", "word_2")
VALUE = ("dissimilarity", "distance", *RATING)
SIMILARITY = ("similarity",)
_SHOWN_PAIRS = 5
_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".sav")
_DIGITS = 12
_FEWEST_PARTICIPANTS = 2


@dataclass(frozen=True, eq=False)
class Judgements:
    """How different people find the C concepts of a study, P = C(C-1)/2 pairs.

    Parameters
    ----------
    mean : ndarray, float64, shape (P,)
        Over participants, pairs in the order of ``numpy.triu_indices(C, 1)``, in the units of the file.
    participants : ndarray, float64, shape (S, P), or None
        The judgements of those who judged every pair; None where there are not two.
    people : int
        Participants of the mean; 0 if it is not known.
    notes : list of str
        Who was left out of `participants`, and which forms of a name were joined.
    """

    mean: Floats
    participants: Floats | None = None
    people: int = 0
    notes: list[str] = field(default_factory=list)


def read_dissimilarity(path: Path, names: Sequence[str], known: Collection[str]) -> Judgements:
    """Read people's dissimilarities of pairs of concepts.

    Parameters
    ----------
    path : Path
        A table, in any form that :func:`emoscale.system.user_tables.read_table` reads, of one of these layouts:

        *Pairs*: columns `concept_1`, `concept_2` and `dissimilarity`, every unordered pair once, in any order; with a
        column `participant` (or `rater`, `subject`) once a participant.

        *A square matrix*: the concepts name its rows and columns; it is symmetric, or one half is empty; its diagonal
        is 0 or empty.

        Or a folder of square matrices, one a participant.
    names : sequence of str
        The C concepts whose pairs are needed.
    known : collection of str
        Concepts that the file may mention.

    Returns
    -------
    Judgements

    Raises
    ------
    InputError
        The first problems of the file, one line each.
    """
    concepts = Known([*names, *(name for name in known if canonical(name) not in set(map(canonical, names)))])
    if path.is_dir():
        return _of_folder(path, names, concepts)
    table = read_table(path, NAMES)
    notes: list[str] = []
    problems: list[str] = []
    if table.find(*FIRST) or table.find(*SECOND):
        by_participant = _read_pairs(table, concepts, notes, problems)
    else:
        by_participant = {"": _read_square(table, concepts)}
    return _judgements(path, by_participant, names, notes, problems)


def _of_folder(path: Path, names: Sequence[str], concepts: Known) -> Judgements:
    files = sorted(
        file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise InputError(
            f"{path}: a folder without tables; give one square matrix a participant ({', '.join(_SUFFIXES)})"
        )
    problems: list[str] = []
    by_participant = {}
    for file in files:
        try:
            by_participant[file.stem] = _read_square(read_table(file), concepts)
        except InputError as error:
            problems += error.problems
    if problems:
        refuse(path, problems)
    return _judgements(path, by_participant, names, [], [])


def _read_pairs(
    table: UserTable, concepts: Known, notes: list[str], problems: list[str]
) -> dict[str, dict[Pair, float]]:
    if not table.find(*VALUE) and table.find(*SIMILARITY):
        raise InputError(
            f"{table.path}, line 1: seems to hold similarities (column {table.header[table.find(*SIMILARITY)[0]]!r}); "
            f"subtract them from the largest and name the column {VALUE[0]!r}"
        )
    first, second, value = (table.column(*names) for names in (FIRST, SECOND, VALUE))
    participant = next((table.column(*kind) for kind in (RATER, RATER_IDS) if table.find(*kind)), None)
    problems += table.problems
    people, joined = join(row[participant] for _, row in table.rows) if participant is not None else ({}, [])
    if joined:
        notes.append(f"{table.path.name}: read as the same participants: {', '.join(joined[:_SHOWN_PAIRS])}")
    found: dict[str, dict[Pair, float]] = {}
    line_of: dict[tuple[str, Pair], int] = {}
    for line, row in table.rows:
        a, b = row[first], row[second]
        who = people[row[participant]] if participant is not None else ""
        place = f"{table.path}, line {line} ({', '.join([who, a, b] if who else [a, b])})"
        if participant is not None and not who:
            problems.append(f"{place}, column {table.header[participant]!r}: is empty; name the participant")
        if participant is not None and is_empty(row[value]):
            continue
        number = _distance(table, row[value], place, table.header[value], problems)
        pair = _pair(concepts, a, b, place, problems)
        if pair is None:
            continue
        if (who, pair) in line_of:
            problems.append(f"{place}: the pair is already in line {line_of[who, pair]}; keep one of them")
            continue
        line_of[who, pair] = line
        found.setdefault(who, {})[pair] = number
    if problems and (several := _without_participants(table, participant, line_of)):
        refuse(table.path, problems, several)
    return found


def _without_participants(table: UserTable, participant: int | None, line_of: Collection[object]) -> str:
    if participant is not None or len(table.rows) < 2 * max(1, len(line_of)):
        return ""
    return (
        f"{table.path}: seems to hold the judgements of several people, but no column says whose they are; add a "
        f"column {RATER[1]!r}"
    )


def _read_square(table: UserTable, concepts: Known) -> dict[Pair, float]:
    path, columns = table.path, table.header[1:]
    if all(to_number(name, table.decimal) is not None for name in table.header if name):
        raise InputError(f"{path}: seems to be a matrix of numbers without names; name its rows and columns")
    rows = [row[0] for _, row in table.rows]
    across, down = ([canonical(name) for name in kind] for kind in (columns, rows))
    if not set(across) & set(down):
        raise InputError(
            f"{path}, line 1: neither columns {', '.join((FIRST[0], SECOND[0], VALUE[0]))} nor a square matrix with "
            "the same names of rows and columns; give one of these"
        )
    problems = [*table.problems]
    for what, these, others in (("column", across, down), ("row", down, across)):
        problems += [
            f"{path}: has a {what} {name!r} but no such {_other(what)}; add it" for name in these if name not in others
        ]
        problems += [
            f"{path}: has two {what}s {name!r}; keep one" for name in sorted({n for n in these if these.count(n) > 1})
        ]
    values = {
        (a, b): _distance(table, cell, f"{path}, line {line} ({a}, {b})", name, problems)
        for (line, row), a in zip(table.rows, down, strict=True)
        for cell, b, name in zip(row[1:], across, columns, strict=True)
        if not is_empty(cell)
    }
    known = {name: concepts.position(name, f"{path}, row {name!r}", problems) for name in dict.fromkeys(down)}
    if problems:
        refuse(path, problems)
    _check_square(path, values)
    found = {}
    for (a, b), value in values.items():
        i, j = known[a], known[b]
        if i is not None and j is not None and i != j:
            found[min(i, j), max(i, j)] = value
    return found


def _check_square(path: Path, values: dict[tuple[str, str], float]) -> None:
    largest = max(map(abs, values.values()), default=0.0)
    diagonal = {a: value for (a, b), value in values.items() if a == b}
    off = [value for (a, b), value in values.items() if a != b]
    if diagonal and off and min(diagonal.values()) > max(off):
        raise InputError(
            f"{path}: seems to hold similarities, for its diagonal is larger than the rest; subtract all from the "
            "largest"
        )
    problems = [
        f"{path}: the diagonal of {name!r} is {value:g}; a concept does not differ from itself, make it 0 or empty"
        for name, value in diagonal.items()
        if abs(value) > ROUNDING * largest
    ]
    unequal = [
        (a, b)
        for (a, b), value in values.items()
        if a < b and (b, a) in values and abs(values[b, a] - value) > ROUNDING * largest
    ]
    if unequal:
        (a, b), others = unequal[0], len(unequal) - 1
        problems.append(
            f"{path}: not symmetric: {a!r} and {b!r} differ by {values[a, b]:g} one way and {values[b, a]:g} the other"
            f"{f', and {others} more pairs' if others else ''}; average the two halves or leave one "
            "empty"
        )
    if problems:
        refuse(path, problems)


def _judgements(
    path: Path,
    by_participant: dict[str, dict[Pair, float]],
    names: Sequence[str],
    notes: list[str],
    problems: list[str],
) -> Judgements:
    i, j = np.triu_indices(len(names), 1)
    pairs = list(zip(i.tolist(), j.tolist(), strict=True))
    judged = list(by_participant.values()) or [{}]
    values = np.array([[one.get(pair, np.nan) for pair in pairs] for one in judged])
    missing = [pair for pair in pairs if not any(pair in one for one in judged)]
    if missing:
        shown = "; ".join(f"{names[a]}, {names[b]}" for a, b in missing[:_SHOWN_PAIRS])
        more = f"; and {len(missing) - _SHOWN_PAIRS} more" if len(missing) > _SHOWN_PAIRS else ""
        problems = [*problems, f"{path}: {len(missing)} pair(s) missing ({shown}{more}); add a line for each"]
    if problems:
        refuse(path, problems)
    mean = values[0] if len(values) == 1 else _decimal(np.nanmean(values, axis=0))
    if not varies(mean):
        raise InputError(
            f"{path}: every pair has the same dissimilarity, so it does not say which concepts are similar; correct "
            "it, or leave concepts.dissimilarity out"
        )
    if list(by_participant) == [""]:
        return Judgements(mean, notes=notes)
    who = list(by_participant)
    complete, varied = ~np.isnan(values).any(axis=1), varies(values.T)
    for left_out, why in ((~complete, "lack a judgement"), (complete & ~varied, "judged every pair the same")):
        if left_out.any():
            notes.append(
                f"{path.name}: {left_out.sum()} of {len(who)} participants {why}, and are left out of intervals and "
                f"noise ceiling: {_some(one for one, out in zip(who, left_out, strict=True) if out)}"
            )
    kept = values[complete & varied]
    return Judgements(mean, kept if len(kept) >= _FEWEST_PARTICIPANTS else None, len(who), notes)


def _distance(table: UserTable, cell: str, place: str, column: str, problems: list[str]) -> float:
    number = table.number(cell, f"{place}, column {column!r}", problems)
    if number < 0:
        problems.append(f"{place}: dissimilarity {cell} is negative; give 0 or more")
    return number


def _pair(concepts: Known, a: str, b: str, place: str, problems: list[str]) -> Pair | None:
    i, j = (concepts.position(name, place, problems) for name in (a, b))
    if i is None or j is None:
        return None
    if i == j:
        problems.append(f"{place}: a concept paired with itself; remove the line")
        return None
    return min(i, j), max(i, j)


def _decimal(means: Floats) -> Floats:
    """Make means equal that are so but for rounding."""
    scale = float(np.abs(means).max()) or 1.0
    return np.asarray(np.round(means, _DIGITS - math.ceil(math.log10(scale))), dtype=np.float64)


def _other(what: str) -> str:
    return "row" if what == "column" else "column"


def _some(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - _SHOWN_PAIRS} more" if len(all_names) > _SHOWN_PAIRS else ""
    return ", ".join(all_names[:_SHOWN_PAIRS]) + more
