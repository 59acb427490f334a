"""What the templates are given: sides, names and numbers by the tables."""

import numpy as np
import pandas as pd
import pytest

from emoscale.effect_schema import RELATIONS, SIZE_IN_LAYERS
from emoscale.report.sections import agreement_data, own_neurons_data, relation_data
from emoscale.report.sides import Side, direction, draw_deviations, overlap_side
from emoscale.schema import ALL_ATTRIBUTES


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [
        (0.1, 0.2, Side.MORE),
        (-0.2, -0.1, Side.LESS),
        (-0.1, 0.1, Side.SAME),
        (np.nan, np.nan, Side.UNTESTED),
        (0.1, np.inf, Side.UNTESTED),
    ],
)
def test_the_side_of_an_interval(low, high, side):
    assert direction(low, high) == side


@pytest.mark.parametrize(("ratio", "side"), [(1.5, Side.MORE), (1.0, Side.SAME), (0.5, Side.LESS)])
def test_the_side_of_overlaps(ratio, side):
    assert overlap_side(pd.DataFrame({"ratio": [ratio, ratio]})) == side


def test_deviations_are_from_those_that_differ_by_chance_alone():
    draws = pd.DataFrame({"attribute": ["a", "a", "b", "b"], "value": [0.1, 0.3, 1.0, 2.0]})
    np.testing.assert_allclose(draw_deviations(draws, exchangeable=False), [-0.1, 0.1, -0.5, 0.5])
    single = pd.DataFrame({"attribute": ["a", "b"], "value": [0.0, 1.0]})
    np.testing.assert_allclose(draw_deviations(single, exchangeable=True), [-0.5, 0.5])
    assert draw_deviations(single, exchangeable=False).empty
    shared = pd.DataFrame({"attribute": ["", ""], "value": [0.0, 1.0]})
    np.testing.assert_allclose(draw_deviations(shared, exchangeable=False), [-0.5, 0.5])


def agreement(single=0.95, group=0.9):
    rows = [
        ("single neurons", 1, single, 0.9),
        ("largest 0.001", 1, single, 0.9),
        ("random groups of 0.05", 50, 0.5, group),
    ]
    return pd.DataFrame(
        [
            {"stratum": stratum, "k": k, "samples": 10, "items": 27, "r": r, "slope": 0.9, "item_r": item_r}
            for stratum, k, r, item_r in rows
        ]
    )


def test_weak_estimates_are_named():
    assert agreement_data(agreement())["weak"] == []
    assert agreement_data(agreement(group=0.4))["weak"] == [("random groups of 0.05", 0.4)]
    assert agreement_data(agreement(single=0.7))["weak"] == [("single neurons", 0.7), ("largest 0.001", 0.7)]
    assert agreement_data(pd.DataFrame())["checked"] is False


def relation(within=0.01, p=0.5, mean_p=0.5):
    rows = [
        (name, attribute, rho, -0.02, 0.03, each)
        for name in RELATIONS
        for attribute, rho, each in (
            ("valence", within if name == SIZE_IN_LAYERS else 0.01, p if name == SIZE_IN_LAYERS else 0.9),
            ("arousal", -0.01, 0.9),
            (ALL_ATTRIBUTES, 0.0, mean_p if name == SIZE_IN_LAYERS else 0.9),
        )
    ]
    table = pd.DataFrame(rows, columns=["relation", "attribute", "rho", "null_low", "null_high", "p"])
    return table.assign(p_corrected=table["p"])


def test_relations_beyond_permuted_concepts_are_named():
    nothing = relation_data(relation())
    assert (nothing["compared"], nothing["beyond"], nothing["mean"]) == (True, [], [])
    assert nothing["ranges"]["size_in_layers"] == (-0.01, 0.01)
    assert nothing["smallest_p"] == 0.5
    beyond = relation_data(relation(within=0.3, p=0.01, mean_p=0.02))
    assert [(row["attribute"], row["relation"]) for row in beyond["beyond"]] == [("valence", SIZE_IN_LAYERS)]
    assert [row["relation"] for row in beyond["mean"]] == [SIZE_IN_LAYERS]
    bare = relation_data(relation().assign(p=np.nan, p_corrected=np.nan))
    assert (bare["compared"], bare["beyond"]) == (False, [])
    assert relation_data(pd.DataFrame()) is None


def test_neurons_of_single_concepts():
    together = {"concept": "", "specificity": -0.25, "ci_low": -0.4, "ci_high": -0.1, "p": 0.003}
    each = [{"concept": name, "place": place} for name, place in (("joy", 1), ("fear", 1), ("awe", 3))]
    table = pd.DataFrame([together, *each]).assign(k=2304)
    found = own_neurons_data(table)
    assert (found["shown"], found["first"], found["concepts"]) == (True, 2, 3)
    assert own_neurons_data(table.assign(p=0.3))["shown"] is False
    assert own_neurons_data(table[:0]) is None
