"""Which tokens of an input make a row of activations. A new pooling is one entry of `POOLINGS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emoscale.errors import InputError

Span = tuple[int, int]
"""The first token, and the one after the last."""


@dataclass(frozen=True)
class Pooling:
    """How rows are made of an input's tokens.

    Attributes
    ----------
    name : str
    span : callable
        From the token ids of an input, the id of the mask token (None if there is none) and the span of the tokens that
        name the concept to the span of the tokens that are used.
    needs_concept : bool
        Whether the span of the concept's tokens must be known.
    each : bool
        Whether every token of the span is a row of its own, instead of their mean.
    """

    name: str
    span: Callable[[Sequence[int], int | None, Span], Span]
    needs_concept: bool = False
    each: bool = False

    def tokens(self, ids: Sequence[int], mask_id: int | None = None, concept: Span | None = None) -> Span:
        """Return the span of the tokens that are used.

        Parameters
        ----------
        ids : sequence of int
            Token ids of the input.
        mask_id : int, optional
            Id of the mask token.
        concept : (int, int), optional
            Span of the tokens that name the concept.

        Raises
        ------
        InputError
            If there is no mask token where one is needed, or no span of the concept.

        Examples
        --------
        >>> POOLINGS["last"].tokens([5, 6, 7])
        (2, 3)
        """
        if self.needs_concept and concept is None:
            raise InputError(f"extraction.pooling {self.name!r}: nothing marks the concept's tokens; set another")
        return self.span(ids, mask_id, concept or (0, 0))


def _mask(ids: Sequence[int], mask_id: int | None, concept: Span) -> Span:
    if mask_id is None or mask_id not in ids:
        raise InputError("extraction.pooling 'mask': an input has no mask token; set another")
    position = list(ids).index(mask_id)
    return position, position + 1


POOLINGS: dict[str, Pooling] = {
    pooling.name: pooling
    for pooling in (
        Pooling("first", lambda ids, mask_id, concept: (0, 1)),
        Pooling("mask", _mask),
        Pooling("last", lambda ids, mask_id, concept: (len(ids) - 1, len(ids))),
        Pooling("concept-last", lambda ids, mask_id, concept: (concept[1] - 1, concept[1]), needs_concept=True),
        Pooling("concept-mean", lambda ids, mask_id, concept: concept, needs_concept=True),
        Pooling("mean", lambda ids, mask_id, concept: (0, len(ids))),
        Pooling("all", lambda ids, mask_id, concept: (0, len(ids)), each=True),
    )
}
"""Poolings by name."""
