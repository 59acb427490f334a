"""Which neurons to switch off: the most selective ones, and as many random ones."""

from emoscale.masks.kinds import KINDS
from emoscale.masks.masks import make_masks, resolve_k

__all__ = ["KINDS", "make_masks", "resolve_k"]
