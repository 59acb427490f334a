"""The gradient of an outcome is that of finite differences, under every normalization."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from emoscale.tasks.outcomes import NORMALIZATIONS, OUTCOMES, Design, gradient


@st.composite
def designs(draw):
    """Items of one or two questions, with few options of several tokens."""
    items, options = draw(st.integers(1, 6)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    names = ["joy", "sad", "a long name", "fear"][:options]
    table = pd.DataFrame({"concept": "any", "replicate": "0", "right": rng.integers(options, size=items)})
    masks = pd.DataFrame({"mask": [0], "kind": ["none"]})
    design = Design(table, masks, names, rng.integers(1, 4, size=options), np.sort(rng.integers(2, size=items)))
    return rng.normal(size=(items, 1, options)), design


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@given(given=designs())
def test_it_is_that_of_the_sum_of_all_items(normalization, given):
    scores, design = given
    # Questions are counted from 0.
    _, question = np.unique(design.question, return_inverse=True)
    design = Design(design.items, design.masks, design.options, design.tokens, question)
    outcome, right = OUTCOMES["log-odds"], design.items["right"].to_numpy()[:, None, None]

    def total(flat):
        values = NORMALIZATIONS[normalization].apply(flat.reshape(scores.shape), design)
        return float(outcome.compute(values, right).sum())

    expected = approx_fprime(scores.ravel(), total, 1e-7).reshape(scores.shape)
    np.testing.assert_allclose(gradient(scores, design, outcome, normalization), expected, atol=1e-5)


def test_accuracy_has_none():
    design = Design(
        pd.DataFrame({"right": [0]}), pd.DataFrame(), ["a", "b"], np.ones(2, np.int64), np.zeros(1, np.int64)
    )
    with pytest.raises(ValueError, match="accuracy has no gradient"):
        gradient(np.zeros((1, 1, 2)), design, OUTCOMES["accuracy"], "none")
