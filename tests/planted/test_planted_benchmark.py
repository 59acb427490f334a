"""The benchmark's own arithmetic: shares and their intervals, what counts, and going on after an interruption."""

import argparse
import json

import pytest
from scipy.stats import beta

from benchmarks.planted import jobs
from benchmarks.planted_jobs import read_records
from benchmarks.planted_rates import rates, share
from benchmarks.planted_record import MATCHED, NULL, PLANTED
from emoscale.schema import ALL_ATTRIBUTES

OPTIONS = argparse.Namespace(planted=5, null=7, followed=4, others=2)


def made(what, *, drop=0.2, low=0.1, high=0.3, p=0.05, answer="yes", true=(0.2, 0.0), q=0):
    """A record with one attribute that has a drop and one that has none."""
    row = {"ci_low": low, "ci_high": high, "p": p, "estimated_p": p, "estimated_p_corrected": p, "p_corrected": p}
    none = row | {"p_corrected": 1.0, "estimated_p_corrected": 1.0, "answer": "no", "ci_low": -0.1, "ci_high": 0.05}
    old = {"control": "random", "p": p, "q": p, "ci_low": low, "ci_high": high}
    tables = {
        "needed": [
            row | {"attribute": "one", "answer": answer},
            none | {"attribute": "other"},
            row | {"attribute": ALL_ATTRIBUTES, "answer": answer, "drop": drop},
        ],
        "permuted_tests": [{"statistic": "correlation with importance", "p": 0.5}],
        "verdicts": [
            {"question": question, "answer": given}
            for question, given in (("followers", "yes"), ("need", answer), ("people", "unknown"))
        ],
        "followers": [{"p_corrected": p}],
        "drop_overall": [old],
        "drop_by_attribute": [old, old | {"q": 1.0}],
        "mean_drop_correlation": [old],
        "human_comparison": [old],
    }
    return {
        "job": {"what": what, "family": "llama"},
        "by_draws": {"19": tables},
        "tests_at_01": q,
        "truth": {"drops": list(true), "beyond_random": list(true)},
        "measures": {"auroc_tau": 0.9},
    }


def test_a_share_has_the_exact_interval():
    found = share("wrong", [True] * 2 + [False] * 38)
    assert found["wrong"] == 0.05
    assert found["wrong_high"] == pytest.approx(beta.ppf(0.975, 3, 38))
    assert found["wrong_of"] == 40
    assert share("wrong", []) == {}


def test_what_is_false_and_what_is_found():
    found = rates([made(NULL), made(NULL, answer="no", p=0.6, q=3), made(PLANTED), made(PLANTED, answer="unknown")])
    assert found["models_null"] == found["models_planted"] == 2
    assert found["false_needed_19"] == found["false_attribute_19"] == 0.5
    assert found["false_followers"] == 1.0
    assert found["false_followers_p"] == found["false_q"] == 0.5
    assert found["power_mean_0.1_19"] == 0.5
    assert found["power_attribute_0.2_19"] == 0.5
    assert found["false_needed_t"] == found["false_attribute_t"] == 0.5
    assert found["auroc_tau"] == 0.9


def test_coverage_counts_the_mean_and_every_attribute():
    found = rates([made(PLANTED, low=0.05), made(MATCHED, low=0.15)])
    assert found["coverage_mean_19"] == 0.5  # its true value is 0.1
    assert found["coverage_attribute_19"] == 1.0
    assert found["power_need_llama_19"] == 1.0
    assert rates([made(PLANTED, true=(0.5, 0.5))])["coverage_attribute_19"] == 0.0


def test_planted_neurons_that_are_said_to_be_equivalent():
    assert rates([made(PLANTED, answer="no")])["false_not_needed_19"] == 1.0
    assert "false_not_needed_19" not in rates([made(PLANTED, answer="no", true=(0.02, 0.0))])


def test_every_model_is_another():
    found = list(jobs(OPTIONS))
    assert len({job.key for job in found}) == len({job.seed for job in found}) == 5 + 7 + 4 + 2
    assert sum(job.what == NULL for job in found) == 7
    assert [job.family for job in found if job.what == PLANTED][-2:] == ["mixtral", "bert"]


def test_a_line_that_was_cut_off_is_done_again(tmp_path):
    file = tmp_path / "records.jsonl"
    one, other = ({"job": {"what": NULL, "seed": seed}} for seed in (1, 2))
    file.write_text(json.dumps(one) + "\n" + json.dumps(other)[:20], encoding="utf-8")
    assert list(read_records(file).values()) == [one]
    assert read_records(tmp_path / "none.jsonl") == {}
