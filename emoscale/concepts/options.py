"""Settings of the concepts, and of what people's ratings of them become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from emoscale.system.option_types import OPTIONS, PathName

BUILT_IN = "emotions"


@dataclass(frozen=True)
class ConceptOptions:
    """The concepts and people's judgements of them."""

    __pydantic_config__ = OPTIONS

    attributes: Annotated[str, PathName(names=(BUILT_IN,))] = BUILT_IN
    """``emotions`` (27 emotions, 14 attributes), or a CSV: concept, then one column an attribute."""
    dissimilarity: Annotated[str | None, PathName(names=(BUILT_IN,))] = None
    """``emotions``, or a CSV of concept_1, concept_2, dissimilarity; when left out, the built-in one for the built-in
    attributes, none for others."""
    names: list[str] | None = None
    """Concepts to use, in this order; all of the table when left out."""


@dataclass(frozen=True)
class ScoreOptions:
    """How ratings become attribute scores (`emoscale scores`)."""

    scale: tuple[float, float] = (1.0, 9.0)
    """Lowest and highest value that a rating may have."""
    components: Mapping[str, str] = field(default_factory=dict)
    """Names for components of event reports, each with the item that identifies it: the component that loads highest,
    in size, on the item gets the name, and the sign that makes this loading positive."""
    alpha: float = 0.025
    """A component is kept if its q, Benjamini-Hochberg over all attributes, is below this; the published study's."""
    tolerance: float = 1e-5
    """The varimax rotation stops at a relative gain no larger than this: that of R's ``stats::varimax``, and so of
    ``psych::principal`` and the published scores. 1e-12 runs it to its end."""
    draws: int = 500
    """Samples of the parallel analysis."""
    seed: int = 0
    """Of the parallel analysis."""
