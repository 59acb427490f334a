import warnings

import diptest
import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.drops import unimodality


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
        dip, p = diptest.diptest(means.to_numpy())
        assert table.loc[attribute, ["dip", "p"]].tolist() == pytest.approx([dip, p])
    assert table.loc["split", "p"] < 0.01 < table.loc["one", "p"]


def test_too_few_concepts_for_a_dip():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = unimodality(made_pairs(3))
    assert table[["dip", "p"]].isna().all(axis=None)
    assert unimodality(made_pairs(4))["dip"].notna().all()
