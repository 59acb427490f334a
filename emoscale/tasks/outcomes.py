"""From the scores of an item's options to an outcome: accuracy, or the log-odds of the right answer.

Scores are log probabilities or logits of the options.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from emoscale.schema import NO_MASK
from emoscale.statistics import Floats
from emoscale.store import Store

GROUP = ["concept", "replicate"]
"""Columns of items: those that outcomes are averaged over agree in them."""


@dataclass(frozen=True, eq=False)
class Design:
    """What was asked.

    Attributes
    ----------
    items : DataFrame
        ``concept``, ``replicate``, ``right``, the number of the right option, and ``text``, that of its text.
    masks : DataFrame
        ``mask`` (number), ``kind``, ``attribute``, ``k``, ``draw``.
    options : list of str
    tokens : ndarray of int, shape (options,)
        Scored tokens of each option, at least 1.
    question : ndarray of int, shape (items,)
        Items with one number differ in their text alone: all of one template where the options are the concepts,
        otherwise those of one concept and replicate.
    """

    items: pd.DataFrame
    masks: pd.DataFrame
    options: list[str]
    tokens: NDArray[np.int64]
    question: NDArray[np.int64]

    @property
    def without_mask(self) -> int:
        """Number of the first mask that edits nothing."""
        return int(np.flatnonzero(self.masks["kind"] == NO_MASK)[0])

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """Number of each item's concept and replicate, in the order in which they first occur: (items,)."""
        return np.asarray(self.items.groupby(GROUP, sort=False).ngroup(), np.int64)

    @property
    def concepts_share_questions(self) -> bool:
        """Whether a mean over the items of a question is one over several concepts."""
        return bool(self.items.groupby(self.question)["concept"].nunique().gt(1).any())

    @property
    def normalizations(self) -> list[str]:
        """Names of the normalizations that mean something for these options."""
        differ = len(self.options) > 2 and len(set(self.tokens)) > 1
        return [name for name, entry in NORMALIZATIONS.items() if differ or not entry.by_length]


def read_design(store: Store) -> Design:
    """Read what was asked from a store of scores."""
    items = pd.DataFrame({name: store.read(name) for name in ("concept", "replicate", "right", "text")})
    masks = pd.DataFrame({name: store.read(name) for name in ("kind", "attribute", "k", "draw")})
    masks.insert(0, "mask", np.arange(len(masks)))
    options = [str(option) for option in store.read("option")]
    tokens = np.maximum(store.read("option_tokens").astype(np.int64), 1)
    return Design(items, masks, options, tokens, questions(items, options))


def questions(items: pd.DataFrame, options: Collection[str]) -> NDArray[np.int64]:
    """Number the items' questions, see `Design`.

    Parameters
    ----------
    items : DataFrame
        ``concept`` and ``replicate``.
    options : collection of str
    """
    same = ["replicate"] if set(items["concept"]) <= set(options) else GROUP
    return np.asarray(items.groupby(same, sort=False).ngroup(), np.int64)


@dataclass(frozen=True)
class Normalization:
    """How scores of options are made comparable.

    Attributes
    ----------
    name, meaning : str
        The meaning in a sentence: "by ...".
    apply : callable
        From scores, float64 of shape (items, masks, options), and the `Design` to scores of the same shape: a symmetric
        linear map of the scores under one mask, so that it also takes a gradient back to the scores (`gradient`).
    by_length : bool
        Whether it is for names of unequal length, and says nothing where as many tokens of each are scored.
    needs_several : bool
        Whether a question must have been asked about several texts.
    """

    name: str
    meaning: str
    apply: Callable[[Floats, Design], Floats]
    by_length: bool = False
    needs_several: bool = False


def _calibrated(scores: Floats, design: Design) -> Floats:
    """Subtract each option's mean over the items of a question (Holtzman et al. 2021; Zhao et al. 2021)."""
    counts = np.bincount(design.question)
    totals = np.zeros((len(counts), *scores.shape[1:]))
    np.add.at(totals, design.question, scores)
    return np.asarray(scores - (totals / counts[:, None, None])[design.question])


NORMALIZATIONS: dict[str, Normalization] = {
    entry.name: entry
    for entry in (
        Normalization("none", "log probability", lambda scores, _: scores),
        Normalization(
            "per-token",
            "log probability per token",
            lambda scores, design: np.asarray(scores / design.tokens),
            by_length=True,
        ),
        Normalization(
            "per-character",
            "log probability per character",
            lambda scores, design: np.asarray(scores / [max(len(option), 1) for option in design.options]),
            by_length=True,
        ),
        Normalization(
            "calibrated",
            "log probability minus the name's mean over the texts (calibrated)",
            _calibrated,
            needs_several=True,
        ),
    )
}
"""What ``analysis.normalization`` can name."""


def answers(values: Floats) -> Floats:
    """Return the share of each option in the answer: 1 where its score is the highest, divided among those that tie."""
    highest = values == values.max(axis=2, keepdims=True)
    return np.asarray(highest / highest.sum(axis=2, keepdims=True))


def log_odds(values: Floats, right: NDArray[np.int64]) -> Floats:
    """Return the log-odds of the right option among all.

    Parameters
    ----------
    values : ndarray, float64, shape (items, masks, options)
    right : ndarray of int64, shape (items, 1, 1)

    Returns
    -------
    ndarray, float64, shape (items, masks, 1)

    Examples
    --------
    >>> import numpy as np
    >>> float(log_odds(np.log([[[0.2, 0.8]]]), np.array([[[1]]])).squeeze().round(6)) == round(np.log(4), 6)
    True
    """
    others = np.where(np.arange(values.shape[2]) == right, -np.inf, values)
    return np.asarray(np.take_along_axis(values, right, axis=2) - logsumexp(others, axis=2, keepdims=True))


def _log_odds_gradient(values: Floats, right: NDArray[np.int64]) -> Floats:
    is_right = np.arange(values.shape[2]) == right
    return np.asarray(is_right - softmax(np.where(is_right, -np.inf, values), axis=2))


def accuracy(values: Floats, right: NDArray[np.int64]) -> Floats:
    """Return the share of the right option in the answer; parameters and returns as of `log_odds`."""
    return np.asarray(np.take_along_axis(answers(values), right, axis=2))


@dataclass(frozen=True)
class Outcome:
    """What effects can be measured in; higher is better.

    Attributes
    ----------
    name : str
    noun : str
        In a sentence.
    unit : str
        Of a difference; empty for a share.
    compute : callable
        From scores, float64, (items, masks, options), and the right options, (items, 1, 1), to (items, masks, 1).
    gradient : callable, optional
        From the same to its gradient by the scores, (items, masks, options); None where it has no useful one.
    """

    name: str
    noun: str
    unit: str
    compute: Callable[[Floats, NDArray[np.int64]], Floats]
    gradient: Callable[[Floats, NDArray[np.int64]], Floats] | None = None

    @property
    def column(self) -> str:
        """Its name in tables."""
        return self.name.replace("-", "_")


OUTCOMES: dict[str, Outcome] = {
    outcome.name: outcome
    for outcome in (
        Outcome("log-odds", "the log-odds of the right answer", "nats", log_odds, _log_odds_gradient),
        Outcome("accuracy", "accuracy", "", accuracy),
    )
}
"""What ``analysis.outcome`` can name."""

ATTRIBUTED = OUTCOMES["log-odds"]
"""The outcome that neurons' effects are estimated of."""


def gradient(scores: Floats, design: Design, outcome: Outcome, normalization: str) -> Floats:
    """Return the gradient of the sum over all items of an outcome, by the scores.

    Where a normalization puts items in relation (calibrated), each item's scores move the others' outcomes too: the
    gradient says what an item's scores contribute to the sum, and its mean over the items is that of the mean outcome.

    Parameters
    ----------
    scores : ndarray, float64, shape (items, masks, options)
    design : Design
    outcome : Outcome
        One with a gradient.
    normalization : str
        A name in `NORMALIZATIONS`.

    Returns
    -------
    ndarray, float64, shape (items, masks, options)

    Raises
    ------
    ValueError
        If the outcome has no gradient.
    """
    if outcome.gradient is None:
        raise ValueError(f"{outcome.name} has no gradient")
    apply, right = NORMALIZATIONS[normalization].apply, design.items["right"].to_numpy(np.int64)[:, None, None]
    return apply(outcome.gradient(apply(scores, design), right), design)
