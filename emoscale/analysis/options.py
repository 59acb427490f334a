"""Settings of the analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from emoscale.system.option_types import OPTIONS, OneOf, Rate


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
    smallest_effect: Rate = 0.1
    """Smallest change of the mean log-odds of the right answer that would matter, in nats: a tenth of the odds, which
    at an accuracy of one half is 2.5 points of a hundred. An effect is called absent if its interval is within."""
    smallest_accuracy_effect: Rate = 0.02
    """The same for a share of right answers."""
