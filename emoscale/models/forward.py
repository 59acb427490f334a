"""Running a model on token ids as far as its neurons, without its head."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.outline import ModelOutline

if TYPE_CHECKING:  # it is tried with a forward pass once it is loaded
    from emoscale.models.loading import LanguageModel


def run_body(model: LanguageModel, ids: Tensor, attention: Tensor) -> None:
    """Run a model without its head, for hooks that see its neurons.

    Of an encoder-decoder model whose neurons are in the encoder, only the encoder runs. Where they are in the decoder,
    the encoder reads the row, and so does the decoder, shifted right after the start token (Lewis et al. 2020, BART).

    Parameters
    ----------
    model : LanguageModel
    ids : Tensor
        Shape (rows, tokens), int64.
    attention : Tensor
        Shape (rows, tokens), int64: 1 for tokens, 0 for the padding after them.
    """
    ids, attention = ids.to(model.device, non_blocking=True), attention.to(model.device, non_blocking=True)
    if model.outline.kind == "encoder-decoder":
        _run_stacks(model, ids, attention)
        return
    body = model.module.base_model
    options: dict[str, Any] = {"use_cache": False} if may_cache(type(body).forward) else {}
    body(input_ids=ids, attention_mask=attention, **options)


@cache
def may_cache(forward: Callable[..., object]) -> bool:
    """Return whether a forward function can be asked not to keep what generating texts would need."""
    return "use_cache" in inspect.signature(forward).parameters


def _run_stacks(model: LanguageModel, ids: Tensor, attention: Tensor) -> None:
    if not _has_decoder_sites(model):
        model.module.get_encoder()(input_ids=ids, attention_mask=attention)
        return
    model.module.base_model(
        input_ids=ids,
        attention_mask=attention,
        decoder_input_ids=_shifted_right(ids, _start_token(model.outline)),
        decoder_attention_mask=attention,
        use_cache=False,
    )


def _has_decoder_sites(model: LanguageModel) -> bool:
    stacks = ("encoder", "decoder")
    return any(
        next((part for part in site.path.split(".") if part in stacks), None) != "encoder"
        for site in model.outline.sites
    )


def _start_token(outline: ModelOutline) -> int:
    config = outline.config
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        start = getattr(config, "bos_token_id", None)
    if start is None:
        raise InputError(f"{outline.name}: its config.json has no decoder_start_token_id; add it")
    return int(start)


def _shifted_right(ids: Tensor, start: int) -> Tensor:
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)
