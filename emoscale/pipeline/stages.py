"""The stages of a run: settings are unpacked here, and only here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from emoscale.ablation.ablate import ablate
from emoscale.analysis.analyze import analyze
from emoscale.extraction.extract import extract
from emoscale.extraction.rows import PromptRows, Rows, TemplateRows, TextRows
from emoscale.masks.make_masks import make_masks
from emoscale.masks.options import MaskOptions
from emoscale.models.prompt_files import load_prompts
from emoscale.pipeline.context import Context
from emoscale.report.write_report import write_report
from emoscale.run.folder import RunFolder
from emoscale.selectivity.select import select
from emoscale.system.progress import Progress
from emoscale.tasks.multiple_choice import CHOICE_TEMPLATES, ChoiceTask
from emoscale.tasks.soft_prompt import PromptTask
from emoscale.tasks.task import Task
from emoscale.tasks.yes_no import WORD_TEMPLATES, WordsTask
from emoscale.tuning.training import Schedule
from emoscale.tuning.tune import tune

Counts = dict[str, Any]


def _tune(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    t = context.settings.tuning
    schedule = Schedule(
        t.epochs, t.batch_size, t.learning_rate, t.weight_decay, t.tokens_per_pass, t.precision, t.patience
    )
    return tune(
        folder,
        context.prompted,
        context.tokens,
        context.prompt_texts,
        schedule=schedule,
        prompts_per_group=t.prompts_per_group,
        ranks=context.ranks,
        progress=progress,
    )


def repair_activations(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    """Write missing and damaged chunks of the activations anew."""
    return _extract(context, folder, progress, repair=True)


def _extract(context: Context, folder: RunFolder, progress: Progress, repair: bool = False) -> Counts:
    e = context.settings.extraction
    return extract(
        folder,
        _rows(context, folder),
        **context.extraction_options,
        concepts=context.concepts.names,
        parts=e.parts,
        origin={
            "model": context.outline.name,
            "weights_sha256": context.weights_sha256,
            "tokenizer_sha256": context.tokenizer_sha256,
            "site": context.settings.model.site,
            "rows": e.rows,
            "read": context.read,
            **({"split": e.split} if e.rows in ("texts", "tokens") else {}),
        },
        ranks=context.ranks,
        progress=progress,
        repair=repair,
    )


def _rows(context: Context, folder: RunFolder) -> Rows:
    e = context.settings.extraction
    if e.rows == "templates":
        return TemplateRows(context.model, context.sentences, context.read)
    if e.rows == "prompts":
        prompts, table = load_prompts(folder.prompts), pd.read_parquet(folder.prompt_table)
        return PromptRows(context.prompted, prompts.vectors, table, context.read)
    return TextRows(context.model, context.text_pieces, context.read, context.settings.stimuli.max_tokens)


def _select(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    s = context.settings.selectivity
    return select(
        folder,
        context.concepts.scores,
        context.concepts.names,
        context.concepts.attributes,
        measure=s.measure,
        inference=s.inference,
        permutations=s.permutations,
        seed=s.seed,
        row_measures=s.row_measures,
        alpha=s.alpha,
        executor=context.executor,
        progress=progress,
    )


def _mask(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    m = context.settings.masks
    made = make_masks(
        folder, k=m.k, controls=m.controls, disjoint=m.disjoint, draws=m.draws, seed=m.seed, progress=progress
    )
    return {**made, "controls": sum(made[kind] for kind in m.controls)}


def _ablate(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    a = context.settings.ablation
    return ablate(
        folder,
        context.model,
        TASKS[a.task](context, folder),
        edit=a.edit,
        factor=a.factor,
        seed=a.seed,
        masks_per_unit=a.masks_per_unit,
        tokens_per_pass=a.tokens_per_pass,
        precision=a.precision,
        ranks=context.ranks,
        progress=progress,
    )


def _prompt_task(context: Context, folder: RunFolder) -> Task:
    return PromptTask(context.prompted, context.tokens, context.prompt_texts, load_prompts(folder.prompts))


TASKS: dict[str, Callable[[Context, RunFolder], Task]] = {
    "prompts": _prompt_task,
    "words": lambda context, _: WordsTask(context.model, context.word_questions, context.answer_words),
    "choice": lambda context, _: ChoiceTask(context.model, context.choice_questions),
}
"""What a model can be asked, by `ablation.task`."""


def _analyze(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    done = analyze(
        folder,
        context.concepts,
        alpha=context.settings.selectivity.alpha,
        exchangeable=[kind for kind, words in CONTROL_WORDS.items() if words.exchangeable],
        progress=progress,
    )
    return {"tables": len(done["tables"])}


def _report(context: Context, folder: RunFolder, progress: Progress) -> Counts:
    done = write_report(folder, context.settings.title, _facts(context), progress=progress)
    return {"figures": len(done["figures"])}


def _prompt_facts(context: Context) -> dict[str, str]:
    s = context.settings
    if "prompts" not in (s.extraction.rows, s.ablation.task):
        return {}
    first = context.prompt_texts[0]
    return {
        "Prompts": (
            f"{len(context.prompt_texts)} ({len(context.concepts.names)} concepts × {len(s.tuning.seeds)} seeds), "
            f"{s.tuning.prompt_length} vectors each; for the first, {len(first.train)} texts to learn from and "
            f"{len(first.dev)} held out, half of them showing the concept"
        )
    }


def _question_facts(context: Context) -> dict[str, str]:
    a = context.settings.ablation
    if a.task == "prompts":
        return {}
    if a.task == "words":
        count, answers = len(context.word_questions.table), f"answered “{a.words[0]}” or “{a.words[1]}”"
        templates: Sequence[str] = a.templates or WORD_TEMPLATES[context.outline.kind]
    else:
        count, answers = (
            len(context.choice_questions.table),
            f"answered by one of {len(context.concepts.names)} concepts",
        )
        templates = a.templates or CHOICE_TEMPLATES
    return {"Questions": f"{count:,}, {answers}: {' · '.join(templates)}"}


def _facts(context: Context) -> dict[str, str]:
    s, outline, concepts = context.settings, context.outline, context.concepts
    train, dev = (context.texts["split"].eq(split).sum() for split in ("train", "dev"))
    source = s.stimuli.source if s.stimuli.path is None else f"{s.stimuli.source} ({s.stimuli.path})"
    rows = {
        "prompts": "its tuned prompts",
        "templates": "carrier sentences that name it",
        "texts": "the texts labelled with it",
        "tokens": "the tokens of the texts labelled with it",
    }[s.extraction.rows]
    return {
        "Model": f"{outline.name} ({type(outline.config).__name__.removesuffix('Config')}, {outline.kind})",
        "Weights (SHA-256)": context.weights_sha256,
        "Neurons": f"{outline.neurons:,} in {len(outline.sites)} layers",
        "Concepts": f"{len(concepts.names)}: {', '.join(concepts.names)}",
        "Attributes": f"{len(concepts.attributes)}: {', '.join(concepts.attributes)}",
        "Texts": f"{source}: {train:,} to learn from, {dev:,} held out",
        **_prompt_facts(context),
        **_question_facts(context),
        "A concept is represented by": rows,
        "Neurons switched off (k)": ", ".join(map(str, s.masks.k)),
        "Controls": _controls(s.masks),
    }


def _controls(m: MaskOptions) -> str:
    of_all, of_each = f"{m.draws} for each k", f"{m.draws} for each k and attribute"
    kinds = [f"{kind} ({of_all if kind == 'uniform' and not m.disjoint else of_each})" for kind in m.controls]
    return ", ".join(kinds) + (", none of them selective for the attribute" if m.disjoint else "")


STAGES: dict[str, Callable[[Context, RunFolder, Progress], Counts]] = {
    "tune": _tune,
    "extract": _extract,
    "select": _select,
    "mask": _mask,
    "ablate": _ablate,
    "analyze": _analyze,
    "report": _report,
}
"""Every stage, in the order in which a run does them."""

SHARED = ("tune", "extract", "ablate")
"""Stages whose work the ranks share out; the others run on rank 0."""
