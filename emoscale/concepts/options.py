"""Settings of the concepts and of what people say of them."""

from __future__ import annotations

from dataclasses import dataclass

from emoscale.system.option_types import OPTIONS


@dataclass(frozen=True)
class ConceptOptions:
    """The concepts and what people say of them."""

    __pydantic_config__ = OPTIONS

    attributes: str = "emotions"
    """``emotions`` (27 emotions, 14 attributes), or a CSV: concept, then one column an attribute."""
    dissimilarity: str | None = None
    """A CSV of concept_1, concept_2, dissimilarity; the built-in one goes with the built-in attributes."""
    names: list[str] | None = None
    """Concepts to use, in this order; all of the table when left out."""
