"""A planted model in NumPy, for many texts and masks at once, and what the loss of neurons truly costs in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logsumexp, softmax

from benchmarks.planted_models import (
    CONSTANT,
    DIRECT,
    GATE,
    QUESTION,
    SENTENCES,
    Floats,
    Integers,
    PlantedModel,
    draw_texts,
    width,
)
from emoscale.selectivity.kendall import tau
from emoscale.selectivity.permutation import concept_orders
from emoscale_kernels import attribute_patterns, decimal_distances

EPSILON = 1e-6
"""Of the norms; the default of the families."""
TRUE_ORDERS = 20261115
"""Seed of the permutations that truth is computed on, which no run has."""
MOST = 4.0
"""The largest factor of the strength."""


class Twin:
    """What a planted model does, computed directly.

    Parameters
    ----------
    model : PlantedModel
    """

    def __init__(self, model: PlantedModel) -> None:
        self.model = model
        self._of = {token: number for number, token in enumerate(model.vocabulary)}

    def ids(self, text: str) -> list[int]:
        """Return a text's tokens."""
        return [self._of[word] for word in text.split()]

    @cached_property
    def activations(self) -> Floats:
        """Return every neuron's value at the name of every concept in every sentence, shape (sentences, C, N)."""
        C = self.model.options.concepts
        rows = [[self.ids(sentence.format(concept=name)) for name in self.model.names] for sentence in SENTENCES]
        found = [self._neurons(*self._inputs(np.array(ids))) for ids in rows]
        return np.stack(found).reshape(len(SENTENCES), C, -1)

    def neurons(self, texts: Integers) -> tuple[Floats, Floats, Floats]:
        """Return what is at the last token after texts: evidence (I, C), squares of evidence and noise (I,), neurons.

        Parameters
        ----------
        texts : ndarray of int64, shape (I, words)
            Tokens, as from `draw_texts`.
        """
        last = np.full((len(texts), 1), self._of[QUESTION.split()[-1]])
        evidence, noise = self._inputs(np.concatenate([texts, last], axis=1))
        return evidence, _squares(evidence, noise), self._neurons(evidence, noise)

    def logits(self, texts: Integers, masks: NDArray[np.bool_]) -> Floats:
        """Compute the logit of every name after texts.

        Parameters
        ----------
        texts : ndarray of int64, shape (I, words)
            Tokens, as from `draw_texts`.
        masks : ndarray of bool, shape (K, N)
            True where a neuron is set to 0.

        Returns
        -------
        ndarray of float64, shape (I, K, C)
        """
        evidence, squares, values = self.neurons(texts)
        K, N, C = *masks.shape, evidence.shape[1]
        kept = (~masks).T[:, :, np.newaxis] * self.model.write[:, np.newaxis, :]
        written = (values @ kept.reshape(N, K * C)).reshape(len(texts), K, C)
        norm = self._norm(squares[:, np.newaxis] + (written**2).sum(axis=2))
        return np.asarray(norm[:, :, np.newaxis] * (DIRECT * evidence[:, np.newaxis, :] + written))

    def scores(self, texts: Integers, masks: NDArray[np.bool_]) -> Floats:
        """Compute the log probability of every name; parameters and returns as of `logits`."""
        logits = self.logits(texts, masks)
        others = np.log(len(self.model.vocabulary) - logits.shape[2])  # their logits are 0
        return np.asarray(logits - np.logaddexp(logsumexp(logits, axis=2), others)[:, :, np.newaxis])

    def _inputs(self, ids: Integers) -> tuple[Floats, Floats]:
        """Return evidence and noise at the last token after attention, shapes (I, C) and (I, M)."""
        evidence, noise = self.model.evidence[ids], self.model.noise[ids]
        norm = self._norm(_squares(evidence, noise))[..., np.newaxis]
        return tuple(part[:, -1] + (norm * part).mean(axis=1) for part in (evidence, noise))

    def _neurons(self, evidence: Floats, noise: Floats) -> Floats:
        norm = self._norm(_squares(evidence, noise))[:, np.newaxis]
        gate = norm * (GATE + evidence @ self.model.gate.T)
        up = norm * (evidence @ self.model.up.T + noise @ self.model.up_noise.T)
        return np.asarray(gate * expit(gate) * up)

    def _norm(self, squares: Floats) -> Floats:
        """Return what a vector is multiplied by: nearly 1, as the constant is large."""
        D = width(self.model)
        return np.asarray(CONSTANT / np.sqrt(D) / np.sqrt(squares / D + EPSILON))


def _squares(evidence: Floats, noise: Floats) -> Floats:
    return np.asarray(CONSTANT**2 + (evidence**2).sum(axis=-1) + (noise**2).sum(axis=-1))


def outcomes(logits: Floats, concept: Integers) -> Floats:
    """Return the mean log-odds of the right name after masks, (K,), calibrated; from logits, (I, K, C)."""
    values = logits - logits.mean(axis=0)
    right = np.take_along_axis(values, concept[:, np.newaxis, np.newaxis], axis=2)
    np.put_along_axis(values, concept[:, np.newaxis, np.newaxis], -np.inf, axis=2)
    return np.asarray((right[..., 0] - logsumexp(values, axis=2)).mean(axis=0))


def most_selective(twin: Twin, scores: Floats, k: int) -> NDArray[np.bool_]:
    """Mask the k neurons most selective for each column of scores, (C, X): shape (X, N)."""
    found = tau(twin.activations, attribute_patterns(decimal_distances(scores))).T
    masks = np.zeros(found.shape, bool)
    np.put_along_axis(masks, np.argpartition(-found, k, axis=1)[:, :k], True, axis=1)
    return masks


@dataclass(frozen=True, eq=False)
class Truth:
    """What masks truly cost: the mean over texts and over permutations of the concepts.

    Outcomes are computed for some sets of texts, each as large as a run's, and for some permutations, a part of these
    on each set. Estimates of first order are known for many more permutations, and the regression on them takes out
    which ones were drawn.

    Parameters
    ----------
    twin : Twin
    k : int
        Size of the masks.
    sets : int
        Sets of texts.
    draws : int
        Permutations on each of them.
    orders : int
        Permutations in all.
    """

    twin: Twin
    k: int
    sets: int = 160
    draws: int = 5
    orders: int = 4000

    @cached_property
    def _texts(self) -> list[tuple[Integers, Integers]]:
        return [draw_texts(self.twin.model, self.twin.model.options.texts, number) for number in range(self.sets)]

    def _outcomes(self, number: int, masks: NDArray[np.bool_]) -> Floats:
        texts, concept = self._texts[number]
        return outcomes(self.twin.logits(texts, masks), concept)

    @cached_property
    def _effects(self) -> Floats:
        """Every neuron's effect on the outcome if it is set to 0, to first order."""
        found = []
        for texts, concept in self._texts[:10]:
            logits = self.twin.logits(texts, np.zeros((1, self.twin.model.options.neurons), bool))[:, 0]
            values = logits - logits.mean(axis=0)
            right = np.arange(values.shape[1]) == concept[:, np.newaxis]
            gradient = right - softmax(np.where(right, -np.inf, values), axis=1)
            neurons = self.twin.neurons(texts)[2]
            found.append(-((neurons - neurons.mean(axis=0)) * (gradient @ self.twin.model.write.T)).mean(axis=0))
        return np.asarray(np.mean(found, axis=0))

    @cached_property
    def _permuted(self) -> NDArray[np.bool_]:
        """Masks of the permutations, shape (orders, A, N)."""
        scores = self.twin.model.scores
        orders = concept_orders(len(scores), self.orders, TRUE_ORDERS)
        columns = scores[orders].transpose(1, 0, 2).reshape(len(scores), -1)
        return most_selective(self.twin, columns, self.k).reshape(len(orders), scores.shape[1], -1)

    @cached_property
    def permuted(self) -> Floats:
        """Mean outcome after the masks of permuted attributes, by set and attribute: (sets, A)."""
        return self._expected(self._permuted)

    def _expected(self, masks: NDArray[np.bool_]) -> Floats:
        """Average the outcome over masks, (orders, A, N), by set: (sets, A)."""
        estimates, exact, used = masks @ self._effects, [], []
        for number in range(self.sets):
            some = np.arange(number * self.draws, (number + 1) * self.draws) % len(masks)
            found = self._outcomes(number, masks[some].reshape(-1, masks.shape[2]))
            exact.append(found.reshape(self.draws, -1))
            used.append(estimates[some])
        y, x = np.stack(exact), np.stack(used)
        apart = x - x.mean(axis=1, keepdims=True)
        spread = (apart**2).sum()
        slope = (apart * y).sum() / spread if spread > 0 else 0.0
        return np.asarray(y.mean(axis=1) - slope * (x.mean(axis=1) - estimates.mean(axis=0)))

    def _own(self, masks: NDArray[np.bool_]) -> Floats:
        return np.stack([self._outcomes(number, masks) for number in range(self.sets)])

    def drops(self, masks: NDArray[np.bool_]) -> Floats:
        """Return what masks, (A, N), cost more than those of permuted attributes do, (A,), in log-odds."""
        return np.asarray((self.permuted - self._own(masks)).mean(axis=0))

    def random_drops(self, masks: NDArray[np.bool_]) -> Floats:
        """Return what masks, (A, N), cost more than masks of random neurons do, (A,), in log-odds."""
        rng = np.random.default_rng(TRUE_ORDERS)
        drawn = np.zeros((self.orders, 1, masks.shape[1]), bool)
        np.put_along_axis(drawn, rng.random(drawn.shape).argpartition(self.k, axis=2)[:, :, : self.k], True, axis=2)
        return np.asarray((self._expected(drawn) - self._own(masks)).mean(axis=0))


def with_drop(model: PlantedModel, k: int, target: float) -> PlantedModel:
    """Scale what selective neurons write until their loss costs `target` log-odds more than that of others.

    Parameters
    ----------
    model : PlantedModel
    k : int
        Size of the masks.
    target : float
        Mean over the attributes; as near as a factor of at most `MOST` comes.
    """

    def missed(factor: float) -> float:
        twin = Twin(model.with_strength(np.full(model.options.attributes, factor)))
        masks = most_selective(twin, model.scores, k)
        return float(Truth(twin, k, sets=8, draws=5, orders=40).drops(masks).mean()) - target

    factor = MOST if missed(MOST) < 0 else brentq(missed, 0.0, MOST, xtol=0.02)
    return model.with_strength(np.full(model.options.attributes, factor))
