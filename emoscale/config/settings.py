"""The settings of a run: the options of its parts, put together.

A default is the published study's where it had the choice to make, and stands in its part's ``options.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from emoscale.ablation.options import AblationOptions
from emoscale.analysis.options import AnalysisOptions
from emoscale.attribution.options import AttributionOptions, FaithfulnessOptions
from emoscale.concepts.options import ConceptOptions
from emoscale.extraction.options import ExtractionOptions
from emoscale.masks.options import MaskOptions
from emoscale.models.options import ModelOptions
from emoscale.selectivity.options import SelectivityOptions
from emoscale.stimuli.options import StimuliOptions
from emoscale.system.option_types import OPTIONS
from emoscale.system.options import MachineOptions
from emoscale.tuning.options import TuningOptions


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a run needs."""

    __pydantic_config__ = OPTIONS

    title: str = "emoscale"
    """Title of the report."""
    model: ModelOptions
    concepts: ConceptOptions = field(default_factory=ConceptOptions)
    stimuli: StimuliOptions = field(default_factory=StimuliOptions)
    tuning: TuningOptions = field(default_factory=TuningOptions)
    extraction: ExtractionOptions = field(default_factory=ExtractionOptions)
    selectivity: SelectivityOptions = field(default_factory=SelectivityOptions)
    attribution: AttributionOptions = field(default_factory=AttributionOptions)
    faithfulness: FaithfulnessOptions = field(default_factory=FaithfulnessOptions)
    masks: MaskOptions = field(default_factory=MaskOptions)
    ablation: AblationOptions = field(default_factory=AblationOptions)
    analysis: AnalysisOptions = field(default_factory=AnalysisOptions)
    machine: MachineOptions = field(default_factory=MachineOptions)
