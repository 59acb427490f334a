"""Inference with neurons switched off, many masks in one forward pass."""
