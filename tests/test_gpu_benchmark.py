"""The benchmark for GPUs runs, on the CPU with tiny sizes, so that it works where a GPU is lent."""

import math

import pytest

from benchmarks.gpu import SIZES, measure


@pytest.mark.slow
def test_everything_is_measured():
    numbers = {name: value for name, value in measure(SIZES["tiny"]).items() if not isinstance(value, str)}
    assert all(math.isfinite(value) and value > 0 for value in numbers.values())
    assert {"maps_a_s", "activations_over_bare", "moments_over_bare", "ablation_over_bare"} <= numbers.keys()
    assert {"attribution_over_bare", "tuned_texts_a_s"} <= numbers.keys()
