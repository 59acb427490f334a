"""Which neurons to switch off: the most selective ones, and as many others as controls."""

from emoscale.masks.drawing import check_disjoint
from emoscale.masks.kinds import KINDS
from emoscale.masks.masks import make_masks, resolve_k

__all__ = ["KINDS", "check_disjoint", "make_masks", "resolve_k"]
