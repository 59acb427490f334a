import warnings

import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.drops import unimodality
from emoscale.analysis.unimodality import dip_test
from emoscale_kernels import dips


def made_pairs(concepts, replicates=2, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "control": "random",
            "k": 10,
            "attribute": attribute,
            "concept": f"c{concept}",
            "replicate": str(replicate),
            "d": rng.normal() + (5 * (concept % 2) if attribute == "split" else 0),
        }
        for attribute in ("one", "split")
        for concept in range(concepts)
        for replicate in range(replicates)
    )


def test_dips_of_the_concepts_means():
    paired = made_pairs(27)
    table = unimodality(paired).set_index("attribute")
    for attribute in ("one", "split"):
        means = paired[paired["attribute"] == attribute].groupby("concept")["d"].mean()
        assert table.loc[attribute, "dip"] == dips(means.to_numpy()[None])[0]
    assert table.loc["split", "p"] < 0.01 < table.loc["one", "p"]


def test_too_few_concepts_for_a_dip():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = unimodality(made_pairs(3))
    assert table[["dip", "p"]].isna().all(axis=None)
    assert unimodality(made_pairs(4))["dip"].notna().all()


@pytest.mark.parametrize(("dip", "p"), [(0.0655, 0.468), (0.0516, 0.856)])
def test_the_published_p_of_the_published_dips(monkeypatch, dip, p):
    """Of 27 concepts, `emoscale/commands/reproduce/data/published.csv`."""
    usual = dips
    monkeypatch.setattr("emoscale.analysis.unimodality.dips", lambda x: np.array([dip]) if len(x) == 1 else usual(x))
    assert dip_test(np.arange(27)) == (dip, pytest.approx(p, abs=0.02))


def test_p_is_uniform_for_the_uniform():
    generator = np.random.default_rng(1)
    p = np.array([dip_test(generator.random(20))[1] for _ in range(2000)])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert (p <= level).mean() == pytest.approx(level, abs=0.04)


def test_equal_values_have_one_mode():
    assert dip_test([1, 1, 1, 1]) == (0, 1)
    assert dip_test(range(9)) == (pytest.approx(1 / 18), 1)
