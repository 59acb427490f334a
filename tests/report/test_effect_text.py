"""What the report says of estimated effects, and when it warns."""

import pandas as pd

from emoscale.report.effect_text import agreement_text


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
