import numpy as np
import pytest
import torch

from emoscale.ablation.budget import find_budget, kept_budget
from emoscale.ablation.forward_options import SMALLEST_PASS
from emoscale.system.ranks import one_process


@pytest.mark.parametrize(
    ("rates", "most", "best"),
    [
        ([1, 2, 4, 4], 10**6, 4 * SMALLEST_PASS),
        ([1, 1, 4], 10**6, SMALLEST_PASS),
        ([1, 2, 4, 8], 3 * SMALLEST_PASS, 2 * SMALLEST_PASS),
        ([1, 2, None], 10**6, SMALLEST_PASS),
    ],
)
def test_the_budget_is_doubled_while_that_pays(monkeypatch, rates, most, best):
    """None: there is no memory for so many."""
    clock = [0.0]
    monkeypatch.setattr("emoscale.ablation.budget.time.perf_counter", lambda: clock[0])

    def run(tokens):
        rate = rates[int(np.log2(tokens // SMALLEST_PASS))]
        if rate is None:
            raise torch.OutOfMemoryError
        clock[0] += tokens / rate / SMALLEST_PASS / 100

    assert find_budget(run, most, one_process()) == best


def test_a_run_keeps_its_budget(tmp_path):
    file = tmp_path / "budget.json"
    assert [kept_budget(file, lambda budget=budget: budget, one_process()) for budget in (4096, 8192)] == [4096, 4096]
