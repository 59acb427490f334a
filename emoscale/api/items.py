"""Questions to a model in memory: texts whose concept is known, asked as a task of the ablation asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from emoscale.ablation.checks import check_used
from emoscale.ablation.edits import EDITS, EditKind
from emoscale.ablation.options import TWO_LEVEL, AblationOptions
from emoscale.api.arguments import naming
from emoscale.api.arrays import ArrayActivations, as_activations
from emoscale.api.models import Model
from emoscale.api.texts import as_labels, as_texts
from emoscale.concepts.loading import Concepts
from emoscale.config import Settings
from emoscale.config.loading import make_settings
from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.stimuli.prompt_texts import AskedTexts, PromptTexts, draw_asked_texts
from emoscale.system.option_types import lookup
from emoscale.tasks.outcomes import NORMALIZATIONS
from emoscale.tasks.registry import TASKS
from emoscale.tasks.task import Task

Made = TypeVar("Made")

_ARGUMENTS = {
    **{f"ablation.{field.name}": field.name for field in fields(AblationOptions)},
    "stimuli.max_tokens": "max_tokens",
    "concepts.names": "items",
    "analysis.normalization": "normalization",
    "attribution.tokens_per_pass": "tokens_per_pass",
}

_USUAL_TASK = {"causal-lm": "multiple-choice"}
_OTHER_TASK = "yes-no"
_FEWEST_CONCEPTS = 2


def _named(asked: Iterable[str]) -> dict[str, str]:
    """Return names of arguments, among them any that a user gave, by those of the settings that errors name."""
    return {**_ARGUMENTS, **{f"ablation.{name}": name for name in asked}}


def as_items(items: Any) -> pd.DataFrame:
    """Return texts and their concepts, columns ``text`` and ``concept``.

    Raises
    ------
    InputError
        If they are neither a table nor pairs, or fewer than two concepts occur.
    """
    if isinstance(items, pd.DataFrame):
        if lacking := [name for name in ("text", "concept") if name not in items]:
            raise InputError(f"items: lacks the column {lacking[0]!r}; give 'text' and 'concept'")
        texts, concepts = items["text"].tolist(), items["concept"].tolist()
    else:
        try:
            pairs = [(text, concept) for text, concept in items]
        except (TypeError, ValueError):
            raise InputError(
                "items: give pairs of a text and its concept, or a table of 'text' and 'concept'"
            ) from None
        texts, concepts = [text for text, _ in pairs], [concept for _, concept in pairs]
    known = as_labels(concepts, len(texts), "items")
    table = pd.DataFrame({"text": as_texts(texts, "items"), "concept": known})
    if not all(known):
        raise InputError(f"items: number {known.index('')} has no concept; give it one, or remove it")
    if len(set(known)) < _FEWEST_CONCEPTS:
        raise InputError(
            f"items: all show {known[0]!r}, so there is nothing to tell apart; add texts of other concepts"
        )
    return table


class ItemContext:
    """What a task asks of a run, of a model and of texts in memory; see `emoscale.tasks.task.TaskContext`.

    Parameters
    ----------
    model : LanguageModel
    items : DataFrame
        ``text`` and ``concept``; all of them are held out.
    settings : Settings
    seed : int
        Of texts that do not show a concept.
    """

    def __init__(self, model: LanguageModel, items: pd.DataFrame, settings: Settings, seed: int) -> None:
        self.model, self.settings, self._seed = model, settings, seed
        names = list(dict.fromkeys(items["concept"]))
        self.concepts = Concepts(names, [], np.zeros((len(names), 0)), None)
        labels = [(concept,) for concept in items["concept"]]
        self.texts = pd.DataFrame({"text": items["text"], "labels": labels, "split": "dev"})
        self._made: dict[Callable[[Any], Any], Any] = {}

    @property
    def outline(self) -> ModelOutline:
        """The model without its weights."""
        return self.model.outline

    @cached_property
    def asked_texts(self) -> list[AskedTexts]:
        """Of every concept, its texts and as many others."""
        return draw_asked_texts(self.texts, self.concepts.names, [self._seed], self.settings.stimuli)

    @property
    def prompt_texts(self) -> list[PromptTexts]:
        """The texts of every prompt."""
        raise self._no_prompts()

    @property
    def tokens(self) -> list[list[int]]:
        """Token ids of every text."""
        raise self._no_prompts()

    @property
    def prompted(self) -> PromptedModel:
        """The model, ready for prompts."""
        raise self._no_prompts()

    def _no_prompts(self) -> InputError:
        task = self.settings.ablation.task
        return InputError(
            f"task {task!r}: needs tuned prompts, as a whole study has them (run_study); give another task"
        )

    def once(self, make: Callable[[Any], Made]) -> Made:
        """Return what a function makes of this context; it is called the first time only."""
        if make not in self._made:
            self._made[make] = make(self)
        made: Made = self._made[make]
        return made

    def task(self, folder: RunFolder) -> Task:
        """Make the task that the settings name."""
        kind = lookup("task", TASKS, self.settings.ablation.task)
        if kind.uses_prompts:
            raise self._no_prompts()
        check_used(self.settings.ablation)
        kind.check(self)
        return kind.make(self, folder)


@dataclass(frozen=True)
class Asking:
    """A task of given items, and how neurons are edited meanwhile.

    Attributes
    ----------
    task : Task
        Its items' ``text`` is the number of the item given.
    items : DataFrame
        ``text`` and ``concept``, as given.
    options : AblationOptions
    activations : ArrayActivations, optional
    """

    task: Task
    items: pd.DataFrame
    options: AblationOptions
    activations: ArrayActivations | None


@contextmanager
def asking(
    model: Model, items: Any, asked: Mapping[str, Any], **given: Any
) -> Iterator[tuple[LanguageModel, RunFolder, Asking]]:
    """Put items to a model while the block lasts, with what is kept of it in a folder that goes afterwards.

    Parameters
    ----------
    model : Model
    items, asked
        See `ask`.
    **given
        The other arguments of `ask`.

    Yields
    ------
    LanguageModel
    RunFolder
    Asking

    Raises
    ------
    InputError
        Names the argument that cannot be used, also within the block.
    """
    with TemporaryDirectory() as place, naming(_named(asked)), model.evaluating() as ready:
        folder = RunFolder(Path(place))
        yield ready, folder, ask(ready, items, asked, folder, **given)


def ask(
    model: LanguageModel,
    items: Any,
    asked: Mapping[str, Any],
    folder: RunFolder,
    *,
    normalization: str,
    activations: Any,
    max_tokens: int,
    seed: int,
) -> Asking:
    """Put items to a model.

    Parameters
    ----------
    model : LanguageModel
    items : object
        See `as_items`.
    asked : mapping
        Options of the ablation by name.
    folder : RunFolder
        An empty one, for what the task keeps.
    normalization, activations, max_tokens, seed
        As of `emoscale.api.ablate.ablate`.

    Raises
    ------
    InputError
        Names the argument that cannot be used.
    """
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed: {seed!r} given; give a number of 0 or more")
    table = as_items(items)
    read = None if activations is None else as_activations(activations)
    if read is not None and len(read.neurons) != model.outline.neurons:
        count, there = len(read.neurons), model.outline.neurons
        raise InputError(f"activations: of {count:,} neurons, the model has {there:,}; give those of this model")
    lookup("normalization", NORMALIZATIONS, normalization)
    settings = make_settings(
        {
            "model": {"name": ""},
            "ablation": {"task": _USUAL_TASK.get(model.outline.kind, _OTHER_TASK), **asked},
            "stimuli": {"max_tokens": max_tokens},
        }
    )
    task = ItemContext(model, table, settings, seed).task(folder)
    if settings.ablation.precision == TWO_LEVEL:
        raise InputError(
            f"precision {TWO_LEVEL!r}: corrects means over many texts, not single answers; use exact or bfloat16"
        )
    options = replace(settings.ablation, edit=_edit(settings.ablation.edit, read), seed=seed)
    return Asking(task, table, options, read)


def _edit(name: str, activations: ArrayActivations | None) -> Any:
    """Return the edit; one of activations is of those given, where a run takes those that it has extracted."""
    entry: EditKind = lookup("edit", EDITS, name)
    make = entry.of_activations
    if make is None:
        return entry
    if activations is None:
        raise InputError(f"edit {name!r}: needs the activations that it takes values from; give activations=...")
    return replace(entry, make=lambda _folder, options: make(activations, options))
