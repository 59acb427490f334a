"""What people said, as released: concepts, attributes and judgements of dissimilarity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.released import Released
from emoscale.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class People:
    """The human side of the study.

    Parameters
    ----------
    concepts : list of str
        C names in the study's canonical order.
    attributes : list of str
        A names.
    scores : ndarray, float64, shape (C, A)
        Rescaled to 0..1.
    rdms : ndarray, float64, shape (A, P)
        Differences of the scores before rescaling, pairs in ``numpy.triu_indices(C, 1)`` order.
    dissimilarity : ndarray, float64, shape (P,)
        Mean over participants.
    participants : ndarray, float64, shape (S, P)
        The judgements of each.
    """

    concepts: list[str]
    attributes: list[str]
    scores: Floats
    rdms: Floats
    dissimilarity: Floats
    participants: Floats


def read_people(files: Released) -> People:
    """Read the released tables.

    Raises
    ------
    InputError
        Names every table that is not numeric or does not fit the others.
    """
    problems: list[str] = []
    scores, rdms, mean, participants = (
        _numbers(files.file(name), problems)
        for name in (released.SCORES, released.RDMS, released.PEOPLE, released.PARTICIPANTS)
    )
    if problems:
        raise InputError(problems)
    C, attributes = len(scores), [str(name) for name in scores]
    names = files.file(released.CONCEPTS)
    concepts = [line.strip() for line in names.read_text(encoding="utf-8").splitlines()][:C]
    P = C * (C - 1) // 2
    problems += [
        f"{files.file(name)}: {count} {what}, {expected} expected from {released.SCORES}; fetch it again"
        for name, count, what, expected in (
            (released.CONCEPTS, len(set(concepts) - {""}), "concepts", C),
            (released.RDMS, len(rdms), "pairs", P),
            (released.PEOPLE, mean.size, "pairs", P),
            (released.PARTICIPANTS, participants.shape[1], "pairs", P),
        )
        if count != expected
    ]
    if list(rdms) != attributes:
        problems.append(f"{files.file(released.RDMS)}: other attributes than {released.SCORES}; fetch it again")
    if problems:
        raise InputError(problems)
    return People(
        concepts,
        attributes,
        scores.to_numpy(np.float64),
        np.ascontiguousarray(rdms.to_numpy(np.float64).T),
        mean.to_numpy(np.float64).ravel(),
        participants.to_numpy(np.float64),
    )


def read_ranks(file: Path, attributes: list[str]) -> Floats:
    """Read the released ranks of the first neurons.

    Parameters
    ----------
    file : Path
    attributes : list of str
        A names; the columns the file must have.

    Returns
    -------
    ndarray, float64, shape (n, A)
        n is the number of neurons that the file has ranks of.

    Raises
    ------
    InputError
        If the file is not numeric, or has other columns.
    """
    problems: list[str] = []
    ranks = _numbers(file, problems)
    if not problems and set(ranks) != set(attributes):
        problems.append(f"{file}: columns are not the study's attributes; fetch it again")
    if problems:
        raise InputError(problems)
    return ranks[attributes].to_numpy(np.float64)


def _numbers(file: Path, problems: list[str]) -> pd.DataFrame:
    try:
        # Python's float is the one nearest to the decimal, which pandas' own parser may miss: ties must stay ties.
        numbers = pd.read_csv(file, dtype=str, keep_default_na=False).map(_number)
    except ValueError as error:
        problems.append(f"{file}: not a table ({error}); fetch it again")
        return pd.DataFrame()
    bad = np.argwhere(~np.isfinite(numbers.to_numpy(np.float64)))
    if len(bad):
        row, column = bad[0]
        problems.append(
            f"{file}, line {row + 2}, column {numbers.columns[column]}: not a finite number "
            f"({len(bad)} such cells); fetch it again"
        )
    return numbers


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
