"""Effects by layer, the largest, and their agreement with exact ablation."""

import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.effects import agreement, effects_by_layer, most_needed
from emoscale.effect_schema import EFFECT_MOMENTS, ESTIMATES_ALONE, SINGLE_NEURONS
from emoscale.run.effects import Checked, read_checked
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import create_store

COORDINATES = {
    "layer": np.array([0, 0, 1, 1, 1], np.int32),
    "expert": np.full(5, -1, np.int32),
    "unit": np.array([0, 1, 0, 1, 2], np.int32),
}


def checked(rows=40, singles=12, groups=6, noise=0.0, slope=1.0):
    rng = np.random.default_rng(0)
    estimated = rng.normal(size=(rows, singles + groups))
    exact = slope * estimated + noise * rng.normal(size=estimated.shape)
    strata = ["largest"] * (singles // 2) + ["to 1"] * (singles - singles // 2) + ["random groups of 0.05"] * groups
    samples = pd.DataFrame(
        {"stratum": strata, "k": [1] * singles + [5] * groups, "neuron": [*range(singles), *[-1] * groups]}
    ).assign(is_exact=False)
    return Checked(samples, estimated, exact, exact.mean(axis=0))


def test_perfect_estimates_agree_in_every_stratum():
    found = agreement(checked(slope=0.5))
    assert found["stratum"].tolist() == [SINGLE_NEURONS, "largest", "to 1", "random groups of 0.05"]
    assert found["samples"].tolist() == [12, 6, 6, 6]
    assert set(found["items"]) == {40}
    for name in ("r", "item_r"):
        np.testing.assert_allclose(found[name], 1)
    for name in ("slope", "item_slope"):
        np.testing.assert_allclose(found[name], 0.5)


def test_noise_lowers_agreement_as_plain_numpy_says():
    one = checked(noise=1.0)
    row = agreement(one).set_index("stratum").loc["random groups of 0.05"]
    estimated, exact = one.estimated[:, 12:], one.exact[:, 12:]
    assert row["r"] == pytest.approx(np.corrcoef(estimated.mean(axis=0), one.change[12:])[0, 1])
    assert row["item_r"] == pytest.approx(np.corrcoef(estimated.ravel(), exact.ravel())[0, 1])
    assert row["item_slope"] == pytest.approx(np.polyfit(estimated.ravel(), exact.ravel(), 1)[0])
    assert 0.5 < row["item_r"] < 0.9


def test_what_cannot_be_correlated_is_nan():
    found = agreement(checked(singles=2, groups=0)).set_index("stratum")
    assert found.loc["largest", ["r", "slope"]].isna().all()
    one = checked(singles=4, groups=0)
    still = one._replace(estimated=np.zeros_like(one.estimated))
    assert agreement(still)[["r", "slope", "item_r", "item_slope"]].isna().all(axis=None)


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    cells = {
        "concept": np.array(["joy", "joy", "fear"], object),
        "replicate": np.array(["0", "0", "0"], object),
        "half": np.array([0, 1, 0], np.int32),
        "rows": np.array([2, 1, 1]),
    }
    store = create_store(folder.effect_moments, EFFECT_MOMENTS, {**cells, **COORDINATES}, {})
    means = [[-7.0, 1.0, 0.0, 3.0, np.nan], [2.0, 1.0, 0.0, 0.0, np.nan], [0.0, 1.0, -8.0, -2.0, np.nan]]
    store.write("mean", np.array(means))
    store.write("m2", np.zeros((3, 5)))
    store.write("count", np.array([[2, 2, 2, 2, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]], np.int32))
    store.mark_complete()
    return folder


@pytest.fixture
def selectivity(folder):
    coordinates = {"order": np.arange(0), "attribute": np.array(["arousal", "valence"], object), **COORDINATES}
    store = create_store(folder.selectivity, SELECTIVITY, coordinates, {})
    store.write("tau", np.array([[0.1, 0.3], [0.2, 0.0], [0.5, np.nan], [0.0, 0.1], [0.0, 0.0]]))
    store.mark_complete()
    return store


def test_effects_are_means_over_items_and_summed_by_layer(folder, selectivity):
    found = effects_by_layer(folder, selectivity)
    # Means over the four items: -3, 1, -2, 1, absent.
    assert found["layer"].tolist() == [0, 1]
    assert found["neurons"].tolist() == [2, 2]
    assert found["effect"].tolist() == [-2, -1]
    assert found["size"].tolist() == [4, 3]
    np.testing.assert_allclose(found["share"], [4 / 7, 3 / 7])


def test_the_neurons_needed_most(folder, selectivity):
    found = most_needed(folder, selectivity, ["arousal", "valence"])
    assert found["layer"].tolist() == [0, 1]
    assert found["unit"].tolist() == [0, 0]
    assert found["effect"].tolist() == [-3, -2]
    assert found["concepts"].tolist() == [1, 1]
    assert found["attribute"].tolist() == ["valence", "arousal"]
    assert found["tau"].tolist() == [0.3, 0.5]


def test_a_run_without_a_comparison(folder):
    assert read_checked(folder) is None


def test_effects_that_were_computed_exactly_count_as_estimates_and_are_named():
    one = checked(noise=2.0)
    some = one._replace(samples=one.samples.assign(is_exact=one.samples["neuron"].between(0, 3)))
    plain, found = (agreement(each).set_index("stratum") for each in (one, some))
    assert ESTIMATES_ALONE not in plain.index
    pd.testing.assert_series_equal(found.loc[ESTIMATES_ALONE], plain.loc[SINGLE_NEURONS], check_names=False)
    pd.testing.assert_series_equal(found.loc["to 1"], plain.loc["to 1"])
    used = np.where(np.arange(12) < 4, one.change[:12], one.estimated[:, :12].mean(axis=0))
    assert found.loc[SINGLE_NEURONS, "r"] == pytest.approx(np.corrcoef(used, one.change[:12])[0, 1])
