"""From the scores of every item, mask and option to outcomes: accuracy, log-odds of the right answer, divergence.

Scores are log probabilities or logits of the options. What is reported is a mean over the items of one concept and
replicate under one mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from emoscale.schema import NO_MASK
from emoscale.statistics import Floats
from emoscale.store import Store

GROUP = ["concept", "replicate"]
_TOP = 3


@dataclass(frozen=True, eq=False)
class Design:
    """What was asked.

    Attributes
    ----------
    items : DataFrame
        ``concept``, ``replicate``, and ``right``, the number of the right option.
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
    def normalizations(self) -> list[str]:
        """Names of the normalizations that mean something for these options."""
        differ = len(self.options) > 2 and len(set(self.tokens)) > 1
        return [name for name, entry in NORMALIZATIONS.items() if differ or not entry.by_length]


def read_design(store: Store) -> Design:
    """Read what was asked from a store of scores."""
    items = pd.DataFrame({name: store.read(name) for name in ("concept", "replicate", "right")})
    masks = pd.DataFrame({name: store.read(name) for name in ("kind", "attribute", "k", "draw")})
    masks.insert(0, "mask", np.arange(len(masks)))
    options = [str(option) for option in store.read("option")]
    same = ["replicate"] if set(items["concept"]) <= set(options) else GROUP
    question = np.asarray(items.groupby(same, sort=False).ngroup(), np.int64)
    return Design(items, masks, options, np.maximum(store.read("option_tokens").astype(np.int64), 1), question)


@dataclass(frozen=True)
class Normalization:
    """How scores of options are made comparable.

    Attributes
    ----------
    name, meaning : str
        The meaning in a sentence: "by ...".
    apply : callable
        From scores, float64 of shape (items, masks, options), and the `Design` to scores of the same shape.
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


def _answers(values: Floats) -> Floats:
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


def accuracy(values: Floats, right: NDArray[np.int64]) -> Floats:
    """Return the share of the right option in the answer; parameters and returns as of `log_odds`."""
    return np.asarray(np.take_along_axis(_answers(values), right, axis=2))


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
    """

    name: str
    noun: str
    unit: str
    compute: Callable[[Floats, NDArray[np.int64]], Floats]

    @property
    def column(self) -> str:
        """Its name in tables."""
        return self.name.replace("-", "_")


OUTCOMES: dict[str, Outcome] = {
    outcome.name: outcome
    for outcome in (
        Outcome("log-odds", "the log-odds of the right answer", "nats", log_odds),
        Outcome("accuracy", "accuracy", "", accuracy),
    )
}
"""What ``analysis.outcome`` can name."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Means over the items of each concept and replicate under each mask.

    Attributes
    ----------
    table : DataFrame
        ``concept``, ``replicate``, the mask's coordinates, ``items`` and ``options`` (numbers of them), and under the
        chosen normalization a column for each of `OUTCOMES`, ``top3`` and ``kl``; concept by concept, then replicates,
        then masks.
    normalized : mapping of str to DataFrame
        The same, without ``kl``, under every normalization that means something here, rows as of `table`.
    answers : ndarray of float64, shape (rows, options)
        Share of the items that each option was the answer to, under the chosen normalization.
    options : list of str
    """

    table: pd.DataFrame
    normalized: Mapping[str, pd.DataFrame]
    answers: Floats
    options: list[str]


def evaluate(store: Store, normalization: str) -> Outcomes:
    """Compute the outcomes of a finished store of scores.

    Parameters
    ----------
    store : Store
    normalization : str
        The chosen one, a name in `NORMALIZATIONS`.

    Returns
    -------
    Outcomes

    Notes
    -----
    - ``accuracy``: the right option has the highest score; options that tie share the answer.
    - ``top3``: fewer than three options score higher than the right one.
    - ``log_odds``: log p / (1 - p) of the right option, p the softmax of the scores over the options.
    - ``kl``: sum over options of p0 log(p0 / p), p0 the distribution without a mask (the first mask of kind none).
    """
    design = read_design(store)
    names = design.normalizations if normalization in design.normalizations else [*design.normalizations, normalization]
    groups = design.items.groupby(GROUP, sort=False)
    group, keys = np.asarray(groups.ngroup(), np.int64), groups.size().rename("items").reset_index()
    baseline = _baseline(store, design, normalization)
    width, blocks = store.chunks("scores")[1], []
    for start in range(0, len(design.masks), width):
        scores = store.read("scores", mask=slice(start, start + width)).astype(np.float64)
        blocks.append(_block(scores, design, names, normalization, baseline, group))
    by_mask = {key: np.concatenate([block[key] for block in blocks], axis=1) for key in blocks[0]}
    rows = keys.merge(design.masks, how="cross").assign(options=len(design.options))

    def column(key: tuple[str, str]) -> Floats:
        return by_mask[key].reshape(len(rows), -1)

    normalized = {
        name: pd.DataFrame({what: column((name, what))[:, 0] for what in (*_columns(), "top3")}) for name in names
    }
    table = pd.concat([rows, normalized[normalization]], axis=1).assign(kl=column((normalization, "kl"))[:, 0])
    return Outcomes(table, normalized, column((normalization, "answers")), design.options)


def _columns() -> list[str]:
    return [outcome.column for outcome in OUTCOMES.values()]


def _baseline(store: Store, design: Design, normalization: str) -> Floats:
    """Return the log probabilities of the options without a mask, shape (items, 1, options)."""
    number = int(np.flatnonzero(design.masks["kind"] == NO_MASK)[0])
    scores = store.read("scores", mask=slice(number, number + 1)).astype(np.float64)
    return np.asarray(log_softmax(NORMALIZATIONS[normalization].apply(scores, design), axis=2))


def _block(
    scores: Floats, design: Design, names: list[str], chosen: str, baseline: Floats, group: NDArray[np.int64]
) -> dict[tuple[str, str], Floats]:
    """Average the outcomes of some masks over the items of each group: arrays (groups, masks, 1 or options)."""
    right = design.items["right"].to_numpy(np.int64)[:, None, None]
    found: dict[tuple[str, str], Floats] = {}
    for name in names:
        values = NORMALIZATIONS[name].apply(scores, design)
        of_right = np.take_along_axis(values, right, axis=2)
        per_item = {outcome.column: outcome.compute(values, right) for outcome in OUTCOMES.values()}
        per_item["top3"] = (np.count_nonzero(values > of_right, axis=2) < _TOP)[:, :, None].astype(np.float64)
        if name == chosen:
            q = log_softmax(values, axis=2)
            per_item["kl"] = (np.exp(baseline) * (baseline - q)).sum(axis=2, keepdims=True)
            per_item["answers"] = _answers(values)
        found |= {(name, what): _means(array, group) for what, array in per_item.items()}
    return found


def _means(values: Floats, group: NDArray[np.int64]) -> Floats:
    totals = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(totals, group, values)
    return np.asarray(totals / np.bincount(group)[:, None, None])
