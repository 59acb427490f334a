"""What a row of the store is: a tuned prompt, a concept named in a carrier sentence, or a text."""

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
from emoscale.models.prompted import Batch, PromptedModel


class Rows(Protocol):
    """Rows of input, and how to run the model on some of them."""

    model: LanguageModel

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return concept, replicate, item and position of every row."""

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of every row."""

    def forward(self, rows: NDArray[np.int64], captured: Captured) -> None:
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

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of every row."""
        return np.full(len(self._table), self._prompted.bare_batch(1).ids.shape[1])

    def forward(self, rows: NDArray[np.int64], captured: Captured) -> None:
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

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return the rows' coordinates; the template is the replicate."""
        return {
            "concept": self._sentences["concept"].to_numpy(),
            "replicate": self._sentences["template"].to_numpy(),
            "item": np.arange(len(self._sentences)),
            "position": self._position,
        }

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of every row."""
        return np.array([len(ids) for ids in self._ids])

    def forward(self, rows: NDArray[np.int64], captured: Captured) -> None:
        """Run the model on some sentences."""
        ids, attention = _padded([self._ids[row] for row in rows], self.model)
        position = torch.from_numpy(self._position[rows]).to(ids.device)
        captured.expect(len(ids), lambda v: v[torch.arange(len(v), device=v.device), position.to(v.device)])
        self.model.module.base_model(input_ids=ids, attention_mask=attention)


class TextRows:
    """Texts, one row each.

    Parameters
    ----------
    model : LanguageModel
    texts : DataFrame
        Columns text and labels (tuples of str).
    read : {"mean", "first", "last"}
        The mean over the row's tokens, its first or its last token; tokens that the tokenizer adds at the ends are
        tokens of the row.
    max_tokens : int
        Longer texts are cut.
    """

    def __init__(self, model: LanguageModel, texts: pd.DataFrame, read: str, max_tokens: int) -> None:
        self.model = model
        self._texts, self._read = texts, read
        encoded = model.outline.tokenizer(texts["text"].tolist(), truncation=True, max_length=max_tokens)
        self._ids: list[list[int]] = encoded["input_ids"]

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return the rows' coordinates.

        The concept of a text with several labels is all of them, joined by ``|``, so that it counts for none; that of a
        text without is empty. Position -1 stands for the mean over tokens.
        """
        ends = {"mean": np.full(len(self._ids), -1), "first": np.zeros(len(self._ids)), "last": self.lengths() - 1}
        return {
            "concept": self._texts["labels"].map("|".join).to_numpy(dtype=object),
            "replicate": np.full(len(self._ids), "", dtype=object),
            "item": np.arange(len(self._ids)),
            "position": ends[self._read],
        }

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of every row."""
        return np.array([len(ids) for ids in self._ids])

    def forward(self, rows: NDArray[np.int64], captured: Captured) -> None:
        """Run the model on some texts."""
        batch = Batch(*_padded([self._ids[row] for row in rows], self.model), self._read)
        captured.expect(len(batch), batch.read_values)
        self.model.module.base_model(input_ids=batch.ids, attention_mask=batch.attention)


def _padded(sequences: list[list[int]], model: LanguageModel) -> tuple[Tensor, Tensor]:
    """Pad rows on the right; return token ids and attention."""
    pad = model.outline.tokenizer.pad_token_id or 0
    lengths = torch.tensor([len(ids) for ids in sequences])
    width = int(lengths.max())
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids in sequences])
    attention = (torch.arange(width)[None] < lengths[:, None]).long()
    return ids.to(model.device), attention.to(model.device)
