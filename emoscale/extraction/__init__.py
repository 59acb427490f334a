"""Streaming neuron activations into a store, row block by row block."""

from emoscale.extraction.extract import extract
from emoscale.extraction.rows import PromptRows, Rows, TemplateRows, TextRows

__all__ = ["PromptRows", "Rows", "TemplateRows", "TextRows", "extract"]
