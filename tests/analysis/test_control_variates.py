"""Intervals of the mean over control masks cover it, with and without the estimated effects as control variate."""

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.control_variates import control_variates, regression_estimate
from emoscale.masks.controls import CONTROLS
from emoscale.masks.request import Request

NEURONS, LAYERS, K = 300, 5, 40
ATTRIBUTES = ["arousal", "valence", "control"]
SIMULATIONS = 2500


def population(disjoint, draws):
    """Neurons of known effects, unequal between layers; the selective ones lie mostly in the first."""
    rng = np.random.default_rng(3)
    layer = np.repeat(np.arange(LAYERS), NEURONS // LAYERS)
    effects = rng.normal(0.1 * layer - 0.3, 0.2 + 0.1 * layer)
    key = rng.normal(size=(NEURONS, len(ATTRIBUTES))) + 0.2 * layer[:, None]
    request = Request(
        rank=key.argsort(axis=0).argsort(axis=0) + 1.0,
        has_rank=np.ones(key.shape, bool),
        layer=layer,
        activation_level=lambda: effects,
        effects=lambda: effects,
        attributes=ATTRIBUTES,
        k=[K],
        draws=draws,
        disjoint=disjoint,
        seed=0,
    )
    return request, effects


@cache
def estimates(kind, disjoint, draws):
    """Estimated effects of drawn masks, (simulations, attributes, draws); means and variances over all masks."""
    request, effects = population(disjoint, draws * SIMULATIONS)
    moments = {strata.attribute: strata.moments(effects) for strata in CONTROLS[kind].strata(request)}
    sums = {name: [] for name in moments}
    for mask in CONTROLS[kind].draw(request):
        sums[mask.attribute].append(effects[mask.neurons].sum())
    each = [np.reshape(values, (SIMULATIONS, draws)) for values in sums.values()]
    return np.stack(each, axis=1), *np.transpose(list(moments.values()))


@pytest.mark.parametrize("rho", [0.0, 0.7, 0.95])
@pytest.mark.parametrize(
    ("kind", "disjoint", "draws"),
    [
        ("random", False, 5),
        ("random", False, 20),
        ("random-by-layer", False, 2),
        ("random-by-activation", False, 5),
        ("random", True, 5),
    ],
)
def test_intervals_cover_the_mean_over_all_masks(kind, disjoint, draws, rho):
    estimated, expected, variances = estimates(kind, disjoint, draws)
    spread, slope, each = np.sqrt(variances.mean()), 0.8, len(expected)
    noise = np.random.default_rng(7).normal(size=estimated.shape)
    # An error of the estimate that all masks of an attribute share, beside what chance adds to each.
    shift = np.linspace(-1, 1, each)[:, None] + 0.5
    exact = shift + spread * noise
    if rho:
        exact = shift + slope * estimated + slope * spread * np.sqrt(1 / rho**2 - 1) * noise
    truth = float(np.mean(shift[:, 0] + (slope * expected if rho else 0)))
    group = np.repeat(np.arange(each), draws)
    found = [regression_estimate(y.ravel(), x.ravel(), group, expected) for y, x in zip(exact, estimated, strict=True)]
    for means in ([one.plain for one in found], [one.adjusted for one in found]):
        low, high = np.transpose([mean.interval for mean in means])
        assert 0.935 < np.mean((low <= truth) & (truth <= high)) < 0.965
    if draws == 20:
        before, after = np.var([[one.plain.mean, one.adjusted.mean] for one in found], axis=0)
        # Estimating beta costs a factor of (n - 2) / (n - 3) (Lavenberg & Welch 1981).
        assert after / before == pytest.approx((1 - rho**2) * 18 / 17, rel=0.12)
        assert np.mean([one.rho for one in found]) == pytest.approx(rho, abs=0.03)


def test_it_is_the_regressions_value_at_the_expectation():
    rng = np.random.default_rng(1)
    x = rng.normal(size=8)
    y = 0.5 * x + rng.normal(size=8)
    found = regression_estimate(y, x, np.zeros(8, int), np.array([0.3]))
    design = np.column_stack([np.ones(8), x])
    coefficients, (left,), *_ = np.linalg.lstsq(design, y)
    at = np.array([1, 0.3])
    assert found.adjusted.mean == pytest.approx(at @ coefficients)
    assert found.adjusted.se == pytest.approx(np.sqrt(left / 6 * (at @ np.linalg.inv(design.T @ design) @ at)))
    assert found.plain == pytest.approx((y.mean(), y.std(ddof=1) / np.sqrt(8), 7))
    assert (found.adjusted.df, found.beta) == (6, pytest.approx(coefficients[1]))
    assert found.rho == pytest.approx(np.corrcoef(x, y)[0, 1])


def effects(draws=4):
    rng = np.random.default_rng(2)
    rows = [("selective", "arousal", 9, 0), *(("random", "", 9, draw) for draw in range(draws))]
    rows += [("random-by-layer", name, 9, draw) for name in ("arousal", "valence") for draw in range(draws)]
    table = pd.DataFrame(rows, columns=["kind", "attribute", "k", "draw"])
    estimated = rng.normal(size=len(rows))
    return table.assign(estimated=estimated, exact=2 * estimated + 0.1 * rng.normal(size=len(rows)))


EXPECTED = pd.DataFrame(
    [("random", 9, "", 0.1), ("random-by-layer", 9, "arousal", 0.2), ("random-by-layer", 9, "valence", -0.4)],
    columns=["control", "k", "attribute", "expected"],
)


def test_one_row_a_control_and_size():
    table = effects()
    found = control_variates(table, EXPECTED).set_index("control")
    assert found.index.tolist() == ["random", "random-by-layer"]
    assert found["masks"].tolist() == [4, 8]
    np.testing.assert_allclose(found["expected"], [0.1, -0.1])
    np.testing.assert_allclose(found["beta"], 2, atol=0.2)
    np.testing.assert_allclose(found["adjusted"], [0.2, -0.2], atol=0.2)
    assert (found["rho"] > 0.99).all()
    assert (found["variance_ratio"] < 0.1).all()
    row = found.loc["random"]
    own = table[table["kind"] == "random"]
    assert row["exact"] == pytest.approx(own["exact"].mean())
    assert row["se"] == pytest.approx(own["exact"].sem())
    assert row["variance_ratio"] == pytest.approx((row["adjusted_se"] / row["se"]) ** 2)


@pytest.mark.parametrize("draws", [1, 2])
def test_too_few_draws_leave_nothing_to_adjust_by(draws):
    row = control_variates(effects(draws), EXPECTED).set_index("control").loc["random"]
    assert np.isnan(row[["adjusted", "adjusted_se", "beta", "rho", "variance_ratio"]].astype(float)).all()
    assert np.isfinite(row["exact"])
    assert np.isfinite(row["se"]) == (draws > 1)


def test_equal_estimates_say_nothing():
    table = effects().assign(estimated=0.1 + 0.2)
    found = control_variates(table, EXPECTED)
    assert found["adjusted"].isna().all()
    assert found["se"].notna().all()


def test_the_expectation_is_that_of_the_draws():
    """Whatever is drawn from, the mean estimate of many masks comes to the mean over all."""
    for kind, disjoint in (("random", False), ("random", True), ("random-by-layer", True)):
        request, values = population(disjoint, 400)
        sums = {}
        for mask in CONTROLS[kind].draw(request):
            sums.setdefault(mask.attribute, []).append(values[mask.neurons].sum())
        for strata in CONTROLS[kind].strata(dataclasses.replace(request, draws=0)):
            mean, variance = strata.moments(values)
            drawn = np.array(sums[strata.attribute])
            assert abs(drawn.mean() - mean) < 4 * np.sqrt(variance / len(drawn))
            assert drawn.var(ddof=1) == pytest.approx(variance, rel=0.3)
