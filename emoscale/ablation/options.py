"""Settings of the ablation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StrictFloat

from emoscale.system.option_types import OPTIONS, Count, Precision, Seed


@dataclass(frozen=True)
class AblationOptions:
    """Inference with neurons edited."""

    __pydantic_config__ = OPTIONS

    task: Literal["prompts", "words", "choice"] = "prompts"
    """What the model is asked: ``prompts``, whether held-out texts show a concept, with the concept's tuned prompts;
    ``words``, the same in plain words; ``choice``, which of all concepts a text shows, by how likely the model finds
    each one's name after it (causal models)."""
    templates: list[str] | None = None
    """What texts are put into, by tasks in plain words: with ``{text}``; for ``words`` also ``{concept}``, and
    ``{mask}`` for masked models. Several are replicates. Built-in ones when left out."""
    words: Annotated[list[str], Field(min_length=2, max_length=2)] = field(default_factory=lambda: ["no", "yes"])
    """Of ``task: words``: those for "does not show the concept" and "shows it"."""
    edit: Literal["zero", "scale", "mean", "resample"] = "zero"
    """What becomes of masked neurons: 0, as published; ``factor`` times themselves; their mean over the extraction's
    rows; or what they were in one of these rows, drawn for each text and mask."""
    factor: Annotated[StrictFloat, Field(allow_inf_nan=False)] = 0.5
    """Of ``edit: scale``."""
    seed: Seed = 0
    """Of ``edit: resample``."""
    masks_per_unit: Count = 64
    """Masks in one unit of work, with one concept and replicate."""
    tokens_per_pass: Count | None = None
    """Tokens of one forward pass; found by trying when left out."""
    precision: Precision = "exact"
    """``exact`` is the type of the weights; ``bfloat16`` is faster where the device has it, and moves some answers."""
