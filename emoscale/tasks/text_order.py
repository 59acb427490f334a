"""A random order of the texts of each concept, of which a task may ask about the first ones only."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.tasks.outcomes import GROUP

FEWEST_TEXTS = 2
"""Texts of each concept and replicate that their spread can be known from."""


def text_order(items: pd.DataFrame, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw an order of the texts within each concept and replicate.

    Parameters
    ----------
    items : DataFrame
        ``concept``, ``replicate`` and ``text`` (its number, below 0 where the item is a text of its own), as in
        `emoscale.tasks.task.Task`.
    seed : int

    Returns
    -------
    place, texts : ndarray of int64, shape (items,)
        Place of the item's text among those of its concept and replicate, from 1, and their number. Replicates of a
        concept that have the same texts have them in the same order.

    Examples
    --------
    >>> items = pd.DataFrame({"concept": ["joy"] * 4, "replicate": list("1122"), "text": [7, 8, 7, 8]})
    >>> place, texts = text_order(items, seed=0)
    >>> bool((place[:2] == place[2:]).all()), sorted(place[:2].tolist()), texts.tolist()
    (True, [1, 2], [2, 2, 2, 2])
    """
    text = np.where(items["text"] < 0, -1 - np.arange(len(items)), items["text"])
    of_concept = items.groupby("concept", sort=False).ngroup().to_numpy()
    pairs, pair = np.unique(np.stack([of_concept, text]), axis=1, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(pairs.shape[1])[pair.ravel()]
    groups = pd.Series(drawn).groupby([items[name].to_numpy() for name in GROUP], sort=False)
    return groups.rank("dense").to_numpy(np.int64), groups.transform("nunique").to_numpy(np.int64)
