"""Settings of the masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from emoscale.system.option_types import OPTIONS, Count, Distinct, Seed

PUBLISHED_K: tuple[int, ...] = (1500, 2000, 2500, 3000, 4000, 5000, 6000)


@dataclass(frozen=True)
class MaskOptions:
    """Which neurons are switched off."""

    __pydantic_config__ = OPTIONS

    k: Annotated[list[StrictInt | StrictFloat], Field(min_length=1)] = field(default_factory=lambda: list(PUBLISHED_K))
    """How many neurons: numbers, or fractions of all."""
    controls: Annotated[
        list[Literal["uniform", "layer-matched", "activation-matched"]],
        Field(min_length=1),
        Distinct,
    ] = field(default_factory=lambda: ["uniform"])
    """What losing the selective neurons is compared with: as many drawn evenly from all; as many in every layer; or as
    many of every level of mean absolute activation. Matched ones are drawn for each attribute."""
    disjoint: StrictBool = False
    """Draw controls only from neurons that are not selective for the attribute; uniform ones then for each attribute,
    too."""
    draws: Count = 5
    """Controls of each kind for each k (and attribute)."""
    seed: Seed = 0
    """Of the controls."""
