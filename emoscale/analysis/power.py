"""The smallest effect that a run of some size would find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoscale.analysis.needed import smallest_effect, with_mean
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.run.verdicts import LEVEL
from emoscale.schema import ALL_ATTRIBUTES
from emoscale.statistics import Floats

POWER = 0.8
SIMULATIONS = 2_000

_HALVINGS = 12


@dataclass(frozen=True, eq=False)
class Spread:
    """How outcomes of permuted masks vary.

    Attributes
    ----------
    of_masks : ndarray of float64, shape (A,)
        Variance over permutations, of each attribute, if infinitely many texts were asked.
    of_texts : ndarray of float64, shape (A,)
        Variance that the run's texts add to it.
    correlation : ndarray of float64, shape (A, A)
        Between attributes, over permutations.
    texts : int
        Texts of the run.
    """

    of_masks: Floats
    of_texts: Floats
    correlation: Floats
    texts: int

    def covariance(self, texts: int) -> Floats:
        """Return the covariance of the attributes' outcomes over permutations, with so many texts."""
        sd = np.sqrt(self.of_masks + self.of_texts * self.texts / texts)
        return np.asarray(self.correlation * np.outer(sd, sd))


def measure_spread(masks: PermutedMasks, k: int) -> Spread:
    """Measure how the outcomes of a run's permuted masks vary.

    Parameters
    ----------
    masks : PermutedMasks
        With three permuted masks or more of each attribute.
    k : int
        Their size.

    Notes
    -----
    The variance over draws is that of masks and of texts (each draw meets the same texts, but they respond to each
    differently); what texts do is measured by how differently they respond. Attributes' correlations are those of the
    estimated effects, of which there are many more permutations, where there are any.
    """
    values = masks.values(k)[:, 1:]
    draws = values.shape[1]
    apart = values - values.mean(axis=1, keepdims=True)
    noise = masks.sample.variances(apart.reshape(len(values), -1)).reshape(draws, -1).sum(axis=0) / (draws - 1)
    observed = masks.outcomes(k)[1:]
    variance = observed.var(axis=0, ddof=1)
    estimates = masks.estimates(k)
    table = observed if estimates is None else estimates[1:]
    correlation = np.nan_to_num(np.atleast_2d(np.corrcoef(table.T)))
    np.fill_diagonal(correlation, 1.0)
    return Spread(np.maximum(variance - noise, 0), np.minimum(noise, variance), correlation, masks.sample.texts)


def detectable(spread: Spread, texts: int, draws: int, smallest: float, seed: int = 0) -> Floats:
    """Find the smallest drops that would be called needed in four of five runs.

    Parameters
    ----------
    spread : Spread
    texts : int
        Texts that are put to the model.
    draws : int
        Permuted masks of each attribute that are ablated: 19 or more.
    smallest : float
        Smallest effect of interest: a drop must reach it.
    seed : int

    Returns
    -------
    ndarray of float64, shape (A + 1,)
        Of each attribute alone, and last of all at once, which is what the mean over attributes needs.

    Notes
    -----
    Outcomes are drawn as normal over permutations, and tested as in `emoscale.analysis.needed.needed_table`.
    """
    covariance = spread.covariance(texts)
    root = np.linalg.cholesky(covariance + 1e-9 * np.trace(covariance) * np.eye(len(covariance)))
    drawn = np.random.default_rng(seed).normal(size=(SIMULATIONS, draws + 1, len(root))) @ root.T
    scale = float(np.sqrt(np.diag(covariance).max()))
    return np.array(
        [_smallest_found(drawn, column, smallest, smallest + 20 * scale) for column in range(len(root) + 1)]
    )


def _smallest_found(drawn: Floats, column: int, low: float, high: float) -> float:
    """Halve an interval of effects until the one with the power asked for is known."""
    smallest = low
    if _power(drawn, column, low, smallest) >= POWER:
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(drawn, column, middle, smallest) >= POWER else (middle, high)
    return high


def _power(drawn: Floats, column: int, effect: float, smallest: float) -> float:
    """Return the share of simulated runs in which an effect on one column, or on all for the last, is found."""
    attributes = drawn.shape[2]
    values = drawn.copy()
    values[:, 0, column if column < attributes else slice(None)] -= effect
    values = with_mean(values)
    means, spread = values.mean(axis=1, keepdims=True), values.std(axis=1, keepdims=True)
    z = np.abs(values - means) / np.where(spread > 0, spread, np.inf)
    p = (z.max(axis=2) >= z[:, :1, column]).mean(axis=1)
    drop = values[:, 1:, column].mean(axis=1) - values[:, 0, column]
    return float(((p <= LEVEL) & (drop >= smallest)).mean())


def power_table(masks: PermutedMasks, texts: int | None = None, draws: int | None = None) -> pd.DataFrame:
    """Tabulate the smallest drops that would be found with power .8.

    Parameters
    ----------
    masks : PermutedMasks
        Of a run, or of a smaller one before it.
    texts, draws : int, optional
        Of the run that is planned; by default as many as this one has.

    Returns
    -------
    DataFrame
        One row a size and attribute, and the mean over attributes: ``k``, ``attribute``, ``texts``, ``draws``,
        ``spread`` (standard deviation of the outcome over permuted masks, with so many texts) and ``detectable``, the
        drop that is called needed in four of five runs, in the unit of the outcome.
    """
    rows = []
    for k in masks.numbers:
        spread = measure_spread(masks, k)
        asked, drawn = texts or spread.texts, draws or masks.draws(k)
        covariance = spread.covariance(asked)
        sd = np.sqrt([*np.diag(covariance), covariance.mean()])
        found = detectable(spread, asked, drawn, smallest_effect(masks.options))
        names = [*masks.attributes, ALL_ATTRIBUTES]
        rows.append(
            pd.DataFrame(
                {"k": k, "attribute": names, "texts": asked, "draws": drawn, "spread": sd, "detectable": found}
            )
        )
    return pd.concat(rows, ignore_index=True)
