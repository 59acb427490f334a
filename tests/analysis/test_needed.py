"""Attributes whose neurons cost more than those of permuted ones are found, and no others."""

import numpy as np
import pandas as pd
import pytest
from permuted_scores import made_scores, masks_of, write_scores

from emoscale.analysis.needed import answer, needed_table
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.analysis.permuted_tests import People, permuted_tests
from emoscale.effect_schema import RELATION, RELATIONS
from emoscale.permutations import permutation_tests
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import Answer
from emoscale.schema import ALL_ATTRIBUTES, DOSE, MEAN_DROP, SPECIFICITY, WITH_IMPORTANCE
from emoscale.store import create_store

ATTRIBUTES = ["valence", "arousal", "control"]


def permuted_masks(path, *, cost=0.0, draws=19, ks=(3,), seed=0, chunk=4, options=None, **made):
    """A run in which losing the neurons selective for valence costs so much."""
    masks = masks_of(ATTRIBUTES, ks, draws)
    costs = [cost if kind == "selective" and name == "valence" else 0.0 for kind, name, *_ in masks]
    scores = made_scores(np.random.default_rng(seed), masks, cost=costs, **made)
    write_scores(path, scores, masks, chunk=chunk)
    return PermutedMasks(RunFolder(path), ATTRIBUTES, options or AnalysisOptions())


def write_relation(path, effects, ks):
    """Estimated effects (1 + B, A, sizes)."""
    coordinates = {
        "order": np.arange(len(effects), dtype=np.int32),
        "attribute": np.array(ATTRIBUTES, object),
        "relation": np.array(RELATIONS, object),
        "k": np.array(ks),
    }
    store = create_store(RunFolder(path).relation, RELATION, coordinates, {"order": 16}, attributes={"origin": {}})
    store.write("rho", np.zeros((len(effects), 3, len(RELATIONS))))
    store.write("effect", effects)
    store.write("shared", np.zeros_like(effects))
    store.mark_complete()


def rows(table):
    return table.set_index("attribute")


def test_a_needed_attribute_is_found(tmp_path):
    table = rows(needed_table(permuted_masks(tmp_path, cost=0.6)))
    assert list(table.index) == [*ATTRIBUTES, ALL_ATTRIBUTES]
    valence = table.loc["valence"]
    assert valence["answer"] == "yes"
    assert valence["p_corrected"] == pytest.approx(0.05)
    assert valence["drop"] == pytest.approx(0.6, abs=0.15)
    assert 0 < valence["ci_low"] < valence["drop"] < valence["ci_high"]
    assert valence["accuracy_drop"] > 0
    assert table.loc["arousal", "answer"] != "yes"
    assert table.loc[ALL_ATTRIBUTES, "drop"] == pytest.approx(table.loc[ATTRIBUTES, "drop"].mean())


def test_masks_that_cost_nothing_are_equivalent(tmp_path):
    table = needed_table(permuted_masks(tmp_path, spread=0.01, noise=0.02, texts=6))
    assert (table["answer"] == "no").all()


def test_p_are_those_of_the_permuted_masks(tmp_path):
    masks = permuted_masks(tmp_path, cost=0.1)
    table, outcomes = needed_table(masks), masks.outcomes(3)
    all_values = np.column_stack([outcomes, outcomes.mean(axis=1)])
    np.testing.assert_array_equal(table["p_corrected"], permutation_tests(all_values).p_corrected)
    by_hand = [(np.abs(v - v.mean()) >= abs(v[0] - v.mean()) * (1 - 1e-9)).mean() for v in all_values.T]
    np.testing.assert_allclose(table["p"], by_hand)


def test_nothing_depends_on_the_chunks_of_the_scores(tmp_path):
    tables = [needed_table(permuted_masks(tmp_path / str(chunk), cost=0.2, chunk=chunk)) for chunk in (1, 7, 500)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_a_null_is_seldom_called_needed(tmp_path):
    runs = 60
    found = [
        (needed_table(permuted_masks(tmp_path / str(seed), seed=seed, spread=0.3, texts=2))["answer"] == "yes").any()
        for seed in range(runs)
    ]
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_estimates_decide_where_few_masks_were_ablated(tmp_path):
    masks = permuted_masks(tmp_path, cost=0.6, draws=3)
    assert (needed_table(masks)["answer"] != "yes").all()
    effects = 0.05 * np.random.default_rng(0).normal(size=(100, 3, 2))
    effects[0, 0] -= 0.5
    write_relation(tmp_path, effects, [2, 3])
    table = rows(needed_table(permuted_masks(tmp_path / "again", cost=0.6, draws=3)))
    assert (table["answer"] != "yes").all()
    table = rows(needed_table(PermutedMasks(RunFolder(tmp_path), ATTRIBUTES, AnalysisOptions())))
    assert table.loc["valence", "answer"] == "yes"
    assert table.loc["valence", "estimated_p_corrected"] == pytest.approx(0.01)
    assert table.loc["valence", "estimated_drop"] > 0.4
    assert not table["tests_disagree"].any()


def test_disagreement_of_the_two_tests_is_told(tmp_path):
    masks = permuted_masks(tmp_path, cost=0.6)
    effects = 0.05 * np.random.default_rng(0).normal(size=(100, 3, 1))
    effects[0, 0] += 0.5
    write_relation(tmp_path, effects, [3])
    table = rows(needed_table(masks))
    assert table.loc["valence", "tests_disagree"]
    assert table.loc["valence", "answer"] == "yes"  # the ablation decides


def test_without_permuted_masks_nothing_is_decided(tmp_path):
    table = needed_table(permuted_masks(tmp_path, cost=0.6, draws=0))
    assert (table["answer"] == "unknown").all()
    assert table["drop"].isna().all()
    assert table["p"].isna().all()


def row(**values):
    usual = {"draws": 19, "drop": 0.3, "p_corrected": 0.05, "ci_low": 0.1}
    estimated = {"estimated_drop": 0.2, "estimated_p_corrected": np.nan}
    return pd.Series({**usual, **estimated, "equivalence_low": 0.2, "equivalence_high": 0.4, **values})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Answer.YES),
        ({"p_corrected": 0.1}, Answer.UNKNOWN),
        ({"drop": 0.05}, Answer.UNKNOWN),
        ({"drop": -0.3}, Answer.UNKNOWN),
        ({"draws": 3, "estimated_p_corrected": 0.01}, Answer.YES),
        ({"draws": 3, "estimated_p_corrected": 0.01, "estimated_drop": -0.2}, Answer.UNKNOWN),
        ({"draws": 3, "estimated_p_corrected": 0.01, "ci_low": -0.1}, Answer.UNKNOWN),
        ({"p_corrected": 0.5, "drop": 0, "equivalence_low": -0.09, "equivalence_high": 0.09}, Answer.NO),
        ({"p_corrected": 0.5, "drop": 0, "equivalence_low": -0.11, "equivalence_high": 0.09}, Answer.UNKNOWN),
    ],
)
def test_answers(values, expected):
    assert answer(row(**values), 0.1) == expected


def people(importance=(0.6, 0.1, 0.2), concepts=9):
    scores = np.random.default_rng(9).normal(size=(concepts, 3))
    return People(np.array(importance), scores)


def statistics_of(masks, whom):
    return permuted_tests(masks, needed_table(masks), whom).set_index(["statistic", "k"])


def test_statistics_over_attributes(tmp_path):
    masks = permuted_masks(tmp_path, cost=0.6, ks=(3, 6))
    tests = statistics_of(masks, people())
    assert set(tests.index) == {
        *((name, k) for name in (MEAN_DROP, WITH_IMPORTANCE, SPECIFICITY) for k in (3, 6)),
        (DOSE, 0),
    }
    drop = tests.loc[(MEAN_DROP, 3)]
    assert drop["p"] == pytest.approx(0.05)
    assert drop["null_low"] < drop["null_high"] < drop["value"]
    needed = needed_table(masks).set_index(["k", "attribute"]).loc[(3, ALL_ATTRIBUTES)]
    assert tuple(drop[["value", "ci_low", "ci_high"]]) == tuple(needed[["drop", "ci_low", "ci_high"]])
    assert drop["ci_low"] < drop["value"] < drop["ci_high"]
    assert "drop" not in tests
    agreement = tests.loc[(WITH_IMPORTANCE, 3)]
    assert agreement["value"] > 0.9
    assert agreement["ci_low"] < agreement["value"] < agreement["ci_high"]
    assert tests["estimated_p"].isna().all()


def test_statistics_have_the_level_of_their_tests(tmp_path):
    found = [
        statistics_of(permuted_masks(tmp_path / str(seed), seed=seed, spread=0.2, texts=2), people())["p"] <= 0.05
        for seed in range(60)
    ]
    assert pd.concat(found).groupby(level=0).mean().max() <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 60)


def test_unknown_importance_gives_no_correlation(tmp_path):
    tests = statistics_of(permuted_masks(tmp_path), people(importance=(np.nan, np.nan, 1.0)))
    assert tests.loc[(WITH_IMPORTANCE, 3), ["value", "p"]].isna().all()
    assert np.isfinite(tests.loc[(SPECIFICITY, 3), "value"])


def test_drops_grow_with_the_dose(tmp_path):
    masks = masks_of(ATTRIBUTES, (2, 4, 8), 19)
    cost = [0.4 * np.log2(k) if kind == "selective" else 0.0 for kind, _, k, _ in masks]
    write_scores(tmp_path, made_scores(np.random.default_rng(0), masks, cost=cost), masks)
    dose = statistics_of(PermutedMasks(RunFolder(tmp_path), ATTRIBUTES, AnalysisOptions()), people()).loc[(DOSE, 0)]
    assert dose["p"] == pytest.approx(0.05)
    assert dose["ci_low"] < 0.4 < dose["ci_high"]
