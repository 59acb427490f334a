"""Whether a run can start: everything its settings name is read, and every problem is said at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd
from rich.console import Console
from rich.table import Table

from emoscale.commands.stage_times import count_masks
from emoscale.commands.without_weights import without_weights
from emoscale.config import Settings
from emoscale.config.loading import Reading
from emoscale.errors import InputError, collect_problems, suggest
from emoscale.extraction.rows import ROW_SOURCES
from emoscale.pipeline.cautions import cautions_of
from emoscale.pipeline.context import Context
from emoscale.pipeline.facts import short
from emoscale.pipeline.stage import stages_of_run
from emoscale.pipeline.stages import STAGES
from emoscale.stimuli.texts import SPLITS
from emoscale.system.progress import say
from emoscale.system.ranks import one_process
from emoscale.tasks.registry import TASKS

_SHOWN_NAMES = 8


@dataclass(frozen=True)
class Findings:
    """What a check has found.

    Attributes
    ----------
    facts : dict of str to str
        What the run will be made of, in the order they are shown.
    warnings : list of str
        What a reviewer would say.
    notes : list of str
        What was not checked, and what is special about the model.
    """

    facts: dict[str, str]
    warnings: list[str]
    notes: list[str]


def check(settings: Settings, only: Sequence[str] = ()) -> Findings:
    """Read every file that settings name and make every check of the stages, without loading weights.

    Parameters
    ----------
    settings : Settings
        The weights of a model on the hub are not fetched.
    only : sequence of str
        Stages that are meant; by default all of a run.

    Returns
    -------
    Findings

    Raises
    ------
    InputError
        With every problem found.
    """
    if unknown := [name for name in only if name not in STAGES]:
        raise InputError(
            f"--stage {name!r}: no such stage{suggest(name, STAGES)}; use one of {', '.join(STAGES)}"
            for name in unknown
        )
    stages = [STAGES[name] for name in only or stages_of_run(STAGES, settings)]
    context = _context(settings)
    weights = _has_weights(context)
    collect_problems(context.checks(stages, weights=weights and bool(settings.model.sha256)))
    unread = [] if weights else [f"the weights of {settings.model.name} are not here, and were not checked"]
    return Findings(
        _facts(context, settings.model.name, {stage.name for stage in stages}),
        [caution.text for caution in cautions_of(context)],
        [*context.outline.notes, *unread],
    )


def problems_of_files(reading: Reading) -> list[str]:
    """Return what is wrong with the files that the sound sections of a faulty config name.

    Parameters
    ----------
    reading : Reading
    """
    if reading.settings is None:
        return []
    context = _context(reading.settings)
    files: dict[str, Callable[[], object]] = {
        "concepts": lambda: context.concepts,
        "model": lambda: context.outline,
        "stimuli": lambda: context.texts,
    }
    try:
        collect_problems(look for section, look in files.items() if section not in reading.faulty)
    except InputError as error:
        return error.problems
    return []


def show_findings(findings: Findings, console: Console) -> None:
    """Print what a check has found."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in findings.facts.items():
        table.add_row(name, value)
    console.print(table, highlight=False, markup=False)
    for note in findings.notes:
        say(console, note)
    for warning in findings.warnings:
        say(console, f"warning: {warning}")


def _context(settings: Settings) -> Context:
    """Return the context of a run; a model that cannot be had is a problem like others, which its outline raises."""
    with suppress(InputError):
        settings = without_weights(settings)
    return Context(settings, one_process())


def _has_weights(context: Context) -> bool:
    """Whether the model's weights are on this machine."""
    try:
        files = context.outline.files
    except InputError:
        return False
    return files.gguf is not None or any(files.folder.glob("*.safetensors"))


def _facts(context: Context, model: str, stages: set[str]) -> dict[str, str]:
    settings, concepts, outline = context.settings, context.concepts, context.outline
    judged = "" if concepts.dissimilarity is None else "; with people's dissimilarities"
    facts = {
        "model": f"{short(model)}: {outline.kind}, {outline.parameters:,} parameters",
        "neurons": f"{outline.neurons:,} in {len(outline.sites)} layers",
        "concepts": f"{_listed(concepts.names)}{judged}",
        "attributes": _listed(concepts.attributes),
    }
    if context.has_texts:
        facts |= _texts(context)
    if "extract" in stages:
        amount = ROW_SOURCES[settings.extraction.rows].count(context)
        facts["rows"] = f"{amount.rows:,} of activations, from {settings.extraction.rows}"
    if "mask" in stages:
        facts["masks"] = (
            f"{count_masks(context) - 1:,} at most, of k = {', '.join(map(str, settings.masks.k))}; and none"
        )
    if "ablate" in stages:
        facts["items"] = _items(context)
    facts["stages"] = ", ".join(name for name in STAGES if name in stages)
    return facts


def _items(context: Context) -> str:
    task = TASKS[context.settings.ablation.task]
    if said := task.facts(context).get("Items"):
        return " ".join(said.split())
    return f"{sum(len(prompt.dev) for prompt in context.prompt_texts):,}: {task.meaning}"


def _texts(context: Context) -> dict[str, str]:
    texts, names = context.texts, context.concepts.names
    others = [split for split in texts["split"].unique() if split not in SPLITS]
    return {f"{split} texts": _counts(texts[texts["split"] == split], names) for split in (*SPLITS, *others)}


def _counts(texts: pd.DataFrame, names: Sequence[str]) -> str:
    counts = texts["labels"].explode().value_counts().reindex(list(names), fill_value=0)
    few, many = int(counts.min()), int(counts.max())
    span = f"{few:,}" if few == many else f"{few:,} ({counts.idxmin()}) to {many:,} ({counts.idxmax()})"
    return f"{len(texts):,}, of a concept {span}"


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"{len(names)}: {', '.join(names[:_SHOWN_NAMES])}{more}"
