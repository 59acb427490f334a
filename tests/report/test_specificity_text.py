import pandas as pd
import pytest
from control_words import CONTROLS

from emoscale.report.ablation_text import specificity_elsewhere, specificity_text
from emoscale.report.verdicts import Verdict, specificity_side

NAN = float("nan")


def specificity(own, other, low, high, p=0.001):
    keys = ["own", "other", "difference", "ci_low", "ci_high", "p", "attributes"]
    return specificity_text(pd.Series([own, other, own - other, low, high, p, 14], keys))


def test_specific_losses():
    text = specificity(0.3, 0.02, 0.2, 0.4)
    assert text.startswith("The losses are specific:")
    assert "with r = .30, and with their scores on another with r = .02" in text
    assert "(difference +.28, 95% interval [.20, .40]; p = .001, one-sided, by permuting the concepts)" in text


def test_losses_that_are_not_shown_to_be_specific():
    text = specificity(0.03, 0.02, -0.2, 0.4, p=0.7)
    assert text.startswith("The losses were not shown to be specific:")
    assert "The interval includes zero" in text
    assert "nor do they rule it out" in text


def test_losses_opposite_to_specific():
    assert specificity(-0.3, 0.02, -0.4, -0.2, p=0.999).startswith("The losses are the opposite of specific:")


def test_unclear_specificity():
    assert "the permutations leave it open" in specificity(0.3, 0.02, 0.2, 0.4, p=0.06)
    assert "the permutations leave it open" in specificity(0.3, 0.02, 0.2, 0.4, p=NAN)
    assert "the permutations leave it open" in specificity(-0.3, 0.02, -0.4, -0.2, p=0.9)
    assert "The permutations say so, but the interval includes zero" in specificity(0.3, 0.02, -0.1, 0.4, p=0.04)
    assert "high scores do not go with large drops" in specificity(-0.1, -0.4, 0.2, 0.4)
    assert "could not be tested" in specificity(NAN, NAN, NAN, NAN, p=NAN)


def elsewhere(*rows):
    columns = ["control", "k", "own", "ci_low", "ci_high", "p"]
    return specificity_elsewhere(pd.DataFrame(rows, columns=columns), 20, "random", CONTROLS)


def test_specificity_at_other_sizes_and_against_other_controls():
    shown, specific = ("random", 20, 0.0, -0.1, 0.1, 0.5), (0.3, 0.1, 0.3, 0.001)
    assert elsewhere(shown) == ""
    assert elsewhere(shown, ("random", 40, 0.0, -0.1, 0.1, 0.5), ("random-by-layer", 20, 0.0, -0.1, 0.1, 0.5)) == (
        "It is the same at 40 neurons and against random neurons of the same layers."
    )
    assert elsewhere(
        shown,
        ("random", 40, *specific),
        ("random", 2000, 0.3, 0.1, 0.3, 0.2),
        ("random-by-layer", 20, 0.0, -0.1, 0.1, 0.5),
        ("random-by-layer", 40, *specific),
        ("other", 20, -0.3, -0.3, -0.1, 0.999),
        ("another", 20, NAN, NAN, NAN, NAN),
    ) == (
        "It is not the same throughout: the losses are specific at 40 neurons, not shown to be specific against random "
        "neurons of the same layers, the opposite of specific against other neurons, not clearly specific at 2,000 "
        "neurons and not tested against another neurons. One of several can stand out by chance."
    )


@pytest.mark.parametrize(
    ("own", "low", "high", "p", "verdict"),
    [
        (0.3, 0.2, 0.4, 0.001, Verdict.MORE),
        (0.3, 0.2, 0.4, 0.06, Verdict.UNCLEAR),
        (0.3, 0.2, 0.4, NAN, Verdict.UNCLEAR),
        (-0.1, 0.2, 0.4, 0.001, Verdict.UNCLEAR),
        (-0.3, -0.4, -0.2, 0.999, Verdict.LESS),
        (-0.3, -0.4, -0.2, 0.9, Verdict.UNCLEAR),
        (0.03, -0.2, 0.4, 0.7, Verdict.SAME),
        (0.3, -0.1, 0.4, 0.04, Verdict.UNCLEAR),
        (NAN, NAN, NAN, NAN, Verdict.UNTESTED),
    ],
)
def test_the_interval_and_the_permutations_must_agree(own, low, high, p, verdict):
    assert specificity_side(pd.Series({"own": own, "ci_low": low, "ci_high": high, "p": p})) is verdict
