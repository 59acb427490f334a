"""The lines that are printed, of every reason there is; their words are the templates' own."""

import math
from itertools import product

import pytest

from emoscale.report.study import OutcomeWords
from emoscale.report.templates import verdict_lines
from emoscale.run.verdicts import Answer, Question, Reason, Verdict

OUTCOME = OutcomeWords("the log-odds of the right answer", "nats", False, "none")
WORD = {Answer.YES: "Yes.", Answer.NO: "No.", Answer.UNKNOWN: "Cannot be told."}
REASONS = {
    Question.TASK: {
        Reason.ABOVE_CHANCE: Answer.YES,
        Reason.AT_CHANCE: Answer.NO,
        Reason.CHANCE_NOT_EXCLUDED: Answer.UNKNOWN,
        Reason.TOO_FEW_CONCEPTS: Answer.UNKNOWN,
    },
    Question.FOLLOWERS: {
        Reason.MORE_THAN_PERMUTED: Answer.YES,
        Reason.AS_MANY_AS_PERMUTED: Answer.NO,
        Reason.MAP_DOES_NOT_REPEAT: Answer.UNKNOWN,
        Reason.REPEAT_NOT_KNOWN: Answer.UNKNOWN,
        Reason.TOO_FEW_CONCEPTS: Answer.UNKNOWN,
    },
    Question.NEED: {Reason.NEEDED: Answer.YES, Reason.EQUIVALENT: Answer.NO, Reason.NOT_SETTLED: Answer.UNKNOWN},
}
LATER = {
    Reason.AS_PEOPLE: Answer.YES,
    Reason.OPPOSITE: Answer.NO,
    Reason.NOT_SETTLED: Answer.UNKNOWN,
    Reason.NEED_NOT_SHOWN: Answer.UNKNOWN,
}
NUMBERS = {
    Question.TASK: (0.523, 0.361, 0.684, 0.037),
    Question.FOLLOWERS: (1938, 2, 53, 11520),
    Question.NEED: (0.213, 0.124, 0.302, 0.1),
}
WRITTEN = {
    Question.TASK: ("52%", "[36%, 68%]", "4%"),
    Question.FOLLOWERS: ("1,938", "2 to 53", "11,520"),
    Question.NEED: (".21 nats", "[.12, .30]"),
}


def line(*verdicts):
    (text,) = verdict_lines({verdict.question: verdict for verdict in verdicts}, OUTCOME)
    return text


@pytest.mark.parametrize(
    ("question", "reason", "answer"),
    [(question, reason, answer) for question, each in REASONS.items() for reason, answer in each.items()],
)
def test_every_reason_gives_its_answer_one_number_and_its_interval(question, reason, answer):
    text = line(Verdict(question, answer, reason, *NUMBERS[question], p=0.01, k=40, attributes=("valence", "a & <b>")))
    assert f"? {WORD[answer]} " in text
    assert all(written in text for written in WRITTEN[question])
    assert "  " not in text
    if reason in (Reason.MORE_THAN_PERMUTED, Reason.NEEDED):
        assert "valence and a & <b>" in text


def test_reasons_of_one_question_and_answer_differ_in_words():
    lines = [
        line(Verdict(question, answer, reason, *NUMBERS[question]))
        for question, each in REASONS.items()
        for reason, answer in each.items()
    ]
    assert len(set(lines)) == len(lines)


def test_what_has_no_interval_shows_none():
    text = line(Verdict(Question.TASK, Answer.UNKNOWN, Reason.TOO_FEW_CONCEPTS, 0.5, reference=0.5))
    assert "50%" in text
    assert "–" not in text
    text = line(Verdict(Question.FOLLOWERS, Answer.UNKNOWN, Reason.NO_PERMUTATIONS))
    assert not any(digit in text for digit in "0123456789–")


@pytest.mark.parametrize(("reason", "answer"), LATER.items())
def test_agreement_with_people_is_said_with_its_number(reason, answer):
    need = Verdict(Question.NEED, Answer.YES, Reason.NEEDED, *NUMBERS[Question.NEED])
    assert "r = −.61 [−.82, −.20]" in line(need, Verdict(Question.PEOPLE, answer, reason, -0.61, -0.82, -0.2))
    bare = line(need, Verdict(Question.PEOPLE, Answer.UNKNOWN, Reason.NEED_NOT_SHOWN))
    assert "r =" not in bare


@pytest.mark.parametrize(
    ("reason", "people"),
    product(
        (Reason.TASK_NOT_SHOWN, Reason.FOLLOWERS_NOT_SHOWN, Reason.NO_PERMUTED_MASKS),
        (Reason.TASK_NOT_SHOWN, Reason.NO_PEOPLE),
    ),
)
def test_what_was_not_asked_has_no_number(reason, people):
    need = Verdict(Question.NEED, Answer.UNKNOWN, reason, reference=0.1, k=40)
    text = line(need, Verdict(Question.PEOPLE, Answer.UNKNOWN, people, k=40))
    assert WORD[Answer.UNKNOWN] in text
    assert not any(digit in text for digit in "0123456789–")
    assert not math.isfinite(need.value)


def test_accuracy_has_no_unit():
    need = Verdict(Question.NEED, Answer.YES, Reason.NEEDED, *NUMBERS[Question.NEED])
    (text,) = verdict_lines({Question.NEED: need}, OutcomeWords("accuracy", "", True, "none"))
    assert "the drop in accuracy without them is .21 [.12, .30], compared" in text


def test_no_verdicts_no_lines():
    assert verdict_lines({}, OUTCOME) == []
