"""What the model is given: tuned prompts, sentences that name a concept, or texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.extraction.pooling import POOLINGS, Pooling, Span
from emoscale.models.forward import run_body
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import truncated
from emoscale.models.prompted import Layout, PromptedModel
from emoscale.system.option_types import lookup

VECTOR = -1
"""In place of a token's id where the token is a prompt's vector."""


SAMPLED_TEXTS = 4096
"""Texts whose tokens are counted to estimate those of all."""


class InputBatch(NamedTuple):
    """Some inputs, in their order.

    Attributes
    ----------
    ids : list of list of int
        Token ids.
    concept, replicate : sequence of str
    spans : list of (int, int)
        The first token of each that is used, and the one after the last, see `Pooling`.
    """

    ids: list[list[int]]
    concept: Sequence[str]
    replicate: Sequence[str]
    spans: list[Span]


class Rows(Protocol):
    """Inputs, and how to run the model on some of them.

    Attributes
    ----------
    model : LanguageModel
    pooling : Pooling
    """

    model: LanguageModel
    pooling: Pooling

    def inputs(self) -> Iterator[InputBatch]:
        """Yield all inputs, a batch at a time."""

    def run(self, numbers: NDArray[np.int64], ids: Tensor, attention: Tensor) -> None:
        """Run the model on some inputs, padded, for hooks that see its neurons."""


def prompt_ids(layout: Layout, prompt_length: int) -> list[int]:
    """Return the token ids of a prompt without a text."""
    return [*layout.before, *[VECTOR] * prompt_length, *layout.after]


class PromptRows:
    """Tuned prompts, everything up to the text and no text (Li, Su et al. 2024, neuron activations).

    Parameters
    ----------
    prompted : PromptedModel
    vectors : Tensor
        Shape (prompts, L, hidden).
    table : DataFrame
        Columns concept and replicate, one row a prompt.
    pooling : str or Pooling
    """

    def __init__(self, prompted: PromptedModel, vectors: Tensor, table: pd.DataFrame, pooling: str | Pooling) -> None:
        self.model = prompted.model
        self.pooling = lookup("extraction.pooling", POOLINGS, pooling)
        self._prompted, self._vectors, self._table = prompted, vectors, table

    def inputs(self) -> Iterator[InputBatch]:
        """Yield all prompts; the seed is the replicate."""
        ids, count = prompt_ids(self._prompted.layout, self._prompted.prompt_length), len(self._table)
        span = self.pooling.tokens(ids, self.model.outline.tokenizer.mask_token_id)
        yield InputBatch([ids] * count, list(self._table["concept"]), list(self._table["replicate"]), [span] * count)

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
        Columns concept, template, text, start, end (character span of the concept), as returned by `render_templates`.
    pooling : str or Pooling

    Raises
    ------
    InputError
        If the tokenizer does not map tokens to characters.
    """

    def __init__(self, model: LanguageModel, sentences: pd.DataFrame, pooling: str | Pooling) -> None:
        if not model.outline.tokenizer.is_fast:
            raise InputError(
                f"{model.outline.name}: extraction.rows 'templates' needs a fast tokenizer (tokenizer.json)"
            )
        self.model = model
        self.pooling = lookup("extraction.pooling", POOLINGS, pooling)
        self._sentences = sentences

    def inputs(self) -> Iterator[InputBatch]:
        """Yield all sentences; the template is the replicate."""
        tokenizer, sentences = self.model.outline.tokenizer, self._sentences
        encoded = tokenizer(sentences["text"].tolist(), return_offsets_mapping=True)
        ids: list[list[int]] = encoded["input_ids"]
        concepts = [
            self._concept(offsets, start, end, text)
            for offsets, start, end, text in zip(
                encoded["offset_mapping"], sentences["start"], sentences["end"], sentences["text"], strict=True
            )
        ]
        spans = [
            self.pooling.tokens(own, tokenizer.mask_token_id, concept)
            for own, concept in zip(ids, concepts, strict=True)
        ]
        yield InputBatch(ids, sentences["concept"].tolist(), sentences["template"].tolist(), spans)

    def _concept(self, offsets: Sequence[Span], start: int, end: int, text: str) -> Span:
        # Every token that holds a part of the concept: one letter may be several tokens.
        tokens = [token for token, (first, last) in enumerate(offsets) if first < end and last > start]
        if not tokens:
            raise InputError(f"{self.model.outline.name} has no token for the concept in {text!r}; remove it")
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
        Columns text and labels (tuples of str); all texts, a batch at a time.
    pooling : str or Pooling
        Tokens that the tokenizer adds at the ends are tokens of the text.
    max_tokens : int
        Longer texts are truncated.
    """

    def __init__(
        self, model: LanguageModel, texts: Iterable[pd.DataFrame], pooling: str | Pooling, max_tokens: int
    ) -> None:
        self.model = model
        self.pooling = lookup("extraction.pooling", POOLINGS, pooling)
        self._texts, self._max_tokens = texts, max_tokens

    def inputs(self) -> Iterator[InputBatch]:
        """Yield all texts.

        The concept of a text with several labels is all of them, joined by ``|``, and matches none of them; that of a
        text without labels is empty.
        """
        tokenizer = self.model.outline.tokenizer
        for batch in self._texts:
            texts = batch["text"].tolist()
            ids: list[list[int]] = truncated(self.model.outline, texts, self._max_tokens, special=True)["input_ids"]
            for text, own in zip(texts, ids, strict=True):
                if not own:
                    raise InputError(f"{self.model.outline.name} has no token for the text {text!r}; remove it")
            spans = [self.pooling.tokens(own, tokenizer.mask_token_id) for own in ids]
            yield InputBatch(ids, ["|".join(labels) for labels in batch["labels"]], [""] * len(ids), spans)

    def run(self, numbers: NDArray[np.int64], ids: Tensor, attention: Tensor) -> None:
        """Run the model on some texts."""
        run_body(self.model, ids, attention)


class Amount(NamedTuple):
    """How much there is to extract.

    Attributes
    ----------
    inputs : int
        Prompts, sentences or texts given to the model.
    cells : int
        Pairs of concept and replicate that they represent.
    lengths : ndarray of int64, shape (sampled inputs,)
        Tokens of some or all inputs.
    rows_each : ndarray of int64, shape (sampled inputs,)
        Rows of activations of each of them.
    texts : DataFrame
        The sampled inputs if they are texts; else empty.
    """

    inputs: int
    cells: int
    lengths: NDArray[np.int64]
    rows_each: NDArray[np.int64]
    texts: pd.DataFrame

    @classmethod
    def of(cls, inputs: InputBatch, pooling: Pooling, concepts: Collection[str]) -> Amount:
        """Count some inputs; those of other concepts are in no cell."""
        cells = {cell for cell in zip(inputs.concept, inputs.replicate, strict=True) if cell[0] in set(concepts)}
        rows_each = [stop - first if pooling.each else 1 for first, stop in inputs.spans]
        lengths = [len(ids) for ids in inputs.ids]
        return cls(len(inputs.ids), len(cells), np.array(lengths), np.array(rows_each), pd.DataFrame())

    @property
    def is_sample(self) -> bool:
        """Whether only some inputs were counted."""
        return len(self.lengths) < self.inputs

    @property
    def tokens(self) -> int:
        """Tokens of all inputs; estimated from a sample."""
        return round(self.inputs * float(self.lengths.mean()))

    @property
    def rows(self) -> int:
        """Rows of all inputs; estimated from a sample if they differ."""
        return round(self.inputs * float(self.rows_each.mean()))


def survey_texts(pieces: Iterator[pd.DataFrame], concepts: Collection[str]) -> tuple[int, int, pd.DataFrame]:
    """Count texts, and sample some.

    Parameters
    ----------
    pieces : iterator of DataFrame
        Columns text and labels.
    concepts : collection of str

    Returns
    -------
    count : int
    cells : int
        Number of concepts that are some text's only label.
    sample : DataFrame
        `SAMPLED_TEXTS` of the texts, or all.

    Raises
    ------
    InputError
        If there are no texts.
    """
    generator = np.random.default_rng(0)
    count, sample = 0, None
    seen: set[str] = set()
    for piece in pieces:
        count += len(piece)
        seen.update(labels[0] for labels in piece["labels"] if len(labels) == 1)
        drawn = piece.assign(draw=generator.random(len(piece)))
        # The lowest of as many draws as there are texts: every text has the same chance.
        sample = (drawn if sample is None else pd.concat([sample, drawn])).nsmallest(SAMPLED_TEXTS, "draw")
    if sample is None:
        raise InputError("extraction.split: there are no such texts; set another")
    return count, len(seen & set(concepts)), sample.drop(columns="draw")
