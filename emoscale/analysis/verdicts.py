"""The answers that a run gives, in the order in which one rests on another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from emoscale.analysis.drops import accuracy_table
from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.needed import smallest_effect
from emoscale.run.verdicts import HARDLY_REPEATS, LEVEL, Answer, Question, Reason, Verdict, can_decide, deciding_p
from emoscale.schema import ALL_ATTRIBUTES, NO_MASK, PERMUTED, WITH_IMPORTANCE
from emoscale.statistics import mean_tests

REPEATS_WELL = 0.5
"""Correlation of tau between halves of the replicates from which on that no neurons were found means that there are
none."""

_FEWEST_CONCEPTS = 3


def verdicts(inputs: AnalysisInputs) -> list[Verdict]:
    """Answer the questions of a run.

    Parameters
    ----------
    inputs : AnalysisInputs
        Of a run with every item's scores.

    Returns
    -------
    list of Verdict
        In the order of `Question`.
    """
    control = PERMUTED if PERMUTED in set(inputs.paired["control"]) else inputs.paired["control"].cat.categories[0]
    k = shown_size(accuracy_table(inputs.answers), inputs.ks, control)
    found = {Question.TASK: task_verdict(inputs.answers, inputs.options.smallest_accuracy_effect)}
    found[Question.FOLLOWERS] = followers_verdict(inputs.followers, inputs.reliability, inputs.smallest_p)
    found[Question.NEED] = need_verdict(found, inputs.needed, k, smallest_effect(inputs.options))
    found[Question.PEOPLE] = people_verdict(found, inputs.permuted_tests, k, inputs.importance is not None)
    return list(found.values())


def task_verdict(answers: pd.DataFrame, smallest: float) -> Verdict:
    """Judge whether the model can do the task when nothing is switched off.

    Parameters
    ----------
    answers : DataFrame
        ``concept``, ``kind``, ``accuracy``, ``options``: see `emoscale.analysis.drops`.
    smallest : float
        Smallest difference of an accuracy from chance that would matter.

    Returns
    -------
    Verdict
        Accuracy with its 95 % t interval over concepts, each the mean of its questions.
    """
    rows = answers[answers["kind"] == NO_MASK]
    each = rows.groupby("concept", observed=True)["accuracy"].mean()
    value, chance = float(each.mean()), float((1 / rows["options"]).mean())
    test = mean_tests([len(each)], [value], [each.std()])
    low, high = float(test.ci_low[0]), float(test.ci_high[0])
    if len(each) < _FEWEST_CONCEPTS:
        return Verdict(Question.TASK, Answer.UNKNOWN, Reason.TOO_FEW_CONCEPTS, value, reference=chance)
    if np.isnan(low):  # every concept has the same accuracy
        low = high = value
    answer, reason = Answer.UNKNOWN, Reason.CHANCE_NOT_EXCLUDED
    if low > chance:
        answer, reason = Answer.YES, Reason.ABOVE_CHANCE
    elif high < chance + smallest:
        answer, reason = Answer.NO, Reason.AT_CHANCE
    return Verdict(Question.TASK, answer, reason, value, low, high, chance)


def followers_verdict(followers: pd.DataFrame | None, reliability: pd.DataFrame, smallest_p: float = 0.0) -> Verdict:
    """Judge whether there are neurons that follow an attribute.

    Parameters
    ----------
    followers : DataFrame, optional
        ``attribute``, ``followers``, ``null_low``, ``null_high``, ``p_corrected``, ``neurons``; None without
        permutations.
    reliability : DataFrame
        ``attribute``, ``split_half``, NaN with a single replicate.
    smallest_p : float
        That any attribute can have, whatever the neurons: few concepts have few orders.

    Returns
    -------
    Verdict
        Number of followers of the attribute that has most, beside the middle 95 % of it under permuted concepts.
    """
    if followers is None:
        return Verdict(Question.FOLLOWERS, Answer.UNKNOWN, Reason.NO_PERMUTATIONS)
    table = followers.merge(reliability[["attribute", "split_half"]], on="attribute")
    passed = table[table["p_corrected"] <= LEVEL]
    repeated = passed[~(passed["split_half"] < HARDLY_REPEATS)]
    most = (repeated if len(repeated) else table).sort_values("followers", kind="stable").iloc[-1]
    halves = table["split_half"].median()
    if len(repeated):
        answer, reason = Answer.YES, Reason.MORE_THAN_PERMUTED
    elif smallest_p > LEVEL:
        answer, reason = Answer.UNKNOWN, Reason.TOO_FEW_CONCEPTS
    elif len(passed) or halves < REPEATS_WELL:
        answer, reason = Answer.UNKNOWN, Reason.MAP_DOES_NOT_REPEAT
    elif np.isnan(halves):
        answer, reason = Answer.UNKNOWN, Reason.REPEAT_NOT_KNOWN
    else:
        answer, reason = Answer.NO, Reason.AS_MANY_AS_PERMUTED
    return Verdict(
        Question.FOLLOWERS,
        answer,
        reason,
        value=float(most["followers"]),
        ci_low=float(most["null_low"]),
        ci_high=float(most["null_high"]),
        reference=float(most["neurons"]),
        p=float(most["p_corrected"]),
        attributes=tuple(repeated["attribute"].astype(str)),
    )


def need_verdict(before: Mapping[Question, Verdict], needed: pd.DataFrame | None, k: int, smallest: float) -> Verdict:
    """Judge whether the model needs the neurons that follow the attributes.

    Parameters
    ----------
    before : mapping of Question to Verdict
        Of the questions that this one rests on.
    needed : DataFrame, optional
        From `emoscale.analysis.needed.needed_table`.
    k : int
        Size of masks.
    smallest : float
        Smallest effect of interest.

    Returns
    -------
    Verdict
        `YES` if those of any attribute, or of all on average, are; `NO` if each of these is shown not to be. The drop
        averaged over attributes with its 95 % interval.
    """
    if reason := _not_shown(before):
        return Verdict(Question.NEED, Answer.UNKNOWN, reason, reference=smallest, k=k)
    if needed is None or not needed["draws"].gt(0).any():
        return Verdict(Question.NEED, Answer.UNKNOWN, Reason.NO_PERMUTED_MASKS, reference=smallest, k=k)
    rows = needed[needed["k"] == k]
    mean = rows[rows["attribute"] == ALL_ATTRIBUTES].iloc[0]
    yes = rows[rows["answer"] == Answer.YES.value]["attribute"]
    answer, reason = Answer.UNKNOWN, Reason.NOT_SETTLED
    if len(yes):
        answer, reason = Answer.YES, Reason.NEEDED
    elif (rows["answer"] == Answer.NO.value).all():
        answer, reason = Answer.NO, Reason.EQUIVALENT
    return Verdict(
        Question.NEED,
        answer,
        reason,
        value=float(mean["drop"]),
        ci_low=float(mean["ci_low"]),
        ci_high=float(mean["ci_high"]),
        reference=smallest,
        p=deciding_p(mean),
        k=k,
        attributes=tuple(name for name in yes.astype(str) if name != ALL_ATTRIBUTES),
    )


def people_verdict(before: Mapping[Question, Verdict], tests: pd.DataFrame | None, k: int, has_people: bool) -> Verdict:
    """Judge whether the model needs most the neurons of those attributes that matter most to people.

    Parameters
    ----------
    before : mapping of Question to Verdict
        Of the questions that this one rests on.
    tests : DataFrame, optional
        From `emoscale.analysis.permuted_tests.permuted_tests`.
    k : int
        Size of masks.
    has_people : bool
        Whether the attributes' importance is known.

    Returns
    -------
    Verdict
        The correlation over attributes of drop and importance; nothing of it where it would rest on noise.
    """
    question = Question.PEOPLE
    if not has_people:
        return Verdict(question, Answer.UNKNOWN, Reason.NO_PEOPLE, k=k)
    if reason := _not_shown(before):
        return Verdict(question, Answer.UNKNOWN, reason, k=k)
    if tests is None or before[Question.NEED].reason == Reason.NO_PERMUTED_MASKS:
        return Verdict(question, Answer.UNKNOWN, Reason.NEED_NOT_SHOWN, k=k)
    row = tests[(tests["statistic"] == WITH_IMPORTANCE) & (tests["k"] == k)].iloc[0]
    by_ablation, p = can_decide(row["draws"]), deciding_p(row, "p")
    value, low, high = (float(row[name]) for name in ("value", "ci_low", "ci_high"))
    settled = p <= LEVEL and (by_ablation or low > 0 or high < 0)
    answer, reason = Answer.UNKNOWN, Reason.NOT_SETTLED
    if before[Question.NEED].answer != Answer.YES:
        reason = Reason.NEED_NOT_SHOWN
    elif settled:
        answer, reason = (Answer.YES, Reason.AS_PEOPLE) if value > 0 else (Answer.NO, Reason.OPPOSITE)
    return Verdict(question, answer, reason, value, low, high, p=p, k=k)


def _not_shown(before: Mapping[Question, Verdict]) -> Reason | None:
    """Say which of the questions before is not answered with yes."""
    reasons = {Question.TASK: Reason.TASK_NOT_SHOWN, Question.FOLLOWERS: Reason.FOLLOWERS_NOT_SHOWN}
    return next((reason for question, reason in reasons.items() if before[question].answer != Answer.YES), None)


def shown_size(accuracy: pd.DataFrame, ks: list[int], control: str) -> int:
    """Choose the size of masks that the verdicts are about, without looking at what the selective masks did.

    Parameters
    ----------
    accuracy : DataFrame
        ``kind``, ``k``, ``accuracy``, ``chance``, one row a concept.
    ks : list of int
        Sizes to choose from.
    control : str
        Kind of the control masks.

    Returns
    -------
    int
        The largest size at which control masks leave at least half of the accuracy above chance: where even they
        leave nothing, nothing more can be lost to the selective ones. The smallest size if there is none.
    """
    means = accuracy.groupby(["kind", "k"], observed=True)["accuracy"].mean()
    chance = float(accuracy[accuracy["kind"] == NO_MASK]["chance"].mean())
    enough = chance + (means[NO_MASK].iloc[0] - chance) / 2
    return max((k for k in ks if means[control][k] >= enough), default=min(ks))
