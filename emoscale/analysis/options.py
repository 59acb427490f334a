"""Settings of the analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from emoscale.system.option_types import OPTIONS, OneOf


@dataclass(frozen=True)
class AnalysisOptions:
    """How scores become effects. Changing these evaluates nothing again."""

    __pydantic_config__ = OPTIONS

    outcome: Annotated[str, OneOf("emoscale.tasks.outcomes:OUTCOMES")] = "log-odds"
    """What effects are measured in: ``log-odds`` of the right answer, which needs several times fewer items for an
    interval of the same width; or ``accuracy``, as published."""
    normalization: Annotated[str, OneOf("emoscale.tasks.outcomes:NORMALIZATIONS")] = "calibrated"
    """What is done to an option's score before options are compared: ``none``; ``per-token`` or ``per-character``,
    divided by the option's length; ``calibrated``, minus the option's mean over the items under the same mask, so that
    no option wins whatever the text."""
