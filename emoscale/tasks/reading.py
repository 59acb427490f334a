"""Reading a model's logits at some positions of rows of tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from emoscale.errors import StageError
from emoscale.models.lm_head import reading
from emoscale.models.loading import LanguageModel
from emoscale.models.packing import pad_rows
from emoscale.models.prefix import Prefix
from emoscale.models.shortcuts import TRIED_TOKENS, confirmed, narrowable


class RowReader:
    """A language model with logits, ready for rows of tokens padded on the right.

    Parameters
    ----------
    model : LanguageModel
        Masked or causal.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        takes_cache = "use_cache" in inspect.signature(model.module.forward).parameters
        self._options: dict[str, Any] = {"use_cache": False} if takes_cache else {}
        self.prefix = Prefix(model)
        """What `logits` leaves out; it is empty unless something that all rows begin with is computed once."""

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return rows padded on the right, see `pad_rows`, on the model's device."""
        ids, attention = pad_rows(rows, self.model.outline.pad_id)
        return ids.to(self.model.device), attention.to(self.model.device)

    @cached_property
    def narrowed(self) -> tuple[str, ...]:
        """The last block's maps that need to be computed only where a row is read, at one position.

        The model runs to find out: read this before its neurons are edited.
        """
        names = narrowable(self.model.module, self.model.outline.sites)
        if self.model.tp_size > 1:  # the processes would have to agree
            return ()
        ids, attention = self.pad([TRIED_TOKENS, TRIED_TOKENS[:1]])
        last = torch.tensor([[len(TRIED_TOKENS) - 1], [0]], device=ids.device)
        return confirmed(names, lambda narrowed: self.logits(ids, attention, last, narrowed=narrowed))

    def logits(
        self,
        ids: Tensor,
        attention: Tensor,
        positions: Tensor,
        *,
        words: Sequence[int] | None = None,
        narrowed: Sequence[str] = (),
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Run the model on whole rows; on what comes after their beginning, as long as that is in `prefix`.

        Parameters
        ----------
        ids : Tensor
            Shape (rows, tokens), int64.
        attention : Tensor
            Shape (rows, tokens), or (rows, 1, tokens, tokens): what each token sees.
        positions : Tensor
            Shape (rows, positions), int64: which tokens are read.
        words : sequence of int, optional
            Tokens whose logits are wanted; by default all.
        narrowed : sequence of str
            Of `narrowed`, where one position is read.
        position_ids : Tensor, optional
            Shape (rows, tokens): the positions, if not the model's own.

        Returns
        -------
        Tensor
            Shape (rows, positions, words).

        Raises
        ------
        StageError
            If the model's head works on something else than its base model's hidden states.
        """

        begun = self.prefix.tokens

        def read(values: Tensor) -> Tensor:
            chosen = positions.to(values.device) - begun
            return values[torch.arange(len(values), device=values.device)[:, None], chosen]

        options = {**self._options, **self.prefix.options()}
        if position_ids is not None:
            options["position_ids"] = position_ids[:, begun:]
        if attention.dim() == 4:
            attention = attention[:, :, begun:]
        with reading(self.model.module, read, words=words, narrowed=narrowed):
            logits: Tensor = self.model.module(input_ids=ids[:, begun:], attention_mask=attention, **options).logits
        if logits.shape[1] != positions.shape[1]:
            name = self.model.outline.name
            raise StageError(f"{name}: its head cannot be read at single positions; give another model")
        return logits if words is None or logits.shape[2] == len(words) else logits[:, :, list(words)]
