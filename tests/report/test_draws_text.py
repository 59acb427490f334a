"""What the report says of the mean over control masks with a control variate."""

import numpy as np
import pandas as pd
from control_words import CONTROLS

from emoscale.report.draws_text import draws_text


def rows(**given):
    known = {"masks": 5, "exact": -0.12, "se": 0.03, "rho": 0.9, "adjusted": -0.1, "adjusted_se": 0.012}
    return pd.DataFrame([{**known, "variance_ratio": 0.16, **given}])


def test_variance_before_and_after():
    (sentence,) = draws_text(rows(), CONTROLS["random"])
    assert "Over 5 random masks" in sentence
    assert "by −.120 on average (standard error .030)" in sentence
    assert "(r = .90)" in sentence
    assert "it is −.100 (standard error .012), with .16 times the variance" in sentence


def test_nothing_to_say():
    assert draws_text(rows(variance_ratio=np.nan), CONTROLS["random"]) == []
    assert draws_text(pd.DataFrame(), CONTROLS["random"]) == []
