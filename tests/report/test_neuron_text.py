import numpy as np
import pandas as pd
import pytest

from emoscale.report.neuron_text import overlap_text


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
    text = overlap_text(rows)
    top = int(np.argmax(ratios))
    assert words in text
    assert f"above chance for {sum(r > 1 for r in ratios)} of 3 pairs" in text
    assert f"{rows['attribute_1'][top]} and {rows['attribute_2'][top]}" in text
    assert overlap_text(rows.iloc[:0]) == ""
