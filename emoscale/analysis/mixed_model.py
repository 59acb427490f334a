"""One model of all concepts and attributes: how much the drop grows with an attribute's importance to people."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from emoscale.analysis.drops import SIZE, mean_drops
from emoscale.statistics import Floats

BOTH, ALONE = "intercept and slope", "intercept"
"""Which random effects a concept has."""

_FEWEST = 3
_NO_SLOPES = 1e-5
"""Variance of the slopes, per standard deviation of importance and in residual variances, that is none at all."""
_NO_SPREAD = 1e-12
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class _Fit:
    """The fitted part of a row of the table; the default is that of data that cannot be fitted."""

    slope: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    se: float = np.nan
    z: float = np.nan
    p: float = np.nan
    intercept: float = np.nan
    slope_sd: float = np.nan
    residual_sd: float = np.nan


def mixed_model(paired: pd.DataFrame, importances: pd.DataFrame) -> pd.DataFrame:
    """Fit drop ~ importance with random effects of the concepts, for each control and k.

    drop_ca = (b0 + u0_c) + (b1 + u1_c) importance_a + e_ca, where (u0, u1) of a concept are normal with a covariance of
    their own and e is normal, by restricted maximum likelihood (`statsmodels` ``MixedLM``). One observation is the mean
    drop of a concept (over its prompts) after the neurons of an attribute.

    Parameters
    ----------
    paired : DataFrame
        From `emoscale.analysis.drops.paired_answers`.
    importances : DataFrame
        From `emoscale.analysis.humans.importance`; attributes without importance are ignored.

    Returns
    -------
    DataFrame
        Per ``control`` and ``k``: ``slope`` (b1, outcome per unit of tau), ``ci_low``, ``ci_high`` (Wald, 95 %),
        ``se``, ``z``, ``p`` (two-sided), ``intercept`` (drop at importance 0), ``slope_sd`` (of u1), ``residual_sd``,
        ``concepts``, ``attributes``, ``observations``, ``converged`` and ``random``: ``intercept and slope``, or
        ``intercept`` where the slopes do not vary between concepts (or no fit with slopes converges); slope_sd is NaN
        then. Without any fit (fewer than 3 concepts or attributes, importance that does not vary, drops that leave no
        residual), the numbers are NaN, ``converged`` is False and ``random`` is empty.

    Notes
    -----
    Slopes are random as well as intercepts, for otherwise b1 would seem more certain than it is (Barr, Levy, Scheepers
    & Tily 2013, *Journal of Memory and Language* 68, 255-278). For the same reason slopes that go along perfectly with
    the intercepts (a singular covariance) are kept.

    Attributes are no random effect here: the residuals of different concepts count as independent, though all concepts
    meet the same masks, and one that happens to hurt does so in every concept. So the interval speaks of other concepts
    with these masks, not of other attributes or masks, for which
    `emoscale.analysis.humans.mean_drop_correlation` is the test.
    """
    drops = mean_drops(paired)
    tau = importances.set_index("attribute")["tau"].reindex(drops.columns.astype(str)).to_numpy(np.float64)
    drops, tau = drops.loc[:, ~np.isnan(tau)], tau[~np.isnan(tau)]
    rows = [
        {**dict(zip(SIZE, size, strict=True)), **_row(table.to_numpy(np.float64), tau)}
        for size, table in drops.groupby(level=SIZE, observed=True)
    ]
    return pd.DataFrame(rows).astype({"control": drops.index.get_level_values("control").dtype})


def _row(drops: Floats, tau: Floats) -> dict[str, Any]:
    """Fit one table of drops, shape (C, A), on the A importances."""
    concept, attribute = np.nonzero(np.isfinite(drops))
    y, x = drops[concept, attribute], tau[attribute]
    concepts, attributes = len(np.unique(concept)), len(np.unique(attribute))
    fit, converged, random = _Fit(), False, ""
    if min(concepts, attributes) >= _FEWEST and x.std() > _NO_SPREAD and _residual(y, x, concept) > _NO_SPREAD:
        fit, converged, random = _fit(y, x, concept)
    return {
        **asdict(fit),
        "concepts": concepts,
        "attributes": attributes,
        "observations": len(y),
        "converged": converged,
        "random": random,
    }


def _residual(y: Floats, x: Floats, concept: NDArray[np.intp]) -> float:
    """Return the largest residual of the drops from a line fitted to each concept."""
    largest = 0.0
    for number in np.unique(concept):
        own = concept == number
        line = np.column_stack([np.ones(own.sum()), x[own]])
        largest = max(largest, float(np.abs(y[own] - line @ np.linalg.lstsq(line, y[own])[0]).max()))
    return largest


def _fit(y: Floats, x: Floats, concept: NDArray[np.intp]) -> tuple[_Fit, bool, str]:
    center, scale = x.mean(), x.std()
    fixed = np.column_stack([np.ones(len(x)), (x - center) / scale])
    result, random = _optimize(y, fixed, concept, fixed), BOTH
    if result is None or not result.converged or result.cov_re_unscaled[1, 1] < _NO_SLOPES:
        result, random = _optimize(y, fixed, concept, None), ALONE
    if result is None:
        return _Fit(), False, ""
    slope, se = result.fe_params[1] / scale, np.asarray(result.bse_fe)[1] / scale
    half = stats.norm.ppf(0.975) * se
    fit = _Fit(
        slope=float(slope),
        ci_low=float(slope - half),
        ci_high=float(slope + half),
        se=float(se),
        z=float(slope / se),
        p=float(2 * stats.norm.sf(abs(slope / se))),
        intercept=float(result.fe_params[0] - slope * center),
        slope_sd=float(np.sqrt(result.cov_re[1, 1]) / scale) if random == BOTH else np.nan,
        residual_sd=float(np.sqrt(result.scale)),
    )
    return fit, bool(result.converged), random


def _optimize(y: Floats, fixed: Floats, concept: NDArray[np.intp], random: Floats | None) -> Any:
    """Fit by statsmodels; None where that gives no finite answer."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            # The methods that follow the gradient stop early, or run off to an infinite variance, where a variance is
            # near 0 (tried: statsmodels 0.15); Powell's does not need it.
            result = MixedLM(y, fixed, groups=concept, exog_re=random).fit(method="powell", ftol=_TOLERANCE)
            numbers = [result.llf, result.scale, *result.fe_params, *np.asarray(result.bse_fe)]
        except (np.linalg.LinAlgError, ValueError, ZeroDivisionError):
            return None
    return result if np.isfinite(numbers).all() else None
