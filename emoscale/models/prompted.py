"""A language model that reads soft prompts with texts (Li, Su et al. 2024, prompt tuning)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from emoscale.errors import InputError, StageError
from emoscale.models.lm_head import reading
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.models.packing import pad_rows
from emoscale.models.prefix import SHORTEST, Prefix, is_confirmed
from emoscale.models.readouts import READOUTS, Readout
from emoscale.models.shortcuts import TRIED_TOKENS, confirmed, narrowable


@dataclass(frozen=True)
class Layout:
    """Where prompt and text are in the sequence.

    Attributes
    ----------
    before, after, closing : tuple of int
        Token ids before the prompt vectors, between them and the text, and after the text.
    read : {"first", "last", "mean"}
        The token that is read, or the mean over all of the row's tokens.
    positions_from_zero : bool
        Number positions 0, 1, 2, ... whatever the model's own habit.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    closing: tuple[int, ...]
    read: str
    positions_from_zero: bool

    @property
    def tokens(self) -> int:
        """Number of tokens that are neither prompt nor text."""
        return len(self.before) + len(self.after) + len(self.closing)


def make_layout(name: str, outline: ModelOutline) -> Layout:
    """Build a layout for a model.

    Parameters
    ----------
    name : {"mask-first", "prefix"}
        ``mask-first`` is the published one: `<mask>`, prompt, `<s>`, text, `</s>`, positions from 0, read at the mask.
        ``prefix`` puts the prompt after the model's own opening token. Masked models are read at that token, causal
        models at the last one, encoders at the mean over tokens, which is how sentence encoders are trained.
    outline : ModelOutline

    Raises
    ------
    InputError
        If the model has no mask token, or cannot look ahead, or has a decoder beside its encoder.
    """
    if outline.kind == "encoder-decoder":
        raise InputError(
            f"model.name {outline.name!r}: encoder-decoder models have no prompt task yet; give another model"
        )
    tokenizer = outline.tokenizer
    opening = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    closing = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    start, end = _present(opening), _present(closing)
    if name == "prefix":
        if outline.kind == "causal-lm":
            return Layout(_present(tokenizer.bos_token_id), (), (), read="last", positions_from_zero=False)
        read = "mean" if outline.kind == "encoder" else "first"
        return Layout(start, (), end, read=read, positions_from_zero=False)
    if outline.kind == "causal-lm" or tokenizer.mask_token_id is None:
        raise InputError(
            f"tuning.layout 'mask-first': {outline.name} has no mask to read; set tuning.layout to 'prefix'"
        )
    return Layout((tokenizer.mask_token_id,), start, end, read="first", positions_from_zero=True)


def _present(token: int | None) -> tuple[int, ...]:
    return () if token is None else (token,)


def _embeddings(model: LanguageModel) -> Any:
    """Return the word embeddings, in place of which the model takes a prompt's vectors."""
    try:
        embeddings = model.module.get_input_embeddings()
    except NotImplementedError:
        embeddings = None
    if embeddings is None or "inputs_embeds" not in inspect.signature(model.module.forward).parameters:
        raise InputError(
            f"model.name {model.outline.name!r}: {type(model.module).__name__} takes no vectors in place of words, so "
            "prompts cannot be tuned; set extraction.rows and ablation.task to others, or another model"
        )
    return embeddings


@dataclass(frozen=True)
class Batch:
    """Rows of input, padded on the right.

    Attributes
    ----------
    ids, attention : Tensor
        Shape (rows, tokens), int64. Where the prompt goes, `ids` hold padding that its vectors replace.
    read : {"first", "last", "mean"}
        See `Layout`.
    """

    ids: Tensor
    attention: Tensor
    read: str

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> Batch:
        """Return some rows, by number; one may be taken several times."""
        return Batch(self.ids[rows], self.attention[rows], self.read)

    def without_first(self, tokens: int) -> Batch:
        """Return the rows without some tokens at their beginning."""
        return Batch(self.ids[:, tokens:], self.attention[:, tokens:], self.read)

    def read_values(self, values: Tensor) -> Tensor:
        """Read values (rows, tokens, units) at the row's read position; padding is never read.

        Returns
        -------
        Tensor
            Shape (rows, units).
        """
        if self.read == "first":
            return values[:, 0]
        attention = self.attention.to(values.device)
        lengths = attention.sum(dim=1)
        if self.read == "last":
            return values[torch.arange(len(values), device=values.device), lengths - 1]
        total = torch.einsum("rtu,rt->ru", values, attention.to(values.dtype))
        return total / lengths[:, None]


class PromptedModel:
    """A frozen model, a layout and a readout, ready for batches of (prompt, text).

    Parameters
    ----------
    model : LanguageModel
    layout : str
        See `make_layout`.
    prompt_length : int
        Number L of prompt vectors.
    verbaliser : sequence of str
        Words for label 0 and label 1, where the model predicts words.
    """

    def __init__(self, model: LanguageModel, layout: str, prompt_length: int, verbaliser: Sequence[str]) -> None:
        self.model = model
        self.layout = make_layout(layout, model.outline)
        self.prompt_length = prompt_length
        self.readout: Readout = READOUTS[model.outline.kind](model.outline, verbaliser)
        self._embeddings = _embeddings(model)
        self.prefix = Prefix(model)
        """What `forward` leaves out; it is empty unless a causal model computes the prompt once for many texts."""

    def row_tokens(self, text: Sequence[int]) -> int:
        """Return how many tokens a row with this text has."""
        return self.layout.tokens + self.prompt_length + len(text)

    def row(self, text: Sequence[int]) -> list[int]:
        """Return the tokens of a row with this text, -1 for each vector of the prompt."""
        return [*self.layout.before, *(-1,) * self.prompt_length, *self.layout.after, *text, *self.layout.closing]

    def initial_prompt(self) -> Tensor:
        """Return the vectors a prompt starts from.

        Returns
        -------
        Tensor
            Shape (L, hidden), float32: the word embedding of the mask token, or where there is none the mean word
            embedding, L times.
        """
        weights = self._embeddings.weight
        mask = self.model.outline.tokenizer.mask_token_id
        start: Tensor = weights[mask] if mask is not None else weights.mean(dim=0)
        return start.detach().float().repeat(self.prompt_length, 1)

    def batch(self, texts: Sequence[Sequence[int]]) -> Batch:
        """Lay out rows of text tokens.

        Parameters
        ----------
        texts : sequence of sequence of int
            Token ids without special tokens, one row each.

        Returns
        -------
        Batch
        """
        return self._pack([self._filled(self.row(text)) for text in texts])

    def bare_batch(self, rows: int) -> Batch:
        """Lay out rows that hold everything up to the text, and no text."""
        return self._pack([self._opening()] * rows)

    def _opening(self) -> list[int]:
        return self._filled(self.row(()))[: self.prompt_length + len(self.layout.before) + len(self.layout.after)]

    def _filled(self, row: list[int]) -> list[int]:
        return [self.model.outline.pad_id if token < 0 else token for token in row]

    def _pack(self, sequences: list[list[int]]) -> Batch:
        ids, attention = pad_rows(sequences, self.model.outline.pad_id)
        device = self.model.device
        return Batch(ids.to(device), attention.to(device), self.layout.read)

    @cached_property
    def narrowed(self) -> tuple[str, ...]:
        """The last block's maps that `scores` computes only where rows are read, if that leaves the scores alone.

        The model runs to find out: read it before neurons are edited.
        """
        names = narrowable(self.model.module, self.model.outline.sites)
        # A mean over the row needs all of it; the parts of a split model would have to agree.
        if self.layout.read == "mean" or self.model.tp_size > 1 or not names:
            return ()
        batch = self.batch([TRIED_TOKENS, TRIED_TOKENS[:1]])
        prompts = self.initial_prompt().to(batch.ids.device).expand(len(batch), -1, -1)
        return confirmed(names, lambda narrowed: self.forward(batch, prompts, self.readout.words, narrowed))

    def forward(
        self, batch: Batch, prompts: Tensor, words: Sequence[int] | None = None, narrowed: Sequence[str] = ()
    ) -> Tensor:
        """Run the model and read it.

        Parameters
        ----------
        batch : Batch
        prompts : Tensor
            Shape (rows, L, hidden): each row's own prompt.
        words : sequence of int, optional
            Tokens whose logits are wanted; by default all.
        narrowed : sequence of str
            Maps to be computed only where rows are read (see `narrowable`).

        Returns
        -------
        Tensor
            Shape (rows, words) of logits, or (rows, hidden) for an encoder: at the read position.

        Raises
        ------
        StageError
            If the model's head works on something else than its base model's hidden states.
        """
        vectors = self._with_prompts(batch.ids, prompts)[:, self.prefix.tokens :]
        read_values = batch.without_first(self.prefix.tokens).read_values
        options = self.prefix.options()
        if self.layout.positions_from_zero:
            options["position_ids"] = torch.arange(vectors.shape[1], device=vectors.device).expand(len(batch), -1)
        with reading(self.model.module, read_values, words=words, narrowed=narrowed):
            output = self.model.module(inputs_embeds=vectors, attention_mask=batch.attention, **options)
        read: Tensor = output.last_hidden_state if self.model.outline.kind == "encoder" else output.logits
        if read.shape[1] != 1:
            raise StageError(f"{self.model.outline.name}: its head cannot be read at one position; give another model")
        if words is not None and read.shape[2] != len(words):
            read = read[:, :, list(words)]
        return read[:, 0]

    def _with_prompts(self, ids: Tensor, prompts: Tensor) -> Tensor:
        vectors: Tensor = self._embeddings(ids)
        start = len(self.layout.before)
        vectors[:, start : start + self.prompt_length] = prompts.to(vectors.dtype)
        return vectors

    def begin(self, prompts: Tensor) -> Prefix:
        """Return what rows with one prompt begin with; the prompts have shape (1 or entries, L, hidden)."""
        opening = torch.tensor([self._opening()] * len(prompts), device=self.model.device)
        return self.prefix.begin("inputs_embeds", self._with_prompts(opening, prompts))

    def can_begin(self, texts: Sequence[Sequence[int]], prompt: Tensor) -> bool:
        """Whether the model can compute a prompt once for many texts.

        The model runs to find out: call this before neurons are edited.

        Parameters
        ----------
        texts : sequence of sequence of int
            All that will be read.
        prompt : Tensor
            Shape (L, hidden).
        """
        is_short = len(self._opening()) < SHORTEST or min(map(len, texts)) == 0
        if self.model.outline.kind != "causal-lm" or is_short:
            return False
        device = self.model.device
        entry = torch.tensor([0, 1, 1, 0], device=device)
        batch = self.batch([max(texts, key=len), min(texts, key=len)]).take(entry)
        prompts = torch.stack([prompt, prompt.flip(0)]).to(device)
        run = partial(self.forward, batch, prompts[entry], self.readout.words, self.narrowed)
        return is_confirmed(self.begin(prompts), entry, run)

    def scores(self, batch: Batch, prompts: Tensor, heads: Tensor) -> Tensor:
        """Score the two labels of every row.

        Parameters
        ----------
        batch : Batch
        prompts : Tensor
            Shape (rows, L, hidden).
        heads : Tensor
            Shape (rows, 2, hidden + 1) for a label head, (rows, 0) for a verbaliser.

        Returns
        -------
        Tensor
            Shape (rows, 2), float32.
        """
        return self.readout.scores(self.forward(batch, prompts, self.readout.words, self.narrowed), heads)
