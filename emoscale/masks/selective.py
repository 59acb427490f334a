"""The masks that are not controls: of no neuron, and of the most selective ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emoscale.errors import InputError
from emoscale.masks.request import Mask, Request


def no_neurons(request: Request) -> Iterator[Mask]:
    """Yield the mask that edits nothing."""
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
    for k in request.k:
        for column, attribute in enumerate(request.attributes):
            yield Mask(request.best_first[:k, column], attribute=attribute)
