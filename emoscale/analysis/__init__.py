"""The statistics of a run: what switching neurons off did, where selective neurons are, and how people compare.

`analyze` writes every result table of a run folder. The functions below it take and give plain arrays and tables, so
they serve other data (the study's released accuracies, say) as well.
"""

from emoscale.analysis.analyze import analyze
from emoscale.analysis.dose_response import dose_response
from emoscale.analysis.evidence import inference_summary, reliability
from emoscale.analysis.humans import concept_correlations, human_comparison, importance, mean_drop_correlation
from emoscale.analysis.manipulation import accuracy_table, drop_table, overall_drop, paired_accuracies, random_draws
from emoscale.analysis.mixed_model import mixed_model
from emoscale.analysis.participants import importance_intervals, noise_ceiling
from emoscale.analysis.populations import overlap, significant_by_layer, tau_summary
from emoscale.analysis.specificity import specificity, specificity_summary
from emoscale.analysis.unimodality import unimodality

__all__ = [
    "accuracy_table",
    "analyze",
    "concept_correlations",
    "dose_response",
    "drop_table",
    "human_comparison",
    "importance",
    "importance_intervals",
    "inference_summary",
    "mean_drop_correlation",
    "mixed_model",
    "noise_ceiling",
    "overall_drop",
    "overlap",
    "paired_accuracies",
    "random_draws",
    "reliability",
    "significant_by_layer",
    "specificity",
    "specificity_summary",
    "tau_summary",
    "unimodality",
]
