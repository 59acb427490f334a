"""The controls: masks of other neurons, with which losing the selective ones is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale.masks.drawing import draw_evenly, draw_matched, level_bins
from emoscale.masks.request import Mask, Request
from emoscale.tasks.halves import HALVES

BINS = 20
"""Of the neurons' mean absolute activation, as many neurons in each as ties allow."""


@dataclass(frozen=True)
class Control:
    """A control that ``masks.controls`` can name.

    Attributes
    ----------
    name : str
    draw : callable
        Yields its masks, by k, attribute and draw.
    label : str
        Its neurons in a table or a legend.
    neurons : str
        Its neurons in a sentence, after "as many".
    adjective : str
        Before the word "masks".
    drawn : str
        How its neurons are chosen, after "masks of as many neurons".
    per_attribute : bool
        Whether each mask belongs to an attribute also where it may hold selective neurons.
    needs_rows : bool
        Whether it needs every row's activations, not only their moments.
    needs_effects : bool
        Whether it needs the neurons' estimated effects.
    is_drawn : bool
        Whether chance chooses its neurons; else there is one mask of each size, or two if it is cross-fitted, whatever
        ``masks.draws`` says.
    cross_fitted : bool
        Whether the items themselves choose its neurons: draw 0 is chosen on the first half of the items (see
        `emoscale.tasks.halves`), draw 1 on the second, and every item is judged by the mask of the half that it is not
        in.
    exchangeable : bool
        Whether its masks differ in chance alone, even if each was drawn for an attribute.
    stream : int
        Which random numbers a control takes that is drawn for each attribute; different controls have different ones.
    """

    name: str
    draw: Callable[[Request], Iterator[Mask]]
    label: str
    neurons: str
    adjective: str
    drawn: str
    per_attribute: bool = True
    needs_rows: bool = False
    needs_effects: bool = False
    is_drawn: bool = True
    cross_fitted: bool = False
    exchangeable: bool = False
    stream: int = 0

    def masks_of_a_size(self, draws: int) -> int:
        """Return how many masks of one size there are, of each attribute where they belong to one."""
        return draws if self.is_drawn else HALVES if self.cross_fitted else 1

    def words(self, disjoint: bool) -> dict[str, str | bool]:
        """Return what later stages say of its masks."""
        return {
            "label": self.label,
            "neurons": self.neurons,
            "adjective": self.adjective,
            "drawn": self.drawn,
            "per_attribute": self.per_attribute or (disjoint and self.is_drawn),
            "cross_fitted": self.cross_fitted,
        }


def _random(request: Request) -> Iterator[Mask]:
    """Yield k neurons drawn evenly from all (Li, Su et al. 2024), or from all that are not selective."""
    if not request.disjoint:
        return draw_evenly(request)
    everywhere = np.zeros(len(request.layer), dtype=np.intp)
    return draw_matched(request, RANDOM.name, RANDOM.stream, everywhere, lambda _: "the model")


def _random_by_layer(request: Request) -> Iterator[Mask]:
    """Yield k neurons, as many in every layer as the attribute's selective mask has there."""
    return draw_matched(request, BY_LAYER.name, BY_LAYER.stream, request.layer, lambda layer: f"layer {layer}")


def _random_by_activation(request: Request) -> Iterator[Mask]:
    """Yield k neurons, as many in every bin of mean absolute activation as the attribute's selective mask has there."""
    bins = level_bins(request.activation_level(), BINS)

    def place(number: int) -> str:
        return f"bin {number + 1} of {BINS} (of mean |activation|)"

    return draw_matched(request, BY_ACTIVATION.name, BY_ACTIVATION.stream, bins, place)


def _largest_loss(request: Request) -> Iterator[Mask]:
    """Yield the k neurons without which the outcome would fall most, by their estimated effects on either half."""
    return _first(request, request.effects())


def _largest_effect(request: Request) -> Iterator[Mask]:
    """Yield the k neurons with the largest estimated effects on either half, whether the outcome falls or rises."""
    return _first(request, -np.abs(request.effects()))


def _first(request: Request, keys: NDArray[np.float64]) -> Iterator[Mask]:
    order = np.argsort(keys, axis=1, kind="stable")  # NaN, of neurons that were always absent, come last
    yield from (Mask(order[half, :k], draw=half) for k in request.k for half in range(HALVES))


RANDOM = Control(
    "random",
    _random,
    label="random neurons",
    neurons="random neurons",
    adjective="random",
    drawn="drawn at random, each as likely as any other",
    per_attribute=False,
    exchangeable=True,
    stream=4130109879,
)
BY_LAYER = Control(
    "random-by-layer",
    _random_by_layer,
    label="random neurons of the same layers",
    neurons="random neurons of the same layers",
    adjective="layer-matched",
    drawn="drawn at random so that every layer loses as many neurons as to the selective mask",
    stream=1054111189,
)
BY_ACTIVATION = Control(
    "random-by-activation",
    _random_by_activation,
    label="random neurons as active",
    # "as many random neurons as active" would be read as another comparison.
    neurons="random neurons that are as active",
    adjective="activation-matched",
    drawn="drawn at random among neurons about as active as those of the selective mask",
    needs_rows=True,
    stream=1935459381,
)

LARGEST_LOSS = Control(
    "largest-loss",
    _largest_loss,
    label="the neurons needed most",
    neurons="neurons that the answers need most, by their estimated effects",
    adjective="most needed",
    drawn="those without which the log-odds of the right answer would fall most, by their estimated effects",
    per_attribute=False,
    needs_effects=True,
    is_drawn=False,
    cross_fitted=True,
)
LARGEST_EFFECT = Control(
    "largest-effect",
    _largest_effect,
    label="the neurons with the largest effects",
    neurons="neurons with the largest estimated effects",
    adjective="largest-effect",
    drawn="those with the largest estimated effects on the log-odds of the right answer, whether these fall or rise",
    per_attribute=False,
    needs_effects=True,
    is_drawn=False,
    cross_fitted=True,
)

CONTROLS: dict[str, Control] = {
    control.name: control for control in (RANDOM, BY_LAYER, BY_ACTIVATION, LARGEST_LOSS, LARGEST_EFFECT)
}
