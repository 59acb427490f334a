"""How questions are put to a model: what masked neurons become, in which precision, and how much at a time."""

from __future__ import annotations

from dataclasses import dataclass

from emoscale.ablation.edits import RowEdit


@dataclass(frozen=True)
class ForwardOptions:
    """How questions are put to the model.

    Attributes
    ----------
    edit : RowEdit
        What becomes of masked neurons.
    precision : {"auto", "exact", "bfloat16"}
    tokens_per_pass : int
        Tokens of one forward pass, padding included; a row that is longer has a pass of its own.
    shared : tuple of str
        Maps that are computed once for all masks of a question (see `shareable`).
    """

    edit: RowEdit
    precision: str
    tokens_per_pass: int = 1024
    shared: tuple[str, ...] = ()
