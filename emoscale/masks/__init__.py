"""Which neurons to switch off: the most selective ones, and as many others as controls."""

from emoscale.masks.controls import KINDS
from emoscale.masks.drawing import check_disjoint
from emoscale.masks.make_masks import make_masks, resolve_k

__all__ = ["KINDS", "check_disjoint", "make_masks", "resolve_k"]
