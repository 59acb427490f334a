"""What a run answers, in the order in which one answer rests on another."""

import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.verdicts import followers_verdict, need_verdict, people_verdict, shown_size, task_verdict
from emoscale.run.verdicts import Answer, Question, Reason, Verdict
from emoscale.schema import ALL_ATTRIBUTES

NAMES = ["valence", "arousal"]


def answers(accuracies, options=4):
    concepts = [str(number) for number in range(len(accuracies))]
    return pd.DataFrame({"concept": concepts, "kind": "none", "accuracy": accuracies, "options": options})


@pytest.mark.parametrize(
    ("accuracies", "answer", "reason"),
    [
        ([0.5, 0.6, 0.7, 0.5], Answer.YES, Reason.ABOVE_CHANCE),
        ([1.0] * 5, Answer.YES, Reason.ABOVE_CHANCE),
        ([0.25] * 5, Answer.NO, Reason.AT_CHANCE),
        (np.tile([0.24, 0.26], 50), Answer.NO, Reason.AT_CHANCE),
        ([0.0, 0.5, 0.2, 0.6], Answer.UNKNOWN, Reason.CHANCE_NOT_EXCLUDED),
        ([0.9, 1.0], Answer.UNKNOWN, Reason.TOO_FEW_CONCEPTS),
    ],
)
def test_can_it_do_the_task(accuracies, answer, reason):
    verdict = task_verdict(answers(accuracies), 0.02)
    assert (verdict.answer, verdict.reason) == (answer, reason)
    assert verdict.value == pytest.approx(np.mean(accuracies))
    assert verdict.reference == 0.25


def followers(p, halves):
    table = pd.DataFrame({"attribute": NAMES, "followers": [90, 20], "null_low": 0, "null_high": 30, "neurons": 1000})
    return table.assign(p_corrected=p), pd.DataFrame({"attribute": NAMES, "split_half": halves})


@pytest.mark.parametrize(
    ("p", "halves", "answer", "reason", "names"),
    [
        ([0.001, 0.2], [0.6, 0.6], Answer.YES, Reason.MORE_THAN_PERMUTED, ("valence",)),
        ([0.001, 0.05], [0.05, 0.6], Answer.YES, Reason.MORE_THAN_PERMUTED, ("arousal",)),
        ([0.001, 0.2], [np.nan, np.nan], Answer.YES, Reason.MORE_THAN_PERMUTED, ("valence",)),
        ([0.001, 0.2], [0.05, 0.6], Answer.UNKNOWN, Reason.MAP_DOES_NOT_REPEAT, ()),
        ([0.3, 0.2], [0.7, 0.6], Answer.NO, Reason.AS_MANY_AS_PERMUTED, ()),
        ([0.3, 0.2], [0.1, 0.2], Answer.UNKNOWN, Reason.MAP_DOES_NOT_REPEAT, ()),
        ([0.3, 0.2], [np.nan, np.nan], Answer.UNKNOWN, Reason.REPEAT_NOT_KNOWN, ()),
    ],
)
def test_do_neurons_follow_the_attributes(p, halves, answer, reason, names):
    verdict = followers_verdict(*followers(p, halves))
    assert (verdict.answer, verdict.reason, verdict.attributes) == (answer, reason, names)


def test_too_few_concepts_to_tell_followers_from_chance():
    """Three concepts have 6 orders: that nothing is significant says nothing."""
    verdict = followers_verdict(*followers([0.3, 0.2], [0.7, 0.6]), smallest_p=1 / 6)
    assert (verdict.answer, verdict.reason) == (Answer.UNKNOWN, Reason.TOO_FEW_CONCEPTS)
    enough = followers_verdict(*followers([0.3, 0.2], [0.7, 0.6]), smallest_p=1 / 24)
    assert (enough.answer, enough.reason) == (Answer.NO, Reason.AS_MANY_AS_PERMUTED)


def test_without_permutations_followers_are_not_known():
    verdict = followers_verdict(None, followers([1, 1], [0.5, 0.5])[1])
    assert (verdict.answer, verdict.reason) == (Answer.UNKNOWN, Reason.NO_PERMUTATIONS)


def before(task=Answer.YES, found=Answer.YES, need=Answer.YES, need_reason=Reason.NEEDED):
    return {
        Question.TASK: Verdict(Question.TASK, task, Reason.ABOVE_CHANCE),
        Question.FOLLOWERS: Verdict(Question.FOLLOWERS, found, Reason.MORE_THAN_PERMUTED),
        Question.NEED: Verdict(Question.NEED, need, need_reason),
    }


def needed(own, mean="unknown", draws=19):
    rows = pd.DataFrame({"k": 3, "attribute": [*NAMES, ALL_ATTRIBUTES], "answer": [*own, mean], "draws": draws})
    return rows.assign(drop=0.3, ci_low=0.1, ci_high=0.5, p_corrected=0.05, estimated_p_corrected=0.01)


@pytest.mark.parametrize(
    ("table", "answer", "reason", "names"),
    [
        (needed(["yes", "unknown"]), Answer.YES, Reason.NEEDED, ("valence",)),
        (needed(["unknown", "unknown"], "yes"), Answer.YES, Reason.NEEDED, ()),
        (needed(["no", "no"], "no"), Answer.NO, Reason.EQUIVALENT, ()),
        (needed(["no", "unknown"], "no"), Answer.UNKNOWN, Reason.NOT_SETTLED, ()),
        (needed(["unknown", "unknown"], draws=0), Answer.UNKNOWN, Reason.NO_PERMUTED_MASKS, ()),
        (None, Answer.UNKNOWN, Reason.NO_PERMUTED_MASKS, ()),
    ],
)
def test_are_they_needed(table, answer, reason, names):
    verdict = need_verdict(before(), table, 3, 0.1)
    assert (verdict.answer, verdict.reason, verdict.attributes) == (answer, reason, names)
    assert verdict.reference == 0.1
    assert verdict.k == 3


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"task": Answer.UNKNOWN}, Reason.TASK_NOT_SHOWN),
        ({"task": Answer.NO, "found": Answer.NO}, Reason.TASK_NOT_SHOWN),
        ({"found": Answer.UNKNOWN}, Reason.FOLLOWERS_NOT_SHOWN),
    ],
)
def test_an_answer_needs_those_before_it_and_says_nothing_signed(missing, reason):
    need = need_verdict(before(**missing), needed(["yes", "yes"]), 3, 0.1)
    people = people_verdict(before(**missing), statistics(0.6, 0.05), 3, True)
    for verdict in (need, people):
        assert (verdict.answer, verdict.reason) == (Answer.UNKNOWN, reason)
        assert np.isnan([verdict.value, verdict.ci_low, verdict.ci_high, verdict.p]).all()


def statistics(value, p, draws=19, estimated=np.nan):
    interval = {"ci_low": value - 0.2, "ci_high": value + 0.2}
    row = {"statistic": "correlation with importance", "k": 3, "value": value, **interval, "draws": draws, "p": p}
    return pd.DataFrame([{**row, "estimated_p": estimated}])


@pytest.mark.parametrize(
    ("table", "earlier", "answer", "reason"),
    [
        (statistics(0.6, 0.05), before(), Answer.YES, Reason.AS_PEOPLE),
        (statistics(-0.6, 0.05), before(), Answer.NO, Reason.OPPOSITE),
        (statistics(0.6, 0.1), before(), Answer.UNKNOWN, Reason.NOT_SETTLED),
        (statistics(0.6, 0.25, 3, 0.01), before(), Answer.YES, Reason.AS_PEOPLE),
        (statistics(0.1, 0.25, 3, 0.01), before(), Answer.UNKNOWN, Reason.NOT_SETTLED),
        (statistics(0.6, 0.05), before(need=Answer.UNKNOWN), Answer.UNKNOWN, Reason.NEED_NOT_SHOWN),
    ],
)
def test_as_people_would(table, earlier, answer, reason):
    verdict = people_verdict(earlier, table, 3, True)
    assert (verdict.answer, verdict.reason) == (answer, reason)
    assert verdict.value == table["value"].iloc[0]


def test_without_judgements_people_are_not_compared():
    verdict = people_verdict(before(), statistics(0.6, 0.05), 3, False)
    assert (verdict.answer, verdict.reason) == (Answer.UNKNOWN, Reason.NO_PEOPLE)
    assert np.isnan(verdict.value)


def accuracy(shares):
    rows = [("none", 0, shares[0]), *(("random", k, share) for k, share in shares[1])]
    table = pd.DataFrame(rows, columns=["kind", "k", "accuracy"])
    return table.assign(chance=0.1)


@pytest.mark.parametrize(
    ("left", "expected"),
    [([(10, 0.8), (20, 0.6), (30, 0.2)], 20), ([(10, 0.3), (20, 0.2), (30, 0.1)], 10), ([(10, 0.9)], 10)],
)
def test_the_size_is_the_largest_that_leaves_something_to_lose(left, expected):
    assert shown_size(accuracy((0.9, left)), [k for k, _ in left], "random") == expected
