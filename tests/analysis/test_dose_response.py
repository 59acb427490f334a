import warnings

import numpy as np
import pandas as pd
import pytest
from made_pairs import pairs_of
from scipy import stats

from emoscale.analysis.drops import dose_response

CONCEPTS, ATTRIBUTES, KS = (
    ["joy", "fear", "anger", "grief", "pride"],
    ["valence", "control", "arousal"],
    [100, 250, 700],
)


def made_drops(ks=KS, concepts=5, seed=0):
    rng = np.random.default_rng(seed)
    return {k: 0.1 * np.log2(k) + rng.normal(size=(concepts, len(ATTRIBUTES))) * 0.05 for k in ks}


def plain(drops, ks):
    """(K, C) -> the t-test of each concept's slope."""
    slopes = [np.polyfit(np.log2(ks), drops[:, c], 1)[0] for c in range(drops.shape[1])]
    return slopes, stats.ttest_1samp(slopes, 0)


def test_slopes_are_those_of_polyfit_in_each_concept():
    drops = made_drops()
    table = dose_response(pairs_of(drops, CONCEPTS, ATTRIBUTES)).set_index("attribute")
    assert list(table.index[:1]) == [""]
    assert set(table.index) == {"", *ATTRIBUTES}
    values = np.stack([drops[k] for k in KS])
    for attribute, row in table.iterrows():
        own = values.mean(axis=2) if attribute == "" else values[:, :, ATTRIBUTES.index(attribute)]
        slopes, test = plain(own, KS)
        interval = test.confidence_interval(0.95)
        assert row["slope"] == pytest.approx(np.mean(slopes))
        assert (row["t"], row["df"], row["p"]) == pytest.approx((test.statistic, test.df, test.pvalue))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
        assert row["d"] == pytest.approx(np.mean(slopes) / np.std(slopes, ddof=1))
        assert (row["sizes"], row["n"]) == (3, 5)


def test_a_doubling_is_the_unit():
    drops = {k: np.full((2, 3), np.log2(k)) for k in (8, 16, 1024)}
    np.testing.assert_allclose(dose_response(pairs_of(drops, CONCEPTS[:2], ATTRIBUTES))["slope"], 1)


def test_a_concept_without_all_sizes_enters_with_those_it_has():
    drops = made_drops()
    drops[250][1] = np.nan
    drops[100][2] = drops[700][2] = np.nan
    row = dose_response(pairs_of(drops, CONCEPTS, ATTRIBUTES)).set_index("attribute").loc["valence"]
    values = np.stack([drops[k][:, 0] for k in KS])
    slopes = [
        np.polyfit(np.log2(KS)[known], values[known, c], 1)[0]
        for c in (0, 1, 3, 4)
        for known in [np.isfinite(values[:, c])]
    ]
    assert row["n"] == 4
    assert row["slope"] == pytest.approx(np.mean(slopes))


def test_one_size_one_concept_and_equal_slopes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_size = dose_response(pairs_of(made_drops([100]), CONCEPTS, ATTRIBUTES))
        one_concept = dose_response(pairs_of(made_drops(concepts=1), CONCEPTS[:1], ATTRIBUTES))
        equal = dose_response(pairs_of({k: np.full((5, 3), k / 100) for k in KS}, CONCEPTS, ATTRIBUTES))
    assert one_size["slope"].isna().all()
    assert one_size[["sizes", "n"]].to_numpy().tolist() == [[1, 0]] * 4
    assert one_concept["slope"].notna().all()
    tests = ["ci_low", "ci_high", "t", "p", "d"]
    for table in (one_size, one_concept, equal):
        assert table[tests].isna().all(axis=None)
        assert table["df"].ge(0).all()


def test_controls_keep_their_order():
    controls = ["random", "random-by-layer"]
    both = pd.concat([pairs_of(made_drops(seed=s), CONCEPTS, ATTRIBUTES, c) for s, c in enumerate(controls)])
    both["control"] = pd.Categorical(both["control"], controls, ordered=True)
    both["attribute"] = pd.Categorical(both["attribute"], ["", *ATTRIBUTES], ordered=True)
    table = dose_response(both)
    assert table["control"].tolist() == ["random"] * 4 + ["random-by-layer"] * 4
    assert table["attribute"].tolist() == ["", *ATTRIBUTES] * 2
    alone = dose_response(pairs_of(made_drops(seed=1), CONCEPTS, ATTRIBUTES)).set_index("attribute")
    assert table["slope"].tolist()[4:] == pytest.approx(alone.loc[["", *ATTRIBUTES], "slope"].tolist())
