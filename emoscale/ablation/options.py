"""Settings of the ablation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from emoscale.system.option_types import OPTIONS, Count, Number, OneOf, Precision, Seed, Share

TWO_LEVEL: Literal["two-level"] = "two-level"


@dataclass(frozen=True)
class AblationOptions:
    """Inference with neurons edited."""

    __pydantic_config__ = OPTIONS

    task: Annotated[str, OneOf("emoscale.tasks.registry:TASKS")] = "soft-prompt"
    """What the model is asked: ``soft-prompt``, whether held-out texts show a concept, with the concept's tuned
    prompts; ``yes-no``, the same in plain words; ``multiple-choice``, which of all concepts a text shows, by the
    probability of each one's name after it (causal models)."""
    templates: list[str] | None = None
    """What texts are put into, by tasks in plain words: with ``{text}``; for ``yes-no`` also ``{concept}``, and
    ``{mask}`` for masked models. Several are replicates. Built-in ones by default."""
    words: Annotated[list[str], Field(min_length=2, max_length=2)] = field(default_factory=lambda: ["no", "yes"])
    """Of ``task: yes-no``: the answers for "does not show the concept" and "shows it"."""
    scoring: Literal["name", "first-token"] = "name"
    """Of ``task: multiple-choice``: ``name``, the log probability of all of a name's tokens; or ``first-token``, of its
    first one, in half the time. The first tokens of all names must differ."""
    chat: StrictBool = False
    """Whether tasks in plain words make each filled-in template a message of a user, by the tokenizer's chat template;
    the names or words then begin the answer (causal models)."""
    answer: str | None = None
    """Of ``chat``: what the answer begins with, such as ``The writer feels``; the names or words come after it."""
    edit: Annotated[str, OneOf("emoscale.ablation.edits:EDITS")] = "zero"
    """What becomes of masked neurons: ``zero``, as published; ``scale``, ``factor`` times their own value; ``mean``,
    their mean over the extraction's rows; or ``resample``, their value in one of these rows, drawn for each item and
    mask."""
    factor: Number = 0.5
    """Of ``edit: scale``."""
    seed: Seed = 0
    """Of ``edit: resample``, of the share of ``precision: two-level``, and of the order in which ``stop_when: decided``
    asks."""
    stop_when: Literal["never", "decided"] = "never"
    """``decided`` asks an eighth, a quarter, a half and all of the texts, and no more under the masks of an attribute
    and its own controls once it is known whether the drop is smaller than ``analysis.smallest_effect``, or larger. The
    report says how much that saved."""
    items_per_unit: Count = 16
    """Items in one unit of work, which is computed and saved as a whole."""
    masks_per_unit: Count = 64
    """Masks in one unit of work."""
    tokens_per_pass: Count | None = None
    """Tokens of one forward pass; measured by default."""
    precision: Literal[Precision, "two-level"] = "exact"
    """``exact`` is the type of the weights; ``bfloat16`` is faster where the device has it, and moves some answers;
    ``two-level`` scores all items in bfloat16 and a random share of them in the type of the weights too, by which every
    outcome is corrected: means are unbiased for exact ones."""
    exact_share: Share | None = None
    """Of ``precision: two-level``: share of the texts of each concept, two at least; by default chosen by a small
    trial, for standard errors at most 5 % wider than with all texts exact."""
