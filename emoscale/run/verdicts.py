"""The verdicts of a run: what it answers to each of its questions, and on what grounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from emoscale.errors import StageError
from emoscale.run.folder import RunFolder

VERDICTS = "verdicts"
"""Name of the table that holds them."""

LEVEL = 0.05
"""Of all tests that answers rest on: p may be as large, since 19 permutations allow no smaller one."""

_BETWEEN_NAMES = "; "


HARDLY_REPEATS = 0.1
"""Correlation of tau between halves of the replicates below which a map is mostly noise."""


def can_decide(draws: float) -> bool:
    """Whether a test by so many permutations can come to a conclusion at all."""
    return bool(1 / (draws + 1) <= LEVEL)


def deciding_p(row: Mapping[str, Any] | pd.Series, name: str = "p_corrected") -> float:
    """Return the p that decides: by ablated masks if there are enough of them, else by estimated effects.

    Parameters
    ----------
    row : mapping
        ``draws``, and the p of both tests, that by estimates under ``estimated_`` and the name of the other.
    name : str

    Returns
    -------
    float
        NaN if there are too few masks and no estimates.

    Examples
    --------
    >>> deciding_p({"draws": 3, "p_corrected": 0.25, "estimated_p_corrected": 0.01})
    0.01
    >>> deciding_p({"draws": 19, "p_corrected": 0.25, "estimated_p_corrected": 0.01})
    0.25
    """
    return float(row[name] if can_decide(row["draws"]) else row[f"estimated_{name}"])


class Question(Enum):
    """What a run is to answer, in the order in which one answer rests on another."""

    TASK = "task"
    """Can the model do the task?"""
    FOLLOWERS = "followers"
    """Are there neurons that follow the attributes?"""
    NEED = "need"
    """Does the model need them?"""
    PEOPLE = "people"
    """Does it need most those of the attributes that matter most to people?"""


class Answer(Enum):
    """What is answered to a question."""

    YES = "yes"
    NO = "no"
    """Shown not to be so, which is more than not shown."""
    UNKNOWN = "unknown"


class Reason(Enum):
    """Why a question is answered as it is."""

    ABOVE_CHANCE = "above-chance"
    AT_CHANCE = "at-chance"
    """The whole interval lies below chance plus the smallest effect of interest."""
    CHANCE_NOT_EXCLUDED = "chance-not-excluded"
    TOO_FEW_CONCEPTS = "too-few-concepts"
    MORE_THAN_PERMUTED = "more-than-permuted"
    AS_MANY_AS_PERMUTED = "as-many-as-permuted"
    MAP_DOES_NOT_REPEAT = "map-does-not-repeat"
    REPEAT_NOT_KNOWN = "repeat-not-known"
    NO_PERMUTATIONS = "no-permutations"
    NEEDED = "needed"
    EQUIVALENT = "equivalent"
    """The 90 % interval lies within the smallest effect of interest."""
    NOT_SETTLED = "not-settled"
    TASK_NOT_SHOWN = "task-not-shown"
    FOLLOWERS_NOT_SHOWN = "followers-not-shown"
    NO_PERMUTED_MASKS = "no-permuted-masks"
    AS_PEOPLE = "as-people"
    OPPOSITE = "opposite"
    NEED_NOT_SHOWN = "need-not-shown"
    NO_PEOPLE = "no-people"


@dataclass(frozen=True)
class Verdict:
    """The answer to one question.

    Parameters
    ----------
    question : Question
    answer : Answer
    reason : Reason
    value, ci_low, ci_high, reference, p : float
        NaN where the question has none. The meanings of the first four depend on the question:

        ============ ================= =========================== =============================
        question     value             interval                    reference
        ============ ================= =========================== =============================
        `TASK`       accuracy          95 %, over concepts         accuracy of guessing
        `FOLLOWERS`  most followers    middle 95 % under           neurons
                     of an attribute   permuted concepts
        `NEED`       mean drop         95 %, over items and draws  smallest effect of interest
        `PEOPLE`     correlation of    95 %                        none
                     drop, importance
        ============ ================= =========================== =============================
    k : int
        Neurons in a mask; 0 where the answer does not rest on masks.
    attributes : tuple of str
        Attributes that the answer rests on.
    """

    question: Question
    answer: Answer
    reason: Reason
    value: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    reference: float = math.nan
    p: float = math.nan
    k: int = 0
    attributes: tuple[str, ...] = ()


def verdict_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Tabulate verdicts as ``verdicts.csv`` holds them.

    Parameters
    ----------
    verdicts : iterable of Verdict

    Returns
    -------
    DataFrame
        question, answer, reason (the enums' values), value, ci_low, ci_high, reference, p, k, attributes (joined by
        semicolons).
    """
    rows = [
        {
            "question": verdict.question.value,
            "answer": verdict.answer.value,
            "reason": verdict.reason.value,
            "value": verdict.value,
            "ci_low": verdict.ci_low,
            "ci_high": verdict.ci_high,
            "reference": verdict.reference,
            "p": verdict.p,
            "k": verdict.k,
            "attributes": _BETWEEN_NAMES.join(verdict.attributes),
        }
        for verdict in verdicts
    ]
    return pd.DataFrame(rows)


def read_verdicts(folder: RunFolder) -> dict[Question, Verdict]:
    """Read a run's verdicts.

    Parameters
    ----------
    folder : RunFolder

    Returns
    -------
    dict of Question to Verdict
        In the order of the questions; empty where the run has no verdicts.

    Raises
    ------
    StageError
        If the table asks, answers or reasons what this version does not know.
    """
    file = folder.tables / f"{VERDICTS}.csv"
    if not file.is_file():
        return {}
    table = folder.table(VERDICTS, ("question", "answer", "reason", "attributes"))
    try:
        read = {verdict.question: verdict for verdict in map(_verdict, table.to_dict("records"))}
    except (KeyError, ValueError) as error:
        raise StageError(f"{file}: written by another version ({error}); run `emoscale analyze` again") from error
    return {question: read[question] for question in Question if question in read}


def _verdict(row: Any) -> Verdict:
    numbers = {name: float(row[name]) for name in ("value", "ci_low", "ci_high", "reference", "p")}
    names = row["attributes"]
    return Verdict(
        Question(row["question"]),
        Answer(row["answer"]),
        Reason(row["reason"]),
        **numbers,
        k=0 if pd.isna(row["k"]) else int(row["k"]),
        attributes=tuple(names.split(_BETWEEN_NAMES)) if names else (),
    )
