"""What controls are drawn from: all neurons, or every group of them that the selective mask has neurons of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.masks.request import Request
from emoscale.masks.strata import Strata


def check_disjoint(k: Sequence[int], neurons: int) -> None:
    """Raise unless the model has room for a selective mask and a disjoint control of the same size.

    Parameters
    ----------
    k : sequence of int
        Numbers of neurons to edit.
    neurons : int
        Number N of neurons.

    Raises
    ------
    InputError
        Names every k that is too large.
    """
    problems = [
        f"k = {size}: the model has {neurons} neurons, so {neurons - size} are left for a disjoint control of {size}; "
        f"give {neurons // 2} or fewer, or set masks.disjoint to false"
        for size in k
        if 2 * size > neurons
    ]
    if problems:
        raise InputError(problems)


def all_neurons(request: Request) -> Iterator[Strata]:
    """Yield a single stratum of all neurons, by k; its masks are shared by all attributes."""
    everything = np.arange(len(request.rank))
    yield from (Strata([everything], np.array([k])) for k in request.k)


def matched_strata(
    request: Request, name: str, group: NDArray[np.integer], place: Callable[[int], str]
) -> Iterator[Strata]:
    """Yield strata of which as many neurons are taken as the attribute's selective mask has there, by k and attribute.

    Parameters
    ----------
    request : Request
    name : str
        The control's.
    group : ndarray of int, shape (N,)
        Stratum of each neuron.
    place : callable
        From a stratum to its name in an error.

    Raises
    ------
    InputError
        If a stratum has too few neurons left outside the selective mask. It names every attribute and k that are short,
        each with the stratum that lacks most.
    """
    names, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    wanted = [(k, column) for k in request.k for column in range(len(request.attributes))]
    problems = []
    for k, column in wanted:
        needed, left = _balance(request, k, column, group, sizes)
        if (needed > left).any():
            worst = np.argmax(needed - left)
            problems.append(
                f"{name} controls of {request.attributes[column]!r}, k = {k}: {place(names[worst])} has "
                f"{left[worst]} of {sizes[worst]} neurons left outside the selective mask, {needed[worst]} are needed; "
                "give a smaller k, or set masks.disjoint to false"
            )
    if problems:
        raise InputError(problems)
    for k, column in wanted:
        needed, left = _balance(request, k, column, group, sizes)
        free = np.ones(len(group), dtype=np.bool_)
        if request.disjoint:
            free[request.best_first[:k, column]] = False
        pools = np.split(by_group[free[by_group]], np.cumsum(left)[:-1])
        yield Strata(pools, needed, request.attributes[column])


def _balance(
    request: Request, k: int, column: int, group: NDArray[np.integer], sizes: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return how many neurons of each group are needed, and how many there are to draw them from."""
    needed = np.bincount(group[request.best_first[:k, column]], minlength=len(sizes))
    return needed, sizes - needed if request.disjoint else sizes


def level_bins(level: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """Cut neurons into bins of equal numbers by their level.

    Parameters
    ----------
    level : ndarray of float64, shape (N,)
    bins : int

    Returns
    -------
    ndarray of int, shape (N,)
        From 0, the lowest. Neurons of equal level are in one bin, that of the lowest of their places, so that ties
        make bins unequal and may leave some empty.
    """
    below = np.searchsorted(np.sort(level), level, side="left")
    return below * bins // max(len(level), 1)
