"""The study's task: does a text show the concept, asked with the concept's tuned prompt (Li, Su et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError, collect_problems
from emoscale.models.prefix import Prefix
from emoscale.models.prompt_files import TunedPrompts, load_prompts
from emoscale.models.prompted import PromptedModel, make_layout
from emoscale.models.readouts import READOUTS, Verbaliser, verbaliser_tokens
from emoscale.run.folder import RunFolder
from emoscale.stimuli.prompt_texts import PromptTexts
from emoscale.tasks.task import TaskContext


class SoftPromptTask:
    """Held-out texts judged with tuned prompts, by a verbaliser's words or a label head.

    Parameters
    ----------
    model : PromptedModel
    tokens : sequence of sequence of int
        Token ids of every text.
    prompts : sequence of PromptTexts
        Their held-out texts are judged.
    tuned : TunedPrompts
        Vectors and heads, in the order of `prompts`.
    """

    options: Sequence[str] = ("other", "concept")

    def __init__(
        self,
        model: PromptedModel,
        tokens: Sequence[Sequence[int]],
        prompts: Sequence[PromptTexts],
        tuned: TunedPrompts,
    ) -> None:
        self._model = model
        _ = model.narrowed  # found out while no neuron is edited
        self._tokens = tokens
        self._vectors, self._heads = tuned.vectors, tuned.heads
        self._prompt = np.repeat(np.arange(len(prompts)), [len(prompt.dev) for prompt in prompts])
        self._text = np.concatenate([prompt.dev.rows for prompt in prompts])
        self.items = pd.DataFrame(
            {
                "concept": np.array([prompt.concept for prompt in prompts], object)[self._prompt],
                "replicate": np.array([str(prompt.seed) for prompt in prompts], object)[self._prompt],
                "label": np.concatenate([prompt.dev.labels for prompt in prompts]),
                "text": self._text,
                "tokens": [model.row_tokens(tokens[text]) for text in self._text],
            }
        )
        self.option_ids = [[word] for word in model.readout.words or []] or [[] for _ in self.options]
        self._can_begin = model.can_begin([tokens[text] for text in self._text], self._vectors[0])

    @property
    def rows(self) -> list[list[int]]:
        """The tokens of each item, -1 for each vector of the prompt."""
        return [self._model.row(self._tokens[text]) for text in self._text]

    def parts(self, items: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut them by their prompt, if that can be computed once for several items."""
        return np.split(items, np.flatnonzero(np.diff(self._prompt[items])) + 1) if self._can_begin else [items]

    def prefix(self, items: NDArray[np.int64]) -> Prefix | None:
        """Return the prompt, with the tokens before it, if it is that of several items."""
        used = np.unique(self._prompt[items])
        if not self._can_begin or len(used) > 1 or len(np.unique(items)) == 1:
            return None
        return self._model.begin(self._vectors[used].to(self._model.model.device))

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Score "does not show the concept" and "shows it"."""
        distinct, row = np.unique(items, return_inverse=True)
        device = self._model.model.device
        rows = torch.from_numpy(row).to(device)
        batch = self._model.batch([self._tokens[self._text[item]] for item in distinct]).take(rows)
        used, which = np.unique(self._prompt[items], return_inverse=True)
        prompt = torch.from_numpy(which).to(device)
        vectors, heads = self._vectors[used].to(device), self._heads[used].to(device)
        if len(used) == 1:  # no copy of the prompt for every row
            return self._model.scores(
                batch, vectors.expand(len(items), -1, -1), heads.expand(len(items), *heads.shape[1:])
            )
        return self._model.scores(batch, vectors[prompt], heads[prompt])


def check(context: TaskContext) -> None:
    """Raise InputError unless prompts can be tuned: texts, the verbaliser's words, room for the prompt and the text."""
    collect_problems(
        [
            lambda: context.prompt_texts,
            lambda: _check_verbaliser(context),
            lambda: _check_length(context),
        ]
    )


def _check_verbaliser(context: TaskContext) -> None:
    if READOUTS.get(context.outline.kind) is Verbaliser:
        verbaliser_tokens(context.outline, context.settings.tuning.verbaliser)


def _check_length(context: TaskContext) -> None:
    tuning, outline = context.settings.tuning, context.outline
    layout = make_layout(tuning.layout, outline)
    if outline.positions is None:
        return
    limit = outline.positions - (0 if layout.positions_from_zero else outline.first_position)
    longest = max(map(len, context.tokens))
    needed = layout.tokens + tuning.prompt_length + longest
    if needed > limit:
        room = limit - layout.tokens - tuning.prompt_length
        fix = f"set stimuli.max_tokens to {room} or less" if room > 0 else "set a smaller tuning.prompt_length"
        raise InputError(
            f"tuning.prompt_length {tuning.prompt_length} and the longest text ({longest} tokens) need {needed} "
            f"positions, {outline.name} has {limit}; {fix}"
        )


def facts(context: TaskContext) -> dict[str, str]:
    """Describe the tuned prompts in a line of the report."""
    tuning, first = context.settings.tuning, context.prompt_texts[0]
    return {
        "Prompts": (
            f"{len(context.prompt_texts)} ({len(context.concepts.names)} concepts × {len(tuning.seeds)} seeds), "
            f"{tuning.prompt_length} vectors each; for the first, {len(first.train)} texts to learn from and "
            f"{len(first.dev)} held out, half of them showing the concept"
        )
    }


def make_task(context: TaskContext, folder: RunFolder) -> SoftPromptTask:
    """Make the task from the tuned prompts in a run folder."""
    return SoftPromptTask(context.prompted, context.tokens, context.prompt_texts, load_prompts(folder.prompts))
