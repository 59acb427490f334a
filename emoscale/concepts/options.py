"""Settings of the concepts, and of what people's ratings of them become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BeforeValidator

from emoscale.system.option_types import OPTIONS, Number, PathName

BUILT_IN = "emotions"


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class ConceptOptions:
    """The concepts and people's judgements of them."""

    __pydantic_config__ = OPTIONS

    attributes: Annotated[str, PathName(names=(BUILT_IN,))] = BUILT_IN
    """``emotions`` (27 emotions, 14 attributes), or a table: concept, then one column of scores an attribute."""
    dissimilarity: Annotated[str | None, PathName(names=(BUILT_IN,))] = None
    """``emotions``; or a table of concept_1, concept_2, dissimilarity, of several people with a column participant; or
    a square matrix; or a folder of square matrices, one a participant. When left out, the built-in one for the built-in
    attributes, none for others."""
    names: list[str] | None = None
    """Concepts to use, in this order; all of the table when left out."""
    ratings: Annotated[list[str] | None, BeforeValidator(_one_or_more), PathName()] = None
    """In place of `attributes`, one or several tables of people's ratings, as `emoscale scores` reads them."""
    scale: tuple[Number, Number] | None = None
    """Lowest and highest value that a rating may have, e.g. ``[0, 100]``; when left out, the first usual scale that
    holds all of a file's."""

    def __post_init__(self) -> None:
        if isinstance(self.ratings, str):  # where pydantic did not read it
            object.__setattr__(self, "ratings", [self.ratings])
        if self.ratings is not None and self.attributes != BUILT_IN:
            raise ValueError("concepts.ratings and concepts.attributes are both set; keep one of them")
        if self.ratings is not None and not self.ratings:
            raise ValueError("concepts.ratings names no file; give one, or leave it out")
        if self.scale is not None and self.ratings is None:
            raise ValueError("concepts.scale is that of concepts.ratings, which is not set; set it or remove the scale")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError("concepts.scale must go up; write the lowest value first, e.g. [1, 9]")

    @property
    def are_built_in(self) -> bool:
        """Whether the attribute scores are the built-in ones."""
        return self.ratings is None and self.attributes == BUILT_IN


@dataclass(frozen=True)
class ScoreOptions:
    """How ratings become attribute scores (`emoscale scores`)."""

    scale: tuple[Number, Number] | None = None
    """Lowest and highest value that a rating may have; when left out, the first usual scale that holds a file's."""
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
