"""The stages of a run: what each writes, which stages it needs, and which settings it depends on.

What a stage does is in `emoscale.pipeline.stage_work`; the report is made here, for it lists what all stages write.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from emoscale.ablation.options import AblationOptions
from emoscale.attribution.options import AttributionOptions
from emoscale.extraction.rows import ROW_SOURCES
from emoscale.pipeline import stage_work
from emoscale.pipeline.stage import Counts, Stage
from emoscale.run.folder import RunFolder
from emoscale.selectivity.options import SelectivityOptions
from emoscale.system.progress import Progress
from emoscale.tasks.registry import TASKS

if TYPE_CHECKING:
    from emoscale.config import Settings
    from emoscale.pipeline.context import Context

_MODEL = ("model.name", "model.revision", "model.dtype", "model.trust_remote_code")
"""Settings of the model that its outputs depend on; its neurons depend on ``model.site`` too."""

_ASKED = (*_MODEL, "concepts.names", "stimuli", "tuning.seeds")
"""Settings that the answers to the ablation's task depend on, beside its own."""

_RELATION = ("permutations",)
"""Settings of the attribution that its estimates do not depend on."""


def _fields(section: str, options: type[Any], but: tuple[str, ...]) -> list[str]:
    return [f"{section}.{field.name}" for field in fields(options) if field.name not in but]


def _report(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.models.token_texts import speller
    from emoscale.pipeline.cautions import cautions_of
    from emoscale.pipeline.design import run_design
    from emoscale.pipeline.facts import run_facts
    from emoscale.pipeline.study import make_study, outputs_of
    from emoscale.report.write_report import write_report

    facts, outputs = run_facts(context, folder), outputs_of(STAGES, folder)
    # What the epochs were chosen by is said beside their numbers.
    warnings = [caution.text for caution in cautions_of(context) if caution.kind != "epochs"]
    study = make_study(context.settings, facts, outputs, run_design(context, folder), warnings)
    done = write_report(folder, study, progress=progress, spell=speller(context.outline.tokenizer))
    return {"figures": len(done["figures"])}


def _masks_need(settings: Settings) -> list[str]:
    from emoscale.masks.controls import CONTROLS, of_permuted_concepts
    from emoscale.masks.options import AUTO

    masks = settings.masks
    effects = masks.draws == AUTO or any(CONTROLS[name].needs_effects for name in masks.controls)
    extract = ["extract"] if of_permuted_concepts(masks.controls) else []
    return [*extract, "select", *(["attribute-effects"] if effects else [])]


def _ranked_by(settings: Settings) -> list[str]:
    from emoscale.attribution.rankings import RANKINGS

    rankings = [RANKINGS[name] for name in settings.faithfulness.rankings]
    selectivity = any(ranking.needs_selectivity for ranking in rankings)
    effects = any(ranking.needs_effects for ranking in rankings)
    return [*(["select"] if selectivity else []), *(["attribute-effects"] if effects else [])]


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="tune",
            help="Train a soft prompt for every concept and seed.",
            summary="{prompts} prompts, mean held-out accuracy {accuracy:.3f} (chance 0.500)",
            run=stage_work.run_tune,
            outputs=lambda folder: {
                folder.prompts: "the tuned prompts",
                folder.prompt_table: "accuracy of every prompt",
            },
            depends_on=lambda _: (*_MODEL, "concepts.names", "stimuli", "tuning"),
            checks=lambda context: context.tuning_checks(),
            shared=True,
            loads_model=True,
            optional=True,
        ),
        Stage(
            name="extract",
            help="Write the neurons' activations to a store.",
            summary="{rows:,} rows × {neurons:,} neurons",
            run=stage_work.run_extract,
            outputs=lambda folder: {
                folder.inputs: "the token ids given to the model",
                folder.activations: "activation of every neuron in every row",
                folder.moments: "count, mean and spread of every neuron by concept and replicate",
            },
            working=lambda folder: (
                folder.commits(folder.activations),
                folder.moment_shards,
                folder.commits(folder.moments),
            ),
            needs=lambda settings: ("tune",) if ROW_SOURCES[settings.extraction.rows].uses_prompts else (),
            depends_on=lambda settings: (
                *_MODEL,
                "model.site",
                "concepts.names",
                "extraction",
                *(("stimuli",) if ROW_SOURCES[settings.extraction.rows].needs_texts else ()),
            ),
            checks=lambda context: context.extraction_checks(),
            shared=True,
            loads_model=True,
        ),
        Stage(
            name="select",
            help="Compute every neuron's selectivity for every attribute.",
            summary="{neurons:,} neurons, {tests:,} tests",
            run=stage_work.run_select,
            outputs=lambda folder: {
                folder.selectivity: "τ, p, q and rank of every neuron and attribute",
                folder.row_measures: "measures of every neuron over single rows",
            },
            needs=lambda _: ("extract",),
            depends_on=lambda _: (
                "concepts.names",
                "concepts.attributes",
                *_fields("selectivity", SelectivityOptions, but=("alpha", "block_neurons")),
            ),
            checks=lambda context: [context.executor.check],
        ),
        Stage(
            name="attribute-effects",
            help="Estimate what editing every single neuron would change, and check some estimates.",
            summary="{items:,} items × {neurons:,} neurons",
            run=stage_work.run_attribute_effects,
            outputs=lambda folder: {
                folder.effects: "estimated effect of every neuron on every item's outcome",
                folder.effect_moments: "count, mean and spread of every neuron's estimated effects by concept",
                folder.exact_effects: "exact effects of the neurons with the largest estimates",
                folder.effect_check: "estimated and exact effects of sampled neurons and groups",
            },
            working=lambda folder: (
                folder.commits(folder.effects),
                folder.effect_shards,
                folder.commits(folder.effect_moments),
                folder.exact_checks,
            ),
            # Some edits take values from the extraction.
            needs=lambda settings: ("tune", "extract") if TASKS[settings.ablation.task].uses_prompts else ("extract",),
            depends_on=lambda _: (
                *(*_ASKED, "model.site"),
                *_fields("ablation", AblationOptions, but=("stop_when",)),
                *_fields("attribution", AttributionOptions, but=_RELATION),
            ),
            checks=lambda context: context.task_checks(),
            shared=True,
            loads_model=True,
        ),
        Stage(
            name="relate",
            help="Relate every neuron's selectivity to its effect, against permuted attributes.",
            summary="{neurons:,} neurons, {permutations:,} permutations",
            run=stage_work.run_relate,
            outputs=lambda folder: {folder.relation: "how τ relates to the estimated effects, over neurons"},
            working=lambda folder: (folder.commits(folder.relation),),
            needs=lambda _: ("select", "attribute-effects"),
            depends_on=lambda _: ("selectivity.seed", "masks.k", *(f"attribution.{name}" for name in _RELATION)),
            checks=lambda context: [context.executor.check, context.check_k],
        ),
        Stage(
            name="measure-faithfulness",
            help="Measure how much of the outcome the first neurons of rankings carry alone (faithfulness.rankings).",
            summary="{items:,} items × {masks:,} sets of neurons kept",
            run=stage_work.run_measure_faithfulness,
            outputs=lambda folder: {
                folder.faithfulness: "outcome of every item with only the first neurons of rankings kept"
            },
            working=lambda folder: (folder.faithfulness_scores,),
            needs=lambda settings: (
                *(("tune",) if TASKS[settings.ablation.task].uses_prompts else ()),
                "extract",  # some edits take values from it
                *_ranked_by(settings),
            ),
            depends_on=lambda _: (
                *(*_ASKED, "model.site", "attribution.normalization", "faithfulness"),
                *_fields("ablation", AblationOptions, but=("edit", "stop_when")),
            ),
            checks=lambda context: context.faithfulness_checks(),
            shared=True,
            loads_model=True,
            optional=True,
        ),
        Stage(
            name="mask",
            help="Choose the neurons to ablate, and controls.",
            summary="{selective} selective masks, {controls} controls{chosen}",
            run=stage_work.run_mask,
            outputs=lambda folder: {folder.masks: "the neurons that each mask edits"},
            needs=lambda settings: _masks_need(settings),
            depends_on=lambda _: ("masks",),
            checks=lambda context: context.mask_checks(),
        ),
        Stage(
            name="ablate",
            help="Let the model do its task with neurons edited.",
            summary="{items:,} items × {masks} masks, {tokens_per_pass:,} tokens a pass{exact}",
            run=stage_work.run_ablate,
            outputs=lambda folder: {folder.scores: "score of every option, for every item and mask"},
            working=lambda folder: (folder.commits(folder.scores),),
            needs=lambda settings: ("tune", "mask") if TASKS[settings.ablation.task].uses_prompts else ("mask",),
            depends_on=lambda settings: (
                *(*_ASKED, "ablation"),
                *(("analysis",) if settings.ablation.stop_when == "decided" else ()),
            ),
            checks=lambda context: [*context.task_checks(), context.check_stop],
            shared=True,
            loads_model=True,
        ),
        Stage(
            name="analyze",
            help="Compute the statistics.",
            summary="{tables} tables, {significant:,} of {tests:,} tests significant",
            run=stage_work.run_analyze,
            outputs=lambda folder: {folder.tables: "every number of the report and many more, one table a file"},
            needs=lambda settings: (
                *("select", "attribute-effects", "relate", "ablate"),
                *(("measure-faithfulness",) if settings.faithfulness.rankings else ()),
            ),
            depends_on=lambda _: ("concepts", "selectivity.alpha", "analysis"),
        ),
        Stage(
            name="report",
            help="Draw the figures and write report.html.",
            summary="{figures} figures",
            run=_report,
            outputs=lambda folder: {
                folder.report: "the report",
                folder.figures: "the figures, as PNG and SVG",
            },
            needs=lambda _: ("analyze",),
            depends_on=lambda _: ("title",),
        ),
    )
}
"""Every stage of a run, each after those it needs."""
