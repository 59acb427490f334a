"""The stages of a run: what each is, and how settings become the arguments of its work.

Libraries are imported when a stage runs: the command line reads this table, and torch takes seconds.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from emoscale.ablation.options import AblationOptions
from emoscale.attribution.options import AttributionOptions
from emoscale.extraction.rows import ROW_SOURCES
from emoscale.pipeline.stage import Counts, Stage
from emoscale.run.folder import RunFolder
from emoscale.selectivity.options import SelectivityOptions
from emoscale.system.progress import Progress
from emoscale.tasks.registry import TASKS

if TYPE_CHECKING:
    from emoscale.attribution.exact import ExactAblation
    from emoscale.config import Settings
    from emoscale.pipeline.context import Context
    from emoscale.tasks.task import Task

_MODEL = ("model.name", "model.revision", "model.dtype", "model.trust_remote_code")
"""Settings of the model that its outputs depend on; its neurons depend on ``model.site`` too."""

_ASKED = (*_MODEL, "concepts.names", "stimuli", "tuning.seeds")
"""Settings that the answers to the ablation's task depend on, beside its own."""


_RELATION = ("permutations",)
"""Settings of the attribution that its estimates do not depend on."""


def _fields(section: str, options: type[Any], but: tuple[str, ...]) -> list[str]:
    return [f"{section}.{field.name}" for field in fields(options) if field.name not in but]


def _tune(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.tuning.tune import tune

    return tune(
        folder,
        context.prompted,
        context.tokens,
        context.prompt_texts,
        context.settings.tuning,
        ranks=context.ranks,
        progress=progress,
    )


def repair_activations(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Write missing and damaged chunks of the activations again."""
    return _extract(context, folder, progress, repair=True)


def _extract(context: Context, folder: RunFolder, progress: Progress, repair: bool = False) -> Counts:
    from emoscale.extraction.extract import extract
    from emoscale.extraction.work import Job

    options, source = context.settings.extraction, ROW_SOURCES[context.settings.extraction.rows]
    origin = {
        "model": context.outline.name,
        **context.identity,
        "site": context.settings.model.site,
        "rows": options.rows,
        "pooling": context.pooling,
        **({"split": options.split} if source.needs_texts else {}),
    }
    job = Job(
        origin=origin,
        concepts=context.concepts.names,
        writers=context.settings.machine.writers,
        repair=repair,
    )
    rows = source.make(context, folder)
    return extract(folder, rows, options, job=job, ranks=context.ranks, progress=progress)


def _select(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.selectivity.select import select

    options = context.settings.selectivity
    return select(folder, context.concepts, options, executor=context.executor, progress=progress)


def _attribute_effects(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.attribution.attribute_effects import attribute_effects
    from emoscale.extraction.work import Job

    settings, task, exact = context.settings, *_exact_ablation(context, folder)
    job = Job(origin=dict(exact.origin), concepts=context.concepts.names, writers=settings.machine.writers)
    return attribute_effects(folder, task, exact, settings.attribution, job=job, progress=progress)


def _relate(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.attribution.relate import relate

    settings = context.settings
    return relate(
        folder,
        context.concepts,
        settings.selectivity,
        settings.attribution,
        settings.masks.k,
        executor=context.executor,
        progress=progress,
    )


def _measure_faithfulness(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.attribution.measure_faithfulness import measure_faithfulness

    options, normalization = context.settings.faithfulness, context.settings.attribution.normalization
    return measure_faithfulness(folder, *_exact_ablation(context, folder), options, normalization, progress)


def _exact_ablation(context: Context, folder: RunFolder) -> tuple[Task, ExactAblation]:
    from emoscale.attribution.exact import ExactAblation

    options = context.settings.ablation
    exact = ExactAblation(folder, context.model, options, _origin_of_scores(context), context.ranks)
    return TASKS[options.task].make(context, folder), exact


def _origin_of_scores(context: Context) -> dict[str, Any]:
    options = context.settings.ablation
    return {
        "model": context.outline.name,
        **context.identity,
        "site": context.settings.model.site,
        "task": options.task,
        "edit": options.edit,
    }


def _mask(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.masks.draw_numbers import chosen_draws
    from emoscale.masks.make_masks import make_masks
    from emoscale.pipeline.permuted import permuted_values

    options = context.settings.masks
    made = make_masks(folder, options, progress, partial(permuted_values, context, folder, progress))
    chosen = "".join(f", {number['draws']} draws of {kind}" for kind, number in chosen_draws(folder).items())
    return {**made, "controls": sum(made[kind] for kind in options.controls), "chosen": chosen}


def _ablate(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    from emoscale.ablation.ablate import ablate
    from emoscale.ablation.looks import LOOKS
    from emoscale.analysis.early_stop import judge_masks

    options = context.settings.ablation
    task, origin = TASKS[options.task].make(context, folder), _origin_of_scores(context)
    judge = None
    if options.stop_when == "decided":
        judge = partial(partial, judge_masks, context.settings.analysis, len(LOOKS))
    made = ablate(
        folder, context.model, task, options, origin=origin, judge=judge, ranks=context.ranks, progress=progress
    )
    share = made.get("exact_share")
    return {**made, "exact": "" if share is None else f", two precisions of {share:.1%}"}


def _analyze(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    import numpy as np

    from emoscale.analysis.analyze import analyze
    from emoscale.analysis.inputs import AnalysisInputs
    from emoscale.masks.controls import CONTROLS
    from emoscale.masks.expected import expected_effects
    from emoscale.run.stores import open_finished
    from emoscale.schema import SELECTIVITY

    alpha = context.settings.selectivity.alpha
    inputs = AnalysisInputs(
        folder,
        context.concepts,
        alpha,
        context.settings.analysis,
        participants=context.concepts.participants,
        exchangeable=[name for name, control in CONTROLS.items() if control.exchangeable],
        cross_fitted=[name for name, control in CONTROLS.items() if control.cross_fitted],
        expected_effects=lambda effects: expected_effects(folder, context.settings.masks, effects),
    )
    done = analyze(inputs, progress)
    q = open_finished(folder.selectivity, SELECTIVITY).read("q")
    return {
        "tables": len(done["tables"]),
        "significant": int(np.count_nonzero(q < alpha)),
        "tests": int(np.count_nonzero(~np.isnan(q))),
    }


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
            run=_tune,
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
            run=_extract,
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
            run=_select,
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
            run=_attribute_effects,
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
            run=_relate,
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
            run=_measure_faithfulness,
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
            run=_mask,
            outputs=lambda folder: {folder.masks: "the neurons that each mask edits"},
            needs=lambda settings: _masks_need(settings),
            depends_on=lambda _: ("masks",),
            checks=lambda context: context.mask_checks(),
        ),
        Stage(
            name="ablate",
            help="Let the model do its task with neurons edited.",
            summary="{items:,} items × {masks} masks, {tokens_per_pass:,} tokens a pass{exact}",
            run=_ablate,
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
            run=_analyze,
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
