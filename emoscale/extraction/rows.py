"""What the model is given: tuned prompts, sentences that name a concept, or texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.extraction.reading import tokens_read
from emoscale.models.forward import run_body
from emoscale.models.loading import LanguageModel
from emoscale.models.prompted import PromptedModel

VECTOR = -1
"""Stands for the id of a token that is a prompt's vector."""


class Inputs(NamedTuple):
    """Some inputs, in their order.

    Attributes
    ----------
    ids : list of list of int
        Token ids.
    concept, replicate : sequence of str
    read : list of (int, int)
        The first token that is read of each, and the one after the last.
    """

    ids: list[list[int]]
    concept: Sequence[str]
    replicate: Sequence[str]
    read: list[tuple[int, int]]


class Rows(Protocol):
    """Inputs, and how to run the model on some of them.

    Attributes
    ----------
    model : LanguageModel
    read : str
        See `tokens_read`; with ``all`` every token is a row, else every input is.
    """

    model: LanguageModel
    read: str

    def inputs(self) -> Iterator[Inputs]:
        """Yield all inputs, a piece at a time."""

    def run(self, numbers: NDArray[np.int64], ids: Tensor, attention: Tensor) -> None:
        """Run the model on some inputs, padded; whoever listens at its sites reads them."""


class PromptRows:
    """Tuned prompts, everything up to the text and no text (Li, Su et al. 2024, neuron activations).

    Parameters
    ----------
    prompted : PromptedModel
    vectors : Tensor
        Shape (prompts, L, hidden).
    table : DataFrame
        Columns concept and replicate, one row a prompt.
    read : str, optional
        Where the prompt's task reads it, if left out.
    """

    def __init__(self, prompted: PromptedModel, vectors: Tensor, table: pd.DataFrame, read: str | None = None) -> None:
        self.model = prompted.model
        self.read = read or prompted.layout.read
        self._prompted, self._vectors, self._table = prompted, vectors, table

    def inputs(self) -> Iterator[Inputs]:
        """Yield all prompts; the seed is the replicate."""
        layout, count = self._prompted.layout, len(self._table)
        ids = [*layout.before, *[VECTOR] * self._prompted.prompt_length, *layout.after]
        read = tokens_read(self.read, ids, self.model.outline.tokenizer.mask_token_id)
        yield Inputs([ids] * count, list(self._table["concept"]), list(self._table["replicate"]), [read] * count)

    def run(self, numbers: NDArray[np.int64], ids: Tensor, attention: Tensor) -> None:
        """Run the model on some prompts, which are all of one length."""
        batch = self._prompted.bare_batch(len(ids))
        self._prompted.forward(batch, self._vectors[numbers].to(batch.ids.device))


class TemplateRows:
    """Carrier sentences that name the concept.

    Parameters
    ----------
    model : LanguageModel
    sentences : DataFrame
        Columns concept, template, text, start, end (character span of the concept), as `render_templates` gives it.
    read : str

    Raises
    ------
    InputError
        If the tokenizer cannot say which characters a token stands for.
    """

    def __init__(self, model: LanguageModel, sentences: pd.DataFrame, read: str = "concept-last") -> None:
        if not model.outline.tokenizer.is_fast:
            raise InputError(
                f"{model.outline.name}: extraction.rows 'templates' needs a fast tokenizer (tokenizer.json)"
            )
        self.model, self.read = model, read
        self._sentences = sentences

    def inputs(self) -> Iterator[Inputs]:
        """Yield all sentences; the template is the replicate."""
        tokenizer, sentences = self.model.outline.tokenizer, self._sentences
        encoded = tokenizer(sentences["text"].tolist(), return_offsets_mapping=True)
        ids: list[list[int]] = encoded["input_ids"]
        concepts = [
            self._concept(spans, start, end, text)
            for spans, start, end, text in zip(
                encoded["offset_mapping"], sentences["start"], sentences["end"], sentences["text"], strict=True
            )
        ]
        read = [
            tokens_read(self.read, own, tokenizer.mask_token_id, concept)
            for own, concept in zip(ids, concepts, strict=True)
        ]
        yield Inputs(ids, sentences["concept"].tolist(), sentences["template"].tolist(), read)

    def _concept(self, spans: Sequence[tuple[int, int]], start: int, end: int, text: str) -> tuple[int, int]:
        # Every token that holds a part of the concept: one letter may be several tokens.
        tokens = [token for token, (first, last) in enumerate(spans) if first < end and last > start]
        if not tokens:
            raise InputError(f"{self.model.outline.name} has no token for the concept in {text!r}; leave it out")
        return tokens[0], tokens[-1] + 1

    def run(self, numbers: NDArray[np.int64], ids: Tensor, attention: Tensor) -> None:
        """Run the model on some sentences."""
        run_body(self.model, ids, attention)


class TextRows:
    """Texts.

    Parameters
    ----------
    model : LanguageModel
    texts : iterable of DataFrame
        Columns text and labels (tuples of str); all texts, a piece at a time.
    read : str
        Tokens that the tokenizer adds at the ends are tokens of the text.
    max_tokens : int
        Longer texts are cut.
    """

    def __init__(
        self, model: LanguageModel, texts: Iterable[pd.DataFrame], read: str = "mean", max_tokens: int = 256
    ) -> None:
        self.model, self.read = model, read
        self._texts, self._max_tokens = texts, max_tokens

    def inputs(self) -> Iterator[Inputs]:
        """Yield all texts.

        The concept of a text with several labels is all of them, joined by ``|``, so that it counts for none; that of a
        text without is empty.
        """
        tokenizer = self.model.outline.tokenizer
        for piece in self._texts:
            texts = piece["text"].tolist()
            ids: list[list[int]] = tokenizer(texts, truncation=True, max_length=self._max_tokens)["input_ids"]
            for text, own in zip(texts, ids, strict=True):
                if not own:
                    raise InputError(f"{self.model.outline.name} has no token for the text {text!r}; leave it out")
            read = [tokens_read(self.read, own, tokenizer.mask_token_id) for own in ids]
            yield Inputs(ids, ["|".join(labels) for labels in piece["labels"]], [""] * len(ids), read)

    def run(self, numbers: NDArray[np.int64], ids: Tensor, attention: Tensor) -> None:
        """Run the model on some texts."""
        run_body(self.model, ids, attention)
