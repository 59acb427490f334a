"""The masks that rankings choose: the other end, the same selection by half of the replicates or permuted concepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.masks.request import Mask, Request
from emoscale.schema import HALF, LOWEST, PERMUTED


def least_selective(request: Request) -> Iterator[Mask]:
    """Yield the k worst-ranked neurons of those with a rank, by k and then attribute; of equal ranks the higher index.

    They are the end of the order whose beginning the selective masks are.

    Raises
    ------
    InputError
        If an attribute has too few neurons with a rank, or too few outside the selective mask if controls are to be
        disjoint.
    """
    ranked = np.count_nonzero(request.has_rank, axis=0)
    _check_left(LOWEST, request, np.array([ranked - (k if request.disjoint else 0) for k in request.k]))
    for k in request.k:
        for column, attribute in enumerate(request.attributes):
            end = ranked[column]
            yield Mask(request.best_first[end - k : end, column], attribute=attribute)


def needs_two_replicates() -> InputError:
    """Return what to raise where there are no halves of the replicates."""
    return InputError(
        f"masks.controls {HALF!r}: neurons are chosen on each half of the replicates, and there is only one; list two "
        "or more tuning.seeds (with extraction.rows prompts) or extraction.templates (with templates), or leave it out"
    )


def checked_halves(request: Request) -> NDArray[np.float64]:
    """Return selectivity by halves of the replicates.

    Raises
    ------
    InputError
        If there is a single replicate, or no neuron differs between the concepts in one half.
    """
    values = request.values_by_half()
    empty = np.isnan(values).all(axis=(1, 2))
    if empty.all():
        raise needs_two_replicates()
    if empty.any():
        raise InputError(
            f"masks.controls {HALF!r}: in one half of the replicates no neuron differs between the concepts, so none "
            "is selective; train the prompts in more steps (a larger tuning.epochs or a smaller tuning.batch_size), or "
            "leave it out"
        )
    return values


def most_selective_by_half(request: Request) -> Iterator[Mask]:
    """Yield the k neurons of each attribute with the largest selectivity from either half of the replicates, a draw.

    Of equal values the lower index comes first, and a neuron without a value is never taken. The masks may share
    neurons with the selective ones and with each other, also where controls are disjoint.

    Raises
    ------
    InputError
        If a half has no values, or of an attribute fewer than k.
    """
    values = checked_halves(request)
    left = np.count_nonzero(~np.isnan(values), axis=1).min(axis=0)
    _check_left(HALF, replace(request, disjoint=False), np.array([left for _ in request.k]))
    order = np.argsort(-values, axis=1, kind="stable")  # NaN come last
    for k in request.k:
        for column, attribute in enumerate(request.attributes):
            yield from (Mask(order[half, :k, column], attribute=attribute, draw=half) for half in range(len(order)))


def most_selective_if_permuted(request: Request) -> Iterator[Mask]:
    """Return an iterator over the masks that would be selective if the attributes belonged to other concepts.

    One permutation of the concepts is one draw and serves all attributes and sizes, so the masks of a draw overlap and
    lie in layers as the selective ones do; but for the meaning of the attributes they are exchangeable with them. A
    permutation that happens to be the concepts' own order is kept for that reason: its masks are the selective ones.

    Of equal values the lower index comes first, and a neuron without a value is never taken. Disjoint masks hold none
    of the neurons that are selective for their attribute, at the same k.

    Raises
    ------
    InputError
        If an attribute has fewer than k neurons to choose from; when the first mask is asked for.
    """
    values = request.permuted_values()
    return (mask for draw, some in enumerate(values) for mask in _of_permutation(request, some, draw))


def _of_permutation(request: Request, values: NDArray[np.float64], draw: int) -> list[Mask]:
    columns = range(len(request.attributes))
    # Stable, so that equal values keep the order of their indices; NaN come last.
    orders = [np.argsort(-values[a], kind="stable")[: np.count_nonzero(~np.isnan(values[a]))] for a in columns]
    chosen = [[_without_own(request, orders[a], k, a) for a in columns] for k in request.k]
    _check_left(PERMUTED, request, np.array([[len(neurons) for neurons in row] for row in chosen]))
    return [
        Mask(neurons[:k], attribute=attribute, draw=draw)
        for k, row in zip(request.k, chosen, strict=True)
        for attribute, neurons in zip(request.attributes, row, strict=True)
    ]


def _without_own(request: Request, order: NDArray[np.intp], k: int, column: int) -> NDArray[np.intp]:
    """Return the first k of an order; of those that are not selective for the attribute where masks are disjoint."""
    if not request.disjoint:
        return order[:k]
    first = order[: 2 * k]  # of which at most k are selective
    return first[~np.isin(first, request.best_first[:k, column])][:k]


def _check_left(name: str, request: Request, left: NDArray[np.integer]) -> None:
    """Raise unless there are k neurons for each k (rows) and attribute (columns)."""
    which = "have a selectivity and are not in the selective mask" if request.disjoint else "have a selectivity"
    fix = ", or set masks.disjoint to false" if request.disjoint else ""
    problems = [
        f"{name} controls of {attribute!r}, k = {k}: only {count} neurons {which}; give a smaller k{fix}"
        for k, counts in zip(request.k, left, strict=True)
        for attribute, count in zip(request.attributes, counts, strict=True)
        if k > count
    ]
    if problems:
        raise InputError(problems)
