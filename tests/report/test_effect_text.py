"""What the report says of estimated effects, and when it warns."""

import pandas as pd

from emoscale.report.effect_text import agreement_text, concepts_text, relation_text
from emoscale.schema import ALL_ATTRIBUTES, RELATIONS, SIZE_IN_LAYERS


def table(single=0.95, group=0.9):
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


def test_good_estimates_bring_no_warning():
    text = " ".join(agreement_text(table()))
    assert "10 neurons changed the mean outcome as estimated with r = .95 and a slope of .90" in text
    assert ".90 (50 neurons)" in text
    assert "relied on" not in text


def test_weak_ones_do():
    assert "relied on: random groups of 0.05 (.40)" in " ".join(agreement_text(table(group=0.4)))
    assert "relied on: single neurons (.70) and largest 0.001 (.70)" in " ".join(agreement_text(table(single=0.7)))


def test_none():
    assert agreement_text(pd.DataFrame()) == ["The estimates were not compared with exact ablation in this run."]


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


def test_selective_neurons_are_not_used_more():
    text = " ".join(relation_text(relation()))
    assert "-.01 to .01 for the 2 attributes" in text.replace("−", "-")
    assert "the answer is no" in text
    assert "Beyond" not in text


def test_selective_neurons_are_used_more():
    text = " ".join(relation_text(relation(within=0.3, p=0.01, mean_p=0.02)))
    assert "the answer is no" not in text
    assert f"with the {SIZE_IN_LAYERS} for valence (.30, p = .010)" in text
    assert "The mean over attributes is beyond" in text


def test_without_permutations_nothing_is_concluded():
    bare = relation().assign(p=float("nan"), p_corrected=float("nan"))
    assert "not compared with permuted concepts" in " ".join(relation_text(bare))
    assert relation_text(pd.DataFrame()) == []


def of_concepts(p):
    together = {"concept": "", "specificity": -0.25, "ci_low": -0.4, "ci_high": -0.1, "p": p}
    each = [{"concept": name, "place": place} for name, place in (("joy", 1), ("fear", 1), ("awe", 3))]
    return pd.DataFrame([together, *each]).assign(k=2304)


def test_neurons_of_single_concepts():
    text = " ".join(concepts_text(of_concepts(0.003), named=False))
    assert "the 2,304 neurons that it needs most beyond what all concepts need" in text
    assert "losing them costs the concept more than that: .250 [.100, .400] nats on average (p = .003)" in text
    assert "For 2 of 3 concepts no other" in text
    assert "name" not in text
    assert concepts_text(of_concepts(0.3), named=True)[-1].endswith("name likelier whatever the text.")
    assert "could not be shown to cost" in " ".join(concepts_text(of_concepts(0.3), named=True))
    assert concepts_text(pd.DataFrame({"k": []}), named=True) == []
