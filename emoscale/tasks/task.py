"""What an inference task is: items with a right answer, and how strongly the model prefers each answer.

Imported by the command line to know which tasks need prompts, so that libraries are imported for types only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from emoscale.concepts.loading import Concepts
    from emoscale.models.loading import LanguageModel
    from emoscale.models.outline import ModelOutline
    from emoscale.models.prefix import Prefix
    from emoscale.models.prompted import PromptedModel
    from emoscale.run.folder import RunFolder
    from emoscale.stimuli.prompt_texts import AskedTexts, PromptTexts

Made = TypeVar("Made")


class Task(Protocol):
    """Items that a model answers, whose neurons may be edited meanwhile.

    Attributes
    ----------
    items : DataFrame
        One row an item: ``concept`` and ``replicate`` (str), ``label`` (int, the number of the right answer),
        ``text`` (int, number of the text in the table of texts, -1 where there is none), ``tokens`` (int, length of
        the row that the model reads). Items of one concept and replicate are consecutive.
    options : sequence of str
        The possible answers.
    """

    items: pd.DataFrame
    options: Sequence[str]

    @property
    def rows(self) -> list[list[int]]:
        """The tokens of each item that the model reads before an answer, -1 where it reads a vector of a prompt."""

    @property
    def option_ids(self) -> list[list[int]]:
        """The tokens of each option that are scored; none where an option is no word."""

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Score every option of some items.

        Parameters
        ----------
        items : ndarray of int64, shape (rows,)
            Numbers of items; one may occur several times, to be answered with other neurons edited. Every forward pass
            made here must have one row for each, in this order.

        Returns
        -------
        Tensor
            Shape (rows, options), float32, on the model's device.
        """


@runtime_checkable
class SharesPrefix(Protocol):
    """A task that can compute once for each mask what the rows of several items begin with."""

    def parts(self, items: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut items into those that are best scored together, because they begin with the same."""

    def prefix(self, items: NDArray[np.int64]) -> Prefix | None:
        """Return what some items' rows begin with, None if that is to be computed with each.

        As long as it is computed, `Task.scores` must be asked about these items only; passes leave its tokens out.
        """


class TaskContext(Protocol):
    """What a task may ask of the run: its settings, and what they name, loaded on first use."""

    @property
    def settings(self) -> Any:
        """All settings, see `emoscale.config.settings.Settings`."""

    @property
    def outline(self) -> ModelOutline:
        """The model without its weights."""

    @property
    def model(self) -> LanguageModel:
        """The model."""

    @property
    def prompted(self) -> PromptedModel:
        """The model, ready for prompts."""

    @property
    def concepts(self) -> Concepts:
        """Concepts and their attributes."""

    @property
    def texts(self) -> pd.DataFrame:
        """Texts with labels and splits."""

    @property
    def tokens(self) -> list[list[int]]:
        """Token ids of every text."""

    @property
    def prompt_texts(self) -> list[PromptTexts]:
        """Texts of every prompt."""

    @property
    def asked_texts(self) -> list[AskedTexts]:
        """Held-out texts of every concept and seed, where nothing is trained."""

    def once(self, make: Callable[[Any], Made]) -> Made:
        """Return what a function makes of this context; it is called the first time only."""


def _no_check(context: TaskContext) -> None:
    """Check nothing."""


def _no_facts(context: TaskContext) -> dict[str, str]:
    """Return nothing."""
    return {}


@dataclass(frozen=True)
class TaskKind:
    """A task that ``ablation.task`` can name.

    Attributes
    ----------
    name, meaning : str
    make : callable
        Makes the task, once the model is loaded and the stages before the ablation are done.
    check : callable
        Raises `InputError` if the settings, the texts or the model cannot be used; before anything is written.
    facts : callable
        Lines of the report: what is asked, by label.
    uses : tuple of str
        Options of the ablation that only some tasks read, such as ``templates``; the others are refused.
    uses_prompts : bool
        Whether it needs tuned prompts.
    replicates : str
        What its replicates are called, in the plural.
    """

    name: str
    meaning: str
    make: Callable[[TaskContext, RunFolder], Task]
    check: Callable[[TaskContext], None] = _no_check
    facts: Callable[[TaskContext], dict[str, str]] = _no_facts
    uses: tuple[str, ...] = ()
    uses_prompts: bool = False
    replicates: str = "sets of items"
