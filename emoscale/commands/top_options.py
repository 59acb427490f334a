"""What `emoscale top` prints."""

from __future__ import annotations

from dataclasses import dataclass

EFFECT, SIZE = "effect", "size"
"""Orders by estimated effect."""


@dataclass(frozen=True)
class TopOptions:
    """Which neurons are printed.

    Parameters
    ----------
    by : str
        ``effect``, the largest estimated loss first; ``size``, the largest estimated effect either way; or an
        attribute, the largest tau first.
    attribute : str, optional
        In place of `by`: an attribute, whatever it is called.
    neuron : str, optional
        In place of both: the neuron at ``LAYER:UNIT``, or ``LAYER:EXPERT:UNIT``.
    count : int
        How many neurons.
    texts : int
        How many texts, with the highest and with the lowest activation, are printed of each.
    """

    by: str = EFFECT
    attribute: str | None = None
    neuron: str | None = None
    count: int = 20
    texts: int = 2
