"""How a model is run on items: what masked neurons become, in which precision, and how much at a time."""

from __future__ import annotations

from dataclasses import dataclass

from emoscale.ablation.edits import RowEdit
from emoscale.system.option_types import Precision

SMALLEST_PASS = 1024
"""Tokens of the smallest forward pass worth making."""


@dataclass(frozen=True)
class ForwardOptions:
    """How a model is run on items.

    Attributes
    ----------
    edit : RowEdit
        What becomes of masked neurons.
    precision : {"auto", "exact", "bfloat16"}
    tokens_per_pass : int
        Tokens of one forward pass, padding included; a longer row has a pass of its own.
    shared : tuple of str
        Maps that are computed once for all masks of an item (see `shareable`).
    """

    edit: RowEdit
    precision: Precision
    tokens_per_pass: int = SMALLEST_PASS
    shared: tuple[str, ...] = ()
