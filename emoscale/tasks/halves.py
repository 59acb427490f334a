"""Cutting a task's items into halves: what is chosen on one is judged on the other."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HALVES = 2


def halves(items: pd.DataFrame) -> NDArray[np.int32]:
    """Cut items into two halves that share no text and are balanced by concept and right answer.

    In the order of the items, a text that comes for the first time goes to the half that has fewer items of its concept
    and right answer so far; of equal ones to the half with fewer items of its concept, then with fewer in all, then to
    the first. All items about one text are in one half, whichever template or concept they ask about.

    Parameters
    ----------
    items : DataFrame
        ``concept``, ``right`` (number of the right answer) and ``text`` (its number; below 0 where there is none, so
        that the item is a text of its own), as in a store of scores or effects.

    Returns
    -------
    ndarray of int32, shape (items,)
        0 or 1. Both halves have every concept of two texts or more, unless other concepts' items about the same texts
        came before; a concept of a single text is in one half.

    Examples
    --------
    >>> items = {"concept": ["joy", "joy", "fear", "joy"], "right": [0, 0, 1, 0], "text": [7, 8, 9, 7]}
    >>> halves(pd.DataFrame(items)).tolist()
    [0, 1, 0, 0]
    """
    counts: dict[Hashable, list[int]] = {}
    half_of: dict[int, int] = {}
    columns = (items[name].tolist() for name in ("concept", "right", "text"))
    found = np.empty(len(items), np.int32)
    for number, (concept, right, text) in enumerate(zip(*columns, strict=True)):
        own = text if text >= 0 else -1 - number
        so_far = [counts.setdefault(group, [0, 0]) for group in ((concept, right), (concept,), ())]
        if own not in half_of:
            # Lists compare by the first place in which they differ.
            half_of[own] = int([one for one, _ in so_far] > [other for _, other in so_far])
        found[number] = half_of[own]
        for count in so_far:
            count[half_of[own]] += 1
    return found
