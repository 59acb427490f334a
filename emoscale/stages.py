"""The stages of a run: settings are unpacked here, and only here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from emoscale.ablation import ablate
from emoscale.analysis import analyze
from emoscale.config.settings import MaskSettings
from emoscale.extraction import PromptRows, Rows, TemplateRows, TextRows, extract
from emoscale.inputs import Inputs
from emoscale.masks import make_masks
from emoscale.models.prompt_files import load_prompts
from emoscale.progress import Progress
from emoscale.report import write_report
from emoscale.run_folder import RunFolder
from emoscale.selectivity import select
from emoscale.tasks import ChoiceTask, PromptTask, Task, WordsTask
from emoscale.tasks.choice import CHOICE_TEMPLATES
from emoscale.tasks.words import WORD_TEMPLATES
from emoscale.tuning import tune
from emoscale.tuning.training import Schedule

Counts = dict[str, Any]


def _tune(inputs: Inputs, folder: RunFolder, progress: Progress) -> Counts:
    t = inputs.settings.tuning
    schedule = Schedule(
        t.epochs, t.batch_size, t.learning_rate, t.weight_decay, t.tokens_per_pass, t.precision, t.patience
    )
    return tune(
        folder,
        inputs.prompted,
        inputs.tokens,
        inputs.prompt_texts,
        schedule=schedule,
        prompts_per_group=t.prompts_per_group,
        ranks=inputs.ranks,
        progress=progress,
    )


def repair_activations(inputs: Inputs, folder: RunFolder, progress: Progress) -> Counts:
    """Write missing and damaged chunks of the activations anew."""
    return _extract(inputs, folder, progress, repair=True)


def _extract(inputs: Inputs, folder: RunFolder, progress: Progress, repair: bool = False) -> Counts:
    e = inputs.settings.extraction
    return extract(
        folder,
        _rows(inputs, folder),
        **inputs.extraction_options,
        concepts=inputs.concepts.names,
        parts=e.parts,
        origin={
            "model": inputs.outline.name,
            "weights_sha256": inputs.weights_sha256,
            "tokenizer_sha256": inputs.tokenizer_sha256,
            "site": inputs.settings.model.site,
            "rows": e.rows,
            "read": inputs.read,
            **({"split": e.split} if e.rows in ("texts", "tokens") else {}),
        },
        ranks=inputs.ranks,
        progress=progress,
        repair=repair,
    )


def _rows(inputs: Inputs, folder: RunFolder) -> Rows:
    e = inputs.settings.extraction
    if e.rows == "templates":
        return TemplateRows(inputs.model, inputs.sentences, inputs.read)
    if e.rows == "prompts":
        prompts, table = load_prompts(folder.prompts), pd.read_parquet(folder.prompt_table)
        return PromptRows(inputs.prompted, prompts.vectors, table, inputs.read)
    return TextRows(inputs.model, inputs.text_pieces, inputs.read, inputs.settings.stimuli.max_tokens)


def _select(inputs: Inputs, folder: RunFolder, progress: Progress) -> Counts:
    s = inputs.settings.selectivity
    return select(
        folder,
        inputs.concepts.scores,
        inputs.concepts.names,
        inputs.concepts.attributes,
        measure=s.measure,
        inference=s.inference,
        permutations=s.permutations,
        seed=s.seed,
        row_measures=s.row_measures,
        alpha=s.alpha,
        computers=inputs.computers,
        progress=progress,
    )


def _mask(inputs: Inputs, folder: RunFolder, progress: Progress) -> Counts:
    m = inputs.settings.masks
    made = make_masks(
        folder, k=m.k, controls=m.controls, disjoint=m.disjoint, draws=m.draws, seed=m.seed, progress=progress
    )
    return {**made, "controls": sum(made[kind] for kind in m.controls)}


def _ablate(inputs: Inputs, folder: RunFolder, progress: Progress) -> Counts:
    a = inputs.settings.ablation
    return ablate(
        folder,
        inputs.model,
        TASKS[a.task](inputs, folder),
        edit=a.edit,
        factor=a.factor,
        seed=a.seed,
        masks_per_unit=a.masks_per_unit,
        tokens_per_pass=a.tokens_per_pass,
        precision=a.precision,
        ranks=inputs.ranks,
        progress=progress,
    )


def _prompt_task(inputs: Inputs, folder: RunFolder) -> Task:
    return PromptTask(inputs.prompted, inputs.tokens, inputs.prompt_texts, load_prompts(folder.prompts))


TASKS: dict[str, Callable[[Inputs, RunFolder], Task]] = {
    "prompts": _prompt_task,
    "words": lambda inputs, _: WordsTask(inputs.model, inputs.word_questions, inputs.answer_words),
    "choice": lambda inputs, _: ChoiceTask(inputs.model, inputs.choice_questions),
}
"""What a model can be asked, by `ablation.task`."""


def _analyze(inputs: Inputs, folder: RunFolder, progress: Progress) -> Counts:
    c = inputs.concepts
    done = analyze(
        folder,
        c.scores,
        c.names,
        c.attributes,
        c.dissimilarity,
        alpha=inputs.settings.selectivity.alpha,
        progress=progress,
    )
    return {"tables": len(done["tables"])}


def _report(inputs: Inputs, folder: RunFolder, progress: Progress) -> Counts:
    done = write_report(folder, inputs.settings.title, _facts(inputs), progress=progress)
    return {"figures": len(done["figures"])}


def _prompt_facts(inputs: Inputs) -> dict[str, str]:
    s = inputs.settings
    if "prompts" not in (s.extraction.rows, s.ablation.task):
        return {}
    first = inputs.prompt_texts[0]
    return {
        "Prompts": (
            f"{len(inputs.prompt_texts)} ({len(inputs.concepts.names)} concepts × {len(s.tuning.seeds)} seeds), "
            f"{s.tuning.prompt_length} vectors each; for the first, {len(first.train)} texts to learn from and "
            f"{len(first.dev)} held out, half of them showing the concept"
        )
    }


def _question_facts(inputs: Inputs) -> dict[str, str]:
    a = inputs.settings.ablation
    if a.task == "prompts":
        return {}
    if a.task == "words":
        count, answers = len(inputs.word_questions.table), f"answered “{a.words[0]}” or “{a.words[1]}”"
        templates: Sequence[str] = a.templates or WORD_TEMPLATES[inputs.outline.kind]
    else:
        count, answers = len(inputs.choice_questions.table), f"answered by one of {len(inputs.concepts.names)} concepts"
        templates = a.templates or CHOICE_TEMPLATES
    return {"Questions": f"{count:,}, {answers}: {' · '.join(templates)}"}


def _facts(inputs: Inputs) -> dict[str, str]:
    s, outline, concepts = inputs.settings, inputs.outline, inputs.concepts
    train, dev = (inputs.texts["split"].eq(split).sum() for split in ("train", "dev"))
    source = s.stimuli.source if s.stimuli.path is None else f"{s.stimuli.source} ({s.stimuli.path})"
    rows = {
        "prompts": "its tuned prompts",
        "templates": "carrier sentences that name it",
        "texts": "the texts labelled with it",
        "tokens": "the tokens of the texts labelled with it",
    }[s.extraction.rows]
    return {
        "Model": f"{outline.name} ({type(outline.config).__name__.removesuffix('Config')}, {outline.kind})",
        "Weights (SHA-256)": inputs.weights_sha256,
        "Neurons": f"{outline.neurons:,} in {len(outline.sites)} layers",
        "Concepts": f"{len(concepts.names)}: {', '.join(concepts.names)}",
        "Attributes": f"{len(concepts.attributes)}: {', '.join(concepts.attributes)}",
        "Texts": f"{source}: {train:,} to learn from, {dev:,} held out",
        **_prompt_facts(inputs),
        **_question_facts(inputs),
        "A concept is represented by": rows,
        "Neurons switched off (k)": ", ".join(map(str, s.masks.k)),
        "Controls": _controls(s.masks),
    }


def _controls(m: MaskSettings) -> str:
    of_all, of_each = f"{m.draws} for each k", f"{m.draws} for each k and attribute"
    kinds = [f"{kind} ({of_all if kind == 'uniform' and not m.disjoint else of_each})" for kind in m.controls]
    return ", ".join(kinds) + (", none of them selective for the attribute" if m.disjoint else "")


STAGES: dict[str, Callable[[Inputs, RunFolder, Progress], Counts]] = {
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
