from dataclasses import replace

import pandas as pd
import pytest
from control_words import CONTROLS

from emoscale.report.ablation_text import controls_text, dose_text, sizes_text, yardstick_text
from emoscale.report.study import OutcomeWords

NAN = float("nan")


def size(drop, low, high, error=0.005, k=4000, control="random"):
    keys = ["control", "k", "drop", "ci_low", "ci_high", "random_error"]
    return pd.Series([control, k, drop, low, high, error], keys)


def test_the_other_sizes():
    rows = [
        size(0.03, 0.02, 0.04, k=100),
        size(0.03, 0.02, 0.04, k=200),
        size(0.0, -0.1, 0.1, k=300),
        size(-0.03, -0.04, -0.02, k=400),
        size(0.03, 0.02, 0.04, k=500, error=0.1),
        size(0.0, NAN, NAN, k=1600),
    ]
    assert sizes_text(pd.DataFrame(rows[:1]), 100) == ""
    assert sizes_text(pd.DataFrame(rows[:2]), 100) == "The other sizes of masks tell the same."
    assert sizes_text(pd.DataFrame(rows), 200) == (
        "The sizes do not all agree: the selective masks hurt more at 100, hurt less at 400, were no different at 300, "
        "were not clearly different at 500 and could not be compared at 1,600 neurons."
    )


def test_one_control_needs_no_word():
    assert controls_text(pd.DataFrame([size(0.03, 0.02, 0.04)]), CONTROLS) == ""


def test_the_conclusion_is_the_same_against_every_control():
    rows = [size(0.03, 0.02, 0.04), size(0.02, 0.01, 0.03, control="random-by-layer")]
    assert controls_text(pd.DataFrame(rows), CONTROLS) == (
        "The conclusion does not depend on the kind of control: losing selective neurons hurt more than losing random "
        "neurons (drop .030 [.020, .040]) and losing random neurons of the same layers (drop .020 [.010, .030])."
    )


def test_the_conclusion_depends_on_the_control():
    rows = [
        size(0.03, 0.02, 0.04),
        size(0.01, -0.01, 0.03, control="random-by-layer"),
        size(0.02, 0.01, 0.03, control="random-by-activation", error=NAN),
        size(-0.02, -0.03, -0.01, control="x"),
        size(0.02, NAN, NAN, control="y"),
    ]
    assert controls_text(pd.DataFrame(rows), CONTROLS) == (
        "The conclusion depends on the kind of control: losing selective neurons hurt more than losing random neurons "
        "(drop .030 [.020, .040]), hurt less than losing x neurons (drop −.020 [−.030, −.010]), was no different from "
        "losing random neurons of the same layers (drop .010 [−.010, .030]), was not clearly different from losing "
        "random neurons that are as active (drop .020 [.010, .030]) and could not be compared with losing y neurons "
        "(drop .020 –). Whether the controls themselves differ was not tested."
    )


def doses(*slopes):
    rows = [(name, 3, slope, low, high, 2.345, 26, 0.012, 0.45) for name, slope, low, high in slopes]
    return pd.DataFrame(rows, columns=["attribute", "sizes", "slope", "ci_low", "ci_high", "t", "df", "p", "d"])


@pytest.mark.parametrize(
    ("slope", "low", "high", "words"),
    [
        (0.012, 0.01, 0.014, "each doubling of the neurons switched off made the drop .012 larger (95% interval"),
        (-0.012, -0.014, -0.01, "each doubling of the neurons switched off made the drop .012 smaller (95% interval"),
        (0.001, -0.01, 0.014, "was not shown to depend on how many neurons are switched off: each doubling changed it"),
    ],
)
def test_the_drop_by_dose(slope, low, high, words):
    text = dose_text(doses(("", slope, low, high), ("a", 0.1, 0.05, 0.15), ("b", -0.1, -0.2, -0.05), ("c", 0, -1, 1)))
    assert text[0].startswith("Over 3 sizes of masks, ")
    assert words in text[0]
    assert "t(26) = 2.35, p = .012, d = .45" in text[0]
    assert ("includes zero" in text[0]) == (low < 0 < high)
    assert text[1].startswith(
        "Taken one by one, it grows for 1 of 3 attributes (a) and shrinks for 1 of 3 attributes (b)."
    )


def test_a_dose_response_of_no_attribute_and_one_that_cannot_be_tested():
    text = dose_text(doses(("", 0.01, -1, 1), ("a", 0, -1, 1), ("b", 0, NAN, NAN)))
    assert text[1].startswith("Taken one by one, it neither grows nor shrinks clearly for any attribute.")
    assert "do not vary enough" in dose_text(doses(("", 0.01, NAN, NAN)))[0]
    assert dose_text(doses()) == []


def test_the_yardstick_is_told_beside_the_controls():
    row = {"control": "x", "k": 20, "drop": -0.9, "ci_low": -1.1, "ci_high": -0.7}
    outcome = OutcomeWords("the log-odds of the right answer", "nats", False, "none")
    assert yardstick_text(pd.DataFrame([row]), CONTROLS, outcome) == [
        "As a yardstick: after losing as many x neurons, the log-odds of the right answer came out .900 [.700, 1.100] "
        "lower than after losing the selective ones."
    ]
    crossed = {"x": replace(CONTROLS["x"], cross_fitted=True)}
    (text,) = yardstick_text(pd.DataFrame([row]), crossed, outcome)
    assert text.endswith("Each half of the questions was judged without the neurons that the other half chose.")
    assert yardstick_text(pd.DataFrame([row])[:0], CONTROLS, outcome) == []
