"""Drawing controls: k neurons from all, or from every group of neurons as many as the selective mask holds of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from emoscale.errors import InputError
from emoscale.masks.request import Mask, Request


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


def draw_evenly(request: Request) -> Iterator[Mask]:
    """Yield k neurons drawn evenly from all without replacement, by k and then draw; shared by all attributes."""
    for k in request.k:
        for draw in range(request.draws):
            # A generator of its own: a mask must not depend on which others are asked for.
            generator = np.random.default_rng([request.seed, k, draw])
            yield Mask(generator.choice(len(request.rank), size=k, replace=False), draw=draw)


def draw_matched(
    request: Request, name: str, stream: int, group: NDArray[np.integer], place: Callable[[int], str]
) -> Iterator[Mask]:
    """Yield masks that hold as many neurons of every group as the attribute's selective mask, by k, attribute and draw.

    Parameters
    ----------
    request : Request
    name : str
        The control's.
    stream : int
        The control's, see `Control`.
    group : ndarray of int, shape (N,)
        Group of each neuron. Within a group neurons are drawn evenly, without replacement.
    place : callable
        From a group to its name in an error.

    Raises
    ------
    InputError
        If a group has too few neurons left outside the selective mask. It names every attribute and k that are short,
        each with the group that lacks most.
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
        attribute = request.attributes[column]
        for draw in range(request.draws):
            generator = np.random.default_rng([request.seed, stream, _number(attribute), k, draw])
            drawn = [generator.choice(p, size=n, replace=False) for p, n in zip(pools, needed, strict=True)]
            yield Mask(np.concatenate(drawn), attribute=attribute, draw=draw)


def _balance(
    request: Request, k: int, column: int, group: NDArray[np.integer], sizes: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return how many neurons of each group are needed, and how many there are to draw them from."""
    needed = np.bincount(group[request.best_first[:k, column]], minlength=len(sizes))
    return needed, sizes - needed if request.disjoint else sizes


def _number(name: str) -> int:
    return crc32(name.encode())


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
