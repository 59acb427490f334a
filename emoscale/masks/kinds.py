"""The kinds of mask there are. A new one is a function and a line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError


@dataclass(frozen=True)
class Request:
    """What the masks are made from.

    Parameters
    ----------
    rank : ndarray of float64, shape (N, A)
        Rank of each neuron within each attribute, from 1, the most selective.
    has_rank : ndarray of bool, shape (N, A)
        False where a neuron has no selectivity for the attribute (it is constant) and so must not be chosen.
    attributes : list of str
        A names.
    k : list of int
        Numbers of neurons to switch off, ascending.
    draws : int
        Random masks of each k.
    seed : int
    """

    rank: NDArray[np.float64]
    has_rank: NDArray[np.bool_]
    attributes: list[str]
    k: list[int]
    draws: int
    seed: int


@dataclass(frozen=True)
class Mask:
    """One mask: the indices of the neurons to switch off, and its coordinates (see `emoscale.schema.MASKS`)."""

    neurons: NDArray[np.intp]
    attribute: str = ""
    draw: int = 0


def no_neurons(request: Request) -> Iterator[Mask]:
    """Yield the mask that switches nothing off."""
    yield Mask(np.empty(0, dtype=np.intp))


def most_selective(request: Request) -> Iterator[Mask]:
    """Yield the k best-ranked neurons, by k and then attribute; of equal ranks the lower index.

    Raises
    ------
    InputError
        If an attribute has fewer than k neurons with a rank.
    """
    if not request.has_rank.any():
        raise InputError(
            "no neuron differs between the concepts, so none is selective; train the prompts in more steps (a larger "
            "tuning.epochs or a smaller tuning.batch_size)"
        )
    available = np.count_nonzero(request.has_rank, axis=0)
    problems = [
        f"k = {k}: only {count} neurons have a selectivity for {attribute!r}; give a smaller k"
        for k in request.k
        for attribute, count in zip(request.attributes, available, strict=True)
        if k > count
    ]
    if problems:
        raise InputError(problems)
    order = np.argsort(np.where(request.has_rank, request.rank, np.inf), axis=0, kind="stable")
    for k in request.k:
        for column, attribute in enumerate(request.attributes):
            yield Mask(order[:k, column], attribute=attribute)


def drawn_at_random(request: Request) -> Iterator[Mask]:
    """Yield k neurons drawn evenly from all without replacement, by k and then draw (Li, Su et al. 2024)."""
    for k in request.k:
        for draw in range(request.draws):
            # A generator of its own: a mask must not depend on which others are asked for.
            generator = np.random.default_rng([request.seed, k, draw])
            yield Mask(generator.choice(len(request.rank), size=k, replace=False), draw=draw)


KINDS: dict[str, Callable[[Request], Iterator[Mask]]] = {
    "none": no_neurons,
    "selective": most_selective,
    "random": drawn_at_random,
}
"""Makers of masks by kind, in the order in which the store holds them."""
