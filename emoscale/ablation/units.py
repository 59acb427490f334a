"""Cutting items and masks into units of work, each computed and saved as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoscale.ablation.options import AblationOptions


@dataclass(frozen=True)
class Unit:
    """A chunk of the scores: some consecutive items under some consecutive masks.

    Attributes
    ----------
    number : int
    items, masks : ndarray of int64
        Numbers of them.
    """

    number: int
    items: NDArray[np.int64]
    masks: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of pairs (item, mask)."""
        return len(self.items) * len(self.masks)


def make_units(items: int, masks: int, options: AblationOptions) -> list[Unit]:
    """Cut items and masks into units; all but the last of each are equal in size, the last not much smaller."""
    item_starts, mask_starts = _cuts(items, options.items_per_unit), _cuts(masks, options.masks_per_unit)
    pairs = [(some, those) for some in item_starts for those in mask_starts]
    return [Unit(number, some, those) for number, (some, those) in enumerate(pairs)]


def _cuts(count: int, most: int) -> list[NDArray[np.int64]]:
    # As large as the fewest pieces allow: with a small last one, and as many pieces as ranks, one rank would idle.
    size = -(-count // -(-count // most))
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
