"""The benchmark of power finds the drop that is found in four of five runs."""

import numpy as np
import pytest
from scipy.special import expit, logit

from benchmarks.power import compare, found_in_most


def simulated(detectable, cases=20_000, seed=0):
    rng = np.random.default_rng(seed)
    drops = rng.uniform(0.05, 0.4, size=cases)
    return drops, rng.uniform(size=cases) < expit(6 * np.log(drops / detectable) + logit(0.8))


@pytest.mark.parametrize("detectable", [0.1, 0.2])
def test_the_drop_that_is_found_in_four_of_five(detectable):
    assert found_in_most(*simulated(detectable)) == pytest.approx(detectable, rel=0.03)


def test_the_ratio_and_its_interval():
    drops, found = simulated(0.15, 4_000)
    cases = np.column_stack([drops, found, np.full(len(drops), 0.18)]).reshape(1_000, 4, 3)
    ratio = compare(list(cases))
    assert ratio["predicted"] == 0.18
    assert ratio["ratio"] == pytest.approx(1.2, rel=0.06)
    assert ratio["ratio_low"] < ratio["ratio"] < ratio["ratio_high"]


def test_drops_below_zero_are_not_found_at_any_size():
    drops, found = simulated(0.1)
    with_negative = np.append(drops, -0.2), np.append(found, False)
    assert found_in_most(*with_negative) == found_in_most(drops, found)
