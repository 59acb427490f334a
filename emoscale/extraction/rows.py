"""What a row of the store is: a tuned prompt, or a concept named in a carrier sentence."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.hooks import Captured
from emoscale.models.loading import LanguageModel
from emoscale.models.prompted import PromptedModel


class Rows(Protocol):
    """Rows of input, and how to run the model on some of them."""

    model: LanguageModel

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return concept, replicate, item and position of every row."""

    def forward(self, rows: slice, captured: Captured) -> None:
        """Run the model on some rows; `captured` reads them."""


class PromptRows:
    """Tuned prompts, everything up to the text and no text (Li, Su et al. 2024, neuron activations).

    Parameters
    ----------
    prompted : PromptedModel
    vectors : Tensor
        Shape (prompts, L, hidden).
    table : DataFrame
        Columns concept and replicate, one row a prompt.
    """

    def __init__(self, prompted: PromptedModel, vectors: Tensor, table: pd.DataFrame) -> None:
        self.model = prompted.model
        self._prompted, self._vectors, self._table = prompted, vectors, table

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return the rows' coordinates; position -1 stands for the mean over tokens."""
        batch = self._prompted.bare_batch(1)
        position = {"first": 0, "last": batch.ids.shape[1] - 1, "mean": -1}[batch.read]
        return {
            "concept": self._table["concept"].to_numpy(),
            "replicate": self._table["replicate"].to_numpy(),
            "item": np.arange(len(self._table)),
            "position": np.full(len(self._table), position),
        }

    def forward(self, rows: slice, captured: Captured) -> None:
        """Run the model on some prompts."""
        vectors = self._vectors[rows].to(self.model.device)
        batch = self._prompted.bare_batch(len(vectors))
        captured.expect(len(batch), batch.read_values)
        self._prompted.forward(batch, vectors)


class TemplateRows:
    """Carrier sentences that name the concept, read at the concept's last token.

    Parameters
    ----------
    model : LanguageModel
    sentences : DataFrame
        Columns concept, template, text, start, end (character span of the concept), as `render_templates` gives it.

    Raises
    ------
    InputError
        If the tokenizer cannot say which characters a token stands for, or leaves a concept out.
    """

    def __init__(self, model: LanguageModel, sentences: pd.DataFrame) -> None:
        tokenizer = model.outline.tokenizer
        if not tokenizer.is_fast:
            raise InputError(
                f"{model.outline.name}: extraction.rows 'templates' needs a fast tokenizer (tokenizer.json)"
            )
        self.model = model
        self._sentences = sentences
        encoded = tokenizer(sentences["text"].tolist(), return_offsets_mapping=True)
        self._ids: list[list[int]] = encoded["input_ids"]
        # The last token that holds a part of the concept: one letter may be several tokens.
        position = [
            max((token for token, (first, last) in enumerate(spans) if first < end and last > start), default=-1)
            for spans, start, end in zip(encoded["offset_mapping"], sentences["start"], sentences["end"], strict=True)
        ]
        if lost := [text for text, token in zip(sentences["text"], position, strict=True) if token < 0]:
            raise InputError(f"{model.outline.name} has no token for the concept in {lost[0]!r}; leave the concept out")
        self._position = np.array(position)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return the rows' coordinates; the template is the replicate."""
        return {
            "concept": self._sentences["concept"].to_numpy(),
            "replicate": self._sentences["template"].to_numpy(),
            "item": np.arange(len(self._sentences)),
            "position": self._position,
        }

    def forward(self, rows: slice, captured: Captured) -> None:
        """Run the model on some sentences, padded on the right."""
        device = self.model.device
        sequences = self._ids[rows]
        lengths = torch.tensor([len(s) for s in sequences])
        width = int(lengths.max())
        ids = torch.tensor([s + [self._pad] * (width - len(s)) for s in sequences])
        attention = (torch.arange(width)[None] < lengths[:, None]).long()
        position = torch.from_numpy(self._position[rows]).to(device)
        captured.expect(len(ids), lambda v: v[torch.arange(len(v), device=v.device), position.to(v.device)])
        self.model.module.base_model(input_ids=ids.to(device), attention_mask=attention.to(device))
