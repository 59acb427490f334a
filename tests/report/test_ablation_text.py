import pandas as pd
import pytest
from control_words import CONTROLS

from emoscale.report.ablation_text import ablation_text
from emoscale.report.study import OutcomeWords
from emoscale.report.verdicts import Verdict, direction, draw_deviations, side

NAN = float("nan")
ACCURACY = OutcomeWords("accuracy", "", True, "none")
LOG_ODDS = OutcomeWords("the log-odds of the right answer", "nats", False, "calibrated")


def overall(drop, low, high, error=0.005, masks=5, control="random"):
    keys = ["control", "k", "n", "drop", "ci_low", "ci_high", "d", "random_masks", "random_error"]
    return pd.Series([control, 4000, 27, drop, low, high, 0.5, masks, error], keys)


def attributes(*intervals):
    rows = [(f"a{i}", (low + high) / 2, low, high) for i, (low, high) in enumerate(intervals)]
    return pd.DataFrame(rows, columns=["attribute", "drop", "ci_low", "ci_high"])


def draws(*accuracies, control="random", attribute=""):
    return pd.DataFrame({"control": control, "attribute": attribute, "value": accuracies})


def verdict(row, rows=None, masks=(0.70, 0.71)):
    return sentences(row, attributes((-0.1, 0.1)) if rows is None else rows, draws(*masks))


def sentences(row, rows, masks, units="prompts", outcome=ACCURACY):
    return ablation_text(row, rows, masks, CONTROLS[row["control"]], outcome, units)


def test_selective_masks_hurt_more():
    first = verdict(overall(0.03, 0.02, 0.04))[0]
    assert first.startswith("Switching off the 4,000 neurons most selective for an attribute hurt the model more than")
    assert "accuracy fell .030 further" in first
    assert "over 27 concepts; 95% interval of the drop [.020, .040], d = .50" in first


def test_selective_masks_hurt_less():
    first = verdict(overall(-0.03, -0.04, -0.02))[0]
    assert "hurt the model less than" in first
    assert "the opposite of what would be expected" in first
    assert "stayed .030 higher" in first


def test_what_drops_are_measured_in_is_named_and_accuracy_stands_beside_it():
    beside = pd.Series({"accuracy_drop": 0.012, "kl_selective": 0.21, "kl_control": 0.2})
    rows, masks = attributes((0.01, 0.03)), draws(-1.5, -1.25)
    text = sentences(pd.concat([overall(0.03, 0.02, 0.04), beside]), rows, masks, outcome=LOG_ODDS)
    assert "the log-odds of the right answer fell .030 further" in text[0]
    assert text[1].startswith("In accuracy the drop is +.012; ")
    assert ".210 nats (Kullback-Leibler)" in text[1]
    assert "the log-odds of the right answer after the selective mask was below" in text[2]
    assert "left the log-odds of the right answer between −1.500 and −1.250" in text[3]


def test_no_difference_is_said_and_not_taken_for_proof():
    first = verdict(overall(0.01, -0.02, 0.04))[0]
    assert "was no different from" in first
    assert "+.010" in first
    assert "includes zero" in first
    assert "no proof" in first
    assert "hurt" not in first


@pytest.mark.parametrize(
    ("drop", "low", "high", "word"), [(0.03, 0.02, 0.04, "lower"), (-0.03, -0.04, -0.02, "higher")]
)
def test_a_difference_within_the_draw_of_the_random_masks_is_not_claimed(drop, low, high, word):
    several = verdict(overall(drop, low, high, error=0.05))[0]
    single = verdict(overall(drop, low, high, error=NAN, masks=1), masks=(0.7,))[0]
    for first in (several, single):
        assert "was not clearly different from" in first
        assert f"accuracy came out .030 {word}" in first
        assert "hurt" not in first
    assert "the 5 random masks differ so much among themselves that their mean is known only to within .050" in several
    assert "only one random mask of this size was drawn, so" in single
    own = verdict(overall(drop, low, high, error=NAN, masks=14))[0]
    assert "only one random mask of this size was drawn for each attribute, so" in own


@pytest.mark.parametrize("drop", [0.0, 0.02])
def test_without_spread_nothing_is_claimed(drop):
    first = verdict(overall(drop, NAN, NAN))[0]
    assert "do not vary enough" in first
    assert "hurt" not in first


def test_attributes_one_by_one():
    both = verdict(overall(0, -1, 1), attributes((0.01, 0.03), (-0.02, 0.02), (-0.04, -0.01)))[1]
    assert "below that after random masks for 1 of 3 (a0) and above it for 1 of 3 (a2)" in both
    above = verdict(overall(0, -1, 1), attributes((-0.02, 0.02), (-0.04, -0.01)))[1]
    assert "was above that for 1 of 2 (a1)" in above
    for intervals in ([(-0.02, 0.02)], [(NAN, NAN)]):
        assert verdict(overall(0, -1, 1), attributes(*intervals))[1].startswith("No attribute stands out")


def test_random_masks_for_scale():
    rows = attributes((0.02, 0.04), (0.05, 0.07))
    assert (
        "between .650 and .730, up to .045 from their mean; the drop is larger than that for 1 of 2 attributes."
        in verdict(overall(0, -1, 1), rows, (0.65, 0.73, 0.705))[2]
    )
    assert len(verdict(overall(0, -1, 1), rows, (0.65,))) == 2


def test_masks_of_an_attribute_are_compared_with_those_of_the_same_attribute():
    owned = pd.concat([draws(0.60, 0.62, attribute="x"), draws(0.80, 0.86, attribute="y")])
    text = sentences(overall(0, -1, 1), attributes((0.03, 0.05), (0.01, 0.03)), owned)[2]
    assert "up to .030 from the mean of those drawn for the same attribute" in text
    assert "for 1 of 2 attributes" in text


def test_one_matched_mask_an_attribute_says_nothing_of_chance_but_one_exchangeable_does():
    for control, there in (("random", True), ("random-by-layer", False)):
        owned = pd.concat([draws(0.6, attribute="x", control=control), draws(0.8, attribute="y", control=control)])
        text = sentences(overall(0, -1, 1, control=control), attributes((0.03, 0.05)), owned)
        assert (len(text) == 3) == there
        assert there == ("up to .100 from" in text[-1])


@pytest.mark.parametrize(
    ("control", "neurons", "masks"),
    [
        ("random", "as many random neurons: accuracy fell", "random masks"),
        ("random-by-layer", "as many random neurons of the same layers: accuracy fell", "layer-matched masks"),
        (
            "random-by-activation",
            "as many random neurons that are as active: accuracy fell",
            "activation-matched masks",
        ),
        ("other", "as many other neurons: accuracy fell", "other masks"),
    ],
)
def test_the_kind_of_control_is_named(control, neurons, masks):
    text = sentences(
        overall(0.03, 0.02, 0.04, control=control),
        attributes((0.01, 0.03)),
        draws(0.7, 0.8, control=control),
        "answers",
    )
    assert neurons in text[0]
    assert f"below that after {masks} for 1 of 1" in text[1]
    assert "by more than answers differ" in text[1]
    assert f"single {masks} of this size" in text[2]


@pytest.mark.parametrize(
    ("drop", "low", "high", "error", "verdict"),
    [
        (0.03, 0.02, 0.04, 0.005, Verdict.MORE),
        (-0.03, -0.04, -0.02, 0.005, Verdict.LESS),
        (0.03, 0.02, 0.04, 0.05, Verdict.UNCLEAR),
        (0.03, 0.02, 0.04, NAN, Verdict.UNCLEAR),
        (0.01, -0.02, 0.04, 0.05, Verdict.SAME),
        (0.01, -0.02, 0.04, NAN, Verdict.SAME),
        (0.02, NAN, NAN, 0.005, Verdict.UNTESTED),
    ],
)
def test_which_side_of_zero(drop, low, high, error, verdict):
    row = overall(drop, low, high, error)
    assert side(row) is verdict
    if verdict is not Verdict.UNCLEAR:
        assert direction(low, high) is verdict


def test_deviations_of_exchangeable_masks_are_from_the_mean_of_all():
    owned = pd.concat([draws(0.6, attribute="x"), draws(0.8, attribute="y")])
    assert draw_deviations(owned, exchangeable=True)[0].tolist() == pytest.approx([-0.1, 0.1])
    assert draw_deviations(owned, exchangeable=False)[0].empty
    several = pd.concat([owned, draws(0.62, attribute="x"), draws(0.8, attribute="y")])
    for exchangeable in (True, False):
        away = draw_deviations(several, exchangeable)[0]
        assert away.tolist() == pytest.approx([-0.01, 0, 0.01, 0])
