import numpy as np
import pytest

from emoscale.analysis.neurons import inference_summary, reliability

NAN = np.nan


def test_each_inference_is_counted_by_its_own_rule():
    p = {
        # q as published: p * tests / rank = .001 * 6 / 1, .004 * 6 / 2, .5 * 6 / 3 ...
        "p_asymptotic": np.array([[0.001, 0.5], [0.004, 0.9], [0.6, 0.8], [NAN, NAN]]),
        "p_attribute": np.array([[0.01, 0.04], [0.05, 0.2], [0.049, 1.0], [NAN, NAN]]),
        "p_all": np.array([[0.04, 0.06], [0.2, 0.4], [0.3, 1.0], [NAN, NAN]]),
    }
    q = np.array([[0.001, 0.2], [0.02, 0.3], [0.009, 0.01], [NAN, NAN]])
    spread = np.array([[1.0, 2.0], [7.0, 2.0], [NAN, 2.0], [NAN, NAN]])
    table = inference_summary(p, q, spread, ["a", "b"], 0.01).set_index("attribute")
    assert table["spread"].tolist() == [5, 2]
    assert table["tests"].tolist() == [3, 3]
    assert table["asymptotic"].tolist() == [1, 0]
    assert table["chosen"].tolist() == [2, 0]
    assert table["attribute_corrected"].tolist() == [2, 1]
    assert table["all_corrected"].tolist() == [1, 0]


def test_without_permutations_nothing_survives_them():
    nothing = np.full((3, 1), NAN)
    p = {"p_asymptotic": np.full((3, 1), 0.001), "p_attribute": nothing, "p_all": nothing}
    table = inference_summary(p, p["p_asymptotic"], nothing, ["a"], 0.01)
    assert table["spread"].isna().all()
    assert table["attribute_corrected"].tolist() == table["all_corrected"].tolist() == [0]
    assert table["asymptotic"].tolist() == [3]


def test_reliability_is_spearman_and_browns():
    generator = np.random.default_rng(0)
    true = generator.normal(size=100_000)
    odd, even = true + generator.normal(size=(2, 100_000))
    odd[3], even[4] = NAN, NAN
    table = reliability(odd[:, np.newaxis], even[:, np.newaxis], ["a"]).iloc[0]
    assert table["split_half"] == pytest.approx(0.5, abs=0.01)
    # The mean of both halves has signal variance 1 and noise variance 1/2.
    assert table["reliability"] == pytest.approx(2 / 3, abs=0.01)
    known = np.isfinite(odd) & np.isfinite(even)
    best = np.corrcoef(true[known], odd[known] + even[known])[0, 1]  # what the true map reaches
    assert table["ceiling"] == pytest.approx(best, abs=0.01)


def test_halves_that_disagree_or_do_not_vary():
    x = np.array([0.1, 0.2, 0.4])
    odd = np.stack([x, x, x, x * NAN], axis=1)
    even = np.stack([-x, x * 0, x, x], axis=1)
    table = reliability(odd, even, list("abcd"))
    np.testing.assert_allclose(table["split_half"], [-1, NAN, 1, NAN])
    np.testing.assert_allclose(table["reliability"], [0, NAN, 1, NAN])
    np.testing.assert_allclose(table["ceiling"], [0, NAN, 1, NAN])
