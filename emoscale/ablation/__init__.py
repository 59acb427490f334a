"""Inference with neurons switched off, many masks in one forward pass."""

from emoscale.ablation.ablate import ablate

__all__ = ["ablate"]
