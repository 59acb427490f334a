"""The study's task: does a text show the concept, asked with the concept's tuned prompt (Li, Su et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.stimuli.prompt_texts import PromptTexts


class PromptTask:
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
        self.questions = pd.DataFrame(
            {
                "concept": np.array([prompt.concept for prompt in prompts], object)[self._prompt],
                "replicate": np.array([str(prompt.seed) for prompt in prompts], object)[self._prompt],
                "label": np.concatenate([prompt.dev.labels for prompt in prompts]),
                "tokens": [model.row_tokens(tokens[text]) for text in self._text],
            }
        )
        self.divisors: Mapping[str, NDArray[np.float64]] = {"raw": np.ones(len(self.options))}

    def scores(self, questions: NDArray[np.int64]) -> Tensor:
        """Score "does not show the concept" and "shows it"."""
        distinct, row = np.unique(questions, return_inverse=True)
        device = self._model.model.device
        rows = torch.from_numpy(row).to(device)
        batch = self._model.batch([self._tokens[self._text[question]] for question in distinct]).take(rows)
        used, which = np.unique(self._prompt[questions], return_inverse=True)
        prompt = torch.from_numpy(which).to(device)
        vectors, heads = self._vectors[used].to(device), self._heads[used].to(device)
        if len(used) == 1:  # no copy of the prompt for every row
            return self._model.scores(
                batch, vectors.expand(len(questions), -1, -1), heads.expand(len(questions), *heads.shape[1:])
            )
        return self._model.scores(batch, vectors[prompt], heads[prompt])
