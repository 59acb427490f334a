"""Settings of the masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from emoscale.system.option_types import OPTIONS, Count, CountOrAuto, Distinct, OneOf, Rate, Seed

AUTO: Final = "auto"

PUBLISHED_K: tuple[int, ...] = (1500, 2000, 2500, 3000, 4000, 5000, 6000)


@dataclass(frozen=True)
class MaskOptions:
    """Which neurons are edited."""

    __pydantic_config__ = OPTIONS

    k: Annotated[list[StrictInt | StrictFloat], Field(min_length=1)] = field(default_factory=lambda: list(PUBLISHED_K))
    """How many neurons: numbers, or fractions of all."""
    controls: Annotated[
        list[Annotated[str, OneOf("emoscale.masks.controls:CONTROLS")]],
        Field(min_length=1),
        Distinct,
    ] = field(default_factory=lambda: ["random"])
    """What losing the selective neurons is compared with: ``random``, as many drawn evenly from all;
    ``random-by-layer``, as many in every layer; ``random-by-activation``, as many of every level of mean absolute
    activation, both drawn for each attribute; ``largest-loss``, those that the answers need most by their estimated
    effects, which shows what the loss of so many neurons can do; ``largest-effect``, those with the largest effects of
    either sign. Each half of the items chooses a mask of these two, by which the other half is judged. ``permuted``,
    those that the same selection finds if the attributes belong to other concepts, `permutations` times for each
    attribute: they share everything with the selective ones but the meaning. ``lowest``, the least selective ones."""
    disjoint: StrictBool = False
    """Draw controls only from neurons that are not selective for the attribute; random ones are then drawn for each
    attribute, too."""
    draws: CountOrAuto = 5
    """Controls that are drawn, of each kind for each k (and attribute); ``auto``: as few as `draw_width` allows, found
    from the estimated effects of all neurons and from the random groups of neurons by which they are checked."""
    permutations: Count = 19
    """Of the control ``permuted``: permutations of the concepts, each of which gives every attribute a mask of every
    size. 19 allow p = .05, 99 are for publication."""
    seed: Seed = 0
    """Of the controls."""
    draw_width: Rate = 0.02
    """Of ``draws: auto``: half the 95 % interval of the mean log-odds of the right answer over a kind of control's
    masks of one size, in nats."""
    most_draws: Count = 50
    """Of ``draws: auto``: the most there may be, even if the interval is wider then."""
