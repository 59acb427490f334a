"""Every item's outcome under every mask, and how far the mean over items would vary with other texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.statistics import Floats
from emoscale.store import Store
from emoscale.tasks.item_scores import ItemScores, read_scores
from emoscale.tasks.outcomes import GROUP, NORMALIZATIONS, Outcome, read_design


@dataclass(frozen=True, eq=False)
class ItemSample:
    """Which items were asked, and how far their mean would vary with other texts of the same concepts.

    The mean outcome is that of the concepts, each the mean of its replicates, each the mean of its items.

    Attributes
    ----------
    weights : ndarray of float64, shape (items,)
        Of each item in the mean; their sum is 1.
    concept : ndarray of int, shape (items,)
        Number of its concept, from 0.
    stratum : ndarray of int, shape (items,)
        From 0: its concept, or all concepts of a single text together.
    text : ndarray of int, shape (items,)
        Number of its text, from 0; items of one text vary together.
    """

    weights: Floats
    concept: NDArray[np.int64]
    stratum: NDArray[np.int64]
    text: NDArray[np.int64]

    @staticmethod
    def of(items: pd.DataFrame) -> ItemSample:
        """Sort the items of a `Design`."""
        groups = items.groupby(GROUP, sort=False)["right"].transform("size")
        replicates = items.groupby("concept", sort=False)["replicate"].transform("nunique")
        weights = 1 / (groups * replicates * items["concept"].nunique())
        # An item without a text is a text of its own.
        text = np.where(items["text"] < 0, -1 - np.arange(len(items)), items["text"])
        of_concept = pd.Series(text, items.index).groupby(items["concept"], sort=False).transform("nunique")
        concept = pd.factorize(items["concept"])[0].astype(np.int64)
        stratum = np.where(of_concept > 1, concept, -1)
        numbered = [np.unique(values, return_inverse=True)[1].astype(np.int64) for values in (stratum, text)]
        return ItemSample(weights.to_numpy(np.float64), concept, *numbered)

    @property
    def texts_by_stratum(self) -> NDArray[np.int64]:
        """Number of texts of each stratum."""
        pairs = np.unique(np.stack([self.stratum, self.text]), axis=1)
        return np.bincount(pairs[0])

    @property
    def df(self) -> int:
        """Degrees of freedom of the variance over texts."""
        return int((self.texts_by_stratum - 1).sum())

    @property
    def texts(self) -> int:
        """Number of texts."""
        return len(np.unique(self.text))

    def means(self, values: Floats) -> Floats:
        """Average values, (items, ...), over the items: (...)."""
        return np.asarray(np.tensordot(self.weights, values, axes=1))

    def by_concept(self, weighted: Floats) -> Floats:
        """Sum weighted values, (items, ...), up to means of each concept: (C, ...)."""
        totals = np.zeros((self.concept.max() + 1, *weighted.shape[1:]))
        np.add.at(totals, self.concept, weighted)
        return totals * len(totals)

    def deviations(self, values: Floats) -> Floats:
        """Weigh what sets items apart from others of their stratum, so that sums of squares over texts are variances.

        Parameters
        ----------
        values : ndarray of float64, shape (items, n)

        Returns
        -------
        ndarray of float64, shape (items, n)
            Weight times the deviation from the stratum's mean, times sqrt(m / (m - 1)) for a stratum of m texts: items
            are a stratified sample of clusters, texts within concepts (Cochran 1977, *Sampling Techniques*, chapters 5
            and 9). All 0 in a stratum of one text.
        """
        counts = self.texts_by_stratum
        means = np.zeros((len(counts), values.shape[1]))
        np.add.at(means, self.stratum, self.weights[:, None] * values)
        means /= np.bincount(self.stratum, self.weights)[:, None]
        factors = self.weights * np.sqrt(counts / np.maximum(counts - 1, 1))[self.stratum]
        return np.asarray(factors[:, None] * (values - means[self.stratum]))

    def variances(self, values: Floats) -> Floats:
        """Estimate the variance of the means of values, (items, n), over other texts of the same concepts: (n,).

        NaN where no concept, nor all those of a single text together, has several texts.
        """
        if self.df < 1:
            return np.full(values.shape[1], np.nan)
        of_text = np.zeros((self.text.max() + 1, values.shape[1]))
        np.add.at(of_text, self.text, self.deviations(values))
        return np.asarray((of_text**2).sum(axis=0))


def item_outcomes(store: Store, sample: ItemSample, outcome: Outcome, normalization: str) -> tuple[Floats, Floats]:
    """Compute every item's outcome under every mask, and what it contributes to the mean.

    Parameters
    ----------
    store : Store
        Finished scores.
    sample : ItemSample
    outcome : Outcome
    normalization : str
        A name in `NORMALIZATIONS`.

    Returns
    -------
    outcomes, contributions : ndarray of float64, shape (items, masks)
        Both have the same weighted mean. Where scores are calibrated, an item moves the others' outcomes too, by the
        options' means: its contribution has that to first order (its influence; Hampel 1974, *Journal of the American
        Statistical Association* 69, 383-393), if the outcome has a gradient. Of scores in two precisions both are
        corrected, see `emoscale.tasks.partly_known.corrected`.
    """
    design = read_design(store)
    width, parts = store.chunks("scores")[1], []
    for start in range(0, len(design.masks), width):
        scores = read_scores(store, design, slice(start, start + width))
        parts.append(outcomes_of_masks(scores, sample, outcome, normalization))
    outcomes, contributions = zip(*parts, strict=True)
    return np.concatenate(outcomes, axis=1), np.concatenate(contributions, axis=1)


def outcomes_of_masks(
    scores: ItemScores, sample: ItemSample, outcome: Outcome, normalization: str
) -> tuple[Floats, Floats]:
    """Compute the same as `item_outcomes` from scores that were read."""
    entry, design = NORMALIZATIONS[normalization], scores.design
    found = np.asarray(scores.outcome(outcome.compute, normalization)[:, :, 0])
    if not entry.needs_several or outcome.gradient is None:
        return found, found
    # The options' means that move all outcomes are those of the corrected scores, and so are the mean slopes.
    weights, values = sample.weights[:, None, None], entry.apply(scores.best, design)
    slopes = weights * scores.outcome(outcome.gradient, normalization)
    return found, found - (((slopes - entry.apply(slopes, design)) * values) / weights).sum(axis=2)
