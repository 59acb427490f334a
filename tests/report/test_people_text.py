import pandas as pd
from control_words import CONTROLS
from emoscale.report.people_text import agreement_by_control, agreement_text

from emoscale.report.study import OutcomeWords

NAN = float("nan")
ACCURACY = OutcomeWords("accuracy", "", True, "none")


def within(r, low, high):
    return pd.Series({"mean_r": r, "ci_low": low, "ci_high": high, "t": 16.918, "df": 26, "p": 1e-15, "concepts": 27})


OVER = pd.Series({"r": 0.53, "ci_low": 0.0, "ci_high": 0.83, "p": 0.01, "attributes": 14})


def test_agreement_with_people():
    text = agreement_text(within(0.4736, 0.42, 0.52), OVER)
    assert text.startswith(
        "The more an attribute matters in people’s own space of these concepts, the more the model lost"
    )
    assert "r = .47, 95% interval [.42, .52], t(26) = 16.92, p < .001" in text
    assert (
        "the 14 attributes’ mean drops are the stricter test: they agree (r = .53, 95% interval [.00, .83], p = .010)"
        in text
    )


def test_agreement_that_the_attributes_alone_leave_open():
    for p in (0.2, NAN):
        text = agreement_text(within(0.4736, 0.42, 0.52), OVER.replace({0.01: p}))
        assert "they leave it open" in text
        assert "can be chance" in text


def test_no_agreement_with_people():
    text = agreement_text(within(0.05, -0.1, 0.2), OVER)
    assert "did not predict" in text
    assert "nor do they rule it out" in text


def test_the_opposite_of_agreement_with_people():
    text = agreement_text(within(-0.3, -0.4, -0.2), OVER)
    assert "the less the model lost" in text
    assert "opposite of agreement" in text


def test_agreement_that_cannot_be_tested():
    text = agreement_text(within(NAN, NAN, NAN).replace({27: 0}), OVER)
    assert "could not be tested" in text
    assert "0 concepts" in text


def test_agreement_by_control():
    rows = [("random", 0.47, 0.42, 0.52), ("random-by-layer", 0.1, -0.1, 0.3)]
    table = pd.DataFrame(rows, columns=["control", "mean_r", "ci_low", "ci_high"])
    assert agreement_by_control(table, CONTROLS) == (
        "The conclusion about people depends on the kind of control: the mean correlation is .47 [.42, .52] against "
        "random neurons and .10 [−.10, .30] against random neurons of the same layers."
    )
    assert "does not depend on the kind" in agreement_by_control(table.assign(ci_low=0.05), CONTROLS)
    assert agreement_by_control(table[:1], CONTROLS) == ""
