import warnings

import numpy as np
import pandas as pd
import pytest
from made_pairs import pairs_of
from statsmodels.regression.mixed_linear_model import MixedLM

from emoscale.analysis.mixed_model import mixed_model

pytestmark = pytest.mark.slow

CONCEPTS = [f"c{i:02}" for i in range(27)]
ATTRIBUTES = [f"a{i:02}" for i in range(14)]
TAU = np.random.default_rng(9).uniform(0, 0.6, 14)
IMPORTANCES = pd.DataFrame({"attribute": ATTRIBUTES, "tau": TAU})


def simulated(slope=0.2, intercept=0.02, slope_sd=0.1, intercept_sd=0.03, sd=0.03, seed=0, concepts=27):
    rng = np.random.default_rng(seed)
    slopes = slope + slope_sd * rng.normal(size=(concepts, 1))
    levels = intercept + intercept_sd * rng.normal(size=(concepts, 1))
    return levels + slopes * TAU + sd * rng.normal(size=(concepts, 14))


def by_formula(drops, re_formula):
    """What statsmodels says to the model in the user's own units."""
    data = pd.DataFrame({"drop": drops.ravel(), "importance": np.tile(TAU, len(drops))})
    data["concept"] = np.repeat(np.arange(len(drops)), len(TAU))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixedLM.from_formula("drop ~ importance", data, groups="concept", re_formula=re_formula).fit()


def the_row(drops, importances=IMPORTANCES):
    return mixed_model(pairs_of({10: drops}, CONCEPTS[: len(drops)], ATTRIBUTES), importances).iloc[0]


def check_against(row, expected):
    assert row["slope"] == pytest.approx(expected.fe_params["importance"], rel=1e-4)
    assert row["intercept"] == pytest.approx(expected.fe_params["Intercept"], rel=1e-3)
    assert row["se"] == pytest.approx(expected.bse_fe["importance"], rel=1e-3)
    assert row["z"] == pytest.approx(expected.tvalues["importance"], rel=1e-3)
    assert row["p"] == pytest.approx(expected.pvalues["importance"], rel=0.05)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(expected.conf_int().loc["importance"]), rel=1e-3)
    assert row["residual_sd"] == pytest.approx(np.sqrt(expected.scale), rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_model_of_the_formula(seed):
    drops = simulated(seed=seed)
    row, expected = the_row(drops), by_formula(drops, "~importance")
    check_against(row, expected)
    assert row["slope_sd"] == pytest.approx(np.sqrt(expected.cov_re.loc["importance", "importance"]), rel=0.01)
    assert (row["random"], row["converged"]) == ("intercept and slope", True)
    assert (row["concepts"], row["attributes"], row["observations"]) == (27, 14, 27 * 14)


def test_effects_that_were_put_in_come_out():
    rows = [the_row(simulated(seed=seed)) for seed in range(8)]
    table = pd.DataFrame(rows)
    assert table["slope"].mean() == pytest.approx(0.2, abs=0.02)
    assert table["intercept"].mean() == pytest.approx(0.02, abs=0.01)
    assert table["slope_sd"].mean() == pytest.approx(0.1, abs=0.02)
    assert table["residual_sd"].mean() == pytest.approx(0.03, abs=0.002)
    assert table["ci_low"].lt(0.2).mul(table["ci_high"].gt(0.2)).sum() >= 6


def test_slopes_that_do_not_vary_are_not_random():
    rng = np.random.default_rng(2)
    # Less than chance alone would make them differ.
    noise = 0.03 * rng.normal(size=(27, 14))
    basis = np.linalg.qr(np.column_stack([np.ones(14), TAU]))[0]
    noise -= noise @ basis @ basis.T
    drops = 0.02 + 0.05 * rng.normal(size=(27, 1)) + 0.2 * TAU + noise
    row = the_row(drops)
    assert (row["random"], row["converged"]) == ("intercept", True)
    assert np.isnan(row["slope_sd"])
    check_against(row, by_formula(drops, "1"))


def test_slopes_that_go_along_with_intercepts_stay_random():
    rng = np.random.default_rng(3)
    drops = rng.normal(1, 0.5, size=(27, 1)) * (0.02 + 0.2 * TAU) + 0.03 * rng.normal(size=(27, 14))
    row = the_row(drops)
    assert row["random"] == "intercept and slope"
    slopes = np.polyfit(TAU, drops.T, 1)[0]
    # Balanced data: the mean of the concepts' slopes, as uncertain as they differ.
    assert row["slope"] == pytest.approx(slopes.mean(), rel=1e-4)
    assert row["se"] == pytest.approx(slopes.std(ddof=1) / np.sqrt(27), rel=0.1)


def test_nothing_to_fit_says_so_without_a_warning():
    noise = np.random.default_rng(0).normal(size=(27, 14))
    flat = IMPORTANCES.assign(tau=0.3)
    unknown = IMPORTANCES.assign(tau=np.where(np.arange(14) < 2, TAU, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = [
            the_row(np.zeros((27, 14))),
            the_row(np.full((27, 14), 0.1)),
            the_row(np.tile(0.2 * TAU, (27, 1))),
            the_row(noise, flat),
            the_row(noise, unknown),
            the_row(noise[:2]),
        ]
    numbers = ["slope", "ci_low", "ci_high", "se", "z", "p", "intercept", "slope_sd", "residual_sd"]
    for row in rows:
        assert row[numbers].isna().all()
        assert (row["converged"], row["random"]) == (False, "")


def test_missing_cells_and_attributes_without_importance_are_left_out():
    drops = simulated()
    drops[3, 5] = np.nan
    known = IMPORTANCES.assign(tau=np.where(np.arange(14) == 7, np.nan, TAU))
    row = the_row(drops, known)
    assert (row["attributes"], row["observations"], row["concepts"]) == (13, 27 * 13 - 1, 27)
    assert row["slope"] == pytest.approx(0.2, abs=0.1)


def test_each_control_and_size_has_a_row():
    paired = pd.concat(
        [
            pairs_of({k: simulated(seed=k) for k in (10, 20)}, CONCEPTS, ATTRIBUTES, control)
            for control in ("random", "random-by-layer")
        ]
    )
    paired["control"] = pd.Categorical(paired["control"], ["random", "random-by-layer"], ordered=True)
    table = mixed_model(paired, IMPORTANCES)
    assert list(table)[:2] == ["control", "k"]
    assert table["control"].tolist() == ["random"] * 2 + ["random-by-layer"] * 2
    assert table["k"].tolist() == [10, 20] * 2
    assert table["slope"][0] == pytest.approx(the_row(simulated(seed=10))["slope"])
