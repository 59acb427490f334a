"""Settings of prompt tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from emoscale.system.option_types import OPTIONS, Count, Distinct, Number, Precision, Rate, Seed

PUBLISHED_SEEDS = (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 42, 100)
TOKENS_PER_PASS = {"cpu": 1024, "gpu": 8192}
"""By kind of device. A CPU gains nothing from larger passes, and small ones contain less padding."""


@dataclass(frozen=True)
class TuningOptions:
    """Prompt tuning."""

    __pydantic_config__ = OPTIONS

    seeds: Annotated[list[Seed], Field(min_length=1), Distinct] = field(default_factory=lambda: list(PUBLISHED_SEEDS))
    """One prompt a concept and seed; the seed is the replicate."""
    layout: Literal["mask-first", "prefix"] = "mask-first"
    """``mask-first`` is the published one (masked language models); ``prefix`` suits encoders and causal models."""
    prompt_length: Count = 100
    """Vectors of a prompt."""
    verbaliser: Annotated[list[str], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: ["negative", "positive"]
    )
    """Words for "does not show the concept" and "shows it", where the model predicts words."""
    epochs: Count = 2
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the texts to train on that each prompt is not trained on, and that choose its best epoch. 0, as
    published: the held-out texts choose it, about which it is then asked."""
    keep_repeated: bool = False
    """Whether texts that are held out too are trained on, as published, where the source's own splits share some (84
    of GoEmotions)."""
    patience: Count | None = None
    """Epochs without a better result on the texts that choose the best one (accuracy, then loss) after which a prompt
    is trained no further; each takes all epochs, as published, when left out."""
    batch_size: Count = 16
    """Texts a prompt sees in one step."""
    learning_rate: Rate = 2e-3
    """Of AdamW, constant."""
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    """Of AdamW."""
    prompts_per_group: Count = 27
    """Prompts trained and saved together; the ranks share the groups."""
    tokens_per_pass: Count | None = None
    """The most tokens of one forward pass, padding included; a step of many prompts is several passes. What suits the
    device when left out."""
    precision: Precision = "auto"
