"""The kinds of mask there are. A new one is a function and a line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from emoscale.errors import InputError
from emoscale.masks.activation_level import level_bins
from emoscale.masks.drawing import draw_evenly, draw_matched
from emoscale.masks.request import Mask, Request

BINS = 20
"""Of the neurons' mean absolute activation, as many neurons in each as ties allow."""


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
    for k in request.k:
        for column, attribute in enumerate(request.attributes):
            yield Mask(request.best_first[:k, column], attribute=attribute)


def uniform(request: Request) -> Iterator[Mask]:
    """Yield k neurons drawn evenly from all (Li, Su et al. 2024), or from all that are not selective."""
    if request.disjoint:
        everywhere = np.zeros(len(request.layer), dtype=np.intp)
        return draw_matched(request, "uniform", everywhere, lambda _: "the model")
    return draw_evenly(request)


def layer_matched(request: Request) -> Iterator[Mask]:
    """Yield k neurons, as many in every layer as the attribute's selective mask has there."""
    return draw_matched(request, "layer-matched", request.layer, lambda layer: f"layer {layer}")


def activation_matched(request: Request) -> Iterator[Mask]:
    """Yield k neurons, as many in every bin of mean absolute activation as the attribute's selective mask has there."""
    bins = level_bins(request.activation_level(), BINS)
    return draw_matched(request, "activation-matched", bins, lambda b: f"bin {b + 1} of {BINS} (of mean |activation|)")


KINDS: dict[str, Callable[[Request], Iterator[Mask]]] = {
    "none": no_neurons,
    "selective": most_selective,
    "uniform": uniform,
    "layer-matched": layer_matched,
    "activation-matched": activation_matched,
}
"""Makers of masks by kind. The first two are always made; the others are controls, of which some are asked for."""
