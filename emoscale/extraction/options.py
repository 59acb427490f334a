"""Settings of the extraction of activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from emoscale.system.option_types import OPTIONS, Count


@dataclass(frozen=True)
class ExtractionOptions:
    """Activations."""

    __pydantic_config__ = OPTIONS

    rows: Literal["prompts", "templates", "texts", "tokens"] = "prompts"
    """What stands for a concept: its tuned prompts, carrier sentences that name it, every text labelled with it, or
    every token of those texts."""
    read: Literal["first", "mask", "last", "concept-last", "concept-mean", "mean", "all"] | None = None
    """Where a row is read: the first, last or mask token, the last of the concept's tokens or their mean, the mean over
    all tokens, or each token as a row of its own. Left out: prompts where their task reads them, sentences at
    ``concept-last``, texts at ``mean``."""
    split: Literal["train", "dev", "all"] = "train"
    """Which texts."""
    templates: list[str] | None = None
    """Carrier sentences with ``{concept}``; built-in ones when left out."""
    padding: Literal["right", "left"] = "right"
    """Where rows of one forward pass that are shorter than the longest are filled up; the values are the same."""
    keep: Literal["activations", "moments"] = "activations"
    """Every row's activations, or only count, mean and spread by concept and replicate, whatever the number of rows."""
    parts: Count = 16
    """Moments are summed up in so many parts of the rows, which the ranks share; each takes as much disk as the result
    until all are done."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Type of the activations in the store; moments are float64."""
    non_finite: Literal["stop", "keep"] = "stop"
    """What to do when an activation overflows or is not a number."""
    block_rows: Count = 1024
    """Rows computed, written and committed at a time."""
    batch_rows: Count = 32
    """Rows of one forward pass."""
    chunk_neurons: Count = 1024
    """Neurons in a chunk of the store."""
