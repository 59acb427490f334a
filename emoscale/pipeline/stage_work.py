"""What a run's stages do: each makes its arguments of a run's settings, and returns counts for its summary.

Libraries are imported when a stage runs: the command line imports this module, and torch takes seconds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from emoscale.extraction.rows import ROW_SOURCES
from emoscale.pipeline.stage import Counts
from emoscale.run.folder import RunFolder
from emoscale.system.progress import Progress
from emoscale.tasks.registry import TASKS

if TYPE_CHECKING:
    from emoscale.ablation.looks import Judge
    from emoscale.attribution.exact import ExactAblation
    from emoscale.pipeline.context import Context
    from emoscale.tasks.outcomes import Design
    from emoscale.tasks.task import Task


def run_tune(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Train a soft prompt for every concept and seed."""
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


def run_extract(context: Context, folder: RunFolder, progress: Progress, repair: bool = False) -> Counts:
    """Write the activations, or with ``repair`` only those of missing and damaged chunks."""
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


def run_select(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Compute every neuron's selectivity."""
    from emoscale.selectivity.select import select

    options = context.settings.selectivity
    return select(folder, context.concepts, options, executor=context.executor, progress=progress)


def run_attribute_effects(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Estimate every single neuron's effect, and check some estimates."""
    from emoscale.attribution.attribute_effects import attribute_effects
    from emoscale.extraction.work import Job

    settings, task, exact = context.settings, *_exact_ablation(context, folder)
    job = Job(origin=dict(exact.origin), concepts=context.concepts.names, writers=settings.machine.writers)
    return attribute_effects(folder, task, exact, settings.attribution, job=job, progress=progress)


def run_relate(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Relate every neuron's selectivity to its effect."""
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


def run_measure_faithfulness(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Measure what the first neurons of rankings carry alone."""
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


def run_mask(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Choose the neurons to ablate, and controls."""
    from emoscale.masks.draw_numbers import chosen_draws
    from emoscale.masks.make_masks import make_masks
    from emoscale.pipeline.permuted import permuted_values

    options = context.settings.masks
    made = make_masks(folder, options, progress, partial(permuted_values, context, folder, progress))
    chosen = "".join(f", {number['draws']} draws of {kind}" for kind, number in chosen_draws(folder).items())
    return {**made, "controls": sum(made[kind] for kind in options.controls), "chosen": chosen}


def run_ablate(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Score the task's items with neurons edited."""
    from emoscale.ablation.ablate import ablate
    from emoscale.ablation.looks import LOOKS
    from emoscale.analysis.early_stop import judge_masks

    options = context.settings.ablation

    def judge(design: Design) -> Judge:
        return partial(judge_masks, context.settings.analysis, len(LOOKS), design)

    made = ablate(
        folder,
        context.model,
        TASKS[options.task].make(context, folder),
        options,
        origin=_origin_of_scores(context),
        judge=judge if options.stop_when == "decided" else None,
        ranks=context.ranks,
        progress=progress,
    )
    share = made.get("exact_share")
    return {**made, "exact": "" if share is None else f", two precisions of {share:.1%}"}


def run_analyze(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Compute the statistics."""
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
