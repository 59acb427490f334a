"""Streaming neuron activations into a store, row block by row block."""

from emoscale.extraction.rows import PromptRows, Rows, TemplateRows, TextRows
from emoscale.extraction.stage import extract

__all__ = ["PromptRows", "Rows", "TemplateRows", "TextRows", "extract"]
