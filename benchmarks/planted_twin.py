"""A planted model in NumPy, for many texts and masks at once, and what the loss of neurons truly costs in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_softmax

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
MOST = 30.0
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

    def activations(self) -> Floats:
        """Return every neuron's value at the name of every concept in every sentence, shape (sentences, C, N)."""
        C = self.model.options.concepts
        rows = [[self.ids(sentence.format(concept=name)) for name in self.model.names] for sentence in SENTENCES]
        found = [self._neurons(*self._inputs(np.array(ids))) for ids in rows]
        return np.stack(found).reshape(len(SENTENCES), C, -1)

    def scores(self, texts: Integers, masks: NDArray[np.bool_]) -> Floats:
        """Compute the log probability of every name after texts.

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
        last = np.full((len(texts), 1), self._of[QUESTION.split()[-1]])
        evidence, noise = self._inputs(np.concatenate([texts, last], axis=1))
        values = self._neurons(evidence, noise)
        K, N, C = *masks.shape, evidence.shape[1]
        kept = (~masks).T[:, :, np.newaxis] * self.model.write[:, np.newaxis, :]
        written = (values @ kept.reshape(N, K * C)).reshape(len(texts), K, C)
        squares = _squares(evidence, noise)[:, np.newaxis] + (written**2).sum(axis=2)
        logits = self._norm(squares)[:, :, np.newaxis] * (DIRECT * evidence[:, np.newaxis, :] + written)
        others = np.zeros((*logits.shape[:2], len(self.model.vocabulary) - C))
        return np.asarray(log_softmax(np.concatenate([logits, others], axis=2), axis=2)[:, :, :C])

    def _inputs(self, ids: Integers) -> tuple[Floats, Floats]:
        """Return evidence and noise at the last token after attention, shapes (I, C) and (I, M)."""
        evidence, noise = self.model.evidence[ids], self.model.noise[ids]
        norm = self._norm(_squares(evidence, noise))[..., np.newaxis]
        return tuple(part[:, -1] + (norm * part).mean(axis=1) for part in (evidence, noise))  # type: ignore[return-value]

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


def log_odds(scores: Floats, concept: Integers) -> Floats:
    """Return the calibrated log-odds of the right name, shape (sets, I, K), of sets of items that are calibrated alone.

    Parameters
    ----------
    scores : ndarray of float64, shape (sets, I, K, C)
    concept : ndarray of int64, shape (I,)
    """
    values = scores - scores.mean(axis=1, keepdims=True)
    right = np.take_along_axis(values, concept[np.newaxis, :, np.newaxis, np.newaxis], axis=3)[..., 0]
    p = np.exp(right - np.logaddexp.reduce(values, axis=3))
    return np.asarray(np.log(p) - np.log1p(-p))


def mean_outcomes(twin: Twin, masks: NDArray[np.bool_], sets: Sequence[int]) -> Floats:
    """Average the calibrated log-odds over sets of texts as large as the run's, shape (K,)."""
    texts = twin.model.options.texts
    drawn = [draw_texts(twin.model, texts, number) for number in sets]
    scores = np.stack([twin.scores(tokens, masks) for tokens, _ in drawn])
    return np.asarray(log_odds(scores, drawn[0][1]).mean(axis=(0, 1)))


def most_selective(twin: Twin, scores: Floats, k: int) -> NDArray[np.bool_]:
    """Mask the k neurons most selective for each attribute, shape (A, N); `scores` has shape (C, A)."""
    found = tau(twin.activations(), attribute_patterns(decimal_distances(scores)))
    first = np.argsort(-found, axis=0, kind="stable")[:k]
    masks = np.zeros(found.shape[::-1], bool)
    np.put_along_axis(masks, first.T, True, axis=1)
    return masks


@dataclass(frozen=True, eq=False)
class Truth:
    """What masks truly cost, over texts and permutations of the concepts without end.

    Parameters
    ----------
    twin : Twin
    k : int
        Size of the masks.
    draws : int
        Permutations; each is measured on `sets` sets of texts of its own.
    sets : int
    own_sets : int
        On which the masks in question are measured.
    """

    twin: Twin
    k: int
    draws: int = 100
    sets: int = 4
    own_sets: int = 100

    @cached_property
    def permuted(self) -> Floats:
        """Mean outcome after masks of the most selective neurons for permuted concepts, shape (A,)."""
        scores, found = self.twin.model.scores, []
        for draw, order in enumerate(concept_orders(len(scores), self.draws, TRUE_ORDERS)):
            masks = most_selective(self.twin, scores[order], self.k)
            found.append(mean_outcomes(self.twin, masks, range(draw * self.sets, (draw + 1) * self.sets)))
        return np.asarray(np.mean(found, axis=0))

    def drops(self, masks: NDArray[np.bool_]) -> Floats:
        """Return what masks, (A, N), cost more than permuted ones do, (A,), in log-odds."""
        return np.asarray(self.permuted - mean_outcomes(self.twin, masks, range(self.own_sets)))

    def random_drops(self, masks: NDArray[np.bool_]) -> Floats:
        """Return what masks, (A, N), cost more than masks of random neurons do, (A,), in log-odds."""
        rng = np.random.default_rng(TRUE_ORDERS)
        drawn = np.zeros((self.draws, masks.shape[1]), bool)
        np.put_along_axis(drawn, np.argsort(rng.random(drawn.shape), axis=1)[:, : self.k], True, axis=1)
        random = mean_outcomes(self.twin, drawn, range(self.sets)).mean()
        return np.asarray(random - mean_outcomes(self.twin, masks, range(self.own_sets)))


def with_drop(model: PlantedModel, k: int, target: float, **sizes: int) -> PlantedModel:
    """Scale what selective neurons write until their loss costs `target` log-odds more than that of others.

    Parameters
    ----------
    model : PlantedModel
    k : int
        Size of the masks.
    target : float
        Mean over the attributes; as near as a factor of at most `MOST` comes.
    **sizes : int
        Of `Truth`.
    """

    def missed(factor: float) -> float:
        scaled = Twin(model.with_strength(np.full(model.options.attributes, factor)))
        masks = most_selective(scaled, model.scores, k)
        return float(Truth(scaled, k, **sizes).drops(masks).mean()) - target

    factor = MOST if missed(MOST) < 0 else brentq(missed, 0.0, MOST, xtol=0.02)
    return model.with_strength(np.full(model.options.attributes, factor))
