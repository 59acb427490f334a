import numpy as np
import pandas as pd
import pytest

from emoscale.report import ablation_verdict, human_verdict
from emoscale.report.verdict import overlap_verdict, sizes_verdict

NAN = float("nan")


def overall(drop, low, high, error=0.005, k=4000, masks=5):
    keys = ["k", "n", "drop", "ci_low", "ci_high", "d", "random_masks", "random_error"]
    return pd.Series([k, 27, drop, low, high, 0.5, masks, error], keys)


def attributes(*intervals):
    rows = [(f"a{i}", (low + high) / 2, low, high) for i, (low, high) in enumerate(intervals)]
    return pd.DataFrame(rows, columns=["attribute", "drop", "ci_low", "ci_high"])


def draws(*accuracies):
    return pd.DataFrame({"accuracy": accuracies})


def verdict(row, rows=None, masks=(0.70, 0.71)):
    return ablation_verdict(row, attributes((-0.1, 0.1)) if rows is None else rows, draws(*masks))


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
        assert f"accuracy was .030 {word}" in first
        assert "hurt" not in first
    assert "the 5 random masks differ so much among themselves that their mean is known only to within .050" in several
    assert "only one random mask of this size was drawn" in single


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
        "between .650 and .730, up to .045 from their mean; 1 of 2 attributes lie"
        in verdict(overall(0, -1, 1), rows, (0.65, 0.73, 0.705))[2]
    )
    assert len(verdict(overall(0, -1, 1), rows, (0.65,))) == 2


def test_the_other_sizes():
    rows = [
        overall(0.03, 0.02, 0.04, k=100),
        overall(0.03, 0.02, 0.04, k=200),
        overall(0.0, -0.1, 0.1, k=300),
        overall(-0.03, -0.04, -0.02, k=400),
        overall(0.03, 0.02, 0.04, k=500, error=0.1),
        overall(0.0, NAN, NAN, k=1600),
    ]
    assert sizes_verdict(pd.DataFrame(rows[:1]), 100) == ""
    assert sizes_verdict(pd.DataFrame(rows[:2]), 100) == "The other sizes of masks tell the same."
    assert sizes_verdict(pd.DataFrame(rows), 200) == (
        "The sizes do not all agree: the selective masks hurt more at 100, hurt less at 400, were no different at 300, "
        "were not clearly different at 500 and could not be compared at 1,600 neurons."
    )


def within(r, low, high):
    return pd.Series({"mean_r": r, "ci_low": low, "ci_high": high, "t": 16.918, "df": 26, "p": 1e-15, "concepts": 27})


OVER = pd.Series({"r": 0.53, "p": 0.01, "attributes": 14})


def test_agreement_with_people():
    told = human_verdict(within(0.4736, 0.42, 0.52), OVER)
    assert told.startswith(
        "The more an attribute matters in people’s own space of these concepts, the more the model lost"
    )
    assert "r = .47, 95% interval [.42, .52], t(26) = 16.92, p < .001" in told
    assert "the 14 attributes’ mean drops are the stricter test: they agree (r = .53, p = .010)" in told


def test_agreement_that_the_attributes_alone_leave_open():
    for p in (0.2, NAN):
        told = human_verdict(within(0.4736, 0.42, 0.52), OVER.replace({0.01: p}))
        assert "they leave it open" in told
        assert "can be chance" in told


def test_no_agreement_with_people():
    told = human_verdict(within(0.05, -0.1, 0.2), OVER)
    assert "did not predict" in told
    assert "nor do they rule it out" in told


def test_the_opposite_of_agreement_with_people():
    told = human_verdict(within(-0.3, -0.4, -0.2), OVER)
    assert "the less the model lost" in told
    assert "opposite of agreement" in told


def test_agreement_that_cannot_be_tested():
    told = human_verdict(within(NAN, NAN, NAN).replace({27: 0}), OVER)
    assert "could not be tested" in told
    assert "0 concepts" in told


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ((3.0, 2.0, 0.5), "share more neurons than"),
        ((1.0, 1.05, 0.95), "overlap like"),
        ((0.2, 0.3, 0.1), "share fewer neurons than"),
    ],
)
def test_overlap(ratios, words):
    rows = pd.DataFrame(
        {
            "k": 100,
            "attribute_1": ["x", "x", "y"],
            "attribute_2": ["y", "z", "z"],
            "shared": np.array(ratios) * 20,
            "ratio": ratios,
        }
    )
    told = overlap_verdict(rows)
    top = int(np.argmax(ratios))
    assert words in told
    assert f"above chance for {sum(r > 1 for r in ratios)} of 3 pairs" in told
    assert f"{rows['attribute_1'][top]} and {rows['attribute_2'][top]}" in told
    assert overlap_verdict(rows.iloc[:0]) == ""
