"""Every result table. To add one, write a function from `AnalysisInputs` and give it a name and a meaning here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoscale.analysis.choice import choice_table, confusion_table
from emoscale.analysis.codebook import Column
from emoscale.analysis.columns import COLUMNS
from emoscale.analysis.concept_effects import are_by_concept, concept_effects
from emoscale.analysis.control_variates import control_variates
from emoscale.analysis.drops import accuracy_table, dose_response, drop_table, overall_drop, unimodality, unmasked_table
from emoscale.analysis.effects import agreement, effects_by_layer, most_needed
from emoscale.analysis.faithfulness import area_table, faithfulness_table, read_kept, trace_curves
from emoscale.analysis.held_out import held_out_table
from emoscale.analysis.humans import human_comparison, mean_drop_correlation, noise_ceiling
from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.mask_effects import mask_agreement
from emoscale.analysis.neurons import (
    inference_summary,
    overlap,
    significant_by_layer,
    tau_summary,
)
from emoscale.analysis.relation import effect_of_selective, shared_effects, tau_and_effect
from emoscale.analysis.specificity import specificity, specificity_summary
from emoscale.analysis.verdicts import verdicts
from emoscale.run.effects import has_effects, mean_effects, read_checked
from emoscale.run.verdicts import VERDICTS, verdict_table

Compute = Callable[[AnalysisInputs], pd.DataFrame | None]


@dataclass(frozen=True)
class Table:
    """One result table.

    Parameters
    ----------
    name : str
        Of its file, ``tables/<name>.csv``.
    meaning : str
        What a row says, in one sentence.
    needs : str
        What not every run has and the table needs; empty when every run can have it.
    compute : callable
        From `AnalysisInputs` to the table; None where these data do not allow it.
    columns : mapping of str to Column
        What its columns are, for the codebook.
    """

    name: str
    meaning: str
    needs: str
    compute: Compute
    columns: Mapping[str, Column]


TABLES: dict[str, Table] = {}
"""Every result table by name, in the order in which they are computed."""


def table(
    name: str, meaning: str, needs: str = "", columns: Mapping[str, Column] | None = None
) -> Callable[[Compute], Compute]:
    """Register the decorated function as the result table `name`; see `Table`.

    Its columns are those that `COLUMNS` has for the name, unless they are given.
    """

    def register(compute: Compute) -> Compute:
        TABLES[name] = Table(name, meaning, needs, compute, COLUMNS.get(name, {}) if columns is None else columns)
        return compute

    return register


SIZES = "masks of two sizes or more"
SCORED = "the score of every item"
CHOICES = "a model that chose among more than two answers"
PERMUTATIONS = "selectivity against permutations of the concepts (selectivity.inference)"
EFFECTS = "every neuron's estimated effect"
RELATIONS = "every neuron's estimated effect, related to its selectivity"
OWN_EFFECTS = "every neuron's effect on each concept's own outcome, not calibrated over the texts of several concepts"
FAITHFULNESS = "the outcome with only the first neurons of rankings kept (faithfulness.rankings)"
REPLICATES = "neurons chosen by each half of the replicates, and by permuted concepts (masks.controls)"
PEOPLE = "people's dissimilarities of the concepts"
PARTICIPANTS = "the dissimilarities that each participant judged"
RATINGS = "the ratings of single people (concepts.ratings)"


@table("drop_overall", "What is lost to selective masks beyond control masks, over all attributes")
def _drop_overall(inputs: AnalysisInputs) -> pd.DataFrame:
    return overall_drop(inputs.paired, inputs.draws, inputs.exchangeable)


@table("drop_by_attribute", "The same loss for each attribute's neurons")
def _drop_by_attribute(inputs: AnalysisInputs) -> pd.DataFrame:
    return drop_table(inputs.paired, ["attribute"])


@table("drop_by_concept", "The same loss for each concept")
def _drop_by_concept(inputs: AnalysisInputs) -> pd.DataFrame:
    return drop_table(inputs.paired, ["concept"])


@table("drop_by_concept_attribute", "The same loss for each concept and attribute")
def _drop_by_concept_attribute(inputs: AnalysisInputs) -> pd.DataFrame:
    return drop_table(inputs.paired, ["concept", "attribute"])


@table("accuracy", "Mean accuracy of each concept under each kind and size of mask")
def _accuracy(inputs: AnalysisInputs) -> pd.DataFrame:
    return accuracy_table(inputs.answers)


@table("unmasked", "Accuracy of each concept and replicate with no neuron edited")
def _unmasked(inputs: AnalysisInputs) -> pd.DataFrame:
    return unmasked_table(inputs.answers)


@table("control_draws", "Mean outcome under each control mask")
def _control_draws(inputs: AnalysisInputs) -> pd.DataFrame:
    return inputs.draws


@table("unimodality", "Hartigan's dip test of the concepts' losses to each attribute's neurons")
def _unimodality(inputs: AnalysisInputs) -> pd.DataFrame:
    return unimodality(inputs.paired)


@table("specificity", "Correlation over concepts of the losses to an attribute's neurons with the scores on another")
def _specificity(inputs: AnalysisInputs) -> pd.DataFrame:
    return specificity(inputs.paired, inputs.concepts)


@table("specificity_summary", "Whether losses follow the scores on the same attribute more than on others")
def _specificity_summary(inputs: AnalysisInputs) -> pd.DataFrame:
    return specificity_summary(inputs.paired, inputs.concepts)


@table("dose_response", "How much the loss grows each time that the number of neurons doubles", SIZES)
def _dose_response(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return dose_response(inputs.paired) if len(inputs.ks) > 1 else None


@table("rating_agreement", "How well raters agree on each attribute", RATINGS)
def _rating_agreement(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return inputs.concepts.agreement


@table("noise_ceiling", "How well single participants agree with the others", PARTICIPANTS)
def _noise_ceiling(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return None if inputs.importance is None or inputs.participants is None else noise_ceiling(inputs.participants)


@table("importance", "How well people's dissimilarities follow each attribute", PEOPLE)
def _importance(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return inputs.importance


@table("correlation_by_concept", "Correlation over attributes of a concept's losses with importance", PEOPLE)
def _correlation_by_concept(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return inputs.correlations


@table("human_comparison", "Mean over concepts of the correlation of losses with importance", PEOPLE)
def _human_comparison(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return None if inputs.correlations is None else human_comparison(inputs.correlations)


@table("mean_drop_correlation", "Correlation over attributes of the mean losses with importance", PEOPLE)
def _mean_drop_correlation(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return None if inputs.importance is None else mean_drop_correlation(inputs.paired, inputs.importance)


@table("inference", "Neurons that are significant for each attribute, by each kind of inference")
def _inference(inputs: AnalysisInputs) -> pd.DataFrame:
    read = inputs.selectivity.read
    p = {name: read(name) for name in ("p_asymptotic", "p_attribute", "p_all")}
    return inference_summary(p, inputs.q, read("null_spread"), inputs.concepts.attributes, inputs.alpha)


@table("followers", "Neurons that follow each attribute, against permuted concepts", PERMUTATIONS)
def _followers(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return inputs.followers


@table("reliability", "How well each attribute's tau repeats from one half of the replicates to the other")
def _reliability(inputs: AnalysisInputs) -> pd.DataFrame:
    return inputs.reliability


@table("significant", "Significant neurons of each attribute in each layer")
def _significant(inputs: AnalysisInputs) -> pd.DataFrame:
    return significant_by_layer(inputs.q, inputs.selectivity.read("layer"), inputs.concepts.attributes, inputs.alpha)


@table("tau_summary", "Each attribute's selectivity over all neurons")
def _tau_summary(inputs: AnalysisInputs) -> pd.DataFrame:
    return tau_summary(inputs.selectivity.read("tau"), inputs.q, inputs.concepts.attributes, inputs.alpha)


@table("overlap", "Neurons that the selective masks of two attributes share, against chance")
def _overlap(inputs: AnalysisInputs) -> pd.DataFrame:
    return overlap(inputs.selectivity.read("rank"), inputs.concepts.attributes, inputs.ks)


@table("choice", "Accuracy and top-3 accuracy under each kind and size of mask and each normalization", CHOICES)
def _choice(inputs: AnalysisInputs) -> pd.DataFrame | None:
    chosen = inputs.choices
    return None if chosen is None else choice_table(inputs.answers, chosen.normalized)


@table("confusion", "How often each concept was answered where another was right", CHOICES)
def _confusion(inputs: AnalysisInputs) -> pd.DataFrame | None:
    chosen = inputs.choices
    return None if chosen is None else confusion_table(inputs.answers, chosen.answers, chosen.options)


@table("effect_agreement", "How far estimated effects agree with exact ablation, by kind of sample", EFFECTS)
def _effect_agreement(inputs: AnalysisInputs) -> pd.DataFrame | None:
    checked = read_checked(inputs.folder)
    return None if checked is None else agreement(checked)


@table("effects_by_layer", "Estimated effects of each layer's neurons on the outcome", EFFECTS)
def _effects_by_layer(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return effects_by_layer(inputs.folder, inputs.selectivity) if has_effects(inputs.folder) else None


@table("most_needed", "The neurons without which the outcome would fall most, by estimated effect", EFFECTS)
def _most_needed(inputs: AnalysisInputs) -> pd.DataFrame | None:
    if not has_effects(inputs.folder):
        return None
    return most_needed(inputs.folder, inputs.selectivity, inputs.concepts.attributes)


@table(
    "tau_and_effect", "Correlation over neurons of tau with the estimated effect, against permuted concepts", RELATIONS
)
def _tau_and_effect(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return tau_and_effect(inputs.folder) if inputs.folder.relation.exists() else None


@table("effect_of_selective", "Estimated effect of the most selective neurons, against permuted concepts", RELATIONS)
def _effect_of_selective(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return effect_of_selective(inputs.folder) if inputs.folder.relation.exists() else None


@table("shared_effects", "Estimated effect of the neurons that the selective masks of two attributes share", EFFECTS)
def _shared_effects(inputs: AnalysisInputs) -> pd.DataFrame | None:
    if not has_effects(inputs.folder):
        return None
    return shared_effects(inputs.folder, inputs.selectivity.read("rank"), inputs.concepts.attributes, inputs.ks)


@table(
    "concept_effects", "Neurons that each concept needs more than others, chosen on one half of the items", OWN_EFFECTS
)
def _concept_effects(inputs: AnalysisInputs) -> pd.DataFrame | None:
    if not (has_effects(inputs.folder) and are_by_concept(inputs.folder, inputs.design)):
        return None
    return concept_effects(inputs.folder, inputs.concepts.names, inputs.ks)


@table("faithfulness", "How much of the outcome the first neurons of a ranking carry alone, by number", FAITHFULNESS)
def _faithfulness(inputs: AnalysisInputs) -> pd.DataFrame | None:
    kept = read_kept(inputs.folder)
    return None if kept is None else faithfulness_table(trace_curves(kept))


@table("faithfulness_areas", "The same over all numbers of neurons: CPR and CMD of each ranking", FAITHFULNESS)
def _faithfulness_areas(inputs: AnalysisInputs) -> pd.DataFrame | None:
    kept = read_kept(inputs.folder)
    return None if kept is None else area_table(trace_curves(kept))


@table("mask_effects", "Effect of each mask on the outcome, estimated from its neurons and exact", EFFECTS)
def _mask_effects(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return inputs.mask_effects


@table("mask_effect_agreement", "How far estimated effects of masks agree with exact ones, by kind and size", EFFECTS)
def _mask_effect_agreement(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return None if inputs.mask_effects is None else mask_agreement(inputs.mask_effects)


@table("needed", "Whether losing an attribute's neurons costs more than losing those of permuted attributes", SCORED)
def _needed(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return inputs.needed


@table("permuted_tests", "Statistics over all attributes, against the same ones of permuted attributes", SCORED)
def _permuted_tests(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return inputs.permuted_tests


@table("held_out", "Whether neurons chosen by either half of the replicates are needed as much", REPLICATES)
def _held_out(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return None if inputs.permuted_masks is None else held_out_table(inputs.permuted_masks)


@table(VERDICTS, "What the run answers to its questions", SCORED)
def _verdicts(inputs: AnalysisInputs) -> pd.DataFrame | None:
    return None if inputs.permuted_masks is None else verdict_table(verdicts(inputs))


@table("control_variates", "Mean effect of all masks a control can draw, from draws alone and by regression", EFFECTS)
def _control_variates(inputs: AnalysisInputs) -> pd.DataFrame | None:
    if inputs.mask_effects is None or inputs.expected_effects is None:
        return None
    effects = np.nan_to_num(mean_effects(inputs.folder).overall)
    table = control_variates(inputs.mask_effects, inputs.expected_effects(effects))
    return None if table.empty else table
