"""The controls: masks of other neurons, with which losing the selective ones is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale import schema
from emoscale.masks.by_rank import least_selective, most_selective_if_permuted
from emoscale.masks.drawing import all_neurons, level_bins, matched_strata
from emoscale.masks.options import AUTO, MaskOptions
from emoscale.masks.request import Mask, Request
from emoscale.masks.strata import Drawn, Strata
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
        Yields its masks, in any order. Where it is `Drawn`, what these are drawn from is known.
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
    needs_permuted_values : bool
        Whether it needs the neurons' selectivity for permuted concepts. Each permutation is a draw then, so there are
        as many as ``masks.permutations``, whatever ``masks.draws`` says.
    is_drawn : bool
        Whether chance chooses its neurons; else there is one mask of each size, or two if it is cross-fitted, whatever
        ``masks.draws`` says.
    cross_fitted : bool
        Whether the items themselves choose its neurons: draw 0 is chosen on the first half of the items (see
        `emoscale.tasks.halves`), draw 1 on the second, and every item is judged by the mask of the half that it is not
        in.
    exchangeable : bool
        Whether its masks differ in chance alone, even if each was drawn for an attribute.
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
    needs_permuted_values: bool = False
    is_drawn: bool = True
    cross_fitted: bool = False
    exchangeable: bool = False

    @property
    def strata(self) -> Callable[[Request], Iterator[Strata]] | None:
        """What its masks are drawn from, if that is known."""
        return self.draw.strata if isinstance(self.draw, Drawn) else None

    @property
    def takes_draws(self) -> bool:
        """Whether ``masks.draws`` says how many masks of it there are."""
        return self.is_drawn and not self.needs_permuted_values

    def masks_of_a_size(self, options: MaskOptions) -> int:
        """Return how many masks of one size there are at the most, of each attribute where they belong to one."""
        if not self.is_drawn:
            return HALVES if self.cross_fitted else 1
        if self.needs_permuted_values:
            return options.permutations
        return options.most_draws if options.draws == AUTO else options.draws

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


def _random(request: Request) -> Iterator[Strata]:
    """Yield all neurons (Li, Su et al. 2024), or all that are not selective."""
    if not request.disjoint:
        return all_neurons(request)
    everywhere = np.zeros(len(request.layer), dtype=np.intp)
    return matched_strata(request, RANDOM.name, everywhere, lambda _: "the model")


def _random_by_layer(request: Request) -> Iterator[Strata]:
    """Yield the layers, with as many neurons taken of each as the attribute's selective mask has there."""
    return matched_strata(request, BY_LAYER.name, request.layer, lambda layer: f"layer {layer}")


def _random_by_activation(request: Request) -> Iterator[Strata]:
    """Yield bins of mean absolute activation, with as many neurons taken of each as the selective mask has there."""
    bins = level_bins(request.activation_level(), BINS)

    def place(number: int) -> str:
        return f"bin {number + 1} of {BINS} (of mean |activation|)"

    return matched_strata(request, BY_ACTIVATION.name, bins, place)


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
    Drawn(_random, stream=4130109879),
    label="random neurons",
    neurons="random neurons",
    adjective="random",
    drawn="drawn at random, each as likely as any other",
    per_attribute=False,
    exchangeable=True,
)
BY_LAYER = Control(
    "random-by-layer",
    Drawn(_random_by_layer, stream=1054111189),
    label="random neurons of the same layers",
    neurons="random neurons of the same layers",
    adjective="layer-matched",
    drawn="drawn at random so that every layer loses as many neurons as to the selective mask",
)
BY_ACTIVATION = Control(
    "random-by-activation",
    Drawn(_random_by_activation, stream=1935459381),
    label="random neurons as active",
    # "as many random neurons as active" would be read as another comparison.
    neurons="random neurons that are as active",
    adjective="activation-matched",
    drawn="drawn at random among neurons about as active as those of the selective mask",
    needs_rows=True,
)
PERMUTED = Control(
    schema.PERMUTED,
    most_selective_if_permuted,
    label="neurons most selective for permuted attributes",
    neurons="neurons that are most selective for permuted attributes",
    adjective="permuted",
    drawn="those that are most selective for the attribute if the concepts change places",
    needs_permuted_values=True,
)
LOWEST = Control(
    schema.LOWEST,
    least_selective,
    label="the least selective neurons",
    neurons="neurons that are least selective for the attribute",
    adjective="least selective",
    drawn="those that are least selective for the attribute",
    is_drawn=False,
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
    control.name: control
    for control in (RANDOM, BY_LAYER, BY_ACTIVATION, PERMUTED, LOWEST, LARGEST_LOSS, LARGEST_EFFECT)
}


def of_permuted_concepts(names: Iterable[str]) -> bool:
    """Return whether one of these controls needs the neurons' selectivity for permuted concepts."""
    return any(CONTROLS[name].needs_permuted_values for name in names)
